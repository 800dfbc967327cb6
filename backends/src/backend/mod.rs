//! The Cranelift backend: a [`Compiler`] made of a [`Lower`] and Cranelift at one optimization level, or the quick compiler before it.

mod codegen;
mod config;
mod isa;

use std::{fmt, sync::Arc};

use tierup_broker::{Assumption, Bailout, BailoutReason, CodeUnit, CompileRequest, Compiler, Tier, WarmUpTime};

pub use codegen::FunctionReport;
#[cfg(feature = "llvm")]
pub(crate) use config::{Assembled, Parts};
pub use config::{BackendError, CraneliftBackendBuilder, OptLevel};
pub(crate) use isa::HostIsa;

use crate::{
    CodeMemory, CompileTotals, CompiledFunction,
    frontend::Frontend,
    lower::{Job, Lower, Lowered, Tally},
    quick,
    speculation::{self, Speculation},
};
use codegen::Codegen;

/// Lowers guest functions with `L` and compiles them with Cranelift, or [quickly](OptLevel::Quick).
///
/// Usable by several workers at once. Keep an `Arc` of it to ask for statistics and the code map.
pub struct CraneliftBackend<G, L> {
    frontend: Frontend<G, L>,
    codegen: Codegen,
}

/// What came of one compile.
struct Compiled {
    code: CompiledFunction,
    tally: Tally,
    /// All sites that it can be entered at, if there are several.
    entered_at: Vec<u32>,
    assumed: Vec<Assumption>,
}

impl CraneliftBackend<(), ()> {
    /// Starts a configuration. (On this instance of the type, so that it needs no annotation.)
    pub fn builder() -> CraneliftBackendBuilder {
        CraneliftBackendBuilder::default()
    }
}

impl<G, L: Lower<G>> CraneliftBackend<G, L> {
    /// Where the code goes, and the map from pcs.
    pub fn code_memory(&self) -> &Arc<CodeMemory> {
        self.codegen.publisher().memory()
    }

    /// What was compiled so far and how long each phase took.
    pub fn totals(&self) -> CompileTotals {
        self.frontend.stats().totals()
    }

    /// Compiles without a broker: for tools and tests.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn compile_direct(&self, guest: &G, tier: Tier) -> Result<CompiledFunction, Bailout> {
        Ok(self.compile_until(guest, &Job::body(tier), &mut || Ok(()))?.code)
    }

    /// Compiles, without a broker, the variant that is entered at `site`: for tools and tests.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn compile_variant(&self, guest: &G, tier: Tier, site: u32) -> Result<CompiledFunction, Bailout> {
        Ok(self.compile_until(guest, &Job::variant(tier, site), &mut || Ok(()))?.code)
    }

    /// Lowers, verifies and compiles, and throws the code away: what `check` commands do.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn check(&self, guest: &G, tier: Tier) -> Result<FunctionReport, Bailout> {
        self.frontend.lower(guest, &Job::body(tier), |context, _| self.codegen.check(context))
    }

    /// The function's CLIF, as text. Not verified.
    ///
    /// # Errors
    ///
    /// What the lowering says.
    pub fn clif_text(&self, guest: &G, tier: Tier) -> Result<String, Bailout> {
        self.frontend.text(guest, &Job::body(tier))
    }

    /// The CLIF of the variant that is entered at `site`, as text. Not verified.
    ///
    /// # Errors
    ///
    /// What the lowering says, or why there is no variant.
    pub fn variant_text(&self, guest: &G, tier: Tier, site: u32) -> Result<String, Bailout> {
        self.frontend.text(guest, &Job::variant(tier, site))
    }

    /// As [`Self::compile_until`], by the quick compiler; `None` where Cranelift has to.
    fn compile_quickly(
        &self,
        guest: &G,
        job: &Job<'_>,
        checkpoint: &mut dyn FnMut() -> Result<(), Bailout>,
    ) -> Result<Option<Compiled>, Bailout> {
        self.frontend.lower_as_is(guest, job, |body, sites, lowered| {
            checkpoint()?;
            let Lowered { mut label, speculation: Speculation { exits, assumed } } = lowered;
            let entered = job.site().map(|site| (sites, site));
            let Some((code, sites)) = self.codegen.compile_quickly(body, entered, &label, exits)? else { return Ok(None) };
            if sites.len() > 1 {
                label.entered_at = sites;
            }
            Ok(Some(Compiled { code, tally: label.tally, entered_at: label.entered_at, assumed }))
        })
    }

    /// Asks `checkpoint` between the phases whether to go on.
    fn compile_until(
        &self,
        guest: &G,
        job: &Job<'_>,
        checkpoint: &mut dyn FnMut() -> Result<(), Bailout>,
    ) -> Result<Compiled, Bailout> {
        if self.codegen.is_quick()
            && let Some(compiled) = self.compile_quickly(guest, job, checkpoint)?
        {
            return Ok(compiled);
        }
        self.frontend.lower(guest, job, |context, lowered| {
            checkpoint()?;
            let Lowered { label, speculation: Speculation { exits, assumed } } = lowered;
            let code = self.codegen.compile(context, &label, exits, checkpoint)?;
            Ok(Compiled { code, tally: label.tally, entered_at: label.entered_at, assumed })
        })
    }
}

// SAFETY: a unit's entry is what Cranelift, with the ABI's flags, or the quick compiler, which keeps to the ABI, made of CLIF that is verified or
// vouched for (of a variant, of its body), at an address that stays mapped until the pages in the lease are dropped. That the CLIF means the guest function is the `Lower` implementation's affair; it cannot
// name an address the verifier or the symbol table did not see, except by constants, which is as unsafe as a helper.
unsafe impl<G: 'static, L: Lower<G>> Compiler<G> for CraneliftBackend<G, L> {
    fn name(&self) -> &str {
        self.codegen.publisher().backend()
    }

    fn compiles_osr(&self) -> bool {
        true
    }

    fn wants_warm_up(&self) -> WarmUpTime {
        if self.codegen.is_quick() { WarmUpTime::AtStart } else { WarmUpTime::Never }
    }

    fn warm_up(&self) {
        self.frontend.warm_up(quick::warm_up);
    }

    fn compile(&self, request: &CompileRequest<'_, G>) -> Result<CodeUnit, Bailout> {
        let mut checkpoint = || match request.is_cancelled() {
            false => Ok(()),
            true => Err(Bailout::retryable(BailoutReason::Cancelled)),
        };
        let Compiled { code, tally, entered_at, assumed } =
            self.compile_until(request.guest(), &Job::of(request), &mut checkpoint)?;
        let exits = code.exits().cloned();
        let unit = request.unit(code.entry(), code.code_bytes(), Box::new(code)).entered_at(entered_at);
        Ok(tally.note(speculation::note(unit, exits.as_deref(), &assumed)))
    }
}

impl<G, L> fmt::Debug for CraneliftBackend<G, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CraneliftBackend").field("codegen", &self.codegen).finish_non_exhaustive()
    }
}
