//! From a number of invocations to a request: what happens when a bead's budget is spent.
//!
//! The incumbent asks its policy at every call. Here the broker counts calls down, and whoever finds the count spent comes here: the
//! policy is asked about this call, and if the answer is no, about later ones, so that the next count ends where it becomes yes.

use tierup_broker::{CALL_WORK, Decision, NeverReason, Reason, Sample, Tier, WaitReason};

use crate::{
    Bead,
    home::{PAUSED, index_of, tier_of},
    jobs::Job,
    link::Link,
};

/// The policies of an adapter, whatever it is.
pub(crate) trait Ladder {
    /// Whether the tier is to be compiled at this invocation.
    fn wants(&self, tier: usize, invocations: u32) -> bool;

    /// The highest tier the bead may have.
    fn top(&self) -> usize;
}

/// How far it is looked ahead at least, in invocations.
const SHORTEST_HORIZON: u32 = 4096;

/// Decides about a bead of `link` whose budget is spent, and leaves the job for what it asks for.
pub(crate) fn decide(bead: &Bead, link: &Link, sample: &Sample, ladder: &dyn Ladder, job: impl FnOnce(usize) -> Job) -> Decision {
    let invocations = bead.count.uncharged(sample.work);
    if !bead.is_valid() || bead.is_blacklisted() {
        return Decision::Never { reason: NeverReason::Excluded };
    }
    let running = index_of(sample.tier);
    if running.is_none()
        && let Some(left @ 1..) = bead.recompile_after().checked_sub(invocations)
    {
        return wait(bead, left);
    }
    let Some(next) = next_tier(bead, sample.tier, ladder.top()) else {
        // The first tier's compile has failed, and nothing but a reload will change that.
        let is_over = sample.tier == Tier::INTERPRETER;
        return if is_over { Decision::Never { reason: NeverReason::Excluded } } else { wait(bead, u32::MAX) };
    };
    if !ladder.wants(next, invocations) {
        return wait(bead, calls_until(|later| ladder.wants(next, later), invocations));
    }
    if bead.is_pending(link, next) || !bead.ask_for(link, next, job(next)) {
        return Decision::Wait { budget: 0, reason: WaitReason::Pending };
    }
    // Forced, as `submit`'s requests are: in the order they come, and never for a lower tier instead, which would be the paused one.
    Decision::Promote { tier: tier_of(next), reason: Reason::Forced }
}

/// The tier to compile after the one that runs.
fn next_tier(bead: &Bead, running: Tier, top: usize) -> Option<usize> {
    match index_of(running) {
        Some(running) => (running + 1..=top).find(|&tier| !bead.has_failed(tier)),
        None => {
            let tier = if running == PAUSED { bead.paused_tier() } else { 0 };
            (!bead.has_failed(tier)).then_some(tier)
        }
    }
}

/// Ask again `calls` invocations from now.
fn wait(bead: &Bead, calls: u32) -> Decision {
    if calls == 1 {
        // The broker gives out no smaller budget than one unit, which pays for nothing.
        bead.count.refund(1);
    }
    // The last of them finds nothing to draw.
    Decision::Wait { budget: (calls - 1).saturating_mul(CALL_WORK), reason: WaitReason::NotHot }
}

/// In how many invocations the answer becomes yes, if it is no now and yes from some number on: found by doubling, then halving.
/// Where that is further off than the number of invocations so far, it is asked again there.
fn calls_until(yes: impl Fn(u32) -> bool, now: u32) -> u32 {
    let horizon = now.max(SHORTEST_HORIZON);
    let at = |calls: u32| yes(now.saturating_add(calls));
    let (mut no, mut step) = (0, 1);
    while step < horizon && !at(step) {
        no = step;
        step = step.saturating_mul(2);
    }
    let mut hit = step.min(horizon);
    while hit - no > 1 {
        let middle = no + (hit - no) / 2;
        if at(middle) { hit = middle } else { no = middle }
    }
    hit
}

#[cfg(test)]
mod tests {
    use super::{SHORTEST_HORIZON, calls_until};

    #[test]
    fn the_first_yes_is_found_to_the_call() {
        for (now, threshold) in [(1, 2), (1, 40), (1, 4_097), (65, 66), (65, 100), (65, 129), (9_000, 17_999), (5, 6)] {
            assert_eq!(calls_until(|calls| calls >= threshold, now), threshold - now, "{now}, {threshold}");
        }
    }

    #[test]
    fn what_is_far_off_is_looked_for_again() {
        assert_eq!(calls_until(|calls| calls >= 10_000, 1), SHORTEST_HORIZON);
        assert_eq!(calls_until(|_| false, 5_000), 5_000);
        assert_eq!(calls_until(|_| false, u32::MAX), u32::MAX);
    }
}
