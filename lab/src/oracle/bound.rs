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
//! A second bound looks at the order as well. The program is cut into segments; `t` is when one ends, and by then compilers have worked for
//! `workers · t` at most. So if the segment before ended at `s`, and this one takes `I` when it is interpreted,
//!
//! ```text
//! t ≥ s + I − S(workers · t)
//! ```
//!
//! with the `S` of this segment's work alone. The least `t` grows with `s`, so that the least solutions, one after the other, are below what any plan
//! has. Each segment may have compiled something else with the same time, and what is lost beside compiles, which may have come in
//! any segment, is left out. The larger of both bounds counts.
//!
//! With several threads each is bounded alone and the slowest counts; what it loses to compiles is left out then, for they may run
//! beside another thread.

use crate::{Function, Machine, Program, Record};

/// Segments of the second bound.
const SEGMENTS: f64 = 128.0;

/// Nanoseconds that no plan can be better than.
pub fn lower_bound(program: &Program, machine: Machine) -> f64 {
    let threads = program.threads();
    let lost = if threads == 1 { (machine.sharing - 1.0) / machine.workers as f64 } else { 0.0 };
    let both = |thread: usize| f64::max(of_thread(program, machine, lost, thread), in_order(program, machine, thread));
    (0..threads).map(both).fold(0.0, f64::max)
}

fn of_thread(program: &Program, machine: Machine, lost: f64, thread: usize) -> f64 {
    let mut done = Done::new(program, machine);
    program.records.iter().filter(|record| usize::from(record.thread) == thread).for_each(|record| done.add(record));
    least(done.interpreted, machine.workers as f64, &done.steps(lost))
}

/// The bound by segments.
fn in_order(program: &Program, machine: Machine, thread: usize) -> f64 {
    let records = || program.records.iter().filter(|record| usize::from(record.thread) == thread);
    let interpreted = |record: &Record| record.work as f64 * program.functions[record.function as usize].tiers[0].pace;
    let segment = records().map(interpreted).sum::<f64>() / SEGMENTS;
    let mut done = Done::new(program, machine);
    let mut end = 0.0;
    for record in records() {
        done.add(record);
        if done.interpreted >= segment {
            end = least(end + done.interpreted, machine.workers as f64, &done.steps(0.0));
            done.clear();
        }
    }
    least(end + done.interpreted, machine.workers as f64, &done.steps(0.0))
}

/// Work of a thread, and when it can have been done at the latest.
struct Done<'p> {
    program: &'p Program,
    sharing: f64,
    /// By function and by the set of tiers that are possible.
    work: Vec<Vec<f64>>,
    /// Nanoseconds of all of it, interpreted.
    interpreted: f64,
    /// When the work so far is done, if everything is as slow as it can be: what was [cleared](Self::clear) included.
    latest: f64,
}

impl<'p> Done<'p> {
    fn new(program: &'p Program, machine: Machine) -> Self {
        let work = program.functions.iter().map(|function| vec![0.0; 1 << (function.tiers.len() - 1)]).collect();
        Done { program, sharing: machine.sharing, work, interpreted: 0.0, latest: 0.0 }
    }

    fn add(&mut self, record: &Record) {
        let function = &self.program.functions[record.function as usize];
        self.interpreted += record.work as f64 * function.tiers[0].pace;
        let slow = slowest(function) * self.sharing;
        // Of the record the part that comes late enough for a tier's code may be done in it.
        let end = self.latest + record.work as f64 * slow;
        let mut cuts: Vec<f64> = function.tiers[1..].iter().map(|tier| (tier.compile as f64).clamp(self.latest, end)).collect();
        cuts.extend([self.latest, end]);
        cuts.sort_by(f64::total_cmp);
        for part in cuts.windows(2).filter(|part| part[1] > part[0]) {
            let open = (function.tiers[1..].iter().enumerate())
                .filter(|(_, tier)| tier.compile as f64 <= part[0])
                .fold(0, |open, (index, _)| open | 1 << index);
            self.work[record.function as usize][open] += (part[1] - part[0]) / slow;
        }
        self.latest = end;
    }

    /// What compiles can save of it, the steepest steps first.
    fn steps(&self, lost: f64) -> Vec<Step> {
        let all = self.program.functions.iter().zip(&self.work).filter(|(_, work)| work.iter().any(|&work| work > 0.0));
        let mut steps: Vec<Step> = all.flat_map(|(function, work)| hull(function, work, lost)).collect();
        steps.sort_by(|left, right| right.slope().total_cmp(&left.slope()));
        steps
    }

    fn clear(&mut self) {
        self.work.iter_mut().flatten().for_each(|work| *work = 0.0);
        self.interpreted = 0.0;
    }
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
