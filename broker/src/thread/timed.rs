//! Timing one call in a few, whatever tier it runs in.

use std::time::Instant;

use super::{InterpThread, NativeCode};
use crate::{BeadRef, Tier, sync::Ordering, tuning::TIMED_ONE_IN};

impl<G: Send + Sync + 'static> InterpThread<G> {
    /// Makes a call of `bead`, and times it if it is its turn: one call in 64 of this thread is. `code` is what
    /// [`on_invoke`](Self::on_invoke) returned, `None` for the interpreter; `call` does whatever calling takes.
    ///
    /// From this the broker knows how much faster compiled code is ([`BeadStats::speedup`](crate::BeadStats::speedup)), which policies that
    /// weigh costs reckon with. Times include what the function calls, so calls that are not deep in others tell most; a call
    /// whose body was replaced meanwhile tells nothing.
    #[inline]
    pub fn timed<R>(&self, bead: BeadRef<'_, G>, code: Option<NativeCode<'_>>, call: impl FnOnce() -> R) -> R {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        if turn.is_multiple_of(TIMED_ONE_IN) { self.timed_now(bead, code, call) } else { call() }
    }

    #[cold]
    #[inline(never)]
    fn timed_now<R>(&self, bead: BeadRef<'_, G>, code: Option<NativeCode<'_>>, call: impl FnOnce() -> R) -> R {
        debug_assert!(self.shared.owns(bead), "a bead of another broker");
        let tier = code.map_or(Tier::INTERPRETER, |code| code.tier());
        // Ordering: Relaxed, twice. A body that was replaced and not noticed blurs an estimate.
        let stamp = bead.hot.stamp.load(Ordering::Relaxed);
        let start = Instant::now();
        let result = call();
        let time = start.elapsed();
        if bead.hot.stamp.load(Ordering::Relaxed) == stamp {
            self.shared.note_timed(bead.id as u32, tier, time);
        }
        result
    }
}
