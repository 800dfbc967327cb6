//! Other functions' bodies in a unit: what a compile captures of them, before it reads them.
//!
//! A compiler that wants to inline a function captures a [`Callee`] *before* it reads the body, and says of the finished unit
//! what it contains ([`CodeUnit::containing`](crate::CodeUnit::containing)). What was captured is a premise of the unit, which
//! `premise.rs` tells the rest of.

use std::fmt;

use crate::{BeadId, BeadRef, GuardId, Tier, premise::BodyId, shared::Shared, sync::Ordering};

/// A function whose body a compile may put into the unit of another; see [`CompileRequest::callee`](crate::CompileRequest::callee).
pub struct Callee<'a, G> {
    shared: &'a Shared<G>,
    body: BodyId,
}

impl<G: Send + Sync + 'static> Callee<'_, G> {
    /// Which bead it is.
    pub fn id(&self) -> BeadId {
        self.body.bead
    }

    /// The tier that runs it now: a function that is not interpreted any more has been called often.
    pub fn tier(&self) -> Tier {
        let pin = self.shared.reclaimer.pin();
        self.shared.current(&pin, self.shared.registry.hot(self.body.bead.id)).1.tier()
    }

    /// Size of its body in bytes, as registered.
    pub fn size(&self) -> u32 {
        // Ordering: Relaxed. Of another bead at worst, if this one was released: then the unit is refused.
        self.shared.registry.cold(self.body.bead.id).size.load(Ordering::Relaxed)
    }

    /// Whether the function's own code failed too often at `guard` for that to be speculated on again. What was learnt of a body that
    /// is not the one captured does not count.
    pub fn is_suppressed(&self, guard: GuardId) -> bool {
        let pin = self.shared.reclaimer.pin();
        let (_, version) = self.shared.current(&pin, self.shared.registry.hot(self.body.bead.id));
        let history = version.history.as_deref().filter(|_| version.lineage() == self.body.lineage);
        history.is_some_and(|history| history.suppressed().binary_search(&guard).is_ok())
    }

    /// Calls `read` with the function's guest handle; `None` if it was reloaded, invalidated or released since it was captured.
    ///
    /// Nothing that is retired meanwhile is freed before `read` returns: it is for lowering the body, not for compiling it.
    pub fn with_guest<R>(&self, read: impl FnOnce(&G) -> R) -> Option<R> {
        let pin = self.shared.reclaimer.pin();
        let BodyId { bead: BeadId { id, .. }, .. } = self.body;
        if !self.shared.is_current(self.body) {
            return None;
        }
        let (_, version) = self.shared.current(&pin, self.shared.registry.hot(id));
        if version.lineage() != self.body.lineage {
            return None;
        }
        // SAFETY: the bead was live under the pin, so the slot is not recycled before it ends.
        Some(read(unsafe { self.shared.guest(version, self.shared.registry.cold(id)) }))
    }

    pub(crate) fn body(&self) -> BodyId {
        self.body
    }
}

impl<G> fmt::Debug for Callee<'_, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Callee({})", self.body.bead)
    }
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// What a compile that may look at the body of `bead` must remember. `None` for another broker's bead.
    pub(crate) fn callee(&self, bead: BeadRef<'_, G>) -> Option<Callee<'_, G>> {
        // A function that is not to run in native code is not to run in another's.
        if !self.owns(bead) || bead.hot.state.snapshot().limit().is_interpreter() {
            return None;
        }
        let pin = self.reclaimer.pin();
        let lineage = self.current(&pin, bead.hot).1.lineage();
        Some(Callee { shared: self, body: BodyId { bead: self.bead_id(bead.index()), lineage } })
    }
}
