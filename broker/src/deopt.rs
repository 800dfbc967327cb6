//! Code was left at a guard: counting, asking, and giving it up.
//!
//! Giving up is publishing a successor without the unit, in which the next lower body that is still resident takes over; nothing
//! is compiled for that. It does not touch the code itself: what is inside may go on, for a guard that held is a guard that held.
//! Of all threads that decide so about one unit, the one whose exchange removes it acts; to the others it is gone, as it is to a
//! frame of a body that was reloaded since. So nothing that is learnt of old code is held against new.

use crate::{
    DeoptAction, DeoptDecision, DeoptSample, Event, GuardId, Mode, Reason, Tier, Transition, UnitId,
    exits::Exits,
    history::DeoptHistory,
    mutation::{dropped, ordering},
    registry::{Hot, Slot},
    retire::Pin,
    shared::Shared,
    sync::Ordering,
    target::Target,
    unit::InstalledUnit,
    version::CodeVersion,
};

/// A unit to be given up.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    id: UnitId,
    tier: Tier,
    site: Option<u32>,
    guard: GuardId,
    decision: DeoptDecision,
}

impl Verdict {
    /// Whether another unit of the bead stays.
    fn spares(&self, unit: &InstalledUnit) -> bool {
        let is_other = unit.serial() != self.id.serial;
        match self.decision.action {
            DeoptAction::RevertTo { tier } => is_other && unit.tier <= tier,
            DeoptAction::NeverThisTier => is_other && unit.tier != self.tier,
            // Calls of a function that has a variant of a higher tier than its body ask for the body at once.
            DeoptAction::BackOff { .. } if self.site.is_none() => is_other && unit.tier < self.tier,
            _ => is_other,
        }
    }
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// The version a bead publishes now.
    ///
    /// # Safety
    ///
    /// The calling thread is online, and has no quiescent point while the reference lives.
    pub(crate) unsafe fn version<'v>(&self, hot: &Hot) -> &'v CodeVersion<G> {
        // Ordering: Acquire. Pairs with: Release in `publish`. Carries: the version. Test: loom deopt_vs_install.
        let word = hot.code.load(ordering!(ExitLookup: Acquire));
        // SAFETY: not freed before the thread's next quiescent point (caller).
        let version: &CodeVersion<G> = unsafe { &*CodeVersion::of_word(word) };
        version.header.built.seen();
        version
    }

    /// As [`InterpThread::on_exit`](crate::InterpThread::on_exit).
    ///
    /// # Safety
    ///
    /// The calling thread is online, and has no quiescent point meanwhile.
    pub(crate) unsafe fn exited(&self, id: UnitId, guard: GuardId) -> Option<DeoptDecision> {
        let hot = self.registry.find(id.bead.id)?;
        // SAFETY: passed on.
        let version = unsafe { self.version(hot) };
        let is_it = |unit: &InstalledUnit| unit.serial() == id.serial || dropped!(ExitOfUnit);
        let (site, unit) = version.entered_units().find(|(_, unit)| is_it(unit))?;
        let Exits { at_guard, of_unit } = unit.exits.note(guard);
        // Ordering: Relaxed. Counter.
        self.tiers[unit.tier.slot()].counters.exits.fetch_add(1, Ordering::Relaxed);
        let fallback = match site {
            Some(_) => version.tier(),
            None => version.resident.first().map_or(Tier::INTERPRETER, |unit| unit.tier),
        };
        let (cold, history) = (self.registry.cold(id.bead.id), version.history.as_deref());
        let sample = DeoptSample {
            fallback,
            site,
            guard_exits: at_guard,
            unit_exits: of_unit,
            guard_deopts: history.map_or(0, |history| history.guard_deopts(guard)),
            deopts: history.map_or(0, |history| history.deopts(unit.tier)),
            suppressed: history.is_some_and(|history| history.suppressed().binary_search(&guard).is_ok()),
            suppressed_guards: history.map_or(0, |history| history.suppressed().len() as u32),
            // Ordering: Relaxed, twice. Approximate numbers.
            work: cold.work.load(Ordering::Relaxed),
            size: cold.size.load(Ordering::Relaxed),
            ..DeoptSample::new(unit.tier, guard)
        };
        let mut decision = self.deopt_policy.decide(&sample);
        if let DeoptAction::RevertTo { tier } = &mut decision.action
            && *tier >= unit.tier
        {
            *tier = fallback;
        }
        let id = UnitId { serial: unit.serial(), ..id };
        let verdict = Verdict { id, tier: unit.tier, site, guard, decision };
        (decision.action == DeoptAction::Keep || self.give_up(verdict)).then_some(decision)
    }

    /// Gives a unit up; false when somebody else has taken it away.
    #[cold]
    fn give_up(&self, verdict: Verdict) -> bool {
        let Verdict { id: UnitId { bead, serial }, tier, site, guard, decision: DeoptDecision { action, .. } } = verdict;
        let (id, hot) = (bead.id, self.registry.hot(bead.id));
        let pin = self.reclaimer.pin();
        let (to, code_bytes, lineage) = loop {
            let (word, running) = self.current(&pin, hot);
            if !running.entered_units().any(|(_, unit)| unit.serial() == serial) {
                return false;
            }
            let history = DeoptHistory::after(running.history.as_deref(), tier, guard, action == DeoptAction::Suppress);
            let next = self.version_keeping(running, Some(history), |unit| verdict.spares(unit));
            let counting = self.count_for(id, word, running, &next);
            if let DeoptAction::BackOff { work } = action {
                self.back_off(id, work);
            }
            if self.publish(hot, word, &next, counting) {
                break (next.tier(), running.code_bytes() - next.code_bytes(), next.lineage());
            }
        };
        if action == DeoptAction::NeverThisTier {
            self.never_again(&pin, id, tier, lineage);
        }
        // Ordering: Relaxed. Counter.
        self.tiers[tier.slot()].counters.deopts.fetch_add(1, Ordering::Relaxed);
        let to = Target { tier: if site.is_some() { Tier::INTERPRETER } else { to }, site };
        let event = self.event(id, tier, to, Transition::Deoptimized { guard, decision: verdict.decision });
        self.tell(Event { code_bytes, guards: self.describe_guards(&[guard]), ..event });
        drop(pin);
        if matches!(action, DeoptAction::Recompile | DeoptAction::Suppress) {
            self.request(id, Target { tier, site }, Reason::Deopt);
        }
        if self.mode == Mode::Sync {
            self.events.deliver();
            self.tidy();
        }
        true
    }

    /// Whatever counting asks for next has to wait for `work` more units of it.
    fn back_off(&self, id: u32, work: u32) {
        let Slot { hot, cold, .. } = self.registry.slot(id);
        self.set_budget(hot, work.max(1));
        self.set_loops(cold, work.max(1));
    }

    /// Disables a tier because of a body of this lineage. Counting finds out when its budget is spent.
    pub(crate) fn never_again(&self, pin: &Pin<'_, G>, id: u32, tier: Tier, lineage: u64) {
        let hot = self.registry.hot(id);
        hot.state.disable(tier);
        // A reload forgives, after it has published the new body: either it comes after this, or its version shows here.
        if self.current(pin, hot).1.lineage() != lineage {
            hot.state.enable(tier);
        }
    }
}
