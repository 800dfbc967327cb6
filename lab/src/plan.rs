//! What a program takes under a plan: which compiles there are, and in which order.
//!
//! A plan knows the future. Its compiles begin at the start, each as soon as a worker is free. A record runs in the fastest code
//! there is for it: a call in its function's body, a loop in a variant for its site, or in the body that its call was begun in, a short loop in
//! a variant or its function's body. New code is used in the midst of a record.

use crate::{
    Kind, Machine, Program,
    metrics::{Meter, Outcome},
};

/// A compile: of a body, or of a loop's variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Job {
    /// The function's place in [`Program::functions`].
    pub function: u32,
    /// The tier, from 1 on.
    pub tier: u8,
    /// What the code serves.
    pub kind: Kind,
}

/// The time a program takes, in nanoseconds, under a plan.
pub fn time(program: &Program, machine: Machine, plan: &[Job]) -> f64 {
    Run::new(program, machine, plan, None).run()
}

/// When each record begins and ends under a plan.
pub(crate) fn timeline(program: &Program, machine: Machine, plan: &[Job]) -> Vec<(f64, f64)> {
    let mut run = Run::new(program, machine, plan, None);
    run.timeline = Some(vec![(0.0, 0.0); program.records.len()]);
    run.run();
    run.timeline.unwrap_or_default()
}

/// What becomes of a program under a plan.
pub fn outcome(program: &Program, machine: Machine, plan: &[Job]) -> Outcome {
    let mut run = Run::new(program, machine, plan, Some(Meter::new(program)));
    run.run();
    run.meter.unwrap_or_else(|| Meter::new(program)).outcome(Vec::new())
}

/// The code of one function.
#[derive(Debug, Clone, Default)]
struct Code {
    /// The highest tier of a body.
    body: u8,
    /// Sites and tiers of variants.
    variants: Vec<(u32, u8)>,
}

struct Thread {
    records: std::vec::IntoIter<usize>,
    /// The one at hand, and the work left of it.
    current: Option<(usize, f64)>,
    /// For each function: the body its last call was begun in.
    begun: Vec<u8>,
}

struct Run<'p> {
    program: &'p Program,
    machine: Machine,
    jobs: std::slice::Iter<'p, Job>,
    /// What each worker compiles, and how much time that still takes.
    workers: Vec<Option<(&'p Job, f64)>>,
    code: Vec<Code>,
    threads: Vec<Thread>,
    now: f64,
    meter: Option<Meter<'p>>,
    timeline: Option<Vec<(f64, f64)>>,
}

impl<'p> Run<'p> {
    fn new(program: &'p Program, machine: Machine, plan: &'p [Job], meter: Option<Meter<'p>>) -> Self {
        let mut records = vec![Vec::new(); program.threads()];
        program.records.iter().enumerate().for_each(|(place, record)| records[usize::from(record.thread)].push(place));
        let thread =
            |records: Vec<usize>| Thread { records: records.into_iter(), current: None, begun: vec![0; program.functions.len()] };
        Run {
            program,
            machine,
            jobs: plan.iter(),
            workers: vec![None; machine.workers],
            code: vec![Code::default(); program.functions.len()],
            threads: records.into_iter().map(thread).collect(),
            now: 0.0,
            meter,
            timeline: None,
        }
    }

    fn run(&mut self) -> f64 {
        loop {
            for thread in &mut self.threads {
                while thread.current.is_none_or(|(_, left)| left <= 0.0) {
                    if let (Some((place, _)), Some(timeline)) = (thread.current, &mut self.timeline) {
                        timeline[place].1 = self.now;
                    }
                    thread.current = thread.records.next().map(|place| (place, self.program.records[place].work as f64));
                    let Some((place, _)) = thread.current else { break };
                    if let Some(timeline) = &mut self.timeline {
                        timeline[place].0 = self.now;
                    }
                }
            }
            if self.threads.iter().all(|thread| thread.current.is_none()) {
                return self.now;
            }
            for worker in self.workers.iter_mut().filter(|worker| worker.is_none()) {
                let Some(job) = self.jobs.next() else { break };
                let time = self.program.functions[job.function as usize].tiers[usize::from(job.tier)].compile;
                if let Some(meter) = &mut self.meter {
                    meter.compile(job.function, job.tier.into(), job.kind, time);
                }
                *worker = Some((job, time as f64));
            }
            self.advance();
        }
    }

    /// Until the next record or compile is over.
    fn advance(&mut self) {
        let running = self.threads.iter().filter(|thread| thread.current.is_some()).count();
        let slow = self.machine.slowdown(running, self.workers.iter().flatten().count());
        let chosen: Vec<_> = (0..self.threads.len()).map(|thread| self.choose(thread)).collect();
        let of_threads =
            (self.threads.iter().zip(&chosen)).filter_map(|(thread, code)| Some(thread.current?.1 * code.as_ref()?.2));
        let of_workers = self.workers.iter().flatten().map(|(_, left)| *left);
        let step = of_threads.chain(of_workers).fold(f64::INFINITY, f64::min);
        let end = self.now + step * slow;
        for (thread, code) in self.threads.iter_mut().zip(chosen) {
            if let (Some((place, left)), Some((tier, kind, pace))) = (&mut thread.current, code) {
                let record = &self.program.records[*place];
                // The shortest is over, whatever rounding says.
                let work = if *left * pace <= step { *left } else { step / pace };
                *left -= work;
                if let Some(meter) = &mut self.meter {
                    meter.segment(record, (tier.into(), kind), work, self.now, end);
                }
                if kind == Kind::Calls && !matches!(record.kind, Kind::Loop { .. }) {
                    thread.begun[record.function as usize] = tier;
                }
            }
        }
        for worker in &mut self.workers {
            if let Some((job, left)) = worker {
                *left -= step;
                if *left <= 0.0 {
                    let code = &mut self.code[job.function as usize];
                    match job.kind {
                        Kind::Calls => code.body = code.body.max(job.tier),
                        Kind::Loop { site } | Kind::Short { site } => code.variants.push((site, job.tier)),
                    }
                    *worker = None;
                }
            }
        }
        self.now = end;
    }

    /// The code a thread's record runs in: its tier, what it was compiled for, and its pace.
    fn choose(&self, thread: usize) -> Option<(u8, Kind, f64)> {
        let thread = &self.threads[thread];
        let record = &self.program.records[thread.current?.0];
        let function = record.function as usize;
        let code = &self.code[function];
        let (body, site) = match record.kind {
            Kind::Calls => (code.body, None),
            Kind::Short { site } => (code.body, Some(site)),
            Kind::Loop { site } => (thread.begun[function], Some(site)),
        };
        let variants = code.variants.iter().filter(|(at, _)| Some(*at) == site);
        let (tier, kind) = match variants.max_by_key(|(_, tier)| *tier) {
            Some(&(site, tier)) if tier > body => (tier, Kind::Loop { site }),
            _ => (body, Kind::Calls),
        };
        Some((tier, kind, self.program.functions[function].tiers[usize::from(tier)].pace))
    }
}
