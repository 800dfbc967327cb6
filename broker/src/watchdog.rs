//! The watchdog: gives up on compiles that overstay their deadline. A thread cannot be stopped, so its worker is left
//! behind and replaced.
//!
//! It also sees to it that the first worker does not stay the only one.
//!
//! Where the first worker begins with a request, its first compile does not wait for the watchdog's thread to be spawned, which comes when
//! that is over, or when an interpreter thread, or who waits for all to be done, finds that it takes long.
//!
//! A compile that asks `is_cancelled` learns of its deadline in time to return by itself; only one that does not is given up,
//! a little later.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    Tier,
    compiler::Ticket,
    shared::Shared,
    sync::{Arc, AtomicBool, Condvar, Mutex, Note, OnceLock, Ordering, Weak, lock, thread},
    target::Target,
    tuning::FIRST_WORKER_ALONE,
};

/// A compile under watch.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) id: u32,
    pub(crate) target: Target,
    /// Of the body that is compiled.
    pub(crate) lineage: u64,
    /// In whose name it has a large job's place in the queue.
    pub(crate) large: Option<Tier>,
    /// The one tier that its worker compiles for, if it is such a worker.
    pub(crate) only: Option<Tier>,
}

impl Watched {
    /// When the watchdog gives up: some time after the deadline, for compiles that are just returning.
    fn due(&self) -> Option<Instant> {
        self.ticket.deadline.map(|deadline| deadline + GRACE)
    }
}

/// What a compile may take beyond its deadline before its worker is given up.
const GRACE: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct List {
    watched: Vec<Watched>,
    /// Until when its thread sleeps, if not until it is told.
    until: Option<Instant>,
    stopped: bool,
}

/// The watchdog of one broker. Only workers and the watchdog take its lock.
pub(crate) struct Watchdog {
    list: Mutex<List>,
    changed: Condvar,
    /// Whether its thread was spawned.
    running: AtomicBool,
    /// Whether the next compile begins without it.
    trusts: AtomicBool,
    epoch: Instant,
    /// When that compile began, in nanoseconds since the epoch, as long as it runs; 0: it does not.
    trusted_since: Note,
}

impl Watchdog {
    /// A watchdog without a thread, which the first compile waits for, unless it is trusted.
    // Inlined, as the sampler's, the queue's and the histograms' constructors are: what starts a broker is then beside its caller, where each would take a page
    // fault of 2.5 us in a part of the program's file that nothing else needs yet.
    #[inline]
    pub(crate) fn new(trusts_first: bool) -> Self {
        Watchdog {
            list: Mutex::default(),
            changed: Condvar::default(),
            running: AtomicBool::new(false),
            trusts: AtomicBool::new(trusts_first),
            epoch: Instant::now(),
            trusted_since: Note::new(0),
        }
    }

    /// Watches a compile that has a deadline. Returns what to [`forget`](Self::forget) when it is over.
    pub(crate) fn watch<G: Send + Sync + 'static>(
        self: &Arc<Self>,
        shared: &OnceLock<Weak<Shared<G>>>,
        watched: Watched,
    ) -> Option<Arc<Ticket>> {
        let due = watched.due()?;
        let ticket = Arc::clone(&watched.ticket);
        // Ordering: Relaxed, in this file. Who spawns the thread, and when; what it looks at is under the lock.
        if self.trusts.swap(false, Ordering::Relaxed) {
            self.trusted_since.store(self.age().max(1), Ordering::Relaxed);
        } else if !self.ensure_running(shared) {
            return None;
        }
        let mut list = lock(&self.list);
        list.watched.push(watched);
        // Most compiles are over long before it wakes.
        if list.until.is_none_or(|until| until > due) {
            self.changed.notify_one();
        }
        Some(ticket)
    }

    /// Spawns its thread before there is anything to watch, if compiles have a deadline. Returns whether there is one.
    pub(crate) fn begin<G: Send + Sync + 'static>(
        self: &Arc<Self>,
        shared: &OnceLock<Weak<Shared<G>>>,
        deadline: Option<Duration>,
    ) -> bool {
        deadline.is_some() && self.ensure_running(shared)
    }

    /// Whether a compile runs that is not watched yet.
    #[inline]
    pub(crate) fn is_trusting(&self) -> bool {
        self.trusted_since.load(Ordering::Relaxed) != 0
    }

    /// Has the thread come if that compile takes long. Takes no lock.
    #[cold]
    pub(crate) fn look<G: Send + Sync + 'static>(self: &Arc<Self>, shared: &OnceLock<Weak<Shared<G>>>) {
        let since = self.trusted_since.load(Ordering::Relaxed);
        if since != 0 && Duration::from_nanos(self.age().saturating_sub(since)) >= FIRST_WORKER_ALONE {
            self.trusted_since.store(0, Ordering::Relaxed);
            self.ensure_running(shared);
        }
    }

    fn age(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Whether there is a thread, or one could be spawned. Without one there are no deadlines, as with `deadline(None)`.
    fn ensure_running<G: Send + Sync + 'static>(self: &Arc<Self>, shared: &OnceLock<Weak<Shared<G>>>) -> bool {
        if self.running.load(Ordering::Relaxed) || self.running.swap(true, Ordering::Relaxed) {
            return true;
        }
        let (this, shared) = (Arc::clone(self), shared.get().cloned());
        let spawned = shared.is_some_and(|shared| {
            thread::Builder::new().name("tierup-watchdog".to_owned()).spawn(move || this.run(&shared)).is_ok()
        });
        if !spawned {
            self.running.store(false, Ordering::Relaxed);
        }
        spawned
    }

    /// The compile is over.
    pub(crate) fn forget(&self, ticket: &Arc<Ticket>) {
        self.trusted_since.store(0, Ordering::Relaxed);
        lock(&self.list).watched.retain(|watched| !Arc::ptr_eq(&watched.ticket, ticket));
    }

    /// Ends the watchdog's thread.
    pub(crate) fn stop(&self) {
        lock(&self.list).stopped = true;
        self.changed.notify_one();
    }

    fn run<G: Send + Sync + 'static>(&self, shared: &Weak<Shared<G>>) {
        // The first worker may be at its first job, and cannot know whether others will come.
        let mut alone = Some(Instant::now() + FIRST_WORKER_ALONE);
        let mut list = lock(&self.list);
        while !list.stopped {
            let now = Instant::now();
            if alone.take_if(|end| *end <= now).is_some() {
                drop(list);
                if let Some(shared) = shared.upgrade() {
                    shared.crew.ensure_complete();
                }
                list = lock(&self.list);
                continue;
            }
            if let Some(index) = list.watched.iter().position(|watched| watched.due().is_some_and(|due| due <= now)) {
                let overdue = list.watched.swap_remove(index);
                drop(list);
                if let Some(shared) = shared.upgrade() {
                    shared.abandon(&overdue);
                }
                list = lock(&self.list);
                continue;
            }
            list.until = list.watched.iter().filter_map(Watched::due).chain(alone).min();
            list = match list.until {
                Some(due) => crate::sync::wait_timeout(&self.changed, list, due - now),
                None => crate::sync::wait(&self.changed, list),
            };
        }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").finish_non_exhaustive()
    }
}
