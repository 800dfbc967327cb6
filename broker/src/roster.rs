//! Which threads there are to be told to look: the poll cells of all interpreter threads.

use std::{fmt, ptr::NonNull};

use crate::{
    ThreadCells,
    sync::{Mutex, lock},
};

/// The bit of [`ThreadCells::interrupt`] by which a broker asks a thread to [poll](crate::InterpThread::poll). The other bits are the
/// embedder's.
pub const POLL_BROKER: u64 = 1 << 63;

/// The bit of [`ThreadCells::interrupt`] by which a broker [samples](crate::InterpThread::sample_native) a thread. Raised only when there is
/// code that is [sampled](crate::CodeUnit::sampled).
pub const POLL_SAMPLE: u64 = 1 << 62;

/// The cells of the registered threads. The lock is taken by whoever registers a thread, lets one go, or raises; while it is
/// held none of the cells are freed.
#[derive(Default)]
pub(crate) struct Roster {
    cells: Mutex<Vec<Cells>>,
}

/// Cells of a thread on the roster.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cells(NonNull<ThreadCells>);

// SAFETY: only the poll cell and the stack limit behind it are used, which are atomic, and only while the owner cannot free it.
unsafe impl Send for Cells {}

impl Roster {
    /// Adds a thread's cells. The caller [lets them go](Self::remove) before it frees them.
    pub(crate) fn add(&self, cells: NonNull<ThreadCells>) {
        lock(&self.cells).push(Cells(cells));
    }

    pub(crate) fn remove(&self, cells: NonNull<ThreadCells>) {
        lock(&self.cells).retain(|&of| of != Cells(cells));
    }

    /// Raises `bits` of every thread's poll cell.
    pub(crate) fn raise(&self, bits: u64) {
        for Cells(cells) in &*lock(&self.cells) {
            // SAFETY: not freed while it is on the roster.
            unsafe { ThreadCells::raise(cells.as_ptr(), bits) };
        }
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").finish_non_exhaustive()
    }
}
