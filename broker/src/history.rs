//! What was learnt from code that was given up: which guards failed, which are not to be speculated on, how often it happened.
//!
//! A history is immutable and part of the version that was published when the code was given up, so a compile that begins from
//! that version sees it, and a reload, which publishes a version without one, forgets it. There is nothing to synchronize.
#![forbid(unsafe_code)]

use crate::{GuardId, Tier, sync::Arc};

/// What is known of one guard that made a unit be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Culprit {
    guard: GuardId,
    /// Units given up because of it.
    deopts: u32,
    suppressed: bool,
}

/// Units given up since the bead was registered or reloaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeoptHistory {
    /// By guard.
    culprits: Vec<Culprit>,
    /// The guards of those that are suppressed, in order.
    suppressed: Vec<GuardId>,
    /// By tier, the interpreter's always 0.
    deopts: [u32; 1 + Tier::MAX.index() as usize],
}

impl DeoptHistory {
    /// The history after another unit of `tier` was given up because of `guard`, which is suppressed from now on if `suppress`
    /// says so.
    pub(crate) fn after(before: Option<&Self>, tier: Tier, guard: GuardId, suppress: bool) -> Arc<Self> {
        let mut history = before.cloned().unwrap_or_default();
        let deopts = &mut history.deopts[usize::from(tier.index())];
        *deopts = deopts.saturating_add(1);
        let at = history.culprits.binary_search_by_key(&guard, |culprit| culprit.guard).unwrap_or_else(|at| {
            history.culprits.insert(at, Culprit { guard, deopts: 0, suppressed: false });
            at
        });
        let culprit = &mut history.culprits[at];
        culprit.deopts = culprit.deopts.saturating_add(1);
        culprit.suppressed |= suppress;
        history.suppressed = history.culprits.iter().filter(|culprit| culprit.suppressed).map(|culprit| culprit.guard).collect();
        Arc::new(history)
    }

    /// Units of `tier` given up.
    pub(crate) fn deopts(&self, tier: Tier) -> u32 {
        self.deopts[usize::from(tier.index())]
    }

    /// Units given up, of all tiers.
    pub(crate) fn total(&self) -> u32 {
        self.deopts.iter().fold(0, |total, &deopts| total.saturating_add(deopts))
    }

    /// Units given up because of `guard`.
    pub(crate) fn guard_deopts(&self, guard: GuardId) -> u32 {
        let at = self.culprits.binary_search_by_key(&guard, |culprit| culprit.guard);
        at.map_or(0, |at| self.culprits[at].deopts)
    }

    /// Guards not to be speculated on, in order.
    pub(crate) fn suppressed(&self) -> &[GuardId] {
        &self.suppressed
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn histories_add_up() {
        let [low, high] = [GuardId(3), GuardId(u64::MAX)];
        let [one, two] = [Tier::new(1), Tier::MAX];
        let first = DeoptHistory::after(None, two, high, false);
        assert_eq!((first.deopts(two), first.deopts(one), first.guard_deopts(high), first.suppressed()), (1, 0, 1, &[][..]));
        let second = DeoptHistory::after(Some(&first), two, low, true);
        let third = DeoptHistory::after(Some(&second), one, low, false);
        assert_eq!((third.deopts(two), third.deopts(one), third.total()), (2, 1, 3));
        assert_eq!((third.guard_deopts(low), third.guard_deopts(high), third.guard_deopts(GuardId(4))), (2, 1, 0));
        assert_eq!(third.suppressed(), [low], "suppressed for good");
        assert_eq!(DeoptHistory::after(Some(&third), two, high, true).suppressed(), [low, high], "in order");
        assert_eq!(first.suppressed(), [], "what was published does not change");
    }
}
