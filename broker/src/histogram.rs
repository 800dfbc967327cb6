//! How long things took, so that percentiles can be told: buckets of powers of two microseconds, four to each.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::sync::{Note, Ordering};

/// Buckets to a power of two.
const STEPS: u32 = 4;
/// Up to `2^32` microseconds, more than an hour.
const BUCKETS: usize = 32 * STEPS as usize;

/// A histogram of durations. A percentile is off by less than a quarter.
#[derive(Debug)]
pub(crate) struct Histogram([Note; BUCKETS]);

impl Default for Histogram {
    #[inline]
    fn default() -> Self {
        Histogram(std::array::from_fn(|_| Note::new(0)))
    }
}

// Ordering: Relaxed throughout. Counters only.
impl Histogram {
    pub(crate) fn note(&self, duration: Duration) {
        self.0[bucket(duration.as_micros())].fetch_add(1, Ordering::Relaxed);
    }

    /// The durations that so many percent stay below; zero when there are none.
    pub(crate) fn percentiles<const N: usize>(&self, percents: [u32; N]) -> [Duration; N] {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        percents.map(|percent| {
            let below = (u128::from(all) * u128::from(percent)).div_ceil(100) as u64;
            let mut seen = 0;
            let at = counts.iter().position(|&count| {
                seen += count;
                count > 0 && seen >= below
            });
            at.map_or(Duration::ZERO, |at| Duration::from_micros(end(at)))
        })
    }
}

fn bucket(micros: u128) -> usize {
    let micros = u32::try_from(micros).unwrap_or(u32::MAX);
    if micros < STEPS {
        return micros as usize;
    }
    let power = micros.ilog2();
    // The two bits after the leading one.
    let step = micros >> (power - 2) & (STEPS - 1);
    ((power - 1) * STEPS + step) as usize
}

/// Where a bucket ends.
fn end(bucket: usize) -> u64 {
    let (power, step) = (bucket as u32 / STEPS, bucket as u32 % STEPS);
    if power == 0 { u64::from(step) + 1 } else { (u64::from(STEPS + step) + 1) << (power - 1) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_its_bucket() {
        for micros in (0..10_000).chain([u32::MAX.into(), u128::MAX]) {
            let at = bucket(micros);
            let micros = u64::try_from(micros).unwrap_or(u64::MAX).min(u32::MAX.into());
            assert!(at < BUCKETS && micros < end(at) && (at == 0 || micros >= end(at - 1)), "{micros} in {at}");
            assert!(end(at) <= micros + 1 + micros / 4, "{micros} in a bucket that ends at {}", end(at));
        }
    }

    #[test]
    fn percentiles() {
        let histogram = Histogram::default();
        assert_eq!(histogram.percentiles([50]), [Duration::ZERO]);
        (0..100).for_each(|_| histogram.note(Duration::from_micros(1)));
        (0..4).for_each(|_| histogram.note(Duration::from_millis(10)));
        let [p50, p95, p99] = histogram.percentiles([50, 95, 99]);
        assert_eq!((p50, p95), (Duration::from_micros(2), Duration::from_micros(2)));
        assert!(p99 > Duration::from_millis(10) && p99 < Duration::from_micros(12_500), "{p99:?}");
    }
}
