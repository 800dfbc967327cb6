//! How much machine stack a compile may use: the current thread's bounds, asked for once per thread.

use std::{cell::Cell, hint::black_box, mem, ptr};

/// Stack a lowering must leave to Cranelift's own functions.
const RESERVE: usize = 256 << 10;

/// Below this address a lowering has used up its stack.
pub(crate) fn floor() -> usize {
    thread_local! {
        // A constant of the thread, so not shared state; on the main thread the system reads a file to answer.
        static FLOOR: Cell<Option<usize>> = const { Cell::new(None) };
    }
    FLOOR.with(|floor| {
        floor.get().unwrap_or_else(|| {
            let found = bounds().map_or(0, |(low, bytes)| low + RESERVE.min(bytes / 4));
            floor.set(Some(found));
            found
        })
    })
}

/// Roughly the stack pointer.
#[inline(always)]
pub(crate) fn position() -> usize {
    let here = 0u8;
    ptr::from_ref(black_box(&here)) as usize
}

/// Lowest address and size of this thread's stack.
fn bounds() -> Option<(usize, usize)> {
    // SAFETY: an all-zero attribute object is a valid out-parameter.
    let mut attributes: libc::pthread_attr_t = unsafe { mem::zeroed() };
    // SAFETY: the calling thread exists.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) } != 0 {
        return None;
    }
    let (mut low, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: initialised by the call above.
    let status = unsafe { libc::pthread_attr_getstack(&attributes, &mut low, &mut bytes) };
    // SAFETY: initialised above, destroyed once.
    unsafe { libc::pthread_attr_destroy(&mut attributes) };
    (status == 0).then_some((low as usize, bytes))
}

#[cfg(test)]
mod tests {
    use super::{floor, position};

    #[test]
    fn the_floor_lies_below_us_on_every_thread() {
        assert!(floor() != 0 && floor() < position());
        let spawned = std::thread::Builder::new().stack_size(1 << 20).spawn(|| position() - floor()).unwrap();
        let room = spawned.join().unwrap();
        // At least: the system may hand out the larger stack of a thread that ended.
        assert!(room >= 512 << 10, "{room}");
    }
}
