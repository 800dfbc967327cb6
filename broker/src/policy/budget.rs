//! Amounts of work as budgets, and the decision most policies come down to: promote once enough was spent.

use super::{Decision, HotnessPolicy, Reason, Sample, WaitReason};
use crate::{Tier, tuning::SAMPLED_FROM};

/// The largest budget that runs out; `u32::MAX` never does.
const LARGEST: u32 = i32::MAX as u32 - 1;

/// Work after which a policy that sees nothing to be gained looks again.
pub(super) const LATER: u32 = 1 << 24;

/// A first budget of so much work: 0 asks at once, infinity never.
pub(super) fn first(work: f64) -> u32 {
    if work == f64::INFINITY { u32::MAX } else { (work as u32).min(LARGEST) }
}

/// The first budget of a policy that weighs costs, and looks at them after so much work. Of a compiled function it looks after some samples:
/// no compile of an optimizer pays sooner, and code that is to be looked at sooner counts its own work, which costs more than is gained.
pub(super) fn first_look(tier: Tier, work: u32) -> u32 {
    first(f64::from(if tier.index() <= 1 { work } else { work.max(SAMPLED_FROM) }))
}

/// A budget to wait for: at least one unit, so that waiting gets somewhere, and not for ever.
pub(super) fn rest(work: f64) -> u32 {
    (work.ceil() as u32).clamp(1, LARGEST)
}

/// The budget that the sample's request has.
pub(super) fn budget_of(policy: &(impl HotnessPolicy + ?Sized), sample: &Sample) -> u32 {
    match sample.site {
        Some(_) => policy.osr_budget(sample.next, sample.size),
        None => policy.first_budget(sample.next, sample.size),
    }
}

/// Promotes to `tier` when `missing` work units are none; otherwise waits for them. What was asked for already is not asked for again.
pub(super) fn promote_when(sample: &Sample, tier: Tier, missing: f64, reason: Reason) -> Decision {
    if sample.pending {
        Decision::Wait { budget: rest(missing).max(LATER), reason: WaitReason::Pending }
    } else if missing <= 0.0 {
        Decision::Promote { tier, reason: if sample.bailouts > 0 { Reason::Retry } else { reason } }
    } else if missing.is_finite() {
        Decision::Wait { budget: rest(missing), reason: WaitReason::NotHot }
    } else {
        Decision::Wait { budget: LATER, reason: WaitReason::NotHot }
    }
}
