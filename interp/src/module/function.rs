//! A defined function: its bead, its body and what the interpreter caches of it.

use std::ops::Range;
use std::sync::{Arc, Weak};

use tierup::Bead;
use wasmparser::{FuncValidator, FunctionBody, ValidatorResources};

use super::{ModuleInner, TypeEntry};
use crate::error::Error;
use crate::prepare::PreparedCell;
use crate::types::FuncType;

/// What the broker hands to a compiler: enough to find the body, nothing that keeps the module alive.
#[derive(Clone)]
pub struct FuncHandle {
    pub(crate) module: Weak<ModuleInner>,
    /// In the module's index space, imports counted.
    pub(crate) index: u32,
}

impl FuncHandle {
    /// The function's index in its module, imports counted.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The function's name, while its module is loaded and if it has one.
    pub fn name(&self) -> Option<String> {
        self.module.upgrade()?.function_name(self.index).map(str::to_owned)
    }

    /// What events call the function: its name, or its number.
    pub(crate) fn describe(&self) -> String {
        self.name().unwrap_or_else(|| format!("function {}", self.index))
    }

    /// The module, unless it was dropped.
    pub(crate) fn module(&self) -> Option<Arc<ModuleInner>> {
        self.module.upgrade()
    }
}

impl std::fmt::Debug for FuncHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FuncHandle").field("index", &self.index).finish_non_exhaustive()
    }
}

/// A function the module defines.
pub(crate) struct Function {
    /// In the module's index space, imports counted.
    pub(crate) index: u32,
    /// Its type, with the engine-wide number beside it.
    pub(crate) ty: FuncType,
    pub(crate) canonical: u32,
    /// Where in the module's bytes the body is (locals and code).
    pub(crate) body: Range<usize>,
    /// Its tiering record.
    pub(crate) bead: Bead<FuncHandle>,
    /// What the interpreter made of the body, once it was called.
    pub(crate) prepared: PreparedCell,
}

impl Function {
    pub(super) fn new(index: u32, entry: &TypeEntry, body: Range<usize>, bead: Bead<FuncHandle>) -> Self {
        Self { index, ty: entry.ty.clone(), canonical: entry.canonical, body, bead, prepared: PreparedCell::default() }
    }
}

/// Validates a whole body, telling undecodable bytes from broken rules.
///
/// # Errors
///
/// [`Error::Malformed`], [`Error::Invalid`] or [`Error::Unsupported`].
pub(crate) fn validate(validator: &mut FuncValidator<ValidatorResources>, body: FunctionBody<'_>) -> Result<(), Error> {
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader).map_err(|e| Error::invalid(&e))?;
    while !reader.eof() {
        let position = reader.original_position();
        reader
            .visit_operator(&mut validator.visitor(position))
            .map_err(|e| Error::malformed(&e))?
            .map_err(|e| Error::invalid(&e))?;
    }
    reader.finish_expression(&validator.visitor(reader.original_position())).map_err(|e| Error::malformed(&e))
}
