//! Control flow: jumps, branches, tables, returns. A branch edge that carries arguments gets a block of its own, so that two
//! edges from one branch to one block can carry different ones.

use cranelift_codegen::ir::{BlockArg, BlockCall, Inst, InstructionData, Opcode};
use inkwell::basic_block::BasicBlock;

use super::{Handled, Translator};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    match t.func.dfg.insts[inst] {
        InstructionData::Jump { destination, .. } => jump(t, inst, destination)?,
        InstructionData::Brif { arg, blocks, .. } => {
            let here = t.here();
            let cond = t.truth(arg)?;
            let cond = t.predicated(inst, cond)?;
            let then = edge(t, inst, here, blocks[0])?;
            let otherwise = edge(t, inst, here, blocks[1])?;
            t.builder.position_at_end(here);
            let branch = t.builder.build_conditional_branch(cond, then, otherwise)?;
            let is_cold = |call: BlockCall| t.func.layout.is_cold(call.block(&t.func.dfg.value_lists));
            t.weigh(branch, is_cold(blocks[0]), is_cold(blocks[1]))?;
        }
        InstructionData::BranchTable { arg, table, .. } => {
            let here = t.here();
            let table = &t.func.dfg.jump_tables[table];
            let default = edge(t, inst, here, table.default_block())?;
            let ty = t.int(arg).get_type();
            let mut cases = Vec::with_capacity(table.as_slice().len());
            for (index, &destination) in (0..).zip(table.as_slice()) {
                cases.push((ty.const_int(index, false), edge(t, inst, here, destination)?));
            }
            t.builder.position_at_end(here);
            t.builder.build_switch(t.int(arg), default, &cases)?;
        }
        InstructionData::MultiAry { opcode: Opcode::Return, .. } => t.outgoing(t.func.dfg.inst_args(inst))?,
        InstructionData::NullAry { opcode: Opcode::Nop | Opcode::SequencePoint } => {}
        _ => return Ok(false),
    }
    Ok(true)
}

fn jump(t: &mut Translator<'_, '_>, inst: Inst, destination: BlockCall) -> Result<(), Refusal> {
    let target = bind(t, inst, t.here(), destination)?;
    t.builder.build_unconditional_branch(target)?;
    Ok(())
}

/// The block a branch must name to take this edge.
fn edge<'ctx>(
    t: &mut Translator<'ctx, '_>,
    inst: Inst,
    here: BasicBlock<'ctx>,
    destination: BlockCall,
) -> Result<BasicBlock<'ctx>, Refusal> {
    if destination.len(&t.func.dfg.value_lists) == 0 {
        return bind(t, inst, here, destination);
    }
    let between = t.context.append_basic_block(t.function, "");
    t.builder.position_at_end(between);
    jump(t, inst, destination)?;
    Ok(between)
}

/// Passes the destination's arguments on the edge from `from`.
fn bind<'ctx>(
    t: &Translator<'ctx, '_>,
    inst: Inst,
    from: BasicBlock<'ctx>,
    destination: BlockCall,
) -> Result<BasicBlock<'ctx>, Refusal> {
    let pool = &t.func.dfg.value_lists;
    let block = destination.block(pool);
    let args = destination.args(pool).zip(t.func.dfg.block_params(block)).map(|(arg, &param)| match arg {
        BlockArg::Value(value) => Ok(t.forwarded(value, param)),
        BlockArg::TryCallRet(_) | BlockArg::TryCallExn(_) => Err(t.unknown(inst)),
    });
    let args = args.collect::<Result<Vec<_>, _>>()?;
    t.bind(block, from, &args);
    Ok(t.block(block))
}
