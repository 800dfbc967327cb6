//! What a program does, whatever compiles it.

/// What a tier is for one function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TierFacts {
    /// Nanoseconds a work unit takes in its code.
    pub pace: f64,
    /// Nanoseconds its compile takes; 0 for the interpreter.
    pub compile: u64,
    /// Bytes of its code.
    pub code_bytes: u32,
    /// The same for code that counts what it does, as it must for a policy that waits for too little work to
    /// [sample](tierup_broker::CompileRequest::samples) it. What cannot be promoted never counts.
    pub counting: Counting,
    /// Nobody knows of what it does, where others are sampled: it never polls, and is taken to become part of its callers' code.
    pub silent: bool,
}

impl TierFacts {
    /// Of code that is none the slower for counting.
    pub fn new(pace: f64, compile: u64, code_bytes: u32) -> Self {
        TierFacts { pace, compile, code_bytes, counting: Counting { pace, compile }, silent: false }
    }
}

/// What it costs to have code count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counting {
    /// Nanoseconds a work unit takes: no less than in code that does not count.
    pub pace: f64,
    /// Nanoseconds the compile takes: no less than that of code that does not count.
    pub compile: u64,
}

/// One guest function.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// What people call it.
    pub name: String,
    /// Bytes of its body.
    pub size: u32,
    /// The interpreter, then the compiled tiers in order: as many for each function of a program.
    pub tiers: Vec<TierFacts>,
}

/// How work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// By calls: new code serves the next one.
    Calls,
    /// By a loop of a call that had begun before: only a variant that is entered at this site serves it.
    Loop {
        /// The loop's number in its function.
        site: u32,
    },
    /// By loops of calls that come and go, after their first turn: new code serves the next call, and a variant for this site the next turn.
    Short {
        /// As above.
        site: u32,
    },
}

impl Kind {
    /// What serves it: the body, and before that, where it is a loop, a variant for its site.
    pub fn codes(self) -> impl Iterator<Item = Kind> {
        let variant = match self {
            Kind::Calls => None,
            Kind::Loop { site } | Kind::Short { site } => Some(Kind::Loop { site }),
        };
        variant.into_iter().chain([Kind::Calls])
    }
}

/// Some work of one function on one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The thread, numbered from 0.
    pub thread: u16,
    /// The function's place in [`Program::functions`].
    pub function: u32,
    /// How it was done.
    pub kind: Kind,
    /// Work units.
    pub work: u64,
}

/// A program: what it did, and what it could have been compiled to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Program {
    /// What it is called in reports.
    pub name: String,
    /// Names of the tiers, the interpreter first.
    pub tiers: Vec<String>,
    /// All functions.
    pub functions: Vec<Function>,
    /// What was done, on each thread in order.
    pub records: Vec<Record>,
}

impl Program {
    /// Threads that did something.
    pub fn threads(&self) -> usize {
        self.records.iter().map(|record| usize::from(record.thread) + 1).max().unwrap_or(0)
    }

    /// The same with compiles that take `scale` times as long.
    #[must_use]
    pub fn with_compiles_scaled(mut self, scale: f64) -> Self {
        for tier in self.functions.iter_mut().flat_map(|function| &mut function.tiers) {
            for compile in [&mut tier.compile, &mut tier.counting.compile] {
                *compile = (*compile as f64 * scale) as u64;
            }
        }
        self
    }

    /// Nanoseconds of all records in one tier, on one processor.
    pub fn time_in(&self, tier: usize) -> f64 {
        let pace = |record: &Record| self.functions[record.function as usize].tiers[tier].pace;
        self.records.iter().map(|record| record.work as f64 * pace(record)).sum()
    }
}

/// What a program runs on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Threads that compile.
    pub workers: usize,
    /// How many times as long everything takes while both a program's thread and a compile run: 1 where they have processors of
    /// their own, about 2 where they share one.
    pub sharing: f64,
    /// Processors, for the program's threads and the workers together: where more of them run than there are processors, all are slower in proportion.
    pub processors: usize,
}

impl Machine {
    /// How many times as long everything takes while so many threads of the program run and so many workers compile.
    pub fn slowdown(&self, threads: usize, busy: usize) -> f64 {
        let beside = if busy > 0 { self.sharing } else { 1.0 };
        beside * f64::max((threads + busy) as f64 / self.processors as f64, 1.0)
    }
}

impl Default for Machine {
    /// Two workers on processors of their own.
    fn default() -> Self {
        Machine { workers: 2, sharing: 1.0, processors: usize::MAX }
    }
}
