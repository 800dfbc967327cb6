//! Counters of loops. An address that a counter drives is split, in `address`, into what it is when the loop begins and how far
//! it has come since: LLVM then sees one object per stream of addresses, tells the streams of a loop apart by comparing their
//! bounds once before it, and vectorizes.

use cranelift_codegen::{
    dominator_tree::DominatorTree,
    entity::SecondaryMap,
    flowgraph::ControlFlowGraph,
    ir::{Block, BlockArg, Function, InstructionData, Opcode, Value, ValueDef},
    loop_analysis::{Loop, LoopAnalysis},
};

/// The loops of a function and their counters: parameters of a loop's header that begin at one value and that every turn
/// increases or decreases by constants.
pub(super) struct Induction {
    loops: LoopAnalysis,
    /// By counter: its loop, and what it begins at, which dominates the loop.
    counters: SecondaryMap<Value, Option<(Loop, Value)>>,
}

impl Induction {
    pub(super) fn of(func: &Function, cfg: &ControlFlowGraph, dominators: &DominatorTree) -> Self {
        let mut loops = LoopAnalysis::new();
        loops.compute(func, cfg, dominators);
        let mut counters = SecondaryMap::new();
        for lp in loops.loops() {
            let header = loops.loop_header(lp);
            for (at, &param) in func.dfg.block_params(header).iter().enumerate() {
                counters[param] = start(func, cfg, &loops, lp, at, param).map(|start| (lp, start));
            }
        }
        Induction { loops, counters }
    }

    pub(super) fn loops(&self) -> &LoopAnalysis {
        &self.loops
    }

    /// What `value` was when the innermost loop around `block` began: `value` must be a counter of that loop, or one plus
    /// constants.
    pub(super) fn start(&self, func: &Function, value: Value, block: Block) -> Option<Value> {
        let (counter, _) = without_constants(func, value);
        let (lp, start) = self.counters[counter]?;
        (self.loops.innermost_loop(block) == Some(lp)).then_some(start)
    }
}

/// What the parameter `param` of `lp`'s header, its number `at`, begins at, if it is a counter.
fn start(func: &Function, cfg: &ControlFlowGraph, loops: &LoopAnalysis, lp: Loop, at: usize, param: Value) -> Option<Value> {
    let header = loops.loop_header(lp);
    let mut start = None;
    for edge in cfg.pred_iter(header) {
        let branches = func.dfg.insts[edge.inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables);
        for call in branches.iter().filter(|call| call.block(&func.dfg.value_lists) == header) {
            let Some(BlockArg::Value(arg)) = call.args(&func.dfg.value_lists).nth(at) else { return None };
            let arg = func.dfg.resolve_aliases(arg);
            if loops.is_in_loop(edge.block, lp) {
                let (counter, steps) = without_constants(func, arg);
                if counter != param || steps == 0 {
                    return None;
                }
            } else if start.replace(arg).is_some() {
                return None;
            }
        }
    }
    start
}

/// Takes additions of constants off; says how many there were.
fn without_constants(func: &Function, value: Value) -> (Value, usize) {
    let (mut value, mut steps) = (func.dfg.resolve_aliases(value), 0);
    while let ValueDef::Result(inst, _) = func.dfg.value_def(value)
        && let InstructionData::Binary { opcode: Opcode::Iadd, args: [one, other] } = func.dfg.insts[inst]
    {
        value = match (is_constant(func, one), is_constant(func, other)) {
            (false, true) => func.dfg.resolve_aliases(one),
            (true, false) => func.dfg.resolve_aliases(other),
            _ => break,
        };
        steps += 1;
    }
    (value, steps)
}

fn is_constant(func: &Function, value: Value) -> bool {
    let ValueDef::Result(inst, _) = func.dfg.value_def(func.dfg.resolve_aliases(value)) else { return false };
    func.dfg.insts[inst].opcode() == Opcode::Iconst
}
