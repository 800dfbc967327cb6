//! How often a unit was left, and at which guards. Counted by interpreter threads: no lock, no allocation.
#![forbid(unsafe_code)]

use crate::{
    GuardId,
    sync::{AtomicU32, Ordering},
};

/// The counters of one unit.
#[derive(Debug, Default)]
pub(crate) struct ExitCounts {
    /// By guard, without duplicates.
    guards: Box<[(GuardId, AtomicU32)]>,
    all: AtomicU32,
}

/// What the counters say, an exit that was just counted included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exits {
    pub(crate) at_guard: u32,
    pub(crate) of_unit: u32,
}

impl ExitCounts {
    pub(crate) fn new(mut guards: Vec<GuardId>) -> Self {
        guards.sort_unstable();
        guards.dedup();
        ExitCounts { guards: guards.into_iter().map(|guard| (guard, AtomicU32::new(0))).collect(), all: AtomicU32::new(0) }
    }

    /// Exits counted so far.
    pub(crate) fn all(&self) -> u32 {
        // Ordering: Relaxed. A count; publishes nothing.
        self.all.load(Ordering::Relaxed)
    }

    /// All guards, in order, with the exits counted at each so far.
    pub(crate) fn by_guard(&self) -> impl Iterator<Item = (GuardId, u32)> {
        // Ordering: Relaxed. As in `all`.
        self.guards.iter().map(|(guard, count)| (*guard, count.load(Ordering::Relaxed)))
    }

    /// All guards, in order.
    pub(crate) fn guards(&self) -> Vec<GuardId> {
        self.guards.iter().map(|&(guard, _)| guard).collect()
    }

    /// Counts an exit. One at a guard the unit did not list counts for the unit as a whole.
    pub(crate) fn note(&self, guard: GuardId) -> Exits {
        let of_unit = count(&self.all);
        let at = self.guards.binary_search_by_key(&guard, |&(guard, _)| guard);
        Exits { at_guard: at.map_or(of_unit, |at| count(&self.guards[at].1)), of_unit }
    }
}

/// One more, but not past the largest number.
fn count(counter: &AtomicU32) -> u32 {
    // Ordering: Relaxed. A count: exact because it is an RMW; it publishes nothing.
    let before = counter.fetch_add(1, Ordering::Relaxed);
    if before == u32::MAX {
        // Ordering: Relaxed. As above; exits of other threads in between are lost, of four billion.
        counter.store(u32::MAX, Ordering::Relaxed);
    }
    before.saturating_add(1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn exits_are_counted_by_guard() {
        let counts = ExitCounts::new(vec![GuardId(9), GuardId(2), GuardId(9)]);
        let note = |guard| {
            let Exits { at_guard, of_unit } = counts.note(GuardId(guard));
            (at_guard, of_unit)
        };
        assert_eq!([note(9), note(9), note(2), note(5), note(9)], [(1, 1), (2, 2), (1, 3), (4, 4), (3, 5)]);
        assert_eq!(counts.by_guard().collect::<Vec<_>>(), [(GuardId(2), 1), (GuardId(9), 3)]);
        assert_eq!(counts.guards(), [2, 9].map(GuardId));
        counts.all.store(u32::MAX - 1, Ordering::Relaxed);
        assert_eq!([note(2).1, note(2).1, note(2).1], [u32::MAX; 3]);
        assert_eq!(counts.all(), u32::MAX);
    }
}
