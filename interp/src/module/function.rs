//! A defined function: its bead, and the body it has now.

use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use tierup::Bead;
use wasmparser::{FuncValidator, FunctionBody, ValidatorResources};

use super::{Body, ModuleInner, TypeEntry};
use crate::error::Error;
use crate::prepare::{self, Entered, Prepared};
use crate::types::FuncType;

/// What the broker hands to a compiler: enough to find the body, nothing that keeps the module alive.
#[derive(Clone)]
pub struct FuncHandle {
    pub(crate) module: Weak<ModuleInner>,
    /// In the module's index space, imports counted.
    pub(crate) index: u32,
    /// `None`: the body it was loaded with.
    pub(crate) body: Option<Arc<Body>>,
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

    /// The body that code for this handle is made of; `function` is the handle's.
    pub(crate) fn body<'a>(&'a self, function: &'a Function) -> &'a Body {
        self.body.as_deref().unwrap_or(&function.first)
    }

    /// Whether that is `body`, which is one of the same function.
    pub(crate) fn is_of(&self, body: &Body) -> bool {
        self.body.as_deref().map_or(body.is_first(), |own| std::ptr::eq(own, body))
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
    /// The body it was loaded with.
    pub(crate) first: Body,
    /// Its tiering record.
    pub(crate) bead: Bead<FuncHandle>,
    /// The index of that, where machine code finds it.
    pub(crate) bead_index: u32,
    /// The body it has now, if that is another: until there is one nobody touches what the swap keeps for each thread.
    later: OnceLock<ArcSwap<Body>>,
    /// The interpreter's form of the body it has now, once that was made: what calls enter.
    pub(crate) entered: Entered,
}

impl Function {
    pub(super) fn new(entry: &TypeEntry, first: Body, bead: Bead<FuncHandle>) -> Self {
        let (ty, canonical) = (entry.ty.clone(), entry.canonical);
        let (index, bead_index) = (first.index, bead.as_ref().index());
        let (later, entered) = (OnceLock::new(), Entered::default());
        Self { index, ty, canonical, first, bead, bead_index, later, entered }
    }

    /// The body it has now, if that is not the first.
    pub(crate) fn later(&self) -> Option<Arc<Body>> {
        Some(self.later.get()?.load_full())
    }

    /// Whether it has this body now. (One of those that read the same answer at different times may be wrong; see the callers.)
    pub(crate) fn has(&self, body: &Body) -> bool {
        match self.later.get() {
            None => body.is_first(),
            Some(later) => std::ptr::eq(&raw const **later.load(), body),
        }
    }

    /// The interpreter's form of the body it has now, made if there is none.
    ///
    /// # Errors
    ///
    /// As [`prepare::ensure`].
    ///
    /// # Safety
    ///
    /// The calling thread runs a guest, and the reference is not used after its next poll unless the body has a frame there.
    pub(crate) unsafe fn enter<'a>(&self, module: &ModuleInner) -> Result<&'a Prepared, Error> {
        // SAFETY: passed on.
        if let Some(prepared) = unsafe { self.entered.get() } {
            return Ok(prepared);
        }
        let later = self.later();
        let prepared = prepare::ensure(module, later.as_deref().unwrap_or(&self.first))?;
        self.entered.begin_with(prepared);
        // SAFETY: passed on.
        Ok(unsafe { self.entered.get() }.expect("it has just been set"))
    }

    /// Gives it another body, which was prepared. Calls by the interpreter that begin after this enter that; the broker is not told.
    /// One reloads at a time.
    pub(super) fn replace(&self, body: &Arc<Body>) {
        self.entered.replace(body.running());
        if let Err(body) = self.later.set(ArcSwap::new(Arc::clone(body))) {
            self.later.get().expect("it has one").store(body.into_inner());
        }
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
