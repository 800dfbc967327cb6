//! The Cranelift backend: a [`Compiler`] made of a [`Lower`] and Cranelift at one optimization level.

mod codegen;
mod config;
mod isa;
mod stats;

use std::{
    cell::Cell,
    fmt,
    marker::PhantomData,
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, PoisonError},
};

use cranelift_codegen::Context;
use cranelift_frontend::FunctionBuilderContext;
use tierup_broker::{Bailout, BailoutReason, CodeUnit, CompileRequest, Compiler, Tier};

pub use codegen::{CompiledFunction, FunctionReport};
pub use config::{BackendError, CraneliftBackendBuilder, OptLevel};
pub use stats::CompileTotals;
use stats::Phase;

use crate::{
    CodeMemory, MemoryStyle,
    lower::{self, Label, Lower, LowerCx, Target},
    stack,
};
use codegen::Codegen;
use std::sync::Arc;

/// Lowers guest functions with `L` and compiles them with Cranelift.
///
/// Usable by several workers at once. Keep an `Arc` of it to ask for statistics and the code map.
pub struct CraneliftBackend<G, L> {
    lower: L,
    codegen: Codegen,
    memory_style: MemoryStyle,
    /// Scratch space of compiles that ended well, for reuse.
    scratch: Mutex<Vec<Box<Scratch>>>,
    _guest: PhantomData<fn(&G)>,
}

/// Allocations a compile reuses.
struct Scratch {
    context: Context,
    builder: FunctionBuilderContext,
}

impl CraneliftBackend<(), ()> {
    /// Starts a configuration. (On this instance of the type, so that it needs no annotation.)
    pub fn builder() -> CraneliftBackendBuilder {
        CraneliftBackendBuilder::default()
    }
}

impl<G, L: Lower<G>> CraneliftBackend<G, L> {
    pub(crate) fn new(lower: L, codegen: Codegen, memory_style: MemoryStyle) -> Self {
        CraneliftBackend { lower, codegen, memory_style, scratch: Mutex::default(), _guest: PhantomData }
    }

    /// Where the code goes, and the map from pcs.
    pub fn code_memory(&self) -> &Arc<CodeMemory> {
        self.codegen.memory()
    }

    /// What was compiled so far and how long each phase took.
    pub fn totals(&self) -> CompileTotals {
        self.codegen.stats().totals()
    }

    /// Compiles without a broker: for tools and tests.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn compile_direct(&self, guest: &G, tier: Tier) -> Result<CompiledFunction, Bailout> {
        self.with_scratch(|scratch| {
            let label = self.lower_into(scratch, guest, tier)?;
            self.codegen.compile(&mut scratch.context, &label, &mut || Ok(()))
        })
    }

    /// Lowers, verifies and compiles, and throws the code away: what `check` commands do.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn check(&self, guest: &G, tier: Tier) -> Result<FunctionReport, Bailout> {
        self.with_scratch(|scratch| {
            self.lower_into(scratch, guest, tier)?;
            self.codegen.check(&mut scratch.context)
        })
    }

    /// The function's CLIF, as text. Not verified.
    ///
    /// # Errors
    ///
    /// What the lowering says.
    pub fn clif_text(&self, guest: &G, tier: Tier) -> Result<String, Bailout> {
        self.with_scratch(|scratch| {
            self.lower_into(scratch, guest, tier)?;
            Ok(scratch.context.func.display().to_string())
        })
    }

    /// Runs `f` with scratch space, which is kept if `f` succeeds. After a failure it may hold half a function.
    fn with_scratch<R>(&self, f: impl FnOnce(&mut Scratch) -> Result<R, Bailout>) -> Result<R, Bailout> {
        let pooled = self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch =
            pooled.unwrap_or_else(|| Box::new(Scratch { context: Context::new(), builder: FunctionBuilderContext::new() }));
        let result = f(&mut scratch)?;
        scratch.context.clear();
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        Ok(result)
    }

    fn lower_into(&self, scratch: &mut Scratch, guest: &G, tier: Tier) -> Result<Label, Bailout> {
        // Only where a caller compiles on its own thread: workers have plenty. It may have more another time.
        if !stack::has_room_to_compile() {
            return Err(Bailout::retryable(BailoutReason::StackExhausted));
        }
        let config = self.codegen.frontend_config()?;
        let target = Target { symbols: self.codegen.symbols(), memory_style: self.memory_style, config };
        let finished = Cell::new(false);
        let mut cx = LowerCx::new(guest, tier, &target, &mut scratch.context.func, &mut scratch.builder, &finished);
        let lowered =
            self.codegen.stats().time(Phase::Lower, || panic::catch_unwind(AssertUnwindSafe(|| self.lower.lower(&mut cx))));
        match lowered {
            Ok(result) => result?,
            Err(payload) if lower::is_exhaustion(&*payload) => {
                return Err(Bailout::terminal(BailoutReason::StackExhausted));
            }
            Err(payload) => panic::resume_unwind(payload),
        }
        if !finished.get() {
            let message = "the lowering did not finish its function".to_owned();
            return Err(Bailout::terminal(BailoutReason::Verifier { message }));
        }
        Ok(cx.into_label())
    }
}

// SAFETY: a unit's entry is what Cranelift made of verified CLIF, with the ABI's flags, at an address that stays mapped until
// the pages in the lease are dropped. That the CLIF means the guest function is the `Lower` implementation's affair; it cannot
// name an address the verifier or the symbol table did not see, except by constants, which is as unsafe as a helper.
unsafe impl<G: 'static, L: Lower<G>> Compiler<G> for CraneliftBackend<G, L> {
    fn name(&self) -> &str {
        self.codegen.name()
    }

    fn compile(&self, request: &CompileRequest<'_, G>) -> Result<CodeUnit, Bailout> {
        let mut checkpoint = || match request.is_cancelled() {
            false => Ok(()),
            true => Err(Bailout::retryable(BailoutReason::Cancelled)),
        };
        let compiled = self.with_scratch(|scratch| {
            let label = self.lower_into(scratch, request.guest(), request.tier())?;
            checkpoint()?;
            self.codegen.compile(&mut scratch.context, &label, &mut checkpoint)
        })?;
        Ok(request.unit(compiled.entry(), compiled.code_bytes(), Box::new(compiled)))
    }
}

impl<G, L> fmt::Debug for CraneliftBackend<G, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CraneliftBackend").field("name", &self.codegen.name()).finish_non_exhaustive()
    }
}
