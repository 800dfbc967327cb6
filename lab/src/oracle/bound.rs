//! A bound that no plan is better than.
//!
//! Whatever a plan does, code saves nothing before it was compiled, and until the end `T` of the program its workers compile for `workers · T`
//! at most. So a program that takes `I` when all is interpreted takes at least the least `T` with
//!
//! ```text
//! T ≥ I − S(workers · T)
//! ```
//!
//! where `S(C)` is more than compiles of `C` nanoseconds can save. It is a knapsack, relaxed twice. Each set of tiers of a function is an
//! item that costs the sum of its compiles and saves what its code could at most: work may be done in a tier's code only if it could not have come
//! before it, that is if the slowest way to get there, everything in the slowest tier and slowed by the machine's [sharing](Machine::sharing), is at least as long
//! as the compile. And parts of items may be taken, so that the concave hull of each function's items, steepest steps first, is the best.
//! What a thread loses to compiles that run beside it, at least `(sharing − 1) / workers` of their time, is taken off the savings.
//!
//! With several threads each is bounded alone and the slowest counts; what it loses to compiles is left out then, for they may run
//! beside another thread.

use crate::{Function, Machine, Program};

/// Nanoseconds that no plan can be better than.
pub fn lower_bound(program: &Program, machine: Machine) -> f64 {
    let threads = program.threads();
    let lost = if threads == 1 { (machine.sharing - 1.0) / machine.workers as f64 } else { 0.0 };
    (0..threads).map(|thread| of_thread(program, machine, lost, thread)).fold(0.0, f64::max)
}

fn of_thread(program: &Program, machine: Machine, lost: f64, thread: usize) -> f64 {
    let mut work: Vec<Vec<f64>> = program.functions.iter().map(|function| vec![0.0; 1 << (function.tiers.len() - 1)]).collect();
    let (mut latest, mut interpreted) = (0.0, 0.0);
    for record in program.records.iter().filter(|record| usize::from(record.thread) == thread) {
        let function = &program.functions[record.function as usize];
        interpreted += record.work as f64 * function.tiers[0].pace;
        let slow = slowest(function) * machine.sharing;
        // Of the record the part that comes late enough for a tier's code may be done in it.
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
    let mut steps: Vec<Step> =
        program.functions.iter().zip(&work).flat_map(|(function, work)| hull(function, work, lost)).collect();
    steps.sort_by(|left, right| right.slope().total_cmp(&left.slope()));
    least(interpreted, machine.workers as f64, &steps)
}

/// More compile time, and what it saves.
#[derive(Debug, Clone, Copy)]
struct Step {
    cost: f64,
    saved: f64,
}

impl Step {
    fn slope(self) -> f64 {
        if self.cost > 0.0 { self.saved / self.cost } else { f64::INFINITY }
    }
}

/// The concave hull of a function's items: costs and savings from one to the next, the steepest first.
fn hull(function: &Function, work: &[f64], lost: f64) -> Vec<Step> {
    let all: Vec<Step> = (1..work.len()).map(|set| item(function, work, set, lost)).collect();
    let (mut steps, mut at) = (Vec::new(), Step { cost: 0.0, saved: 0.0 });
    loop {
        let ahead = all.iter().map(|item| Step { cost: item.cost - at.cost, saved: item.saved - at.saved });
        let better = ahead.filter(|step| step.cost >= 0.0 && step.saved > 0.0);
        let Some(best) =
            better.max_by(|left, right| left.slope().total_cmp(&right.slope()).then(left.saved.total_cmp(&right.saved)))
        else {
            return steps;
        };
        steps.push(best);
        at = Step { cost: at.cost + best.cost, saved: at.saved + best.saved };
    }
}

/// What a set of tiers costs, and saves against the interpreter. `work` is by the set of tiers that are possible.
fn item(function: &Function, work: &[f64], set: usize, lost: f64) -> Step {
    let cost = members(function, set).map(|tier| function.tiers[tier].compile as f64).sum();
    let interpreted = function.tiers[0].pace;
    let saved = |open: usize| {
        interpreted - members(function, set & open).map(|tier| function.tiers[tier].pace).fold(interpreted, f64::min)
    };
    let saved: f64 = work.iter().enumerate().map(|(open, work)| work * saved(open)).sum();
    Step { cost, saved: saved - lost * cost }
}

/// The least time that is no less than what it lets compiles save: where `T` and `interpreted − S(workers · T)`, which falls, meet.
fn least(interpreted: f64, workers: f64, steps: &[Step]) -> f64 {
    let (mut spent, mut saved) = (0.0, 0.0);
    for step in steps {
        // Within this step: T = interpreted − saved − (workers · T − spent) · slope.
        let end = (spent + step.cost) / workers;
        if end >= interpreted - saved - step.saved {
            let slope = step.slope();
            let meets = if slope.is_finite() { (interpreted - saved + spent * slope) / (1.0 + workers * slope) } else { end };
            return meets.max(spent / workers);
        }
        (spent, saved) = (spent + step.cost, saved + step.saved);
    }
    interpreted - saved
}

fn slowest(function: &Function) -> f64 {
    function.tiers.iter().map(|tier| tier.pace).fold(0.0, f64::max)
}

fn members(function: &Function, set: usize) -> impl Iterator<Item = usize> {
    (1..function.tiers.len()).filter(move |tier| set >> (tier - 1) & 1 != 0)
}
