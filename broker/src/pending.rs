//! Requests made and not answered, by tier: one count, so that who asks changes one word. It lies in the cache line of the inbox, which
//! whoever asks writes as well.
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
    pub(crate) fn new(tiers: usize) -> Self {
        Pending { tiers: tiers as u8, ..Pending::default() }
    }

    /// A request was made.
    pub(crate) fn asked(&self, tier: Tier) {
        // Ordering: Release, with the Acquire in `total`: `drain` must not see a lower count than what it waits for.
        self.of[tier.slot()].fetch_add(1, Ordering::Release);
    }

    /// A request was compiled, dropped or given up.
    pub(crate) fn answered(&self, tier: Tier) {
        // Ordering: Release. Pairs with: Acquire in `total`. Carries: what the answer changed, for whoever waits for it.
        self.of[tier.slot()].fetch_sub(1, ordering!(Answered: Release));
    }

    /// A request is for `to`, a lower tier than before.
    pub(crate) fn lowered(&self, from: Tier, to: Tier) {
        self.asked(to);
        self.answered(from);
    }

    /// For one tier. An estimate for who does not wait.
    #[inline]
    pub(crate) fn of(&self, tier: Tier) -> u32 {
        // Ordering: Relaxed. A number for policies and people. Below zero for a moment, where a bead is in the inbox already and its request
        // is answered before it was counted.
        (self.of[tier.slot()].load(Ordering::Relaxed) as i32).max(0) as u32
    }

    /// For all tiers: never fewer than there are. The highest is looked at first, for a request only moves down: who sees it gone from a
    /// tier sees where it went.
    pub(crate) fn total(&self) -> usize {
        // Ordering: Acquire. Pairs with: `answered`, and through it with what `lowered` did before.
        self.of[..usize::from(self.tiers)].iter().rev().map(|of| of.load(ordering!(Pending: Acquire)) as usize).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
