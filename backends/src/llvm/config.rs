//! Building an LLVM backend: symbols and memory as for Cranelift, and where the helper is.

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use cranelift_codegen::ir::Signature;

use super::{Helper, LlvmBackend, ObjectSource, helper::ANSWER_LIMIT};
use crate::{
    BackendError, CodeMemory, CraneliftBackendBuilder, HostSymbol, MemoryStyle, OptLevel,
    backend::{Assembled, HostIsa, Parts},
    lower::Lower,
};

/// Which of LLVM's passes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LlvmPipeline {
    /// A handful, for scalar code: no vectorization, and callees are not inlined.
    Cheap,
    /// LLVM's `O2`.
    #[default]
    O2,
    /// LLVM's `O3`.
    O3,
}

/// Configuration of an [`LlvmBackend`].
#[derive(Debug)]
pub struct LlvmBackendBuilder {
    parts: Parts,
    program: Option<PathBuf>,
    pipeline: LlvmPipeline,
    apart: bool,
    arguments: Vec<OsString>,
    polls: bool,
    nice: u8,
    answer_limit: Duration,
}

impl Default for LlvmBackendBuilder {
    fn default() -> Self {
        LlvmBackendBuilder {
            // What faults is not enough here: `MEMORY.md` of the reference, and ABI.md, "Memory access".
            parts: Parts::new(MemoryStyle::Checked, true),
            program: None,
            pipeline: LlvmPipeline::default(),
            apart: false,
            arguments: Vec::new(),
            polls: false,
            nice: 0,
            answer_limit: ANSWER_LIMIT,
        }
    }
}

impl LlvmBackendBuilder {
    /// The symbols, the code memory if it was set, and the perf map of another tier's backend.
    pub fn beside(mut self, other: &CraneliftBackendBuilder) -> Self {
        let mut parts = other.parts().clone();
        parts.memory_style(MemoryStyle::Checked);
        parts.optimizes_loops(true);
        self.parts = parts;
        self
    }

    /// Registers a host function that lowerings may call by name through [`LowerCx::helper`](crate::LowerCx::helper).
    ///
    /// # Safety
    ///
    /// As for [`CraneliftBackendBuilder::symbol`].
    pub unsafe fn symbol(mut self, name: &str, address: *const u8, signature: Signature) -> Self {
        self.parts.symbol(name, address, signature);
        self
    }

    /// As [`symbol`](Self::symbol), for a whole table, which costs nothing before something is compiled.
    ///
    /// # Safety
    ///
    /// As for [`CraneliftBackendBuilder::symbol_table`].
    pub unsafe fn symbol_table(mut self, table: &'static [HostSymbol]) -> Self {
        self.parts.symbol_table(table);
        self
    }

    /// How linear memory is protected; [`MemoryStyle::Checked`] unless set: LLVM does not keep the faults of guarded accesses.
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

    /// Which passes run; LLVM's `O2` unless set.
    pub fn pipeline(mut self, pipeline: LlvmPipeline) -> Self {
        self.pipeline = pipeline;
        self
    }

    /// Whether each function is compiled by itself, no callee's body in it. Off unless set: where what is called often is small, code with it
    /// inside is several times as fast. For who wants to know how much, or what a function's own code does.
    pub fn apart(mut self, on: bool) -> Self {
        self.apart = on;
        self
    }

    /// The helper's executable, whose code this process will run. Otherwise: the environment variable `TIERUP_LLVM_HELPER`;
    /// `tierup-llvm` beside this executable or one folder up; `tierup-llvm` on the path.
    pub fn helper(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// One more argument for the helper. `tierup-llvm --help` lists them.
    pub fn helper_argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Whether loops poll, at least every 100 us or so, once all other passes have run: code then ends tickets, censuses and interrupts
    /// wherever it is. It takes up to half as many instructions again in small loops; off unless set, so that loops
    /// are waited for. Whether calls poll is the lowering's affair ([`clif::prologue`](crate::clif::prologue),
    /// [`clif::silent_prologue`](crate::clif::silent_prologue)).
    pub fn polls(mut self, on: bool) -> Self {
        self.polls = on;
        self
    }

    /// How much lower than this process's the helper's priority is, 0 to 19. 0 unless set. Where the program needs every core, a
    /// helper of equal priority takes its time.
    pub fn nice(mut self, by: u8) -> Self {
        self.nice = by.min(19);
        self
    }

    /// How long the helper may take to answer before it is taken for hung and killed, and as much again for each 2 MiB of CLIF.
    /// 8 seconds unless set: less than the
    /// broker's deadline, so that the compile is tried again.
    pub fn answer_limit(mut self, limit: Duration) -> Self {
        self.answer_limit = limit;
        self
    }

    /// Builds the backend around a lowering. The helper is not started yet.
    ///
    /// # Errors
    ///
    /// [`BackendError`]: the target, the symbols or the system do not allow it. That there is no helper shows later, as a
    /// terminal bailout.
    pub fn build<G, L: Lower<G>>(mut self, lower: L) -> Result<LlvmBackend<G, L>, BackendError> {
        let pipeline = match self.pipeline {
            LlvmPipeline::Cheap => "cheap",
            LlvmPipeline::O2 => "o2",
            LlvmPipeline::O3 => "o3",
        };
        let mut arguments = vec!["--pipeline".into(), pipeline.into()];
        if self.nice > 0 {
            arguments.extend(["--nice".into(), self.nice.to_string().into()]);
        }
        if self.polls {
            arguments.push("--polls".into());
        }
        arguments.append(&mut self.arguments);
        let helper = Helper::new(self.program.take(), arguments, self.answer_limit);
        self.build_with(helper, lower)
    }

    /// Builds the backend around a lowering and another source of objects than the helper process.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_with<G, L: Lower<G>, S: ObjectSource>(self, source: S, lower: L) -> Result<LlvmBackend<G, L, S>, BackendError> {
        let inlines = !self.apart && self.pipeline != LlvmPipeline::Cheap;
        // For the verifier and the front end's settings only: nothing is generated with it.
        let isa = Arc::new(HostIsa::new(OptLevel::None)?);
        let Assembled { frontend, symbols, publisher, stats } = self.parts.build("llvm", isa, lower)?;
        Ok(LlvmBackend { frontend, source, inlines, symbols, publisher, stats })
    }
}
