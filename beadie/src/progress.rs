//! What is known of a bead's compiles beyond what the broker says. Hints and answers for the runtime: whether there is code, or a request, the
//! broker knows.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// A set of tiers.
#[derive(Debug, Default)]
struct Tiers(AtomicU8);

// Ordering: Relaxed everywhere in this file. Hints: the broker's words order what matters.
impl Tiers {
    fn has(&self, tier: usize) -> bool {
        tier < 8 && self.0.load(Ordering::Relaxed) & 1 << tier != 0
    }

    fn add(&self, tier: usize) -> bool {
        self.0.fetch_or(1 << tier, Ordering::Relaxed) & 1 << tier == 0
    }

    fn remove(&self, tier: usize) {
        self.0.fetch_and(!(1 << tier), Ordering::Relaxed);
    }

    fn set(&self, tiers: u8) {
        self.0.store(tiers, Ordering::Relaxed);
    }
}

/// How a bead's compiles get on.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The latest news is that a closure was called, and not that something was asked for.
    has_begun: AtomicBool,
    /// Invocations were counted by the broker.
    charged: AtomicBool,
    reload_pending: AtomicBool,
    /// Tiers whose compile gave no code.
    failed: Tiers,
    /// Tiers above the first that were asked for.
    queued: Tiers,
    /// The tier of paused code.
    paused: AtomicU8,
}

impl Progress {
    /// Of a bead that waits for code: whether it is being compiled.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    pub(crate) fn note_asked(&self) {
        self.has_begun.store(false, Ordering::Relaxed);
    }

    pub(crate) fn note_begun(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_charged(&self) -> bool {
        self.charged.load(Ordering::Relaxed)
    }

    pub(crate) fn note_charged(&self) {
        if !self.was_charged() {
            self.charged.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_reload_pending(&self) -> bool {
        self.reload_pending.load(Ordering::Relaxed)
    }

    pub(crate) fn set_reload_pending(&self, pending: bool) {
        self.reload_pending.store(pending, Ordering::Relaxed);
    }

    pub(crate) fn has_failed(&self, tier: usize) -> bool {
        self.failed.has(tier)
    }

    pub(crate) fn note_failed(&self, tier: usize) {
        self.failed.add(tier);
        self.queued.remove(tier);
    }

    pub(crate) fn is_queued(&self, tier: usize) -> bool {
        self.queued.has(tier)
    }

    /// False when it was before.
    pub(crate) fn note_queued(&self, tier: usize) -> bool {
        self.queued.add(tier)
    }

    pub(crate) fn forget_queued(&self) {
        self.queued.set(0);
    }

    /// Everything starts over.
    pub(crate) fn forgive(&self) {
        self.failed.set(0);
        self.queued.set(0);
    }

    pub(crate) fn paused(&self) -> usize {
        usize::from(self.paused.load(Ordering::Relaxed))
    }

    pub(crate) fn set_paused(&self, tier: usize) {
        self.paused.store(tier as u8, Ordering::Relaxed);
    }
}
