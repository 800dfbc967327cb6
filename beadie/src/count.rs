//! How often a bead has been invoked.
//!
//! The broker counts work, per thread: each call takes [`CALL_WORK`] from the thread's countdown, which is drawn from a budget that
//! all threads share. So the number of calls is what was drawn, less what threads still have in hand. This thread's hand is known; what
//! others hold counts as spent, so that with several threads the number runs ahead by an eighth of what was left to go, at most.
//! A call that finds nothing to draw is not charged, but somebody is asked about it; it is given credit for here.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tierup_broker::{BeadRef, CALL_WORK, InterpThread};

use crate::home::Guest;

/// What the broker does not know of a bead's invocations.
#[derive(Debug, Default)]
pub(crate) struct Count {
    /// Invocations that the runtime counted itself.
    ticks: AtomicU64,
    /// Work to be added to what the broker says was drawn.
    credit: AtomicI64,
}

impl Count {
    /// The runtime has counted an invocation. Returns how many it has.
    pub(crate) fn tick(&self) -> u64 {
        // Ordering: Relaxed, here and below. Counts, which publish nothing.
        self.ticks.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// An invocation was not charged for. Returns the number of invocations, with it, if `drawn` was drawn before and no thread holds
    /// any of it.
    pub(crate) fn uncharged(&self, drawn: u64) -> u32 {
        self.credit.fetch_add(i64::from(CALL_WORK), Ordering::Relaxed);
        self.calls(drawn, 0)
    }

    /// The number of invocations, when `drawn` was drawn and this thread holds `in_hand` of it.
    pub(crate) fn calls(&self, drawn: u64, in_hand: i32) -> u32 {
        let work =
            i64::try_from(drawn).unwrap_or(i64::MAX).saturating_add(self.credit.load(Ordering::Relaxed)) - i64::from(in_hand);
        let calls = u64::try_from(work).unwrap_or(0) / u64::from(CALL_WORK);
        u32::try_from(calls + self.ticks.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// So much will be drawn that is not for an invocation.
    pub(crate) fn refund(&self, work: i64) {
        self.credit.fetch_sub(work, Ordering::Relaxed);
    }

    /// What this thread holds is about to become void: it was not spent.
    pub(crate) fn forfeit(&self, thread: &InterpThread<Guest>, bead: BeadRef<'_, Guest>) {
        let slot = slot(thread, bead);
        // SAFETY: the calling thread's own slot, to which no reference exists.
        let held = unsafe { std::mem::replace(&mut (*slot).countdown, 0) };
        self.refund(i64::from(held));
    }
}

/// What the thread has drawn for a bead and not spent.
pub(crate) fn in_hand(thread: &InterpThread<Guest>, bead: BeadRef<'_, Guest>) -> i32 {
    // SAFETY: as in `forfeit`.
    unsafe { (*slot(thread, bead)).countdown }
}

/// The thread's countdown for a bead of its broker.
fn slot(thread: &InterpThread<Guest>, bead: BeadRef<'_, Guest>) -> *mut tierup_broker::CountSlot {
    // SAFETY: the cells live as long as the handle; the table has a slot for every bead of its broker.
    unsafe { (*thread.cells()).countdown.add(bead.index() as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_does_not_wrap() {
        let count = Count::default();
        count.ticks.store(u64::from(u32::MAX), Ordering::Relaxed);
        count.tick();
        assert_eq!(count.calls(u64::from(CALL_WORK), 0), u32::MAX);
    }
}
