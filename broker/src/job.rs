//! One compile, from a queued request to published code: on a worker, in `run_pending`, or on the calling thread.

use std::time::{Duration, Instant};

use crate::{
    Bailout, BailoutReason, CompileNowError, CompileRequest, Reason, Tier, Transition, UnitKind,
    callee::Refused,
    compiler::Ticket,
    contain::contained,
    event::{Cause, LossReason},
    mutation::dropped,
    queue::{Ask, LargeJob, Look, Taken},
    shared::Shared,
    state::{Ending, Finished, Seize},
    sync::{Arc, Ordering},
    tuning::{RETRY_WORK, RETRY_WORK_CAP},
    unit::InstalledUnit,
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

/// A COMPILING bit, held. Whatever happens in between, dropping it gives the bit back.
struct Claim<'s, G: Send + Sync + 'static> {
    shared: &'s Shared<G>,
    id: u32,
    tier: Tier,
    ending: Ending,
}

impl<G: Send + Sync + 'static> Drop for Claim<'_, G> {
    fn drop(&mut self) {
        let Finished { vacated, .. } = self.shared.registry.hot(self.id).state.finish(self.tier, self.ending);
        if vacated {
            self.shared.retire_slot(self.id);
        }
        self.shared.queue.answered();
    }
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// Turns what is in the inbox into queued requests.
    pub(crate) fn drain_inbox(&self) {
        for id in self.queue.inbox.drain(&self.registry) {
            self.unlink(id);
        }
        // Whoever shut down may have found the queue still empty: what we queued since is ours to drop.
        if self.is_stopped() && !dropped!(DrainRecheck) {
            self.drop_queued();
        }
    }

    /// Takes one bead out of the inbox: its wanted tiers become queued requests, its news are told.
    pub(crate) fn unlink(&self, id: u32) {
        let pin = self.reclaimer.pin();
        let stamp = self.stamp(id);
        let unlinked = self.registry.hot(id).state.unlink();
        for tier in unlinked.queued.iter() {
            let reason = if let Cause::Promote(reason) = stamp.cause { reason } else { Reason::Budget };
            // Ordering: Relaxed. Counter.
            self.tiers[tier.slot()].counters.requested.fetch_add(1, Ordering::Relaxed);
            let mut event = self.event(id, self.running_tier(id), tier, Transition::Requested(reason));
            event.time = stamp.time;
            self.events.post(event);
            // Ordering: Relaxed. A count.
            let work = self.registry.cold(id).work.load(Ordering::Relaxed);
            self.queue.push(Ask::new(id, tier, reason, stamp.time, work));
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

    fn running_tier(&self, id: u32) -> Tier {
        let pin = self.reclaimer.pin();
        self.current(&pin, self.registry.hot(id)).1.tier()
    }

    /// The next request worth compiling, which nobody else will compile now.
    pub(crate) fn next_ask(&self) -> Option<(Ask, LargeJob<'_>)> {
        loop {
            let Taken { best, stale } = self.queue.take(self.events.now(), |ask| self.look(ask));
            for ask in stale {
                self.drop_ask(ask, LossReason::Stale);
            }
            let (ask, large) = best?;
            // Another look than the queue's: the request may have been withdrawn, or answered elsewhere, since.
            if self.registry.hot(ask.id).state.begin(ask.tier) {
                return Some((ask, large));
            }
        }
    }

    /// What a bead whose request is queued looks like now; `None` when the request was withdrawn or answered elsewhere.
    fn look(&self, ask: &Ask) -> Option<Look> {
        let cold = self.registry.cold(ask.id);
        self.registry.hot(ask.id).state.snapshot().is_queued(ask.tier).then(|| Look {
            // Ordering: Relaxed, twice. A score.
            work: cold.work.load(Ordering::Relaxed),
            cost: self.tiers[ask.tier.slot()].pace.estimate(cold.size.load(Ordering::Relaxed)),
        })
    }

    /// Drops a request that was taken out of the queue, unless it was withdrawn before.
    pub(crate) fn drop_ask(&self, ask: Ask, reason: LossReason) {
        let pin = self.reclaimer.pin();
        if self.registry.hot(ask.id).state.withdraw_queued(ask.tier) {
            self.note_dropped(ask.id, ask.tier, reason);
        }
        drop(pin);
    }

    /// Runs one request that `next_ask` began.
    pub(crate) fn run(&self, ask: Ask, watch: impl FnOnce(&Arc<Ticket>)) -> Outcome {
        let waited = self.events.now().saturating_sub(ask.time);
        self.compile(ask.id, ask.tier, waited, watch)
    }

    /// Compiles on the calling thread because a request was made in sync mode.
    pub(crate) fn compile_here(&self, id: u32, tier: Tier, reason: Reason) {
        if self.seize(id, tier, reason) == Some(true) {
            self.compile(id, tier, Duration::ZERO, |_| {});
            self.events.deliver();
            self.collect();
        }
    }

    /// Compiles on the calling thread, waiting for whoever is at it already.
    pub(crate) fn compile_now(&self, id: u32, tier: Tier) -> Result<(), CompileNowError> {
        if !self.is_open(tier) {
            return Err(CompileNowError::NoSuchTier(tier));
        }
        loop {
            if self.is_stopped() {
                return Err(CompileNowError::ShutDown);
            }
            if self.running_tier(id) >= tier {
                return Ok(());
            }
            match self.seize(id, tier, Reason::Forced) {
                None => return Err(CompileNowError::Disabled(tier)),
                Some(true) => break,
                Some(false) => crate::sync::pause(),
            }
        }
        let outcome = self.compile(id, tier, Duration::ZERO, |_| {});
        if !self.mode.has_workers() {
            self.events.deliver();
        }
        self.tidy();
        match outcome {
            Outcome::Installed => Ok(()),
            Outcome::Bailout(bailout) => Err(CompileNowError::Bailout(bailout)),
            Outcome::Lost(_) => Err(CompileNowError::Superseded),
            #[cfg(feature = "threads")]
            Outcome::Abandoned => Err(CompileNowError::Bailout(Bailout::terminal(BailoutReason::Deadline))),
        }
    }

    /// Takes a tier for a compile on the calling thread: `Some(false)` when somebody else is at it, `None` when refused.
    fn seize(&self, id: u32, tier: Tier, reason: Reason) -> Option<bool> {
        match self.registry.hot(id).state.seize(tier) {
            Seize::Won { was_pending } => {
                // A request nobody counted yet; one that was pending is answered by this compile.
                if !was_pending {
                    self.queue.asked();
                    self.tiers[tier.slot()].counters.requested.fetch_add(1, Ordering::Relaxed);
                    self.post_from(id, self.running_tier(id), tier, Transition::Requested(reason));
                }
                Some(true)
            }
            Seize::Busy => Some(false),
            Seize::Refused => None,
        }
    }

    /// Compiles a tier whose COMPILING bit the caller holds, and gives the bit back.
    fn compile(&self, id: u32, tier: Tier, waited: Duration, watch: impl FnOnce(&Arc<Ticket>)) -> Outcome {
        let mut claim = Claim { shared: self, id, tier, ending: Ending::Settled };
        let base = self.base(id);
        let from = base.version.tier();
        if let Some(reason) = self.no_longer_wanted(id, tier, &base.version) {
            // Ordering: Relaxed. Counter.
            self.tiers[tier.slot()].counters.dropped.fetch_add(1, Ordering::Relaxed);
            self.post_from(id, from, tier, Transition::Dropped(reason));
            return Outcome::Lost(reason);
        }
        watch(&base.ticket);
        let start = Instant::now();
        let result = self.call_compiler(id, tier, &base);
        let cost = start.elapsed();
        let slot = &self.tiers[tier.slot()];
        slot.counters.note_compile(waited, cost);
        if result.is_ok() {
            // Ordering: Relaxed. Written at registration.
            slot.pace.note(self.registry.cold(id).size.load(Ordering::Relaxed), cost);
        }
        if !base.ticket.finish() {
            return self.come_back_late(claim, result);
        }
        let result = result.map_err(|bailout| blame_deadline(bailout, &base.ticket));
        let outcome = match result.and_then(|unit| self.accept(unit, tier, &base)) {
            Ok(unit) => self.install(id, tier, &base, unit, waited, cost),
            // Told to stop because the function changed: no fault of the new body.
            Err(bailout) if *bailout.reason() == BailoutReason::Cancelled && self.is_stale(id, &base) => {
                Outcome::Lost(LossReason::Changed)
            }
            Err(bailout) => Outcome::Bailout(bailout),
        };
        match &outcome {
            Outcome::Bailout(bailout) => claim.ending = self.note_bailout(id, tier, from, bailout, waited, cost),
            Outcome::Lost(reason) => {
                // Ordering: Relaxed. Counter.
                self.tiers[tier.slot()].counters.lost.fetch_add(1, Ordering::Relaxed);
                self.post_timed(id, from, tier, Transition::Lost(*reason), waited, cost, 0);
            }
            _ => {}
        }
        drop(claim);
        outcome
    }

    fn base(&self, id: u32) -> Base<G> {
        let pin = self.reclaimer.pin();
        let (_, version) = self.current(&pin, self.registry.hot(id));
        Base { version: self.lease(version), ticket: Ticket::new(self.deadline) }
    }

    fn no_longer_wanted(&self, id: u32, tier: Tier, running: &CodeVersion<G>) -> Option<LossReason> {
        let state = self.registry.hot(id).state.snapshot();
        if !state.is_live() || running.is_gone() {
            Some(LossReason::Released)
        } else if state.is_frozen() || state.is_disabled(tier) || !self.is_open(tier) {
            Some(LossReason::Disabled)
        } else if running.tier() >= tier {
            Some(LossReason::Superseded)
        } else if self.is_stopped() {
            Some(LossReason::ShutDown)
        } else {
            None
        }
    }

    /// Whether what is compiled from `base` could no longer be installed.
    fn is_stale(&self, id: u32, base: &Base<G>) -> bool {
        let pin = self.reclaimer.pin();
        self.is_stopped() || self.current(&pin, self.registry.hot(id)).1.lineage() != base.version.lineage()
    }

    fn call_compiler(&self, id: u32, tier: Tier, base: &Base<G>) -> Result<crate::CodeUnit, Bailout> {
        let cold = self.registry.cold(id);
        // SAFETY: the caller holds the bead's COMPILING bit, which keeps the slot from being recycled.
        let guest = unsafe { self.guest(&base.version, cold) };
        let request = CompileRequest {
            guest,
            bead: self.bead_id(id),
            running: base.version.tier(),
            counts: self.next_tier(tier, self.registry.hot(id).state.snapshot()).is_some(),
            // Ordering: Relaxed. Written at registration.
            size: cold.size.load(Ordering::Relaxed),
            tier,
            kind: UnitKind::Body,
            ticket: &base.ticket,
            stale: &|| self.is_stale(id, base),
            shared: self,
        };
        contained(|| self.tiers[tier.slot()].compiler.compile(&request))
            .unwrap_or_else(|message| Err(Bailout::terminal(BailoutReason::Panicked { message })))
    }

    /// Checks what a compiler returned: it may be anything.
    fn accept(&self, unit: crate::CodeUnit, tier: Tier, base: &Base<G>) -> Result<Arc<InstalledUnit>, Bailout> {
        if !Arc::ptr_eq(&unit.ticket, &base.ticket) {
            return Err(Bailout::terminal(BailoutReason::ForeignUnit));
        }
        match InstalledUnit::accept(unit, tier, &self.ledger, &self.dependents) {
            Some(unit) => Ok(Arc::new(unit)),
            None => Err(Bailout::terminal(BailoutReason::NullCode)),
        }
    }

    /// Publishes the unit, unless the bead has moved on.
    fn install(
        &self,
        id: u32,
        tier: Tier,
        base: &Base<G>,
        unit: Arc<InstalledUnit>,
        waited: Duration,
        cost: Duration,
    ) -> Outcome {
        let hot = self.registry.hot(id);
        let code_bytes = unit.code_bytes;
        let pin = self.reclaimer.pin();
        loop {
            let (word, running) = self.current(&pin, hot);
            if running.lineage() != base.version.lineage() && !dropped!(Lineage) {
                return Outcome::Lost(LossReason::Changed);
            }
            if running.tier() >= tier {
                return Outcome::Lost(LossReason::Superseded);
            }
            // The handle may have been updated meanwhile: the running version's is the right one.
            let next = CodeVersion::with_body(Arc::clone(&unit), running.lineage(), running.guest.clone());
            let armed = self.arm(id, tier);
            let counting = if unit.counting { Counting::Final } else { armed };
            let from = running.tier();
            match self.publish_current(id, &unit, || self.publish(hot, word, &next, counting)) {
                Ok(()) => {
                    // Ordering: Relaxed. Counter.
                    self.tiers[tier.slot()].counters.installed.fetch_add(1, Ordering::Relaxed);
                    self.post_timed(id, from, tier, Transition::Installed, waited, cost, code_bytes);
                    return Outcome::Installed;
                }
                Err(Refused::Stale) => return Outcome::Lost(LossReason::CalleeChanged),
                Err(Refused::Overtaken) => {}
            }
        }
    }

    /// Remembers a bailout: when the bead may try again, or that it may not.
    fn note_bailout(&self, id: u32, tier: Tier, from: Tier, bailout: &Bailout, waited: Duration, cost: Duration) -> Ending {
        self.tiers[tier.slot()].counters.note_bailout(bailout.reason().kind());
        let hot = self.registry.hot(id);
        let before = hot.state.snapshot().retries(tier);
        let last = before + 1 >= crate::tuning::MAX_RETRIES;
        let ending = if bailout.is_retryable() { Ending::Retry } else { Ending::Disable };
        let disabled = ending == Ending::Disable || last;
        let what = Transition::BailedOut { bailout: bailout.clone(), disabled };
        self.post_timed(id, from, tier, what, waited, cost, 0);
        // When the tier is disabled the next sample finds another one, or stops the counting.
        let backoff = RETRY_WORK.saturating_mul(1 << before.min(16)).min(RETRY_WORK_CAP);
        self.set_budget(hot, if disabled { 0 } else { backoff });
        ending
    }

    /// The watchdog gave up on this compile and has told so; what it returned is dropped, the slot is given back.
    fn come_back_late(&self, claim: Claim<'_, G>, result: Result<crate::CodeUnit, Bailout>) -> Outcome {
        drop(result);
        // The watchdog has answered the request: undo what dropping the claim will count.
        self.queue.asked();
        drop(claim);
        #[cfg(feature = "threads")]
        return Outcome::Abandoned;
        #[cfg(not(feature = "threads"))]
        unreachable!("without threads there is no watchdog")
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one event")]
    fn post_timed(
        &self,
        id: u32,
        from: Tier,
        to: Tier,
        what: Transition,
        queue_wait: Duration,
        cost: Duration,
        code_bytes: usize,
    ) {
        let event = self.event(id, from, to, what);
        self.events.post(crate::Event { queue_wait, cost, code_bytes, ..event });
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
