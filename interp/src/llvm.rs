//! How the optimizing tier is set up: LLVM, in a helper process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tierup::{BackendError, CraneliftBackendBuilder, LlvmBackend, LlvmBackendBuilder, LlvmPipeline, Tier};

use crate::error::Error;
use crate::lower::WasmLower;
use crate::module::FuncHandle;

/// The tier LLVM is, above Cranelift's.
pub(crate) const OPTIMIZING: Tier = Tier::new(2);

/// Priority of helpers that compile while the program runs: on two busy cores it keeps nine tenths of one for the program.
pub(crate) const BACKGROUND: u8 = 10;

/// The compiler of the optimizing tier, as engines use it.
pub(crate) type Backend = LlvmBackend<FuncHandle, WasmLower>;

/// The optimizing tier. A helper that is missing shows when a function gets there, as a terminal bailout.
#[derive(Debug, Clone, Default)]
pub struct Llvm {
    /// The helper's executable, `tierup-llvm`, whose code this process will run; by default where
    /// [`LlvmBackendBuilder::helper`] says.
    pub helper: Option<PathBuf>,
    /// More arguments for it; `tierup-llvm --help` lists them.
    pub arguments: Vec<OsString>,
    /// Which of LLVM's passes run.
    pub pipeline: LlvmPipeline,
    /// Whether each function is compiled by itself: [`LlvmBackendBuilder::apart`].
    pub apart: bool,
    /// How long the helper may take for one function before it is taken for hung and killed; by default
    /// [`LlvmBackendBuilder::answer_limit`]'s.
    pub answer_limit: Option<Duration>,
}

impl Llvm {
    /// What the helper says it is, for example `LLVM 19.1.7`. Starts one to ask.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] if it cannot be run, or is none.
    pub fn version(&self) -> Result<String, Error> {
        let backend =
            self.builder(LlvmBackend::builder()).build(WasmLower::default()).map_err(|e| Error::Engine(e.to_string()))?;
        backend.source().version().map_err(|e| Error::Engine(e.to_string()))
    }

    /// The backend above the one `baseline` configures, for functions that `lower` lowers.
    ///
    /// `nice` is how much lower the helper's priority is, `polls` whether its loops poll.
    pub(crate) fn build(
        &self,
        baseline: &CraneliftBackendBuilder,
        lower: WasmLower,
        nice: u8,
        polls: bool,
    ) -> Result<Backend, BackendError> {
        self.builder(LlvmBackend::builder().beside(baseline)).nice(nice).polls(polls).build(lower)
    }

    fn builder(&self, mut builder: LlvmBackendBuilder) -> LlvmBackendBuilder {
        builder = builder.pipeline(self.pipeline).apart(self.apart);
        if let Some(helper) = &self.helper {
            builder = builder.helper(helper);
        }
        for argument in &self.arguments {
            builder = builder.helper_argument(argument);
        }
        match self.answer_limit {
            Some(limit) => builder.answer_limit(limit),
            None => builder,
        }
    }
}
