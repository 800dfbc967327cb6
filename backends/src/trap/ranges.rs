//! Address ranges a signal handler can look up: a static list of chunks that only grows, slots claimed and released with
//! single atomic stores. No lock, no allocation on the reading side.

use std::{
    ptr,
    sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering},
};

/// Guarded regions; the value is the trap code.
pub(super) static REGIONS: Ranges = Ranges::new();
/// Generated code; the value is unused.
pub(super) static CODE: Ranges = Ranges::new();

const CHUNK: usize = 64;

/// One range. `start` says what the slot is: 0 free, 1 being written, else published.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    value: AtomicU64,
}

impl Slot {
    const fn new() -> Self {
        Slot { start: AtomicUsize::new(FREE), end: AtomicUsize::new(0), value: AtomicU64::new(0) }
    }
}

const FREE: usize = 0;
const CLAIMED: usize = 1;

struct Chunk {
    slots: [Slot; CHUNK],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn new() -> Self {
        Chunk { slots: [const { Slot::new() }; CHUNK], next: AtomicPtr::new(ptr::null_mut()) }
    }
}

/// A set of disjoint address ranges with a value each.
pub(super) struct Ranges {
    first: Chunk,
}

impl Ranges {
    const fn new() -> Self {
        Ranges { first: Chunk::new() }
    }

    /// The value of the range that contains `address`. Async-signal-safe.
    pub(super) fn find(&self, address: usize) -> Option<u64> {
        let mut chunk = &self.first;
        loop {
            for slot in &chunk.slots {
                // Ordering: Acquire. Pairs with: the publishing store in `insert`. Carries: `end` and `value`.
                let start = slot.start.load(Ordering::Acquire);
                if start <= CLAIMED || address < start {
                    continue;
                }
                // Ordering: Relaxed. Ordered by the load above; a slot reused meanwhile is caught by the second look at `start`
                // or now holds a range that contains the address itself.
                let (end, value) = (slot.end.load(Ordering::Relaxed), slot.value.load(Ordering::Relaxed));
                // Ordering: Acquire. Keeps the two loads above before this one's successors; a changed slot is skipped.
                if address < end && slot.start.load(Ordering::Acquire) == start {
                    return Some(value);
                }
            }
            // Ordering: Acquire. Pairs with: the CAS in `insert`. Carries: the chunk's contents.
            // SAFETY: a non-null `next` is a leaked chunk.
            chunk = unsafe { chunk.next.load(Ordering::Acquire).as_ref() }?;
        }
    }

    #[inline]
    fn insert(&'static self, start: usize, end: usize, value: u64) -> &'static Slot {
        debug_assert!(CLAIMED < start && start < end);
        let mut chunk = &self.first;
        loop {
            for slot in &chunk.slots {
                // Ordering: Acquire. Pairs with: the Release in `RegisteredRange::drop`; ours come after the last owner's.
                if slot.start.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    // Ordering: Relaxed. Published by the store to `start`.
                    slot.end.store(end, Ordering::Relaxed);
                    // Ordering: Relaxed. As above.
                    slot.value.store(value, Ordering::Relaxed);
                    // Ordering: Release. Pairs with: `find`.
                    slot.start.store(start, Ordering::Release);
                    return slot;
                }
            }
            // Ordering: Acquire. As in `find`.
            let mut next = chunk.next.load(Ordering::Acquire);
            if next.is_null() {
                let fresh = Box::into_raw(Box::new(Chunk::new()));
                // Ordering: AcqRel. Success publishes the chunk to `find` and `insert`; failure sees the winner's.
                match chunk.next.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => next = fresh,
                    Err(winner) => {
                        // SAFETY: lost the race, nobody else saw `fresh`.
                        drop(unsafe { Box::from_raw(fresh) });
                        next = winner;
                    }
                }
            }
            // SAFETY: non-null, and chunks are never freed.
            chunk = unsafe { &*next };
        }
    }
}

/// A range the signal handler knows. Dropping it makes the handler forget it.
#[must_use]
pub struct RegisteredRange(&'static Slot);

impl RegisteredRange {
    pub(super) fn code(start: usize, len: usize) -> Self {
        RegisteredRange(CODE.insert(start, start + len, 0))
    }

    #[inline]
    pub(super) fn region(start: usize, len: usize, trap: u64) -> Self {
        RegisteredRange(REGIONS.insert(start, start + len, trap))
    }
}

impl Drop for RegisteredRange {
    fn drop(&mut self) {
        // Ordering: Release. Pairs with: the claiming CAS in `insert`.
        self.0.start.store(FREE, Ordering::Release);
    }
}

impl std::fmt::Debug for RegisteredRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Ordering: Relaxed. The owner looks at its own range.
        write!(f, "RegisteredRange({:#x}..{:#x})", self.0.start.load(Ordering::Relaxed), self.0.end.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ranges, RegisteredRange};

    #[test]
    fn slots_are_found_and_reused_across_chunks() {
        static RANGES: Ranges = Ranges::new();
        for _ in 0..3 {
            let held: Vec<_> = (1..=200).map(|i| RegisteredRange(RANGES.insert(i * 0x100, i * 0x100 + 0x80, i as u64))).collect();
            assert_eq!(RANGES.find(0x100), Some(1));
            assert_eq!(RANGES.find(200 * 0x100 + 0x7f), Some(200));
            assert_eq!(RANGES.find(200 * 0x100 + 0x80), None);
            drop(held);
            assert_eq!(RANGES.find(0x100), None);
        }
    }
}
