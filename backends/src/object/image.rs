//! The bytes of a unit: sections copied, veneers and slots made, relocations applied, for the address it will have.

use super::{
    LoadError, RelocationKind,
    elf::{Input, Relocation, Section, Target},
    layout::{Layout, SLOT_BYTES, VENEER_BYTES},
};

/// `int3`: what a stray jump between functions meets.
const BREAKPOINT: u8 = 0xcc;

/// Builds the image of a unit whose first byte will be at `base`. `imports` are the addresses of the input's imports.
pub(super) fn build(input: &Input<'_>, layout: &Layout, imports: &[u64], base: u64) -> Result<Vec<u8>, LoadError> {
    let mut image = vec![0; layout.bytes()];
    image[..layout.code_end()].fill(BREAKPOINT);
    let place = Place { layout, imports, base };
    for (index, section) in input.sections.iter().enumerate() {
        image[layout.section(index)..][..section.bytes.len()].copy_from_slice(section.bytes);
    }
    for (&target, &slot) in layout.slots() {
        image[slot..][..SLOT_BYTES].copy_from_slice(&place.address(target).to_le_bytes());
    }
    for (&import, &veneer) in layout.veneers() {
        let slot = layout.slots()[&Target::Import(import)];
        // The slots come after the veneers, by less than `MAX_UNIT_BYTES`; the displacement counts from the jump's end.
        let displacement = (slot - (veneer + 6)) as u32;
        image[veneer..][..VENEER_BYTES]
            .copy_from_slice(&[&[0xff, 0x25][..], &displacement.to_le_bytes(), &[BREAKPOINT; VENEER_BYTES - 6]].concat());
    }
    for (index, section) in input.sections.iter().enumerate() {
        for relocation in &section.relocations {
            let at = layout.section(index) + relocation.offset;
            let value = place.value(relocation, section, base + at as u64)?;
            let width = relocation.kind.width();
            image[at..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
    }
    Ok(image)
}

/// Addresses, once the base is known.
struct Place<'a> {
    layout: &'a Layout,
    imports: &'a [u64],
    base: u64,
}

impl Place<'_> {
    fn address(&self, target: Target) -> u64 {
        match target {
            Target::Place { section, offset } => self.base + (self.layout.section(section) + offset) as u64,
            Target::Import(import) => self.imports[import],
        }
    }

    /// What `relocation` writes at address `at`; its lower half when it is 4 bytes wide.
    fn value(&self, relocation: &Relocation, section: &Section<'_>, at: u64) -> Result<u64, LoadError> {
        let refuse = |why| {
            let (kind, offset) = (relocation.kind, relocation.offset as u64);
            Err(LoadError::Unrelocatable { kind, section: section.name.clone(), offset, why })
        };
        let symbol = match (relocation.kind, relocation.target) {
            (RelocationKind::Relative32, Target::Import(_)) => return refuse("refers to something outside of the unit"),
            (RelocationKind::Call32, Target::Import(import)) => self.base + self.layout.veneers()[&import] as u64,
            (RelocationKind::Slot32, target) => self.base + self.layout.slots()[&target] as u64,
            (_, target) => self.address(target),
        };
        let value = symbol.wrapping_add_signed(relocation.addend);
        if relocation.kind == RelocationKind::Absolute64 {
            return Ok(value);
        }
        let relative = value.wrapping_sub(at);
        if relocation.kind.width() == 4 && i32::try_from(relative.cast_signed()).is_err() {
            return refuse("does not reach");
        }
        Ok(relative)
    }
}
