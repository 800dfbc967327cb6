//! What the service answers when a request was done.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tierup_broker::{BeadStats, Stats, TierStats};

use super::Id;

/// The answer to the [`Ask`](super::Ask) of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// Who speaks.
    Hello(Hello),
    /// Events come from now on.
    Subscribed,
    /// What is known about the bead.
    Why {
        /// Its state.
        bead: Box<BeadRecord>,
        /// What the policy said last, what was asked for, which tiers are closed to it, and what is missing for its next promotion:
        /// lines of text.
        missing: String,
    },
    /// Some beads.
    Beads(Page),
    /// What the broker has done.
    Stats(Box<StatsRecord>),
    /// The code is no longer entered.
    Invalidated {
        /// The bead that was named.
        bead: Id,
        /// Whether it had any.
        had_code: bool,
    },
    /// The body was replaced.
    Reloaded {
        /// The bead that was named.
        bead: Id,
    },
    /// The bead stays in the interpreter.
    Disabled {
        /// The bead that was named.
        bead: Id,
    },
    /// The bead runs code of the tier asked for, or of a higher one.
    TierReached {
        /// The bead that was named.
        bead: Id,
        /// The tier it runs.
        tier: u8,
    },
    /// The broker is shut down; the connection is closed next.
    ShutDown,
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hello {
    /// The version of the protocol.
    pub protocol: u32,
    /// Name and version of the service.
    pub server: String,
    /// The process.
    pub pid: u32,
    /// Names of the compilers, tier 1 first.
    pub tiers: Vec<String>,
}

/// Some beads, in the order of ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// The beads.
    pub beads: Vec<BeadRecord>,
    /// Where the next page begins; absent on the last one.
    pub next: Option<u32>,
}

/// An OSR variant that can be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The loop site.
    pub site: u32,
    /// Its tier.
    pub tier: u8,
}

/// What is known about one bead: see [`BeadStats`], whose fields these are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the field of the same name, which says more")]
pub struct BeadRecord {
    /// Its identity.
    pub bead: Id,
    /// What the embedder calls it.
    pub name: String,
    pub tier: u8,
    pub size: u32,
    pub work: u64,
    pub budget: i32,
    pub pending: bool,
    pub disabled: Vec<u8>,
    pub frozen: bool,
    pub code_bytes: u64,
    pub variants: Vec<Variant>,
    pub resident: Vec<u8>,
    pub exits: u64,
    pub deopts: u32,
    /// In words: ids of guards have 64 bits, which not every reader of JSON has.
    pub suppressed: Vec<String>,
}

impl BeadRecord {
    pub(crate) fn new(bead: Id, name: String, stats: &BeadStats) -> Self {
        let variant = |&(site, tier): &(u32, tierup_broker::Tier)| Variant { site, tier: tier.index() };
        BeadRecord {
            bead,
            name,
            tier: stats.tier.index(),
            size: stats.size,
            work: stats.work,
            budget: stats.budget,
            pending: stats.pending,
            disabled: stats.disabled.iter().map(|tier| tier.index()).collect(),
            frozen: stats.frozen,
            code_bytes: stats.code_bytes as u64,
            variants: stats.variants.iter().map(variant).collect(),
            resident: stats.resident.iter().map(|tier| tier.index()).collect(),
            exits: stats.exits,
            deopts: stats.deopts,
            suppressed: stats.suppressed.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What the broker has done so far: see [`Stats`], whose fields these are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the field of the same name, which says more")]
pub struct StatsRecord {
    pub beads: u64,
    pub pending: u64,
    pub tiers: Vec<TierRecord>,
    pub code_live: u64,
    pub code_resident: u64,
    pub code_retired: u64,
    pub code_on_stack: u64,
    pub code_reclaimed: u64,
    pub reclaim_latency_ns: u64,
    pub reclaim_latency_max_ns: u64,
    pub censuses: u64,
    pub waiting: u64,
    pub contained: u64,
    pub assumed: u64,
    pub wakes: u64,
    pub workers: u64,
    pub spawn_failures: u32,
    /// Whether the broker was shut down.
    pub shut_down: bool,
}

impl StatsRecord {
    pub(crate) fn new(stats: &Stats, shut_down: bool) -> Self {
        StatsRecord {
            beads: stats.beads as u64,
            pending: stats.pending as u64,
            tiers: stats.tiers.iter().map(TierRecord::new).collect(),
            code_live: stats.code_live,
            code_resident: stats.code_resident,
            code_retired: stats.code_retired,
            code_on_stack: stats.code_on_stack,
            code_reclaimed: stats.code_reclaimed,
            reclaim_latency_ns: nanos(stats.reclaim_latency),
            reclaim_latency_max_ns: nanos(stats.reclaim_latency_max),
            censuses: stats.censuses,
            waiting: stats.waiting as u64,
            contained: stats.contained as u64,
            assumed: stats.assumed as u64,
            wakes: stats.wakes,
            workers: stats.workers as u64,
            spawn_failures: stats.spawn_failures,
            shut_down,
        }
    }
}

/// Counters of one tier: see [`TierStats`], whose fields these are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the field of the same name, which says more")]
pub struct TierRecord {
    pub name: String,
    pub requested: u64,
    pub compiled: u64,
    pub installed: u64,
    pub installed_osr: u64,
    pub pending: u64,
    pub dropped: u64,
    pub stale: u64,
    pub deduped: u64,
    pub lost: u64,
    pub exits: u64,
    pub deopts: u64,
    /// Reasons and how often.
    pub bailouts: Vec<(String, u64)>,
    pub abandoned: u32,
    pub off: bool,
    pub compile_total_ns: u64,
    pub compile_max_ns: u64,
    pub nanos_per_unit: f64,
    pub wait_total_ns: u64,
    pub wait_max_ns: u64,
    pub wait_p50_ns: u64,
    pub wait_p95_ns: u64,
    pub wait_p99_ns: u64,
    pub speedup: f64,
    pub timed_functions: u64,
}

impl TierRecord {
    fn new(stats: &TierStats) -> Self {
        TierRecord {
            name: stats.name.clone(),
            requested: stats.requested,
            compiled: stats.compiled,
            installed: stats.installed,
            installed_osr: stats.installed_osr,
            pending: stats.pending,
            dropped: stats.dropped,
            stale: stats.stale,
            deduped: stats.deduped,
            lost: stats.lost,
            exits: stats.exits,
            deopts: stats.deopts,
            bailouts: stats.bailouts.iter().map(|&(kind, count)| (format!("{kind:?}"), count)).collect(),
            abandoned: stats.abandoned,
            off: stats.off,
            compile_total_ns: nanos(stats.compile_total),
            compile_max_ns: nanos(stats.compile_max),
            nanos_per_unit: stats.nanos_per_unit,
            wait_total_ns: nanos(stats.wait_total),
            wait_max_ns: nanos(stats.wait_max),
            wait_p50_ns: nanos(stats.wait_p50),
            wait_p95_ns: nanos(stats.wait_p95),
            wait_p99_ns: nanos(stats.wait_p99),
            speedup: stats.speedup,
            timed_functions: stats.timed_functions,
        }
    }
}

/// 64 bits of nanoseconds are 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
