//! Where beads are compiled: one of Tierup's brokers, and what the incumbent's API needs beside it.
//!
//! Its tiers are one more than the adapter's. The lowest is the *paused* one: nothing is compiled for it, but code that is to be
//! compiled afresh later runs there meanwhile, because below the highest tier the broker counts calls.

use std::{
    fmt,
    ptr::NonNull,
    sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak},
};

use tierup_broker::{BeadSpec, Decision, HotnessPolicy, Mode, Reason, Sample, Tier};

use crate::{
    Bead,
    jobs::Jobs,
    runner::{self, Runner},
};

/// What the broker knows a function by.
pub(crate) struct Guest(pub(crate) Weak<Bead>);

/// Most tiers an adapter may have: the broker has seven, and one is the paused one.
pub(crate) const MOST_TIERS: usize = Tier::MAX.index() as usize - 1;

/// The tier of paused code.
pub(crate) const PAUSED: Tier = Tier::new(1);

/// The broker's tier of an adapter's.
pub(crate) fn tier_of(index: usize) -> Tier {
    debug_assert!(index < MOST_TIERS, "checked when adapters are built");
    Tier::new(index as u8 + 2)
}

/// The adapter's tier of the broker's, where there is one.
pub(crate) fn index_of(tier: Tier) -> Option<usize> {
    usize::from(tier.index()).checked_sub(2)
}

/// A broker and its beads' jobs. Shared by its handles and its beads; shut down with the handle that made it.
pub(crate) struct Home {
    pub(crate) broker: tierup_broker::Broker<Guest>,
    pub(crate) jobs: Jobs,
    /// Compile closures that are running now.
    running: Mutex<usize>,
    returned: Condvar,
    reclaim: OnceLock<Reclaim>,
}

type Reclaim = Box<dyn Fn(*mut ()) + Send + Sync>;

/// Asks at once, always: whoever is asked is not this.
struct AtOnce;

impl HotnessPolicy for AtOnce {
    fn first_budget(&self, _: Tier, _: u32) -> u32 {
        0
    }

    fn decide(&self, _: &Sample) -> Decision {
        // Only reached if somebody counts whom this crate knows nothing of.
        Decision::Wait { budget: u32::MAX, reason: tierup_broker::WaitReason::NotHot }
    }
}

impl Home {
    /// A home with `tiers` compiled tiers, at least 1 and at most [`MOST_TIERS`]. No thread is spawned before the first request.
    pub(crate) fn new(tiers: usize) -> Arc<Self> {
        Self::build(tiers, tierup_broker::Broker::builder())
    }

    /// A home for a bead that has no other.
    pub(crate) fn alone() -> Arc<Self> {
        Self::build(1, tierup_broker::Broker::builder().max_beads(1))
    }

    fn build(tiers: usize, builder: tierup_broker::BrokerBuilder<Guest>) -> Arc<Self> {
        let builder = (0..tiers).fold(builder.compiler(Runner::paused()), |builder, index| builder.compiler(Runner::new(index)));
        let broker = builder
            .mode(Mode::Background)
            .policy(AtOnce)
            // The incumbent has one compiling thread for each tier, and no limit on how long it takes or how long things wait.
            .workers(tiers)
            .deadline(None)
            .stale_after(None)
            // Threads that interpret have no polls at which they could be asked.
            .census_after(None)
            .build()
            .expect("between one and six tiers, and as many workers, are within every limit");
        let (jobs, running) = (Jobs::default(), Mutex::new(0));
        Arc::new(Home { broker, jobs, running, returned: Condvar::new(), reclaim: OnceLock::new() })
    }

    /// Registers a bead with the broker. `None` when four million are alive.
    pub(crate) fn register(&self, bead: &Weak<Bead>) -> Option<tierup_broker::Bead<Guest>> {
        self.broker.register(Guest(Weak::clone(bead)), BeadSpec::default()).ok()
    }

    /// Asks for a bead's tier, whose job is there.
    pub(crate) fn promote(&self, bead: &tierup_broker::Bead<Guest>, index: usize) {
        self.broker.promote(bead.as_ref(), tier_of(index), Reason::Forced);
    }

    /// A compile closure begins; it has returned when the guard is dropped.
    pub(crate) fn enter(&self) -> Running<'_> {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Running(self)
    }

    /// Says what becomes of code that goes with its bead. Only the first to say counts.
    pub(crate) fn reclaim_with(&self, reclaim: Reclaim) {
        let _ = self.reclaim.set(reclaim);
    }

    pub(crate) fn reclaim(&self, codes: &[NonNull<()>]) {
        if let Some(reclaim) = self.reclaim.get() {
            codes.iter().for_each(|code| reclaim(code.as_ptr()));
        }
    }

    /// Drops all that waits, and waits for closures that run: what they use may be gone after this. A closure that closes the
    /// home it runs for waits for nobody.
    pub(crate) fn close(&self) {
        self.broker.shutdown();
        drop(self.jobs.close());
        if runner::is_within(self) {
            return;
        }
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.returned.wait_while(running, |running| *running > 0));
    }
}

/// A compile closure is running.
pub(crate) struct Running<'h>(&'h Home);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.returned.notify_all();
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("broker", &self.broker).finish_non_exhaustive()
    }
}
