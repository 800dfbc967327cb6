//! Where everything of a unit goes, as offsets from its beginning.

use std::collections::BTreeMap;

use super::{
    LoadError, MAX_UNIT_BYTES, RelocationKind,
    elf::{Input, Target},
};

/// `jmp qword ptr [rip + slot]` and two bytes of padding.
pub(super) const VENEER_BYTES: usize = 8;
/// Bytes of an address slot.
pub(super) const SLOT_BYTES: usize = 8;
/// Code and what it reads do not share a cache line.
const LINE: usize = 64;

/// Offsets of sections, veneers and slots.
#[derive(Debug)]
pub(super) struct Layout {
    sections: Vec<usize>,
    veneers: BTreeMap<usize, usize>,
    slots: BTreeMap<Target, usize>,
    code_end: usize,
    bytes: usize,
    align: usize,
}

impl Layout {
    pub(super) fn new(input: &Input<'_>) -> Result<Self, LoadError> {
        let mut layout = Layout {
            sections: vec![0; input.sections.len()],
            veneers: BTreeMap::new(),
            slots: BTreeMap::new(),
            code_end: 0,
            bytes: 0,
            align: LINE,
        };
        layout.place(input, true)?;
        let relocations = || input.sections.iter().flat_map(|section| &section.relocations);
        for relocation in relocations() {
            if let (RelocationKind::Call32, Target::Import(import)) = (relocation.kind, relocation.target)
                && !layout.veneers.contains_key(&import)
            {
                let veneer = layout.reserve(VENEER_BYTES, VENEER_BYTES)?;
                layout.veneers.insert(import, veneer);
            }
        }
        layout.code_end = layout.bytes;
        layout.reserve(0, LINE)?;
        let through_veneers = layout.veneers.keys().copied().map(Target::Import).collect::<Vec<_>>();
        let slots = relocations().filter(|relocation| relocation.kind == RelocationKind::Slot32);
        for target in slots.map(|relocation| relocation.target).chain(through_veneers) {
            if !layout.slots.contains_key(&target) {
                let slot = layout.reserve(SLOT_BYTES, SLOT_BYTES)?;
                layout.slots.insert(target, slot);
            }
        }
        layout.place(input, false)?;
        Ok(layout)
    }

    /// Bytes of the whole unit.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// End of sections of code and veneers: what lies below is filled up with traps, the rest with zeros.
    pub(super) fn code_end(&self) -> usize {
        self.code_end
    }

    pub(super) fn section(&self, index: usize) -> usize {
        self.sections[index]
    }

    /// What the unit's address is a multiple of.
    pub(super) fn align(&self) -> usize {
        self.align
    }

    /// Import → its veneer.
    pub(super) fn veneers(&self) -> &BTreeMap<usize, usize> {
        &self.veneers
    }

    /// Target → the slot that holds its address.
    pub(super) fn slots(&self) -> &BTreeMap<Target, usize> {
        &self.slots
    }

    fn place(&mut self, input: &Input<'_>, code: bool) -> Result<(), LoadError> {
        for (index, section) in input.sections.iter().enumerate().filter(|(_, section)| section.is_code == code) {
            self.align = self.align.max(section.align);
            self.sections[index] = self.reserve(section.bytes.len(), section.align)?;
        }
        Ok(())
    }

    /// Appends space. What is reserved never exceeds the limit, so offsets cannot overflow.
    fn reserve(&mut self, bytes: usize, align: usize) -> Result<usize, LoadError> {
        let start = self.bytes.next_multiple_of(align);
        match start.checked_add(bytes) {
            Some(end) if end <= MAX_UNIT_BYTES => self.bytes = end,
            _ => return Err(LoadError::TooLarge),
        }
        Ok(start)
    }
}
