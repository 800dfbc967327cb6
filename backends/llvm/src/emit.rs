//! One unit in, object bytes out: translation, LLVM's verifier, the pass pipeline, code generation.

use std::{
    fmt,
    time::{Duration, Instant},
};

use inkwell::{
    OptimizationLevel,
    context::Context,
    module::Module,
    passes::PassBuilderOptions,
    targets::{CodeModel, FileType, RelocMode, Target, TargetMachine},
};

use tierup_backends::llvm::{LocationRange, Locations};

use crate::{
    Cpu, LlvmError, Options, Pipeline, Unit,
    diagnostics::{Diagnostics, Reports},
    host, lines, polls,
    refusal::Refusal,
    translate::{self, Chains, Translated},
    unit::function_symbol,
};

/// One worker's LLVM: context and target machine, kept from compile to compile.
///
/// Not for sharing: one per thread. What LLVM keeps in a context (types, constants, metadata) is dropped now and then, so memory
/// stays bounded.
pub struct ObjectCompiler {
    options: Options,
    machine: TargetMachine,
    features: String,
    // In this order: the context calls into the diagnostics.
    context: Context,
    diagnostics: Diagnostics,
    compiles: u32,
}

/// An ELF relocatable object, and what it took to make it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Object {
    /// x86-64 ELF, position independent, small code model.
    pub bytes: Vec<u8>,
    /// Symbol of the unit's entry.
    pub entry: String,
    /// LLVM instructions before the passes.
    pub translated: usize,
    /// LLVM instructions after the passes.
    pub optimized: usize,
    /// What the code of calls comes from, inlined callees included.
    pub locations: Locations,
    /// Native frames by symbol, in bytes; functions that were inlined or have none are missing.
    pub frames: Vec<(String, u32)>,
    /// Where the time went.
    pub timing: Timing,
}

/// Time spent per phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// CLIF → LLVM IR, and LLVM's verifier.
    pub translate: Duration,
    /// The pass pipeline.
    pub optimize: Duration,
    /// Instruction selection to object bytes.
    pub emit: Duration,
}

/// Compiles after which a context is replaced. LLVM frees what is interned in a context with the context only.
const COMPILES_PER_CONTEXT: u32 = 64;

impl ObjectCompiler {
    /// Makes a target machine for the host's system and the configured processor.
    ///
    /// # Errors
    ///
    /// [`LlvmError`] when this LLVM does not know the host.
    pub fn new(options: Options) -> Result<Self, LlvmError> {
        host::register();
        let triple = TargetMachine::get_default_triple();
        let target = Target::from_triple(&triple).map_err(|error| LlvmError::Host(error.to_string()))?;
        let (cpu, features) = match &options.cpu {
            Cpu::Host => (
                TargetMachine::get_host_cpu_name().to_string_lossy().into_owned(),
                TargetMachine::get_host_cpu_features().to_string_lossy().into_owned(),
            ),
            Cpu::Named { name, features } => (name.clone(), features.clone()),
        };
        // Small and PIC: with the JIT's default (large) model every call goes through a register load and a GOT entry.
        let machine = target
            .create_target_machine(&triple, &cpu, &features, OptimizationLevel::Default, RelocMode::PIC, CodeModel::Small)
            .ok_or_else(|| LlvmError::Machine(format!("{triple} {cpu}")))?;
        let context = Context::create();
        let diagnostics = Diagnostics::of(&context);
        Ok(ObjectCompiler { options, machine, features, context, diagnostics, compiles: 0 })
    }

    /// Compiles *verified* functions. Naming: [`Unit`].
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that names what this tier does not know, or says what LLVM said.
    pub fn compile(&mut self, unit: &Unit<'_>) -> Result<Object, Refusal> {
        self.renew();
        let mut timing = Timing::default();
        let (module, made) = timed(&mut timing.translate, || self.translate(unit))?;
        let translated = instructions(&module);
        let chains = timed(&mut timing.optimize, || self.optimize(&module, &made))?;
        let optimized = instructions(&module);
        let emitted = timed(&mut timing.emit, || self.machine.write_to_memory_buffer(&module, FileType::Object));
        let emitted = emitted.map_err(|error| Refusal::Llvm(error.to_string()))?;
        let frames = self.accept(self.diagnostics.take())?;
        let bytes = emitted.as_slice().to_vec();
        let symbols = made.scopes.into_iter().map(|(symbol, _)| symbol).collect();
        let locations = locations(symbols, &chains, &bytes)?;
        Ok(Object { bytes, entry: function_symbol(unit.entry), translated, optimized, locations, frames, timing })
    }

    /// The optimized LLVM IR, as text.
    ///
    /// # Errors
    ///
    /// As [`compile`](Self::compile).
    pub fn ir_text(&mut self, unit: &Unit<'_>) -> Result<String, Refusal> {
        self.renew();
        let (module, made) = self.translate(unit)?;
        self.optimize(&module, &made)?;
        Ok(module.print_to_string().to_string())
    }

    /// The LLVM IR as translated, before any pass, as text.
    ///
    /// # Errors
    ///
    /// As [`compile`](Self::compile).
    pub fn unoptimized_ir_text(&mut self, unit: &Unit<'_>) -> Result<String, Refusal> {
        self.renew();
        Ok(self.translate(unit)?.0.print_to_string().to_string())
    }

    fn renew(&mut self) {
        let _ = self.diagnostics.take();
        self.compiles += 1;
        if self.compiles.is_multiple_of(COMPILES_PER_CONTEXT) {
            self.context = Context::create();
            self.diagnostics = Diagnostics::of(&self.context);
        }
    }

    fn translate(&self, unit: &Unit<'_>) -> Result<(Module<'_>, Translated<'_>), Refusal> {
        let target = translate::TargetInfo {
            has_cmpxchg16b: self.features.split(',').any(|feature| feature == "+cx16"),
            probes_stack: self.options.max_frame.is_none(),
        };
        let module = self.context.create_module("unit");
        module.set_triple(&self.machine.get_triple());
        module.set_data_layout(&self.machine.get_target_data().get_data_layout());
        let made = translate::unit(&self.context, &module, unit, &target)?;
        module.verify().map_err(|error| Refusal::Llvm(error.to_string()))?;
        Ok((module, made))
    }

    fn optimize<'ctx>(&'ctx self, module: &Module<'ctx>, made: &Translated<'ctx>) -> Result<Chains, Refusal> {
        let run = |passes| {
            let run = module.run_passes(passes, &self.machine, PassBuilderOptions::create());
            run.map_err(|error| Refusal::Llvm(error.to_string()))
        };
        if made.unswitch {
            run(Pipeline::UNSWITCH)?;
        }
        run(Pipeline::INLINE)?;
        translate::share_stack_pointer(&self.context, module);
        let chains = translate::number(&self.context, module, &made.scopes);
        run(self.options.pipeline.passes())?;
        translate::relax(module);
        translate::quiet_minima(module)?;
        if self.options.polls {
            polls::insert(&self.context, module)?;
            run(polls::PASSES)?;
            debug_assert!(module.verify().is_ok(), "{:?}", module.verify());
        }
        Ok(chains)
    }

    fn accept(&self, reports: Reports) -> Result<Vec<(String, u32)>, Refusal> {
        if !reports.errors.is_empty() {
            return Err(Refusal::Llvm(reports.errors.join("; ")));
        }
        if let Some(limit) = self.options.max_frame
            && let Some((function, bytes)) = reports.frames.iter().find(|&&(_, bytes)| bytes > limit)
        {
            return Err(Refusal::FrameTooLarge { function: function.clone(), bytes: *bytes, limit });
        }
        Ok(reports.frames)
    }
}

impl fmt::Debug for ObjectCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectCompiler").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The rows of an object's line table, whose lines are numbers of chains.
fn locations(symbols: Vec<String>, chains: &Chains, object: &[u8]) -> Result<Locations, Refusal> {
    let rows = lines::read(object).map_err(|error| Refusal::Llvm(error.to_string()))?;
    let range = |row: lines::Row| {
        let function = symbols.iter().position(|symbol| *symbol == row.function)? as u32;
        let frames = chains.get(row.line as usize - 1)?.clone();
        Some(LocationRange { function, start: row.code.start, end: row.code.end, frames })
    };
    let ranges = rows.into_iter().filter_map(range).collect();
    Ok(Locations { symbols, ranges })
}

fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

fn instructions(module: &Module<'_>) -> usize {
    let blocks = module.get_functions().flat_map(|function| function.get_basic_blocks());
    blocks.map(|block| block.get_instructions().count()).sum()
}
