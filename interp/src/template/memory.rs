//! Where templates are: pages of their own, written once, then executable and never written again.

use std::io;
use std::ptr::{self, NonNull};

/// Executable pages.
#[derive(Debug)]
pub(super) struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: nobody writes to the pages once they are made.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Pages that begin with `code`.
    ///
    /// # Errors
    ///
    /// The system's, when it has no memory or forbids executable pages.
    pub(super) fn with(code: &[u8]) -> io::Result<Self> {
        let bytes = code.len().max(1);
        let (writable, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // All of it is about to be written: a fault for each page would take longer.
        #[cfg(target_os = "linux")]
        let private = private | libc::MAP_POPULATE;
        // SAFETY: a new mapping, wherever the system likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, writable, private, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let pages = Self { start, bytes };
        // SAFETY: the mapping is ours, writable, and as long as that.
        unsafe { start.as_ptr().copy_from_nonoverlapping(code.as_ptr(), code.len()) };
        // SAFETY: as above; x86-64 keeps instruction fetch coherent with stores.
        if unsafe { libc::mprotect(start.as_ptr().cast(), bytes, libc::PROT_READ | libc::PROT_EXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(pages)
    }

    /// How many bytes of code they hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The address of the byte at `at`.
    pub(super) fn address(&self, at: usize) -> u64 {
        debug_assert!(at < self.bytes);
        self.start.as_ptr().expose_provenance() as u64 + at as u64
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: our mapping; whoever drops it knows that nobody is inside.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
