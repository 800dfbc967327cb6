//! What became of a program: how long it took, and where the time went.

use crate::{Kind, Program, Record};

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
    /// The part of all work that was done by a time: a few hundred points. Work counts by what it takes in the best code.
    pub progress: Vec<(f64, f64)>,
    /// How long requests whose code was installed had waited to be compiled, the shortest first: nothing for a plan, which does not ask.
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
    /// For each function: the latest compile of each code.
    made: Vec<Vec<(usize, Kind, usize)>>,
    code_bytes: u64,
    late_work: f64,
    /// For each function: work done so far.
    done: Vec<f64>,
    throughput: Throughput,
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
            made: vec![Vec::new(); program.functions.len()],
            code_bytes: 0,
            late_work: 0.0,
            done: vec![0.0; program.functions.len()],
            throughput: Throughput::default(),
            end: 0.0,
        }
    }

    /// `work` of a record was done from `start` to `end`, in code of a tier that was compiled for calls or for a loop. Its compile saves what the work
    /// would have taken interpreted.
    pub(crate) fn segment(&mut self, record: &Record, (tier, kind): (usize, Kind), work: f64, start: f64, end: f64) {
        let function = record.function as usize;
        let tiers = &self.program.functions[function].tiers;
        self.residency[tier] += end - start;
        self.throughput.note(start, end, work * self.best[function]);
        self.end = self.end.max(end);
        if tier > 0
            && let Some(&(.., compile)) = self.made[function].iter().rev().find(|made| (made.0, made.1) == (tier, kind))
        {
            self.compiles[compile].saved += work * (tiers[0].pace - tiers[tier].pace);
        }
        self.done[function] += work;
        if let Some(next) = tiers.get(tier + 1) {
            let gain = tiers[tier].pace - next.pace;
            let even = if gain > 0.0 { next.compile as f64 / gain } else { f64::INFINITY };
            self.late_work += (self.done[function] - even).clamp(0.0, work);
        }
    }

    /// A compile was begun, of a body or of a loop's variant; it takes `took`.
    pub(crate) fn compile(&mut self, function: u32, tier: usize, kind: Kind, took: u64) {
        let facts = self.program.functions[function as usize].tiers[tier];
        self.compiles.push(Compile { took: took as f64, saved: 0.0 });
        self.made[function as usize].push((tier, kind, self.compiles.len() - 1));
        self.code_bytes += u64::from(facts.code_bytes);
    }

    /// Everything is over. Requests waited so long for their compiles.
    pub(crate) fn outcome(self, mut waits: Vec<f64>) -> Outcome {
        waits.sort_by(f64::total_cmp);
        let ideal =
            (self.program.records.iter()).map(|record| record.work as f64 * self.best[record.function as usize]).sum::<f64>();
        let threads = self.program.threads().max(1) as f64;
        Outcome {
            total: self.end,
            excess: (self.end * threads - ideal) / threads,
            compiles: self.compiles.len(),
            compile_time: self.compiles.iter().fold(0.0, |sum, compile| sum + compile.took),
            wasted: self
                .compiles
                .iter()
                .filter(|compile| compile.saved < compile.took)
                .fold(0.0, |sum, compile| sum + compile.took),
            warm: self.throughput.reached([0.5, 0.9, 0.99]),
            progress: self.throughput.progress(self.end),
            residency: self.residency,
            late_work: self.late_work,
            code_bytes: self.code_bytes,
            waits,
        }
    }
}

/// What was done when, in windows of equal width. When they are full, two become one.
#[derive(Debug, Default)]
struct Throughput {
    width: f64,
    done: Vec<f64>,
}

/// Windows there are at most.
const WINDOWS: usize = 1 << 12;
/// Windows that the throughput of a whole run is looked at in.
const LOOKS: usize = 200;

impl Throughput {
    /// `work`, in time of the best code, was done evenly from `start` to `end`.
    fn note(&mut self, start: f64, end: f64, work: f64) {
        if self.width == 0.0 {
            self.width = 1.0;
        }
        while end >= self.width * WINDOWS as f64 {
            self.done = self.done.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.width *= 2.0;
        }
        let (first, last) = ((start / self.width) as usize, (end / self.width) as usize);
        if self.done.len() <= last {
            self.done.resize(last + 1, 0.0);
        }
        if first == last {
            self.done[first] += work;
            return;
        }
        for window in first..=last {
            let inside = end.min((window + 1) as f64 * self.width) - start.max(window as f64 * self.width);
            self.done[window] += work * inside.max(0.0) / (end - start);
        }
    }

    /// The part of all that was done until the end of some windows. The run ended at `end`.
    fn progress(&self, end: f64) -> Vec<(f64, f64)> {
        let all: f64 = self.done.iter().sum();
        let each = self.done.len().div_ceil(LOOKS).max(1);
        let mut sum = 0.0;
        let points = self.done.chunks(each).zip(1..).map(|(windows, count)| {
            sum += windows.iter().sum::<f64>();
            (((count * each) as f64 * self.width).min(end), sum / all.max(f64::MIN_POSITIVE))
        });
        [(0.0, 0.0)].into_iter().chain(points).collect()
    }

    /// When it first reached each part of the best there ever was.
    fn reached(&self, parts: [f64; 3]) -> [f64; 3] {
        let each = self.done.len().div_ceil(LOOKS).max(1);
        let looks: Vec<f64> = self.done.chunks_exact(each).map(|windows| windows.iter().sum()).collect();
        let peak = looks.iter().copied().fold(0.0, f64::max);
        parts.map(|part| {
            let first = looks.iter().position(|&sum| sum >= part * peak).unwrap_or(0);
            ((first + 1) * each) as f64 * self.width
        })
    }
}
