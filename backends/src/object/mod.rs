//! The object loader: an ELF relocatable object in, a unit in the shared code arena out.
//!
//! One run of pages per object, writable while it is filled and then readable and executable, so that neighbouring units are
//! one mapping for the kernel, whatever is in them:
//!
//! ```text
//! code sections | veneers | address slots | constants
//! ```
//!
//! Code reaches everything of its own unit by 32-bit displacements, wherever the arena lies. What it calls outside may be
//! anywhere in the address space: such a call goes to a veneer, a `jmp` through the import's address slot. A jump leaves no
//! frame, so frame walks do not see veneers. Constants are readable through executable pages, as Cranelift's are.
//!
//! The image is put together in a buffer, by checked writes, and copied once. An object that is malformed, or asks for more
//! than the listed relocations and read-only sections, is refused by a [`LoadError`] that says what it was.

mod elf;
mod error;
mod image;
mod layout;
mod relocation;

use std::{collections::BTreeMap, sync::Arc};

pub use error::LoadError;
pub use relocation::RelocationKind;

use crate::{CodeMemory, abi::MAX_FRAME, code::CodePages};

/// Largest unit an object may make, in bytes. Far below the reach of a 32-bit displacement.
pub const MAX_UNIT_BYTES: usize = 64 << 20;

/// A loaded object. Dropping it frees its pages.
#[derive(Debug)]
pub struct LoadedObject {
    functions: Vec<LoadedFunction>,
    relocations: BTreeMap<RelocationKind, usize>,
    largest_frame: Option<u64>,
    code_bytes: usize,
    pages: CodePages,
}

/// A function of a loaded object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadedFunction {
    /// Its symbol.
    pub name: String,
    /// First instruction, as an address.
    pub start: usize,
    /// Bytes of machine code.
    pub len: usize,
}

impl LoadedObject {
    /// The functions it defines, by ascending address.
    pub fn functions(&self) -> &[LoadedFunction] {
        &self.functions
    }

    /// The function of this symbol.
    pub fn function(&self, name: &str) -> Option<&LoadedFunction> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The relocations that were applied, counted by kind.
    pub fn relocations(&self) -> &BTreeMap<RelocationKind, usize> {
        &self.relocations
    }

    /// The largest frame in bytes, if the object tells (`.stack_sizes`).
    pub fn largest_frame(&self) -> Option<u64> {
        self.largest_frame
    }

    /// Bytes of code, veneers, slots and constants.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    pub(crate) fn into_pages(self) -> CodePages {
        self.pages
    }
}

/// Places an object in `memory`, resolving undefined symbols by `resolve`.
///
/// Loading runs nothing. Whether calling what it defines is sound is up to whoever made the object and provides the symbols;
/// the arena is registered as code with the fault handler, so the object must keep frame pointers (`ABI.md`).
///
/// # Errors
///
/// [`LoadError`]; nothing stays allocated.
pub fn load(
    object: &[u8],
    memory: &Arc<CodeMemory>,
    resolve: &dyn Fn(&str) -> Option<*const u8>,
) -> Result<LoadedObject, LoadError> {
    let input = elf::read(object)?;
    if let Some(bytes) = input.largest_frame.filter(|&bytes| bytes > MAX_FRAME as u64) {
        return Err(LoadError::FrameTooLarge(bytes));
    }
    let addresses = input.imports.iter().map(|&name| match resolve(name) {
        Some(address) => Ok(address as u64),
        None => Err(LoadError::Unresolved(name.to_owned())),
    });
    let addresses = addresses.collect::<Result<Vec<u64>, _>>()?;
    let layout = layout::Layout::new(&input)?;
    let mut pages = memory.take(layout.bytes(), layout.align()).map_err(LoadError::OutOfCodeMemory)?;
    let base = pages.start() as usize;
    let image = image::build(&input, &layout, &addresses, base as u64)?;
    pages.seal_with(&image).map_err(LoadError::OutOfCodeMemory)?;

    let functions = input.functions.iter().map(|function| LoadedFunction {
        name: function.name.to_owned(),
        start: base + layout.section(function.section) + function.offset,
        len: function.size,
    });
    let mut functions: Vec<_> = functions.collect();
    let mut relocations = BTreeMap::new();
    for relocation in input.sections.iter().flat_map(|section| &section.relocations) {
        *relocations.entry(relocation.kind).or_default() += 1;
    }
    functions.sort_by_key(|function| function.start);
    Ok(LoadedObject { functions, relocations, largest_frame: input.largest_frame, code_bytes: image.len(), pages })
}
