//! A thread is sampled: it has found its poll cell raised for that, and is charged where it is.
//!
//! A loop that has earned a variant is watched, and the thread then raises its own cell, so that it looks at every back-edge. What is
//! called from the loop sees that, too: the watch goes on at the next sample, but not for many.

use super::{InterpThread, spent::BackEdge};
use crate::{BeadRef, POLL_SAMPLE, ThreadCells, loops::NATIVE, tuning::NATIVE_WATCH};

impl<G: Send + Sync + 'static> InterpThread<G> {
    /// The thread has found [`POLL_SAMPLE`] in its poll cell, in a body or a variant of `bead` that is
    /// [sampled](crate::CodeUnit::sampled): at its entry (`None`), or at a loop site. As [`count_native`](Self::count_native), with the
    /// work of the time since the last sample, or a unit for a back-edge that is watched.
    ///
    /// A body that counts does not answer: the sample waits for one that is.
    pub fn sample_native(&self, bead: BeadRef<'_, G>, site: Option<u32>) -> bool {
        // SAFETY: this thread is online, and the reference ends here.
        if site.is_none() && !unsafe { self.shared.header(bead.hot) }.sampled {
            return self.count_native(bead, 0, None);
        }
        let looked = self.looks.get();
        self.skip_sample();
        let (id, mut watch) = (bead.id as u32, self.watch.get());
        let work = if watch.is_of_tier(id, NATIVE) {
            1
        } else if looked {
            watch.interrupt(NATIVE_WATCH);
            self.watch.set(watch);
            0
        } else {
            self.shared.sampled_work()
        };
        let leaves = self.tell_native(bead, work, site.map(BackEdge::sampled));
        if self.watch.get().is_of_tier(id, NATIVE) {
            self.looks.set(true);
            // SAFETY: the cells live as long as the handle.
            unsafe { ThreadCells::raise(self.cells(), POLL_SAMPLE) };
        }
        leaves
    }

    /// The thread has found [`POLL_SAMPLE`] in its poll cell where nothing is sampled: in an interpreter, or in code that is neither
    /// sampled nor counts.
    pub fn skip_sample(&self) {
        self.looks.set(false);
        self.lower(POLL_SAMPLE);
    }
}
