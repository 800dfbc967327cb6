//! From a loop that does not end to a request for an OSR variant: the slow half of a back-edge.
//!
//! Work done in loops is counted twice: against the budget, which asks for the body, and here. Three things differ.
//! - *The frame must last.* A loop that has earned a variant is watched for a few back-edges. A call of the same function
//!   meanwhile says that frames come and go, so that the body will do; nothing is asked for here.
//! - *The loop furthest out is best*: its variant is smallest and its code keeps the whole nest together. Of the back-edges
//!   watched, the lowest site that comes round twice is taken, for sites are numbered from the outside in.
//! - *Who was left behind counts alone.* Once there is better code, the shared count is about what comes after it. A thread
//!   whose frame still runs below that counts for itself.
#![forbid(unsafe_code)]

use crate::{
    Decision, Tier, WaitReason,
    registry::{Cold, Slot},
    shared::Shared,
    state::{Lane, Snapshot},
    sync::Ordering,
    target::Target,
    tuning::{MIN_RECOUNT, backoff},
    variants::Variants,
};

/// The least tier of code that counts for itself: what is known of native code that asks.
pub(crate) const NATIVE: Tier = Tier::new(1);

/// A variant that a loop could go on in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prospect {
    pub(crate) tier: Tier,
    /// Work in loops that earns it.
    pub(crate) budget: u32,
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// The lowest tier above `tier` this bead may have variants of.
    fn next_osr_tier(&self, tier: Tier, state: Snapshot) -> Option<Tier> {
        let mut tier = tier;
        loop {
            tier = self.next_tier(tier, state)?;
            if self.tiers[tier.slot()].osr {
                return Some(tier);
            }
        }
    }

    /// What a loop of code of tier `asking` could go on in at `site`; `None` when there is nothing to count for.
    pub(crate) fn prospect(&self, id: u32, variants: &Variants, asking: Tier, site: u32) -> Option<Prospect> {
        let slot = self.registry.slot(id);
        let tier = self.next_osr_tier(asking.max(variants.tier_at(site)), slot.hot.state.snapshot())?;
        let budget = self.osr_budget(slot, tier);
        (budget < u32::MAX).then_some(Prospect { tier, budget })
    }

    /// What the policy says, or longer after compiles that gave up.
    fn osr_budget(&self, slot: Slot<'_, G>, tier: Tier) -> u32 {
        // Ordering: Relaxed. A count. A bead that has done nothing has asked for nothing, and its warm part is not to be touched.
        let retries = if slot.cold.work.load(Ordering::Relaxed) > 0 { slot.warm.osr.retries() } else { 0 };
        self.first_osr_budget(slot, tier).max(retries.checked_sub(1).map_or(0, backoff))
    }

    /// Whether a loop that spends the budget asks for the variant rather than for the body.
    pub(crate) fn is_due(&self, id: u32, prospect: Prospect) -> bool {
        prospect.budget <= self.first_budget(self.registry.slot(id), prospect.tier)
    }

    /// Work in loops that earns a variant of the tier after `tier`.
    pub(crate) fn loops_budget(&self, slot: Slot<'_, G>, tier: Tier) -> u32 {
        let next = self.next_osr_tier(tier, slot.hot.state.snapshot());
        next.map_or(u32::MAX, |next| self.osr_budget(slot, next))
    }

    /// Sets the loops' budget for the tier after `tier`, by a thread that found it spent.
    pub(crate) fn rearm_loops(&self, id: u32, tier: Tier) {
        self.refill_loops(id, self.loops_budget(self.registry.slot(id), tier));
    }

    pub(crate) fn set_loops(&self, cold: &Cold<G>, work: u32) {
        // Ordering: Relaxed. A count; publishes nothing.
        cold.loops.store(i32::try_from(work).unwrap_or(i32::MAX), Ordering::Relaxed);
    }

    /// As [`Self::set_loops`], by a thread that found it spent: code that came meanwhile has armed it for the next tier, and that
    /// stays.
    pub(crate) fn refill_loops(&self, id: u32, work: u32) {
        let refill = |left: i32| (left <= 0).then(|| i32::try_from(work).unwrap_or(i32::MAX));
        // Ordering: Relaxed, twice. A count.
        let _ = self.registry.cold(id).loops.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refill);
    }

    /// Work left for loops to do, all threads together: `i32::MAX` when they need not be counted.
    pub(crate) fn loops_left(&self, cold: &Cold<G>) -> i32 {
        // Ordering: Relaxed. A count.
        cold.loops.load(Ordering::Relaxed)
    }

    /// A loop paid for `work` units.
    pub(crate) fn count_loop(&self, id: u32, work: i32) {
        let less = |left: i32| (left != i32::MAX).then(|| left.saturating_sub(work));
        // Ordering: Relaxed, twice. A count.
        let _ = self.registry.cold(id).loops.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Whether a variant of the bead is being waited for: one that has not come by its deadline is not.
    pub(crate) fn is_osr_pending(&self, id: u32) -> bool {
        let is_given_up = |site| self.is_site_closed(id, site);
        self.registry.hot(id).state.snapshot().is_pending(Lane::Osr)
            && !self.registry.warm(id).osr.claimed().and_then(|target| target.site).is_some_and(is_given_up)
    }

    /// Whether nobody asks for a variant at the site any more.
    pub(crate) fn is_site_closed(&self, id: u32, site: u32) -> bool {
        self.registry.warm(id).osr.is_closed(site)
    }

    /// A loop has done the work and outlasted the watch: asks the policy, which may say how much work to wait for. `from` is the
    /// tier of the code it runs in.
    pub(crate) fn ask_about_loop(&self, id: u32, from: Tier, site: u32, prospect: Prospect) -> Option<u32> {
        let slot = self.registry.slot(id);
        let state = slot.hot.state.snapshot();
        if self.is_budget_spent(slot.hot) {
            self.postpone(id);
        }
        let mut sample = self.sample(slot, state, from, prospect.tier);
        sample.site = Some(site);
        // What a thread that was left behind counts for itself is not in the bead's tally: at least it has earned this.
        sample.loop_work = sample.loop_work.max(prospect.budget.into());
        sample.spent = sample.loop_work;
        sample.pending = state.is_pending(Lane::Osr);
        sample.bailouts = slot.warm.osr.retries();
        match self.ask(slot, &sample) {
            Decision::Promote { tier: wanted, reason } => {
                let usable = wanted > from && self.makes_variants(wanted, state);
                let target = Target::osr(if usable { wanted } else { prospect.tier }, site);
                self.request_at(slot, target, reason, sample.age());
                None
            }
            Decision::Wait { budget, reason } => Some(budget.max(if reason == WaitReason::Pending { MIN_RECOUNT } else { 1 })),
            Decision::Never { reason } => {
                self.never(slot, reason, sample.age());
                None
            }
        }
    }

    /// Whether variants of `tier` can be asked for.
    pub(crate) fn makes_variants(&self, tier: Tier, state: Snapshot) -> bool {
        self.is_open(tier) && !state.is_disabled(tier) && self.tiers[tier.slot()].osr
    }
}
