//! How long a compile will take: per tier, a running figure of nanoseconds per size unit, kept by whoever compiles.
//!
//! A compile of `size` guest bytes is reckoned to cost `pace · (size + BASE_SIZE)`, the base standing for what every compile
//! costs, however small. Each finished compile moves the pace an eighth of the way to what it took itself, so that about the
//! last dozen count. Jikes RVM reckons so (`C_j = bytes / rate_j`), but with rates measured when it was built.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::{
    Tier,
    sync::{Note, Ordering},
    tuning::{BASE_SIZE, FIRST_PACES},
};

/// The running figure of one tier: nanoseconds per size unit, as the bits of an `f64`.
#[derive(Debug)]
pub(crate) struct Pace(Note);

/// No compile is taken to be quicker per size unit: a pace of zero would never be left again.
const LEAST: f64 = 1e-3;

// Ordering: Relaxed throughout. An estimate: it publishes nothing, and a lost update loses little.
impl Pace {
    /// What is taken for granted of a tier before anything was compiled.
    pub(crate) fn of(tier: Tier) -> Self {
        Pace(Note::new(FIRST_PACES[usize::from(tier.index() > 1)].to_bits()))
    }

    /// A compile of `size` guest bytes took `cost`.
    pub(crate) fn note(&self, size: u32, cost: Duration) {
        let seen = cost.as_secs_f64() * 1e9 / units(size);
        let pace = self.nanos_per_unit() * (7.0 / 8.0) + seen / 8.0;
        self.0.store(pace.max(LEAST).to_bits(), Ordering::Relaxed);
    }

    /// What a compile of `size` guest bytes is reckoned to take.
    pub(crate) fn estimate(&self, size: u32) -> Duration {
        Duration::from_nanos(self.estimate_nanos(size) as u64)
    }

    /// As [`Self::estimate`], in nanoseconds.
    #[inline]
    pub(crate) fn estimate_nanos(&self, size: u32) -> f64 {
        self.nanos_per_unit() * units(size)
    }

    /// Nanoseconds per size unit.
    #[inline]
    pub(crate) fn nanos_per_unit(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

fn units(size: u32) -> f64 {
    f64::from(size) + BASE_SIZE
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_pace_follows_what_compiles_take() {
        let pace = Pace::of(Tier::new(1));
        let first = pace.estimate(1_000);
        for _ in 0..100 {
            pace.note(1_000, Duration::from_micros(50));
        }
        let learned = pace.estimate(1_000).as_nanos();
        assert!(first > Duration::from_millis(1) && learned.abs_diff(50_000) < 1_000, "{first:?}, then {learned} ns");
        let (small, large) = (pace.estimate(0), pace.estimate(100_000));
        assert!(small > Duration::ZERO && large > 90 * pace.estimate(1_000), "{small:?}, {large:?}");
    }

    #[test]
    fn absurd_measurements_neither_overflow_nor_stick_at_zero() {
        let pace = Pace::of(Tier::new(1));
        pace.note(0, Duration::MAX);
        assert!(pace.estimate(u32::MAX) > Duration::ZERO);
        for _ in 0..1_000 {
            pace.note(u32::MAX, Duration::ZERO);
        }
        assert!(pace.nanos_per_unit() > 0.0);
    }
}
