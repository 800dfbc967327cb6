//! The only file that names `std::sync`, `std::thread` or `loom`: everything else imports its atomics from here, so that
//! one `--cfg loom` puts the whole broker under the model checker.
//!
//! `Arc` is always the standard one. Nothing in the broker relies on loom to see a reference count: what is freed too early
//! is caught by the fake compiler's leases, whose flags loom does see.

#![allow(clippy::disallowed_types, reason = "this is the shim")]

pub(crate) use std::sync::{Arc, OnceLock, PoisonError};

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(not(loom))]
#[cfg(feature = "threads")]
pub(crate) use std::thread;

#[cfg(loom)]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
#[cfg(feature = "threads")]
pub(crate) use loom::thread;

/// Locks, ignoring poison: no code here leaves a protected value half changed when it panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cell reached through closures, so that loom can check every access.
#[cfg(not(loom))]
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;
