//! What a plan takes, reckoned fast: the search looks at many.
//!
//! On the clock that stands still for what everything is slower by while a compile runs ([`bound`](super::bound) has it too), a compile takes what it takes,
//! so that when each plan's compiles are over is known before the program is looked at. Then the program is gone through once. It must be of one thread;
//! of several [`plan::time`] says what they take.

use std::collections::HashMap;

use crate::{
    Kind, Machine, Program,
    plan::{self, Job},
};

/// A program of one thread, laid out so that going through it is fast.
#[derive(Debug)]
pub(super) struct Clock<'p> {
    program: &'p Program,
    machine: Machine,
    /// `None` of several threads.
    steps: Option<Vec<Step>>,
    /// The number of each loop.
    loops: HashMap<(u32, u32), u32>,
    /// By function, then tier.
    paces: Vec<f64>,
}

/// Records of the same kind, one after the other.
#[derive(Debug, Clone, Copy)]
struct Step {
    function: u32,
    /// The loop's number; [`CALLS`] of calls.
    at: u32,
    /// New code of the body serves it.
    comes_and_goes: bool,
    work: f64,
}

const CALLS: u32 = u32::MAX;

impl<'p> Clock<'p> {
    pub(super) fn new(program: &'p Program, machine: Machine) -> Self {
        let mut loops = HashMap::new();
        let mut steps: Vec<Step> = Vec::new();
        for record in &program.records {
            let function = record.function;
            let comes_and_goes = !matches!(record.kind, Kind::Loop { .. });
            let at = match record.kind {
                Kind::Calls => CALLS,
                Kind::Loop { site } | Kind::Short { site } => {
                    let next = loops.len() as u32;
                    *loops.entry((function, site)).or_insert(next)
                }
            };
            match steps.last_mut() {
                Some(last) if (last.function, last.at, last.comes_and_goes) == (function, at, comes_and_goes) => {
                    last.work += record.work as f64;
                }
                _ => steps.push(Step { function, at, comes_and_goes, work: record.work as f64 }),
            }
        }
        let paces = program.functions.iter().flat_map(|function| &function.tiers).map(|tier| tier.pace).collect();
        Clock { program, machine, steps: (program.threads() <= 1).then_some(steps), loops, paces }
    }

    /// As [`plan::time`].
    pub(super) fn time(&self, plan: &[Job]) -> f64 {
        let Some(steps) = &self.steps else { return plan::time(self.program, self.machine, plan) };
        let (over, free) = self.over(plan);
        let end = self.run(steps, &over);
        // All workers compile at first, then one less after the other.
        let lost = |busy: usize| self.machine.slowdown(1, busy) - self.machine.slowdown(1, busy - 1);
        end + free.iter().zip(1..).map(|(time, busy)| lost(busy) * time.min(end)).sum::<f64>()
    }

    /// When each compile is over, the first first, and when each worker has none any more, the last first.
    fn over<'j>(&self, plan: &'j [Job]) -> (Vec<(f64, &'j Job)>, Vec<f64>) {
        let mut free = vec![0.0_f64; self.machine.workers];
        let mut over = Vec::with_capacity(plan.len());
        for job in plan {
            let worker = (0..free.len()).min_by(|&left, &right| free[left].total_cmp(&free[right])).unwrap_or(0);
            free[worker] += self.program.functions[job.function as usize].tiers[usize::from(job.tier)].compile as f64;
            over.push((free[worker], job));
        }
        over.sort_by(|left, right| left.0.total_cmp(&right.0));
        free.sort_by(|left, right| right.total_cmp(left));
        (over, free)
    }

    /// As [`Self::time`], where no compile for a tier begins before its function has done the work that `after` has for the tier. A free worker takes
    /// the first compile of the plan that may begin. Of several threads, what they all know.
    pub(super) fn time_seen(&self, plan: &[Job], after: &[u64]) -> f64 {
        let Some(steps) = &self.steps else { return self.time(plan) };
        let (tiers, functions) = (self.program.tiers.len(), self.program.functions.len());
        let needed = |job: &Job| after.get(usize::from(job.tier) - 1).map_or(0.0, |work| *work as f64);
        let mut waiting: Vec<&Job> = plan.iter().collect();
        let mut workers: Vec<(f64, &Job)> = Vec::with_capacity(self.machine.workers);
        // By function: the work it did, the least work that lets a compile of it begin, the best body, and the one that its last call was begun in.
        let mut done = vec![0.0; functions];
        let mut next = vec![f64::INFINITY; functions];
        let mut bodies = vec![0_u8; functions];
        let (mut begun, mut variants) = (bodies.clone(), vec![0_u8; self.loops.len()]);
        plan.iter().for_each(|job| next[job.function as usize] = f64::min(next[job.function as usize], needed(job)));
        let (mut now, mut lost) = (0.0, 0.0);
        // Whether something may begin that could not before.
        let mut news = true;
        for step in steps {
            let (function, mut left) = (step.function as usize, step.work);
            news |= done[function] == 0.0;
            while left > 0.0 {
                if std::mem::take(&mut news) && workers.len() < self.machine.workers {
                    let mut free = self.machine.workers - workers.len();
                    let (program, done) = (self.program, &done);
                    waiting.retain(|job| {
                        let at = job.function as usize;
                        let begins = free > 0 && done[at] >= needed(job) && (done[at] > 0.0 || at == function);
                        if begins {
                            free -= 1;
                            workers.push((now + program.functions[at].tiers[usize::from(job.tier)].compile as f64, job));
                        }
                        !begins
                    });
                }
                let variant = if step.at == CALLS { 0 } else { variants[step.at as usize] };
                if step.comes_and_goes && bodies[function] >= variant {
                    begun[function] = bodies[function];
                }
                let body = if step.comes_and_goes { bodies[function] } else { begun[function] };
                let pace = self.paces[function * tiers + usize::from(variant.max(body))];
                let over = workers.iter().map(|(time, _)| *time).fold(f64::INFINITY, f64::min);
                let more = next[function] - done[function];
                let (mut work, mut end) = (left, now + left * pace);
                if more > 0.0 && more < work {
                    (work, end) = (more, now + more * pace);
                }
                if over < end {
                    (work, end) = ((over - now) / pace, over);
                }
                lost += (self.machine.slowdown(1, workers.len()) - 1.0) * (end - now);
                (now, left) = (end, left - work);
                done[function] += work;
                if done[function] >= next[function] {
                    done[function] = done[function].max(next[function]);
                    let later = waiting.iter().filter(|job| job.function as usize == function).map(|job| needed(job));
                    next[function] = later.filter(|work| *work > done[function]).fold(f64::INFINITY, f64::min);
                    news = true;
                }
                workers.retain(|(time, job)| {
                    news |= *time <= now;
                    if *time <= now {
                        let code = match job.kind {
                            Kind::Calls => Some(&mut bodies[job.function as usize]),
                            Kind::Loop { site } | Kind::Short { site } => {
                                self.loops.get(&(job.function, site)).map(|&at| &mut variants[at as usize])
                            }
                        };
                        if let Some(code) = code {
                            *code = job.tier.max(*code);
                        }
                    }
                    *time > now
                });
            }
        }
        now + lost
    }

    fn run(&self, steps: &[Step], over: &[(f64, &Job)]) -> f64 {
        let tiers = self.program.tiers.len();
        let mut over = over.iter().peekable();
        // By function: the best body, and the one that its last call was begun in; by loop: the best variant.
        let mut bodies = vec![0_u8; self.program.functions.len()];
        let (mut begun, mut variants) = (bodies.clone(), vec![0_u8; self.loops.len()]);
        let mut now = 0.0;
        for step in steps {
            let (function, mut left) = (step.function as usize, step.work);
            loop {
                while let Some((_, job)) = over.next_if(|(time, _)| *time <= now) {
                    let code = match job.kind {
                        Kind::Calls => Some(&mut bodies[job.function as usize]),
                        Kind::Loop { site } | Kind::Short { site } => {
                            self.loops.get(&(job.function, site)).map(|&at| &mut variants[at as usize])
                        }
                    };
                    if let Some(code) = code {
                        *code = job.tier.max(*code);
                    }
                }
                let variant = if step.at == CALLS { 0 } else { variants[step.at as usize] };
                if step.comes_and_goes && bodies[function] >= variant {
                    begun[function] = bodies[function];
                }
                let body = if step.comes_and_goes { bodies[function] } else { begun[function] };
                let tier = variant.max(body);
                let pace = self.paces[function * tiers + usize::from(tier)];
                let end = now + left * pace;
                match over.peek() {
                    Some(&&(next, _)) if next < end => {
                        left -= (next - now) / pace;
                        now = next;
                    }
                    _ => {
                        now = end;
                        break;
                    }
                }
            }
        }
        now
    }
}
