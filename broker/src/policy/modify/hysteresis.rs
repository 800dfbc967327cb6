//! Hysteresis: who was held back because of load is held until the load is well below where it began.

use super::Effect;
use crate::{Sample, WaitReason};

/// Holds a request back while more than `on` requests per worker wait, and once it was held until no more than `off` do (HotSpot,
/// `Tier3DelayOn` 5 and `Tier3DelayOff` 2: there a method is compiled without profiling meanwhile, and keeps that level as the memory that
/// here is [`Sample::held`]).
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct Hysteresis {
    /// Requests per worker above which holding back begins.
    pub on: f64,
    /// Requests per worker up to which it ends.
    pub off: f64,
    /// The lowest tier it is about: HotSpot's is about the second compiler's queue.
    pub from_tier: u8,
}

impl Default for Hysteresis {
    fn default() -> Self {
        Hysteresis { on: 5.0, off: 2.0, from_tier: 2 }
    }
}

impl Hysteresis {
    pub(super) fn effect(self, sample: &Sample) -> Effect {
        let limit = if sample.held { self.off.min(self.on) } else { self.on };
        if sample.next.index() >= self.from_tier && sample.load > limit { Effect::hold(WaitReason::Held) } else { Effect::NONE }
    }
}
