//! The OSR variants of a version, by loop site.
//!
//! Running code finds one in five instructions: the bead's code word leads to a face, whose second word leads to a dense table
//! of entries that begins with its length. A function without variants has a table of length 0, so there is no other test.

use std::{fmt, ptr};

use crate::{Tier, sync::Arc, unit::InstalledUnit};

/// A word of a table: its length, or an entry, null where there is no variant.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Word(*const u8);

// SAFETY: a number, or an address that is only called, by whoever vouches for it.
unsafe impl Send for Word {}
// SAFETY: as above; tables are never written after they are made.
unsafe impl Sync for Word {}

static EMPTY: [Word; 1] = [Word(ptr::null())];

/// Where a face finds the entries of its version's variants.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Table(*const Word);

impl Table {
    /// The table of everything without variants.
    pub(crate) const EMPTY: Table = Table(EMPTY.as_ptr());

    /// The entry of a site's variant; null when there is none.
    ///
    /// # Safety
    ///
    /// The version whose table this is has not been freed.
    #[inline(always)]
    pub(crate) unsafe fn entry(self, site: usize) -> *const u8 {
        // SAFETY: a table begins with its length; it lives as long as its version (caller).
        let length = unsafe { *self.0 }.0.addr();
        if site >= length {
            return ptr::null();
        }
        // SAFETY: `length` entries follow.
        unsafe { (*self.0.add(1 + site)).0 }
    }
}

/// The variants of one version. Immutable, and shared by versions that have the same ones.
#[derive(Clone)]
pub(crate) struct Variants(Option<Arc<Shelf>>);

struct Shelf {
    words: Box<[Word]>,
    /// By site; as long as the table.
    units: Box<[Option<Arc<InstalledUnit>>]>,
    /// At which site each is found first.
    firsts: Box<[u32]>,
}

impl Variants {
    pub(crate) const NONE: Variants = Variants(None);

    /// These, but for the site this one, which replaces lower ones wherever else it can be entered.
    pub(crate) fn with(&self, site: u32, unit: &Arc<InstalledUnit>) -> Self {
        let mut units = self.units().to_vec();
        for at in unit.entered_at.iter().copied().chain([site]) {
            units.resize(units.len().max(at as usize + 1), None);
            if at == site || self.tier_at(at) < unit.tier {
                units[at as usize] = Some(Arc::clone(unit));
            }
        }
        Self::of(units)
    }

    /// Those of these that `keep` says.
    pub(crate) fn keeping(&self, keep: impl Fn(&InstalledUnit) -> bool) -> Self {
        if self.each().all(|(_, unit)| keep(unit)) {
            return self.clone();
        }
        Self::of(self.units().iter().map(|unit| unit.as_ref().filter(|unit| keep(unit)).cloned()).collect())
    }

    fn of(units: Vec<Option<Arc<InstalledUnit>>>) -> Self {
        let entry = |unit: &Option<Arc<InstalledUnit>>| Word(unit.as_ref().map_or(ptr::null(), |unit| unit.entry.as_ptr()));
        let length = Word(ptr::without_provenance(units.len()));
        let words = std::iter::once(length).chain(units.iter().map(entry)).collect();
        let mut firsts: Vec<u32> = Vec::new();
        for (site, unit) in (0..).zip(&units) {
            let is_it = |first: &u32| units[*first as usize].as_ref().zip(unit.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
            if unit.is_some() && !firsts.iter().any(is_it) {
                firsts.push(site);
            }
        }
        Variants(Some(Arc::new(Shelf { words, units: units.into(), firsts: firsts.into() })))
    }

    pub(crate) fn table(&self) -> Table {
        self.0.as_ref().map_or(Table::EMPTY, |shelf| Table(shelf.words.as_ptr()))
    }

    pub(crate) fn at(&self, site: u32) -> Option<&Arc<InstalledUnit>> {
        self.units().get(site as usize)?.as_ref()
    }

    /// The tier of a site's variant: the interpreter when there is none.
    pub(crate) fn tier_at(&self, site: u32) -> Tier {
        self.at(site).map_or(Tier::INTERPRETER, |unit| unit.tier)
    }

    /// The highest tier of any.
    pub(crate) fn highest(&self) -> Tier {
        self.each().map(|(_, unit)| unit.tier).max().unwrap_or(Tier::INTERPRETER)
    }

    /// Each unit once, with the first of its sites.
    pub(crate) fn each(&self) -> impl Iterator<Item = (u32, &Arc<InstalledUnit>)> {
        let firsts = self.0.as_ref().map_or(&[][..], |shelf| &shelf.firsts);
        firsts.iter().filter_map(|&site| Some((site, self.at(site)?)))
    }

    /// Site by site.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<InstalledUnit>)> {
        (0..).zip(self.units()).filter_map(|(site, unit)| Some((site, unit.as_ref()?)))
    }

    fn units(&self) -> &[Option<Arc<InstalledUnit>>] {
        self.0.as_ref().map_or(&[], |shelf| &shelf.units)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Pointer::fmt(&self.0, f)
    }
}

impl fmt::Debug for Variants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
