//! How much machine stack there is: the current thread's bounds, asked for once per thread.
//!
//! Where they are not known (the system does not say, or the code runs on a stack that is not the thread's own, such as a
//! coroutine's) nothing here limits anything: the stack must then be as large as the documentation asks.

use std::{cell::Cell, hint::black_box, ops::Range, ptr};

use crate::abi::RED_ZONE;

/// Stack a lowering must leave to Cranelift's own functions.
const RESERVE: usize = 256 << 10;
/// Stack a compile must find before it begins: the reserve, and as much for the lowering.
const COMPILE: usize = 2 * RESERVE;

/// What a driver tells [`ThreadCells::limit_stack`](crate::abi::ThreadCells) at its outermost entry: `budget` bytes
/// below the stack pointer, or less where this thread's stack has less: `reserve` bytes (at least [`RED_ZONE`]) always
/// stay free below the limit, for the host code that guests call.
///
/// The limit may lie above the stack pointer; guest code entered then traps at its first check.
#[inline]
pub fn limit(budget: usize, reserve: usize) -> usize {
    let wanted = position().saturating_sub(budget);
    end().map_or(wanted, |end| wanted.max(end + reserve.max(RED_ZONE)))
}

/// Whether a compile may begin here.
pub(crate) fn has_room_to_compile() -> bool {
    end().is_none_or(|end| position() - end >= COMPILE)
}

/// Below this address a lowering has used up its stack.
pub(crate) fn floor() -> usize {
    end().map_or(0, |end| end + RESERVE)
}

/// Roughly the stack pointer.
#[inline(always)]
pub(crate) fn position() -> usize {
    let here = 0u8;
    ptr::from_ref(black_box(&here)) as usize
}

/// Lowest address of the stack we are on, if that is known.
#[inline]
fn end() -> Option<usize> {
    thread_local! {
        // A constant of the thread, so not shared state.
        static BOUNDS: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
    }
    let (low, high) = BOUNDS.with(|bounds| {
        bounds.get().unwrap_or_else(|| {
            let found = main_bounds().or_else(thread_bounds).map_or((0, 0), |range| (range.start, range.end));
            bounds.set(Some(found));
            found
        })
    });
    (low..high).contains(&position()).then_some(low)
}

/// On the main thread what [`thread_bounds`] says, without reading a list of all mappings, which for a program of 0.3 ms is a
/// tenth of its time. The kernel puts the program's name at the very top of the stack (`create_elf_tables`), lets the stack grow
/// to its limit, and keeps at least 128 MiB below the top free of other mappings (`mmap_base`).
#[inline]
#[cfg(target_os = "linux")]
fn main_bounds() -> Option<Range<usize>> {
    const KEPT_FREE: u64 = 128 << 20;
    // SAFETY: no preconditions.
    let (process, thread, name) = unsafe { (libc::getpid(), libc::gettid(), libc::getauxval(libc::AT_EXECFN)) };
    if process != thread || name == 0 {
        return None;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid out-parameter.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) } == 0;
    if !known || limit.rlim_cur >= KEPT_FREE {
        return None;
    }
    // SAFETY: the kernel's copy of the program's name, which ends with a zero and stays as long as the process.
    let length = unsafe { std::ffi::CStr::from_ptr(name as *const libc::c_char) }.count_bytes();
    // The name's zero and a word above it.
    let top = name as usize + length + 1 + size_of::<usize>();
    let bounds = top.checked_sub(limit.rlim_cur as usize)?..top;
    // Not where somebody gave the main thread another stack.
    bounds.contains(&position()).then_some(bounds)
}

#[cfg(not(target_os = "linux"))]
fn main_bounds() -> Option<Range<usize>> {
    None
}

/// This thread's own stack, without its guard area.
#[cfg(target_os = "linux")]
fn thread_bounds() -> Option<Range<usize>> {
    // SAFETY: an all-zero attribute object is a valid out-parameter.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // SAFETY: the calling thread exists.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) } != 0 {
        return None;
    }
    let (mut low, mut bytes, mut guard) = (ptr::null_mut(), 0, 0);
    // SAFETY: initialised by the call above.
    let stack = unsafe { libc::pthread_attr_getstack(&attributes, &mut low, &mut bytes) };
    // SAFETY: as above.
    let guarded = unsafe { libc::pthread_attr_getguardsize(&attributes, &mut guard) };
    // SAFETY: initialised above, destroyed once.
    unsafe { libc::pthread_attr_destroy(&mut attributes) };
    // Some C libraries count the guard area as stack; taking it off where they do not costs a page.
    (stack == 0 && guarded == 0).then(|| low as usize + guard..low as usize + bytes)
}

#[cfg(not(target_os = "linux"))]
fn thread_bounds() -> Option<Range<usize>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `f` on a thread of so much stack. (The system may hand out the larger stack of a thread that ended, but none
    /// that is more than four times as large.)
    fn on<R: Send + 'static>(bytes: usize, f: impl FnOnce() -> R + Send + 'static) -> R {
        std::thread::Builder::new().stack_size(bytes).spawn(f).unwrap().join().unwrap()
    }

    #[test]
    fn the_floor_lies_below_us_on_threads_that_may_compile() {
        assert!(floor() != 0 && floor() < position() && has_room_to_compile());
        let room = on(1 << 20, || position() - floor());
        assert!(room >= 512 << 10, "{room}");
        assert!(!on(64 << 10, has_room_to_compile));
    }

    #[test]
    fn the_limit_is_the_budget_or_what_the_thread_has() {
        assert!(position().abs_diff(limit(60 << 10, 0)).abs_diff(60 << 10) < 4096);
        for reserve in [0, 128 << 10] {
            let (limit, end, here) = on(256 << 10, move || (limit(1 << 30, reserve), end().unwrap(), position()));
            assert_eq!(limit - end, reserve.max(RED_ZONE));
            assert!(limit < here);
        }
        let (limit, here) = on(64 << 10, || (limit(1 << 20, 512 << 10), position()));
        assert!(limit > here, "there is no room at all");
    }
}
