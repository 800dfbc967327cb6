//! Which locals may still be read: a fixed point over the graph of a body's operators.
//!
//! The VM goes through a body's nesting; this knows edges only.

use wasmparser::Operator;

use super::reference::Function;

/// The locals that are live before each operator, by its number.
#[derive(Debug)]
pub(crate) struct Live(Vec<Vec<bool>>);

impl Live {
    pub(crate) fn of(function: &Function<'_>) -> Self {
        let edges = edges(function);
        let mut live = vec![vec![false; function.locals.len()]; function.operators.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for at in (0..live.len()).rev() {
                let mut before = vec![false; function.locals.len()];
                for &next in &edges[at] {
                    before.iter_mut().zip(&live[next]).for_each(|(before, &after)| *before |= after);
                }
                match function.operators[at].0 {
                    Operator::LocalGet { local_index } => before[local_index as usize] = true,
                    Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                        before[local_index as usize] = false;
                    }
                    _ => {}
                }
                changed |= before != live[at];
                live[at] = before;
            }
        }
        Self(live)
    }

    /// The locals live before operator number `at`.
    pub(crate) fn before(&self, at: usize) -> impl Iterator<Item = u32> {
        (0..).zip(&self.0[at]).filter(|&(_, &live)| live).map(|(local, _)| local)
    }
}

/// Where each operator may go.
fn edges(function: &Function<'_>) -> Vec<Vec<usize>> {
    let count = function.operators.len();
    let mut edges = vec![Vec::new(); count];
    // Where a branch to each open label goes; past the last operator for the function's own.
    let mut labels = vec![count];
    for (at, (operator, _)) in function.operators.iter().enumerate() {
        let label = |depth: u32| labels[labels.len() - 1 - depth as usize];
        let next: Vec<usize> = match operator {
            Operator::If { .. } => {
                let block = function.blocks[&at];
                vec![at + 1, block.otherwise.unwrap_or(block.end) + 1]
            }
            // Reached from above, at the end of the other part.
            Operator::Else => vec![label(0)],
            Operator::Br { relative_depth } => vec![label(*relative_depth)],
            Operator::BrIf { relative_depth } => vec![at + 1, label(*relative_depth)],
            Operator::BrTable { targets } => {
                let named = targets.targets().map(|depth| label(depth.expect("validated")));
                named.chain([label(targets.default())]).collect()
            }
            Operator::Return | Operator::Unreachable => Vec::new(),
            _ => vec![at + 1],
        };
        edges[at] = next.into_iter().filter(|&next| next < count).collect();
        match operator {
            Operator::Block { .. } | Operator::If { .. } => labels.push(function.blocks[&at].end + 1),
            Operator::Loop { .. } => labels.push(at),
            Operator::End => drop(labels.pop()),
            _ => {}
        }
    }
    edges
}
