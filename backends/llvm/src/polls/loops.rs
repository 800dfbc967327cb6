//! The natural loops of an LLVM function, by its dominators.

use std::collections::HashMap;

use inkwell::{
    basic_block::BasicBlock,
    values::{FunctionValue, InstructionValue, Operand},
};

/// A natural loop; all with one header are one.
pub(super) struct Loop<'ctx> {
    pub(super) header: BasicBlock<'ctx>,
    /// The blocks that go back to the header.
    pub(super) latches: Vec<BasicBlock<'ctx>>,
    /// All its blocks.
    pub(super) blocks: Vec<BasicBlock<'ctx>>,
    /// The blocks outside that go to the header.
    pub(super) entries: Vec<BasicBlock<'ctx>>,
    /// Whether there is a loop in it.
    pub(super) has_inner: bool,
    /// The blocks that every turn goes through.
    pub(super) always: Vec<BasicBlock<'ctx>>,
}

/// The successors of a block, by its terminator's operands.
pub(super) fn successors(terminator: InstructionValue<'_>) -> impl Iterator<Item = BasicBlock<'_>> {
    (0..terminator.get_num_operands()).filter_map(move |at| match terminator.get_operand(at) {
        Some(Operand::Block(block)) => Some(block),
        _ => None,
    })
}

/// A function's blocks in reverse postorder, by number.
struct Graph {
    predecessors: Vec<Vec<usize>>,
    /// The immediate dominator; the entry's is itself.
    dominator: Vec<usize>,
}

impl Graph {
    fn dominates(&self, one: usize, mut other: usize) -> bool {
        // A dominator has a lower number.
        while other > one {
            other = self.dominator[other];
        }
        other == one
    }
}

/// The loops, in no order.
pub(super) fn of(function: FunctionValue<'_>) -> Vec<Loop<'_>> {
    let blocks = reverse_postorder(function);
    let graph = graph(&blocks);
    let mut bodies: Vec<(usize, Vec<usize>, Vec<bool>)> = Vec::new();
    for header in 0..blocks.len() {
        let latches: Vec<_> = graph.predecessors[header].iter().copied().filter(|&from| graph.dominates(header, from)).collect();
        if latches.is_empty() {
            continue;
        }
        let mut inside = vec![false; blocks.len()];
        inside[header] = true;
        let mut open = latches.clone();
        while let Some(block) = open.pop() {
            if !std::mem::replace(&mut inside[block], true) {
                open.extend(&graph.predecessors[block]);
            }
        }
        bodies.push((header, latches, inside));
    }
    let all = |of: &mut dyn Iterator<Item = usize>| of.map(|at| blocks[at]).collect::<Vec<_>>();
    let loops = bodies.iter().map(|(header, latches, inside)| Loop {
        header: blocks[*header],
        latches: all(&mut latches.iter().copied()),
        blocks: all(&mut (0..blocks.len()).filter(|&block| inside[block])),
        entries: all(&mut graph.predecessors[*header].iter().copied().filter(|&from| !inside[from])),
        has_inner: bodies.iter().any(|(other, ..)| other != header && inside[*other]),
        always: all(
            &mut (0..blocks.len()).filter(|&block| inside[block] && latches.iter().all(|&latch| graph.dominates(block, latch)))
        ),
    });
    loops.collect()
}

fn reverse_postorder<'ctx>(function: FunctionValue<'ctx>) -> Vec<BasicBlock<'ctx>> {
    let Some(entry) = function.get_first_basic_block() else { return Vec::new() };
    let targets = |block: BasicBlock<'ctx>| block.get_terminator().into_iter().flat_map(successors).collect::<Vec<_>>();
    let mut seen = std::collections::HashSet::from([entry]);
    let mut order = Vec::new();
    let mut open = vec![(entry, targets(entry))];
    while let Some((block, rest)) = open.last_mut() {
        match rest.pop() {
            Some(next) => {
                if seen.insert(next) {
                    open.push((next, targets(next)));
                }
            }
            None => {
                order.push(*block);
                open.pop();
            }
        }
    }
    order.reverse();
    order
}

/// Edges and dominators (Cooper, Harvey, Kennedy: A Simple, Fast Dominance Algorithm, 2001).
fn graph(blocks: &[BasicBlock<'_>]) -> Graph {
    let number: HashMap<_, _> = blocks.iter().enumerate().map(|(at, &block)| (block, at)).collect();
    let targets =
        |block: &BasicBlock<'_>| block.get_terminator().into_iter().flat_map(successors).map(|to| number[&to]).collect();
    let successors: Vec<Vec<usize>> = blocks.iter().map(targets).collect();
    let mut predecessors = vec![Vec::new(); blocks.len()];
    for (from, targets) in successors.iter().enumerate() {
        for &to in targets {
            if !predecessors[to].contains(&from) {
                predecessors[to].push(from);
            }
        }
    }
    let mut dominator = vec![usize::MAX; blocks.len()];
    dominator[0] = 0;
    let mut changed = true;
    while changed {
        changed = false;
        for block in 1..blocks.len() {
            let known = predecessors[block].iter().copied().filter(|&from| dominator[from] != usize::MAX);
            let common = known.reduce(|mut one, mut other| {
                while one != other {
                    if one > other { one = dominator[one] } else { other = dominator[other] }
                }
                one
            });
            let common = common.expect("in reverse postorder a predecessor comes first");
            changed |= std::mem::replace(&mut dominator[block], common) != common;
        }
    }
    Graph { predecessors, dominator }
}
