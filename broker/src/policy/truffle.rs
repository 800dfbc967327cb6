//! Truffle's call-and-loop thresholds.

use super::{
    Decision, HotnessPolicy, Reason, Sample,
    budget::{first, promote_when},
};
use crate::{CALL_WORK, Tier, tuning::TYPICAL_TURN_WORK};

/// Promotes as Truffle's `OptimizedCallTarget` does (`OptimizedRuntimeOptions`: `FirstTierCompilationThreshold`,
/// `LastTierCompilationThreshold`, `FirstTierMinInvokeThreshold`, `MinInvokeThreshold`, `OSRCompilationThreshold`).
///
/// ```text
/// body:    calls + turns ≥ Threshold  ∧  calls ≥ MinInvoke
/// variant: turns ≥ OsrThreshold
/// ```
///
/// Calls and turns are [`Sample::calls`] and [`Sample::turns`], as for [`HotSpot`](super::HotSpot). Truffle multiplies the thresholds by a
/// scale that falls below one while its compilers idle: add [`LoadFeedback::Truffle`](super::LoadFeedback).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct Truffle {
    /// Calls and turns before tier 1.
    pub first_tier: u32,
    /// Calls and turns before every tier above.
    pub last_tier: u32,
    /// Calls there must be before tier 1.
    pub first_tier_min_invoke: u32,
    /// Calls there must be before every tier above.
    pub min_invoke: u32,
    /// Turns before an OSR variant of any tier.
    pub osr: u32,
}

impl Default for Truffle {
    fn default() -> Self {
        Truffle { first_tier: 400, last_tier: 10_000, first_tier_min_invoke: 1, min_invoke: 3, osr: 100_352 }
    }
}

impl Truffle {
    /// The least work that can make the condition true after so many calls and turns.
    fn missing(&self, tier: Tier, calls: f64, turns: f64) -> f64 {
        let (threshold, least) = match tier.index() {
            0 | 1 => (self.first_tier, self.first_tier_min_invoke.min(self.first_tier)),
            _ => (self.last_tier, self.min_invoke.min(self.last_tier)),
        };
        let more_calls = (f64::from(least) - calls).max(0.0);
        let more_turns = (f64::from(threshold) - calls - turns - more_calls).max(0.0);
        more_calls * f64::from(CALL_WORK) + more_turns * f64::from(TYPICAL_TURN_WORK.min(CALL_WORK))
    }

    fn missing_for_osr(&self, turns: f64) -> f64 {
        (f64::from(self.osr) - turns).max(0.0) * f64::from(TYPICAL_TURN_WORK)
    }
}

impl HotnessPolicy for Truffle {
    fn first_budget(&self, tier: Tier, _size: u32) -> u32 {
        first(self.missing(tier, 0.0, 0.0))
    }

    fn osr_budget(&self, _tier: Tier, _size: u32) -> u32 {
        first(self.missing_for_osr(0.0))
    }

    fn decide(&self, sample: &Sample) -> Decision {
        let missing = match sample.site {
            None => self.missing(sample.next, sample.calls(), sample.turns()),
            Some(_) => self.missing_for_osr(sample.turns()),
        };
        promote_when(sample, sample.next, missing, Reason::Budget)
    }
}
