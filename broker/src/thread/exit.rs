//! Compiled code was left at a guard: the one call an embedder makes of it.

use super::InterpThread;
use crate::{DeoptDecision, GuardId, UnitId};

impl<G: Send + Sync + 'static> InterpThread<G> {
    /// A unit was left at a guard, on this thread: counts it, asks the policy, and does what it says.
    ///
    /// `None` when the unit cannot be entered any more, because it was replaced, given up or withdrawn, or the function was reloaded,
    /// while this frame was inside: then nothing is counted. Otherwise the policy's decision.
    ///
    /// No lock, and no allocation unless the code is given up, which happens to a unit once. (In
    /// [`Mode::Sync`](crate::Mode::Sync) its successor is compiled here.) `unit` must be of this thread's broker.
    pub fn on_exit(&self, unit: UnitId, guard: GuardId) -> Option<DeoptDecision> {
        // SAFETY: this thread is online, and has no quiescent point before this returns.
        unsafe { self.shared.exited(unit, guard) }
    }
}
