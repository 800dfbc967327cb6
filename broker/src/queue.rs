//! From requests to jobs: the inbox, which any thread pushes to without a lock, and the queue behind it, which only workers
//! (and the explicit calls that stand in for them) see.
//!
//! A bead is in the inbox at most once: its LINKED bit says so, and its cold entry's link threads the list. The queue holds
//! hints; a bead's QUEUED bits are the truth, and `State::begin` checks them.
#![forbid(unsafe_code)]

use std::{collections::VecDeque, time::Duration};

use crate::{
    Reason, Tier,
    mutation::ordering,
    registry::Registry,
    sync::{AtomicU32, AtomicUsize, Mutex, Ordering, lock},
    tuning::QUEUE_WINDOW,
};

/// The intrusive stack of beads with news.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// id + 1 of the bead linked last; 0 when empty.
    head: AtomicU32,
}

impl Inbox {
    /// Links a bead. Only for the thread that set the bead's LINKED bit.
    pub(crate) fn push<G>(&self, registry: &Registry<G>, id: u32) {
        let link = &registry.cold(id).link;
        // Ordering: Relaxed. Only the exchange decides.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // Ordering: Relaxed. Published by the exchange.
            link.store(head, Ordering::Relaxed);
            // Ordering: AcqRel. Pairs with: `drain`. Carries: the link and the stamp. The
            // store-buffer story of waking is told, with its fences, in `Crew::wake`.
            match self.head.compare_exchange_weak(head, id + 1, ordering!(InboxPush: AcqRel), Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) => head = actual,
            }
        }
    }

    /// Whether there is nothing to drain.
    pub(crate) fn is_empty(&self) -> bool {
        // Ordering: Acquire. With the fences in `Crew`.
        self.head.load(Ordering::Acquire) == 0
    }

    /// Takes everything, oldest first. Taking all at once is why links need no tag.
    pub(crate) fn drain<G>(&self, registry: &Registry<G>) -> Vec<u32> {
        if self.is_empty() {
            return Vec::new();
        }
        // Ordering: AcqRel. Pairs with: `push`. Carries: links and stamps.
        let mut cursor = self.head.swap(0, ordering!(InboxDrain: AcqRel));
        let mut ids = Vec::new();
        while let Some(id) = cursor.checked_sub(1) {
            ids.push(id);
            // Ordering: Relaxed. Published by the head. Read before the bead is unlinked: after that it may be linked again.
            cursor = registry.cold(id).link.load(Ordering::Relaxed);
        }
        ids.reverse();
        ids
    }
}

/// A queued request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) id: u32,
    pub(crate) tier: Tier,
    pub(crate) reason: Reason,
    /// When it was made, since the broker was built.
    pub(crate) time: Duration,
    /// Takes it has waited in the window.
    age: u32,
}

impl Ask {
    pub(crate) fn new(id: u32, tier: Tier, reason: Reason, time: Duration) -> Self {
        Ask { id, tier, reason, time, age: 0 }
    }
}

/// What waits to be compiled.
#[derive(Debug, Default)]
struct Waiting {
    /// Forced requests, served first, in order.
    forced: VecDeque<Ask>,
    /// The requests that are re-scored on every take: bounded, so a take is too.
    window: Vec<Ask>,
    /// Everything behind the window, in order of arrival.
    backlog: VecDeque<Ask>,
}

/// The inbox and what workers made of it.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) inbox: Inbox,
    waiting: Mutex<Waiting>,
    /// Requests made and not answered.
    pending: AtomicUsize,
}

impl Queue {
    /// A request was made.
    pub(crate) fn asked(&self) {
        // Ordering: Release, with the Acquire in `pending`: `drain` must not see a lower count than what it waits for.
        self.pending.fetch_add(1, Ordering::Release);
    }

    /// A request was compiled, dropped or given up.
    pub(crate) fn answered(&self) {
        // Ordering: Release. Pairs with: Acquire in `pending`. Carries: what the answer changed, for whoever waits for it.
        self.pending.fetch_sub(1, ordering!(Answered: Release));
    }

    /// Requests made and not answered.
    pub(crate) fn pending(&self) -> usize {
        // Ordering: Acquire. Pairs with: `answered`.
        self.pending.load(ordering!(Pending: Acquire))
    }

    pub(crate) fn push(&self, ask: Ask) {
        let mut waiting = lock(&self.waiting);
        if ask.reason == Reason::Forced {
            waiting.forced.push_back(ask);
        } else {
            waiting.backlog.push_back(ask);
        }
    }

    /// The best request: forced ones first, then the one with the highest `score` times its age among the oldest
    /// `QUEUE_WINDOW`.
    pub(crate) fn take(&self, score: impl Fn(&Ask) -> u64) -> Option<Ask> {
        let mut waiting = lock(&self.waiting);
        let Waiting { forced, window, backlog } = &mut *waiting;
        if let Some(ask) = forced.pop_front() {
            return Some(ask);
        }
        let room = QUEUE_WINDOW - window.len();
        window.extend(backlog.drain(..room.min(backlog.len())));
        let weight = |ask: &Ask| u128::from(score(ask).saturating_add(1)) * u128::from(ask.age + 1);
        // Of equals the oldest: `max_by_key` would return the newest.
        let best = (0..window.len()).rev().max_by_key(|&index| weight(&window[index]))?;
        for ask in window.iter_mut() {
            ask.age = ask.age.saturating_add(1);
        }
        Some(window.remove(best))
    }

    /// Everything that waits, for shutting down.
    pub(crate) fn take_all(&self) -> Vec<Ask> {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.forced.into_iter().chain(waiting.window).chain(waiting.backlog).collect()
    }
}
