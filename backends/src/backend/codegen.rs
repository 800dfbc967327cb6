//! A verified CLIF function in, linked code out: the part of the backend that knows no guest.

use std::{fmt, sync::Arc};

use cranelift_codegen::{CodegenError, CompiledCode, Context, FinalizedRelocTarget, control::ControlPlane, ir::Function};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleError, ModuleReloc, ModuleRelocTarget, default_libcall_names};
use tierup_broker::{Bailout, BailoutReason};
use tierup_deopt::ExitTableBuilder;
use tierup_osr::Sites;

use super::isa::HostIsa;
use crate::{
    CompiledFunction,
    abi::MAX_FRAME,
    code::{FunctionMap, LinkedCode, Publisher, UnitMemory},
    lower::Label,
    quick,
    stats::{CompileStats, Phase},
    symbols::Symbols,
};

/// Cranelift at one level, with the symbols and the memory its output is linked against.
pub(crate) struct Codegen {
    /// Whether the quick compiler is asked first.
    is_quick: bool,
    isa: Arc<HostIsa>,
    symbols: Arc<Symbols>,
    publisher: Publisher,
    stats: Arc<CompileStats>,
}

/// What a function would compile to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionReport {
    /// CLIF instructions.
    pub instructions: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// Bytes of its native frame.
    pub frame_bytes: usize,
}

impl Codegen {
    pub(crate) fn new(
        is_quick: bool,
        isa: Arc<HostIsa>,
        symbols: Arc<Symbols>,
        publisher: Publisher,
        stats: Arc<CompileStats>,
    ) -> Self {
        Codegen { is_quick, isa, symbols, publisher, stats }
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    pub(crate) fn is_quick(&self) -> bool {
        self.is_quick
    }

    /// Has the quick compiler compile a body, or what is `entered` at a site of it, and links the code, of which it also says at which sites;
    /// `None` where Cranelift has to.
    pub(crate) fn compile_quickly(
        &self,
        func: &mut Function,
        entered: Option<(&Sites, u32)>,
        label: &Label,
        exits: ExitTableBuilder,
    ) -> Result<Option<(CompiledFunction, Vec<u32>)>, Bailout> {
        let code = match self.stats.time(Phase::Codegen, || self.quick_code(func, entered)) {
            Ok(code) => code,
            Err(why) => {
                tracing::debug!(target: "tierup", function = label.name(), %why, "left to Cranelift");
                return Ok(None);
            }
        };
        let linked = self.stats.time(Phase::Link, || self.place(&code, label, exits))?;
        self.stats.note_quick();
        self.stats.count(linked.code_bytes(), func.dfg.num_insts());
        Ok(Some((linked, code.entered_at)))
    }

    /// The quick compiler's code, if it makes any.
    fn quick_code(&self, func: &mut Function, entered: Option<(&Sites, u32)>) -> Result<quick::Code, quick::Unsupported> {
        let address = |func: &_, name: &_| self.symbols.resolve(name, func).ok().map(|(_, address)| address as usize);
        quick::compile(func, entered, &address)
    }

    /// Puts code that needs no linking into memory.
    fn place(&self, code: &quick::Code, label: &Label, exits: ExitTableBuilder) -> Result<CompiledFunction, Bailout> {
        let bytes = code.bytes.len();
        let full = |_| Bailout::retryable(BailoutReason::OutOfCodeMemory);
        let mut pages = self.publisher.memory().take(bytes, 1).map_err(full)?;
        pages.seal_with(&code.bytes).map_err(full)?;
        let entry = pages.start() as usize;
        let function = FunctionMap::new(entry, bytes, label, code.locations.iter().copied());
        let functions = vec![(function, label.name())];
        let (pages, kept) = (vec![pages], label.kept.iter().cloned().collect());
        Ok(self.publisher.publish(LinkedCode { entry, bytes, functions, exits: exits.build(), kept, pages }))
    }

    /// Compiles and links a verified function; asks `checkpoint` in between whether to go on.
    pub(crate) fn compile(
        &self,
        context: &mut Context,
        label: &Label,
        exits: ExitTableBuilder,
        checkpoint: &mut dyn FnMut() -> Result<(), Bailout>,
    ) -> Result<CompiledFunction, Bailout> {
        self.generate(context)?;
        checkpoint()?;
        let instructions = context.func.dfg.num_insts();
        let code = context.take_compiled_code().expect("`generate` succeeded");
        let linked = self.stats.time(Phase::Link, || self.link(&code, &context.func, label, exits))?;
        self.stats.count(linked.code_bytes(), instructions);
        Ok(linked)
    }

    /// Compiles a verified function and throws the code away.
    pub(crate) fn check(&self, context: &mut Context) -> Result<FunctionReport, Bailout> {
        if self.is_quick
            && let Ok(code) = self.quick_code(&mut context.func, None)
        {
            let instructions = context.func.dfg.num_insts();
            return Ok(FunctionReport { instructions, code_bytes: code.bytes.len(), frame_bytes: code.frame_bytes });
        }
        let frame_bytes = self.generate(context)?;
        let instructions = context.func.dfg.num_insts();
        let code_bytes = context.compiled_code().map_or(0, |code| code.code_buffer().len());
        Ok(FunctionReport { instructions, code_bytes, frame_bytes })
    }

    /// Leaves the machine code in the context; returns the size of its frame.
    fn generate(&self, context: &mut Context) -> Result<usize, Bailout> {
        let isa = &**self.isa.get()?;
        let code = self
            .stats
            .time(Phase::Codegen, || context.compile(isa, &mut ControlPlane::default()))
            .map_err(|error| refused(error.inner))?;
        let frame_bytes = code.buffer.frame_layout().map_or(0, |frame| frame.frame_to_fp_offset as usize);
        if frame_bytes > MAX_FRAME {
            let reason = BailoutReason::FrameTooLarge { bytes: frame_bytes as u64, limit: MAX_FRAME as u64 };
            return Err(Bailout::terminal(reason));
        }
        Ok(frame_bytes)
    }

    /// A JIT module of one function, dropped as soon as its pages are sealed.
    fn link(
        &self,
        code: &CompiledCode,
        func: &Function,
        label: &Label,
        exits: ExitTableBuilder,
    ) -> Result<CompiledFunction, Bailout> {
        let memory = UnitMemory::new(self.publisher.memory());
        let isa = self.isa.get()?;
        let mut builder = JITBuilder::with_isa(Arc::clone(isa), default_libcall_names());
        builder.memory_provider(Box::new(memory.clone()));
        let symbols = Arc::clone(&self.symbols);
        builder.symbol_lookup_fn(Box::new(move |name| symbols.address(name)));
        let mut module = JITModule::new(builder);

        let id = module.declare_anonymous_function(&func.signature).map_err(not_linked)?;
        let relocs = self.relocations(code, func, &mut module, id)?;
        let alignment = u64::from(code.buffer.alignment).max(u64::from(isa.function_alignment().preferred));
        module.define_function_bytes(id, alignment, code.code_buffer(), &relocs).map_err(not_linked)?;
        module.finalize_definitions().map_err(not_linked)?;
        let entry = module.get_finalized_function(id) as usize;
        drop(module);

        let code_bytes = code.code_buffer().len();
        let locations = code.buffer.get_srclocs_sorted().iter().filter(|at| !at.loc.is_default());
        let locations = locations.map(|at| (at.start, at.end, at.loc.bits()));
        let function = FunctionMap::new(entry, code_bytes, label, locations);
        let functions = vec![(function, label.name())];
        let (pages, kept) = (memory.into_pages(), label.kept.iter().cloned().collect());
        Ok(self.publisher.publish(LinkedCode { entry, bytes: code_bytes, functions, exits: exits.build(), kept, pages }))
    }

    /// Relocations with names turned into imports of `module`. All resolve, or the JIT module would panic.
    fn relocations(
        &self,
        code: &CompiledCode,
        func: &Function,
        module: &mut JITModule,
        id: FuncId,
    ) -> Result<Vec<ModuleReloc>, Bailout> {
        let relocs = code.buffer.relocs().iter().map(|reloc| {
            let name = match &reloc.target {
                FinalizedRelocTarget::Func(offset) => ModuleRelocTarget::FunctionOffset(id, *offset),
                FinalizedRelocTarget::ExternalName(name) => {
                    let (symbol, _) = self.symbols.resolve(name, func)?;
                    let import = module.declare_function(&symbol, Linkage::Import, &func.signature);
                    ModuleRelocTarget::from(import.map_err(not_linked)?)
                }
            };
            Ok(ModuleReloc { offset: reloc.offset, kind: reloc.kind, name, addend: reloc.addend })
        });
        relocs.collect()
    }
}

fn unsupported(what: String) -> Bailout {
    Bailout::terminal(BailoutReason::Unsupported { what })
}

fn refused(error: CodegenError) -> Bailout {
    match error {
        CodegenError::Verifier(errors) => Bailout::terminal(BailoutReason::Verifier { message: errors.to_string() }),
        other => unsupported(other.to_string()),
    }
}

fn not_linked(error: ModuleError) -> Bailout {
    match error {
        ModuleError::Allocation { .. } => Bailout::retryable(BailoutReason::OutOfCodeMemory),
        ModuleError::Compilation(error) => refused(error),
        other => Bailout::terminal(BailoutReason::Other(other.to_string())),
    }
}

impl fmt::Debug for Codegen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codegen").field("publisher", &self.publisher).finish_non_exhaustive()
    }
}
