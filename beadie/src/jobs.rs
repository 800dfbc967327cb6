//! Compile closures on their way to a worker.
//!
//! The broker's requests carry nothing: a worker asks for the job of the bead and tier it has been told to compile. So a job is put
//! here before its request is made. One that replaces another which was never taken is the newer of two for the same
//! request. The lock is held for a look-up, never while anything is compiled or dropped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Bead, broker::OsrCompileResult};

/// A compile closure.
pub(crate) type Job = Box<dyn FnOnce(&Arc<Bead>) -> OsrCompileResult + Send>;

/// The job of a closure that makes no OSR entries.
pub(crate) fn simple(compile: impl FnOnce(&Arc<Bead>) -> *mut () + Send + 'static) -> Job {
    Box::new(move |bead| OsrCompileResult { entry: compile(bead), osr: Vec::new() })
}

/// A bead by its number, and a tier.
type Key = (u32, usize);

/// The jobs of one home. `None` once that is closed.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<State>);

#[derive(Default)]
struct State {
    jobs: HashMap<Key, Job>,
    closed: bool,
}

/// Jobs that nobody will take, to be dropped without the lock.
#[must_use = "dropped where it is received, without the lock"]
pub(crate) struct Unused(#[allow(dead_code, reason = "only dropped")] Vec<Job>);

impl Jobs {
    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leaves a job for a worker. False when the home is closed.
    pub(crate) fn put(&self, bead: u32, tier: usize, job: Job) -> bool {
        let (accepted, unused) =
            self.with(|state| if state.closed { (false, Some(job)) } else { (true, state.jobs.insert((bead, tier), job)) });
        drop(unused);
        accepted
    }

    /// Leaves a job for a worker if `wanted` says so, and then calls `request`; nobody else who does likewise comes in between.
    pub(crate) fn put_if(&self, bead: u32, tier: usize, job: Job, wanted: impl FnOnce() -> bool, request: impl FnOnce()) -> Put {
        let (put, unused) = self.with(|state| {
            if state.closed {
                return (Put::Closed, Some(job));
            }
            if !wanted() {
                return (Put::Unwanted, Some(job));
            }
            let replaced = state.jobs.insert((bead, tier), job);
            request();
            (Put::Done, replaced)
        });
        drop(unused);
        put
    }

    pub(crate) fn take(&self, bead: u32, tier: usize) -> Option<Job> {
        self.with(|state| state.jobs.remove(&(bead, tier)))
    }

    /// Takes back what waits for a bead.
    pub(crate) fn forget(&self, bead: u32, tiers: usize) -> Unused {
        Unused(self.with(|state| (0..tiers).filter_map(|tier| state.jobs.remove(&(bead, tier))).collect()))
    }

    /// Takes everything back and refuses what comes.
    pub(crate) fn close(&self) -> Unused {
        Unused(self.with(|state| {
            state.closed = true;
            state.jobs.drain().map(|(_, job)| job).collect()
        }))
    }
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Done,
    Unwanted,
    Closed,
}
