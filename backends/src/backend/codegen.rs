//! A verified CLIF function in, linked code out: the part of the backend that knows no guest.

use std::{fmt, sync::Arc};

use cranelift_codegen::{
    CodegenError, CompiledCode, Context, FinalizedRelocTarget,
    control::ControlPlane,
    ir::{ExternalName, Function},
    isa::{CallConv, TargetFrontendConfig},
    verify_function,
};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleError, ModuleReloc, ModuleRelocTarget, default_libcall_names};
use tierup_broker::{Bailout, BailoutReason};

use super::{
    isa::HostIsa,
    stats::{CompileStats, Phase},
};
use crate::{
    CodeMemory,
    abi::MAX_FRAME,
    code::{CodePages, MappedUnit, PerfMap, UnitMap, UnitMemory},
    lower::Label,
    symbols::Symbols,
};

/// Cranelift at one level, with the symbols and the memory its output is linked against.
pub(crate) struct Codegen {
    name: &'static str,
    isa: HostIsa,
    symbols: Arc<Symbols>,
    memory: Arc<CodeMemory>,
    perf: Option<PerfMap>,
    stats: CompileStats,
}

/// Linked code. Dropping it frees the code.
#[derive(Debug)]
pub struct CompiledFunction {
    entry: usize,
    code_bytes: usize,
    // In this order: nobody may find the unit in the map once its pages are gone.
    _mapped: MappedUnit,
    _pages: Vec<CodePages>,
}

impl CompiledFunction {
    /// First instruction.
    pub fn entry(&self) -> *const u8 {
        self.entry as *const u8
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }
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
        name: &'static str,
        isa: HostIsa,
        symbols: Arc<Symbols>,
        memory: Arc<CodeMemory>,
        perf: Option<PerfMap>,
    ) -> Self {
        Codegen { name, isa, symbols, memory, perf, stats: CompileStats::default() }
    }

    pub(crate) fn name(&self) -> &str {
        self.name
    }

    pub(crate) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    pub(crate) fn memory(&self) -> &Arc<CodeMemory> {
        &self.memory
    }

    pub(crate) fn stats(&self) -> &CompileStats {
        &self.stats
    }

    pub(crate) fn frontend_config(&self) -> Result<TargetFrontendConfig, Bailout> {
        Ok(self.isa.get()?.frontend_config())
    }

    /// Verifies, compiles and links; asks `checkpoint` between the phases whether to go on.
    pub(crate) fn compile(
        &self,
        context: &mut Context,
        label: &Label,
        checkpoint: &mut dyn FnMut() -> Result<(), Bailout>,
    ) -> Result<CompiledFunction, Bailout> {
        self.verify(&context.func)?;
        checkpoint()?;
        self.generate(context)?;
        checkpoint()?;
        let instructions = context.func.dfg.num_insts();
        let code = context.take_compiled_code().expect("`generate` succeeded");
        let linked = self.stats.time(Phase::Link, || self.link(&code, &context.func, label))?;
        self.stats.count(linked.code_bytes, instructions);
        Ok(linked)
    }

    /// Verifies and compiles.
    pub(crate) fn check(&self, context: &mut Context) -> Result<FunctionReport, Bailout> {
        self.verify(&context.func)?;
        let frame_bytes = self.generate(context)?;
        let instructions = context.func.dfg.num_insts();
        let code_bytes = context.compiled_code().map_or(0, |code| code.code_buffer().len());
        Ok(FunctionReport { instructions, code_bytes, frame_bytes })
    }

    fn verify(&self, func: &Function) -> Result<(), Bailout> {
        let isa = self.isa.get()?;
        let verified = self.stats.time(Phase::Verify, || verify_function(func, &**isa));
        verified.map_err(|errors| Bailout::terminal(BailoutReason::Verifier { message: errors.to_string() }))?;
        if func.signature.call_conv != CallConv::SystemV || func.signature.returns.len() > 1 {
            return Err(unsupported(format!("a body of signature {}", func.signature)));
        }
        for (_, callee) in func.dfg.ext_funcs.iter() {
            self.resolve(&callee.name, func)?;
        }
        Ok(())
    }

    /// The symbol an external name stands for.
    fn resolve(&self, name: &ExternalName, func: &Function) -> Result<(String, *const u8), Bailout> {
        let name = match name {
            ExternalName::TestCase(name) => String::from_utf8_lossy(name.raw()).into_owned(),
            ExternalName::LibCall(call) => default_libcall_names()(*call),
            other => other.display(Some(&func.params)).to_string(),
        };
        match self.symbols.address(&name) {
            Some(address) => Ok((name, address)),
            None => Err(Bailout::terminal(BailoutReason::UnknownSymbol { name })),
        }
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
    fn link(&self, code: &CompiledCode, func: &Function, label: &Label) -> Result<CompiledFunction, Bailout> {
        let memory = UnitMemory::new(&self.memory);
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
        let locations = locations.map(|at| (at.start, at.end, at.loc.bits())).collect();
        let unit = UnitMap { start: entry, len: code_bytes, tag: label.tag, locations };
        if let Some(perf) = &self.perf {
            let name = label.name.clone().unwrap_or_else(|| format!("guest {:#x}", label.tag));
            perf.add(entry, code_bytes, &format!("{name} [{}]", self.name));
        }
        let mapped = MappedUnit::new(&self.memory, unit);
        Ok(CompiledFunction { entry, code_bytes, _mapped: mapped, _pages: memory.into_pages() })
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
                    let (symbol, _) = self.resolve(name, func)?;
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
        f.debug_struct("Codegen").field("name", &self.name).field("memory", &self.memory).finish_non_exhaustive()
    }
}
