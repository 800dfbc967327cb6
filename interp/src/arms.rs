//! Arm profiles: which parts of a function's code have run.
//!
//! An *arm* is a stretch of code that is entered at its first operator only, where control arrives by a choice: behind an `if` or an
//! `else`, behind a branch not taken, behind an `end` that was branched to, up to the end of the block that it is in. Code that may
//! still be replaced by better code counts how often it enters arms; the optimizing tier leaves those out that were never entered
//! ([`lower/arms.rs`](crate::lower)), if it has been seen what the function does.
//!
//! Only arms are counted that are large beside the exit that would take their place, and of functions that are large themselves: others
//! compile soon enough. Arms nest. One that goes as far as the one around it tells nothing new for a while, so it is counted only if the
//! last count is far enough behind. So a path through the code has few counts, one addition in memory each.
//!
//! # When a profile is stable
//!
//! Of arms that were never entered nothing was seen, but of how often something new is met there is an estimate, Good and Turing's: as
//! often as, so far, what was met once. So it is stable when there are few such arms for the times that arms were entered at all. Programs
//! have phases, which nothing foretells: whoever was wrong tells so ([`Arms::enter`]), and the arm is no longer left out.
//!
//! # Orderings
//!
//! Every access is Relaxed: numbers that carry nothing and that no result depends on. They are read and written back, not added to
//! atomically, so threads that count at once may lose some.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use wasmparser::{Operator, OperatorsReader};

use crate::config::Speculate;

/// Weight of the code that makes a function worth it: about so many operators.
const MIN_FUNCTION: u32 = 1000;
/// Weight that makes an arm worth an exit.
const MIN_ARM: u32 = 40;
/// Weight between two counts of which one goes as far as the other.
const MIN_DISTANCE: u32 = 80;
/// Weight of a call, of which the compiler may put the callee there.
const CALL: u32 = 8;
/// Arms that must have been entered, in all, for each that was entered once, and at least.
const STABLE: u64 = 256;

/// The arms of one function.
#[derive(Debug)]
pub(crate) struct Arms {
    /// In the order of their first operators. They nest.
    arms: Box<[Arm]>,
    /// How often the function was entered, then each arm.
    counts: Box<[AtomicU32]>,
}

/// A stretch of code. Offsets are those of operators in the bytes that the body came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arm {
    /// The first operator.
    pub(crate) start: u32,
    /// The operator behind the last, an `end` or `else`.
    pub(crate) end: u32,
}

impl Arms {
    /// Those of a body. `None` if there are none worth counting.
    pub(crate) fn of(operators: OperatorsReader<'_>, speculate: Speculate) -> Option<Self> {
        let least = match speculate {
            Speculate::Off | Speculate::Auto => return None,
            Speculate::Arms => Least { function: MIN_FUNCTION, arm: MIN_ARM, distance: MIN_DISTANCE },
            Speculate::Always => Least { function: 0, arm: 2, distance: 0 },
        };
        let arms = read(operators, &least)?;
        let counts = (0..=arms.len()).map(|_| AtomicU32::new(0)).collect();
        (!arms.is_empty()).then(|| Self { arms: arms.into(), counts })
    }

    /// Where code counts that it enters the function.
    pub(crate) fn entries(&self) -> *const AtomicU32 {
        &raw const self.counts[0]
    }

    /// Where code counts that it enters the arm of that number.
    pub(crate) fn count(&self, arm: usize) -> *const AtomicU32 {
        &raw const self.counts[arm + 1]
    }

    /// All of them, by number: in the order of their first operators.
    pub(crate) fn all(&self) -> &[Arm] {
        &self.arms
    }

    /// Says that the arm that begins at `start` was entered.
    pub(crate) fn enter(&self, start: u32) {
        if let Ok(arm) = self.arms.binary_search_by_key(&start, |arm| arm.start) {
            let count = &self.counts[arm + 1];
            count.store(count.load(Relaxed).saturating_add(1), Relaxed);
        }
    }

    /// The arms that were never entered, nor any within them, of those that the caller `admits`, outermost ones only; none if it is too
    /// early to say.
    pub(crate) fn unreached(&self, speculate: Speculate, admits: impl Fn(&Arm) -> bool) -> Vec<Arm> {
        let counts: Vec<u32> = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        let entered: u64 = counts.iter().copied().map(u64::from).sum();
        let once = counts.iter().filter(|&&count| count == 1).count() as u64;
        let is_known = match speculate {
            Speculate::Off | Speculate::Auto => false,
            Speculate::Arms => entered >= STABLE * once.max(1),
            Speculate::Always => entered > 0,
        };
        let mut unreached: Vec<Arm> = Vec::new();
        if !is_known {
            return unreached;
        }
        for (at, arm) in self.arms.iter().enumerate() {
            let is_within = unreached.last().is_some_and(|last| last.contains(arm.start));
            let behind = self.arms.partition_point(|other| other.start < arm.end);
            if !is_within && counts[at + 1..=behind].iter().all(|&count| count == 0) && admits(arm) {
                unreached.push(*arm);
            }
        }
        unreached
    }
}

impl Arm {
    /// Whether the operator at `offset` is one of it.
    pub(crate) fn contains(&self, offset: u32) -> bool {
        (self.start..self.end).contains(&offset)
    }
}

/// What makes counting worth it, as weights.
struct Least {
    function: u32,
    arm: u32,
    distance: u32,
}

/// An open block.
struct Open {
    is_loop: bool,
    /// Whether control can get to it.
    is_live: bool,
    /// Whether something branches to its end; of an `if`, whether its condition may go there.
    is_joined: bool,
    /// An `if` without its `else` so far.
    is_if: bool,
    /// Arms that end with it: where they are among all, and the weight before.
    arms: Vec<(usize, u32)>,
    /// Weight before the last one that is counted.
    counted: Option<u32>,
}

impl Open {
    fn new(operator: &Operator<'_>, is_live: bool) -> Self {
        let (is_loop, is_if) = (matches!(operator, Operator::Loop { .. }), matches!(operator, Operator::If { .. }));
        Self { is_loop, is_live, is_joined: false, is_if, arms: Vec::new(), counted: None }
    }
}

/// Goes through code as control does: which operators can be reached, and where it arrives.
struct Walk {
    open: Vec<Open>,
    is_live: bool,
    arrived: Option<Arrived>,
}

/// How control gets to an operator that is not simply the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrived {
    /// By a choice only.
    Chosen,
    /// By a branch not taken, or from above as well.
    Through,
}

impl Walk {
    fn new() -> Self {
        Self { open: vec![Open::new(&Operator::Nop, true)], is_live: true, arrived: None }
    }

    /// Passes an operator. `close` gets the block that it ends, or whose first part.
    fn pass(&mut self, operator: &Operator<'_>, mut close: impl FnMut(&mut Open)) -> Option<()> {
        let was_live = self.is_live;
        self.arrived = None;
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                self.open.push(Open::new(operator, was_live));
                self.arrived = matches!(operator, Operator::If { .. }).then_some(Arrived::Chosen);
            }
            Operator::Else => {
                let open = self.open.last_mut()?;
                close(open);
                open.is_joined |= was_live;
                (open.is_if, open.counted) = (false, None);
                self.is_live = open.is_live;
                self.arrived = Some(Arrived::Chosen);
            }
            Operator::End => {
                let mut open = self.open.pop()?;
                close(&mut open);
                let is_joined = open.is_live && (open.is_joined || open.is_if);
                self.is_live = was_live || is_joined;
                let how = if was_live { Arrived::Through } else { Arrived::Chosen };
                self.arrived = is_joined.then_some(how);
            }
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth)?;
                self.is_live = false;
            }
            Operator::BrIf { relative_depth } => {
                self.branch(*relative_depth)?;
                self.arrived = Some(Arrived::Through);
            }
            Operator::BrTable { targets } => {
                for depth in targets.targets().chain([Ok(targets.default())]) {
                    self.branch(depth.ok()?)?;
                }
                self.is_live = false;
            }
            Operator::Return | Operator::Unreachable => self.is_live = false,
            _ => {}
        }
        Some(())
    }

    fn branch(&mut self, depth: u32) -> Option<()> {
        let at = self.open.len().checked_sub(1 + depth as usize)?;
        let open = &mut self.open[at];
        open.is_joined |= self.is_live && !open.is_loop;
        Some(())
    }
}

/// The arms of a body worth counting; `None` if it cannot be read, or is not worth it.
fn read(mut operators: OperatorsReader<'_>, least: &Least) -> Option<Vec<Arm>> {
    let mut walk = Walk::new();
    let mut all: Vec<(Arm, bool)> = Vec::new();
    // Of what can be reached.
    let mut weight = 0;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset().ok()?;
        let offset = offset as u32;
        if let Some(arrived) = walk.arrived.filter(|_| walk.is_live)
            && let Some(open) = walk.open.last_mut()
        {
            let is_far = open.counted.is_none_or(|before| weight - before >= least.distance);
            if arrived == Arrived::Chosen || is_far {
                open.arms.push((all.len(), weight));
                all.push((Arm { start: offset, end: offset }, false));
                open.counted = Some(weight);
            }
        }
        if walk.is_live {
            weight += match operator {
                Operator::Call { .. } | Operator::CallIndirect { .. } => CALL,
                Operator::Block { .. } | Operator::End | Operator::Else => 0,
                _ => 1,
            };
        }
        walk.pass(&operator, |open| {
            for (at, before) in open.arms.drain(..) {
                let (arm, is_worth_it) = &mut all[at];
                arm.end = offset;
                *is_worth_it = weight - before >= least.arm;
            }
        })?;
    }
    (weight >= least.function).then(|| all.into_iter().filter(|(_, is_worth_it)| *is_worth_it).map(|(arm, _)| arm).collect())
}

/// Whether control gets to the operator at `offset` if it gets to none of `without`, which are in order and do not overlap.
pub(crate) fn reaches(mut operators: OperatorsReader<'_>, offset: u32, without: &[Arm]) -> bool {
    let mut walk = Walk::new();
    while let Ok((operator, at)) = operators.read_with_offset() {
        let at = at as u32;
        if without.binary_search_by_key(&at, |arm| arm.start).is_ok() {
            walk.is_live = false;
        }
        if at == offset {
            return walk.is_live;
        }
        if operators.eof() || walk.pass(&operator, |_| ()).is_none() {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests;
