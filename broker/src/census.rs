//! The census: frees code that was retired beneath a native `main` that never returns.
//!
//! Such a thread has no quiescent point, so `retire.rs` alone would keep all that was retired since it began. But a thread that runs
//! native code holds little: code reaches its stack by being called, and between the load of an entry and its call no thread
//! polls. So *at a poll* it holds the units that have frames on its stack, and nothing else.
//!
//! ```text
//! reclaimer:  enough was retired ── asked := a fresh epoch ── raise the poll cells
//! thread:     poll ── read the epoch, e ── walk the stack: units U ── publish (e, U) ── go on
//! reclaimer:  take the reports ── free what was stamped s if for each thread:
//!               offline, or quiescent since s, or e ≥ s and the unit is not in U
//! ```
//!
//! Why that is enough. What is stamped `s ≤ e` was unlinked before the thread read `e` (as at a quiescent point), so nothing that
//! it loads from then on leads there; what it had loaded before is in `U`, or was done with, which the publication carries. And so
//! a report stays true for ever: a unit that is not in it does not come back, and one that is stays only until a later report, which
//! says more, or until the thread is quiescent or offline. Reports of a participant's earlier owners are harmless: whoever took it
//! over is online at an epoch that is not below theirs.
//!
//! *Versions* are held by nobody at a poll, native callers included: they go whole, and of their units only those that somebody
//! reported are kept, one by one, so that a body that is on the stack does not keep each version it was ever part of. *Slots* of
//! released beads wait for quiescence as before: code that is on the stack may name them.
//!
//! *Parked*, a thread loads nothing, so what it reported before stands for every later epoch, `PARKED`. Coming back it passes
//! the fence of `Reclaimer::unpark`, which pairs with the one in `Reclaimer::collect`: either the collector does not see
//! it parked, or the thread sees what was unlinked. From then on the report speaks for its own epoch again.
//!
//! A census is asked for when what was retired since the last one, and still waits, is worth more than a budget that grows with the
//! code in use, as in V8; so its cost is a share of the cost of compiling what it frees.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, ptr,
};

use crate::{
    UnitId,
    mutation::ordering,
    sync::{Arc, AtomicPtr, Built},
    unit::InstalledUnit,
};

/// The units that have frames on a thread's stack, as [its walk](crate::InterpThread::poll_with) tells them.
#[derive(Default)]
pub struct StackReport {
    units: BTreeSet<u64>,
    last: Option<u64>,
}

impl StackReport {
    /// A frame of this unit is on the stack. Any order, any number of times.
    #[inline]
    pub fn add(&mut self, unit: UnitId) {
        if self.last != Some(unit.serial) {
            self.last = Some(unit.serial);
            self.units.insert(unit.serial);
        }
    }

    /// How many units were told.
    pub fn units(&self) -> usize {
        self.units.len()
    }
}

impl fmt::Debug for StackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackReport").field("units", &self.units).finish_non_exhaustive()
    }
}

/// A report, and when it was made.
pub(crate) struct Counted {
    pub(crate) epoch: u64,
    pub(crate) report: StackReport,
    pub(crate) built: Built,
}

/// A participant's latest report, until a collector takes it.
pub(crate) struct Mailbox(AtomicPtr<Counted>);

impl Mailbox {
    pub(crate) fn new() -> Self {
        Mailbox(AtomicPtr::new(ptr::null_mut()))
    }

    /// Publishes a report. One that nobody took is out of date.
    pub(crate) fn put(&self, counted: Counted) {
        // Ordering: AcqRel. Pairs with: the swap in `take`. Carries: the report, and the end of every use of code that is not in it.
        // Weaker fails: the collector frees what a frame that is gone still seems to run. Test: loom census_vs_return.
        let old = self.0.swap(Box::into_raw(Box::new(counted)), ordering!(ReportPut: AcqRel));
        drop(Self::own(old));
    }

    pub(crate) fn take(&self) -> Option<Box<Counted>> {
        // Ordering: AcqRel. Pairs with: the swap in `put`.
        let counted = Self::own(self.0.swap(ptr::null_mut(), ordering!(ReportTake: AcqRel)));
        counted.iter().for_each(|counted| counted.built.seen());
        counted
    }

    fn own(counted: *mut Counted) -> Option<Box<Counted>> {
        // SAFETY: made by `Box::into_raw` in `put`; whoever swaps it out has it for itself.
        (!counted.is_null()).then(|| unsafe { Box::from_raw(counted) })
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// How far a participant that is online has come, as its collector sees it.
pub(crate) struct Standing {
    /// Which participant.
    pub(crate) who: usize,
    /// The epoch of its last quiescent point.
    pub(crate) seen: u64,
    /// The epoch its latest report speaks for; 0 if it never made one.
    pub(crate) counted: u64,
}

/// What collectors know of the threads' stacks. Only with the collectors' lock.
#[derive(Default)]
pub(crate) struct Stacks {
    reports: BTreeMap<usize, Box<Counted>>,
    /// Units no version of which waits any more, by serial, with the latest stamp of one that did.
    held: BTreeMap<u64, (u64, Arc<InstalledUnit>)>,
}

impl Stacks {
    /// Takes a participant's new report, if there is one, and says for which epoch its latest one speaks.
    ///
    /// The caller has looked before whether the participant is parked: the report is then no older than what it saw.
    pub(crate) fn update(&mut self, who: usize, mailbox: &Mailbox) -> u64 {
        if let Some(counted) = mailbox.take() {
            self.reports.insert(who, counted);
        }
        self.reports.get(&who).map_or(0, |counted| counted.epoch)
    }

    /// A version that every participant has passed is freed: keeps those of its units that are on a stack.
    pub(crate) fn hold<'u>(
        &mut self,
        stamp: u64,
        units: impl Iterator<Item = &'u Arc<InstalledUnit>>,
        standings: &[Standing],
    ) -> usize {
        let before = self.held.len();
        for unit in units {
            if self.is_held(stamp, unit.serial(), standings) {
                let held = self.held.entry(unit.serial()).or_insert_with(|| (stamp, Arc::clone(unit)));
                held.0 = held.0.max(stamp);
            }
        }
        self.held.len() - before
    }

    /// The units that nobody holds any more.
    pub(crate) fn release(&mut self, standings: &[Standing]) -> Vec<Arc<InstalledUnit>> {
        let gone: Vec<_> = { self.held.iter() }
            .filter(|&(&serial, &(stamp, _))| !self.is_held(stamp, serial, standings))
            .map(|(&serial, _)| serial)
            .collect();
        gone.iter().filter_map(|serial| self.held.remove(serial)).map(|(_, unit)| unit).collect()
    }

    /// Everything, for the owner's teardown.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Arc<InstalledUnit>> + use<> {
        std::mem::take(&mut self.held).into_values().map(|(_, unit)| unit)
    }

    /// Bytes of code that no bead has any more and a thread has on its stack.
    pub(crate) fn bytes(&self) -> u64 {
        self.held.values().filter(|(_, unit)| unit.is_retired()).map(|(_, unit)| unit.code_bytes as u64).sum()
    }

    fn is_held(&self, stamp: u64, serial: u64, standings: &[Standing]) -> bool {
        let reports = |who| self.reports.get(who).is_some_and(|counted| counted.report.units.contains(&serial));
        standings.iter().any(|standing| standing.seen < stamp && (standing.counted < stamp || reports(&standing.who)))
    }
}

impl fmt::Debug for Stacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stacks").field("held", &self.held.len()).finish_non_exhaustive()
    }
}
