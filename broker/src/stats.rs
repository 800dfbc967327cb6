//! What the broker has done so far: counters written by workers, read by anyone.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::{
    ClosedBy, GuardId, LossReason, Speedup, Tier,
    bailout::BailoutKind,
    histogram::Histogram,
    sync::{AtomicU32, AtomicU64, Note, Ordering},
};

/// A snapshot of one broker's counters. Taken without stopping anything, so sums may be off by what is under way.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Beads registered and not released.
    pub beads: usize,
    /// Requests waiting or being compiled, as [`Broker::pending`](crate::Broker::pending) counts them.
    pub pending: usize,
    /// One entry per compiler, tier 1 first.
    pub tiers: Vec<TierStats>,
    /// Bytes of native code in use: what can be entered, and what is [resident](Self::code_resident).
    pub code_live: u64,
    /// Of these, bytes of bodies that are kept below one of a higher tier, to take over if that is given up.
    pub code_resident: u64,
    /// Bytes of native code that waits until no thread can be inside it.
    pub code_retired: u64,
    /// Of these, bytes that threads had on their stacks when they last [told](crate::InterpThread::poll_with).
    pub code_on_stack: u64,
    /// How often threads were asked what is on their stacks.
    pub censuses: u64,
    /// Bytes of native code freed so far.
    pub code_reclaimed: u64,
    /// Time from when a unit was retired until it was freed, in the mean.
    pub reclaim_latency: Duration,
    /// The longest such time.
    pub reclaim_latency_max: Duration,
    /// Retired versions, units and slots that wait until no thread can be using them.
    pub waiting: usize,
    /// Bodies of functions that are in units of other functions, counted once for each unit that is not freed.
    pub contained: usize,
    /// Assumptions units rely on, counted as these.
    pub assumed: usize,
    /// How often a parked worker was woken: each costs whoever does it a system call.
    pub wakes: u64,
    /// Workers that were spawned so far, those that took the place of others included.
    pub workers: usize,
    /// Threads that could not be spawned.
    pub spawn_failures: u32,
}

/// Counters of one tier.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct TierStats {
    /// The compiler's name.
    pub name: String,
    /// Requests made.
    pub requested: u64,
    /// Compiles begun.
    pub compiled: u64,
    /// Units installed.
    pub installed: u64,
    /// Of these, OSR variants.
    pub installed_osr: u64,
    /// Requests made and not answered. One that moves to a lower tier is of both for a moment.
    pub pending: u64,
    /// Requests dropped before they were compiled: because they were stale, and else because they were cancelled: the function changed,
    /// was disabled or released, ran a higher tier already, or the broker was shut down.
    pub dropped: u64,
    /// Of these, requests of functions that had [done no work](crate::LossReason::Stale) for too long.
    pub stale: u64,
    /// Requests for bodies that had been asked for already, and so were none.
    pub deduped: u64,
    /// Finished units that lost against something newer.
    pub lost: u64,
    /// Exits at guards of units in use.
    pub exits: u64,
    /// Units given up because of exits.
    pub deopts: u64,
    /// Compiles given up, by reason; only reasons that occurred.
    pub bailouts: Vec<(BailoutKind, u64)>,
    /// Workers given up past the deadline.
    pub abandoned: u32,
    /// Whether the tier was turned off.
    pub off: bool,
    /// Time spent in the compiler.
    pub compile_total: Duration,
    /// What a compile is reckoned to take now, in nanoseconds per byte of guest body: a running figure that priorities use.
    pub nanos_per_unit: f64,
    /// Longest compile.
    pub compile_max: Duration,
    /// Time requests spent waiting.
    pub wait_total: Duration,
    /// Longest wait.
    pub wait_max: Duration,
    /// What half of the waits were shorter than, to a quarter.
    pub wait_p50: Duration,
    /// What 95 % of the waits were shorter than, to a quarter.
    pub wait_p95: Duration,
    /// What 99 % of the waits were shorter than, to a quarter.
    pub wait_p99: Duration,
    /// How many times as fast as the interpreter its code is reckoned to be: measured, once [calls were timed](Self::timed_functions).
    pub speedup: f64,
    /// Functions whose speedup was measured by [timed calls](crate::InterpThread::timed).
    pub timed_functions: u64,
}

/// What is known about one bead.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BeadStats {
    /// The tier whose code runs when the function is called.
    pub tier: Tier,
    /// Size of the guest body in bytes.
    pub size: u32,
    /// Work drawn so far, in work units: runs ahead by what threads have drawn and not yet spent.
    pub work: u64,
    /// Work left until the policy is asked, not counting what threads have drawn.
    pub budget: i32,
    /// Whether a request waits or is being compiled.
    pub pending: bool,
    /// Tiers disabled for this bead.
    pub disabled: Vec<Tier>,
    /// Tiers it does not go to, and why: those that are disabled among them.
    pub closed: Vec<(Tier, ClosedBy)>,
    /// Whether the policy will not be asked any more.
    pub frozen: bool,
    /// Bytes of native code installed, variants included.
    pub code_bytes: usize,
    /// The OSR variants that can be entered: loop sites and tiers.
    pub variants: Vec<(u32, Tier)>,
    /// Tiers whose bodies are kept to fall back on, highest first.
    pub resident: Vec<Tier>,
    /// Exits of the units that can be entered.
    pub exits: u64,
    /// Units given up because of exits since the bead was registered or reloaded.
    pub deopts: u32,
    /// Guards that are not to be speculated on any more, in order.
    pub suppressed: Vec<GuardId>,
    /// How much faster it became, if enough calls were [timed](crate::InterpThread::timed).
    pub speedup: Option<Speedup>,
}

/// The live counters of one tier.
#[derive(Debug, Default)]
pub(crate) struct TierCounters {
    pub(crate) requested: AtomicU64,
    pub(crate) compiled: AtomicU64,
    pub(crate) installed: AtomicU64,
    pub(crate) installed_osr: AtomicU64,
    dropped: Note,
    stale: Note,
    deduped: Note,
    pub(crate) lost: AtomicU64,
    pub(crate) exits: AtomicU64,
    pub(crate) deopts: AtomicU64,
    bailouts: [AtomicU64; BailoutKind::ALL.len()],
    pub(crate) abandoned: AtomicU32,
    compile_total: AtomicU64,
    /// Nanoseconds that a compile took, in the mean of all so far: the bits of an `f64`.
    compile_mean: Note,
    compile_max: AtomicU64,
    wait_total: AtomicU64,
    wait_max: AtomicU64,
    waits: Histogram,
}

// Ordering: Relaxed throughout this file. Counters only; they publish nothing and are read as approximate.
impl TierCounters {
    pub(crate) fn note_compile(&self, wait: Duration, cost: Duration) {
        let compiled = self.compiled.fetch_add(1, Ordering::Relaxed) + 1;
        let total = self.compile_total.fetch_add(nanos(cost), Ordering::Relaxed).saturating_add(nanos(cost));
        self.compile_mean.store((total as f64 / compiled as f64).to_bits(), Ordering::Relaxed);
        self.compile_max.fetch_max(nanos(cost), Ordering::Relaxed);
        self.wait_total.fetch_add(nanos(wait), Ordering::Relaxed);
        self.wait_max.fetch_max(nanos(wait), Ordering::Relaxed);
        self.waits.note(wait);
    }

    /// A request was dropped before it was compiled.
    pub(crate) fn note_dropped(&self, reason: LossReason) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if reason == LossReason::Stale {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A body was asked for that had been asked for already.
    pub(crate) fn note_deduped(&self) {
        self.deduped.fetch_add(1, Ordering::Relaxed);
    }

    /// Nanoseconds compiled so far, and in the mean.
    #[inline]
    pub(crate) fn compile_nanos(&self) -> (u64, f64) {
        (self.compile_total.load(Ordering::Relaxed), f64::from_bits(self.compile_mean.load(Ordering::Relaxed)))
    }

    pub(crate) fn note_bailout(&self, kind: BailoutKind) {
        self.bailouts[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> TierStats {
        let duration = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        let [wait_p50, wait_p95, wait_p99] = self.waits.percentiles([50, 95, 99]);
        TierStats {
            requested: self.requested.load(Ordering::Relaxed),
            compiled: self.compiled.load(Ordering::Relaxed),
            installed: self.installed.load(Ordering::Relaxed),
            installed_osr: self.installed_osr.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            stale: self.stale.load(Ordering::Relaxed),
            deduped: self.deduped.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            exits: self.exits.load(Ordering::Relaxed),
            deopts: self.deopts.load(Ordering::Relaxed),
            bailouts: BailoutKind::ALL
                .iter()
                .map(|&kind| (kind, self.bailouts[kind as usize].load(Ordering::Relaxed)))
                .filter(|&(_, count)| count > 0)
                .collect(),
            abandoned: self.abandoned.load(Ordering::Relaxed),
            compile_total: duration(&self.compile_total),
            compile_max: duration(&self.compile_max),
            wait_total: duration(&self.wait_total),
            wait_max: duration(&self.wait_max),
            wait_p50,
            wait_p95,
            wait_p99,
            ..TierStats::default()
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes of native code by fate. Units outlive the broker's own tables, so they share it.
#[derive(Debug, Default)]
pub(crate) struct CodeLedger {
    live: AtomicU64,
    resident: AtomicU64,
    retired: AtomicU64,
    reclaimed: AtomicU64,
    latency: Note,
    latency_max: Note,
    units_reclaimed: Note,
}

impl CodeLedger {
    pub(crate) fn installed(&self, bytes: usize) {
        self.live.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A live unit became resident, or ceased to be.
    pub(crate) fn resident(&self, bytes: usize, is: bool) {
        if is {
            self.resident.fetch_add(bytes as u64, Ordering::Relaxed);
        } else {
            self.resident.fetch_sub(bytes as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn retired(&self, bytes: usize) {
        self.live.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.retired.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn reclaimed(&self, bytes: usize) {
        self.retired.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.reclaimed.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A unit waited so long to be freed.
    pub(crate) fn waited(&self, latency: Duration) {
        self.latency.fetch_add(nanos(latency), Ordering::Relaxed);
        self.latency_max.fetch_max(nanos(latency), Ordering::Relaxed);
        self.units_reclaimed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) fn fill(&self, stats: &mut Stats) {
        stats.code_live = self.live();
        stats.code_resident = self.resident.load(Ordering::Relaxed);
        stats.code_retired = self.retired.load(Ordering::Relaxed);
        stats.code_reclaimed = self.reclaimed.load(Ordering::Relaxed);
        let units = self.units_reclaimed.load(Ordering::Relaxed);
        stats.reclaim_latency = Duration::from_nanos(self.latency.load(Ordering::Relaxed) / units.max(1));
        stats.reclaim_latency_max = Duration::from_nanos(self.latency_max.load(Ordering::Relaxed));
    }
}
