//! A bead on its way out of code: swapped, reloaded, bailed out, blacklisted, invalidated.

use std::ptr::NonNull;

use tierup_broker::InvalidateReason;

use crate::{
    BailoutInfo, Bead, BeadState, DeoptDecision, DeoptPolicy, OsrEntry, ReloadOutcome, SwapResult, here,
    home::{Guest, MOST_TIERS, PAUSED, tier_of},
    image::Artifact,
    link::Link,
    osr::OsrTable,
    runner,
};

impl Bead {
    /// Puts other code in place of what runs, and hands that back. The code's OSR entries go with it. `None`, and nothing happens, when
    /// there is no code or `new_code` is null.
    pub fn swap_compiled(&self, new_code: *mut ()) -> Option<SwapResult> {
        self.swap_compiled_with_osr(new_code, Vec::new())
    }

    /// As [`swap_compiled`](Self::swap_compiled), with the new code's OSR entries: whoever looks finds the old ones or the new ones.
    pub fn swap_compiled_with_osr(&self, new_code: *mut (), osr: Vec<OsrEntry>) -> Option<SwapResult> {
        let code = NonNull::new(new_code)?;
        // A compile closure that swaps, instead of returning code, has done the work of its tier.
        let tier = runner::compiling_here(self);
        let osr = OsrTable::new(osr);
        let mut archive = self.archive();
        let image = self.published()?;
        let mut new_generation = 0;
        let old_code = archive.swap(image, |old| {
            new_generation = old.generation + 1;
            Artifact { code, osr, generation: new_generation, tier: tier.unwrap_or(old.tier) }
        });
        Some(SwapResult { old_code: old_code.as_ptr(), new_generation })
    }

    /// Returns the bead to the interpreter, from which it is compiled afresh: at once if it is hot, because its invocations are not
    /// forgotten. What is being compiled now will not be installed. A blacklisted bead stays where it is.
    pub fn reload(&self) -> ReloadOutcome {
        if !self.is_valid() {
            return ReloadOutcome::Dead;
        }
        let state = self.state();
        let Some(link) = self.link() else { return ReloadOutcome::AlreadyInterpreting };
        if self.is_blacklisted() {
            return ReloadOutcome::AlreadyInterpreting;
        }
        self.progress.set_reload_pending(state == BeadState::Compiling);
        self.start_over(link);
        match state {
            BeadState::Compiled => ReloadOutcome::WillRecompile,
            BeadState::Compiling => ReloadOutcome::PendingCurrentCompile,
            BeadState::Queued => ReloadOutcome::Reverted,
            _ => ReloadOutcome::AlreadyInterpreting,
        }
    }

    /// Publishes that there is no code, of a new lineage: requests are withdrawn, compiles under way lose, failures are forgiven.
    pub(crate) fn start_over(&self, link: &Link) {
        self.without_losing_count(link, || {
            drop(link.home.jobs.forget(link.index(), MOST_TIERS));
            self.progress.forgive();
            link.home.broker.reload(link.bead(), Guest(self.weak()));
        });
    }

    /// Does something that voids what threads hold of the bead's budget; what this one holds is not counted as spent.
    fn without_losing_count(&self, link: &Link, change: impl FnOnce()) {
        if self.progress.was_charged() {
            here::visit(&link.home, |thread| self.count.forfeit(thread, link.bead()));
        }
        change();
    }

    /// The function is gone: no code of it is entered any more, and `on_invalidate` is called. The first time; then nothing happens.
    pub fn invalidate(&self) {
        if self.take_validity() {
            self.disable();
            self.tell_invalidated();
        }
    }

    /// Returns the bead to the interpreter for good.
    pub fn blacklist(&self) {
        self.mark_blacklisted();
        self.disable();
    }

    fn disable(&self) {
        let Some(link) = self.link() else { return };
        drop(link.home.jobs.forget(link.index(), MOST_TIERS));
        self.without_losing_count(link, || {
            link.home.broker.disable(link.bead());
        });
    }

    /// Compiled code left because a guard failed: asks the policy, and does what it says.
    pub fn on_bailout(&self, info: BailoutInfo, policy: &dyn DeoptPolicy) -> DeoptDecision {
        let bailouts = self.note_bailout();
        let decision = policy.on_bailout(self, &info, bailouts);
        tracing::debug!(target: "beadie", guard = info.guard_id, bailouts, ?decision, "bailout");
        match decision {
            DeoptDecision::Recompile => {
                self.reload();
            }
            DeoptDecision::Blacklist => self.blacklist(),
            DeoptDecision::RevertToTier1 => self.revert(),
            DeoptDecision::PauseRecompile { until_invocations } => self.pause(until_invocations),
        }
        decision
    }

    /// Goes back to the first tier's code.
    fn revert(&self) {
        let tier = self.look(|running| (running.tier, running.generation));
        let baseline = self.archive().baseline();
        match (tier, self.link(), baseline) {
            (Some((1.., _)), Some(link), Some(baseline)) => {
                self.withdraw(link);
                self.progress.forget_queued();
                self.install(link, tier_of(0), baseline);
            }
            // Code that was swapped in: what was there before is the caller's.
            (Some((0, 1..)), ..) => {
                self.reload();
            }
            (Some(_), ..) => self.blacklist(),
            (None, ..) => {}
        }
    }

    /// Has the code that runs counted, and compiled afresh at a later invocation.
    fn pause(&self, until_invocations: u32) {
        self.set_recompile_after(until_invocations);
        let (Some(link), Some(image)) = (self.link(), self.published()) else { return };
        self.progress.set_paused(image.now().tier);
        self.withdraw(link);
        self.install(link, PAUSED, NonNull::from(image));
    }

    /// Stops entering the code, which stays good.
    fn withdraw(&self, link: &Link) {
        self.without_losing_count(link, || {
            drop(link.home.jobs.forget(link.index(), MOST_TIERS));
            link.home.broker.invalidate(link.bead(), InvalidateReason::Requested);
        });
    }
}
