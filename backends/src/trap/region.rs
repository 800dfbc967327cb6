//! A reservation of address space in which an access by generated code traps instead of crashing.

use std::{io, ptr};

use super::{RegisteredRange, install_handler};
use crate::abi::TrapCode;

/// Reserved address space, inaccessible until [`make_accessible`](Self::make_accessible); never moves.
///
/// A fault of generated code inside it becomes the trap it was reserved with. A fault of anybody else stays what it is.
#[derive(Debug)]
pub struct GuardedRegion {
    base: *mut u8,
    bytes: usize,
    _registered: RegisteredRange,
}

// SAFETY: the region is plain memory; who may access it when is up to its owner.
unsafe impl Send for GuardedRegion {}
// SAFETY: as above; `make_accessible` is one system call, safe from any thread.
unsafe impl Sync for GuardedRegion {}

impl GuardedRegion {
    /// Reserves `bytes`, rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// What the system says when it refuses the address space; `InvalidInput` for 0 bytes.
    #[inline]
    pub fn reserve(bytes: usize, trap: impl Into<TrapCode>) -> io::Result<Self> {
        let page = page_size();
        let bytes = bytes.checked_next_multiple_of(page).filter(|&bytes| bytes > 0).ok_or(io::ErrorKind::InvalidInput)?;
        let base = map_reserved(bytes)?;
        install_handler();
        Ok(GuardedRegion { base, bytes, _registered: RegisteredRange::region(base as usize, bytes, trap.into().0) })
    }

    /// First byte of the region.
    #[inline]
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// Reserved bytes.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the whole pages `[at, at + len)` readable and writable; fresh ones are zero.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the range is not whole pages of the region; what the system says when it is out of memory.
    #[inline]
    pub fn make_accessible(&self, at: usize, len: usize) -> io::Result<()> {
        let page = page_size();
        let inside = at.checked_add(len).is_some_and(|end| end <= self.bytes);
        if !inside || !at.is_multiple_of(page) || !len.is_multiple_of(page) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if len == 0 {
            return Ok(());
        }
        // SAFETY: inside our own mapping, checked above; making pages accessible invalidates nothing.
        let status = unsafe { libc::mprotect(self.base.add(at).cast(), len, libc::PROT_READ | libc::PROT_WRITE) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for GuardedRegion {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours; its owner gives it up, so nobody uses it any more.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

/// Maps `bytes` of inaccessible, uncommitted address space.
#[inline]
pub(crate) fn map_reserved(bytes: usize) -> io::Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    if base == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(base.cast()) }
}

/// Bytes of a page.
#[inline]
pub(crate) fn page_size() -> usize {
    // SAFETY: no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
