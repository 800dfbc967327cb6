//! What a policy is told about a bead, and what becomes of its answer.

use std::time::Duration;

use crate::{
    Decision, Outlook, Sample, Tier, WaitReason,
    shared::Shared,
    speed::work_in,
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

    /// Microseconds since a function was called for the first time.
    fn quiet(&self, now: Duration) -> u64 {
        if self.wants_quiet { (nanos(now).saturating_sub(self.newest.load(Ordering::Relaxed))) / 1_000 } else { u64::MAX }
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

    /// A request was made.
    pub(crate) fn asked(&self, tier: Tier) {
        self.tiers[tier.slot()].counters.pending.fetch_add(1, Ordering::Relaxed);
        self.queue.asked();
    }

    /// A request was compiled, dropped or given up.
    pub(crate) fn answered(&self, tier: Tier) {
        self.tiers[tier.slot()].counters.pending.fetch_sub(1, Ordering::Relaxed);
        self.queue.answered();
    }

    /// How many times as fast as the interpreter the code of a tier is.
    pub(crate) fn speed_of(&self, tier: Tier) -> f64 {
        if tier.is_interpreter() { 1.0 } else { self.tiers[tier.slot()].speed.over_interpreter() }
    }

    /// A request changed its tier.
    pub(crate) fn move_pending(&self, from: Tier, to: Tier) {
        self.tiers[from.slot()].counters.pending.fetch_sub(1, Ordering::Relaxed);
        self.tiers[to.slot()].counters.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests for a tier that wait or are being compiled, per worker that may compile for it.
    pub(crate) fn load_of(&self, tier: Tier) -> f64 {
        self.tiers[tier.slot()].counters.pending.load(Ordering::Relaxed) as f64 / self.workers(Some(tier)) as f64
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

    /// What a bead's thresholds are multiplied by. Its tally is not looked at, and so takes no memory, until some bead's are.
    fn scale_of(&self, id: u32) -> f64 {
        if self.mood.scales.load(Ordering::Relaxed) != 0 { self.registry.tally(id).scale() } else { 1.0 }
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
    pub(crate) fn sample(&self, id: u32, tier: Tier, next: Tier) -> Sample {
        let (hot, cold, tally) = (self.registry.hot(id), self.registry.cold(id), self.registry.tally(id));
        let (state, now) = (hot.state.snapshot(), self.events.now());
        let (work, size) = (cold.work.load(Ordering::Relaxed), cold.size.load(Ordering::Relaxed));
        let (spent, loop_work) = tally.spent(work);
        let (speed, workers) = (self.speed_of(tier), self.workers(None) as f64);
        let mut sample = Sample {
            work,
            spent,
            loop_work,
            rate: tally.rate(work, now),
            held: matches!(tally.answer(), Some((answer, ..)) if matches!(answer.decision, Decision::Wait { reason: WaitReason::Held, .. })),
            queued: self.queue.pending(),
            load: self.load_of(next),
            code_bytes: self.ledger.live(),
            quiet: self.mood.quiet(now),
            age_nanos: nanos(now),
            efficiency: self.mood.efficiency.load(Ordering::Relaxed) != 0,
            // SAFETY: the calling thread is online.
            deopts: unsafe { self.version(hot) }.history.as_ref().map_or(0, |history| history.total()),
            ..Sample::new(tier, next, size)
        };
        let mut waiting = 0;
        for (slot, of) in self.tiers.iter().zip(Tier::compiled(self.tiers.len())) {
            let (total, mean) = slot.counters.compile_nanos();
            sample.compile_nanos += total;
            waiting += slot.counters.pending.load(Ordering::Relaxed).saturating_mul(mean);
            sample.outlook[of.slot()] = Outlook {
                open: of > tier && self.is_open(of) && !state.is_disabled(of),
                cost: work_in(nanos(slot.pace.estimate(size)), speed),
                speedup: self.speed_of(of) / speed,
            };
        }
        sample.queue_wait = work_in((waiting as f64 / workers) as u64, speed);
        sample
    }

    /// Asks the policy, and notes what it says. A function whose thresholds are scaled is one that has done so much less.
    pub(crate) fn ask(&self, id: u32, sample: &Sample) -> Decision {
        self.ask_by(id, sample, |sample| self.policy.decide(sample))
    }

    /// As [`Self::ask`], but somebody else decides.
    pub(crate) fn ask_by(&self, id: u32, sample: &Sample, decide: impl FnOnce(&Sample) -> Decision) -> Decision {
        let tally = self.registry.tally(id);
        let scale = self.scale_of(id);
        let decision = match decide(&if scale == 1.0 { *sample } else { sample.shrunk(scale) }) {
            Decision::Wait { budget, reason } => Decision::Wait { budget: scaled(budget, scale).max(1), reason },
            decision => decision,
        };
        tally.note_answer(Duration::from_nanos(sample.age_nanos), sample, decision);
        decision
    }

    /// Work the bead may do before the policy is asked about its body in `tier`.
    pub(crate) fn first_budget(&self, id: u32, tier: Tier) -> u32 {
        // Ordering: Relaxed. Written at registration.
        let budget = self.policy.first_budget(tier, self.registry.cold(id).size.load(Ordering::Relaxed));
        scaled(budget, self.scale_of(id))
    }

    /// Work its loops may do before the policy is asked about a variant.
    pub(crate) fn first_osr_budget(&self, id: u32, tier: Tier) -> u32 {
        // Ordering: Relaxed. Written at registration.
        let budget = self.policy.osr_budget(tier, self.registry.cold(id).size.load(Ordering::Relaxed));
        scaled(budget, self.scale_of(id))
    }
}
