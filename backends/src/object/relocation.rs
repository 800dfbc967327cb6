//! The relocations the loader knows: what LLVM emits for the small code model, position independent or not.

use object::elf;

/// A listed relocation. In the formulas *S* is the symbol, *A* the addend, *P* the patched place, *G* an address slot of the
/// unit that holds S, *L* S itself or, outside of the unit, a veneer that jumps there (System V ABI for x86-64, table 4.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RelocationKind {
    /// `R_X86_64_64`: S + A, 8 bytes.
    Absolute64,
    /// `R_X86_64_PC64`: S + A − P, 8 bytes.
    Relative64,
    /// `R_X86_64_PC32`: S + A − P, 4 bytes. Within the unit only: it may be data, which no veneer can stand for.
    Relative32,
    /// `R_X86_64_PLT32`: L + A − P, 4 bytes.
    Call32,
    /// `R_X86_64_GOTPCREL`, and the two kinds that would allow a linker to rewrite the instruction: G + A − P, 4 bytes.
    Slot32,
}

impl RelocationKind {
    /// By ELF's number.
    pub fn from_elf(number: u32) -> Option<Self> {
        Some(match number {
            elf::R_X86_64_64 => RelocationKind::Absolute64,
            elf::R_X86_64_PC64 => RelocationKind::Relative64,
            elf::R_X86_64_PC32 => RelocationKind::Relative32,
            elf::R_X86_64_PLT32 => RelocationKind::Call32,
            elf::R_X86_64_GOTPCREL | elf::R_X86_64_GOTPCRELX | elf::R_X86_64_REX_GOTPCRELX => RelocationKind::Slot32,
            _ => return None,
        })
    }

    /// Bytes it patches.
    pub(super) fn width(self) -> usize {
        match self {
            RelocationKind::Absolute64 | RelocationKind::Relative64 => 8,
            RelocationKind::Relative32 | RelocationKind::Call32 | RelocationKind::Slot32 => 4,
        }
    }
}
