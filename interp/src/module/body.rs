//! A body: one generation of a function's code, with all that was made of it and learnt of it.
//!
//! A function has the body it was loaded with for as long as its module lives, and one after the other those it is
//! [reloaded](super::Module::reload_from) with. Whatever runs a body runs it to the end, so a replaced one is freed when nothing
//! refers to it any more:
//!
//! - the function, until the next one takes its place;
//! - the guest handle of the broker's versions, until every thread has been quiescent or told what is on its stack;
//! - compiled code made of it ([`LowerCx::keep`](tierup::LowerCx::keep)), while that can be run;
//! - the stores in whose frames the interpreter runs it (`exec/frames.rs`), which say so when they are asked.
//!
//! So the interpreter counts nothing when it calls: between two polls of a thread nothing that it could reach is freed.

use std::ops::Range;
use std::sync::{Arc, Weak};

use wasmparser::{BinaryReader, FunctionBody};

use super::{Function, ModuleInner, features};
use crate::prepare::{Prepared, PreparedCell};

/// One generation of a function's code.
pub(crate) struct Body {
    module: Weak<ModuleInner>,
    /// The function's, in the module's index space, imports counted.
    pub(crate) index: u32,
    source: Source,
    /// What the interpreter made of it.
    pub(crate) prepared: PreparedCell,
}

/// Where the bytes are: locals and code.
enum Source {
    /// In the module's.
    Module(Range<usize>),
    /// Here; they were at `start` in the binary that they came with.
    Own { bytes: Box<[u8]>, start: usize },
}

impl Body {
    /// The one at `range` of the module's bytes.
    pub(super) fn loaded(module: Weak<ModuleInner>, index: u32, range: Range<usize>) -> Self {
        Self { module, index, source: Source::Module(range), prepared: PreparedCell::default() }
    }

    /// A later one, which was at `start` of another binary.
    pub(super) fn reloaded(module: Weak<ModuleInner>, index: u32, bytes: &[u8], start: usize) -> Arc<Self> {
        let source = Source::Own { bytes: bytes.into(), start };
        Arc::new(Self { module, index, source, prepared: PreparedCell::default() })
    }

    /// Whether it is the one that the function was loaded with.
    pub(crate) fn is_first(&self) -> bool {
        matches!(self.source, Source::Module(_))
    }

    /// Where it begins in the binary that it came with.
    pub(crate) fn start(&self) -> usize {
        match &self.source {
            Source::Module(range) => range.start,
            Source::Own { start, .. } => *start,
        }
    }

    /// Its bytes; `module` is the one it belongs to.
    pub(crate) fn bytes<'a>(&'a self, module: &'a ModuleInner) -> &'a [u8] {
        match &self.source {
            Source::Module(range) => &module.bytes[range.clone()],
            Source::Own { bytes, .. } => bytes,
        }
    }

    /// Its locals and operators, at the offsets they have in the binary that it came with.
    pub(crate) fn read<'a>(&'a self, module: &'a ModuleInner) -> FunctionBody<'a> {
        FunctionBody::new(BinaryReader::new_features(self.bytes(module), self.start() as u64, features()))
    }

    /// The interpreter's form of a body that it runs.
    ///
    /// # Panics
    ///
    /// If it was never prepared.
    pub(crate) fn running(&self) -> &Prepared {
        self.prepared.get().expect("what has frames was prepared")
    }

    /// The module it belongs to.
    ///
    /// # Safety
    ///
    /// That is alive for as long as the reference.
    pub(crate) unsafe fn module<'a>(&self) -> &'a ModuleInner {
        // SAFETY: by the caller; the module has been at this address since it was made.
        unsafe { &*self.module.as_ptr() }
    }

    /// The function whose body it is.
    ///
    /// # Safety
    ///
    /// The module is alive for as long as the reference.
    pub(crate) unsafe fn function<'a>(&self) -> &'a Function {
        // SAFETY: by the caller.
        unsafe { self.module() }.function(self.index).expect("a body is of a function that is defined")
    }

    /// A count that keeps it, if it could go at all.
    ///
    /// # Safety
    ///
    /// It is alive.
    pub(crate) unsafe fn hold(this: *const Self) -> Option<Arc<Self>> {
        // SAFETY: by the caller.
        if unsafe { (*this).is_first() } {
            return None;
        }
        // SAFETY: all but first ones are made by `reloaded`, and alive by the caller.
        unsafe {
            Arc::increment_strong_count(this);
            Some(Arc::from_raw(this))
        }
    }
}
