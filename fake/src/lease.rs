//! Leases that count themselves, so that a test can see that every unit is freed, and freed once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The leases one compiler has granted.
#[derive(Debug, Clone, Default)]
pub struct Leases {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    granted: AtomicUsize,
    dropped: AtomicUsize,
}

impl Leases {
    /// A new lease.
    pub fn grant(&self) -> Lease {
        self.counts.granted.fetch_add(1, Ordering::SeqCst);
        Lease { counts: Arc::clone(&self.counts) }
    }

    /// Leases granted so far.
    pub fn granted(&self) -> usize {
        self.counts.granted.load(Ordering::SeqCst)
    }

    /// Leases granted and not dropped.
    pub fn outstanding(&self) -> usize {
        self.granted() - self.counts.dropped.load(Ordering::SeqCst)
    }
}

/// One lease; dropping it is what freeing the code would be.
#[derive(Debug)]
pub struct Lease {
    counts: Arc<Counts>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::SeqCst);
    }
}
