//! A bound that no plan is better than.
//!
//! Whatever a plan does, code saves nothing before it was compiled. Time is counted here on a clock that stands still for the part that everything
//! is slower by while a compile runs beside the program ([sharing](Machine::sharing)): if the program ends at `U` on it, and compiles ran
//! for `B`, the program took
//!
//! ```text
//! T = U + (sharing − 1) · B
//! ```
//!
//! and its workers have compiled for `workers · B` at most, `B ≤ U`. There are two bounds, and the larger counts.
//!
//! **By volume.** A program that takes `I` when all is interpreted takes at least the least `T` with
//!
//! ```text
//! T ≥ I − S(workers / sharing · T)
//! ```
//!
//! where `S(C)` is more than compiles of `C` nanoseconds can save, what is lost beside them, `(sharing − 1) / workers` of their time, taken off.
//! It is a knapsack, relaxed twice. Each set of tiers of a function is an item that costs the sum of its compiles and saves what its code could at
//! most: work may be done in a tier's code only if it could not have come before it, that is if the slowest way to get there, everything in the
//! slowest tier, is at least as long as the compile. And parts of items may be taken, so that the concave hull of each function's items, steepest
//! steps first, is the best.
//!
//! **In order.** The program is cut into segments; `t` is when one ends, and by then compilers have worked for `workers · t` at most, and
//! no compile that takes longer than `t` is over. So if the segment before ended at `s`, and this one takes `I` when it is interpreted,
//!
//! ```text
//! t ≥ s + I − S(workers · t)
//! ```
//!
//! with the `S` of this segment's work alone, and of the compiles that take `t` at most. The least `t` grows with `s`, so that the least solutions, one
//! after the other, are below what any plan has. Each segment may have compiled something else with the same time. What is lost beside
//! compiles is no less than beside the longest of them alone. Which that is depends on the plan: for each length `m` there is the bound for plans
//! whose longest compile takes as long, and the least of these is one for all.
//!
//! With several threads each is bounded alone and the slowest counts; what it loses to compiles is left out then, for they may run
//! beside another thread.

use std::collections::BTreeMap;

use crate::{Function, Machine, Program, Record};

/// Segments of the bound in order.
const SEGMENTS: f64 = 256.0;
/// Lengths of the longest compile that are looked at; where there are more, several are bounded together.
const LENGTHS: usize = 24;

/// Nanoseconds that no plan can be better than.
pub fn lower_bound(program: &Program, machine: Machine) -> f64 {
    let threads = program.threads();
    let sharing = if threads == 1 { machine.sharing } else { 1.0 };
    let both =
        |thread: usize| f64::max(by_volume(program, machine, sharing, thread), in_order(program, machine, sharing, thread));
    (0..threads).map(both).fold(0.0, f64::max)
}

/// The bound by volume.
fn by_volume(program: &Program, machine: Machine, sharing: f64, thread: usize) -> f64 {
    let mut done = Done::new(program);
    program.records.iter().filter(|record| usize::from(record.thread) == thread).for_each(|record| done.add(record));
    let workers = machine.workers as f64;
    let steps = done.steps((sharing - 1.0) / workers, f64::INFINITY);
    least(done.interpreted, workers / sharing, &steps)
}

/// The bound in order.
fn in_order(program: &Program, machine: Machine, sharing: f64, thread: usize) -> f64 {
    let mut lengths: Vec<f64> =
        program.functions.iter().flat_map(|function| &function.tiers[1..]).map(|tier| tier.compile as f64).collect();
    lengths.push(0.0);
    lengths.sort_by(f64::total_cmp);
    lengths.dedup();
    // No compile is longer than any; of a group of lengths, the longest may be compiled, and the shortest is lost.
    let groups = lengths.chunks(lengths.len().div_ceil(LENGTHS));
    let segments = Segments::new(program, thread);
    let of = |group: &[f64]| {
        let (Some(shortest), Some(&longest)) = (group.first(), group.last()) else { return f64::INFINITY };
        let open = &lengths[..lengths.partition_point(|&length| length <= longest)];
        segments.end(machine.workers as f64, open) + (sharing - 1.0) * shortest
    };
    groups.map(of).fold(f64::INFINITY, f64::min)
}

/// What a thread does, cut into segments that take equally long when they are interpreted.
struct Segments<'p>(Vec<Done<'p>>);

impl<'p> Segments<'p> {
    fn new(program: &'p Program, thread: usize) -> Self {
        let records = || program.records.iter().filter(|record| usize::from(record.thread) == thread);
        let interpreted = |record: &Record| record.work as f64 * program.functions[record.function as usize].tiers[0].pace;
        let most = records().map(interpreted).sum::<f64>() / SEGMENTS;
        let (mut segments, mut done) = (Vec::new(), Done::new(program));
        for record in records() {
            // A long record is of several segments.
            let mut left = *record;
            while done.interpreted + interpreted(&left) > most && left.work > 1 {
                let fits = ((most - done.interpreted) / interpreted(&left) * left.work as f64) as u64;
                let part = Record { work: fits.clamp(1, left.work), ..left };
                done.add(&part);
                left.work -= part.work;
                let next = done.next();
                segments.push(std::mem::replace(&mut done, next));
            }
            if left.work > 0 {
                done.add(&left);
            }
        }
        segments.push(done);
        Segments(segments)
    }

    /// When the last one ends at the earliest, if compiles take as long as one of `open`, which are sorted.
    fn end(&self, workers: f64, open: &[f64]) -> f64 {
        self.0.iter().fold(0.0, |start, segment| {
            let end = |within: f64| least(start + segment.interpreted, workers, &segment.steps(0.0, within));
            // The first length that is not over at the end of a segment in which all shorter ones are.
            let (mut low, mut high) = (open.partition_point(|&length| length <= start), open.len());
            let mut first = end(low.checked_sub(1).map_or(0.0, |last| open[last]));
            if low < high && first > open[low] {
                while low < high {
                    let middle = low + (high - low) / 2;
                    match end(open[middle]) > open.get(middle + 1).copied().unwrap_or(f64::INFINITY) {
                        true => low = middle + 1,
                        false => high = middle,
                    }
                }
                let last = open[low.min(open.len() - 1)];
                first = end(last).max(last);
            }
            first
        })
    }
}

/// Work of a thread, and when it can have been done at the latest.
struct Done<'p> {
    program: &'p Program,
    /// By function, and by the set of tiers that are possible.
    work: BTreeMap<u32, Vec<f64>>,
    /// Nanoseconds of all of it, interpreted.
    interpreted: f64,
    /// When the work so far is done, if everything is as slow as it can be: what came before included.
    latest: f64,
}

impl<'p> Done<'p> {
    fn new(program: &'p Program) -> Self {
        Done { program, work: BTreeMap::new(), interpreted: 0.0, latest: 0.0 }
    }

    /// What comes after it.
    fn next(&self) -> Self {
        Done { latest: self.latest, ..Done::new(self.program) }
    }

    fn add(&mut self, record: &Record) {
        let function = &self.program.functions[record.function as usize];
        self.interpreted += record.work as f64 * function.tiers[0].pace;
        let slow = slowest(function);
        // Of the record the part that comes late enough for a tier's code may be done in it.
        let end = self.latest + record.work as f64 * slow;
        let mut cuts: Vec<f64> = function.tiers[1..].iter().map(|tier| (tier.compile as f64).clamp(self.latest, end)).collect();
        cuts.extend([self.latest, end]);
        cuts.sort_by(f64::total_cmp);
        let work = self.work.entry(record.function).or_insert_with(|| vec![0.0; 1 << (function.tiers.len() - 1)]);
        for part in cuts.windows(2).filter(|part| part[1] > part[0]) {
            let open = (function.tiers[1..].iter().enumerate())
                .filter(|(_, tier)| tier.compile as f64 <= part[0])
                .fold(0, |open, (index, _)| open | 1 << index);
            work[open] += (part[1] - part[0]) / slow;
        }
        self.latest = end;
    }

    /// What compiles can save of it that take `within` each at most, the steepest steps first.
    fn steps(&self, lost: f64, within: f64) -> Vec<Step> {
        let all = self.work.iter().map(|(&function, work)| (&self.program.functions[function as usize], work));
        let mut steps: Vec<Step> = all.flat_map(|(function, work)| hull(function, work, lost, within)).collect();
        steps.sort_by(|left, right| right.slope().total_cmp(&left.slope()));
        steps
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
fn hull(function: &Function, work: &[f64], lost: f64, within: f64) -> Vec<Step> {
    let fits = |set: &usize| members(function, *set).all(|tier| function.tiers[tier].compile as f64 <= within);
    let all: Vec<Step> = (1..work.len()).filter(fits).map(|set| item(function, work, set, lost)).collect();
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
