//! A loaded module: everything but function bodies decoded and validated, bodies kept as ranges of the bytes.
//!
//! A body is validated when it is first needed, by whoever needs it: the interpreter at a function's first call, the
//! lowering on a worker. [`Module::validate_all`] does all of them.

mod body;
mod closed;
mod compare;
mod function;
mod names;
mod parse;
mod reload;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use wasmparser::{FuncToValidate, ValidatorResources, WasmFeatures};

use crate::engine::Engine;
use crate::error::Error;
use crate::types::{ExternType, FuncType, GlobalType, MemoryType, TableType};
use crate::unwritten::AllUnwritten;
use crate::vmctx;

pub(crate) use body::Body;
pub use compare::Part;
pub use function::FuncHandle;
pub(crate) use function::Function;
use reload::LaterBodies;
pub use reload::{ReloadError, Reloaded};

/// A module, shared: cloning is cheap, and instances of it in any number of stores share its code.
#[derive(Clone)]
pub struct Module(pub(crate) Arc<ModuleInner>);

/// A module's contents. Nothing in it changes after loading but the functions' bodies, and what they cache.
pub(crate) struct ModuleInner {
    pub(crate) engine: Engine,
    pub(crate) bytes: Arc<[u8]>,
    /// What validating a body needs; `None` only for a module without bodies.
    pub(crate) resources: Option<ValidatorResources>,
    /// The type section, with engine-wide numbers.
    pub(crate) types: Box<[TypeEntry]>,
    pub(crate) imports: Box<[Import]>,
    /// Type index of every function, imports first.
    pub(crate) function_types: Box<[u32]>,
    /// Every table, imports first.
    pub(crate) tables: Box<[TableType]>,
    /// Every memory, imports first (at most one in this feature set).
    pub(crate) memories: Box<[MemoryType]>,
    /// Every global's type, imports first.
    pub(crate) globals: Box<[GlobalType]>,
    /// Initial values of the defined globals.
    pub(crate) global_inits: Box<[ConstExpr]>,
    pub(crate) exports: Box<[Export]>,
    pub(crate) elements: Box<[ElementSegment]>,
    pub(crate) data: Box<[DataSegment]>,
    pub(crate) start: Option<u32>,
    pub(crate) imported_functions: u32,
    pub(crate) imported_tables: u32,
    pub(crate) imported_memories: u32,
    pub(crate) imported_globals: u32,
    /// The defined functions.
    pub(crate) functions: Box<[Function]>,
    /// Where the name section's contents are.
    name_section: Option<Range<usize>>,
    names: OnceLock<names::Names>,
    /// What nobody has written to.
    pub(crate) unwritten: AllUnwritten,
    initial_tables: closed::InitialTables,
    later: LaterBodies,
}

/// A type of the type section.
#[derive(Debug, Clone)]
pub(crate) struct TypeEntry {
    pub(crate) ty: FuncType,
    /// The engine-wide number: equal numbers, equal types, in every module of the engine.
    pub(crate) canonical: u32,
}

/// An import, with its type resolved.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) module: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) kind: ImportKind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ImportKind {
    /// By type index.
    Func(u32),
    Table(TableType),
    Memory(MemoryType),
    Global(GlobalType),
}

#[derive(Debug)]
pub(crate) struct Export {
    pub(crate) name: Box<str>,
    pub(crate) kind: ExportKind,
    /// In the index space of its kind.
    pub(crate) index: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExportKind {
    Func,
    Table,
    Memory,
    Global,
}

/// A constant expression, decoded. This feature set allows exactly one instruction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ConstExpr {
    /// A slot's value; null references included.
    Value(u64),
    /// The value of an imported global.
    Global(u32),
    /// A reference to a function of the module.
    Func(u32),
}

#[derive(Debug)]
pub(crate) struct ElementSegment {
    pub(crate) items: Box<[ConstExpr]>,
    pub(crate) mode: SegmentMode,
}

#[derive(Debug)]
pub(crate) struct DataSegment {
    /// In the module's bytes.
    pub(crate) bytes: Range<usize>,
    pub(crate) mode: SegmentMode,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SegmentMode {
    /// Copied into table or memory `index` at instantiation, then dropped.
    Active { index: u32, offset: ConstExpr },
    /// Kept for `memory.init` or `table.init`.
    Passive,
    /// Declares functions only: dropped at instantiation.
    Declared,
}

impl Module {
    /// Decodes `bytes`, validates everything but function bodies and registers the functions with the engine's broker.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::Invalid`] or [`Error::Unsupported`] with the offset; [`Error::Engine`] when the
    /// engine takes no more functions.
    pub fn new(engine: &Engine, bytes: impl Into<Arc<[u8]>>) -> Result<Self, Error> {
        parse::parse(engine, bytes.into()).map(Self)
    }

    /// Validates every function body.
    ///
    /// # Errors
    ///
    /// The first error, in the order of the bodies.
    pub fn validate_all(&self) -> Result<(), Error> {
        self.validate_each().try_for_each(|(_, verdict)| verdict)
    }

    /// Validates the body that each defined function has now: its index, imports counted, and what is wrong with it.
    pub fn validate_each(&self) -> impl Iterator<Item = (u32, Result<(), Error>)> {
        let mut allocations = wasmparser::FuncValidatorAllocations::default();
        self.0.functions.iter().map(move |function| {
            let mut validator = self.0.validator(function).into_validator(std::mem::take(&mut allocations));
            let later = function.later();
            let body = later.as_deref().unwrap_or(&function.first);
            let verdict = function::validate(&mut validator, body.read(&self.0));
            allocations = validator.into_allocations();
            (function.index, verdict)
        })
    }

    /// The engine it was loaded into.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// What it needs: module name, name and type of each import, in order.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = (&str, &str, ExternType)> {
        self.0.imports.iter().map(|import| (&*import.module, &*import.name, self.0.import_type(import.kind)))
    }

    /// What it offers: name and type of each export, in order.
    pub fn exports(&self) -> impl ExactSizeIterator<Item = (&str, ExternType)> {
        self.0.exports.iter().map(|export| (&*export.name, self.0.export_type(export)))
    }

    /// How many functions it defines.
    pub fn defined_functions(&self) -> u32 {
        self.0.functions.len() as u32
    }

    /// How many functions it imports; defined functions' indices start here.
    pub fn imported_functions(&self) -> u32 {
        self.0.imported_functions
    }

    /// Returns function `index`, imports counted, to the interpreter, in all instances and on all threads: its code is not entered any
    /// more, and code that is running is left at its next poll if it [can be](crate::Config::leaves_at_polls), else where it returns. The ticket
    /// is done when all threads have polled. It may tier up again; [`Broker::disable`](tierup::Broker::disable) keeps it from that.
    ///
    /// `None` if the module defines no such function.
    pub fn tier_down(&self, index: u32) -> Option<tierup::BreakTicket<FuncHandle>> {
        self.0.engine.broker().tier_down(self.0.function(index)?.bead.as_ref())
    }

    /// Compiles function `index`, imports counted, for a tier, on the calling thread, and installs it: who knows what will be hot need not
    /// wait until that shows. Returns at once when it runs in that tier, or a higher one, already.
    ///
    /// `None` if the module defines no such function.
    ///
    /// # Errors
    ///
    /// Why it does not run in that tier now, as [`Broker::compile_now`](tierup::Broker::compile_now) says.
    pub fn tier_up(&self, index: u32, tier: tierup::Tier) -> Option<Result<(), tierup::CompileNowError>> {
        Some(self.0.engine.broker().compile_now(self.0.function(index)?.bead.as_ref(), tier))
    }

    /// What events call function `index`, imports counted. `None` if the module defines no such function.
    pub fn bead_id(&self, index: u32) -> Option<tierup::BeadId> {
        Some(self.0.function(index)?.bead.id())
    }

    /// Bytes of the body of function `index`, imports counted: what policies are told. `None` if the module defines no such function.
    pub fn body_size(&self, index: u32) -> Option<u32> {
        let function = self.0.function(index)?;
        let later = function.later();
        Some(later.as_deref().unwrap_or(&function.first).bytes(&self.0).len() as u32)
    }

    /// The name the name section gives function `index`, imports counted.
    pub fn function_name(&self, index: u32) -> Option<&str> {
        self.0.function_name(index)
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("bytes", &self.0.bytes.len())
            .field("functions", &self.0.functions.len())
            .finish_non_exhaustive()
    }
}

impl ModuleInner {
    /// The defined function with index `index` of the module's index space, or `None` for an import.
    pub(crate) fn function(&self, index: u32) -> Option<&Function> {
        self.functions.get(index.checked_sub(self.imported_functions)? as usize)
    }

    /// The type of function `index`, imports counted.
    ///
    /// # Panics
    ///
    /// If there is no such function.
    pub(crate) fn function_type(&self, index: u32) -> &TypeEntry {
        &self.types[self.function_types[index as usize] as usize]
    }

    /// What validates a defined function's body.
    pub(crate) fn validator(&self, function: &Function) -> FuncToValidate<ValidatorResources> {
        FuncToValidate {
            resources: self.resources.clone().expect("a module with a function body has resources"),
            index: function.index,
            ty: self.function_types[function.index as usize],
            features: features(),
        }
    }

    /// How far before memory 0 the vmctx of an instance is, where each instance has a memory 0 of its own.
    pub(crate) fn distance_to_memory(&self) -> Option<usize> {
        let defined_globals = self.globals.len() - self.imported_globals as usize;
        (self.imported_memories == 0 && !self.memories.is_empty()).then(|| vmctx::distance(defined_globals))
    }

    /// The bytes of data segment `index`.
    pub(crate) fn data_bytes(&self, index: u32) -> &[u8] {
        &self.bytes[self.data[index as usize].bytes.clone()]
    }

    pub(crate) fn function_name(&self, index: u32) -> Option<&str> {
        let section = self.name_section.clone()?;
        self.names.get_or_init(|| names::Names::parse(&self.bytes[section])).function(index)
    }

    pub(crate) fn import_type(&self, kind: ImportKind) -> ExternType {
        match kind {
            ImportKind::Func(ty) => ExternType::Func(self.types[ty as usize].ty.clone()),
            ImportKind::Table(ty) => ExternType::Table(ty),
            ImportKind::Memory(ty) => ExternType::Memory(ty),
            ImportKind::Global(ty) => ExternType::Global(ty),
        }
    }

    fn export_type(&self, export: &Export) -> ExternType {
        let index = export.index as usize;
        match export.kind {
            ExportKind::Func => ExternType::Func(self.function_type(export.index).ty.clone()),
            ExportKind::Table => ExternType::Table(self.tables[index]),
            ExportKind::Memory => ExternType::Memory(self.memories[index]),
            ExportKind::Global => ExternType::Global(self.globals[index]),
        }
    }

    /// The export of this name.
    pub(crate) fn export(&self, name: &str) -> Option<&Export> {
        self.exports.iter().find(|export| &*export.name == name)
    }
}

/// WebAssembly 2.0's core without SIMD.
pub(crate) fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::FLOATS
        | WasmFeatures::GC_TYPES
}
