//! A good plan: greedy at first, then made better by small changes.
//!
//! The greedy plan is made in the order in which workers become free. Each takes the compile that saves most for the time it takes
//! (Smith's rule), where only the work counts that comes after the compile is done: when that is, a run of the plan before says, so that plan and
//! times settle in a few rounds. Several such plans are made, that value time more or less. From the best of them a change is
//! tried at a time: a compile is left out, put in, moved, or made one for another tier. What is not worse is kept, and at first also what is a little
//! worse, less and less (simulated annealing): a compile that moves to its place may have to pass others where it is worse than before. The same
//! seed gives the same plan.

use std::collections::{HashMap, HashSet};

use super::clock::Clock;
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
    /// Workers that compile: where there are few processors, not all have to.
    pub workers: usize,
}

impl Best {
    pub(super) fn of(plan: Vec<Job>, time: f64, machine: Machine) -> Self {
        Best { time, plan, workers: machine.workers }
    }
}

/// How many workers a plan may have: all there are, and fewer where that makes a difference.
pub(super) fn crews(machine: Machine) -> impl Iterator<Item = Machine> {
    let alike = machine.slowdown(1, machine.workers) <= machine.slowdown(1, 1);
    let least = if alike { machine.workers } else { 1 };
    (least..=machine.workers).map(move |workers| Machine { workers, ..machine })
}

/// All compiles that could save anything, if their code were there from the start: those that save most for their time first.
pub fn candidates(program: &Program) -> Vec<Job> {
    let work = work(program);
    let mut jobs: Vec<(f64, Job)> = Vec::new();
    for (&(function, kind), work) in &work {
        let tiers = &program.functions[function as usize].tiers;
        for (tier, facts) in tiers.iter().enumerate().skip(1) {
            let gain = work * (tiers[0].pace - facts.pace);
            if gain > 0.0 {
                jobs.push((gain / (facts.compile as f64 + 1.0), Job { function, tier: tier as u8, kind }));
            }
        }
    }
    let key = |job: &Job| (job.function, job.tier, if let Kind::Loop { site } = job.kind { site + 1 } else { 0 });
    jobs.sort_by(|(left, a), (right, b)| right.total_cmp(left).then_with(|| key(a).cmp(&key(b))));
    jobs.into_iter().map(|(_, job)| job).collect()
}

/// The work that each code could do.
fn work(program: &Program) -> HashMap<(u32, Kind), f64> {
    let mut work: HashMap<(u32, Kind), f64> = HashMap::new();
    for record in &program.records {
        // A body serves the loops of calls that begin later.
        record.kind.codes().for_each(|code| *work.entry((record.function, code)).or_default() += record.work as f64);
    }
    work
}

/// What is lost beside a nanosecond of compiles, where all workers compile.
fn lost(machine: Machine) -> f64 {
    (machine.slowdown(1, machine.workers) - 1.0) / machine.workers as f64
}

/// Rounds in which a greedy plan and its times settle.
const ROUNDS: usize = 4;
/// How much the time of a compile counts: the power it is taken to.
const WEIGHTS: [f64; 4] = [1.0, 0.7, 0.4, 1.4];

/// By what part of the best time a plan may be worse, about, and be gone on from: at first, and less and less.
const WORSE: f64 = 0.004;

/// The best plan found after looking at about `looks` plans.
pub fn search(program: &Program, machine: Machine, seed: u64, looks: u32) -> Best {
    let looks = looks / crews(machine).count().max(1) as u32;
    let found = crews(machine).map(|crew| search_with(program, crew, seed, looks));
    let best = found.min_by(|left, right| left.time.total_cmp(&right.time));
    best.unwrap_or_else(|| Best::of(Vec::new(), plan::time(program, machine, &[]), machine))
}

fn search_with(program: &Program, machine: Machine, seed: u64, looks: u32) -> Best {
    let candidates = candidates(program);
    let clock = Clock::new(program, machine);
    let mut best = Best::of(Vec::new(), clock.time(&[]), machine);
    if candidates.is_empty() {
        return best;
    }
    let mut looks_left = looks;
    let look = |plan: Vec<Job>, best: &mut Best| {
        let time = clock.time(&plan);
        if time <= best.time {
            *best = Best::of(plan, time, machine);
        }
    };
    look(once(&candidates), &mut best);
    for weight in WEIGHTS {
        let mut plan = best.plan.clone();
        for _ in 0..ROUNDS {
            plan = greedy(program, machine, &candidates, &plan::timeline(program, machine, &plan), weight);
            look(plan.clone(), &mut best);
            looks_left = looks_left.saturating_sub(2);
        }
    }
    let changes = Changes::new(program, machine, &candidates);
    anneal(best, &changes, seed, looks_left, |plan| clock.time(plan))
}

/// The best plan found that compiles nothing before its function was called, nor, for a tier, before the function has done the work that `after` has for
/// it, tier 1 first. A free worker takes the first compile of the plan that may begin. Whoever made the plan knows the future of what was called,
/// which no policy does, and nothing of what was not: so it tells what is lost by not knowing from what is lost by choosing badly.
pub fn search_seen(program: &Program, machine: Machine, after: &[u64], seed: u64, looks: u32) -> Best {
    let looks = looks / crews(machine).count().max(1) as u32;
    let found = crews(machine).map(|crew| {
        let clock = Clock::new(program, crew);
        let time = |plan: &[Job]| clock.time_seen(plan, after);
        let known = search_with(program, crew, seed, looks / 2);
        let from = Best::of(known.plan.clone(), time(&known.plan), crew);
        anneal(from, &Changes::new(program, crew, &candidates(program)), seed, looks / 2, time)
    });
    let best = found.min_by(|left, right| left.time.total_cmp(&right.time));
    best.unwrap_or_else(|| Best::of(Vec::new(), plan::time(program, machine, &[]), machine))
}

/// Tries changes of a plan, one after the other.
fn anneal(mut best: Best, changes: &Changes, seed: u64, looks: u32, time_of: impl Fn(&[Job]) -> f64) -> Best {
    if changes.jobs.is_empty() {
        return best;
    }
    let machine = changes.machine;
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut at = best.clone();
    for left in (1..=looks).rev() {
        let plan = changes.change(&at.plan, &mut dice);
        let time = time_of(&plan);
        let worse = WORSE * best.time * (f64::from(left) / f64::from(looks)).powi(3);
        if time <= at.time - worse * dice.f64().max(f64::MIN_POSITIVE).ln() {
            at = Best::of(plan, time, machine);
            if at.time <= best.time {
                best = at.clone();
            }
        }
    }
    best
}

/// A plan made in the order in which workers are free, if records begin and end when `times` says.
fn greedy(program: &Program, machine: Machine, candidates: &[Job], times: &[(f64, f64)], weight: f64) -> Vec<Job> {
    let mut work: HashMap<(u32, Kind), Vec<Part>> = HashMap::new();
    for (record, &(start, end)) in program.records.iter().zip(times) {
        record.kind.codes().for_each(|code| {
            work.entry((record.function, code)).or_default().push(Part { start, end, work: record.work as f64 })
        });
    }
    let work: HashMap<(u32, Kind), After> = work.into_iter().map(|(key, parts)| (key, After::new(parts))).collect();
    let lost = lost(machine);
    let mut free = vec![0.0_f64; machine.workers];
    let mut plan = Vec::new();
    // What each function is in already, or will be.
    let mut tier_of: HashMap<(u32, Kind), usize> = HashMap::new();
    let mut open: Vec<Job> = candidates.to_vec();
    loop {
        let worker = (0..free.len()).min_by(|&left, &right| free[left].total_cmp(&free[right])).unwrap_or(0);
        let now = free[worker];
        let value = |job: &Job| {
            let (key, tiers) = ((job.function, job.kind), &program.functions[job.function as usize].tiers);
            let before = tier_of.get(&key).copied().unwrap_or(0);
            let took = tiers[usize::from(job.tier)].compile as f64;
            let gain = tiers[before].pace - tiers[usize::from(job.tier)].pace;
            let saved = if gain > 0.0 { work[&key].after(now + took) * gain - lost * took } else { 0.0 };
            (saved, took)
        };
        open.retain(|job| value(job).0 > 0.0);
        let rank = |job: &Job| {
            let (saved, took) = value(job);
            saved / took.max(1.0).powf(weight)
        };
        let Some(next) =
            (0..open.len()).max_by(|&left, &right| rank(&open[left]).total_cmp(&rank(&open[right])).then(right.cmp(&left)))
        else {
            return plan;
        };
        let job = open.remove(next);
        free[worker] = now + value(&job).1;
        tier_of.insert((job.function, job.kind), job.tier.into());
        plan.push(job);
    }
}

/// Some work, and when it is done.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: f64,
    end: f64,
    work: f64,
}

/// How much of some work comes after a time.
struct After {
    parts: Vec<Part>,
    /// The work of each part and all that follow.
    sums: Vec<f64>,
}

impl After {
    fn new(mut parts: Vec<Part>) -> Self {
        parts.sort_by(|left, right| left.end.total_cmp(&right.end));
        let mut sum = 0.0;
        let mut sums: Vec<f64> = parts
            .iter()
            .rev()
            .map(|part| {
                sum += part.work;
                sum
            })
            .collect();
        sums.reverse();
        After { parts, sums }
    }

    fn after(&self, time: f64) -> f64 {
        let first = self.parts.partition_point(|part| part.end <= time);
        let Some(&Part { start, end, work }) = self.parts.get(first) else { return 0.0 };
        let begun = if time > start && end > start { work * (time - start) / (end - start) } else { 0.0 };
        self.sums[first] - begun
    }
}

/// The best compile of each function alone.
fn once(candidates: &[Job]) -> Vec<Job> {
    let mut seen = HashSet::new();
    candidates.iter().filter(|job| seen.insert((job.function, job.kind))).copied().collect()
}

/// Changes of plans.
struct Changes {
    machine: Machine,
    /// What may be compiled, what saves most at most first.
    jobs: Vec<Job>,
}

impl Changes {
    fn new(program: &Program, machine: Machine, candidates: &[Job]) -> Self {
        let (work, lost) = (work(program), lost(machine));
        let gain = |job: &Job| {
            let tiers = &program.functions[job.function as usize].tiers;
            let facts = tiers[usize::from(job.tier)];
            work[&(job.function, job.kind)] * (tiers[0].pace - facts.pace) - lost * facts.compile as f64
        };
        let mut jobs: Vec<(f64, Job)> = candidates.iter().map(|job| (gain(job), *job)).filter(|(gain, _)| *gain > 0.0).collect();
        jobs.sort_by(|left, right| right.0.total_cmp(&left.0));
        Changes { machine, jobs: jobs.into_iter().map(|(_, job)| job).collect() }
    }

    /// Something to compile, rather what saves much.
    fn pick(&self, dice: &mut fastrand::Rng) -> Job {
        self.jobs[(dice.f64().powi(3) * self.jobs.len() as f64) as usize]
    }

    fn change(&self, plan: &[Job], dice: &mut fastrand::Rng) -> Vec<Job> {
        let mut plan = plan.to_vec();
        for _ in 0..1 + dice.usize(..3) {
            match dice.u8(..6) {
                0 if !plan.is_empty() => {
                    plan.remove(dice.usize(..plan.len()));
                }
                1 | 2 if !plan.is_empty() => {
                    let moved = plan.remove(dice.usize(..plan.len()));
                    plan.insert(dice.usize(..=plan.len()), moved);
                }
                3 if !plan.is_empty() => {
                    let (one, other) = (dice.usize(..plan.len()), dice.usize(..plan.len()));
                    plan.swap(one, other);
                }
                4 => {
                    // The same code in another tier.
                    let job = self.pick(dice);
                    match plan.iter().position(|other| (other.function, other.kind) == (job.function, job.kind)) {
                        Some(place) => plan[place] = job,
                        None => plan.insert(dice.usize(..=plan.len()), job),
                    }
                }
                _ => {
                    let job = self.pick(dice);
                    plan.retain(|other| *other != job);
                    plan.insert(dice.usize(..=plan.len()), job);
                }
            }
        }
        let mut seen = HashSet::new();
        plan.retain(|job| seen.insert(*job));
        plan
    }
}
