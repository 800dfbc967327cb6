//! V8's interrupt budget: executed bytecode in lengths of the function.

use super::{
    Decision, HotnessPolicy, NeverReason, Reason, Sample,
    budget::{first, promote_when},
};
use crate::{CALL_WORK, Tier, tuning::BYTES_PER_UNIT};

/// Promotes after so many executions of the whole body (`TieringManager`, `flag-definitions.h`): for JavaScript V8 gives each function
///
/// ```text
/// budget = invocation count · bytecode length
/// ```
///
/// and takes off what it executes, at returns and back-edges: one number that knows of time, size and loops. Here a call charges
/// [`CALL_WORK`] units whatever it runs through, and two bytes of guest body are about one unit, so one execution is
/// `max(CALL_WORK, size / 2)` units.
///
/// The defaults are Maglev's for tier 1 (`invocation_count_for_maglev` 400, for OSR 100) and TurboFan's for every tier above (3,000 and 500);
/// bodies beyond `max_optimized_bytecode_size`, 60 KB, go no higher than tier 1. V8 also starts over when a function's feedback changes:
/// the broker does not see feedback, so that is the embedder's to say, by [deopts](Sample::deopts).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct V8 {
    /// Executions before tier 1.
    pub baseline: u32,
    /// Executions before every tier above.
    pub optimizing: u32,
    /// Executions before an OSR variant of tier 1.
    pub baseline_osr: u32,
    /// Executions before an OSR variant of every tier above.
    pub optimizing_osr: u32,
    /// Bytes of guest body beyond which nothing above tier 1 is asked for.
    pub max_size: u32,
}

impl Default for V8 {
    fn default() -> Self {
        V8 { baseline: 400, optimizing: 3_000, baseline_osr: 100, optimizing_osr: 500, max_size: 60 << 10 }
    }
}

/// Work units one execution of a body counts for.
fn execution(size: u32) -> f64 {
    f64::from(CALL_WORK.max(size / BYTES_PER_UNIT))
}

impl HotnessPolicy for V8 {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        first(f64::from(if tier.index() <= 1 { self.baseline } else { self.optimizing }) * execution(size))
    }

    fn osr_budget(&self, tier: Tier, size: u32) -> u32 {
        first(f64::from(if tier.index() <= 1 { self.baseline_osr } else { self.optimizing_osr }) * execution(size))
    }

    fn decide(&self, sample: &Sample) -> Decision {
        if sample.next.index() > 1 && sample.size > self.max_size {
            return Decision::Never { reason: NeverReason::TooLarge };
        }
        let budget = super::budget::budget_of(self, sample);
        promote_when(sample, sample.next, f64::from(budget) - sample.spent as f64, Reason::Budget)
    }
}
