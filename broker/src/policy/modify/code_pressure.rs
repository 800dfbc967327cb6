//! Code-memory pressure: thresholds rise exponentially as the room for code fills.

use super::Effect;
use crate::{Sample, WaitReason};

/// Multiplies thresholds by `exp(r − r0)` once `r > r0`, where `r = limit / free` and `r0 = 100 / (100 − from_percent)` (HotSpot,
/// `CompilationPolicy::threshold_scale` and `CodeCache::reverse_free_ratio`; `IncreaseFirstTierCompileThresholdAt` is 50). HotSpot does so for its first
/// compiler only, to keep room for the second; here the room is one, and it is for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct CodePressure {
    /// Bytes of code there is room for. HotSpot reserves 240 MB; the broker itself has no limit.
    pub limit: u64,
    /// From how full on.
    pub from_percent: u8,
}

impl Default for CodePressure {
    fn default() -> Self {
        CodePressure { limit: 240 << 20, from_percent: 50 }
    }
}

impl CodePressure {
    pub(super) fn effect(self, sample: &Sample) -> Effect {
        let free = self.limit.saturating_sub(sample.code_bytes);
        if free == 0 {
            return Effect::hold(WaitReason::CodePressure);
        }
        let ratio = self.limit as f64 / free as f64;
        let from = 100.0 / (100.0 - f64::from(self.from_percent.min(99)));
        Effect::scaled(if ratio > from { (ratio - from).exp() } else { 1.0 }, WaitReason::CodePressure)
    }
}
