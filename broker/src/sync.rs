//! The only file that names `std::sync`, `std::thread` or `loom`: everything else imports its atomics from here, so that
//! one `--cfg loom` puts the whole broker under the model checker.
//!
//! `Arc` is always the standard one. Nothing in the broker relies on loom to see a reference count: what is freed too early
//! is caught by the fake compiler's leases, whose flags loom does see.

/// A lock that loom does not see, for what no thread does anything else under: it would only multiply interleavings.
pub(crate) use std::sync::Mutex as PlainMutex;
#[cfg(feature = "threads")]
pub(crate) use std::sync::Weak;
pub(crate) use std::sync::{Arc, OnceLock, PoisonError};

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(all(not(loom), feature = "threads"))]
pub(crate) use std::{sync::Condvar, thread};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(all(loom, feature = "threads"))]
pub(crate) use loom::{sync::Condvar, thread};

/// A number that decides how fast things are and nothing else. Loom does not explore who reads which of its values.
pub(crate) type Note = std::sync::atomic::AtomicU64;

/// Locks, ignoring poison: no code here leaves a protected value half changed when it panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`], for a lock that loom does not see.
pub(crate) fn plain_lock<T>(mutex: &PlainMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on a condition, ignoring poison as [`lock`] does.
#[cfg(feature = "threads")]
pub(crate) fn wait<'m, T>(condition: &Condvar, guard: MutexGuard<'m, T>) -> MutexGuard<'m, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// As [`wait`], for at most `limit`.
#[cfg(feature = "threads")]
pub(crate) fn wait_timeout<'m, T>(
    condition: &Condvar,
    guard: MutexGuard<'m, T>,
    limit: std::time::Duration,
) -> MutexGuard<'m, T> {
    condition.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0
}

/// Lets somebody else run, in a loop that waits for them.
pub(crate) fn pause() {
    #[cfg(not(loom))]
    std::thread::sleep(std::time::Duration::from_micros(50));
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// Threads this machine runs at a time.
#[cfg(feature = "threads")]
pub(crate) fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Parks for at most `limit`. Loom has no time: there a timed wait is a wait for somebody else to run.
#[cfg(feature = "threads")]
pub(crate) fn park_timeout(limit: std::time::Duration) {
    #[cfg(not(loom))]
    std::thread::park_timeout(limit);
    #[cfg(loom)]
    {
        let _ = limit;
        loom::thread::yield_now();
    }
}

/// A mark inside something that is built by one thread and published to others through an atomic pointer. Whoever follows
/// the pointer says so; loom then checks that building happened before. Nothing at all outside loom.
#[derive(Debug)]
pub(crate) struct Built {
    #[cfg(loom)]
    cell: loom::cell::UnsafeCell<()>,
}

// SAFETY: the value is `()`; loom's cell is kept from threads only because most values are not.
#[cfg(loom)]
unsafe impl Sync for Built {}

impl Built {
    pub(crate) fn new() -> Self {
        Built {
            #[cfg(loom)]
            cell: loom::cell::UnsafeCell::new(()),
        }
    }

    /// The caller is about to read what was built.
    #[inline(always)]
    pub(crate) fn seen(&self) {
        #[cfg(loom)]
        self.cell.with(|_| ());
    }
}

/// A cell reached through closures, so that loom can check every access.
#[cfg(not(loom))]
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;
