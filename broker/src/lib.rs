//! Beads, counters, policies, queue, workers, code versions, reclamation. Knows no compiler.

mod sync;
mod thread {
    pub(crate) mod cells;
}

pub use thread::cells::{BridgeFn, CountSlot, OnTrapFn, Regs, ThreadCells, WIDE_SLOTS};
