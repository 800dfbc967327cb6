//! Telling a compiler that it will be needed, before it is.
//!
//! Some compilers take a little to get ready, and a worker with nothing to do yet tells them. Others take long: one that lives in a process
//! of its own has to be started. A program that never needs
//! such a tier should not pay for it, and one that does should not wait. So whoever draws on a bead's budget looks how far it
//! has got, and the first to see three quarters of it gone has a worker tell the compiler: where processors share a core, or there is
//! one only, getting ready takes the program's time, and most programs that are a quarter of the way never arrive. Only speed
//! depends on all this.

use crate::{
    Mode, Tier, WarmUpTime,
    contain::contained,
    shared::{Shared, TierSlot},
    sync::{AtomicU8, Ordering},
    tier::TierSet,
};

/// Which compilers wait to be told, and which are to be told now: sets of tiers.
pub(crate) struct WarmUp {
    cold: AtomicU8,
    due: AtomicU8,
    /// To be told by a worker with nothing to do, until the tier is asked for.
    #[cfg(feature = "threads")]
    early: AtomicU8,
}

impl WarmUp {
    pub(crate) fn new<G>(mode: Mode, tiers: &[TierSlot<G>]) -> Self {
        let wanting = |time| {
            let wanting = Tier::compiled(tiers.len()).filter(|tier| tiers[tier.slot()].compiler.wants_warm_up() == time);
            // Where the caller compiles there is nothing to be gained.
            let set = wanting.fold(0, |set, tier| set | bit(tier));
            AtomicU8::new(if mode == Mode::Sync { 0 } else { set })
        };
        let (cold, early) = (wanting(WarmUpTime::WhenNear), wanting(WarmUpTime::AtStart));
        #[cfg(feature = "threads")]
        if mode.has_workers() {
            return WarmUp { cold, due: AtomicU8::new(0), early };
        }
        WarmUp {
            cold,
            due: early,
            #[cfg(feature = "threads")]
            early: AtomicU8::new(0),
        }
    }

    /// Whether a compiler is to be told.
    pub(crate) fn is_due(&self) -> bool {
        // Ordering: Relaxed. A hint: a worker looks again.
        self.due.load(Ordering::Relaxed) != 0
    }

    /// The tier's compiler gets ready by compiling what it was asked for.
    #[cfg(feature = "threads")]
    pub(crate) fn comes_too_late(&self, tier: Tier) {
        // Ordering: Relaxed, twice. A hint.
        if self.early.load(Ordering::Relaxed) & bit(tier) != 0 {
            self.early.fetch_and(!bit(tier), Ordering::Relaxed);
        }
    }

    /// Moves a tier from cold to due. Nobody is woken for it: while threads run somebody looks.
    fn call(&self, tier: Tier) {
        // Ordering: Relaxed. One winner; nothing is published.
        if self.cold.fetch_and(!bit(tier), Ordering::Relaxed) & bit(tier) != 0 {
            // Ordering: Relaxed. Seen when the next nap is over.
            self.due.fetch_or(bit(tier), Ordering::Relaxed);
        }
    }
}

fn bit(tier: Tier) -> u8 {
    1 << tier.slot()
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// Part of a bead's budget was drawn: if that leaves less than a quarter, the next tier's compiler is told. The
    /// calling thread is online.
    #[inline]
    pub(crate) fn foresee(&self, id: u32) {
        // Ordering: Relaxed. A late look tells later.
        if self.warm_up.cold.load(Ordering::Relaxed) != 0 {
            self.look_ahead(id);
        }
        #[cfg(feature = "threads")]
        self.crew.look_after_first(|| self.events.now());
    }

    #[cold]
    fn look_ahead(&self, id: u32) {
        let slot = self.registry.slot(id);
        let hot = slot.hot;
        // SAFETY: the calling thread is online.
        let header = unsafe { self.header(hot) };
        let Some(next) = self.next_tier(header.top(), hot.state.snapshot()) else { return };
        // Ordering: Relaxed. As in `foresee`.
        if self.warm_up.cold.load(Ordering::Relaxed) & bit(next) == 0 {
            return;
        }
        // Ordering: Relaxed. An approximate number.
        let whole = self.first_budget(slot, next);
        let left = hot.budget.load(Ordering::Relaxed);
        if i64::from(left) * 4 <= i64::from(whole) {
            self.warm_up.call(next);
        }
    }

    /// Tells the compilers that are to be told.
    pub(crate) fn warm_up_compilers(&self) {
        if self.warm_up.is_due() {
            self.warm_up_those(&self.warm_up.due);
        }
    }

    /// Tells the compilers that get ready before they are needed, as there is nothing else to do. Returns whether there were any.
    #[cfg(feature = "threads")]
    pub(crate) fn warm_up_at_leisure(&self) -> bool {
        // Ordering: Relaxed. A hint.
        self.warm_up.early.load(Ordering::Relaxed) != 0 && self.warm_up_those(&self.warm_up.early)
    }

    /// Tells those whose bits it takes. Returns whether there were any.
    fn warm_up_those(&self, tiers: &AtomicU8) -> bool {
        // Ordering: Relaxed. Whoever takes a bit does the telling.
        let taken = TierSet(tiers.swap(0, Ordering::Relaxed));
        for tier in taken.iter() {
            if let Err(message) = contained(|| self.tiers[tier.slot()].compiler.warm_up()) {
                tracing::error!(target: "tierup", %message, "warming up a compiler panicked");
            }
        }
        taken != TierSet(0)
    }
}
