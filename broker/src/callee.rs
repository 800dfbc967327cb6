//! Other functions' bodies in a unit: what a compile captures of them, and what holds when the unit is installed.
//!
//! A compiler that wants to inline a function captures a [`Callee`] *before* it reads the body, and says of the finished unit
//! what it contains ([`CodeUnit::containing`](crate::CodeUnit::containing)). Installing looks, under the lock of
//! [`Dependents`], whether each is still what was captured, and registers the unit with them before it lets go. Whoever changes
//! a function publishes that first, and then takes the same lock to find the units that contain it. So either the install comes
//! second and sees the change, or the change comes second and finds the unit.
//!
//! Withdrawing a unit keeps its bead's lineage: its own body is what it was, and units that contain *it* need not go. (Those
//! that contain what changed as well are registered there themselves: a unit lists everything it contains.)

use std::{collections::BTreeMap, fmt};

use crate::{
    BeadId, BeadRef, Event, InvalidateReason, Tier, Transition,
    mutation::dropped,
    shared::Shared,
    sync::{Arc, AtomicU64, Mutex, Ordering, lock},
    target::Target,
    unit::InstalledUnit,
    version::CodeVersion,
};

/// A function whose body a compile may put into the unit of another; see [`CompileRequest::callee`](crate::CompileRequest::callee).
pub struct Callee<'a, G> {
    shared: &'a Shared<G>,
    body: BodyId,
}

/// Which body: a bead, and its lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyId {
    bead: BeadId,
    lineage: u64,
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

/// Who contains whom: the units that contain other functions' bodies, by those functions.
#[derive(Debug, Default)]
pub(crate) struct Dependents {
    /// Bead index of the function contained, and serial of the unit → bead index of whose unit it is. Held for look-ups only.
    units: Mutex<BTreeMap<(u32, u64), u32>>,
    serials: AtomicU64,
}

impl Dependents {
    fn of(&self, id: u32) -> Vec<(u64, u32)> {
        let units = lock(&self.units);
        units.range((id, 0)..=(id, u64::MAX)).map(|(&(_, serial), &of)| (serial, of)).collect()
    }

    /// How many bodies are registered.
    pub(crate) fn len(&self) -> usize {
        lock(&self.units).len()
    }
}

/// The bodies a unit contains besides its own, registered at most as long as it lives.
#[derive(Debug)]
pub(crate) struct Contents {
    bodies: Box<[BodyId]>,
    serial: u64,
    dependents: Arc<Dependents>,
}

impl Contents {
    pub(crate) fn new(bodies: Vec<BodyId>, dependents: &Arc<Dependents>) -> Self {
        // Ordering: Relaxed. Only uniqueness matters.
        let serial = dependents.serials.fetch_add(1, Ordering::Relaxed);
        Contents { bodies: bodies.into(), serial, dependents: Arc::clone(dependents) }
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        if self.bodies.is_empty() {
            return;
        }
        let mut units = lock(&self.dependents.units);
        for body in &self.bodies {
            units.remove(&(body.bead.id, self.serial));
        }
    }
}

/// Why a unit was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A function it contains has changed.
    Stale,
    /// Somebody published something else.
    Overtaken,
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// What a compile that may look at the body of `bead` must remember. `None` for another broker's bead.
    pub(crate) fn callee(&self, bead: BeadRef<'_, G>) -> Option<Callee<'_, G>> {
        if !self.owns(bead) {
            return None;
        }
        let pin = self.reclaimer.pin();
        let lineage = self.current(&pin, bead.hot).1.lineage();
        Some(Callee { shared: self, body: BodyId { bead: self.bead_id(bead.index()), lineage } })
    }

    /// Whether a bead still has the body it had.
    fn is_current(&self, body: BodyId) -> bool {
        let pin = self.reclaimer.pin();
        let hot = self.registry.hot(body.bead.id);
        // The state first: once it says that a later bead lives here, that bead's generation is seen, too.
        let is_live = hot.state.snapshot().is_live();
        is_live && self.bead_id(body.bead.id) == body.bead && self.current(&pin, hot).1.lineage() == body.lineage
    }

    /// Publishes `unit` for bead `id` by `publish`, which says whether it won, provided that all it contains is current.
    pub(crate) fn publish_current(&self, id: u32, unit: &InstalledUnit, publish: impl FnOnce() -> bool) -> Result<(), Refused> {
        let contents = &unit.contents;
        let publish = || if publish() { Ok(()) } else { Err(Refused::Overtaken) };
        if contents.bodies.is_empty() {
            return publish();
        }
        let mut units = lock(&self.dependents.units);
        if !contents.bodies.iter().all(|&body| self.is_current(body)) && !dropped!(CalleeCheck) {
            return Err(Refused::Stale);
        }
        publish()?;
        units.extend(contents.bodies.iter().map(|body| ((body.bead.id, contents.serial), id)));
        Ok(())
    }

    /// The function of bead `id` has changed, which is published: withdraws the units that contain what it was.
    pub(crate) fn withdraw_dependents(&self, id: u32) {
        if dropped!(CalleeWithdrawal) {
            return;
        }
        for (serial, dependent) in self.dependents.of(id) {
            self.withdraw(dependent, serial);
        }
        self.tidy();
    }

    /// Stops new entries into one unit, if its bead still runs it.
    fn withdraw(&self, id: u32, serial: u64) {
        let hot = self.registry.hot(id);
        let pin = self.reclaimer.pin();
        let (from, site, code_bytes) = loop {
            let (word, running) = self.current(&pin, hot);
            let Some((site, unit)) = running.sited_units().find(|(_, unit)| unit.contents.serial == serial) else { return };
            let next = self.version_without(running, site);
            let counting = match site {
                None => self.start_over(id),
                Some(_) => {
                    let _ = self.start_over_from(id, next.header.top());
                    CodeVersion::<G>::counting(word)
                }
            };
            if self.publish(hot, word, &next, counting) {
                break (running.tier(), site, unit.code_bytes);
            }
        };
        let to = Target { tier: Tier::INTERPRETER, site };
        let event = self.event(id, from, to, Transition::Invalidated(InvalidateReason::CalleeChanged));
        self.events.post(Event { code_bytes, ..event });
        #[cfg(feature = "threads")]
        self.crew.wake_for_events();
    }
}
