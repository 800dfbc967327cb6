//! What is noted about a bead for policies, and to tell why. Numbers only: nothing depends on them but speed, and what people read.
//!
//! They lie apart from what every bead needs (`registry.rs`): functions that nobody asks about take no memory for them.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::{
    BailoutKind, Decision, Placement, Sample, Tier, WaitReason,
    answer::Answer,
    speed::Timings,
    sync::{Note, Ordering},
};

/// The notes of one slot.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The bead's work when it began to count for the code that runs now.
    begun: Note,
    /// Work drawn in loops since then.
    loops: Note,
    /// Nanoseconds since the broker was built when the policy was last asked, and the bead's work then.
    asked_at: Note,
    asked_work: Note,
    /// What it answered.
    answer: Note,
    /// What the bead's thresholds are multiplied by: the bits of an `f64`, 0 for 1.
    scale: Note,
    /// Why tiers are disabled: a byte per tier, the kind of bailout plus one.
    blame: Note,
    /// Where the function may run.
    placement: Note,
    pub(crate) timings: Timings,
}

// Ordering: Relaxed throughout. Notes; they publish nothing.
impl Tally {
    /// Another bead has the slot.
    pub(crate) fn clear(&self) {
        for note in
            [&self.begun, &self.loops, &self.asked_at, &self.asked_work, &self.answer, &self.scale, &self.blame, &self.placement]
        {
            set(note, 0);
        }
        self.timings.clear();
    }

    /// Other code runs from now on, or the same is to be counted again; the bead has done `work` so far.
    pub(crate) fn begin(&self, work: u64) {
        set(&self.begun, work);
        set(&self.loops, 0);
    }

    /// Multiplies the bead's thresholds.
    pub(crate) fn set_scale(&self, scale: f64) {
        set(&self.scale, if scale == 1.0 { 0 } else { scale.to_bits() });
    }

    /// What the bead's thresholds are multiplied by.
    pub(crate) fn scale(&self) -> f64 {
        match self.scale.load(Ordering::Relaxed) {
            0 => 1.0,
            bits => f64::from_bits(bits),
        }
    }

    /// Declares where the function may run.
    pub(crate) fn set_placement(&self, placement: Placement) {
        set(&self.placement, placement.pack());
    }

    /// Where the function may run.
    pub(crate) fn placement(&self) -> Placement {
        Placement::unpack(self.placement.load(Ordering::Relaxed))
    }

    /// The tier is disabled because a compile ended so.
    pub(crate) fn note_blame(&self, tier: Tier, kind: BailoutKind) {
        let at = 8 * tier.slot() as u32;
        let blame = self.blame.load(Ordering::Relaxed) & !(0xFF << at);
        self.blame.store(blame | (kind as u64 + 1) << at, Ordering::Relaxed);
    }

    /// How the compile ended because of which the tier is disabled, if it was a compile.
    pub(crate) fn blame(&self, tier: Tier) -> Option<BailoutKind> {
        let kind = (self.blame.load(Ordering::Relaxed) >> (8 * tier.slot() as u32) & 0xFF) as usize;
        BailoutKind::ALL.get(kind.checked_sub(1)?).copied()
    }

    /// What failed is forgiven.
    pub(crate) fn forgive(&self) {
        set(&self.blame, 0);
    }

    /// Loops have drawn `work` units.
    pub(crate) fn note_loop(&self, work: u32) {
        self.loops.fetch_add(work.into(), Ordering::Relaxed);
    }

    /// Of `work`, what was done for the code that runs now; and of that the loops' part.
    pub(crate) fn spent(&self, work: u64) -> (u64, u64) {
        let spent = work.saturating_sub(self.begun.load(Ordering::Relaxed));
        (spent, self.loops.load(Ordering::Relaxed).min(spent))
    }

    /// Work units per millisecond since the policy was last asked, `now` being in nanoseconds; 0 if it never was.
    pub(crate) fn rate(&self, work: u64, now: u64) -> f64 {
        let then = self.asked_at.load(Ordering::Relaxed);
        let nanos = now.saturating_sub(then);
        if then == 0 || nanos == 0 {
            return 0.0;
        }
        work.saturating_sub(self.asked_work.load(Ordering::Relaxed)) as f64 * 1e6 / nanos as f64
    }

    /// The policy was asked.
    pub(crate) fn note_answer(&self, sample: &Sample, decision: Decision) {
        self.asked_at.store(sample.age_nanos.max(1), Ordering::Relaxed);
        self.asked_work.store(sample.work, Ordering::Relaxed);
        self.answer.store(Answer::new(sample, decision).pack(), Ordering::Relaxed);
    }

    /// What the policy answered last, when, and how much work the bead had done.
    pub(crate) fn answer(&self) -> Option<(Answer, Duration, u64)> {
        let at = Duration::from_nanos(self.asked_at.load(Ordering::Relaxed));
        Answer::unpack(self.answer.load(Ordering::Relaxed)).map(|answer| (answer, at, self.asked_work.load(Ordering::Relaxed)))
    }

    /// Whether the last answer was that the bead is held.
    pub(crate) fn was_held(&self) -> bool {
        let answer = Answer::unpack(self.answer.load(Ordering::Relaxed));
        matches!(answer.map(|answer| answer.decision), Some(Decision::Wait { reason: WaitReason::Held, .. }))
    }
}

/// Writes what is not there yet: reading memory does not commit it.
fn set(note: &Note, value: u64) {
    if note.load(Ordering::Relaxed) != value {
        note.store(value, Ordering::Relaxed);
    }
}
