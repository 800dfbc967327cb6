//! What may be done with pages.

use std::{
    ffi::{c_int, c_void},
    io,
};

/// Changes what may be done with pages.
///
/// # Safety
///
/// They are the caller's, who knows what a change does to whoever uses them.
///
/// # Errors
///
/// What the system says.
pub(super) unsafe fn protect(first: *mut u8, bytes: usize, protection: c_int) -> io::Result<()> {
    // SAFETY: by the caller.
    let status = unsafe { change(first.cast(), bytes, protection) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `mprotect`, with an `int` that is extended. System V leaves the upper half of its register undefined, glibc's function is the bare system call, and
/// Linux, which reads 64 bits, refuses what it finds there: what is left of a neighbour that was loaded with it, in optimized builds.
#[cfg(target_os = "linux")]
unsafe extern "C" fn change(first: *mut c_void, bytes: usize, protection: c_int) -> c_int {
    // SAFETY: by the caller; the arguments are those of the call, each as wide as the system reads it.
    unsafe { libc::syscall(libc::SYS_mprotect, first, bytes, libc::c_long::from(protection)) as c_int }
}

#[cfg(not(target_os = "linux"))]
unsafe extern "C" fn change(first: *mut c_void, bytes: usize, protection: c_int) -> c_int {
    // SAFETY: by the caller.
    unsafe { libc::mprotect(first, bytes, protection) }
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests {
    use std::arch::asm;

    use super::change;
    use crate::trap::{map_reserved, page_size};

    /// What a caller may leave beside the argument.
    const REST: u64 = 0x55ea << 32;

    #[test]
    fn what_is_beside_the_argument_is_not_read() {
        let page = page_size();
        let pages = map_reserved(page).unwrap();
        for protection in [libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC, libc::PROT_NONE] {
            let status: i64;
            // SAFETY: a call by System V, of pages that are nobody else's.
            unsafe {
                asm!("call {change}", change = sym change, in("rdi") pages, in("rsi") page, in("rdx") REST | protection as u64,
                     lateout("rax") status, clobber_abi("C"));
            }
            assert_eq!(status as i32, 0, "{protection:#x}: {}", std::io::Error::last_os_error());
        }
        // SAFETY: the mapping is ours.
        unsafe { libc::munmap(pages.cast(), page) };
    }
}
