//! JavaScriptCore's size-scaled execution counter.

use super::{
    Decision, HotnessPolicy, Reason, Sample,
    budget::{first, promote_when},
};
use crate::{CALL_WORK, Tier, tuning::TYPICAL_TURN_WORK};

/// Points per call and per turn of a loop: `executionCounterIncrementForEntry`, `executionCounterIncrementForLoop`.
const ENTRY: f64 = 15.0;
const LOOP: f64 = 1.0;

/// Promotes when points reach a threshold that grows with the root of the function's size (`CodeBlock.cpp`,
/// `optimizationThresholdScalingFactor`, a least-squares fit to six sizes; `OptionsList.h`).
///
/// ```text
/// points    = 15 · calls + turns
/// threshold = base · (0.825914 + 0.061504 · √(size + 1.02406)) · 2^retries
/// ```
///
/// Calls and turns are [`Sample::calls`] and [`Sample::turns`], as for [`HotSpot`](super::HotSpot); retries are units of the function
/// that were [given up](Sample::deopts) (JSC's `reoptimizationRetryCounter`). JSC's size is that of its bytecode in
/// instructions' operands; here it is the guest body's in bytes. The defaults are those of the two tiers JSC scales so: the DFG's for
/// tier 1, and FTL's for every tier above.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct Jsc {
    /// Points before tier 1: `thresholdForOptimizeAfterWarmUp`.
    pub baseline: f64,
    /// Points before every tier above: `thresholdForFTLOptimizeAfterWarmUp`.
    pub optimizing: f64,
}

impl Default for Jsc {
    fn default() -> Self {
        Jsc { baseline: 1_000.0, optimizing: 64_000.0 }
    }
}

impl Jsc {
    /// Points needed.
    fn threshold(&self, tier: Tier, size: u32, retries: u32) -> f64 {
        let base = if tier.index() <= 1 { self.baseline } else { self.optimizing };
        base * (0.825914 + 0.061504 * (f64::from(size) + 1.02406).sqrt()) * f64::from(retries.min(32)).exp2()
    }
}

/// The least work that earns so many points.
fn work(points: f64) -> f64 {
    points.max(0.0) * (f64::from(CALL_WORK) / ENTRY).min(f64::from(TYPICAL_TURN_WORK) / LOOP)
}

impl HotnessPolicy for Jsc {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        first(work(self.threshold(tier, size, 0)))
    }

    fn osr_budget(&self, tier: Tier, size: u32) -> u32 {
        first(self.threshold(tier, size, 0) / LOOP * f64::from(TYPICAL_TURN_WORK))
    }

    fn decide(&self, sample: &Sample) -> Decision {
        let points = ENTRY * sample.calls() + LOOP * sample.turns();
        let missing = work(self.threshold(sample.next, sample.size, sample.deopts) - points);
        // Loops earn points more slowly than the estimate has it: ask again a call's work later at the earliest.
        let missing = if missing > 0.0 { missing.max(f64::from(CALL_WORK)) } else { missing };
        promote_when(sample, sample.next, missing, Reason::Budget)
    }
}
