//! One thread's countdowns: a flat table indexed by bead id, reserved whole so that its pages never move, committed as beads
//! are used.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    cell::Cell,
    fmt,
    ptr::NonNull,
};

use super::cells::{CountSlot, ThreadCells, WIDE_SLOTS};
use crate::{RegisterError, registry::Registry, sync::Ordering};

/// The table, and the cells through which generated code finds it.
pub(crate) struct Countdown {
    slots: NonNull<CountSlot>,
    len: usize,
    /// Ids at and above this have never been used on this thread.
    used: Cell<u32>,
    cells: NonNull<ThreadCells>,
    wide: NonNull<[u64; WIDE_SLOTS]>,
}

impl Countdown {
    pub(crate) fn new(beads: u32) -> Result<Self, RegisterError> {
        let len = beads as usize;
        let out_of_memory = RegisterError::OutOfMemory { bytes: len.saturating_mul(size_of::<CountSlot>()) };
        let layout = Layout::array::<CountSlot>(len).map_err(|_| out_of_memory)?;
        // SAFETY: the layout is not empty: `max_beads` is at least 1. Zero is a valid `CountSlot` (generation 0: not drawn).
        let slots = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<CountSlot>()).ok_or(out_of_memory)?;
        let wide = NonNull::from(Box::leak(Box::new([0; WIDE_SLOTS])));
        let cells = NonNull::from(Box::leak(Box::new(ThreadCells::new(slots.as_ptr(), wide.as_ptr().cast()))));
        Ok(Countdown { slots, len, used: Cell::new(0), cells, wide })
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
        if let Ok(layout) = Layout::array::<CountSlot>(self.len) {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.slots.as_ptr().cast(), layout) };
        }
        // SAFETY: leaked in `new`, freed once, here.
        drop(unsafe { Box::from_raw(self.cells.as_ptr()) });
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(self.wide.as_ptr()) });
    }
}

impl fmt::Debug for Countdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Countdown").field("len", &self.len).field("used", &self.used.get()).finish_non_exhaustive()
    }
}
