//! Guard faults as traps: guarded regions, and the process-wide signal handler that recognises them.

// What an instance with a memory calls is `#[inline]`, here and below: it lands beside its caller, and not in pages of the program's file of its own, each of which
// takes a page fault of 2.5 us to read, where most of this crate is never needed by programs that end soon.

mod alternate_stack;
mod ranges;
mod region;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod signal;

pub use alternate_stack::AlternateStack;
pub use ranges::RegisteredRange;
pub use region::GuardedRegion;
pub(crate) use region::{map_reserved, page_size};

/// Declares `[start, start + len)` to be generated code that keeps frame pointers, so that a guard fault inside it becomes a
/// trap. Lasts until the guard is dropped.
///
/// # Safety
///
/// All code that ever runs in the range keeps frame pointers and was entered through [`enter`](crate::abi::enter()).
pub unsafe fn register_code(start: usize, len: usize) -> RegisteredRange {
    install_handler();
    RegisteredRange::code(start, len)
}

#[inline]
fn install_handler() {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    signal::install();
}
