//! What a unit relies on: other functions' bodies, its own, and assumptions; and what happens to it when one is no longer so.
//!
//! A compile captures a premise *before* it reads what the premise is about, and says so of the finished unit. Installing looks,
//! under the lock of [`Dependents`], whether each premise still holds, and registers the unit with them before it lets go. Whoever
//! makes a premise false publishes that first, and then takes the same lock to find the units that rely on it. So either the
//! install comes second and sees the change, or the change comes second and finds the unit.
//!
//! Such a unit is *withdrawn*: the next lower body its bead still has takes its place, or the interpreter, and its validity cell is
//! set, so that frames inside leave. A unit stays registered until it is freed, not only while it is published: a frame may be
//! inside long after. For that, units that can be told rely on their own body as well.
//!
//! Withdrawing a unit keeps its bead's lineage: its own body is what it was, and units that contain *it* need not go. (Those
//! that rely on what changed as well are registered there themselves: a unit lists everything it relies on.)

use std::collections::BTreeMap;

use crate::{
    Assumption, BeadId, Event, InvalidateReason, Tier, Transition,
    event::LossReason,
    mutation::dropped,
    shared::Shared,
    sync::{Arc, AtomicU64, Mutex, Ordering, lock},
    target::Target,
    unit::InstalledUnit,
    validity::UnitRecord,
};

/// Which body: a bead, and its lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyId {
    pub(crate) bead: BeadId,
    pub(crate) lineage: u64,
}

/// One thing a unit relies on.
#[derive(Debug, Clone)]
pub(crate) enum Premise {
    /// A body that the unit is of, or contains.
    Body(BodyId),
    Assumption(Assumption),
}

/// What can change, so that premises about it become false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ground {
    /// The body of a bead: its index.
    Body(u32),
    /// An assumption: its number.
    Assumption(u64),
}

impl Premise {
    fn ground(&self) -> Ground {
        match self {
            Premise::Body(body) => Ground::Body(body.bead.id),
            Premise::Assumption(assumption) => Ground::Assumption(assumption.number()),
        }
    }
}

/// Who relies on what: the units that have premises, by what these are about.
#[derive(Debug, Default)]
pub(crate) struct Dependents {
    /// By ground, and serial of the unit. Held for look-ups only.
    units: Mutex<BTreeMap<(Ground, u64), Arc<UnitRecord>>>,
    serials: AtomicU64,
}

impl Dependents {
    /// A number that nothing else of this broker has.
    pub(crate) fn serial(&self) -> u64 {
        // Ordering: Relaxed. Only uniqueness matters.
        self.serials.fetch_add(1, Ordering::Relaxed)
    }

    fn of(&self, ground: Ground) -> Vec<Arc<UnitRecord>> {
        let units = lock(&self.units);
        units.range((ground, 0)..=(ground, u64::MAX)).map(|(_, record)| Arc::clone(record)).collect()
    }

    /// How many bodies of other functions, and how many assumptions, are registered.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let units = lock(&self.units);
        units.iter().fold((0, 0), |(bodies, assumptions), ((ground, _), record)| match *ground {
            Ground::Body(id) => (bodies + usize::from(id != record.id.bead.id), assumptions),
            Ground::Assumption(_) => (bodies, assumptions + 1),
        })
    }
}

/// What one unit relies on, registered at most as long as it lives.
#[derive(Debug)]
pub(crate) struct Premises {
    all: Box<[Premise]>,
    record: Arc<UnitRecord>,
    dependents: Arc<Dependents>,
}

impl Premises {
    pub(crate) fn new(all: Vec<Premise>, record: &Arc<UnitRecord>, dependents: &Arc<Dependents>) -> Self {
        Premises { all: all.into(), record: Arc::clone(record), dependents: Arc::clone(dependents) }
    }
}

impl Drop for Premises {
    fn drop(&mut self) {
        if self.all.is_empty() {
            return;
        }
        let mut units = lock(&self.dependents.units);
        for premise in &self.all {
            units.remove(&(premise.ground(), self.record.id.serial));
        }
    }
}

/// Why a unit was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Something it relies on is no longer so.
    Stale(LossReason),
    /// Somebody published something else.
    Overtaken,
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// Whether a bead still has the body it had.
    pub(crate) fn is_current(&self, body: BodyId) -> bool {
        let pin = self.reclaimer.pin();
        let hot = self.registry.hot(body.bead.id);
        // The state first: once it says that a later bead lives here, that bead's generation is seen, too.
        let is_live = hot.state.snapshot().is_live();
        is_live && self.bead_id(body.bead.id) == body.bead && self.current(&pin, hot).1.lineage() == body.lineage
    }

    /// Why a premise is no longer so; `None` while it is.
    fn falsity(&self, premise: &Premise, of: BeadId) -> Option<LossReason> {
        match premise {
            Premise::Body(body) if self.is_current(*body) || dropped!(CalleeCheck) => None,
            Premise::Body(body) if body.bead == of => Some(LossReason::Changed),
            Premise::Body(_) => Some(LossReason::CalleeChanged),
            Premise::Assumption(assumption) if assumption.holds() || dropped!(AssumptionCheck) => None,
            Premise::Assumption(_) => Some(LossReason::AssumptionBroken),
        }
    }

    /// Publishes `unit` by `publish`, which says whether it won, provided that all it relies on is so.
    pub(crate) fn publish_current(&self, unit: &InstalledUnit, publish: impl FnOnce() -> bool) -> Result<(), Refused> {
        let Premises { all, record, .. } = &unit.premises;
        let publish = || if publish() { Ok(()) } else { Err(Refused::Overtaken) };
        if all.is_empty() {
            return publish();
        }
        let mut units = lock(&self.dependents.units);
        if let Some(reason) = all.iter().find_map(|premise| self.falsity(premise, record.id.bead)) {
            return Err(Refused::Stale(reason));
        }
        publish()?;
        units.extend(all.iter().map(|premise| ((premise.ground(), record.id.serial), Arc::clone(record))));
        Ok(())
    }

    /// The function of bead `id` has changed, which is published: withdraws the units that contain what it was, and has those
    /// that are of it leave.
    pub(crate) fn withdraw_dependents(&self, id: u32) {
        if !dropped!(CalleeWithdrawal) {
            self.withdraw_all(Ground::Body(id), InvalidateReason::CalleeChanged);
        }
    }

    /// What `ground` stands for has changed: withdraws all units that rely on it, and has threads look.
    pub(crate) fn withdraw_all(&self, ground: Ground, reason: InvalidateReason) {
        let mut told = false;
        for record in self.dependents.of(ground) {
            self.withdraw(&record, reason);
            // After the swap, so that who leaves does not come back.
            told |= record.flag();
        }
        if told {
            self.roster.raise(crate::POLL_BROKER);
        }
        self.tidy();
    }

    /// Stops new entries into one unit, if its bead still has it.
    fn withdraw(&self, record: &UnitRecord, reason: InvalidateReason) {
        let (id, serial) = (record.id.bead.id, record.id.serial);
        let hot = self.registry.hot(id);
        let pin = self.reclaimer.pin();
        let (from, to, code_bytes) = loop {
            let (word, running) = self.current(&pin, hot);
            let Some((site, unit)) = running.sited_units().find(|(_, unit)| unit.serial() == serial) else { return };
            let next = self.version_keeping(running, running.history.clone(), |unit| unit.serial() != serial);
            let counting = self.count_for(id, word, running, &next);
            if self.publish(hot, word, &next, counting) {
                // Where a variant was, it is the loop that is interpreted.
                let tier = if site.is_some() { Tier::INTERPRETER } else { next.tier() };
                break (running.tier(), Target { tier, site }, unit.code_bytes);
            }
        };
        let event = self.event(id, from, to, Transition::Invalidated(reason));
        self.tell(Event { code_bytes, ..event });
    }
}
