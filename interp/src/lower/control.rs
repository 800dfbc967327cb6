//! Structured control: wasm's nested blocks as CLIF blocks with parameters.

use std::collections::BTreeMap;

use wasmparser::{BlockType, BrTable, Operator};

use super::clif::{Block, BlockArg, BlockCall, InstBuilder, JumpTableData};
use super::function::FuncLower;
use super::stack::{Frame, FrameKind};
use crate::trap::TrapCode;

/// Lowers `op` if it is a control operator; `false` if it belongs to another family.
pub(super) fn lower(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    match *op {
        Operator::Nop => {}
        Operator::Unreachable => {
            f.trap(TrapCode::Unreachable);
            f.reachable = false;
        }
        Operator::Block { blockty } => f.open(FrameKind::Block, blockty),
        Operator::Loop { blockty } => open_loop(f, blockty),
        Operator::If { blockty } => open_if(f, blockty),
        Operator::Else => begin_else(f),
        Operator::End => end(f),
        Operator::Br { relative_depth } => branch(f, relative_depth),
        Operator::BrIf { relative_depth } => branch_if(f, relative_depth),
        Operator::BrTable { ref targets } => branch_table(f, targets),
        Operator::Return => {
            f.return_top(f.frames[0].results);
            f.reachable = false;
        }
        _ => return false,
    }
    true
}

/// Keeps the block structure of code that cannot run, and notices where running code begins again.
pub(super) fn skip(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) {
    match op {
        Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => f.dead_frames += 1,
        Operator::End if f.dead_frames > 0 => f.dead_frames -= 1,
        Operator::End => end(f),
        Operator::Else if f.dead_frames == 0 => begin_else(f),
        _ => {}
    }
}

impl FuncLower<'_, '_> {
    /// Opens a frame over the parameters on top of the operand stack.
    pub(super) fn open(&mut self, kind: FrameKind, ty: BlockType) {
        let (params, results) = self.facts.arity(ty);
        let height = self.operands.height() - params;
        self.frames.push(Frame { kind, ty, params, results, height, end: None, work: 0 });
    }

    /// Opens the function's own frame, whose parameters are locals.
    pub(super) fn open_body(&mut self, ty: u32) {
        let ty = BlockType::FuncType(ty);
        let (_, results) = self.facts.arity(ty);
        self.frames.push(Frame { kind: FrameKind::Block, ty, params: 0, results, height: 0, end: None, work: 0 });
    }

    /// Jumps to `target` with the `arity` topmost operands, which stay on the stack.
    pub(super) fn jump(&mut self, target: Block, arity: usize) {
        let args = self.block_args(target, arity);
        self.b.ins().jump(target, &args);
    }

    /// What a branch to `target` with the `arity` topmost operands brings.
    fn block_args(&mut self, target: Block, arity: usize) -> Vec<BlockArg> {
        let mut args: Vec<_> = self.operands.top(arity).iter().map(|&value| BlockArg::Value(value)).collect();
        args.extend(self.free_args(target));
        args
    }
}

fn open_loop(f: &mut FuncLower<'_, '_>, ty: BlockType) {
    let header = f.b.create_block();
    f.facts.append_params(f.b, header, ty);
    let (params, _) = f.facts.arity(ty);
    f.free_header(header, params);
    f.jump(header, params);
    f.b.switch_to_block(header);
    f.enter_free(header, params);
    // Before anything uses a variable: that may give the header more parameters.
    f.operands.truncate(f.operands.height() - params);
    f.operands.push_all(&f.b.func.dfg.block_params(header)[..params]);
    let count = f.begin_loop(header);
    f.open(FrameKind::Loop { header, count }, ty);
    f.plant_exit();
}

fn open_if(f: &mut FuncLower<'_, '_>, ty: BlockType) {
    let condition = f.operands.pop();
    let then = f.b.create_block();
    let otherwise = f.b.create_block();
    f.b.ins().brif(condition, then, &[], otherwise, &[]);
    f.b.seal_block(then);
    f.b.seal_block(otherwise);
    f.open(FrameKind::Then { otherwise, work: f.work }, ty);
    let (params, _) = f.facts.arity(ty);
    f.operands.repeat_top(params);
    f.b.switch_to_block(then);
}

fn begin_else(f: &mut FuncLower<'_, '_>) {
    let depth = f.frames.len() - 1;
    let FrameKind::Then { otherwise, work } = f.frames[depth].kind else {
        unreachable!("validated: an else follows its if");
    };
    begin_otherwise(f, depth, otherwise, work);
    f.frames[depth].kind = FrameKind::Else;
}

/// Ends the `then` part and goes on where the condition was false, with the `if`'s parameters.
fn begin_otherwise(f: &mut FuncLower<'_, '_>, depth: usize, otherwise: Block, work: u32) {
    if f.reachable {
        leave(f, depth);
    }
    let frame = &f.frames[depth];
    let height = frame.height;
    f.operands.truncate(height + frame.params);
    f.b.switch_to_block(otherwise);
    f.meet_free(depth, height);
    f.work = work;
    f.reachable = true;
}

fn end(f: &mut FuncLower<'_, '_>) {
    let depth = f.frames.len() - 1;
    if let FrameKind::Then { otherwise, work } = f.frames[depth].kind {
        // No else: where the condition was false, the parameters are the results.
        begin_otherwise(f, depth, otherwise, work);
    }
    if f.reachable && f.frames[depth].end.is_some() {
        leave(f, depth);
    }
    let frame = f.frames.pop().expect("validated: an end closes a frame");
    if let FrameKind::Loop { header, count } = frame.kind {
        f.b.seal_block(header);
        if let Some(count) = count {
            f.end_count(count);
        }
    }
    if let Some(end) = frame.end {
        f.b.switch_to_block(end);
        f.b.seal_block(end);
        f.operands.truncate(frame.height);
        f.meet_free(depth, frame.height);
        f.operands.push_all(&f.b.func.dfg.block_params(end)[..frame.results]);
        f.work = frame.work;
        f.reachable = true;
    }
    f.close_free(depth);
    if f.frames.is_empty() && f.reachable {
        f.return_top(frame.results);
    }
}

/// Jumps from the end of a frame's body to the code after it.
fn leave(f: &mut FuncLower<'_, '_>, depth: usize) {
    let end = end_of(f, depth);
    f.jump(end, f.frames[depth].results);
    f.frames[depth].work = f.frames[depth].work.max(f.work);
}

/// The block after a frame's `end`, made by the first branch to it.
fn end_of(f: &mut FuncLower<'_, '_>, depth: usize) -> Block {
    let frame = &mut f.frames[depth];
    if let Some(end) = frame.end {
        return end;
    }
    let end = f.b.create_block();
    f.facts.append_results(f.b, end, frame.ty);
    frame.end = Some(end);
    end
}

/// Where a branch from here to a label goes, and with how many operands.
fn label(f: &mut FuncLower<'_, '_>, relative_depth: u32) -> (Block, usize) {
    let depth = f.frames.len() - 1 - relative_depth as usize;
    let frame = &mut f.frames[depth];
    if let FrameKind::Loop { header, count } = &mut frame.kind {
        if let Some(count) = count {
            count.note_way(f.work);
        }
        return (*header, frame.params);
    }
    frame.work = frame.work.max(f.work);
    (end_of(f, depth), f.frames[depth].results)
}

fn branch(f: &mut FuncLower<'_, '_>, relative_depth: u32) {
    let (target, arity) = label(f, relative_depth);
    f.jump(target, arity);
    f.reachable = false;
}

fn branch_if(f: &mut FuncLower<'_, '_>, relative_depth: u32) {
    let condition = f.operands.pop();
    let (target, arity) = label(f, relative_depth);
    let next = f.b.create_block();
    let args = f.block_args(target, arity);
    f.b.ins().brif(condition, target, &args, next, &[]);
    f.b.seal_block(next);
    f.b.switch_to_block(next);
}

fn branch_table(f: &mut FuncLower<'_, '_>, targets: &BrTable<'_>) {
    let index = f.operands.pop();
    let mut edges = BTreeMap::new();
    let default = table_edge(f, &mut edges, targets.default());
    let entries: Vec<_> =
        targets.targets().map(|depth| table_edge(f, &mut edges, depth.expect("validated: every target was read"))).collect();
    let table = f.b.create_jump_table(JumpTableData::new(default, &entries));
    f.b.ins().br_table(index, table);
    for (depth, edge) in edges {
        f.b.switch_to_block(edge);
        f.b.seal_block(edge);
        branch(f, depth);
    }
    f.reachable = false;
}

/// A table's entry. A label that takes operands is reached through one block of its own per table, so that they are
/// moved once per label and not once per entry.
fn table_edge(f: &mut FuncLower<'_, '_>, edges: &mut BTreeMap<u32, Block>, relative_depth: u32) -> BlockCall {
    let (label, arity) = label(f, relative_depth);
    let target = match arity {
        0 if !f.is_free(label) => label,
        _ => *edges.entry(relative_depth).or_insert_with(|| f.b.create_block()),
    };
    f.b.func.dfg.block_call(target, &[])
}
