//! One compile, from a queued request to published code.

use std::{ptr, time::Duration};

use crate::{
    Bailout, BailoutReason, CompileRequest, Event, Reason, Tier, Transition,
    compiler::Ticket,
    contain::contained,
    event::{Cause, LossReason},
    mutation::dropped,
    premise::Refused,
    queue::{Ask, LargeJob, Look, Taken},
    registry::Hot,
    retire::Pin,
    shared::Shared,
    state::{Ending, Finished, Lane},
    sync::{Arc, Ordering},
    target::Target,
    tuning::{CHANGE_LEVEL_ABOVE, DEADLINE_BYTES, MAX_RETRIES, OLD, backoff},
    unit::InstalledUnit,
    validity::{UnitId, UnitRecord},
    version::{CodeVersion, Counting},
};

/// How a compile came out.
#[derive(Debug)]
pub(crate) enum Outcome {
    Installed,
    Bailout(Bailout),
    Lost(LossReason),
    /// The watchdog took the job away; the thread that ran it was replaced.
    #[cfg(feature = "threads")]
    Abandoned,
}

/// What a compile found when it began, and what it is checked against when it ends.
struct Base<G> {
    version: Arc<CodeVersion<G>>,
    ticket: Arc<Ticket>,
}

/// A lane that is compiling, held. Whatever happens in between, dropping it gives the lane back.
struct Held<'s, G: Send + Sync + 'static> {
    shared: &'s Shared<G>,
    id: u32,
    target: Target,
    ending: Ending,
    /// The version that was compiled from, when the ending is one to remember: as long as its address is published nothing has changed.
    base: *const CodeVersion<G>,
    /// The watchdog has answered the request.
    answered: bool,
}

impl<G: Send + Sync + 'static> Drop for Held<'_, G> {
    fn drop(&mut self) {
        let lane = self.target.lane();
        if lane == Lane::Osr && !dropped!(OsrUnclaim) {
            // While the slot is still ours. Whoever claims before the lane is idle is refused, and asks again.
            self.shared.registry.warm(self.id).osr.unclaim();
        }
        let hot = self.shared.registry.hot(self.id);
        let Finished { vacated } = hot.state.finish(lane, self.ending);
        // A reload forgives, after it has published the new body: either it comes after this, or its version shows here. Not looked
        // at closely, for the slot may be another bead's by now: who is forgiven too much is compiled once more.
        if self.ending != Ending::Settled && !self.shared.publishes(hot, self.base) && !dropped!(FailureOfBody) {
            hot.state.forgive();
        }
        if vacated {
            self.shared.retire_slot(self.id);
        }
        if !self.answered {
            self.shared.answered(self.target.tier);
        }
    }
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// Turns what is in the inbox into queued requests. Returns whether there was anything.
    pub(crate) fn drain_inbox(&self) -> bool {
        let news = self.queue.front.inbox.drain(&self.registry);
        for &id in &news {
            self.unlink(id);
        }
        // Whoever shut down may have found the queue still empty: what we queued since is ours to drop.
        if self.is_stopped() && !dropped!(DrainRecheck) {
            self.drop_queued();
        }
        !news.is_empty()
    }

    /// Takes one bead out of the inbox: its wanted tiers become queued requests, its news are told.
    pub(crate) fn unlink(&self, id: u32) {
        let pin = self.reclaimer.pin();
        let stamp = self.stamp(id);
        let unlinked = self.registry.hot(id).state.unlink();
        // The claim was taken before the request was made, so it is there.
        let osr = if unlinked.osr { self.registry.warm(id).osr.claimed() } else { None };
        for target in unlinked.queued.iter().map(Target::from).chain(osr) {
            let reason = if let Cause::Promote(reason) = stamp.cause { reason } else { Reason::Budget };
            // Ordering: Relaxed. Counter.
            self.tiers[target.tier.slot()].counters.requested.fetch_add(1, Ordering::Relaxed);
            let mut event = self.event(id, self.running_tier(id), target, Transition::Requested(reason));
            event.time = stamp.time;
            self.events.post(event);
            // Ordering: Relaxed. A count.
            let work = self.registry.cold(id).work.load(Ordering::Relaxed);
            self.queue.push(Ask::new(id, target, reason, stamp.time, work));
        }
        if unlinked.notice
            && let Cause::Never(reason) = stamp.cause
        {
            self.post(id, Tier::INTERPRETER, Transition::Never(reason));
        }
        if unlinked.vacated {
            self.retire_slot(id);
        }
        drop(pin);
    }

    pub(crate) fn running_tier(&self, id: u32) -> Tier {
        self.running_tier_for(id, None)
    }

    pub(crate) fn running_tier_for(&self, id: u32, site: Option<u32>) -> Tier {
        let pin = self.reclaimer.pin();
        self.current(&pin, self.registry.hot(id)).1.tier_for(site)
    }

    /// The next request worth compiling, which nobody else will compile now; for who compiles for `only` one tier, one for that.
    pub(crate) fn next_ask(&self, only: Option<Tier>) -> Option<(Ask, LargeJob<'_>)> {
        loop {
            let Taken { best, stale } = self.queue.take(self.events.now(), only, |ask| self.look(ask));
            for ask in stale {
                self.drop_ask(ask, LossReason::Stale);
            }
            let (ask, large) = best?;
            let ask = self.change_level(ask);
            #[cfg(feature = "threads")]
            if only.is_some_and(|only| only != ask.target.tier) {
                self.queue.push(ask);
                self.crew.hand_over();
                continue;
            }
            // Another look than the queue's: the request may have been withdrawn, or answered elsewhere, since.
            if self.registry.hot(ask.id).state.begin(ask.target.lane()) {
                return Some((self.true_ask(ask), large));
            }
        }
    }

    /// What a request is for when its turn comes: while many wait for a tier above the first, a function that is still interpreted gets
    /// the lowest tier it can have instead, and counts from there on. (HotSpot, `UPDATE_IN_QUEUE`: a task changes its level while it
    /// waits.)
    fn change_level(&self, ask: Ask) -> Ask {
        let Target { tier, site } = ask.target;
        let wanted = matches!(ask.reason, Reason::Forced | Reason::Deopt);
        if tier.index() <= 1 || site.is_some() || wanted || self.load_of(tier) <= CHANGE_LEVEL_ABOVE {
            return ask;
        }
        // Ahead of the look at the bead, which may be released meanwhile.
        let pin = self.reclaimer.pin();
        let (hot, running) = (self.registry.hot(ask.id), self.running_tier(ask.id));
        let lower = self.next_tier(running, hot.state.snapshot()).filter(|&lower| running.is_interpreter() && lower < tier);
        let pending = &self.queue.front.pending;
        let changed = lower.filter(|&lower| pending.lowering(tier, lower, || hot.state.change_level(tier, lower)));
        let ask = match changed {
            Some(lower) => {
                self.post_from(ask.id, running, lower, Transition::LevelChanged { asked: tier });
                ask.about(lower.into())
            }
            None => ask,
        };
        drop(pin);
        ask
    }

    /// The ask as its lane has it: the OSR lane may have been asked for another site since the queue was last looked at.
    fn true_ask(&self, ask: Ask) -> Ask {
        match ask.target.lane() {
            Lane::Body(_) => ask,
            Lane::Osr => self.registry.warm(ask.id).osr.claimed().map_or(ask, |target| ask.about(target)),
        }
    }

    /// What a bead whose request is queued looks like now; `None` when the request was withdrawn or answered elsewhere.
    pub(crate) fn look(&self, ask: &Ask) -> Option<Look> {
        let slot = self.registry.slot(ask.id);
        let cold = slot.cold;
        let is_queued = slot.hot.state.snapshot().is_queued(ask.target.lane());
        let is_meant = ask.target.site.is_none() || slot.warm.osr.claimed() == Some(ask.target);
        // Ordering: Relaxed, twice. A score.
        let work = cold.work.load(Ordering::Relaxed);
        (is_queued && is_meant).then(|| Look {
            work,
            old: work / OLD >= u64::from(self.first_budget(slot, ask.target.tier)).max(1),
            cost: self.tiers[ask.target.tier.slot()].pace.estimate(cold.size.load(Ordering::Relaxed)),
        })
    }

    /// Drops a request that was taken out of the queue, unless it was withdrawn before.
    pub(crate) fn drop_ask(&self, ask: Ask, reason: LossReason) {
        let pin = self.reclaimer.pin();
        if self.registry.hot(ask.id).state.withdraw_queued(ask.target.lane()) {
            match ask.target.lane() {
                Lane::Body(_) => self.note_dropped(ask.id, ask.target, reason),
                Lane::Osr => self.note_osr_withdrawn(ask.id, reason),
            }
        }
        drop(pin);
    }

    /// Runs one request that `next_ask` began.
    pub(crate) fn run(&self, ask: Ask, watch: impl FnOnce(&Arc<Ticket>, u64)) -> Outcome {
        let waited = self.events.now().saturating_sub(ask.time);
        self.compile(ask.id, ask.target, ask.reason, waited, watch)
    }

    /// A variant was too large: asks for that of the loop around it. Each is further out than the last, so this ends. Who forced
    /// the request is told instead. The caller's pin is from before it gave up the lane.
    fn try_outer(&self, _pin: &Pin<'_, G>, id: u32, tier: Tier, site: u32, reason: Reason, bailout: &Bailout) {
        let &BailoutReason::OsrTooLarge { outer: Some(outer), .. } = bailout.reason() else { return };
        if outer < site && reason != Reason::Forced && self.makes_variants(tier, self.registry.hot(id).state.snapshot()) {
            self.request(id, Target::osr(tier, outer), Reason::OuterLoop);
        }
    }

    /// Compiles for a lane that the caller holds, and gives it back.
    pub(crate) fn compile(
        &self,
        id: u32,
        target: Target,
        reason: Reason,
        waited: Duration,
        watch: impl FnOnce(&Arc<Ticket>, u64),
    ) -> Outcome {
        let mut held = Held { shared: self, id, target, ending: Ending::Settled, base: ptr::null(), answered: false };
        let tier = target.tier;
        let base = self.base(id);
        let from = base.version.tier();
        if let Some(reason) = self.no_longer_wanted(id, target, &base.version) {
            self.tiers[tier.slot()].counters.note_dropped(reason);
            self.post_from(id, from, target, Transition::Dropped(reason));
            return Outcome::Lost(reason);
        }
        watch(&base.ticket, base.version.lineage());
        let start = self.events.now();
        let result = self.call_compiler(id, target, &base);
        let cost = self.events.now().saturating_sub(start);
        let slot = &self.tiers[tier.slot()];
        slot.counters.note_compile(waited, cost);
        if result.is_ok() {
            // Ordering: Relaxed. Written at registration.
            slot.pace.note(self.registry.cold(id).size.load(Ordering::Relaxed), cost);
        }
        if !base.ticket.finish() {
            return self.come_back_late(held, result);
        }
        let result = result.map_err(|bailout| blame_deadline(bailout, &base.ticket));
        let outcome = match result.and_then(|unit| self.accept(unit, tier, &base)) {
            Ok(unit) => self.install(id, target, &base, unit, waited, cost),
            // Told to stop because the function changed: no fault of the new body.
            Err(bailout) if *bailout.reason() == BailoutReason::Cancelled && self.is_stale(id, &base) => {
                Outcome::Lost(LossReason::Changed)
            }
            Err(bailout) => Outcome::Bailout(bailout),
        };
        match &outcome {
            Outcome::Bailout(bailout) => {
                held.base = Arc::as_ptr(&base.version);
                held.ending = self.note_bailout(id, target, &base, bailout, waited, cost);
            }
            Outcome::Lost(reason) => {
                // Ordering: Relaxed. Counter.
                self.tiers[tier.slot()].counters.lost.fetch_add(1, Ordering::Relaxed);
                self.post_timed(id, from, target, Transition::Lost(*reason), waited, cost);
            }
            _ => {}
        }
        match (target.site, &outcome) {
            (Some(site), Outcome::Bailout(bailout)) => {
                // Taken while the slot is ours: it is not recycled before the outer loop was asked for.
                let pin = self.reclaimer.pin();
                drop(held);
                self.try_outer(&pin, id, target.tier, site, reason, bailout);
            }
            _ => drop(held),
        }
        outcome
    }

    fn base(&self, id: u32) -> Base<G> {
        let pin = self.reclaimer.pin();
        let (word, _) = self.current(&pin, self.registry.hot(id));
        // Ordering: Relaxed. A measure of how long it may take.
        let size = self.registry.cold(id).size.load(Ordering::Relaxed);
        let limit = self.deadline.map(|limit| limit.saturating_mul(1 + size / DEADLINE_BYTES));
        let id = UnitId { bead: self.bead_id(id), serial: self.dependents.serial() };
        Base { version: self.lease(&pin, word), ticket: Ticket::new(limit, UnitRecord::new(id)) }
    }

    fn no_longer_wanted(&self, id: u32, target: Target, running: &CodeVersion<G>) -> Option<LossReason> {
        let tier = target.tier;
        let state = self.registry.hot(id).state.snapshot();
        if !state.is_live() || running.is_gone() {
            Some(LossReason::Released)
        } else if state.is_frozen() || state.is_disabled(tier) || !self.is_open(tier) {
            Some(LossReason::Disabled)
        } else if running.tier_for(target.site) >= tier {
            Some(LossReason::Superseded)
        } else if self.is_stopped() {
            Some(LossReason::ShutDown)
        } else {
            None
        }
    }

    /// Whether this very version is published, of which the caller keeps a strong count: its address is not another's.
    fn publishes(&self, hot: &Hot, version: *const CodeVersion<G>) -> bool {
        // Ordering: Relaxed. Only compared; the exchanges of the state word order it.
        CodeVersion::<G>::of_word(hot.code.load(Ordering::Relaxed)) == version
    }

    /// Whether what is compiled from `base` could no longer be installed.
    fn is_stale(&self, id: u32, base: &Base<G>) -> bool {
        if self.is_stopped() || self.publishes(self.registry.hot(id), Arc::as_ptr(&base.version)) {
            return self.is_stopped();
        }
        let pin = self.reclaimer.pin();
        self.current(&pin, self.registry.hot(id)).1.lineage() != base.version.lineage()
    }

    fn call_compiler(&self, id: u32, target: Target, base: &Base<G>) -> Result<crate::CodeUnit, Bailout> {
        let (cold, tier) = (self.registry.cold(id), target.tier);
        // SAFETY: the caller holds one of the bead's lanes, or owns the bead, which keeps the slot from being recycled.
        let guest = unsafe { self.guest(&base.version, cold) };
        let next = self.next_tier(tier, self.registry.hot(id).state.snapshot());
        // Ordering: Relaxed. Written at registration.
        let size = cold.size.load(Ordering::Relaxed);
        let request = CompileRequest {
            guest,
            bead: self.bead_id(id),
            running: base.version.tier(),
            counts: next.is_some(),
            samples: next.is_some_and(|next| self.samples(next, size)),
            size,
            tier,
            kind: target.kind(),
            ticket: &base.ticket,
            stale: &|| self.is_stale(id, base),
            suppressed: base.version.history.as_ref().map_or(&[], |history| history.suppressed()),
            shared: self,
        };
        contained(|| self.tiers[tier.slot()].compiler.compile(&request))
            .unwrap_or_else(|message| Err(Bailout::terminal(BailoutReason::Panicked { message })))
    }

    /// Compiles for nobody, to see whether that can be done; returns how many bytes of code it makes. The caller owns the bead, which keeps
    /// the slot from being recycled.
    pub(crate) fn compile_and_drop(&self, bead: crate::BeadRef<'_, G>, tier: Tier) -> Result<usize, Bailout> {
        let (id, target) = (bead.id as u32, Target::from(tier));
        let base = self.base(id);
        let result = self.call_compiler(id, target, &base);
        base.ticket.finish();
        result.and_then(|unit| self.accept(unit, tier, &base)).map(|unit| unit.code_bytes)
    }

    /// Checks what a compiler returned: it may be anything.
    fn accept(&self, unit: crate::CodeUnit, tier: Tier, base: &Base<G>) -> Result<Arc<InstalledUnit>, Bailout> {
        if !Arc::ptr_eq(&unit.ticket, &base.ticket) {
            return Err(Bailout::terminal(BailoutReason::ForeignUnit));
        }
        match InstalledUnit::accept(unit, tier, base.version.lineage(), &self.ledger, &self.dependents) {
            Some(unit) => Ok(Arc::new(unit)),
            None => Err(Bailout::terminal(BailoutReason::NullCode)),
        }
    }

    /// Publishes the unit, unless the bead has moved on.
    fn install(
        &self,
        id: u32,
        target: Target,
        base: &Base<G>,
        unit: Arc<InstalledUnit>,
        waited: Duration,
        cost: Duration,
    ) -> Outcome {
        let hot = self.registry.hot(id);
        let code_bytes = unit.code_bytes;
        let counters = &self.tiers[target.tier.slot()].counters;
        let pin = self.reclaimer.pin();
        loop {
            let (word, running) = self.current(&pin, hot);
            if running.lineage() != base.version.lineage() && !dropped!(Lineage) {
                return Outcome::Lost(LossReason::Changed);
            }
            if running.tier_for(target.site) >= target.tier {
                return Outcome::Lost(LossReason::Superseded);
            }
            // Successors of the running version, not of the one compiled from: the guest handle may have been updated, and other
            // units installed, meanwhile.
            let running = if dropped!(Successor) { &*base.version } else { running };
            // The budget first: whoever sees the code must not take what was left for this tier for what is left until the next.
            let (next, counting) = match target.site {
                None => {
                    let armed = self.arm(id, target.tier);
                    (running.with_body(Arc::clone(&unit)), if unit.counting { Counting::Final } else { armed })
                }
                Some(site) => {
                    let next = running.with_variant(site, &unit);
                    if !dropped!(ArmFirst) {
                        let _ = self.arm(id, next.header.top());
                    }
                    (next, CodeVersion::<G>::counting(word))
                }
            };
            let from = running.tier();
            match self.publish_current(&unit, || self.publish(hot, word, &next, counting)) {
                Ok(()) => {
                    // Ordering: Relaxed. Counter.
                    counters.installed.fetch_add(1, Ordering::Relaxed);
                    if target.site.is_some() {
                        // Ordering: Relaxed. As above.
                        counters.installed_osr.fetch_add(1, Ordering::Relaxed);
                        // Threads that are in a loop look again at their next back-edge.
                        self.void_drawn(id);
                    }
                    #[cfg(feature = "threads")]
                    if unit.sampled {
                        self.crew.begin_sampling();
                    }
                    let event = self.event(id, from, target, Transition::Installed);
                    let guards = self.describe_guards(&unit.exits.guards());
                    self.events.post(Event { queue_wait: waited, cost, code_bytes, guards, ..event });
                    return Outcome::Installed;
                }
                Err(Refused::Stale(reason)) => {
                    // Nothing was published: it is this tier that may be asked for again.
                    let _ = self.start_over_from(id, running.header.top());
                    return Outcome::Lost(reason);
                }
                Err(Refused::Overtaken) => {}
            }
        }
    }

    /// Remembers a bailout: when the bead may try again, or that it may not.
    fn note_bailout(
        &self,
        id: u32,
        target: Target,
        base: &Base<G>,
        bailout: &Bailout,
        waited: Duration,
        cost: Duration,
    ) -> Ending {
        let from = base.version.tier();
        self.tiers[target.tier.slot()].counters.note_bailout(bailout.reason().kind());
        let (hot, record) = (self.registry.hot(id), &self.registry.warm(id).osr);
        let before = match target.lane() {
            Lane::Body(tier) => hot.state.snapshot().retries(tier),
            Lane::Osr => record.retries(),
        };
        if self.is_stale(id, base) {
            // No fault of the body there is now.
            let what = Transition::BailedOut { bailout: bailout.clone(), disabled: false };
            self.post_timed(id, from, target, what, waited, cost);
            return Ending::Settled;
        }
        let disabled = !bailout.is_retryable() || before + 1 >= MAX_RETRIES;
        let what = Transition::BailedOut { bailout: bailout.clone(), disabled };
        self.post_timed(id, from, target, what, waited, cost);
        match target.site {
            // When the tier is disabled the next sample finds another one, or stops the counting.
            None => {
                if disabled {
                    self.registry.tally(id).note_blame(target.tier, bailout.reason().kind());
                }
                self.set_budget(hot, if disabled { 0 } else { backoff(before) });
            }
            Some(site) if bailout.is_retryable() => {
                record.note_retry();
                if disabled {
                    record.close(site);
                }
                self.set_loops(self.registry.cold(id), backoff(before));
            }
            Some(site) => record.close(site),
        }
        if bailout.is_retryable() { Ending::Retry } else { Ending::Disable }
    }

    /// The watchdog gave up on this compile and has told so; what it returned is dropped, the slot is given back.
    fn come_back_late(&self, mut held: Held<'_, G>, result: Result<crate::CodeUnit, Bailout>) -> Outcome {
        drop(result);
        held.answered = true;
        drop(held);
        #[cfg(feature = "threads")]
        return Outcome::Abandoned;
        #[cfg(not(feature = "threads"))]
        unreachable!("without threads there is no watchdog")
    }

    fn post_timed(&self, id: u32, from: Tier, to: Target, what: Transition, queue_wait: Duration, cost: Duration) {
        let event = self.event(id, from, to, what);
        self.events.post(Event { queue_wait, cost, ..event });
    }
}

/// A compile that gave up because it was told to stop was stopped by its deadline: it would be again.
fn blame_deadline(bailout: Bailout, ticket: &Ticket) -> Bailout {
    if *bailout.reason() == BailoutReason::Cancelled && ticket.is_overdue() {
        Bailout::terminal(BailoutReason::Deadline)
    } else {
        bailout
    }
}
