//! A bound that no plan is better than, one function at a time.
//!
//! Give every function a worker of its own, and let its compiles cost others nothing but what they must: while one runs beside
//! a thread, both are slowed by the machine's [sharing](Machine::sharing). Then nothing is left of ordering, and each function can
//! be decided alone. Work of a function may be done in a tier's code only if it could not have come before that code: if the slowest way
//! to get there, everything interpreted and slowed, is at least as long as the compile. What is spent so is at least
//!
//! ```text
//! Σ over functions f of  min over sets J of tiers of
//!     Σ over records r of f:  work(r) · min { pace(j) : j = 0, or j ∈ J and compile(j) ≤ latest(r) }
//!   + (sharing − 1) / workers · Σ over J of compile(j)
//! ```
//!
//! where the last line is what a thread loses to compiles that run beside it, all workers at once. With several threads each is bounded alone
//! and the slowest counts; that line is left out then, for a compile may run beside another thread.

use crate::{Function, Machine, Program};

/// Nanoseconds that no plan can be better than.
pub fn lower_bound(program: &Program, machine: Machine) -> f64 {
    let threads = program.threads();
    let slowdown = if threads == 1 { (machine.sharing - 1.0) / machine.workers as f64 } else { 0.0 };
    (0..threads).map(|thread| of_thread(program, machine.sharing, slowdown, thread)).fold(0.0, f64::max)
}

fn of_thread(program: &Program, sharing: f64, slowdown: f64, thread: usize) -> f64 {
    let mut work: Vec<Vec<f64>> = program.functions.iter().map(|function| vec![0.0; 1 << (function.tiers.len() - 1)]).collect();
    let mut latest = 0.0;
    for record in program.records.iter().filter(|record| usize::from(record.thread) == thread) {
        let function = &program.functions[record.function as usize];
        let slow = slowest(function) * sharing;
        // Of the record the part that comes late enough for a tier's code may be done in it: parts by the latest tier first.
        let end = latest + record.work as f64 * slow;
        let mut cuts: Vec<f64> = function.tiers[1..].iter().map(|tier| (tier.compile as f64).clamp(latest, end)).collect();
        cuts.extend([latest, end]);
        cuts.sort_by(f64::total_cmp);
        for part in cuts.windows(2).filter(|part| part[1] > part[0]) {
            let open = (function.tiers[1..].iter().enumerate())
                .filter(|(_, tier)| tier.compile as f64 <= part[0])
                .fold(0, |open, (index, _)| open | 1 << index);
            work[record.function as usize][open] += (part[1] - part[0]) / slow;
        }
        latest = end;
    }
    program.functions.iter().zip(&work).map(|(function, work)| best(function, work, slowdown)).sum()
}

fn slowest(function: &Function) -> f64 {
    function.tiers.iter().map(|tier| tier.pace).fold(0.0, f64::max)
}

/// The least over all sets of tiers. `work` is by the set of tiers that are possible.
fn best(function: &Function, work: &[f64], slowdown: f64) -> f64 {
    let cost = |set: usize| {
        let compiles: f64 = members(function, set).map(|tier| function.tiers[tier].compile as f64).sum();
        let run: f64 = (work.iter().enumerate())
            .map(|(open, work)| {
                let pace = members(function, set & open).map(|tier| function.tiers[tier].pace).fold(function.tiers[0].pace, f64::min);
                work * pace
            })
            .sum();
        run + slowdown * compiles
    };
    (0..work.len()).map(cost).fold(f64::INFINITY, f64::min)
}

fn members(function: &Function, set: usize) -> impl Iterator<Item = usize> {
    (1..function.tiers.len()).filter(move |tier| set >> (tier - 1) & 1 != 0)
}
