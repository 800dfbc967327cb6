//! All beads of an adapter, for whoever wants to look at each.
//!
//! A list of segments of a bounded length: whatever is done to all beads holds a lock for one segment's worth of it only, and none
//! while somebody else's code runs. So `walk` may call anything, and nobody waits for `prune`.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{Bead, CoreHandle, bead::OnInvalidate};

/// Most beads of a segment.
const SEGMENT: usize = 512;

type Segment = Mutex<Vec<Arc<Bead>>>;

/// A set of beads. It keeps them alive until they are [pruned](Self::prune).
#[derive(Debug, Default)]
pub struct Chain {
    segments: Mutex<Vec<Arc<Segment>>>,
    len: AtomicUsize,
}

impl Chain {
    /// An empty chain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a bead.
    pub fn push(&self, core: CoreHandle, on_invalidate: Option<OnInvalidate>) -> Arc<Bead> {
        let bead = Bead::new(core, on_invalidate);
        self.add(Arc::clone(&bead));
        bead
    }

    pub(crate) fn add(&self, bead: Arc<Bead>) {
        let mut segments = lock(&self.segments);
        // Ordering: Relaxed, here and below. A count.
        self.len.fetch_add(1, Ordering::Relaxed);
        if let Some(last) = segments.last() {
            let mut last = lock(last);
            if last.len() < SEGMENT {
                last.push(bead);
                return;
            }
        }
        let mut beads = Vec::with_capacity(SEGMENT);
        beads.push(bead);
        segments.push(Arc::new(Mutex::new(beads)));
    }

    /// Lets go of all beads that were invalidated.
    pub fn prune(&self) {
        let mut emptied = false;
        for segment in self.segments() {
            let mut beads = lock(&segment);
            let (kept, gone): (Vec<_>, Vec<_>) = mem::take(&mut *beads).into_iter().partition(|bead| bead.is_valid());
            emptied |= kept.is_empty();
            *beads = kept;
            drop(beads);
            self.len.fetch_sub(gone.len(), Ordering::Relaxed);
            // Their destructors run without the lock.
            drop(gone);
        }
        if emptied {
            lock(&self.segments).retain(|segment| !lock(segment).is_empty());
        }
    }

    /// Calls `f` with every bead, the latest first. No lock is held meanwhile: it may use the chain.
    pub fn walk(&self, mut f: impl FnMut(&Arc<Bead>)) {
        for segment in self.segments().into_iter().rev() {
            let beads = lock(&segment).clone();
            beads.iter().rev().for_each(&mut f);
        }
    }

    fn segments(&self) -> Vec<Arc<Segment>> {
        lock(&self.segments).clone()
    }

    /// How many beads there are, about.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reloads those that `which` says, and returns how many of them will be compiled afresh.
    pub(crate) fn reload(&self, which: impl Fn(&Arc<Bead>) -> bool) -> usize {
        let mut reloaded = 0;
        self.walk(|bead| reloaded += usize::from(which(bead) && bead.reload().will_recompile()));
        reloaded
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
