//! An alternate signal stack for threads that have none. Rust's threads and the main thread have one; raw pthreads do not.
//!
//! Traps do not need it: a guard fault leaves the stack usable, and the handler then runs on it. It serves whoever the handler
//! chains to, when the fault was an overflow of the host's own stack.

use std::{io, mem, ptr};

use crate::trap::region::{map_reserved, page_size};

const STACK: usize = 64 << 10;

/// Gives the current thread an alternate signal stack until dropped. Stays on its thread.
#[derive(Debug)]
#[must_use]
pub struct AlternateStack {
    base: *mut u8,
    bytes: usize,
}

impl AlternateStack {
    /// Installs a stack, with a guard page below it, unless the thread has one already: then `None`.
    ///
    /// # Errors
    ///
    /// What the system says when it refuses the memory or the stack.
    pub fn for_this_thread() -> io::Result<Option<Self>> {
        // SAFETY: an all-zero stack_t is a valid out-parameter.
        let mut current: libc::stack_t = unsafe { mem::zeroed() };
        // SAFETY: only reads the current setting.
        if unsafe { libc::sigaltstack(ptr::null(), &mut current) } != 0 {
            return Err(io::Error::last_os_error());
        }
        if current.ss_flags & libc::SS_DISABLE == 0 {
            return Ok(None);
        }
        let guard = page_size();
        let bytes = guard + STACK;
        let base = map_reserved(bytes)?;
        let stack = AlternateStack { base, bytes };
        // SAFETY: inside the mapping just made.
        let low = unsafe { base.add(guard) };
        // SAFETY: as above.
        if unsafe { libc::mprotect(low.cast(), STACK, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let new = libc::stack_t { ss_sp: low.cast(), ss_flags: 0, ss_size: STACK };
        // SAFETY: `new` describes memory that lives until `drop`, which disables the stack first.
        if unsafe { libc::sigaltstack(&new, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Some(stack))
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        let off = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: STACK };
        // SAFETY: the type is not Send, so this is the thread that installed it; no handler is running on it here.
        unsafe { libc::sigaltstack(&off, ptr::null_mut()) };
        // SAFETY: ours, and disabled.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}
