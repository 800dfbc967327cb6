//! Compiling on the calling thread: in sync mode, and when the embedder asks for it.

use std::time::Duration;

#[cfg(feature = "threads")]
use crate::{Bailout, BailoutReason};
use crate::{
    CompileNowError, Reason, Tier, Transition,
    event::LossReason,
    job::Outcome,
    osr::OsrClaim,
    shared::Shared,
    state::{Lane, Seize},
    sync::Ordering,
    target::Target,
};

impl<G: Send + Sync + 'static> Shared<G> {
    /// Compiles on the calling thread because a request was made in sync mode. For a variant the caller has the claim.
    pub(crate) fn compile_here(&self, id: u32, target: Target, reason: Reason) {
        if self.seize(id, target, reason) == Some(true) {
            self.compile(id, target, reason, Duration::ZERO, |_, _| {});
            self.events.deliver();
            self.collect();
        } else if target.site.is_some() {
            self.registry.warm(id).osr.unclaim();
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
            match self.seize(id, tier.into(), Reason::Forced) {
                None => return Err(CompileNowError::Disabled(tier)),
                Some(true) => return self.compile_forced(id, tier.into()),
                Some(false) => crate::sync::pause(),
            }
        }
    }

    /// As [`Self::compile_now`] for a variant. What the OSR lane waits for gives way.
    pub(crate) fn compile_osr_now(&self, id: u32, tier: Tier, site: u32) -> Result<(), CompileNowError> {
        if !self.is_open(tier) {
            return Err(CompileNowError::NoSuchTier(tier));
        }
        if !self.tiers[tier.slot()].osr {
            return Err(CompileNowError::NoOsr(tier));
        }
        let (state, record) = (&self.registry.hot(id).state, &self.registry.warm(id).osr);
        loop {
            if self.is_stopped() {
                return Err(CompileNowError::ShutDown);
            }
            if self.running_tier_for(id, Some(site)) >= tier {
                return Ok(());
            }
            let snapshot = state.snapshot();
            if snapshot.is_disabled(tier) || snapshot.is_frozen() {
                return Err(CompileNowError::Disabled(tier));
            }
            match record.claim(tier, site) {
                OsrClaim::Closed => return Err(CompileNowError::SiteClosed(site)),
                OsrClaim::Held(_) if state.withdraw(Lane::Osr) => self.note_osr_withdrawn(id, LossReason::Superseded),
                OsrClaim::Held(_) => crate::sync::pause(),
                OsrClaim::Won => match self.seize(id, Target::osr(tier, site), Reason::Forced) {
                    Some(true) => return self.compile_forced(id, Target::osr(tier, site)),
                    // Whoever had the lane has just given up its claim, or the bead was disabled: the next look tells.
                    _ => {
                        record.unclaim();
                        crate::sync::pause();
                    }
                },
            }
        }
    }

    fn compile_forced(&self, id: u32, target: Target) -> Result<(), CompileNowError> {
        let outcome = self.compile(id, target, Reason::Forced, Duration::ZERO, |_, _| {});
        if !self.mode.has_workers() {
            self.events.deliver();
        }
        // Those of the other modes are told by a worker, which may never have been needed before.
        #[cfg(feature = "threads")]
        self.crew.notice_events();
        self.tidy();
        match outcome {
            Outcome::Installed => Ok(()),
            Outcome::Bailout(bailout) => Err(CompileNowError::Bailout(bailout)),
            Outcome::Lost(_) => Err(CompileNowError::Superseded),
            #[cfg(feature = "threads")]
            Outcome::Abandoned => Err(CompileNowError::Bailout(Bailout::terminal(BailoutReason::Deadline))),
        }
    }

    /// Takes a lane for a compile on the calling thread: `Some(false)` when somebody else is at it, `None` when refused.
    fn seize(&self, id: u32, target: Target, reason: Reason) -> Option<bool> {
        match self.registry.hot(id).state.seize(target.lane()) {
            Seize::Won { was_pending } => {
                // A request nobody counted yet; one that was pending is answered by this compile.
                if !was_pending {
                    self.asked(target.tier);
                    self.tiers[target.tier.slot()].counters.requested.fetch_add(1, Ordering::Relaxed);
                    self.post_from(id, self.running_tier(id), target, Transition::Requested(reason));
                }
                Some(true)
            }
            Seize::Busy => Some(false),
            Seize::Refused => None,
        }
    }
}
