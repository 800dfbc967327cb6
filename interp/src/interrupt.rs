//! Looking up from guest code: what a thread does when its poll cell is raised, and who may raise it.
//!
//! Guests look everywhere they may spend time: interpreted code whenever a countdown runs out, compiled code at its loops and
//! prologues. What they find is a request of the broker's, of which the guest notices nothing, or an embedder's that it stops.

use std::collections::BTreeMap;
use std::fmt;
use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tierup::{POLL_BROKER, POLL_SAMPLE, StackReport, ThreadCells, census};

use crate::exec;
use crate::module::Body;
use crate::store::{AsStore, StoreInner};
use crate::trap::TrapCode;

/// The bit of the poll cell that asks the guest to stop.
const STOP: u64 = 1;

/// Stops the guest that a [`Store`](crate::Store) runs, from any thread and at any time: a time limit, or a user's wish. Clones are
/// of the same store.
#[derive(Clone)]
pub struct InterruptHandle(Arc<Mutex<Option<Cells>>>);

/// The cells of a store's thread.
struct Cells(*const ThreadCells);

// SAFETY: only the atomic fields are used, by `raise`, and only while the store cannot free them.
unsafe impl Send for Cells {}

impl InterruptHandle {
    /// That of the store whose thread has these cells. The store [closes](Self::close) it before they are freed.
    pub(crate) fn new(cells: *const ThreadCells) -> Self {
        Self(Arc::new(Mutex::new(Some(Cells(cells)))))
    }

    /// The store is about to go.
    pub(crate) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Has the guest end with [`TrapCode::Interrupted`], within about 100 us of the time that it runs (in the optimizing tier's code only
    /// if it is [interruptible](crate::Config::interruptible)); if none runs now, the next
    /// one that is called. A host function that it is in returns first. One trap, however often this was called before.
    ///
    /// After the trap the store can be used on. If it was dropped, nothing happens.
    pub fn interrupt(&self) {
        if let Some(Cells(cells)) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: the store has not closed the handle, and cannot while it is locked.
            unsafe { ThreadCells::raise(*cells, STOP) };
        }
    }
}

impl fmt::Debug for InterruptHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterruptHandle").finish_non_exhaustive()
    }
}

/// Whether anybody has asked the thread for anything.
///
/// # Safety
///
/// `cells` are the running thread's.
#[inline(always)]
pub(crate) unsafe fn is_asked(cells: *const ThreadCells) -> bool {
    // SAFETY: by the caller.
    unsafe { asked(cells) != 0 }
}

/// Whether anybody has asked the thread for anything that a host answers as well as guests: a [sample](POLL_SAMPLE) is for guests.
///
/// # Safety
///
/// As [`is_asked`].
#[inline(always)]
pub(crate) unsafe fn awaits_answer(cells: *const ThreadCells) -> bool {
    // SAFETY: by the caller.
    unsafe { asked(cells) & !POLL_SAMPLE != 0 }
}

/// What the thread is asked for: bits of its poll cell.
///
/// # Safety
///
/// As [`is_asked`].
#[inline(always)]
pub(crate) unsafe fn asked(cells: *const ThreadCells) -> u64 {
    // SAFETY: by the caller.
    let interrupt = unsafe { &(*cells).interrupt };
    // Ordering: Relaxed. What it leads to acquires.
    interrupt.load(Ordering::Relaxed)
}

/// Answers what the thread is asked for, but for samples.
///
/// # Errors
///
/// [`TrapCode::Interrupted`] when the guest is to stop.
///
/// # Safety
///
/// The calling thread runs `store`, whose native frames have recorded where they were left.
#[cold]
pub(crate) unsafe fn answer(store: *mut StoreInner) -> Result<(), TrapCode> {
    // SAFETY: by the caller; nothing borrows the thread mutably while guests run, and its cells live as long.
    let (thread, cells) = unsafe { (&(*store).thread, &*(*store).cells) };
    // Ordering: Relaxed. Answering a request acquires what comes with it (`ThreadCells::lower`).
    let asked = cells.interrupt.load(Ordering::Relaxed);
    if asked & POLL_BROKER != 0 {
        // SAFETY: by the caller, the record of where native code was left is current. All code is in the engine's one arena; what
        // the thread was lent it has entered, and nothing here is called by the broker.
        unsafe { thread.poll_with(|report| report_frames(store, report)) };
    }
    cells.lower(STOP);
    if asked & STOP == 0 { Ok(()) } else { Err(TrapCode::Interrupted) }
}

/// As [`AsStore::parked`].
pub(crate) fn parked<R>(store: &(impl AsStore + ?Sized), wait: impl FnOnce() -> R) -> R {
    // SAFETY: whoever holds the store's borrow holds the store, which is alive, and `wait` has none to run guests with.
    unsafe { parked_in(store.store_ptr(), wait) }
}

/// The same, of a store that is only held.
///
/// # Safety
///
/// The calling thread holds `store`, and `wait` runs no guests of it.
pub(crate) unsafe fn parked_in<R>(store: *mut StoreInner, wait: impl FnOnce() -> R) -> R {
    // SAFETY: by the caller, the store is alive; nothing borrows the thread mutably meanwhile.
    let thread = unsafe { &(*store).thread };
    // SAFETY: as in `answer`: a host function was called through the bridge, or by an interpreter beneath it. Guests by the caller.
    unsafe { thread.parked_with(|report| report_frames(store, report), wait) }
}

/// Tells which units have frames on the stack, and keeps the bodies of which the interpreter has: from now on nobody else may.
///
/// # Safety
///
/// As for [`answer`].
unsafe fn report_frames(store: *mut StoreInner, report: &mut StackReport) {
    // Also those that their functions still have: they may be replaced before the report is made.
    let mut held = BTreeMap::new();
    // SAFETY: by the caller: handlers were left where they say so. Bodies on the stack are alive.
    unsafe {
        exec::each_body(store, |body| {
            held.entry(ptr::from_ref(body)).or_insert_with(|| Body::hold(body));
        });
        // What was held before goes only now.
        (*store).held = held.into_values().flatten().collect();
    }
    // SAFETY: by the caller.
    let (engine, cells) = unsafe { (&(*store).engine, (*store).cells) };
    if let Some(map) = engine.code_map() {
        // SAFETY: by the caller.
        unsafe { census::report_frames(cells, map, report) };
    }
}
