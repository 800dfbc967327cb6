//! What was retired and cannot be freed yet, in the order of stamps; and which of it can be, as far as all participants have come.

use std::collections::BTreeMap;

use crate::{
    census::{Stacks, Standing},
    sync::Arc,
    unit::InstalledUnit,
    version::CodeVersion,
};

/// Something that waits for its grace period.
pub(crate) enum Retired<G> {
    Version(Arc<CodeVersion<G>>),
    Slot(u32),
}

/// Something nobody can be using any more.
pub(crate) enum Free<G> {
    Version(Arc<CodeVersion<G>>),
    /// Outlived its versions on somebody's stack.
    Unit(Arc<InstalledUnit>),
    Slot(u32),
}

impl<G> From<Retired<G>> for Free<G> {
    fn from(item: Retired<G>) -> Self {
        match item {
            Retired::Version(version) => Free::Version(version),
            Retired::Slot(id) => Free::Slot(id),
        }
    }
}

/// What collectors took from `limbo` and could not free yet, by stamp.
pub(crate) struct Aging<G> {
    versions: BTreeMap<u64, Aged<G>>,
    slots: BTreeMap<u64, u32>,
    pub(crate) stacks: Stacks,
    /// What of `versions` was stamped since the last census was asked for weighs.
    pub(crate) weight: u64,
}

struct Aged<G> {
    version: Arc<CodeVersion<G>>,
    weight: u64,
}

/// What came of one collection.
pub(crate) struct Collected<G> {
    pub(crate) free: Vec<Free<G>>,
    /// A census is asked for: the threads have to be told.
    pub(crate) asks: bool,
}

impl<G> Aging<G> {
    pub(crate) fn new() -> Self {
        Aging { versions: BTreeMap::new(), slots: BTreeMap::new(), stacks: Stacks::default(), weight: 0 }
    }

    pub(crate) fn add(&mut self, stamp: u64, weight: u64, item: Retired<G>) {
        match item {
            Retired::Version(version) => {
                self.weight += weight;
                self.versions.insert(stamp, Aged { version, weight });
            }
            Retired::Slot(id) => {
                self.slots.insert(stamp, id);
            }
        }
    }

    /// Takes out what everybody has passed, and says how many units it keeps for somebody's stack instead.
    pub(crate) fn free(&mut self, standings: &[Standing], asked: u64) -> (Vec<Free<G>>, usize) {
        let least = |of: fn(&Standing) -> u64| standings.iter().map(of).min().unwrap_or(u64::MAX);
        let slots = up_to(&mut self.slots, least(|standing| standing.seen));
        let mut free: Vec<_> = slots.into_values().map(Free::Slot).collect();
        free.extend(self.stacks.release(standings).into_iter().map(Free::Unit));
        let mut held = 0;
        for (stamp, aged) in up_to(&mut self.versions, least(|standing| standing.seen.max(standing.counted))) {
            if stamp > asked {
                self.weight -= aged.weight;
            }
            held += self.stacks.hold(stamp, aged.version.units(), standings);
            free.push(Free::Version(aged.version));
        }
        (free, held)
    }

    /// Everything, whether or not it may be freed: for the owner's teardown.
    pub(crate) fn take_all(&mut self) -> Vec<Free<G>> {
        let versions = std::mem::take(&mut self.versions).into_values().map(|aged| Free::Version(aged.version));
        let slots = std::mem::take(&mut self.slots).into_values().map(Free::Slot);
        versions.chain(slots).chain(self.stacks.take_all().map(Free::Unit)).collect()
    }
}

/// Splits off what has a stamp up to `last`.
fn up_to<T>(all: &mut BTreeMap<u64, T>, last: u64) -> BTreeMap<u64, T> {
    let later = last.checked_add(1).map_or_else(BTreeMap::new, |first| all.split_off(&first));
    std::mem::replace(all, later)
}
