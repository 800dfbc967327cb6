//! How long a compile will take: per tier, a running figure of nanoseconds per size unit, kept by whoever compiles.
//!
//! A compile of `size` guest bytes is reckoned to cost `pace · (size + BASE_SIZE)`, the base standing for what every compile
//! costs, however small. Each finished compile moves the pace an eighth of the way to what it took itself, so that about the
//! last dozen count. Jikes RVM reckons so (`C_j = bytes / rate_j`), but with rates measured when it was built.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::{
    Tier,
    sync::{AtomicU64, Ordering},
    tuning::{BASE_SIZE, FIRST_PACES},
};

/// Fixed-point: nanoseconds per size unit, times this.
const SCALE: u64 = 1024;

/// The running figure of one tier.
#[derive(Debug)]
pub(crate) struct Pace(AtomicU64);

impl Pace {
    /// What is taken for granted of a tier before anything was compiled.
    pub(crate) fn of(tier: Tier) -> Self {
        Pace(AtomicU64::new(FIRST_PACES[usize::from(tier.index() > 1)] * SCALE))
    }

    /// A compile of `size` guest bytes took `cost`.
    pub(crate) fn note(&self, size: u32, cost: Duration) {
        let nanos = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        let seen = (u128::from(nanos) * u128::from(SCALE) / u128::from(units(size))).min(u128::from(u64::MAX / 8)) as u64;
        // Ordering: Relaxed, here and below. An estimate: it publishes nothing, and a lost update loses little.
        let old = self.0.load(Ordering::Relaxed);
        self.0.store((old / 8 * 7 + seen / 8).max(1), Ordering::Relaxed);
    }

    /// What a compile of `size` guest bytes is reckoned to take.
    pub(crate) fn estimate(&self, size: u32) -> Duration {
        let nanos = u128::from(self.0.load(Ordering::Relaxed)) * u128::from(units(size)) / u128::from(SCALE);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Nanoseconds per size unit.
    pub(crate) fn nanos_per_unit(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / SCALE as f64
    }
}

fn units(size: u32) -> u64 {
    u64::from(size) + BASE_SIZE
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
