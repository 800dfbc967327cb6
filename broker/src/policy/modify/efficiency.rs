//! Efficiency mode: less compiling while energy is to be saved.

use super::Effect;
use crate::{Sample, WaitReason};

/// Multiplies thresholds and holds high tiers back while the embedder [asks for it](crate::Broker::set_efficiency_mode). (V8: the efficiency
/// and battery-saver modes that `TieringManager` looks at put TurboFan off or turn it off.)
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct EfficiencyMode {
    /// What thresholds are multiplied by.
    pub scale: f64,
    /// The highest tier that is still asked for.
    pub top_tier: u8,
}

impl Default for EfficiencyMode {
    fn default() -> Self {
        EfficiencyMode { scale: 4.0, top_tier: 1 }
    }
}

impl EfficiencyMode {
    pub(super) fn effect(self, sample: &Sample) -> Effect {
        if !sample.efficiency {
            Effect::NONE
        } else if sample.next.index() > self.top_tier {
            Effect::hold(WaitReason::Efficiency)
        } else {
            Effect::scaled(self.scale.max(1.0), WaitReason::Efficiency)
        }
    }
}
