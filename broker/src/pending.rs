//! Requests made and not answered, by tier: one count, so that who asks changes one word. It lies in the cache line of the inbox, which
//! whoever asks writes as well. A request is counted before it is made, for then it may be answered at once: no count is ever below zero.
#![forbid(unsafe_code)]

use crate::{
    Tier,
    mutation::ordering,
    sync::{AtomicU32, Ordering},
};

#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Two for each function at most, which two thousand million functions have no memory for.
    of: [AtomicU32; Tier::MAX.index() as usize],
    /// Tiers there are.
    tiers: u8,
}

impl Pending {
    #[inline]
    pub(crate) fn new(tiers: usize) -> Self {
        Pending { tiers: tiers as u8, ..Pending::default() }
    }

    /// A request is about to be made, or refused: from the moment that it is made it may be answered.
    pub(crate) fn asked(&self, tier: Tier) {
        // Ordering: Release, with the Acquire in `total`: `drain` must not see a lower count than what it waits for. Who answers has seen
        // the request in the state word, so takes away what is there.
        self.of[tier.slot()].fetch_add(1, Ordering::Release);
    }

    /// A request was compiled, dropped or given up, or was not made after all.
    pub(crate) fn answered(&self, tier: Tier) {
        // Ordering: Release. Pairs with: Acquire in `total`. Carries: what the answer changed, for whoever waits for it.
        let before = self.of[tier.slot()].fetch_sub(1, ordering!(Answered: Release));
        debug_assert_ne!(before, 0, "answered before it was counted");
    }

    /// `change` makes a request one for `to`, a lower tier than before, or says that it cannot. It is of both tiers meanwhile.
    pub(crate) fn lowering(&self, from: Tier, to: Tier, change: impl FnOnce() -> bool) -> bool {
        self.asked(to);
        let changed = change();
        self.answered(if changed { from } else { to });
        changed
    }

    /// For one tier. An estimate for who does not wait.
    #[inline]
    pub(crate) fn of(&self, tier: Tier) -> u32 {
        // Ordering: Relaxed. A number for policies and people.
        self.of[tier.slot()].load(Ordering::Relaxed)
    }

    /// For all tiers: nothing only when each request that was made before is answered. The highest is looked at first, for a request
    /// only moves down: who sees it gone from a tier sees where it went.
    pub(crate) fn total(&self) -> usize {
        // Ordering: Acquire. Pairs with: `answered`, and through it with what `lowering` did before.
        self.of[..usize::from(self.tiers)].iter().rev().map(|of| of.load(ordering!(Pending: Acquire)) as usize).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
