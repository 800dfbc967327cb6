//! How workers sleep, and how whoever has work for them wakes one, without a lock and without a lost wake-up.
//!
//! A requester pushes, then looks who is parked; a worker announces itself parked, then looks for work once more. A SeqCst
//! fence in between on both sides makes sure that at least one of them sees the other. Test: loom request_vs_park.
#![forbid(unsafe_code)]

use crate::{
    mutation::dropped,
    sync::{AtomicU64, Ordering, fence},
};

/// Which workers are parked, or about to be: one bit per seat.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    parked: AtomicU64,
}

impl Parking {
    /// Seats there can be.
    pub(crate) const SEATS: usize = u64::BITS as usize;

    /// There is new work, published before this call: the seat of a worker to unpark, if one is parked. Each announcement is
    /// answered once.
    pub(crate) fn wake_one(&self) -> Option<usize> {
        // Ordering: SeqCst fence between the push and the look at `parked`. Pairs with: the fence in `sleep`. Weaker fails: the
        // worker sees an empty inbox, we see no parked worker, and the request waits for the next one.
        if !dropped!(WakeFence) {
            fence(Ordering::SeqCst);
        }
        // Ordering: Relaxed, ordered by the fence. Whoever clears the bit does the waking.
        self.parked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |parked| (parked != 0).then(|| parked & (parked - 1)))
            .ok()
            .map(|parked| parked.trailing_zeros() as usize)
    }

    /// The worker in `seat` found nothing to do: calls `park` unless there is `anything` after all.
    pub(crate) fn sleep(&self, seat: usize, anything: impl FnOnce() -> bool, park: impl FnOnce()) {
        let bit = 1 << seat;
        // Ordering: Relaxed, ordered by the fence.
        self.parked.fetch_or(bit, Ordering::Relaxed);
        // Ordering: SeqCst fence between the announcement and the look at the inbox. Pairs with: the fence in `wake_one`.
        if !dropped!(ParkFence) {
            fence(Ordering::SeqCst);
        }
        if dropped!(ParkRecheck) || !anything() {
            park();
        }
        // Ordering: Relaxed. When it is clear already, somebody is waking us: one look too many.
        self.parked.fetch_and(!bit, Ordering::Relaxed);
    }
}
