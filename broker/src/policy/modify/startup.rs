//! The start-up delay: nothing is compiled while the program calls functions for the first time.

use super::Effect;
use crate::{Sample, WaitReason};

/// Holds requests for bodies back until no function was called for the first time for a while (.NET, `TC_CallCountingDelayMs`,
/// 100 ms: any new function in tier 0 starts the timer again; with one processor .NET waits ten times as long). .NET begins to count calls
/// only then; here they have been counted, so what is hot is asked for at once. Loops are not held: a program may call nothing new
/// and never end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct StartupDelay {
    /// Milliseconds without anything new.
    pub ms: u32,
}

impl Default for StartupDelay {
    fn default() -> Self {
        StartupDelay { ms: 100 }
    }
}

impl StartupDelay {
    pub(super) fn effect(self, sample: &Sample) -> Effect {
        let starting = sample.site.is_none() && sample.quiet < u64::from(self.ms) * 1_000;
        if starting { Effect::hold(WaitReason::Startup) } else { Effect::NONE }
    }
}
