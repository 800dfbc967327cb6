//! Polls: where a thread that runs native code sees what changed, and says that it has.
//!
//! A thread may be inside code that was withdrawn. It sees the flag in that code's validity cell no later than its next poll:
//! - *at a poll*, native code that finds the poll cell raised calls out, to [`InterpThread::poll`], and looks at its validity cell
//!   when that returns. The poll has acquired the epoch whose stamp came after the flag, so the look finds it;
//! - *parked*, in a host call, the thread runs no native code. Coming back it passes a fence, and the code looks when the call
//!   returns: either whoever looked for parked threads has not seen it so, or it sees the flag (store buffering, as for coming
//!   online).
//!
//! Interpreter frames rely on nothing. But the broker does not know who runs what, so an interpreter has to poll as well, as
//! often as it wants mutators to wait.

use super::InterpThread;
use crate::{Assumption, BreakTicket, POLL_BROKER, ThreadCells, sync::pause};

/// Ends a time of being parked.
pub(super) struct Back<'t, G: Send + Sync + 'static>(pub(super) &'t InterpThread<G>);

impl<G: Send + Sync> Drop for Back<'_, G> {
    fn drop(&mut self) {
        self.0.shared.reclaimer.unpark(self.0.participant());
    }
}

impl<G: Send + Sync + 'static> InterpThread<G> {
    /// The thread looks: what whoever finds [`POLL_BROKER`](crate::POLL_BROKER) in the poll cell calls, and whoever else wants to.
    /// A few loads and stores. Native code that calls this has to look at its validity cell afterwards.
    pub fn poll(&self) {
        self.lower(POLL_BROKER);
        self.shared.reclaimer.poll(self.participant(), None);
        self.keep_asking();
    }

    /// Takes back what the broker asks this thread.
    pub(super) fn lower(&self, bits: u64) {
        // SAFETY: the cells live as long as the handle, and this is their thread.
        unsafe { &*self.cells() }.lower(bits);
    }

    /// The thread has looked, and has something left to answer: it is still asked.
    pub(super) fn raise_again(&self) {
        // SAFETY: as in `lower`.
        unsafe { ThreadCells::raise(self.cells(), POLL_BROKER) };
    }

    /// Runs `wait`, a host call that may take long, with native frames beneath it: nobody waits for this thread's polls meanwhile.
    /// `wait` must not run guest code with this handle. Native code that made the call has to look at its validity cell when it
    /// returns.
    ///
    /// Unlike [`offline`](Self::offline), the reclaimer still waits: the frames beneath go on.
    pub fn parked<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.shared.reclaimer.park(self.participant(), None);
        let _back = Back(self);
        wait()
    }

    /// As [`Broker::break_assumption`](crate::Broker::break_assumption), by a thread that may run native code itself: breaking counts as
    /// its own poll. Frames of its own that rely on the assumption are flagged, and leave when the call they are in returns.
    pub fn break_assumption(&self, assumption: &Assumption) -> BreakTicket<G> {
        let ticket = self.shared.break_assumption(assumption);
        self.poll();
        ticket
    }

    /// Waits until all other threads have left what was withdrawn. Polls meanwhile, so that threads which wait for each other come
    /// to an end.
    pub fn wait_for(&self, ticket: &BreakTicket<G>) {
        loop {
            self.poll();
            if ticket.is_done() {
                return;
            }
            pause();
        }
    }
}
