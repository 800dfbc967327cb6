//! What an object compiler is configured with.

use tierup_backends::abi::MAX_FRAME;

/// Which passes run. Code is generated at LLVM's default level in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pipeline {
    /// A handful of passes, no vectorization: about half of `O2`'s time for most of its gain on scalar code.
    Cheap,
    /// LLVM's `O2`.
    #[default]
    O2,
    /// LLVM's `O3`.
    O3,
}

impl Pipeline {
    /// In the words of LLVM's new pass manager.
    pub(crate) fn passes(self) -> &'static str {
        match self {
            // Named in text, `instcombine` aborts the process when one round was not enough, unless told not to.
            Pipeline::Cheap => "function(mem2reg,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm),gvn,simplifycfg)",
            Pipeline::O2 => "default<O2>",
            Pipeline::O3 => "default<O3>",
        }
    }

    /// What runs before the others: a unit's callees are there to be inlined.
    pub(crate) const INLINE: &'static str = "always-inline";

    /// What runs before the others where loops have conditions that were put there to be taken out of them: `O2` would leave
    /// them in.
    pub(crate) const UNSWITCH: &'static str = "function(loop-mssa(simple-loop-unswitch<nontrivial>))";
}

/// Which processor code is generated for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cpu {
    /// The one this process runs on, with every feature it reports.
    #[default]
    Host,
    /// LLVM's name of a processor, and features as LLVM writes them: `+avx2,-fma`. Objects made for one processor may be
    /// loaded by another that has the features.
    Named {
        /// As in `llc -mcpu`.
        name: String,
        /// As in `llc -mattr`.
        features: String,
    },
}

/// How an [`ObjectCompiler`](crate::ObjectCompiler) compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which passes run.
    pub pipeline: Pipeline,
    /// Which processor code is generated for.
    pub cpu: Cpu,
    /// Bytes of native frame above which a function is refused. Default: the ABI's
    /// [`MAX_FRAME`](tierup_backends::abi::MAX_FRAME), which the red zone below the stack limit covers. `None` for code that
    /// runs outside the ABI; larger frames then probe each page.
    pub max_frame: Option<u32>,
    /// Whether loops are to poll. Then the first parameter of every function is its vmctx. Default: no.
    pub polls: bool,
}

impl Default for Options {
    fn default() -> Self {
        let max_frame = u32::try_from(MAX_FRAME).expect("a few pages");
        Options { pipeline: Pipeline::default(), cpu: Cpu::default(), max_frame: Some(max_frame), polls: false }
    }
}

/// Why there is no LLVM tier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LlvmError {
    /// LLVM was built without this host.
    #[error("LLVM does not support the host: {0}")]
    Host(String),
    /// LLVM refuses to make a target machine.
    #[error("LLVM makes no target machine for {0}")]
    Machine(String),
}
