//! Sampling: how the work of native code becomes known without its counting.
//!
//! Code that counts pays with every call and every turn of a loop: a small recursive function runs half as many instructions again,
//! and twice as many are spent on compiling it. Code that polls can be *sampled* instead, as in OpenJ9: every so often all poll
//! cells are raised, and who finds its cell raised in code that may go to a higher tier charges that function, there, with what such
//! code does in the time since the last sample.
//!
//! ```text
//! sampler:  ─ 2 ms ─► raise ─ 2 ms ─► raise ─ 2 ms ─► …
//! thread:   call or loop header ─► poll ─► charge 2 ms of work to the function, at its entry or the loop ─► go on, or leave
//! ```
//!
//! Code that never polls must count if it wants to be seen. A thread that answers late was in such code, in the host, or did not
//! run: what polls next has not spent the time, and is charged nothing. Nor is code sampled that is to be promoted after less work
//! than a few samples tell of. When nobody is charged for a while the sampler slows down. Only speed depends on all this.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    POLL_SAMPLE,
    shared::Shared,
    sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, Ordering, Weak, lock, thread, wait_timeout},
    tuning::{IDLE_SAMPLES, PROMPT_ANSWER, SAMPLE_PERIOD, SAMPLE_WORK, SLOWEST_SAMPLE_PERIOD},
};

#[derive(Debug, Default)]
struct State {
    running: bool,
    stopped: bool,
}

/// The sampler of one broker: a thread, once there is something to sample.
pub(crate) struct Sampler {
    state: Mutex<State>,
    changed: Condvar,
    epoch: Instant,
    /// When the cells were raised last, in nanoseconds since the epoch.
    raised: AtomicU64,
    /// Whether anybody was charged since.
    charged: AtomicBool,
}

impl Default for Sampler {
    #[inline]
    fn default() -> Self {
        Sampler {
            state: Mutex::default(),
            changed: Condvar::default(),
            epoch: Instant::now(),
            raised: AtomicU64::new(0),
            charged: AtomicBool::new(false),
        }
    }
}

impl Sampler {
    /// Code was installed that is to be sampled.
    pub(crate) fn begin<G: Send + Sync + 'static>(self: &Arc<Self>, shared: Option<&Weak<Shared<G>>>) {
        // Ordering: Relaxed, in this file. Estimates, and when the next one is made; a look that comes late costs speed only.
        self.charged.store(true, Ordering::Relaxed);
        let mut state = lock(&self.state);
        if !state.running
            && let Some(shared) = shared.cloned()
        {
            let this = Arc::clone(self);
            // Without the thread, code stays in its tier until it is called by the interpreter.
            state.running = thread::Builder::new().name("tierup-sampler".to_owned()).spawn(move || this.run(&shared)).is_ok();
        }
        self.changed.notify_one();
    }

    /// Work units to charge for a sample that is answered now.
    pub(crate) fn charge(&self) -> u32 {
        let raised = Duration::from_nanos(self.raised.load(Ordering::Relaxed));
        if self.epoch.elapsed().saturating_sub(raised) > PROMPT_ANSWER {
            return 0;
        }
        self.charged.store(true, Ordering::Relaxed);
        SAMPLE_WORK
    }

    /// Ends the sampler's thread.
    pub(crate) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_one();
    }

    fn run<G: Send + Sync + 'static>(&self, shared: &Weak<Shared<G>>) {
        let (mut rest, mut idle) = (Duration::ZERO, 0);
        let mut state = lock(&self.state);
        loop {
            // Whoever is running answers in this time. No sample comes sooner, or it would be worth less.
            let end = Instant::now() + SAMPLE_PERIOD;
            while let left = end.saturating_duration_since(Instant::now())
                && !left.is_zero()
                && !state.stopped
            {
                state = wait_timeout(&self.changed, state, left);
            }
            idle = if self.charged.swap(false, Ordering::Relaxed) { 0 } else { idle + 1 };
            rest = match idle {
                0..IDLE_SAMPLES => Duration::ZERO,
                _ => (rest * 2 + SAMPLE_PERIOD).min(SLOWEST_SAMPLE_PERIOD),
            };
            if !state.stopped && !rest.is_zero() {
                state = wait_timeout(&self.changed, state, rest);
            }
            let Some(shared) = shared.upgrade() else { return };
            if state.stopped {
                return;
            }
            self.raised.store(self.epoch.elapsed().as_nanos() as u64, Ordering::Relaxed);
            shared.roster.raise(POLL_SAMPLE);
        }
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").finish_non_exhaustive()
    }
}
