//! Load feedback: thresholds rise while requests wait, and in one of its two forms fall while compilers idle.

use super::Effect;
use crate::{Sample, WaitReason};

/// How thresholds follow the load `L`, the requests for a tier that wait, [per worker](Sample::load).
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields, rename_all = "kebab-case", rename_all_fields = "kebab-case")
)]
pub enum LoadFeedback {
    /// Up: `s = L / feedback + 1` (HotSpot, `CompilationPolicy::threshold_scale`: `queue_size_X / (TierXLoadFeedback · compiler_count_X) + 1`).
    #[cfg_attr(feature = "serde", serde(rename = "hotspot"))]
    HotSpot {
        /// The load at which thresholds are doubled: for tier 1, and for every tier above.
        feedback: [f64; 2],
    },
    /// In both directions (Truffle, `TraversingCompilationQueue.md`, dynamic compilation thresholds):
    ///
    /// ```text
    ///        ⎧ m + k·L           L < low
    /// s(L) = ⎨ 1                 low ≤ L ≤ high        k = (1 − m) / low
    ///        ⎩ 1 + k·(L − high)  L > high
    /// ```
    Truffle {
        /// `m`, the scale when nothing waits: `DynamicCompilationThresholdsMinScale`.
        min_scale: f64,
        /// Below this load compilers are underused: `DynamicCompilationThresholdsMinNormalLoad`.
        low: f64,
        /// Above it they are overloaded: `DynamicCompilationThresholdsMaxNormalLoad`.
        high: f64,
    },
}

impl LoadFeedback {
    /// HotSpot's, with `Tier3LoadFeedback` 5 and `Tier4LoadFeedback` 3.
    pub const fn hotspot() -> Self {
        LoadFeedback::HotSpot { feedback: [5.0, 3.0] }
    }

    /// Truffle's: a tenth when idle, 10 to 90 requests per thread are normal.
    pub const fn truffle() -> Self {
        LoadFeedback::Truffle { min_scale: 0.1, low: 10.0, high: 90.0 }
    }

    pub(super) fn effect(self, sample: &Sample) -> Effect {
        Effect::scaled(self.scale(sample.load.max(0.0), sample.next.index()), WaitReason::Load)
    }

    fn scale(self, load: f64, tier: u8) -> f64 {
        match self {
            LoadFeedback::HotSpot { feedback: [first, above] } => {
                load / if tier <= 1 { first } else { above }.max(f64::MIN_POSITIVE) + 1.0
            }
            LoadFeedback::Truffle { min_scale, low, high } => {
                let slope = (1.0 - min_scale) / low.max(f64::MIN_POSITIVE);
                if load < low { min_scale + slope * load } else { 1.0 + slope * (load - high).max(0.0) }
            }
        }
    }

    pub(super) fn least_scale(self) -> f64 {
        match self {
            LoadFeedback::HotSpot { .. } => 1.0,
            LoadFeedback::Truffle { min_scale, .. } => min_scale.clamp(0.0, 1.0),
        }
    }
}
