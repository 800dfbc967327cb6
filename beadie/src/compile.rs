//! A bead on its way into code: asking, compiling, installing.

use std::{ptr::NonNull, sync::Arc};

use tierup_broker::Tier;

use crate::{
    Bead, BeadState, OsrEntry, SubmitResult,
    home::{Home, tier_of},
    image::{Artifact, Image},
    jobs::{Job, Put},
    link::Link,
    osr::OsrTable,
    runner,
};

impl Bead {
    /// Leaves a job for a tier that is about to be asked for. False when nobody will run it.
    pub(crate) fn ask_for(&self, link: &Link, tier: usize, job: Job) -> bool {
        let accepted = link.home.jobs.put(link.index(), tier, job);
        if accepted {
            self.progress.note_asked();
            if tier > 0 {
                self.progress.note_queued(tier);
            }
        }
        accepted
    }

    /// Asks for first-tier code, unless there is some, or some on its way.
    pub(crate) fn submit(&self, home: &Arc<Home>, job: Job) -> SubmitResult {
        let Some(link) = self.link_to(|| Arc::clone(home)) else { return SubmitResult::QueueFull };
        if self.may_be_compiled() {
            self.forgive_failures(link);
        }
        let request = || {
            self.progress.note_asked();
            link.home.promote(&link.handle, 0);
        };
        match link.home.jobs.put_if(link.index(), 0, job, || self.may_be_compiled(), request) {
            Put::Done => SubmitResult::Accepted,
            Put::Unwanted => SubmitResult::AlreadyQueued,
            Put::Closed => SubmitResult::BrokerShutDown,
        }
    }

    /// Asks for a higher tier now. False when it was asked for before, or cannot be.
    pub(crate) fn force(&self, tier: usize, job: Job) -> bool {
        let Some(link) = self.link() else { return false };
        let is_below = self.look(|artifact| artifact.tier).is_some_and(|running| running < tier);
        // Pending is also what was asked for before a reload and is being compiled yet: nobody would hear of another request.
        if !is_below || self.is_pending(link, tier) || !self.progress.note_queued(tier) {
            return false;
        }
        let request = || {
            self.progress.note_asked();
            link.home.promote(&link.handle, tier);
        };
        link.home.jobs.put_if(link.index(), tier, job, || true, request) == Put::Done
    }

    /// Whether first-tier code may be asked for now.
    fn may_be_compiled(&self) -> bool {
        self.state() == BeadState::Interpreted && !self.is_blacklisted() && self.recompile_after() <= self.count_if_paused()
    }

    fn count_if_paused(&self) -> u32 {
        if self.recompile_after() == 0 { 0 } else { self.invocation_count() }
    }

    /// A compile that failed once may be asked for expressly.
    fn forgive_failures(&self, link: &Link) {
        if self.progress.has_failed(0) {
            self.start_over(link);
        }
    }

    pub(crate) fn has_failed(&self, tier: usize) -> bool {
        self.progress.has_failed(tier)
    }

    /// The tier that paused code is of.
    pub(crate) fn paused_tier(&self) -> usize {
        self.progress.paused()
    }

    /// A compile closure is about to be called.
    pub(crate) fn begin_compile(&self, tier: usize) -> Attempt<'_> {
        self.progress.note_begun();
        Attempt { bead: self, tier, failed: true }
    }

    /// The image of code that was compiled for a tier.
    pub(crate) fn built(&self, tier: usize, code: NonNull<()>, osr: Vec<OsrEntry>) -> NonNull<Image> {
        let below = self.look(|running| (running.tier, running.generation)).filter(|&(running, _)| running < tier);
        let generation = below.map_or(tier as u64, |(_, generation)| (generation + 1).max(tier as u64));
        self.archive().add(Artifact { code, osr: OsrTable::new(osr), generation, tier })
    }

    /// Installs code that is there already, for a bead that has none. False when it has, is gone, blacklisted or paused, when it is being
    /// compiled now, or when `code` is null.
    pub fn eager_install(&self, code: *mut ()) -> bool {
        let Some(code) = NonNull::new(code) else { return false };
        let Some(link) = self.link_to(Home::alone) else { return false };
        if !matches!(self.state(), BeadState::Interpreted | BeadState::Queued) || self.is_blacklisted() {
            return false;
        }
        if self.recompile_after() > self.count_if_paused() {
            return false;
        }
        self.forgive_failures(link);
        let image = self.built(0, code, Vec::new());
        self.install(link, tier_of(0), image)
    }

    /// Installs an image in a tier above the one that runs.
    pub(crate) fn install(&self, link: &Link, tier: Tier, image: NonNull<Image>) -> bool {
        runner::hand_over(self, image, || link.home.broker.compile_now(link.bead(), tier).is_ok())
    }
}

/// A compile closure is running. Unless it gives code, the tier is not asked for again before the bead is reloaded.
pub(crate) struct Attempt<'b> {
    bead: &'b Bead,
    tier: usize,
    failed: bool,
}

impl Attempt<'_> {
    pub(crate) fn did_not(mut self) {
        self.failed = false;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // What failed while it was reloaded was the old body.
        if self.failed && !self.bead.reload_pending() {
            self.bead.progress.note_failed(self.tier);
        }
        self.bead.progress.set_reload_pending(false);
    }
}
