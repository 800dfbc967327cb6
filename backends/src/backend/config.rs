//! Building a backend: levels, symbols, memory.

use std::{io, sync::Arc};

use cranelift_codegen::ir::Signature;

use super::{CraneliftBackend, codegen::Codegen, isa::HostIsa};
use crate::{
    CodeMemory, MemoryStyle,
    code::{DEFAULT_CODE_BYTES, PerfMap, Publisher},
    frontend::Frontend,
    lower::Lower,
    stats::CompileStats,
    symbols::{HostSymbol, Symbols, Taken},
};

/// Which code generator compiles, and how much it optimizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OptLevel {
    /// Not Cranelift's code generator, but one with which a function takes a third to a fourth of the time, its lowering included, and is
    /// about as fast (measured: `benches/record/quick-2026-11-22.md`). Cranelift, at [`Speed`](Self::Speed), compiles what that one does not know: most vectors, 128-bit numbers, atomic operations but loads,
    /// other calling conventions; and everything, on processors without BMI2.
    Quick,
    /// Cranelift, as fast as it can.
    None,
    /// Cranelift's mid-end as well.
    #[default]
    Speed,
}

impl OptLevel {
    /// What the backend is called at this level, in events and maps.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::None => "cranelift-none",
            Self::Speed => "cranelift",
        }
    }
}

/// Why a backend cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// There are no ABI stubs for this architecture and system.
    #[error("no native tier for this target: x86-64 Linux is supported")]
    UnsupportedTarget,
    /// A symbol was registered twice.
    #[error("symbol `{0}` is registered twice")]
    DuplicateSymbol(String),
    /// The system refuses the code memory.
    #[error("code memory cannot be reserved")]
    CodeMemory(#[source] io::Error),
    /// The perf map cannot be opened.
    #[error("the perf map cannot be opened")]
    PerfMap(#[source] io::Error),
}

/// What every backend is configured with.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    symbols: Symbols,
    duplicate: Option<String>,
    memory_style: MemoryStyle,
    /// Whether the compiler does much with loops.
    optimizes_loops: bool,
    is_trusted: bool,
    memory: Option<Arc<CodeMemory>>,
    perf_map: bool,
}

impl Parts {
    pub(crate) fn new(memory_style: MemoryStyle, optimizes_loops: bool) -> Self {
        let symbols = Symbols::default();
        Parts { symbols, duplicate: None, memory_style, optimizes_loops, is_trusted: false, memory: None, perf_map: false }
    }

    pub(crate) fn symbol(&mut self, name: &str, address: *const u8, signature: Signature) {
        let inserted = self.symbols.insert(name, address, signature);
        self.note(inserted);
    }

    pub(crate) fn symbol_table(&mut self, table: &'static [HostSymbol]) {
        let inserted = self.symbols.insert_table(table);
        self.note(inserted);
    }

    fn note(&mut self, inserted: Result<(), Taken>) {
        if let Err(Taken(name)) = inserted {
            self.duplicate.get_or_insert(name);
        }
    }

    pub(crate) fn memory_style(&mut self, style: MemoryStyle) {
        self.memory_style = style;
    }

    #[cfg(feature = "llvm")]
    pub(crate) fn optimizes_loops(&mut self, on: bool) {
        self.optimizes_loops = on;
    }

    pub(crate) fn trust(&mut self) {
        self.is_trusted = true;
    }

    pub(crate) fn code_memory(&mut self, memory: Arc<CodeMemory>) {
        self.memory = Some(memory);
    }

    pub(crate) fn perf_map(&mut self, on: bool) {
        self.perf_map = on;
    }

    /// The parts of a backend of that name, around a lowering.
    pub(crate) fn build<G, L: Lower<G>>(
        self,
        name: &'static str,
        isa: Arc<HostIsa>,
        lower: L,
    ) -> Result<Assembled<G, L>, BackendError> {
        if let Some(name) = self.duplicate {
            return Err(BackendError::DuplicateSymbol(name));
        }
        let memory = match self.memory {
            Some(memory) => memory,
            None => CodeMemory::reserve(DEFAULT_CODE_BYTES).map_err(BackendError::CodeMemory)?,
        };
        let perf = self.perf_map.then(PerfMap::open).transpose().map_err(BackendError::PerfMap)?;
        let (symbols, stats) = (Arc::new(self.symbols), Arc::default());
        let Parts { memory_style, optimizes_loops, is_trusted, .. } = self;
        let frontend =
            Frontend::new(lower, isa, Arc::clone(&symbols), memory_style, optimizes_loops, is_trusted, Arc::clone(&stats));

        Ok(Assembled { frontend, symbols, publisher: Publisher::new(name, memory, perf), stats })
    }
}

/// What every backend is made of, but for its compiler.
pub(crate) struct Assembled<G, L> {
    pub(crate) frontend: Frontend<G, L>,
    pub(crate) symbols: Arc<Symbols>,
    pub(crate) publisher: Publisher,
    pub(crate) stats: Arc<CompileStats>,
}

/// Configuration of a [`CraneliftBackend`].
#[derive(Debug)]
pub struct CraneliftBackendBuilder {
    opt_level: OptLevel,
    parts: Parts,
}

impl Default for CraneliftBackendBuilder {
    fn default() -> Self {
        CraneliftBackendBuilder { opt_level: OptLevel::default(), parts: Parts::new(MemoryStyle::default(), false) }
    }
}

impl CraneliftBackendBuilder {
    #[cfg(feature = "llvm")]
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// How much to optimize; [`OptLevel::Speed`] unless set.
    pub fn opt_level(mut self, level: OptLevel) -> Self {
        self.opt_level = level;
        self
    }

    /// Registers a host function that lowerings may call by name through [`LowerCx::helper`](crate::LowerCx::helper).
    ///
    /// # Safety
    ///
    /// `address` is a function of that signature and System V convention. It lives as long as any code of this backend, does
    /// not unwind, and may be called by any thread that runs such code.
    pub unsafe fn symbol(mut self, name: &str, address: *const u8, signature: Signature) -> Self {
        self.parts.symbol(name, address, signature);
        self
    }

    /// As [`symbol`](Self::symbol), for a whole table, which costs nothing before something is compiled.
    ///
    /// # Safety
    ///
    /// As for [`symbol`](Self::symbol), of each; and what a table's functions return does not change.
    pub unsafe fn symbol_table(mut self, table: &'static [HostSymbol]) -> Self {
        self.parts.symbol_table(table);
        self
    }

    /// How linear memory is protected; [`MemoryStyle::Guarded`] unless set.
    pub fn memory_style(mut self, style: MemoryStyle) -> Self {
        self.parts.memory_style(style);
        self
    }

    /// Where the code goes. An arena of its own unless set; backends of one broker share one.
    pub fn code_memory(mut self, memory: Arc<CodeMemory>) -> Self {
        self.parts.code_memory(memory);
        self
    }

    /// Whether units are written to perf's map file. Off unless set.
    pub fn perf_map(mut self, on: bool) -> Self {
        self.parts.perf_map(on);
        self
    }

    /// Does without the verifier where the broker asks for code: a tenth of what a compile costs. Builds with debug assertions, and
    /// [tools](CraneliftBackend::check), have it look all the same. An LLVM backend that is configured beside this one does as this does.
    ///
    /// # Safety
    ///
    /// The verifier would refuse nothing that the lowering makes. Code made of something else may do anything.
    pub unsafe fn trust_lowering(mut self) -> Self {
        self.parts.trust();
        self
    }

    /// Builds the backend around a lowering.
    ///
    /// # Errors
    ///
    /// [`BackendError`]: the target, the symbols or the system do not allow it. Whether Cranelift knows the processor is
    /// found out by the first compile, which bails out if it does not.
    pub fn build<G, L: Lower<G>>(self, lower: L) -> Result<CraneliftBackend<G, L>, BackendError> {
        let isa = Arc::new(HostIsa::new(self.opt_level)?);
        let Assembled { frontend, symbols, publisher, stats } =
            self.parts.build(self.opt_level.name(), Arc::clone(&isa), lower)?;
        Ok(CraneliftBackend {
            frontend,
            codegen: Codegen::new(self.opt_level == OptLevel::Quick, isa, symbols, publisher, stats),
        })
    }
}
