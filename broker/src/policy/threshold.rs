//! A fixed number of calls for every tier: the control every other policy is compared with.

use super::{Decision, HotnessPolicy, Reason, Sample, WaitReason, budget::budget_of};
use crate::{CALL_WORK, Tier};

/// Promotes after a fixed amount of work, expressed in calls; loops count through their back-edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Threshold {
    /// Interpreted calls before the first request: 0 promotes on the first call.
    pub calls: u32,
}

impl HotnessPolicy for Threshold {
    fn first_budget(&self, _tier: Tier, _size: u32) -> u32 {
        self.calls.saturating_mul(CALL_WORK)
    }

    fn decide(&self, sample: &Sample) -> Decision {
        promote_once(sample, if self.calls == 0 { Reason::FirstCall } else { Reason::Budget }, budget_of(self, sample))
    }
}

/// Promotes to the next tier, unless that was asked for already: then waits for `budget` more work.
pub(super) fn promote_once(sample: &Sample, reason: Reason, budget: u32) -> Decision {
    if sample.pending {
        Decision::Wait { budget, reason: WaitReason::Pending }
    } else {
        Decision::Promote { tier: sample.next, reason: if sample.bailouts > 0 { Reason::Retry } else { reason } }
    }
}
