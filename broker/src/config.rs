//! Building a broker.
#![forbid(unsafe_code)]

use std::{fmt, time::Duration};

use crate::{
    Broker, Compiler, ConfigError, DeoptPolicy, Event, GuardId, HotnessPolicy, KeepAlways, ManualClock, Tier, Tiered, Work,
    event::OnEvent,
    shared::{Bridge, Describe, DescribeGuards, OnWork, Parts, no_bridge},
    sync::Arc,
    tuning,
};

/// Who runs the compilers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Worker threads; see [`BrokerBuilder::first_worker`].
    #[cfg(feature = "threads")]
    Background,
    /// The thread whose call spends the budget: it waits, and everything is deterministic.
    Sync,
    /// Whoever calls [`Broker::run_pending`].
    Pump,
}

impl Mode {
    pub(crate) fn has_workers(self) -> bool {
        !matches!(self, Mode::Sync | Mode::Pump)
    }
}

/// When the first worker is spawned, in background mode. Spawning takes the thread that does it 50 to 150 us.
#[cfg(feature = "threads")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FirstWorker {
    /// With the first registered interpreter thread: asking for a compile never takes a system call.
    #[default]
    WithThread,
    /// With the first request, by the thread that makes it: programs that end before they have a hot function do without threads. The
    /// first compile does not wait for the thread that watches its deadline: should it take long, that is spawned by an interpreter thread
    /// that counts, or by [`Broker::drain`].
    WithRequest,
    /// As with the first request, but not before the broker is so old: what is asked for earlier waits until an interpreter thread that counts
    /// finds that it is time. Programs that end by then do without threads, though they have hot functions.
    WithRequestAfter(Duration),
}

impl Default for Mode {
    /// Background where there are threads, otherwise pump.
    fn default() -> Self {
        #[cfg(feature = "threads")]
        return Mode::Background;
        #[cfg(not(feature = "threads"))]
        return Mode::Pump;
    }
}

/// Largest `max_beads`.
const MOST_BEADS: u32 = 1 << 28;

/// Configures a [`Broker`]; see [`Broker::builder`].
pub struct BrokerBuilder<G: Send + Sync + 'static> {
    mode: Mode,
    policy: Box<dyn HotnessPolicy>,
    deopt_policy: Box<dyn DeoptPolicy>,
    compilers: Vec<Box<dyn Compiler<G>>>,
    bridge: *const u8,
    max_beads: u32,
    deadline: Option<Duration>,
    census_after: Option<u64>,
    clock: Option<ManualClock>,
    on_event: Option<OnEvent>,
    describe: Option<Describe<G>>,
    describe_guards: Option<DescribeGuards>,
    on_work: Option<OnWork<G>>,
    #[cfg(feature = "threads")]
    first_worker: FirstWorker,
    #[cfg(feature = "threads")]
    workers: Option<usize>,
    #[cfg(feature = "threads")]
    dedicated: Vec<(Tier, usize)>,
    #[cfg(feature = "threads")]
    stale_after: Option<Duration>,
    #[cfg(feature = "threads")]
    max_abandoned: u32,
}

impl<G: Send + Sync + 'static> Default for BrokerBuilder<G> {
    fn default() -> Self {
        BrokerBuilder {
            mode: Mode::default(),
            policy: Box::new(Tiered::default()),
            deopt_policy: Box::new(KeepAlways),
            compilers: Vec::with_capacity(2),
            bridge: no_bridge as *const u8,
            max_beads: tuning::MAX_BEADS,
            deadline: Some(tuning::DEADLINE),
            census_after: Some(tuning::CENSUS_AFTER),
            clock: None,
            on_event: None,
            describe: None,
            describe_guards: None,
            on_work: None,
            #[cfg(feature = "threads")]
            first_worker: FirstWorker::default(),
            #[cfg(feature = "threads")]
            workers: None,
            #[cfg(feature = "threads")]
            dedicated: Vec::new(),
            #[cfg(feature = "threads")]
            stale_after: Some(tuning::PATIENCE),
            #[cfg(feature = "threads")]
            max_abandoned: tuning::MAX_ABANDONED,
        }
    }
}

impl<G: Send + Sync + 'static> BrokerBuilder<G> {
    /// Who runs the compilers. Default: [`Mode::default`].
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// When beads are promoted. Default: [`Tiered::default`].
    #[must_use]
    pub fn policy(mut self, policy: impl HotnessPolicy + 'static) -> Self {
        self.policy = Box::new(policy);
        self
    }

    /// When code that leaves for the interpreter is given up. Default: [`KeepAlways`].
    #[must_use]
    pub fn deopt_policy(mut self, policy: impl DeoptPolicy + 'static) -> Self {
        self.deopt_policy = Box::new(policy);
        self
    }

    /// Adds the compiler of the next tier: the first call is for tier 1. Default: none, nothing is ever promoted.
    #[must_use]
    pub fn compiler(mut self, compiler: impl Compiler<G> + 'static) -> Self {
        self.compilers.push(Box::new(compiler));
        self
    }

    /// Has the broker tell the time by `clock`: for simulations. Deadlines of compiles are still measured by the machine's. In
    /// [`Mode::Pump`] the queue is then the one of background mode: requests of functions that went cold are dropped, and of as many
    /// workers as are [configured](Self::workers) one is kept for small jobs. Default: the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where native code ends up when it calls a function that has no native code. Default: a function that aborts the process.
    #[must_use]
    pub fn bridge(mut self, entry: *const u8) -> Self {
        self.bridge = entry;
        self
    }

    /// Beads that may be registered at one time; every thread reserves (not commits) 8 bytes for each. Default: 4,194,304.
    #[must_use]
    pub fn max_beads(mut self, beads: u32) -> Self {
        self.max_beads = beads;
        self
    }

    /// Time one compile may take, and as much again for each 16 KiB of guest body. Past it a worker is given up and replaced; in the other modes the compiler is told through
    /// [`CompileRequest::is_cancelled`](crate::CompileRequest::is_cancelled). Default: 10 s; `None` is for ever.
    #[must_use]
    pub fn deadline(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.deadline = limit.into();
        self
    }

    /// Bytes of retired code that may wait for threads' quiescent points before threads are asked, by their poll cells, for
    /// [what is on their stacks](crate::InterpThread::poll_with); a tenth of the code in use is added. Units and versions count for
    /// more than their code: about a page. Default: 64 KiB; `None` is never.
    #[must_use]
    pub fn census_after(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.census_after = bytes.into();
        self
    }

    /// Receives every transition, on the threads that compile. It may call the broker.
    #[must_use]
    pub fn on_event(mut self, callback: Arc<dyn Fn(&Event) + Send + Sync>) -> Self {
        self.on_event = Some(callback);
        self
    }

    /// Is told of all work that is counted, for recordings: of every call and of every back-edge, since threads then draw no slices ahead
    /// of what they do. Only what a spent budget could not pay is not told, and native code tells of many turns at once. A documented
    /// exception to what interpreter threads never do: `tell` runs on them, and they wait for it. It must not call the broker.
    #[must_use]
    pub fn on_work(mut self, tell: impl Fn(&G, Work) + Send + Sync + 'static) -> Self {
        self.on_work = Some(Arc::new(tell));
        self
    }

    /// Names guest functions in events. Called for every event, by the thread that makes the transition.
    #[must_use]
    pub fn describe(mut self, describe: impl Fn(&G) -> String + Send + Sync + 'static) -> Self {
        self.describe = Some(Arc::new(describe));
        self
    }

    /// Says in words where code may be left: at one guard, or at all that a unit has, which are in order and never none. For events and
    /// [`Broker::why`](crate::Broker::why). Without it a guard is its number, and several are how many they are.
    #[must_use]
    pub fn describe_guards(mut self, describe: impl Fn(&[GuardId]) -> String + Send + Sync + 'static) -> Self {
        self.describe_guards = Some(Arc::new(describe));
        self
    }

    /// When the first worker is spawned, unless [a host asks for it](Broker::start) before. Default: [`FirstWorker::WithThread`].
    #[cfg(feature = "threads")]
    #[must_use]
    pub fn first_worker(mut self, when: FirstWorker) -> Self {
        self.first_worker = when;
        self
    }

    /// Compile workers. Of several one is always left for small jobs; a single one finishes what it has begun, however large.
    /// Default: as many as HotSpot would have on this machine, at least 2.
    #[cfg(feature = "threads")]
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Workers that compile for one tier only, besides those that take [anything](Self::workers): whatever the others are busy with, that
    /// tier's requests do not wait for it. Where every tier has some, `workers(0)` keeps tiers apart altogether, as HotSpot's C1 and C2
    /// threads are. Calls add up. Default: none.
    #[cfg(feature = "threads")]
    #[must_use]
    pub fn workers_for(mut self, tier: Tier, workers: usize) -> Self {
        self.dedicated.push((tier, workers));
        self
    }

    /// How long a function may do no work before its waiting request is dropped; it is asked for again when it is hot again.
    /// Only in background mode, and never for [forced](crate::Reason::Forced) requests. Default: 1 s; `None` is for ever.
    #[cfg(feature = "threads")]
    #[must_use]
    pub fn stale_after(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.stale_after = limit.into();
        self
    }

    /// Workers that may be given up past the deadline in one tier before the tier is turned off. Default: 3.
    #[cfg(feature = "threads")]
    #[must_use]
    pub fn max_abandoned(mut self, workers: u32) -> Self {
        self.max_abandoned = workers;
        self
    }

    /// Checks the configuration and builds the broker. Spawns no thread.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that names the first setting out of range.
    pub fn build(self) -> Result<Broker<G>, ConfigError> {
        let limit = usize::from(Tier::MAX.index());
        if self.compilers.len() > limit {
            return Err(ConfigError::TooManyCompilers { given: self.compilers.len(), limit });
        }
        if !(1..=MOST_BEADS).contains(&self.max_beads) {
            return Err(ConfigError::MaxBeads { given: self.max_beads, limit: MOST_BEADS });
        }
        #[cfg(feature = "threads")]
        let dedicated = self.dedicated()?;
        #[cfg(feature = "threads")]
        let patience = self.stale_after.filter(|_| self.mode.has_workers() || self.clock.is_some());
        #[cfg(not(feature = "threads"))]
        let patience = None;
        #[cfg(feature = "threads")]
        let large_jobs =
            self.workers.filter(|_| self.clock.is_some()).map_or(usize::MAX, |workers| workers.saturating_sub(1).max(1));
        #[cfg(not(feature = "threads"))]
        let large_jobs = usize::MAX;
        Ok(Broker::new(Parts {
            mode: self.mode,
            policy: self.policy,
            deopt_policy: self.deopt_policy,
            #[cfg(feature = "threads")]
            crew: crate::worker::Crew::new(
                self.mode,
                self.first_worker,
                self.workers,
                dedicated,
                self.max_abandoned,
                self.compilers.len(),
            ),
            compilers: self.compilers,
            bridge: Bridge(self.bridge),
            max_beads: self.max_beads,
            deadline: self.deadline,
            census_after: self.census_after,
            patience,
            large_jobs,
            clock: self.clock,
            on_event: self.on_event,
            describe: self.describe,
            describe_guards: self.describe_guards,
            on_work: self.on_work,
        }))
    }

    /// The tiers of the workers that compile for one only.
    #[cfg(feature = "threads")]
    fn dedicated(&self) -> Result<Box<[Tier]>, ConfigError> {
        let (limit, tiers) = (tuning::MOST_WORKERS, Tier::compiled(self.compilers.len()).collect::<Vec<_>>());
        let dedicated = self.dedicated.iter().filter(|(_, workers)| *workers > 0);
        // By default two at least take anything.
        let given = dedicated.clone().fold(self.workers.unwrap_or(2), |sum, (_, workers)| sum.saturating_add(*workers));
        if !(1..=limit).contains(&given) {
            return Err(ConfigError::Workers { given, limit });
        }
        if let Some(&(tier, _)) = dedicated.clone().find(|(tier, _)| !tiers.contains(tier)) {
            return Err(ConfigError::NoCompiler(tier));
        }
        let lacks = |tier: &&Tier| self.workers == Some(0) && !dedicated.clone().any(|(other, _)| other == *tier);
        if let Some(&tier) = tiers.iter().find(lacks) {
            return Err(ConfigError::NoWorker(tier));
        }
        Ok(dedicated.flat_map(|&(tier, workers)| std::iter::repeat_n(tier, workers)).collect())
    }
}

impl<G: Send + Sync + 'static> fmt::Debug for BrokerBuilder<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerBuilder").field("mode", &self.mode).field("max_beads", &self.max_beads).finish_non_exhaustive()
    }
}
