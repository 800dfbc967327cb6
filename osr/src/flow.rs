//! The body's control flow, as a variant sees it: nothing comes after a block through which the code leaves.

use std::collections::HashMap;

use cranelift_codegen::{
    dominator_tree::DominatorTree,
    flowgraph::ControlFlowGraph,
    ir::{Block, Function, Inst, Value, ValueDef},
    loop_analysis::LoopAnalysis,
};

use crate::{Leave, Sites};

/// A verified body and what is known of its control flow.
pub(crate) struct Flow<'a> {
    pub(crate) body: &'a Function,
    pub(crate) loops: LoopAnalysis,
    graph: ControlFlowGraph,
    dominators: DominatorTree,
    leaves: HashMap<Block, &'a Leave>,
}

impl<'a> Flow<'a> {
    pub(crate) fn of(body: &'a Function, sites: &'a Sites) -> Self {
        let graph = ControlFlowGraph::with_function(body);
        let dominators = DominatorTree::with_function(body, &graph);
        let mut loops = LoopAnalysis::new();
        loops.compute(body, &graph, &dominators);
        let leaves = sites.leaves.iter().map(|leave| (leave.block, leave)).collect();
        Flow { body, loops, graph, dominators, leaves }
    }

    /// Blocks that can be reached, definitions before uses.
    pub(crate) fn reverse_postorder(&self) -> impl Iterator<Item = Block> + '_ {
        self.dominators.cfg_rpo().copied()
    }

    pub(crate) fn is_reachable(&self, block: Block) -> bool {
        self.dominators.is_reachable(block)
    }

    /// Whether a value, which is no alias, is there when `block` begins.
    pub(crate) fn is_available(&self, value: Value, block: Block) -> bool {
        let is_in_block = matches!(self.body.dfg.value_def(value), ValueDef::Result(..)) && self.definition(value) == Some(block);
        !is_in_block && self.definition(value).is_some_and(|definition| self.dominators.block_dominates(definition, block))
    }

    /// The declaration of a block through which the code leaves.
    pub(crate) fn leave(&self, block: Block) -> Option<&'a Leave> {
        self.leaves.get(&block).copied()
    }

    pub(crate) fn successors(&self, block: Block) -> impl Iterator<Item = Block> + '_ {
        self.graph.succ_iter(block).filter(move |_| self.leave(block).is_none())
    }

    pub(crate) fn predecessors(&self, block: Block) -> impl Iterator<Item = Block> + '_ {
        self.graph.pred_iter(block).map(|pred| pred.block).filter(|&block| self.leave(block).is_none())
    }

    /// Whether `header` is that of a loop around `block`.
    pub(crate) fn is_around(&self, header: Block, block: Block) -> bool {
        let innermost = self.loops.innermost_loop(header);
        innermost.is_some_and(|l| self.loops.loop_header(l) == header && self.loops.is_in_loop(block, l))
    }

    /// Whether every cycle is a loop with one header: no edge leads back to a block that does not dominate its source.
    pub(crate) fn is_reducible(&self) -> bool {
        let position: HashMap<Block, usize> = self.reverse_postorder().enumerate().map(|(at, block)| (block, at)).collect();
        self.reverse_postorder().all(|from| {
            let mut edges = self.graph.succ_iter(from);
            edges.all(|to| position[&to] > position[&from] || self.dominators.block_dominates(to, from))
        })
    }

    /// Instructions of the body.
    pub(crate) fn instructions(&self) -> usize {
        self.body.layout.blocks().map(|block| self.instructions_of(block)).sum()
    }

    /// Instructions a copy of the block has.
    pub(crate) fn instructions_of(&self, block: Block) -> usize {
        match self.leave(block) {
            Some(leave) => leave.live.len() + 1,
            None => self.body.layout.block_insts(block).count(),
        }
    }

    /// Values a copy of the block uses.
    pub(crate) fn uses(&self, block: Block) -> Vec<Value> {
        let dfg = &self.body.dfg;
        let resolve = |value| dfg.resolve_aliases(value);
        match self.leave(block) {
            Some(leave) => leave.live.iter().map(|&(_, value)| resolve(value)).collect(),
            None => self.body.layout.block_insts(block).flat_map(|inst| dfg.inst_values(inst)).map(resolve).collect(),
        }
    }

    /// The block that defines a value, which is no alias.
    pub(crate) fn definition(&self, value: Value) -> Option<Block> {
        match self.body.dfg.value_def(value) {
            ValueDef::Param(block, _) => Some(block),
            ValueDef::Result(inst, _) => self.body.layout.inst_block(inst),
            ValueDef::Union(..) => None,
        }
    }

    /// An instruction, for errors.
    pub(crate) fn display(&self, inst: Inst) -> String {
        self.body.dfg.display_inst(inst).to_string()
    }
}
