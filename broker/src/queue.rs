//! From requests to jobs: the inbox, which any thread pushes to without a lock, and the queue behind it, which only workers
//! (and the explicit calls that stand in for them) see.
//!
//! A bead is in the inbox at most once: its LINKED bit says so, and its cold entry's link threads the list. The queue holds
//! hints; a bead's QUEUED bits are the truth: entries without one are thrown out when they are scored, and `State::begin`
//! checks once more.
//!
//! Compiles are not preempted, so what is large may not take every worker: of several workers one is always left for small
//! jobs, and for those of lower tiers, whose compilers are quicker by orders of magnitude. HotSpot keeps its C1 and C2 threads apart
//! for that, and queueing theory knows it as task assignment by size interval (SITA: Harchol-Balter, Crovella, Murta 1999). Workers of one tier ([`BrokerBuilder::workers_for`](crate::BrokerBuilder::workers_for))
//! keep tiers apart altogether: large jobs of theirs take no place that others wait for.
#![forbid(unsafe_code)]

use std::{cmp, collections::VecDeque, time::Duration};

use crate::{
    Reason, Tier,
    mutation::ordering,
    pending::Pending,
    priority::Job,
    registry::{Registry, Slot, Warm},
    sync::{AtomicU32, Mutex, MutexGuard, Ordering, lock},
    target::Target,
    tuning::{LARGE_COST, QUEUE_WINDOW, RATE_SPAN, RESCORE},
};

/// The intrusive stack of beads with news.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// id + 1 of the bead linked last; 0 when empty.
    head: AtomicU32,
}

impl Inbox {
    /// Links a bead. Only for the thread that set the bead's LINKED bit.
    pub(crate) fn push<G>(&self, slot: Slot<'_, G>) {
        let Slot { id, warm: Warm { link, .. }, .. } = slot;
        // Ordering: Relaxed. Only the exchange decides.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // Ordering: Relaxed. Published by the exchange.
            link.store(head, Ordering::Relaxed);
            // Ordering: AcqRel. Pairs with: `drain`. Carries: the link and the stamp. The store-buffer story of waking is told, with
            // its fences, in `parking.rs`.
            match self.head.compare_exchange_weak(head, id + 1, ordering!(InboxPush: AcqRel), Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) => head = actual,
            }
        }
    }

    /// Whether there is nothing to drain.
    pub(crate) fn is_empty(&self) -> bool {
        // Ordering: Acquire. With the fences in `Parking`.
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
            cursor = registry.warm(id).link.load(Ordering::Relaxed);
        }
        ids.reverse();
        ids
    }
}

/// What whoever asks writes, and nobody else often: a cache line of its own.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(align(64)))]
pub(crate) struct Front {
    pub(crate) inbox: Inbox,
    pub(crate) pending: Pending,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Front>() == 64);

/// A queued request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) id: u32,
    pub(crate) target: Target,
    pub(crate) reason: Reason,
    /// When it was made, since the broker was built.
    pub(crate) time: Duration,
    /// Work of the bead when `rate` was taken, and when that was.
    seen: (u64, Duration),
    /// Work units per millisecond.
    rate: f64,
    /// When the bead was last seen to have done any work.
    alive: Duration,
}

impl Ask {
    /// A request for a bead that has done `work` so far.
    pub(crate) fn new(id: u32, target: impl Into<Target>, reason: Reason, time: Duration, work: u64) -> Self {
        Ask { id, target: target.into(), reason, time, seen: (work, time), rate: 0.0, alive: time }
    }

    /// The same for another target.
    pub(crate) fn about(self, target: Target) -> Self {
        Ask { target, ..self }
    }

    /// Looks at the bead again and says what the request is worth now.
    fn score(&mut self, now: Duration, look: Look) -> f64 {
        let (work, at) = self.seen;
        let span = now.saturating_sub(at);
        if look.work > work {
            self.alive = now;
        }
        if span >= RATE_SPAN {
            self.rate = look.work.saturating_sub(work) as f64 / (span.as_secs_f64() * 1e3);
            self.seen = (look.work, now);
        }
        Job { work: look.work, rate: self.rate, cost: look.cost, waited: now.saturating_sub(self.time) }.priority()
    }
}

/// What a bead that is asked for looks like now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Work units done so far.
    pub(crate) work: u64,
    /// What the compile is reckoned to take.
    pub(crate) cost: Duration,
    /// It has done so much work that it is worth compiling even if it does nothing now.
    pub(crate) old: bool,
}

/// Where a request stands among those that wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Standing {
    /// How many go before it.
    pub(crate) ahead: usize,
    pub(crate) of: usize,
    /// Infinite for those that are served first.
    pub(crate) priority: f64,
}

/// An entry with its latest score.
#[derive(Debug, Clone, Copy)]
struct Scored {
    ask: Ask,
    score: f64,
    large: bool,
}

impl Scored {
    /// Highest score first; of equals the one asked for first.
    fn by_rank(&self, other: &Self) -> cmp::Ordering {
        let age = |scored: &Self| (scored.ask.time, scored.ask.id);
        other.score.total_cmp(&self.score).then_with(|| age(self).cmp(&age(other)))
    }
}

/// What waits to be compiled.
#[derive(Debug, Default)]
struct Waiting {
    /// Served first, in order: code to replace what was given up, then forced requests.
    urgent: VecDeque<Ask>,
    /// New requests and the best of the others. Scored on every take, so kept short.
    window: Vec<Ask>,
    /// Everything else; scored every now and then.
    backlog: Vec<Ask>,
    /// When the backlog was last scored.
    rescored: Duration,
    /// Large jobs being compiled, by tier.
    large: [usize; Tier::MAX.index() as usize + 1],
    /// Large jobs that may be compiled at one time.
    large_limit: usize,
}

/// What [`Queue::take`] found.
#[derive(Debug, Default)]
pub(crate) struct Taken<'q> {
    /// The best request, if one may be compiled now.
    pub(crate) best: Option<(Ask, LargeJob<'q>)>,
    /// Requests whose function has done nothing for too long: no longer in the queue, and the caller's to drop.
    pub(crate) stale: Vec<Ask>,
}

/// The place of a large job among those that may be compiled at one time, given back when dropped; nothing for a small one.
#[derive(Debug)]
pub(crate) struct LargeJob<'q>(Option<(&'q Queue, Tier)>);

impl LargeJob<'_> {
    /// The tier in whose name it has a place.
    #[cfg(feature = "threads")]
    pub(crate) fn tier(&self) -> Option<Tier> {
        self.0.map(|(_, tier)| tier)
    }

    /// Somebody else has called [`Queue::large_job_over`].
    #[cfg(feature = "threads")]
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

impl Drop for LargeJob<'_> {
    fn drop(&mut self) {
        if let Some((queue, tier)) = self.0.take() {
            queue.large_job_over(tier);
        }
    }
}

/// The inbox and what workers made of it.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) front: Front,
    waiting: Mutex<Waiting>,
    /// How long a function may do nothing before its request is dropped.
    patience: Option<Duration>,
}

impl Queue {
    #[inline]
    pub(crate) fn new(patience: Option<Duration>, large_limit: usize, tiers: usize) -> Self {
        let waiting = Mutex::new(Waiting { large_limit, ..Waiting::default() });
        Queue { front: Front { inbox: Inbox::default(), pending: Pending::new(tiers) }, waiting, patience }
    }

    /// From now on at most `limit` large jobs are handed out at one time.
    #[cfg(feature = "threads")]
    pub(crate) fn limit_large_jobs(&self, limit: usize) {
        self.lock().large_limit = limit;
    }

    pub(crate) fn push(&self, ask: Ask) {
        let mut waiting = self.lock();
        match ask.reason {
            Reason::Deopt => {
                let after = waiting.urgent.iter().take_while(|ask| ask.reason == Reason::Deopt).count();
                waiting.urgent.insert(after, ask);
            }
            Reason::Forced => waiting.urgent.push_back(ask),
            _ => waiting.window.push(ask),
        }
    }

    /// The best request that may be compiled now, by who compiles for `only` that tier if for one: urgent ones first, then the one with
    /// the highest priority. `look` says what a bead looks like now, and `None` when its request is no longer there.
    pub(crate) fn take(&self, now: Duration, only: Option<Tier>, look: impl Fn(&Ask) -> Option<Look>) -> Taken<'_> {
        let mut waiting = self.lock();
        let (limit, running) = (waiting.large_limit, waiting.large);
        // Large jobs of higher tiers take no place from those of lower ones.
        let room = |tier: Tier| running[..=usize::from(tier.index())].iter().sum::<usize>() < limit;
        let may_run = |ask: &Ask, large: bool| match only {
            Some(only) => only == ask.target.tier,
            None => !large || room(ask.target.tier),
        };
        let mut taken = Taken::default();
        waiting.urgent.retain(|ask| look(ask).is_some());
        let urgent = waiting.urgent.iter().position(|ask| look(ask).is_some_and(|look| may_run(ask, is_large(look))));
        let best = match urgent.and_then(|index| waiting.urgent.remove(index)) {
            Some(ask) => look(&ask).map(|look| (ask, is_large(look))),
            None => {
                let scored = waiting.score(now, only, self.patience, &look, &mut taken.stale);
                let best = best_of(&scored, may_run);
                let chosen = best.map(|best| (scored[best].ask, scored[best].large));
                waiting.keep(now, scored, best);
                chosen
            }
        };
        taken.best = best.map(|(ask, large)| {
            let (counts, tier) = (large && only.is_none(), ask.target.tier);
            waiting.large[usize::from(tier.index())] += usize::from(counts);
            (ask, LargeJob(counts.then_some((self, tier))))
        });
        taken
    }

    /// How the first request that `is_it` stands among those that wait, by what they are worth at `now`.
    pub(crate) fn standing(
        &self,
        now: Duration,
        is_it: impl Fn(&Ask) -> bool,
        look: impl Fn(&Ask) -> Option<Look>,
    ) -> Option<Standing> {
        let waiting = self.lock();
        let urgent = waiting.urgent.iter().filter(|ask| look(ask).is_some());
        let others = waiting.window.iter().chain(&waiting.backlog);
        let mut scored: Vec<Scored> = others
            .filter_map(|&ask| {
                let (mut ask, look) = (ask, look(&ask)?);
                let score = ask.score(now, look);
                Some(Scored { ask, score, large: is_large(look) })
            })
            .collect();
        scored.sort_unstable_by(Scored::by_rank);
        let ranked = urgent.map(|ask| (ask, f64::INFINITY)).chain(scored.iter().map(|scored| (&scored.ask, scored.score)));
        let ranked: Vec<_> = ranked.collect();
        let ahead = ranked.iter().position(|(ask, _)| is_it(ask))?;
        Some(Standing { ahead, of: ranked.len(), priority: ranked[ahead].1 })
    }

    /// A large job in the name of `tier` is no longer being compiled.
    pub(crate) fn large_job_over(&self, tier: Tier) {
        self.lock().large[usize::from(tier.index())] -= 1;
    }

    /// Everything that waits, for shutting down.
    pub(crate) fn take_all(&self) -> Vec<Ask> {
        let mut waiting = self.lock();
        let urgent = std::mem::take(&mut waiting.urgent);
        let mut all = std::mem::take(&mut waiting.window);
        all.append(&mut waiting.backlog);
        urgent.into_iter().chain(all).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

impl Waiting {
    /// Takes the window out and scores it; the backlog with it, when that is due or there is nothing else that may be taken.
    fn score(
        &mut self,
        now: Duration,
        only: Option<Tier>,
        patience: Option<Duration>,
        look: impl Fn(&Ask) -> Option<Look>,
        stale: &mut Vec<Ask>,
    ) -> Vec<Scored> {
        let mut asks = std::mem::take(&mut self.window);
        let wanted = |ask: &Ask| only.is_none_or(|only| only == ask.target.tier);
        if !asks.iter().any(wanted) || now.saturating_sub(self.rescored) >= RESCORE {
            asks.append(&mut self.backlog);
            self.rescored = now;
        }
        let mut scored = Vec::with_capacity(asks.len());
        for mut ask in asks {
            let Some(look) = look(&ask) else { continue };
            let score = ask.score(now, look);
            if !look.old && patience.is_some_and(|patience| now.saturating_sub(ask.alive) > patience) {
                stale.push(ask);
            } else {
                scored.push(Scored { ask, score, large: is_large(look) });
            }
        }
        scored
    }

    /// Puts back what was scored, but for the one taken: the best into the window, the rest into the backlog.
    fn keep(&mut self, now: Duration, mut scored: Vec<Scored>, taken: Option<usize>) {
        if let Some(taken) = taken {
            scored.remove(taken);
        }
        if scored.len() >= 2 * QUEUE_WINDOW {
            scored.select_nth_unstable_by(QUEUE_WINDOW, Scored::by_rank);
            self.backlog.extend(scored.drain(QUEUE_WINDOW..).map(|scored| scored.ask));
            self.rescored = now;
        }
        self.window.extend(scored.into_iter().map(|scored| scored.ask));
    }
}

/// The first by rank of those that may run.
fn best_of(scored: &[Scored], may_run: impl Fn(&Ask, bool) -> bool) -> Option<usize> {
    let may_run = (0..scored.len()).filter(|&index| may_run(&scored[index].ask, scored[index].large));
    may_run.min_by(|&left, &right| scored[left].by_rank(&scored[right]))
}

fn is_large(look: Look) -> bool {
    look.cost > LARGE_COST
}

#[cfg(all(test, not(loom)))]
mod tests;
