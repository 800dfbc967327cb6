//! A budget of processor time for compiling.

use super::Effect;
use crate::{Sample, WaitReason};

/// Holds requests back while the compilers have worked longer than a share of the time since the broker was built, plus an allowance for the
/// beginning: a token bucket with a rate of `percent` and a depth of `burst_ms`. No engine of those compared here has one; HotSpot
/// bounds the number of compiler threads instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct CompileShare {
    /// Percent of one processor.
    pub percent: u32,
    /// Milliseconds that may be spent beyond that.
    pub burst_ms: u32,
}

impl Default for CompileShare {
    fn default() -> Self {
        CompileShare { percent: 20, burst_ms: 200 }
    }
}

impl CompileShare {
    pub(super) fn effect(self, sample: &Sample) -> Effect {
        let allowed = f64::from(self.burst_ms) * 1e6 + f64::from(self.percent) / 100.0 * sample.age_nanos as f64;
        if sample.compile_nanos as f64 > allowed { Effect::hold(WaitReason::CompileShare) } else { Effect::NONE }
    }
}
