//! A heap record with one owner and many raw pointers to it.
//!
//! Generated code, tables and other instances keep the addresses of a store's records. A `Box` would claim unique
//! access each time it is moved; this does not.

use std::ptr::NonNull;

/// Owns a heap record without claiming that nobody else points at it.
pub(crate) struct Owned<T>(NonNull<T>);

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// The record's address, valid until the owner is dropped.
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this box, and only this owner frees it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

// SAFETY: it is the only owner of the record; sending it sends the record.
unsafe impl<T: Send> Send for Owned<T> {}
