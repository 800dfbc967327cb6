//! What a module's functions would compile to, without running anything.

use std::fmt;
use std::sync::Arc;

use tierup::{Bailout, CraneliftBackend, FunctionReport, Tier};

use super::WasmLower;
use crate::error::Error;
use crate::module::{FuncHandle, Module};

/// The compiler of one tier, for asking what it makes of a function. The code it makes is thrown away.
pub struct Checker {
    tier: Tier,
    backend: CraneliftBackend<FuncHandle, WasmLower>,
}

impl Checker {
    /// The compiler of `tier`, set up as engines set it up.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if there is no such tier; [`Error::Engine`] if this machine has no native tier.
    pub fn new(tier: Tier) -> Result<Self, Error> {
        if tier != Tier::new(1) {
            return Err(Error::Engine(format!("no compiler for {tier}")));
        }
        let backend = WasmLower::baseline().map_err(|e| Error::Engine(e.to_string()))?;
        Ok(Self { tier, backend })
    }

    /// Validates, lowers, verifies and compiles the defined function `index` (imports counted).
    ///
    /// # Errors
    ///
    /// Why it would stay in the interpreter.
    pub fn check(&self, module: &Module, index: u32) -> Result<FunctionReport, Bailout> {
        self.backend.check(&handle(module, index), self.tier)
    }

    /// The CLIF of the defined function `index` (imports counted), before any optimization.
    ///
    /// # Errors
    ///
    /// As [`Checker::check`].
    pub fn clif(&self, module: &Module, index: u32) -> Result<String, Bailout> {
        self.backend.clif_text(&handle(module, index), self.tier)
    }
}

fn handle(module: &Module, index: u32) -> FuncHandle {
    FuncHandle { module: Arc::downgrade(&module.0), index }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("tier", &self.tier).finish_non_exhaustive()
    }
}
