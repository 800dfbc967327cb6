//! The value stack of a store: where interpreter frames live.
//!
//! One region of slots that never moves and is committed by the system as it is touched.

use std::io;
use std::ptr::{self, NonNull};

use crate::error::Error;

/// A lazily committed region of `u64` slots.
pub(crate) struct ValueStack {
    base: NonNull<u64>,
    bytes: usize,
}

impl ValueStack {
    /// Reserves `bytes` (rounded down to whole slots, at least one page).
    ///
    /// # Errors
    ///
    /// [`Error::Memory`] when the system refuses.
    pub(crate) fn new(bytes: usize) -> Result<Self, Error> {
        let bytes = bytes.max(4096) & !7;
        // SAFETY: a fresh private mapping at an address of the system's choice touches nothing of ours.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::Memory { what: "the value stack", source: io::Error::last_os_error() });
        }
        let base = NonNull::new(base.cast()).expect("a mapping is never at address 0");
        Ok(Self { base, bytes })
    }

    /// The first slot.
    pub(crate) fn base(&self) -> *mut u64 {
        self.base.as_ptr()
    }

    /// One past the last slot.
    pub(crate) fn end(&self) -> *mut u64 {
        self.base.as_ptr().wrapping_byte_add(self.bytes)
    }
}

impl Drop for ValueStack {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping `new` made; the store that owns the stack runs no guest any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for ValueStack {}
