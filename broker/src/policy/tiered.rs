//! A threshold per tier, with four presets, and requests made ahead of the threshold.

use super::{
    Decision, HotnessPolicy, Reason, Sample,
    threshold::{budget_of, promote_once},
};
use crate::{CALL_WORK, TYPICAL_CALL_WORK, Tier};

/// Promotes to tier 1 after one amount of work and to every further tier after another.
///
/// Each is given in calls. The presets take a call to be worth [`TYPICAL_CALL_WORK`] units, so a function whose loops do more
/// than that is promoted after fewer calls, and one that does less after more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiered {
    baseline_calls: u32,
    optimizing_calls: u32,
    call_work: u32,
    ahead_percent: u8,
}

impl Tiered {
    /// Tier 1 after `baseline_calls`, every tier above after `optimizing_calls` more, each worth [`CALL_WORK`]; nothing is
    /// requested ahead.
    pub const fn new(baseline_calls: u32, optimizing_calls: u32) -> Self {
        Tiered { baseline_calls, optimizing_calls, call_work: CALL_WORK, ahead_percent: 0 }
    }

    /// Takes a call to be worth `units` of work.
    #[must_use]
    pub const fn call_worth(mut self, units: u32) -> Self {
        self.call_work = units;
        self
    }

    /// 10 and 100 calls: native code soon, for developing a lowering.
    pub const fn development() -> Self {
        Tiered::new(10, 100).call_worth(TYPICAL_CALL_WORK)
    }

    /// 1,000 and 10,000 calls: compiles only what stays hot.
    pub const fn production() -> Self {
        Tiered::new(1_000, 10_000).call_worth(TYPICAL_CALL_WORK)
    }

    /// 1,000 and 100,000 calls: for a second tier whose compiles take tens of milliseconds, as LLVM's do.
    pub const fn production_llvm() -> Self {
        Tiered::new(1_000, 100_000).call_worth(TYPICAL_CALL_WORK)
    }

    /// Requests when only `percent` of a threshold is left (at most 100), so that the code is ready when it is reached.
    #[must_use]
    pub const fn queue_ahead(mut self, percent: u8) -> Self {
        self.ahead_percent = if percent > 100 { 100 } else { percent };
        self
    }
}

impl Default for Tiered {
    /// 100 and 10,000 calls: some milliseconds of native code before a compiler that takes as long for it.
    fn default() -> Self {
        Tiered::new(100, 10_000).call_worth(TYPICAL_CALL_WORK)
    }
}

impl HotnessPolicy for Tiered {
    fn first_budget(&self, tier: Tier, _size: u32) -> u32 {
        let calls = if tier.index() <= 1 { self.baseline_calls } else { self.optimizing_calls };
        let work = u64::from(calls) * u64::from(self.call_work);
        u32::try_from(work * u64::from(100 - self.ahead_percent) / 100).unwrap_or(u32::MAX)
    }

    fn decide(&self, sample: &Sample) -> Decision {
        let budget = budget_of(self, sample);
        let reason = match (budget, self.ahead_percent) {
            (0, 0) => Reason::FirstCall,
            (_, 0) => Reason::Budget,
            _ => Reason::QueueAhead,
        };
        promote_once(sample, reason, budget)
    }
}
