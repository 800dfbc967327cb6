//! Why an object is not loaded.

use std::io;

use crate::abi::MAX_FRAME;

/// What the loader refuses, and why. Nothing of a refused object stays behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes are not a well-formed ELF file.
    #[error("malformed object: {0}")]
    Malformed(String),
    /// A well-formed ELF file, but not a relocatable object for x86-64.
    #[error("not a relocatable x86-64 object")]
    WrongKind,
    /// A section that would have to be placed and cannot: writable data, thread-local data, an alignment above a page.
    #[error("section `{name}`: {why}")]
    Section {
        /// The section's name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A relocation outside the listed set.
    #[error("relocation type {kind} in section `{section}`")]
    Relocation {
        /// ELF's number for it.
        kind: u32,
        /// The section it patches.
        section: String,
    },
    /// A listed relocation that cannot be applied here.
    #[error("{kind:?} relocation at {offset:#x} of section `{section}`: {why}")]
    Unrelocatable {
        /// The relocation.
        kind: super::RelocationKind,
        /// The section it patches.
        section: String,
        /// Where in that section.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A symbol that is neither defined in a placed section nor undefined.
    #[error("symbol `{name}`: {why}")]
    Symbol {
        /// The symbol's name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An undefined symbol that nobody provides.
    #[error("unknown symbol `{0}`")]
    Unresolved(String),
    /// A frame larger than the stack check covers.
    #[error("a frame of {0} bytes, {MAX_FRAME} allowed")]
    FrameTooLarge(u64),
    /// The object would take more memory than one unit may.
    #[error("larger than {limit} bytes", limit = super::MAX_UNIT_BYTES)]
    TooLarge,
    /// No code memory is left.
    #[error("out of code memory")]
    OutOfCodeMemory(#[source] io::Error),
}

impl LoadError {
    pub(super) fn malformed(what: &str) -> Self {
        LoadError::Malformed(what.to_owned())
    }
}

impl From<object::read::Error> for LoadError {
    fn from(error: object::read::Error) -> Self {
        LoadError::Malformed(error.to_string())
    }
}
