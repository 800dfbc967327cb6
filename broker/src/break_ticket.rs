//! When it is over: whether every thread has had the occasion to leave code that was withdrawn.

use std::fmt;

use crate::{
    shared::Shared,
    sync::{Arc, pause},
};

/// What a mutator waits for after it made code invalid: [done](Self::is_done) when no thread runs that code any more, and none will.
///
/// That is so when every interpreter thread has since polled, passed a quiescent point, or been
/// [parked](crate::InterpThread::parked) or [offline](crate::InterpThread::offline): after any of these it has seen the flags, and
/// leaves flagged code before it does anything else in it.
#[must_use = "what the code relies on must stay so until the ticket is done"]
pub struct BreakTicket<G: Send + Sync + 'static> {
    shared: Arc<Shared<G>>,
    /// The epoch all have to have seen.
    stamp: u64,
}

impl<G: Send + Sync + 'static> BreakTicket<G> {
    /// Whether it is over. It stays so.
    pub fn is_done(&self) -> bool {
        self.shared.reclaimer.all_have_polled(self.stamp)
    }

    /// Waits until it is over, on a thread that runs no guest code: one that does would wait for itself, and calls
    /// [`InterpThread::wait_for`](crate::InterpThread::wait_for).
    ///
    /// Returns when all threads poll; a thread that runs native code without polls holds it up.
    pub fn wait(&self) {
        while !self.is_done() {
            pause();
        }
    }
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// All that is to be seen is there: asks every thread to look.
    pub(crate) fn ticket(self: &Arc<Self>) -> BreakTicket<G> {
        let stamp = self.reclaimer.stamp();
        // After the stamp: a thread that is asked before it might answer too early, and not be asked again.
        self.roster.raise(crate::POLL_BROKER);
        BreakTicket { shared: Arc::clone(self), stamp }
    }
}

impl<G: Send + Sync + 'static> fmt::Debug for BreakTicket<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakTicket").field("stamp", &self.stamp).field("is_done", &self.is_done()).finish_non_exhaustive()
    }
}
