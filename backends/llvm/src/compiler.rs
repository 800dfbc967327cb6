//! One CLIF function in, object bytes out: translation, the pass pipeline, code generation.

use std::sync::Once;

use cranelift_codegen::ir::Function;
use inkwell::{
    OptimizationLevel,
    context::Context,
    passes::PassBuilderOptions,
    targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine},
};
use tierup_broker::Bailout;

use crate::{refusal::Refusal, translate};

/// LLVM's standard pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OptLevel {
    /// `O1`.
    Less,
    /// `O2`.
    #[default]
    Default,
}

/// Why there is no LLVM tier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LlvmError {
    /// LLVM was built without this host.
    #[error("LLVM does not support the host: {0}")]
    Host(String),
    /// LLVM refuses to make a target machine for the host.
    #[error("LLVM makes no target machine for {0}")]
    Machine(String),
}

/// Compiles CLIF functions to object files. One per worker thread: it owns its target machine.
#[derive(Debug)]
pub struct LlvmCompiler {
    machine: TargetMachine,
    pipeline: &'static str,
}

impl LlvmCompiler {
    /// For the host.
    ///
    /// # Errors
    ///
    /// [`LlvmError`] when this LLVM does not know the host.
    pub fn new(level: OptLevel) -> Result<Self, LlvmError> {
        static TARGET: Once = Once::new();
        TARGET.call_once(|| {
            // LLVM's registry is process-wide. A host it lacks shows below.
            let _ = Target::initialize_native(&InitializationConfig::default());
        });
        let triple = TargetMachine::get_default_triple();
        let target = Target::from_triple(&triple).map_err(|error| LlvmError::Host(error.to_string()))?;
        let (cpu, features) = (TargetMachine::get_host_cpu_name(), TargetMachine::get_host_cpu_features());
        let (optimization, pipeline) = match level {
            OptLevel::Less => (OptimizationLevel::Less, "default<O1>"),
            OptLevel::Default => (OptimizationLevel::Default, "default<O2>"),
        };
        let machine = target
            // Small and PIC: with the JIT's default (large) model every call goes through a register load and a GOT entry.
            .create_target_machine(
                &triple,
                &cpu.to_string_lossy(),
                &features.to_string_lossy(),
                optimization,
                RelocMode::PIC,
                CodeModel::Small,
            )
            .ok_or_else(|| LlvmError::Machine(triple.to_string()))?;
        Ok(LlvmCompiler { machine, pipeline })
    }

    /// Compiles a *verified* function to an object file that defines `symbol`.
    ///
    /// # Errors
    ///
    /// Terminal: an instruction, type or signature this tier does not know, by its CLIF name; or LLVM's own refusal.
    pub fn object(&self, func: &Function, symbol: &str) -> Result<Vec<u8>, Bailout> {
        Ok(self.compile(func, symbol)?)
    }

    /// The optimized LLVM IR, as text.
    ///
    /// # Errors
    ///
    /// As [`object`](Self::object).
    pub fn ir_text(&self, func: &Function, symbol: &str) -> Result<String, Bailout> {
        let context = Context::create();
        Ok(self.optimized(&context, func, symbol)?.print_to_string().to_string())
    }

    fn optimized<'ctx>(
        &self,
        context: &'ctx Context,
        func: &Function,
        symbol: &str,
    ) -> Result<inkwell::module::Module<'ctx>, Refusal> {
        let module = translate::function(context, func, symbol)?;
        module.set_triple(&self.machine.get_triple());
        module.set_data_layout(&self.machine.get_target_data().get_data_layout());
        module.verify().map_err(|error| Refusal::Llvm(error.to_string()))?;
        let options = PassBuilderOptions::create();
        module.run_passes(self.pipeline, &self.machine, options).map_err(|error| Refusal::Llvm(error.to_string()))?;
        Ok(module)
    }

    fn compile(&self, func: &Function, symbol: &str) -> Result<Vec<u8>, Refusal> {
        let context = Context::create();
        let module = self.optimized(&context, func, symbol)?;
        let object =
            self.machine.write_to_memory_buffer(&module, FileType::Object).map_err(|error| Refusal::Llvm(error.to_string()))?;
        Ok(object.as_slice().to_vec())
    }
}
