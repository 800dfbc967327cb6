//! What a policy is told about a bead, and what becomes of its answer.

use std::time::Duration;

use crate::{
    Decision, Outlook, Sample, Tier,
    registry::{Slot, Warm},
    shared::Shared,
    speed::work_per_nanosecond,
    state::Snapshot,
    sync::{Note, Ordering},
};

/// What goes on around all functions of one broker.
#[derive(Debug)]
pub(crate) struct Mood {
    /// Somebody wants to know when a function was last called for the first time.
    wants_quiet: bool,
    /// When that was, in nanoseconds since the broker was built.
    newest: Note,
    efficiency: Note,
    /// Some bead's thresholds are scaled.
    scales: Note,
}

// Ordering: Relaxed throughout. Notes; they publish nothing.
impl Mood {
    pub(crate) fn new(wants_quiet: bool) -> Self {
        Mood { wants_quiet, newest: Note::new(0), efficiency: Note::new(0), scales: Note::new(0) }
    }

    pub(crate) fn set_efficiency(&self, on: bool) {
        self.efficiency.store(on.into(), Ordering::Relaxed);
    }

    /// Microseconds since a function was called for the first time; `now` is in nanoseconds.
    fn quiet(&self, now: u64) -> u64 {
        if self.wants_quiet { now.saturating_sub(self.newest.load(Ordering::Relaxed)) / 1_000 } else { u64::MAX }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What never runs out never does.
fn scaled(budget: u32, scale: f64) -> u32 {
    if scale == 1.0 || budget > i32::MAX as u32 { budget } else { ((f64::from(budget) * scale) as u32).min(i32::MAX as u32 - 1) }
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// A thread counts for a function that it has not counted for before.
    pub(crate) fn note_first_use(&self) {
        if self.mood.wants_quiet {
            self.mood.newest.store(nanos(self.events.now()), Ordering::Relaxed);
        }
    }

    /// A request is about to be made.
    pub(crate) fn asked(&self, tier: Tier) {
        self.queue.front.pending.asked(tier);
    }

    /// A request was compiled, dropped or given up, or was not made after all.
    pub(crate) fn answered(&self, tier: Tier) {
        self.queue.front.pending.answered(tier);
    }

    /// How many times as fast as the interpreter the code of a tier is.
    pub(crate) fn speed_of(&self, tier: Tier) -> f64 {
        if tier.is_interpreter() { 1.0 } else { self.tiers[tier.slot()].speed.over_interpreter() }
    }

    /// Requests made and not answered.
    pub(crate) fn pending(&self) -> usize {
        self.queue.front.pending.total()
    }

    /// Requests for a tier that wait or are being compiled, per worker that may compile for it.
    pub(crate) fn load_of(&self, tier: Tier) -> f64 {
        f64::from(self.queue.front.pending.of(tier)) / self.workers(Some(tier)) as f64
    }

    /// Multiplies a bead's thresholds, from the next time on that they are set.
    pub(crate) fn set_scale(&self, id: u32, scale: f64) {
        if scale != 1.0 {
            self.mood.scales.store(1, Ordering::Relaxed);
        }
        if self.mood.scales.load(Ordering::Relaxed) != 0 {
            self.registry.tally(id).set_scale(scale);
        }
    }

    /// What a bead's thresholds are multiplied by. Its tally is not looked at until some bead's are.
    fn scale_of(&self, slot: Slot<'_, G>) -> f64 {
        if self.mood.scales.load(Ordering::Relaxed) != 0 { slot.warm.tally.scale() } else { 1.0 }
    }

    /// Threads that compile, for a tier if for one.
    fn workers(&self, tier: Option<Tier>) -> usize {
        #[cfg(feature = "threads")]
        if self.mode.has_workers() {
            return self.crew.workers(tier).max(1);
        }
        let _ = tier;
        1
    }

    /// Everything but what depends on the lane: whether it is pending, and its bailouts. The calling thread is online.
    ///
    /// Written field by field, and changed where it lies: a sample is five cache lines, and to copy one that was just written takes
    /// longer than to make it.
    pub(crate) fn sample(&self, slot: Slot<'_, G>, state: Snapshot, tier: Tier, next: Tier) -> Sample {
        let Slot { hot, cold, warm: Warm { tally, .. }, .. } = slot;
        let now = nanos(self.events.now());
        let (work, size) = (cold.work.load(Ordering::Relaxed), cold.size.load(Ordering::Relaxed));
        let (speed, open) = (self.speed_of(tier), state.open().above(tier));
        let work_per_nanosecond = work_per_nanosecond(speed);
        let mut sample = Sample::new(tier, next, size);
        sample.work = work;
        (sample.spent, sample.loop_work) = tally.spent(work);
        sample.rate = tally.rate(work, now);
        sample.held = tally.was_held();
        sample.load = self.load_of(next);
        sample.code_bytes = self.ledger.live();
        sample.quiet = self.mood.quiet(now);
        sample.age_nanos = now;
        sample.efficiency = self.mood.efficiency.load(Ordering::Relaxed) != 0;
        // SAFETY: the calling thread is online.
        sample.deopts = unsafe { self.version(hot) }.history.as_ref().map_or(0, |history| history.total());
        let mut waiting = 0.0;
        for (slot, of) in self.tiers.iter().zip(Tier::compiled(self.tiers.len())) {
            let (total, mean) = slot.counters.compile_nanos();
            sample.compile_nanos += total;
            let pending = self.queue.front.pending.of(of);
            sample.queued += pending as usize;
            waiting += f64::from(pending) * mean;
            sample.outlook[of.slot()] = Outlook {
                open: open.contains(of) && !slot.off.load(Ordering::Relaxed),
                cost: (slot.pace.estimate_nanos(size) * work_per_nanosecond) as u64,
                speedup: slot.speed.over_interpreter() / speed,
            };
        }
        sample.queue_wait = (waiting / self.workers(None) as f64 * work_per_nanosecond) as u64;
        sample
    }

    /// Asks the policy, and notes what it says. A function whose thresholds are scaled is one that has done so much less.
    pub(crate) fn ask(&self, slot: Slot<'_, G>, sample: &Sample) -> Decision {
        self.ask_by(slot, sample, |sample| self.policy.decide(sample))
    }

    /// As [`Self::ask`], but somebody else decides.
    pub(crate) fn ask_by(&self, slot: Slot<'_, G>, sample: &Sample, decide: impl FnOnce(&Sample) -> Decision) -> Decision {
        let scale = self.scale_of(slot);
        let decision = match if scale == 1.0 { decide(sample) } else { decide(&sample.shrunk(scale)) } {
            Decision::Wait { budget, reason } => Decision::Wait { budget: scaled(budget, scale).max(1), reason },
            decision => decision,
        };
        slot.warm.tally.note_answer(sample, decision);
        decision
    }

    /// Work the bead may do before the policy is asked about its body in `tier`.
    pub(crate) fn first_budget(&self, slot: Slot<'_, G>, tier: Tier) -> u32 {
        // Ordering: Relaxed. Written at registration.
        let budget = self.policy.first_budget(tier, slot.cold.size.load(Ordering::Relaxed));
        scaled(budget, self.scale_of(slot))
    }

    /// Work its loops may do before the policy is asked about a variant.
    pub(crate) fn first_osr_budget(&self, slot: Slot<'_, G>, tier: Tier) -> u32 {
        // Ordering: Relaxed. Written at registration.
        let budget = self.policy.osr_budget(tier, slot.cold.size.load(Ordering::Relaxed));
        scaled(budget, self.scale_of(slot))
    }
}
