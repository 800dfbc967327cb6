//! HotSpot's call and loop predicates.

use super::{
    Decision, HotnessPolicy, Reason, Sample,
    budget::{first, promote_when},
};
use crate::{CALL_WORK, Tier, tuning::TYPICAL_TURN_WORK};

/// Promotes as HotSpot's `CompilationPolicy` does (`compilationPolicy.cpp`, `CallPredicate` and `LoopPredicate`), with the defaults of
/// `compiler_globals.hpp`.
///
/// ```text
/// body:    i ≥ Invocation  ∨  (i ≥ MinInvocation ∧ i + b ≥ Compile)
/// variant: b ≥ BackEdge
/// ```
///
/// There `i` counts calls and `b` back-edges. Here one count has both, in work units, and the broker knows about how much of it loops
/// did: `i` is [`Sample::calls`], the rest divided by [`CALL_WORK`]; `b` is [`Sample::turns`], the loops' part divided by what a typical
/// turn does, ten operators. Tier 1 has the numbers of HotSpot's tier 3 (C1 with profiling), every tier above those of tier 4 (C2), both
/// counted from when the code that runs now was installed; so are HotSpot's, which it takes from the method's profile.
///
/// HotSpot multiplies all four thresholds by a scale that grows with the queue and with the code cache: add
/// [`LoadFeedback::HotSpot`](super::LoadFeedback), [`CodePressure`](super::CodePressure) and [`Hysteresis`](super::Hysteresis).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct HotSpot {
    /// For tier 1.
    pub baseline: HotSpotStep,
    /// For every tier above.
    pub optimizing: HotSpotStep,
}

/// The thresholds of one of [`HotSpot`]'s steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct HotSpotStep {
    /// Calls that do: `TierXInvocationThreshold`.
    pub invocations: u32,
    /// Calls there must be when loops count as well: `TierXMinInvocationThreshold`.
    pub min_invocations: u32,
    /// Calls and back-edges that do then: `TierXCompileThreshold`.
    pub compile: u32,
    /// Back-edges that do for an OSR variant: `TierXBackEdgeThreshold`.
    pub back_edges: u32,
}

impl Default for HotSpot {
    fn default() -> Self {
        HotSpot {
            baseline: HotSpotStep { invocations: 200, min_invocations: 100, compile: 2_000, back_edges: 60_000 },
            optimizing: HotSpotStep { invocations: 5_000, min_invocations: 600, compile: 15_000, back_edges: 40_000 },
        }
    }
}

impl HotSpot {
    fn step(&self, tier: Tier) -> &HotSpotStep {
        if tier.index() <= 1 { &self.baseline } else { &self.optimizing }
    }
}

impl HotSpotStep {
    /// The least work that can make the call predicate true after `i` calls and `b` turns.
    fn missing_for_call(&self, i: f64, b: f64) -> f64 {
        let [call, turn] = [CALL_WORK, TYPICAL_TURN_WORK].map(f64::from);
        let by_calls = (f64::from(self.invocations) - i).max(0.0) * call;
        let calls = (f64::from(self.min_invocations) - i).max(0.0);
        let turns = (f64::from(self.compile) - i - b - calls).max(0.0);
        by_calls.min(calls * call + turns * turn.min(call))
    }

    fn missing_for_loop(&self, b: f64) -> f64 {
        (f64::from(self.back_edges) - b).max(0.0) * f64::from(TYPICAL_TURN_WORK)
    }
}

impl HotnessPolicy for HotSpot {
    fn first_budget(&self, tier: Tier, _size: u32) -> u32 {
        first(self.step(tier).missing_for_call(0.0, 0.0))
    }

    fn osr_budget(&self, tier: Tier, _size: u32) -> u32 {
        first(self.step(tier).missing_for_loop(0.0))
    }

    fn decide(&self, sample: &Sample) -> Decision {
        let step = self.step(sample.next);
        let missing = match sample.site {
            None => step.missing_for_call(sample.calls(), sample.turns()),
            Some(_) => step.missing_for_loop(sample.turns()),
        };
        promote_when(sample, sample.next, missing, Reason::Budget)
    }
}
