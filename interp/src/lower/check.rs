//! What a module's functions would compile to, without running anything.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tierup::{Bailout, CraneliftBackend, FunctionReport, Tier};

use super::WasmLower;
use crate::config::{Config, TierMode};
use crate::error::Error;
#[cfg(feature = "llvm")]
use crate::llvm::Llvm;
use crate::module::{FuncHandle, Function, Module};

/// How long the helper may be silent unless the configuration says.
#[cfg(feature = "llvm")]
const PATIENCE: Duration = Duration::from_secs(60);

/// The compiler of one tier, for asking what it makes of a function. The code it makes is thrown away.
pub struct Checker {
    tier: Tier,
    backend: Backend,
}

enum Backend {
    Baseline(CraneliftBackend<FuncHandle, WasmLower>),
    #[cfg(feature = "llvm")]
    Optimizing(crate::llvm::Backend),
}

impl Checker {
    /// The compiler of `tier`, set up as engines of this configuration set it up.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] if they have no such tier, or this machine cannot run it.
    pub fn new(config: &Config, tier: Tier) -> Result<Self, Error> {
        let refused = |error: &dyn std::error::Error| Error::Engine(error.to_string());
        let baseline = WasmLower::baseline(config.baseline.level());
        #[cfg(feature = "llvm")]
        if let Some(llvm) = config.optimizing().filter(|_| tier == crate::llvm::OPTIMIZING) {
            // Nobody's program waits, and a function that takes long is what one wants to know about.
            let llvm = Llvm { answer_limit: llvm.answer_limit.or(Some(PATIENCE)), ..llvm };
            let backend = llvm.build(&baseline, WasmLower::of(config), 0, false).map_err(|e| refused(&e))?;
            backend.source().version().map_err(|e| refused(&e))?;
            return Ok(Self { tier, backend: Backend::Optimizing(backend) });
        }
        if tier != Tier::new(1) || config.tier == TierMode::Interp {
            return Err(Error::Engine(format!("no compiler for {tier}")));
        }
        let backend = baseline.build(WasmLower::of(config)).map_err(|e| refused(&e))?;
        Ok(Self { tier, backend: Backend::Baseline(backend) })
    }

    /// Validates, lowers, verifies and compiles the defined function `index` (imports counted).
    ///
    /// # Errors
    ///
    /// Why it would stay in the tier below.
    pub fn check(&self, module: &Module, index: u32) -> Result<FunctionReport, Bailout> {
        let guest = handle(module, index);
        match &self.backend {
            Backend::Baseline(backend) => backend.check(&guest, self.tier),
            #[cfg(feature = "llvm")]
            Backend::Optimizing(backend) => backend.check(&guest, self.tier),
        }
    }

    /// Time spent in the compiler proper since this was made: Cranelift's, or waiting for the helper.
    pub fn codegen_time(&self) -> Duration {
        match &self.backend {
            Backend::Baseline(backend) => backend.totals().codegen,
            #[cfg(feature = "llvm")]
            Backend::Optimizing(backend) => backend.totals().codegen,
        }
    }

    /// The most memory, in bytes, the compiler's own process has had resident, if it has one and the system says.
    pub fn helper_memory(&self) -> Option<u64> {
        match &self.backend {
            Backend::Baseline(_) => None,
            #[cfg(feature = "llvm")]
            Backend::Optimizing(backend) => backend.source().peak_memory(),
        }
    }

    /// The CLIF of the defined function `index` (imports counted), before any optimization.
    ///
    /// # Errors
    ///
    /// As [`Checker::check`].
    pub fn clif(&self, module: &Module, index: u32) -> Result<String, Bailout> {
        let guest = handle(module, index);
        match &self.backend {
            Backend::Baseline(backend) => backend.clif_text(&guest, self.tier),
            #[cfg(feature = "llvm")]
            Backend::Optimizing(backend) => backend.clif_text(&guest, self.tier),
        }
    }

    /// The CLIF of the variant of the defined function `index` (imports counted) that is entered at its loop `site`, in the order
    /// of `loop` operators.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn variant_clif(&self, module: &Module, index: u32, site: u32) -> Result<String, Bailout> {
        let guest = handle(module, index);
        match &self.backend {
            Backend::Baseline(backend) => backend.variant_text(&guest, self.tier, site),
            #[cfg(feature = "llvm")]
            Backend::Optimizing(backend) => backend.variant_text(&guest, self.tier, site),
        }
    }
}

fn handle(module: &Module, index: u32) -> FuncHandle {
    let body = module.0.function(index).and_then(Function::later);
    FuncHandle { module: Arc::downgrade(&module.0), index, body }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("tier", &self.tier).finish_non_exhaustive()
    }
}
