//! What time it is, since the broker was built: by the machine's clock, or by one that the embedder sets.
#![forbid(unsafe_code)]

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::sync::{Arc, AtomicU64, Ordering};

/// A clock that stands still until it is set, for simulations: see [`BrokerBuilder::clock`](crate::BrokerBuilder::clock). Clones are the same clock.
#[derive(Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows zero.
    pub fn new() -> Self {
        ManualClock(Arc::new(AtomicU64::new(0)))
    }

    /// Time since the broker was built is `time` from now on. Whole nanoseconds count. Time does not run backwards: an earlier one is ignored.
    pub fn set(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // Ordering: Relaxed, here and below. A time; it publishes nothing.
        self.0.fetch_max(nanos, Ordering::Relaxed);
    }

    /// What it shows.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

/// The clock of one broker.
#[derive(Debug)]
pub(crate) enum Clock {
    Machine(Instant),
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn of(manual: Option<ManualClock>) -> Self {
        manual.map_or_else(|| Clock::Machine(Instant::now()), Clock::Manual)
    }

    /// Time since the broker was built.
    pub(crate) fn now(&self) -> Duration {
        match self {
            Clock::Machine(start) => start.elapsed(),
            Clock::Manual(clock) => clock.now(),
        }
    }
}
