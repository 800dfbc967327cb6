//! What became of a program: how long it took, and where the time went.

use crate::{Program, Record};

/// Windows that the throughput of a run is looked at in.
const WINDOWS: usize = 200;

/// What a run of a program came to. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// Until the last thread was done.
    pub total: f64,
    /// Of that, what it took beyond doing all its work in the best code from the start: ∫(1 − throughput/peak).
    pub excess: f64,
    /// Time of the program's threads in each tier, the interpreter first.
    pub residency: Vec<f64>,
    /// Compiles that ended, or were under way at the end.
    pub compiles: usize,
    /// Processor time of compiles.
    pub compile_time: f64,
    /// Of that, by compiles whose code saved less than they took.
    pub wasted: f64,
    /// Work units done in a function past the point where a compile for its next tier would have paid for itself, in code below it.
    pub late_work: f64,
    /// Bytes of all code that was made.
    pub code_bytes: u64,
    /// When the throughput first reached half, nine tenths and 99 % of the best it ever was.
    pub warm: [f64; 3],
    /// How long requests waited to be compiled, in order of their length: nothing for a plan, which does not ask.
    pub waits: Vec<f64>,
}

impl Outcome {
    /// What was lost against the time `best`, as a part of it: 0.1 is ten percent.
    pub fn regret(&self, best: f64) -> f64 {
        self.total / best - 1.0
    }

    /// The wait that `part` of all requests did not exceed; 0 without requests.
    pub fn wait(&self, part: f64) -> f64 {
        let index = (self.waits.len() as f64 * part) as usize;
        self.waits.get(index.min(self.waits.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }
}

/// One compile, as [`Meter`] keeps it.
#[derive(Debug, Clone, Copy)]
struct Compile {
    took: f64,
    saved: f64,
}

/// Adds up a run while it goes on.
#[derive(Debug)]
pub(crate) struct Meter<'p> {
    program: &'p Program,
    /// The least pace of each function.
    best: Vec<f64>,
    residency: Vec<f64>,
    compiles: Vec<Compile>,
    code_bytes: u64,
    waits: Vec<f64>,
    late_work: f64,
    /// For each function: work done so far in its code of each tier or below.
    done: Vec<f64>,
    /// Segments: when each began and ended, and how much was done, in time of the best code.
    segments: Vec<(f64, f64, f64)>,
    end: f64,
}

impl<'p> Meter<'p> {
    pub(crate) fn new(program: &'p Program) -> Self {
        let best = |function: &crate::Function| function.tiers.iter().map(|tier| tier.pace).fold(f64::INFINITY, f64::min);
        Meter {
            program,
            best: program.functions.iter().map(best).collect(),
            residency: vec![0.0; program.tiers.len()],
            compiles: Vec::new(),
            code_bytes: 0,
            waits: Vec::new(),
            late_work: 0.0,
            done: vec![0.0; program.functions.len()],
            segments: Vec::new(),
            end: 0.0,
        }
    }

    /// `work` of a record was done in `tier`, from `start` to `end`. Compiles whose code it was save what it would have taken interpreted.
    pub(crate) fn segment(&mut self, record: &Record, tier: usize, work: f64, start: f64, end: f64, compile: Option<usize>) {
        let function = record.function as usize;
        let tiers = &self.program.functions[function].tiers;
        self.residency[tier] += end - start;
        self.segments.push((start, end, work * self.best[function]));
        self.end = self.end.max(end);
        if let Some(compile) = compile {
            self.compiles[compile].saved += work * (tiers[0].pace - tiers[tier].pace);
        }
        self.done[function] += work;
        if let Some(next) = tiers.get(tier + 1) {
            let gain = tiers[tier].pace - next.pace;
            let even = if gain > 0.0 { next.compile as f64 / gain } else { f64::INFINITY };
            self.late_work += (self.done[function] - even).clamp(0.0, work);
        }
    }

    /// A compile was begun, of a body or a variant; the answer is its number.
    pub(crate) fn compile(&mut self, function: u32, tier: usize) -> usize {
        let facts = self.program.functions[function as usize].tiers[tier];
        self.compiles.push(Compile { took: facts.compile as f64, saved: 0.0 });
        self.code_bytes += u64::from(facts.code_bytes);
        self.compiles.len() - 1
    }

    /// A request waited so long.
    pub(crate) fn waited(&mut self, time: f64) {
        self.waits.push(time);
    }

    /// Everything is over.
    pub(crate) fn outcome(mut self) -> Outcome {
        self.waits.sort_by(f64::total_cmp);
        let ideal = (self.program.records.iter()).map(|record| record.work as f64 * self.best[record.function as usize]).sum::<f64>();
        let threads = self.program.threads().max(1) as f64;
        Outcome {
            total: self.end,
            excess: (self.end * threads - ideal) / threads,
            compiles: self.compiles.len(),
            compile_time: self.compiles.iter().map(|compile| compile.took).sum(),
            wasted: self.compiles.iter().filter(|compile| compile.saved < compile.took).map(|compile| compile.took).sum(),
            warm: self.warm(),
            residency: self.residency,
            late_work: self.late_work,
            code_bytes: self.code_bytes,
            waits: self.waits,
        }
    }

    fn warm(&self) -> [f64; 3] {
        if self.end <= 0.0 {
            return [0.0; 3];
        }
        let width = self.end / WINDOWS as f64;
        let mut done = [0.0; WINDOWS];
        for &(start, end, work) in &self.segments {
            let first = ((start / width) as usize).min(WINDOWS - 1);
            let last = ((end / width) as usize).min(WINDOWS - 1);
            for (window, sum) in done.iter_mut().enumerate().take(last + 1).skip(first) {
                let inside = (end.min((window + 1) as f64 * width) - start.max(window as f64 * width)).max(0.0);
                *sum += if end > start { work * inside / (end - start) } else { work };
            }
        }
        let peak = done.iter().copied().fold(0.0, f64::max);
        [0.5, 0.9, 0.99].map(|part| {
            let first = done.iter().position(|&sum| sum >= part * peak).unwrap_or(WINDOWS - 1);
            (first + 1) as f64 * width
        })
    }
}
