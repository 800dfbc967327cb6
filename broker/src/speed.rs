//! How fast a tier's code is: measured on functions that ran in two tiers, taken for granted before.
//!
//! One call in a few is timed, in whatever tier it runs ([`InterpThread::timed`](crate::InterpThread::timed)). A bead keeps the mean
//! of its timed calls in the tier that runs now, and in the one below that ran before: their ratio is its *measured speedup*. A tier
//! keeps the mean over beads, and that is what policies reckon with for functions that have not been there.
//!
//! Means are of logarithms, and a time that is more than four times the mean or less than a quarter counts as that: a call that
//! was interrupted by the system, or took another way through its function, says little about the code. The first call has no mean
//! to be held against: the mean begins with the one of the first three that lies between the other two.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::{
    Tier,
    shared::Shared,
    sync::{Note, Ordering},
    tuning::{FIRST_SPEEDUPS, INTERPRETED_PER_MICROSECOND, TIMED_CALLS, TIMED_MEMORY},
};

/// How many times as fast as the interpreter, as the bits of an `f64`, and how many beads said so.
#[derive(Debug)]
pub(crate) struct Speed {
    over_interpreter: Note,
    beads: Note,
}

// Ordering: Relaxed throughout. Estimates; a lost update loses little.
impl Speed {
    /// What is taken for granted of a compiled tier.
    pub(crate) fn of(tier: Tier) -> Self {
        Speed { over_interpreter: Note::new(FIRST_SPEEDUPS[usize::from(tier.index() > 1)].to_bits()), beads: Note::new(0) }
    }

    /// Times as fast as the interpreter.
    #[inline]
    pub(crate) fn over_interpreter(&self) -> f64 {
        f64::from_bits(self.over_interpreter.load(Ordering::Relaxed))
    }

    /// How many beads were measured.
    pub(crate) fn beads(&self) -> u64 {
        self.beads.load(Ordering::Relaxed)
    }

    /// A bead was measured. The first replaces what was taken for granted.
    fn note(&self, speedup: f64) {
        let beads = self.beads.fetch_add(1, Ordering::Relaxed) + 1;
        let old = self.over_interpreter().ln();
        let new = old + (speedup.ln() - old) / beads.min(TIMED_MEMORY.into()) as f64;
        self.over_interpreter.store(new.exp().to_bits(), Ordering::Relaxed);
    }
}

/// Work units code does in a nanosecond, that is `speed` times as fast as the interpreter.
pub(crate) fn work_per_nanosecond(speed: f64) -> f64 {
    INTERPRETED_PER_MICROSECOND / 1e3 * speed
}

/// The timed calls of one bead in one tier, in one word: a tier, how many there were, and the mean logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Timed {
    tier: Tier,
    calls: u8,
    /// The mean, or of two calls the lower one: of nanoseconds, to the base of two.
    log: f32,
    /// How far the higher of two calls is from the lower one, in parts of [`Self::SPREAD`].
    spread: u16,
}

impl Timed {
    const NONE: Timed = Timed { tier: Tier::INTERPRETER, calls: 0, log: 0.0, spread: 0 };

    /// No two times are a factor of 2 to the 64th apart.
    const SPREAD: f32 = 1024.0;

    fn pack(self) -> u64 {
        let Timed { tier, calls, log, spread } = self;
        u64::from(log.to_bits()) | u64::from(calls) << 32 | u64::from(tier.index()) << 40 | u64::from(spread) << 48
    }

    fn unpack(word: u64) -> Self {
        let [calls, tier] = [32, 40].map(|at| (word >> at) as u8);
        Timed { tier: Tier::new(tier), calls, log: f32::from_bits(word as u32), spread: (word >> 48) as u16 }
    }

    fn after(self, time: Duration) -> Self {
        let log = (time.as_nanos().max(1) as f32).log2();
        let calls = self.calls.saturating_add(1);
        let (log, spread) = match calls {
            1 => (log, 0.0),
            2 => (self.log.min(log), (self.log - log).abs()),
            3 => (log.clamp(self.log, self.log + f32::from(self.spread) / Self::SPREAD), 0.0),
            _ => (self.log + (log - self.log).clamp(-2.0, 2.0) / f32::from(calls.min(TIMED_MEMORY)), 0.0),
        };
        Timed { calls, log, spread: (spread * Self::SPREAD) as u16, ..self }
    }
}

/// The timed calls of one bead: in the tier that runs now, and in the one that ran before it.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    here: Note,
    below: Note,
}

impl Timings {
    pub(crate) fn clear(&self) {
        for note in [&self.here, &self.below] {
            if note.load(Ordering::Relaxed) != 0 {
                note.store(0, Ordering::Relaxed);
            }
        }
    }

    /// A call in `tier` took `time`. The answer is the speedup, when this was the call after which it is known.
    fn note(&self, tier: Tier, time: Duration) -> Option<Speedup> {
        let here = Timed::unpack(self.here.load(Ordering::Relaxed));
        let here = match () {
            () if here.calls == 0 || here.tier == tier => Timed { tier, ..here },
            () if tier > here.tier => {
                self.below.store(here.pack(), Ordering::Relaxed);
                Timed { tier, ..Timed::NONE }
            }
            // It was left, or fell back: what was measured there says nothing about here.
            () => {
                self.below.store(0, Ordering::Relaxed);
                Timed { tier, ..Timed::NONE }
            }
        };
        let here = here.after(time);
        self.here.store(here.pack(), Ordering::Relaxed);
        self.speedup().filter(|_| here.calls == TIMED_CALLS)
    }

    /// How much faster the bead's code became, once enough calls of both tiers were timed.
    pub(crate) fn speedup(&self) -> Option<Speedup> {
        let [here, below] = [&self.here, &self.below].map(|note| Timed::unpack(note.load(Ordering::Relaxed)));
        let known = here.calls >= TIMED_CALLS && below.calls >= TIMED_CALLS && below.tier < here.tier;
        known.then(|| Speedup { from: below.tier, to: here.tier, factor: f64::from(below.log - here.log).exp2() })
    }
}

/// How many times as fast a bead's code of one tier is as that of another, by timed calls of both.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Speedup {
    /// The tier that ran before.
    pub from: Tier,
    /// The tier that runs now.
    pub to: Tier,
    /// The mean time of a call before, divided by that now.
    pub factor: f64,
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// A call of the bead in `tier` was timed.
    pub(crate) fn note_timed(&self, id: u32, tier: Tier, time: Duration) {
        let Some(Speedup { from, to, factor }) = self.registry.tally(id).timings.note(tier, time) else { return };
        if let Some(slot) = self.tiers.get(to.slot()) {
            slot.speed.note(factor * self.speed_of(from));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const TIER: Tier = Tier::new(1);

    #[test]
    fn a_bead_is_measured_when_both_tiers_were_timed_often_enough() {
        let timings = Timings::default();
        for _ in 0..TIMED_CALLS {
            assert_eq!(timings.note(Tier::INTERPRETER, Duration::from_micros(30)), None);
        }
        for call in 1..=TIMED_CALLS {
            let told = timings.note(TIER, Duration::from_micros(10));
            assert_eq!(told.is_some(), call == TIMED_CALLS, "told once");
        }
        let speedup = timings.speedup().unwrap();
        assert!((speedup.factor - 3.0).abs() < 0.01 && (speedup.from, speedup.to) == (Tier::INTERPRETER, TIER), "{speedup:?}");
        timings.note(Tier::INTERPRETER, Duration::from_micros(30));
        assert_eq!(timings.speedup(), None, "it fell back");
    }

    #[test]
    fn a_call_that_was_interrupted_says_little() {
        let timings = Timings::default();
        let time = |at: u32, micros| Duration::from_micros(if at % 16 == 15 { 20_000 } else { micros });
        for at in 0..64 {
            timings.note(Tier::INTERPRETER, time(at, 50));
        }
        for at in 0..64 {
            timings.note(TIER, time(at, 10));
        }
        let factor = timings.speedup().unwrap().factor;
        assert!((4.5..5.5).contains(&factor), "{factor}");
    }

    #[test]
    fn nor_does_one_of_the_first_three() {
        for (interrupted, micros) in (0..3).flat_map(|at| [(at, 20_000), (at, 1)]) {
            let timings = Timings::default();
            for (tier, usual) in [(Tier::INTERPRETER, 50), (TIER, 10)] {
                let odd = if tier == TIER { usual } else { micros };
                for at in 0..TIMED_CALLS {
                    timings.note(tier, Duration::from_micros(if at == interrupted { odd } else { usual }));
                }
            }
            let factor = timings.speedup().unwrap().factor;
            assert!((4.9..5.1).contains(&factor), "{factor}, when call {interrupted} took {micros} us");
        }
    }

    #[test]
    fn what_was_measured_replaces_what_was_taken_for_granted() {
        let speed = Speed::of(TIER);
        assert_eq!((speed.over_interpreter(), speed.beads()), (6.0, 0));
        speed.note(2.0);
        speed.note(8.0);
        assert!((speed.over_interpreter() - 4.0).abs() < 1e-9 && speed.beads() == 2);
        (0..1_000).for_each(|_| speed.note(20.0));
        assert!((speed.over_interpreter() - 20.0).abs() < 0.1, "it follows");
    }

    #[test]
    fn words() {
        for timed in [Timed::NONE, Timed { tier: Tier::MAX, calls: u8::MAX, log: 33.5, spread: u16::MAX }] {
            assert_eq!(Timed::unpack(timed.pack()), timed);
        }
    }
}
