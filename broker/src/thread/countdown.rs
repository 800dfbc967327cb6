//! One thread's countdowns: a flat table indexed by bead id, reserved whole so that its pages never move, committed as beads
//! are used.

use std::{
    alloc::{Layout, LayoutError, alloc_zeroed, dealloc},
    cell::Cell,
    fmt,
    ptr::NonNull,
};

use super::cells::{CountSlot, ThreadCells, WIDE_SLOTS};
use crate::{RegisterError, registry::Registry, sync::Ordering};

/// The table, and the cells through which generated code finds it: one allocation, so that a thread's first counts are in the page of its cells.
pub(crate) struct Countdown {
    cells: NonNull<ThreadCells>,
    slots: NonNull<CountSlot>,
    len: usize,
    /// Ids at and above this have never been used on this thread.
    used: Cell<u32>,
}

/// Where what one thread has lies: its cells, its countdowns, and last, as few threads touch them, what its cells name `wide`.
struct Parts {
    whole: Layout,
    slots: usize,
    wide: usize,
}

impl Parts {
    fn of(beads: usize) -> Result<Self, LayoutError> {
        let (whole, slots) = Layout::new::<ThreadCells>().extend(Layout::array::<CountSlot>(beads)?)?;
        let (whole, wide) = whole.extend(Layout::new::<[u64; WIDE_SLOTS]>())?;
        Ok(Parts { whole, slots, wide })
    }
}

impl Countdown {
    pub(crate) fn new(beads: u32) -> Result<Self, RegisterError> {
        let len = beads as usize;
        let out_of_memory = RegisterError::OutOfMemory { bytes: len.saturating_mul(size_of::<CountSlot>()) };
        let parts = Parts::of(len).map_err(|_| out_of_memory)?;
        // SAFETY: the layout is not empty. Zero is a valid `CountSlot` (generation 0: not drawn) and a valid wide slot.
        let cells = NonNull::new(unsafe { alloc_zeroed(parts.whole) }.cast::<ThreadCells>()).ok_or(out_of_memory)?;
        // SAFETY: within the allocation, and aligned: `Parts::of` put them there.
        let (slots, wide) =
            unsafe { (cells.byte_add(parts.slots).cast::<CountSlot>(), cells.byte_add(parts.wide).cast::<u64>()) };
        // SAFETY: the allocation begins with room for them.
        unsafe { cells.write(ThreadCells::new(slots.as_ptr(), wide.as_ptr())) };
        Ok(Countdown { cells, slots, len, used: Cell::new(0) })
    }

    pub(crate) fn slots(&self) -> *mut CountSlot {
        self.slots.as_ptr()
    }

    pub(crate) fn cells(&self) -> NonNull<ThreadCells> {
        self.cells
    }

    pub(crate) fn note_use(&self, id: u32) {
        self.used.set(self.used.get().max(id + 1));
    }

    /// Returns what was drawn and not spent to the shared budgets.
    pub(crate) fn give_back<G>(&self, registry: &Registry<G>) {
        for id in 0..self.used.get() {
            // SAFETY: below `used`, so in bounds; no other access while this thread handle is being dropped.
            let slot = unsafe { *self.slots.add(id as usize).as_ptr() };
            let hot = registry.hot(id);
            // Ordering: Relaxed. If the slot changes hands right now, the next bead gets a little more budget: speed only.
            if slot.countdown > 0 && slot.generation == hot.stamp.load(Ordering::Relaxed) {
                // Ordering: Relaxed. A count; publishes nothing.
                let _ = hot
                    .budget
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |budget| Some(budget.saturating_add(slot.countdown)));
            }
        }
    }
}

impl Drop for Countdown {
    fn drop(&mut self) {
        if let Ok(parts) = Parts::of(self.len) {
            // SAFETY: allocated in `new` with this layout; what is in it has nothing to drop.
            unsafe { dealloc(self.cells.as_ptr().cast(), parts.whole) };
        }
    }
}

impl fmt::Debug for Countdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Countdown").field("len", &self.len).field("used", &self.used.get()).finish_non_exhaustive()
    }
}
