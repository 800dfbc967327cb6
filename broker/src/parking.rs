//! How workers sleep, and how whoever has work for them wakes one, without a lock and without a lost wake-up.
//!
//! A wake is a system call, which an interpreter thread that only asks for code is not to make. So as long as one is online no
//! worker sleeps for good: they *nap*, and look for themselves when that is over. Only when nobody is online they sleep until they are
//! woken, by the next thread that comes online or by a host that asks.
//!
//! Both are the same store-buffer story. Who has news publishes it, then looks who is parked; a worker announces itself parked, then
//! looks for news once more. A SeqCst fence in between on both sides makes sure that at least one of them sees the other. Test: loom
//! request_vs_park, online_vs_park.
#![forbid(unsafe_code)]

use crate::{
    mutation::dropped,
    sync::{AtomicU64, Ordering, fence},
};

/// Which workers are parked, or about to be: one bit per seat.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    parked: AtomicU64,
    /// Of these, those that will not look by themselves.
    asleep: AtomicU64,
}

impl Parking {
    /// Seats there can be.
    pub(crate) const SEATS: usize = u64::BITS as usize;

    /// There is new work, published before this call: the seat of a worker to unpark, if one is parked. Each announcement is
    /// answered once.
    pub(crate) fn wake_one(&self) -> Option<usize> {
        self.fence();
        take_one(&self.parked)
    }

    /// There is something to look after, published before this call, in no hurry: the seat of a worker to unpark, if one is asleep.
    pub(crate) fn wake_sleeper(&self) -> Option<usize> {
        self.fence();
        self.wake_for_thread()
    }

    /// An interpreter thread has come online, and passed the fence in `Reclaimer::go_online` since: as [`Self::wake_sleeper`].
    #[inline]
    pub(crate) fn wake_for_thread(&self) -> Option<usize> {
        // Ordering: Relaxed, ordered by the fence of the caller.
        if dropped!(OnlineWake) || self.asleep.load(Ordering::Relaxed) == 0 { None } else { take_one(&self.asleep) }
    }

    fn fence(&self) {
        // Ordering: SeqCst fence between the push and the look at `parked`. Pairs with: the fence in `nap`. Weaker fails: the
        // worker sees an empty inbox, we see no parked worker, and the request waits for the next one.
        if !dropped!(WakeFence) {
            fence(Ordering::SeqCst);
        }
    }

    /// The worker in `seat` found nothing to do: calls `park`, which returns by itself after a while, unless there is `anything` after
    /// all.
    pub(crate) fn nap(&self, seat: usize, anything: impl FnOnce() -> bool, park: impl FnOnce()) {
        let bit = 1 << seat;
        // Ordering: Relaxed, ordered by the fence.
        self.parked.fetch_or(bit, Ordering::Relaxed);
        // Ordering: SeqCst fence between the announcement and the look at the inbox, and at who is online. Pairs with: the fences in
        // `wake_one`, `wake_sleeper` and `Reclaimer::go_online`.
        if !dropped!(ParkFence) {
            fence(Ordering::SeqCst);
        }
        if dropped!(ParkRecheck) || !anything() {
            park();
        }
        // Ordering: Relaxed. When it is clear already, somebody is waking us: one look too many.
        self.parked.fetch_and(!bit, Ordering::Relaxed);
    }

    /// As [`Self::nap`], but `park` returns only when it is woken.
    pub(crate) fn sleep(&self, seat: usize, anything: impl FnOnce() -> bool, park: impl FnOnce()) {
        let bit = 1 << seat;
        // Ordering: Relaxed, twice. As in `nap`, whose fence comes next.
        self.asleep.fetch_or(bit, Ordering::Relaxed);
        self.nap(seat, anything, park);
        self.asleep.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Takes a bit, of several the lowest.
fn take_one(seats: &AtomicU64) -> Option<usize> {
    // Ordering: Relaxed, ordered by the fence of the caller. Whoever clears the bit does the waking.
    seats
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seats| (seats != 0).then(|| seats & (seats - 1)))
        .ok()
        .map(|seats| seats.trailing_zeros() as usize)
}
