//! The poll cell, which anybody may raise, and the stack limit, which is raised with it.
//!
//! Loops look at the poll cell. Recursion needs no look of its own: prologues compare the stack pointer with the limit anyway, and
//! while the cell is raised that is the highest address, so that every prologue goes the way of an exhausted stack; there it finds
//! that the *floor*, where the stack really ends, is not reached, and polls. (V8, SpiderMonkey and Go do the same.)

use crate::{ThreadCells, mutation::ordering, sync::Ordering};

/// The stack limit while the poll cell is raised.
const RAISED: usize = usize::MAX;

impl ThreadCells {
    /// Asks the thread to poll: sets `bits` of its poll cell.
    ///
    /// # Safety
    ///
    /// `cells` are alive. (No reference to them is made: their owner writes other fields meanwhile.)
    pub unsafe fn raise(cells: *const ThreadCells, bits: u64) {
        // SAFETY: alive by the caller; both are atomic.
        let (interrupt, stack_limit) = unsafe { (&(*cells).interrupt, &(*cells).stack_limit) };
        // Ordering: AcqRel. Pairs with: AcqRel in `lower`. Carries, to there: the epoch that a ticket waits for, or of a census; from there: the
        // store of the limit, which the store below must come after.
        interrupt.fetch_or(bits, ordering!(Raise: AcqRel));
        // Ordering: Relaxed. A prologue that sees it looks at the cell; one that misses it is called again.
        stack_limit.store(RAISED, Ordering::Relaxed);
    }

    /// Takes requests back, by the thread itself, which answers them then. Returns the bits that are left.
    pub fn lower(&self, bits: u64) -> u64 {
        // Ordering: Relaxed. Before the exchange, so that whoever raises after it stores after this.
        self.stack_limit.store(self.stack_floor(), Ordering::Relaxed);
        // Ordering: AcqRel. Pairs with: AcqRel in `raise`. Carries: the epoch a ticket waits for. Weaker fails: this takes the request
        // of a ticket back, then polls for an epoch before it, and is never asked again. Test: loom break_vs_answer.
        let left = self.interrupt.fetch_and(!bits, ordering!(Lower: AcqRel)) & !bits;
        if left != 0 {
            // Ordering: Relaxed. As in `raise`.
            self.stack_limit.store(RAISED, Ordering::Relaxed);
        }
        left
    }

    /// Sets where the stack ends for generated code, in bytes; by the thread itself, at an outermost entry.
    pub fn limit_stack(&self, floor: usize) {
        // Ordering: Relaxed. Only this thread uses it.
        self.stack_floor.store(floor, Ordering::Relaxed);
        self.lower(0);
    }

    /// Lowest stack address generated code may use, whether or not the thread is asked to poll.
    pub fn stack_floor(&self) -> usize {
        // Ordering: Relaxed. Only this thread uses it.
        self.stack_floor.load(Ordering::Relaxed)
    }
}
