//! A good plan: greedy at first, then made better by small changes.
//!
//! The greedy order is Smith's rule, what there is to win over what it costs. Then a change is tried: a compile is left out, put
//! in, moved, or made one for another tier. What is not worse is kept (hill climbing with plateaus), and the best of all is kept aside. The same seed
//! gives the same plan.

use std::collections::{HashMap, HashSet};

use crate::{
    Kind, Machine, Program,
    plan::{self, Job},
};

/// A plan and what it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// Nanoseconds.
    pub time: f64,
    /// The compiles, in order.
    pub plan: Vec<Job>,
}

/// All compiles that could pay at all: those that would save more than they take if their code were there from the start.
pub fn candidates(program: &Program) -> Vec<Job> {
    let mut work: HashMap<(u32, Kind), f64> = HashMap::new();
    for record in &program.records {
        *work.entry((record.function, record.kind)).or_default() += record.work as f64;
        // A body serves the loops of calls that begin later.
        if record.kind != Kind::Calls {
            *work.entry((record.function, Kind::Calls)).or_default() += record.work as f64;
        }
    }
    let mut jobs: Vec<(f64, Job)> = Vec::new();
    for (&(function, kind), work) in &work {
        let tiers = &program.functions[function as usize].tiers;
        for (tier, facts) in tiers.iter().enumerate().skip(1) {
            let gain = work * (tiers[0].pace - facts.pace);
            if gain > facts.compile as f64 {
                jobs.push((gain / (facts.compile as f64 + 1.0), Job { function, tier: tier as u8, kind }));
            }
        }
    }
    let key = |job: &Job| (job.function, job.tier, if let Kind::Loop { site } = job.kind { site + 1 } else { 0 });
    jobs.sort_by(|(left, a), (right, b)| right.total_cmp(left).then_with(|| key(a).cmp(&key(b))));
    jobs.into_iter().map(|(_, job)| job).collect()
}

/// The best plan found after looking at `looks` plans.
pub fn search(program: &Program, machine: Machine, seed: u64, looks: u32) -> Best {
    let candidates = candidates(program);
    let mut best = Best { time: plan::time(program, machine, &[]), plan: Vec::new() };
    if candidates.is_empty() {
        return best;
    }
    let mut looks_left = looks;
    let look = |plan: Vec<Job>, looks_left: &mut u32| {
        *looks_left = looks_left.saturating_sub(1);
        Best { time: plan::time(program, machine, &plan), plan }
    };
    let top = candidates.iter().map(|job| job.tier).max().unwrap_or(1);
    // By tier alone, all at once, and the cheap tier before the dear one.
    let mut starts = vec![candidates.clone(), once(&candidates, |_| true)];
    starts.extend((1..=top).map(|tier| once(&candidates, |job| job.tier == tier)));
    starts.push(candidates.iter().filter(|job| job.tier == 1).chain(candidates.iter().filter(|job| job.tier > 1)).copied().collect());
    let mut current = best.clone();
    for start in starts {
        let found = look(start, &mut looks_left);
        if found.time < current.time {
            current = found;
        }
    }
    let mut dice = fastrand::Rng::with_seed(seed);
    while looks_left > 0 {
        if current.time < best.time {
            best = current.clone();
        }
        let tried = look(changed(&current.plan, &candidates, &mut dice), &mut looks_left);
        if tried.time <= current.time {
            current = tried;
        }
    }
    if current.time < best.time { current } else { best }
}

/// The best compile of each function alone.
fn once(candidates: &[Job], which: impl Fn(&Job) -> bool) -> Vec<Job> {
    let mut seen = HashSet::new();
    candidates.iter().filter(|job| which(job) && seen.insert((job.function, job.kind))).copied().collect()
}

fn changed(plan: &[Job], candidates: &[Job], dice: &mut fastrand::Rng) -> Vec<Job> {
    let mut plan = plan.to_vec();
    for _ in 0..1 + dice.usize(..3) {
        let job = candidates[dice.usize(..candidates.len())];
        match dice.u8(..4) {
            0 if !plan.is_empty() => {
                plan.remove(dice.usize(..plan.len()));
            }
            1 if !plan.is_empty() => {
                let moved = plan.remove(dice.usize(..plan.len()));
                plan.insert(dice.usize(..=plan.len()), moved);
            }
            2 => {
                // The same code in another tier.
                match plan.iter().position(|other| (other.function, other.kind) == (job.function, job.kind)) {
                    Some(place) => plan[place] = job,
                    None => plan.insert(dice.usize(..=plan.len()), job),
                }
            }
            _ => {
                plan.retain(|other| *other != job);
                plan.insert(dice.usize(..=plan.len()), job);
            }
        }
    }
    let mut seen = HashSet::new();
    plan.retain(|job| seen.insert(*job));
    plan
}
