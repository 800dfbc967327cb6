//! From a pc back to the guest: a table indexed by page of the arena. Units own whole pages, so a lookup is two loads and a
//! binary search, takes no lock, and registering a unit copies nothing.

use std::{
    fmt,
    mem::ManuallyDrop,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwapOption;
use tierup_broker::UnitId;
use tierup_deopt::ExitTable;

use crate::lower::{Kept, Label};

/// Where a pc lies: one of the functions that are under way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// What the lowering passed to [`LowerCx::set_tag`](crate::LowerCx::set_tag).
    pub tag: u64,
    /// Bytes from the start of the unit's code.
    pub code_offset: u32,
    /// The CLIF source location in force there, if there is one.
    pub guest_offset: Option<u32>,
}

/// One function's code range, tag, and source locations by ascending code offset.
#[derive(Debug)]
pub(crate) struct FunctionMap {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) tag: u64,
    /// (first code offset, end, location).
    pub(crate) locations: Box<[(u32, u32, u32)]>,
    /// Where other functions are inlined, by ascending code offset. Comes before `locations`.
    pub(crate) chains: Box<[Chain]>,
}

/// What the lowerings of a unit's functions keep.
pub(crate) type AllKept = Box<[Kept]>;

/// Code of several functions that became one.
#[derive(Debug)]
pub(crate) struct Chain {
    /// First code offset.
    pub(crate) start: u32,
    /// Code offset behind the last.
    pub(crate) end: u32,
    /// Tag and location of each function that is under way, innermost first.
    pub(crate) frames: Box<[(u64, Option<u32>)]>,
}

impl FunctionMap {
    /// That of a function which nothing but its own lowering inlined anything into.
    pub(crate) fn new(start: usize, len: usize, label: &Label, locations: impl IntoIterator<Item = (u32, u32, u32)>) -> Self {
        let (locations, chains) = label.places.part(label.tag, locations);
        FunctionMap { start, len, tag: label.tag, locations: locations.into(), chains: chains.into() }
    }

    fn chain_at(&self, code_offset: u32) -> Option<&Chain> {
        let after = self.chains.partition_point(|chain| chain.start <= code_offset);
        self.chains[..after].last().filter(|chain| code_offset < chain.end)
    }

    fn location_at(&self, code_offset: u32) -> Option<u32> {
        let after = self.locations.partition_point(|&(start, ..)| start <= code_offset);
        let &(_, end, location) = self.locations[..after].last()?;
        (code_offset < end).then_some(location)
    }
}

/// One unit.
#[derive(Debug)]
struct UnitMap {
    /// `None`: compiled without a broker.
    unit: Option<UnitId>,
    /// By ascending address.
    functions: Box<[FunctionMap]>,
    /// `None`: there are none.
    exits: Option<Arc<ExitTable>>,
    /// What tags, exits and code refer to.
    _kept: AllKept,
}

const LEAF: usize = 512;
/// Not dropped one by one, which takes 200 instructions each: units keep the memory, and so the map, until they have left their slots.
type Leaf = [ManuallyDrop<ArcSwapOption<UnitMap>>; LEAF];

/// The map of one arena. Lock-free to read.
pub struct CodeMap {
    base: usize,
    page: usize,
    leaves: Box<[OnceLock<Box<Leaf>>]>,
}

impl fmt::Debug for CodeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeMap").field("base", &self.base).finish_non_exhaustive()
    }
}

impl CodeMap {
    pub(super) fn new(base: usize, page: usize, pages: u32) -> Self {
        let leaves = (pages as usize).div_ceil(LEAF);
        CodeMap { base, page, leaves: (0..leaves).map(|_| OnceLock::new()).collect() }
    }

    /// Where the instruction before `return_pc` lies, of inlined functions the innermost; `None` if that is not code of this arena.
    ///
    /// Exit pcs, and all pcs of [`Frames`](crate::abi::Frames), are return addresses.
    pub fn find_return(&self, return_pc: usize) -> Option<Position> {
        self.find(return_pc.checked_sub(1)?)
    }

    /// Where `pc` lies, of inlined functions the innermost.
    pub fn find(&self, pc: usize) -> Option<Position> {
        let mut innermost = None;
        self.each_at(pc, |position| innermost = innermost.or(Some(position)));
        innermost
    }

    /// Tells every function that is under way at the instruction before `return_pc`, innermost first: the frame's own, and before
    /// it those that were inlined. None if that is not code of this arena.
    pub fn each_return(&self, return_pc: usize, found: impl FnMut(Position)) {
        if let Some(pc) = return_pc.checked_sub(1) {
            self.each_at(pc, found);
        }
    }

    fn each_at(&self, pc: usize, mut found: impl FnMut(Position)) {
        let Some(unit) = self.unit_at(pc) else { return };
        let functions = &unit.functions;
        let Some(function) = functions[..functions.partition_point(|function| function.start <= pc)].last() else { return };
        let code_offset = pc - function.start;
        if code_offset >= function.len {
            return;
        }
        let code_offset = code_offset as u32;
        match function.chain_at(code_offset) {
            Some(chain) => {
                for &(tag, guest_offset) in &chain.frames {
                    found(Position { tag, code_offset, guest_offset });
                }
            }
            None => found(Position { tag: function.tag, code_offset, guest_offset: function.location_at(code_offset) }),
        }
    }

    /// The exits of the unit that `pc` lies in: the entry of an OSR variant, or the `exit_pc` of a body that left. `None` if it
    /// has none.
    pub fn exits(&self, pc: usize) -> Option<Arc<ExitTable>> {
        self.unit_at(pc)?.exits.clone()
    }

    /// The unit that the instruction before `return_pc` is of, as its broker knows it. `None` if that is not code of this arena, or
    /// was compiled without a broker.
    pub fn unit_of_return(&self, return_pc: usize) -> Option<UnitId> {
        self.slot_of(return_pc.checked_sub(1)?)?.load().as_ref()?.unit
    }

    fn unit_at(&self, pc: usize) -> Option<Arc<UnitMap>> {
        self.slot_of(pc)?.load_full()
    }

    fn slot_of(&self, pc: usize) -> Option<&ArcSwapOption<UnitMap>> {
        let page = pc.checked_sub(self.base)? / self.page;
        Some(&self.leaves.get(page / LEAF)?.get()?[page % LEAF])
    }

    /// Sets the slots of every page `unit` covers.
    fn set(&self, start: usize, len: usize, unit: Option<&Arc<UnitMap>>) {
        let pages = (start - self.base) / self.page..=(start + len.max(1) - 1 - self.base) / self.page;
        for page in pages {
            let empty = || Box::new([const { ManuallyDrop::new(ArcSwapOption::const_empty()) }; LEAF]);
            let leaf = self.leaves[page / LEAF].get_or_init(empty);
            leaf[page % LEAF].store(unit.cloned());
        }
    }
}

impl Drop for CodeMap {
    fn drop(&mut self) {
        let mut slots = self.leaves.iter_mut().filter_map(OnceLock::get_mut).flat_map(|leaf| leaf.iter());
        debug_assert!(slots.all(|slot| slot.load().is_none()), "a unit is still in the map");
    }
}

/// A unit's registration in its arena's map; dropped with the unit, before its pages.
#[derive(Debug)]
pub(crate) struct MappedUnit {
    memory: Arc<super::CodeMemory>,
    start: usize,
    len: usize,
}

impl MappedUnit {
    /// Enters functions in pages of their own, by ascending address; at least one.
    pub(crate) fn new(
        memory: &Arc<super::CodeMemory>,
        functions: Box<[FunctionMap]>,
        unit: Option<UnitId>,
        exits: Option<Arc<ExitTable>>,
        kept: AllKept,
    ) -> Self {
        debug_assert!(functions.is_sorted_by_key(|function| function.start));
        let (first, last) = (functions.first().expect("a unit has code"), functions.last().expect("a unit has code"));
        let (start, len) = (first.start, last.start + last.len - first.start);
        memory.map().set(start, len, Some(&Arc::new(UnitMap { unit, functions, exits, _kept: kept })));
        MappedUnit { memory: Arc::clone(memory), start, len }
    }
}

impl Drop for MappedUnit {
    fn drop(&mut self) {
        self.memory.map().set(self.start, self.len, None);
    }
}

#[cfg(test)]
mod tests {
    use super::{Chain, FunctionMap, MappedUnit};
    use crate::CodeMemory;

    #[test]
    fn pcs_map_to_tags_and_locations_until_the_unit_goes() {
        let memory = CodeMemory::reserve(8 << 20).unwrap();
        let start = memory.map().base + 3 * 4096;
        let locations = Box::from([(0, 4, 100), (4, 8, 101), (16, 5000, 102)]);
        let inlined = Chain { start: 4, end: 8, frames: Box::new([(9, Some(200)), (8, None)]) };
        let second = FunctionMap { start: start + 6016, len: 16, tag: 8, locations: Box::default(), chains: Box::new([inlined]) };
        let first = FunctionMap { start, len: 6000, tag: 7, locations, chains: Box::default() };
        let unit = MappedUnit::new(&memory, Box::new([first, second]), None, None, Box::default());
        let guest = |offset: usize| memory.map().find(start + offset).map(|at| (at.tag, at.guest_offset));
        assert_eq!(guest(0), Some((7, Some(100))));
        assert_eq!(guest(7), Some((7, Some(101))));
        assert_eq!(guest(8), Some((7, None)));
        assert_eq!(guest(4999), Some((7, Some(102))));
        assert_eq!(guest(5999), Some((7, None)));
        assert_eq!(guest(6000), None);
        assert_eq!((guest(6015), guest(6016), guest(6032)), (None, Some((8, None)), None));
        let under_way = |offset: usize| {
            let mut all = Vec::new();
            memory.map().each_return(start + offset, |at| all.push((at.tag, at.guest_offset)));
            all
        };
        assert_eq!(under_way(6016 + 4), [(8, None)]);
        assert_eq!(under_way(6016 + 8), [(9, Some(200)), (8, None)]);
        assert_eq!(under_way(6016 + 9), [(8, None)]);
        assert_eq!((under_way(1), under_way(6000 + 1)), (vec![(7, Some(100))], Vec::new()));
        assert_eq!(memory.map().find_return(start + 4).unwrap().guest_offset, Some(100));
        assert_eq!(memory.map().find(start - 1), None);
        drop(unit);
        assert_eq!(guest(0), None);
    }
}
