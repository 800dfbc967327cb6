//! Workers: the threads that compile in background mode. Never joined, never waited for. The first is spawned with the first interpreter
//! thread or the first request, or when a host asks for it; the others when several requests wait, or by the watchdog a little later, for
//! the first milliseconds of a program are the dearest ones to spend on threads.
//!
//! A worker that has just worked looks into the inbox every tenth of a millisecond, then ever less often; when no interpreter thread is
//! online it sleeps, as `parking.rs` says.
//!
//! Most take any request. Some may be *dedicated*: they take those for one tier, whatever else waits. As the inbox is everybody's, who
//! drains it then wakes all who rest.

use std::{fmt, time::Duration};

use crate::{
    BailoutKind, FirstWorker, Mode, Stats, Tier, Transition,
    contain::contained,
    elsewhere::{Here, begin_elsewhere, sleep_precisely},
    job::Outcome,
    mutation::dropped,
    parking::Parking,
    sampler::Sampler,
    shared::Shared,
    sync::{Arc, AtomicBool, AtomicU32, AtomicUsize, Note, OnceLock, Ordering, Weak, fence, parallelism, park_timeout, thread},
    tuning::{self, HOT_POLL, HOT_POLLS, MOST_WORKERS, WARM_POLL, WARM_POLLS, WORKER_STACK, nap},
    watchdog::{Watchdog, Watched},
};

/// Seats for workers, replacements included.
const SEATS: usize = Parking::SEATS;

/// The workers of one broker.
pub(crate) struct Crew<G> {
    /// How many that take anything were asked for.
    size: Option<usize>,
    /// The tiers of those that take nothing else, one each.
    dedicated: Box<[Tier]>,
    max_abandoned: u32,
    enabled: bool,
    first: FirstWorker,
    /// For whoever spawns a worker.
    shared: OnceLock<Weak<Shared<G>>>,
    started: AtomicBool,
    /// How old the broker is to be before its first request is answered, and whether one waits for that.
    patience: Duration,
    put_off: AtomicBool,
    /// Whether the second worker, which spawns the others, was asked for.
    completed: AtomicBool,
    /// Workers there are that take anything, once that is known.
    workers: AtomicUsize,
    /// How often requests were queued by somebody who may not be the one to take them.
    handed: AtomicUsize,
    seats_taken: AtomicUsize,
    /// There are none before there is a worker.
    seats: OnceLock<Box<[OnceLock<thread::Thread>]>>,
    parking: Parking,
    /// Workers that are looking for work or doing it.
    active: AtomicUsize,
    spawn_failures: AtomicU32,
    wakes: Note,
    watchdog: Arc<Watchdog>,
    pub(crate) sampler: Arc<Sampler>,
}

impl<G: Send + Sync + 'static> Crew<G> {
    pub(crate) fn new(
        mode: Mode,
        first: FirstWorker,
        size: Option<usize>,
        dedicated: Box<[Tier]>,
        max_abandoned: u32,
        tiers: usize,
    ) -> Self {
        // Replacements need seats, too.
        let most = (SEATS - MOST_WORKERS) / tiers.max(1);
        Crew {
            size,
            dedicated,
            max_abandoned: max_abandoned.min(most as u32),
            enabled: mode.has_workers(),
            first,
            shared: OnceLock::new(),
            started: AtomicBool::new(false),
            patience: if let FirstWorker::WithRequestAfter(age) = first { age } else { Duration::ZERO },
            put_off: AtomicBool::new(false),
            completed: AtomicBool::new(false),
            workers: AtomicUsize::new(size.unwrap_or(1)),
            handed: AtomicUsize::new(0),
            seats_taken: AtomicUsize::new(0),
            seats: OnceLock::new(),
            parking: Parking::default(),
            active: AtomicUsize::new(0),
            spawn_failures: AtomicU32::new(0),
            wakes: Note::new(0),
            watchdog: Arc::new(Watchdog::new(first != FirstWorker::WithThread)),
            sampler: Arc::new(Sampler::default()),
        }
    }

    /// Tells the crew whose it is.
    pub(crate) fn adopt(&self, shared: &Arc<Shared<G>>) {
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    /// An interpreter thread was registered.
    pub(crate) fn welcome_thread(&self) {
        if self.first == FirstWorker::WithThread {
            self.ensure_started();
        }
    }

    /// A request was made.
    #[inline]
    pub(crate) fn notice_request(&self, age: impl FnOnce() -> Duration) {
        // Ordering: Relaxed, in these two. As in `ensure_started`.
        if self.enabled && !self.started.load(Ordering::Relaxed) {
            if self.patience.is_zero() || age() >= self.patience {
                self.start();
            } else {
                self.put_off.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Somebody goes on, or waits: the first worker begins if it is time, and if its first compile takes long, that is watched from now on.
    #[inline]
    pub(crate) fn look_after_first(&self, age: impl FnOnce() -> Duration) {
        if self.put_off.load(Ordering::Relaxed) && age() >= self.patience {
            self.put_off.store(false, Ordering::Relaxed);
            self.ensure_started();
        }
        if self.watchdog.is_trusting() {
            self.watchdog.look(&self.shared);
        }
    }

    /// There are workers from now on, if the broker has any.
    #[inline]
    pub(crate) fn ensure_started(&self) {
        // Ordering: Relaxed. A missed start is repaired by the swap in `start`; nothing is published.
        if self.enabled && !self.started.load(Ordering::Relaxed) {
            self.start();
        }
    }

    /// A host has put something into the inbox: wakes a parked worker, if any, and starts the crew the first time.
    pub(crate) fn wake(&self) {
        self.ensure_started();
        if self.enabled {
            self.rouse();
        }
    }

    /// Events wait. Whoever naps will look.
    pub(crate) fn notice_events(&self) {
        self.ensure_started();
        self.notice_limbo();
    }

    /// Something was retired. Workers that exist look after it; none is started for it.
    pub(crate) fn notice_limbo(&self) {
        if self.enabled {
            self.unpark(self.parking.wake_sleeper());
        }
    }

    /// An interpreter thread has come online: from now on somebody looks into the inbox.
    #[inline]
    pub(crate) fn notice_thread(&self) {
        let seat = self.parking.wake_for_thread();
        if seat.is_some() {
            self.unpark(seat);
        }
    }

    fn rouse(&self) {
        self.unpark(self.parking.wake_one());
    }

    /// Requests were queued by somebody who may not be the one to take them: every worker that rests looks again.
    pub(crate) fn hand_over(&self) {
        if self.enabled && !dropped!(HandOver) {
            // Ordering: Release. Pairs with: Acquire in `handed`: who sees the count sees the requests. Who does not, and rests, is seen
            // in `wake_one`, whose fence comes next.
            self.handed.fetch_add(1, Ordering::Release);
            while let Some(seat) = self.parking.wake_one() {
                self.unpark(Some(seat));
            }
        }
    }

    fn handed(&self) -> usize {
        // Ordering: Acquire. Pairs with: `hand_over`.
        self.handed.load(Ordering::Acquire)
    }

    #[cold]
    fn unpark(&self, seat: Option<usize>) {
        if let Some(seat) = seat {
            // Ordering: Relaxed. Counter.
            self.wakes.fetch_add(1, Ordering::Relaxed);
            if let Some(worker) = self.seats.get().and_then(|seats| seats[seat].get()) {
                worker.unpark();
            }
        }
    }

    #[cold]
    fn start(&self) {
        // Ordering: Relaxed. One winner; nothing is published.
        if !self.started.swap(true, Ordering::Relaxed) && !self.spawn(self.tier_of(0)) {
            // Tried again at the next request.
            self.started.store(false, Ordering::Relaxed);
        }
    }

    /// The one tier that the worker spawned as the `nth` compiles for, if it is such a worker: they come last.
    fn tier_of(&self, nth: usize) -> Option<Tier> {
        // Where nobody said how many take anything, there are two at least.
        let dedicated = nth.checked_sub(self.size.unwrap_or(2))?;
        self.dedicated.get(dedicated).copied()
    }

    /// Has the second worker spawned, if there is to be one, the first time that this is called.
    pub(crate) fn ensure_complete(&self) {
        // Ordering: Relaxed, twice. One winner; nothing is published.
        let is_first = !self.completed.load(Ordering::Relaxed) && !self.completed.swap(true, Ordering::Relaxed);
        if is_first && self.size.unwrap_or(2) + self.dedicated.len() > 1 {
            self.spawn(self.tier_of(1));
        }
    }

    /// Spawns a worker, for one tier or any.
    fn spawn(&self, only: Option<Tier>) -> bool {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade).filter(|shared| !shared.is_stopped()) else { return false };
        // Ordering: Relaxed. Hands out each seat once.
        let seat = self.seats_taken.fetch_add(1, Ordering::Relaxed);
        if seat >= SEATS {
            return false;
        }
        let here = Here::now();
        let spawned = thread::Builder::new().name(format!("tierup-worker-{seat}")).stack_size(WORKER_STACK).spawn(move || {
            // An interpreter thread goes on beside it; other workers have time.
            if seat == 0 {
                here.leave();
            }
            shared.work(seat, only);
        });
        match &spawned {
            Ok(worker) if seat == 0 => begin_elsewhere(worker),
            Ok(_) => {}
            // Ordering: Relaxed. Counter.
            Err(_) => _ = self.spawn_failures.fetch_add(1, Ordering::Relaxed),
        }
        spawned.is_ok()
    }

    /// Whether a worker is at work, or should be.
    pub(crate) fn is_busy(&self, shared: &Shared<G>) -> bool {
        // Ordering: Acquire. Pairs with: AcqRel in `work`: a worker counts itself active before it takes anything, so who sees
        // that it was taken sees the worker active, or what it did.
        !shared.queue.front.inbox.is_empty() || !shared.events.is_empty() || self.active.load(Ordering::Acquire) > 0
    }

    /// Lets all workers go: the broker is marked as stopped.
    pub(crate) fn dismiss(&self) {
        // Ordering: SeqCst fence between "stopped" and the look at the seats. Pairs with: the fence in `Parking::sleep`, between
        // taking a seat and the look at "stopped". Weaker fails: a worker that is just starting parks for ever.
        fence(Ordering::SeqCst);
        for worker in self.seats.get().into_iter().flatten().filter_map(OnceLock::get) {
            worker.unpark();
        }
        self.watchdog.stop();
        self.sampler.stop();
    }

    /// Code was installed that is to be sampled.
    pub(crate) fn begin_sampling(&self) {
        self.sampler.begin(self.shared.get());
    }

    /// Workers there are, for a tier if for one.
    pub(crate) fn workers(&self, tier: Option<Tier>) -> usize {
        let dedicated = self.dedicated.iter().filter(|&&only| tier.is_none_or(|tier| tier == only)).count();
        // Ordering: Relaxed. An estimate.
        self.workers.load(Ordering::Relaxed) + dedicated
    }

    pub(crate) fn fill(&self, stats: &mut Stats) {
        // Ordering: Relaxed. Counter.
        stats.wakes = self.wakes.load(Ordering::Relaxed);
        stats.spawn_failures = self.spawn_failures.load(Ordering::Relaxed);
        let seats = self.seats_taken.load(Ordering::Relaxed).min(SEATS);
        stats.workers = seats.saturating_sub(stats.spawn_failures as usize);
    }
}

#[cfg(loom)]
impl<G> Crew<G> {
    /// Loom does not see that `Arc` drops its contents after every use through other handles: called by a worker that lets its
    /// handle go, and by whoever drops the contents, this stands in for the count.
    pub(crate) fn let_go(&self) {
        // Ordering: AcqRel. Pairs with itself, as the count does.
        self.active.fetch_add(0, Ordering::AcqRel);
    }
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// The life of a worker, which compiles for `only` one tier, or for all.
    fn work(self: Arc<Self>, seat: usize, only: Option<Tier>) {
        let crew = &self.crew;
        let seats = crew.seats.get_or_init(|| (0..SEATS).map(|_| OnceLock::new()).collect());
        let _ = seats[seat].set(thread::current());
        sleep_precisely();
        let mut idle = if seat == 0 { 0 } else { WARM_POLLS };
        match seat {
            // Some requests are not for this one, or there will be no watchdog.
            0 if self.deadline.is_none() || !crew.dedicated.is_empty() => crew.ensure_complete(),
            1 => self.complete_crew(),
            _ => {}
        }
        while !self.is_stopped() {
            // Ordering: AcqRel. Pairs with: Acquire in `is_busy`.
            crew.active.fetch_add(1, Ordering::AcqRel);
            let handed = crew.handed();
            let round = contained(|| self.round(only));
            if matches!(round, Ok(Round::Replaced)) {
                // The watchdog has counted this worker out.
                return;
            }
            crew.active.fetch_sub(1, Ordering::AcqRel);
            match round {
                Ok(Round::Worked) => idle = 0,
                Ok(_) => {
                    if seat == 0 && !crew.watchdog.begin(&crew.shared, self.deadline) {
                        crew.ensure_complete();
                    }
                    self.rest(seat, idle, handed);
                    idle = idle.saturating_add(1);
                }
                Err(message) => tracing::error!(target: "tierup", %message, "a worker's round panicked"),
            }
        }
        self.drop_waiting();
        self.events.deliver();
        self.collect();
        #[cfg(loom)]
        crew.let_go();
    }

    /// The second worker, for which nobody waits, spawns all others.
    fn complete_crew(&self) {
        let crew = &self.crew;
        // The system reads several files to answer.
        let size = crew.size.unwrap_or_else(|| tuning::workers(parallelism()).min(MOST_WORKERS - crew.dedicated.len()));
        self.queue.limit_large_jobs(size.saturating_sub(1).max(1));
        // Ordering: Relaxed. An estimate.
        crew.workers.store(size, Ordering::Relaxed);
        let dedicated = crew.dedicated.iter().copied().map(Some);
        for only in std::iter::repeat_n(None, size).chain(dedicated).skip(2) {
            crew.spawn(only);
        }
    }

    /// Drains the inbox, compiles one request, tells, collects.
    fn round(&self, only: Option<Tier>) -> Round {
        if self.drain_inbox() && !self.crew.dedicated.is_empty() {
            self.crew.hand_over();
        }
        self.warm_up_compilers();
        let Some((ask, mut large)) = self.next_ask(only) else {
            if self.warm_up_at_leisure() {
                return Round::Worked;
            }
            let told = !self.events.is_empty();
            self.events.deliver();
            self.collect();
            return if told { Round::Worked } else { Round::Idle };
        };
        self.warm_up.comes_too_late(ask.target.tier);
        // Another worker may be parked while more waits.
        if self.pending() > 1 {
            self.crew.ensure_complete();
            self.crew.rouse();
        }
        let mut watched = None;
        let outcome = self.run(ask, |ticket, lineage| {
            let (ticket, large) = (Arc::clone(ticket), large.tier());
            let watch = Watched { ticket, id: ask.id, target: ask.target, lineage, large, only };
            watched = self.crew.watchdog.watch(&self.crew.shared, watch);
        });
        if let Some(ticket) = watched {
            self.crew.watchdog.forget(&ticket);
        }
        if matches!(outcome, Outcome::Abandoned) {
            // The watchdog gave the place to somebody else.
            large.forget();
            return Round::Replaced;
        }
        self.events.deliver();
        self.collect();
        Round::Worked
    }

    /// Nothing to do: polls for a while, naps while interpreter threads are online or retired code waits for them, and else sleeps.
    /// `handed` is from before the look at the queue.
    fn rest(&self, seat: usize, idle: u32, handed: usize) {
        let Some(naps) = idle.checked_sub(WARM_POLLS) else {
            park_timeout(if idle < HOT_POLLS { HOT_POLL } else { WARM_POLL });
            return;
        };
        let news = || {
            let queued = !self.queue.front.inbox.is_empty() || self.crew.handed() != handed;
            queued || !self.events.is_empty() || self.warm_up.is_due() || self.is_stopped()
        };
        let may_come = || self.reclaimer.is_anyone_online() || self.reclaimer.waiting() > 0;
        if may_come() {
            self.crew.parking.nap(seat, news, || park_timeout(nap(naps, seat)));
        } else {
            self.crew.parking.sleep(seat, || news() || may_come(), thread::park);
        }
    }

    /// The watchdog gives up on a compile: disables the tier for the bead, or closes the site, answers the request, replaces the worker.
    pub(crate) fn abandon(&self, watched: &Watched) {
        let Watched { ticket, id, target, lineage, large, only } = watched;
        if !ticket.abandon() {
            return;
        }
        let crew = &self.crew;
        let slot = &self.tiers[target.tier.slot()];
        let hot = self.registry.hot(*id);
        let pin = self.reclaimer.pin();
        match target.site {
            Some(site) if self.current(&pin, hot).1.lineage() == *lineage => self.registry.warm(*id).osr.close(site),
            Some(_) => {}
            None => {
                self.registry.tally(*id).note_blame(target.tier, BailoutKind::Deadline);
                self.never_again(&pin, *id, target.tier, *lineage);
                self.set_budget(hot, 0);
            }
        }
        drop(pin);
        slot.counters.note_bailout(BailoutKind::Deadline);
        self.post(*id, *target, Transition::Abandoned);
        // Ordering: Relaxed. Counters and a hint.
        let abandoned = slot.counters.abandoned.fetch_add(1, Ordering::Relaxed) + 1;
        if abandoned >= crew.max_abandoned && !slot.off.swap(true, Ordering::Relaxed) {
            self.post(*id, target.tier, Transition::TierOff);
        }
        if let &Some(tier) = large {
            self.queue.large_job_over(tier);
        }
        self.answered(target.tier);
        crew.active.fetch_sub(1, Ordering::AcqRel);
        crew.spawn(*only);
    }
}

enum Round {
    Worked,
    Idle,
    Replaced,
}

impl<G> fmt::Debug for Crew<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("size", &self.size).field("enabled", &self.enabled).finish_non_exhaustive()
    }
}
