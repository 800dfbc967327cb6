//! From spent work to a request: what an interpreter thread does when a countdown runs out.
//!
//! Nothing here allocates, locks, logs, waits, or calls the system: workers look for requests by themselves (`parking.rs`). Test:
//! `request_path`. The exceptions: sync mode compiles, and where the system refused the first worker each request tries again.

use std::time::Duration;

use crate::{
    Decision, Mode, NeverReason, Reason, Sample, Tier, WaitReason,
    event::Cause,
    osr::OsrClaim,
    registry::{Hot, Slot},
    shared::Shared,
    state::{Lane, Request},
    sync::Ordering,
    target::Target,
    tuning::{MIN_RECOUNT, REST, SLICES},
    version::{CodeVersion, Counting},
};

/// What was taken from a bead's budget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drawn {
    /// Work units, those included that were owed.
    pub(crate) units: u32,
    /// What of them the thread may still spend; `None` when the budget could not pay.
    pub(crate) slice: Option<i32>,
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// Pays `deficit` work units from the bead's shared budget and draws a slice of at most `most` on top: that is the thread's
    /// own.
    ///
    /// There is none when the budget cannot pay. Exactly one of the threads that find it so is told: the budget is then
    /// out of reach until that thread has asked the policy.
    pub(crate) fn draw(&self, slot: Slot<'_, G>, deficit: i32, most: i32) -> Drawn {
        let hot = slot.hot;
        // Ordering: Relaxed, here and below. A count: exact because it is an RMW; it publishes nothing.
        let work = slot.cold.work.load(Ordering::Relaxed);
        // A bead that has done nothing has no tally to look at.
        let little = if work > 0 { slot.warm.tally.spent(work).0 / REST } else { 0 };
        let mut left = hot.budget.load(Ordering::Relaxed);
        loop {
            // What is little beside what was spent is not divided any more.
            let share = if left as u64 <= little { left } else { left / SLICES };
            let drawn = if left >= deficit { deficit.max(share.min(most)) } else { left.max(0) };
            // What is never spent stays.
            let rest = if left >= deficit && left != i32::MAX { left - drawn } else { i32::MAX };
            match hot.budget.compare_exchange_weak(left, rest, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    // Often the last slice was all of it.
                    if drawn > 0 {
                        slot.cold.work.fetch_add(drawn as u64, Ordering::Relaxed);
                    }
                    return Drawn { units: drawn as u32, slice: (left >= deficit).then(|| drawn - deficit) };
                }
                Err(actual) => left = actual,
            }
        }
    }

    /// The bead's budget is spent: asks the policy. The calling thread is online.
    pub(crate) fn budget_spent(&self, slot: Slot<'_, G>) {
        self.budget_spent_by(slot, |sample| self.policy.decide(sample));
    }

    /// As [`Self::budget_spent`], but somebody else decides.
    pub(crate) fn budget_spent_by(&self, slot: Slot<'_, G>, decide: impl FnOnce(&Sample) -> Decision) {
        let hot = slot.hot;
        let state = hot.state.snapshot();
        // SAFETY: the calling thread is online.
        let tier = unsafe { self.header(hot) }.tier;
        let Some(next) = self.next_tier(tier, state) else {
            self.stop_counting(hot);
            return;
        };
        let mut sample = self.sample(slot, state, tier, next);
        sample.pending = state.is_pending(Lane::Body(next));
        sample.bailouts = state.retries(next);
        match self.ask_by(slot, &sample, decide) {
            Decision::Promote { tier: wanted, reason } => {
                let usable = wanted > tier && self.is_open(wanted) && !state.is_disabled(wanted);
                let wanted = if usable { wanted } else { next };
                // Counting goes on after a request: a bead that stays hot is looked at again.
                self.refill_budget(hot, self.first_budget(slot, wanted).max(MIN_RECOUNT));
                self.request_at(slot, wanted, reason, sample.age());
            }
            Decision::Wait { budget, reason } => {
                let least = if reason == WaitReason::Pending { MIN_RECOUNT } else { 1 };
                self.refill_budget(hot, budget.max(least));
            }
            Decision::Never { reason } => self.never(slot, reason, sample.age()),
        }
    }

    /// Whether the budget is used up, and nobody has decided yet what follows.
    pub(crate) fn is_budget_spent(&self, hot: &Hot) -> bool {
        // Ordering: Relaxed. A count.
        hot.budget.load(Ordering::Relaxed) <= 0
    }

    /// Whether the policy ever asks for this body.
    pub(crate) fn may_have_body(&self, id: u32, tier: Tier) -> bool {
        self.first_budget(self.registry.slot(id), tier) < u32::MAX
    }

    /// The budget is spent, but not for a body's sake: counts from the start again.
    pub(crate) fn postpone(&self, id: u32) {
        let slot = self.registry.slot(id);
        // SAFETY: the calling thread is online.
        let top = unsafe { self.header(slot.hot) }.top();
        let next = self.next_tier(top, slot.hot.state.snapshot());
        self.refill_budget(slot.hot, next.map_or(u32::MAX, |next| self.first_budget(slot, next).max(MIN_RECOUNT)));
    }

    /// As [`Self::request`], by a host: wakes a worker.
    pub(crate) fn request_now(&self, id: u32, target: impl Into<Target>, reason: Reason) {
        self.request(id, target, reason);
        #[cfg(feature = "threads")]
        self.crew.wake();
    }

    /// Asks for code. Wakes nobody: whoever asks is an online thread, or a worker, for whom somebody looks.
    pub(crate) fn request(&self, id: u32, target: impl Into<Target>, reason: Reason) {
        self.request_at(self.registry.slot(id), target, reason, self.events.now());
    }

    /// As [`Self::request`], by who has looked at the clock.
    pub(crate) fn request_at(&self, slot: Slot<'_, G>, target: impl Into<Target>, reason: Reason, now: Duration) {
        let Slot { id, hot, warm, .. } = slot;
        let target = target.into();
        if self.is_stopped() {
            return;
        }
        if let Some(site) = target.site
            && warm.osr.claim(target.tier, site) != OsrClaim::Won
        {
            return;
        }
        if self.mode == Mode::Sync {
            self.compile_here(id, target, reason);
            return;
        }
        // Before it is made: from then on it may be answered.
        self.asked(target.tier);
        let request = hot.state.request(target.lane());
        if matches!(request, Request::Pending | Request::Refused) {
            self.answered(target.tier);
            if target.site.is_some() {
                warm.osr.unclaim();
            } else if request == Request::Pending {
                self.tiers[target.tier.slot()].counters.note_deduped();
            }
            return;
        }
        if request == Request::Link || (request == Request::Joined && reason == Reason::Deopt) {
            self.set_stamp(slot, Cause::Promote(reason), now);
        }
        if request == Request::Link {
            self.link(slot);
        }
    }

    /// Puts a bead whose LINKED bit the caller has just set into the inbox.
    fn link(&self, slot: Slot<'_, G>) {
        self.queue.front.inbox.push(slot);
        #[cfg(feature = "threads")]
        self.crew.notice_request(|| self.events.now());
    }

    /// The policy wants to hear no more of this bead.
    pub(crate) fn never(&self, slot: Slot<'_, G>, reason: NeverReason, now: Duration) {
        self.set_stamp(slot, Cause::Never(reason), now);
        if slot.hot.state.freeze_with_notice() {
            if self.mode == Mode::Sync {
                self.unlink(slot.id);
                self.events.deliver();
            } else {
                self.link(slot);
            }
        }
        self.stop_counting(slot.hot);
    }

    /// Publishes the face that tells callers not to count.
    pub(crate) fn stop_counting(&self, hot: &Hot) {
        self.set_budget(hot, u32::MAX);
        self.set_counting(hot, Counting::Final);
    }

    /// Publishes the face that tells callers whether to count. The version stays: only the word's bits change.
    pub(crate) fn set_counting(&self, hot: &Hot, counting: Counting) {
        let code = &hot.code;
        // Ordering: Acquire / AcqRel. As in `publish`; a lost race means a newer version, which says for itself.
        let word = code.load(Ordering::Acquire);
        let other = CodeVersion::<G>::with_counting(word, counting);
        let _ = code.compare_exchange(word, other, Ordering::AcqRel, Ordering::Relaxed);
    }
}
