//! Which threads there are to be told to look: the poll cells of all interpreter threads.

use std::{fmt, ptr::NonNull};

use crate::{
    ThreadCells,
    mutation::ordering,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// The bit of [`ThreadCells::interrupt`] by which a broker asks a thread to [poll](crate::InterpThread::poll). The other bits are the
/// embedder's.
pub const POLL_BROKER: u64 = 1 << 63;

/// The cells of the registered threads. The lock is taken by whoever registers a thread, lets one go, or raises; while it is
/// held none of the cells are freed.
#[derive(Default)]
pub(crate) struct Roster {
    cells: Mutex<Vec<Cells>>,
}

/// Cells of a thread on the roster.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cells(NonNull<ThreadCells>);

// SAFETY: only the poll cell behind it is used, which is atomic, and only while the owner cannot free it.
unsafe impl Send for Cells {}

impl Roster {
    /// Adds a thread's cells. The caller [lets them go](Self::remove) before it frees them.
    pub(crate) fn add(&self, cells: NonNull<ThreadCells>) {
        lock(&self.cells).push(Cells(cells));
    }

    pub(crate) fn remove(&self, cells: NonNull<ThreadCells>) {
        lock(&self.cells).retain(|&of| of != Cells(cells));
    }

    /// Asks every thread to poll.
    pub(crate) fn raise(&self) {
        for Cells(cells) in &*lock(&self.cells) {
            // SAFETY: not freed while it is on the roster. No reference to the rest of the cells is made, which their owner writes.
            let interrupt = unsafe { &(*cells.as_ptr()).interrupt };
            // Ordering: Release. Pairs with: AcqRel in `lower`. Carries: the epoch that a ticket waits for, or of a census.
            interrupt.fetch_or(POLL_BROKER, ordering!(Raise: Release));
        }
    }
}

/// A thread has looked, and has something left to answer: it is still asked.
pub(crate) fn raise_again(interrupt: &AtomicU64) {
    // Ordering: Relaxed. It tells nobody but itself.
    interrupt.fetch_or(POLL_BROKER, Ordering::Relaxed);
}

/// A thread answers: takes its own request back.
pub(crate) fn lower(interrupt: &AtomicU64) {
    // Ordering: AcqRel. Pairs with: Release in `raise`. Carries: the epoch a ticket waits for. Weaker fails: this takes the request
    // of a ticket back, then polls for an epoch before it, and is never asked again. Test: loom break_vs_answer.
    interrupt.fetch_and(!POLL_BROKER, ordering!(Lower: AcqRel));
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").finish_non_exhaustive()
    }
}
