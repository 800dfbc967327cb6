//! The one lowering: a WebAssembly body in, a CLIF function out, for every tier.
//!
//! A body is read once. Each operator is validated, then offered to the families, one file each: [`variable`],
//! [`numeric`], [`memory`], [`control`], [`call`], [`trapping`], [`bulk`], [`table`]. All work on a
//! [`FuncLower`](function::FuncLower): an operand stack of CLIF values, a stack of open blocks, locals as frontend
//! variables.
//!
//! What every family keeps to:
//!
//! - **Semantics are in the CLIF**, not in what an instruction happens to do on a machine: whatever wasm says traps is
//!   an explicit condition and a cold call of the trap stub. The one exception is a guarded memory access, which
//!   [`access`](clif::access) alone may emit.
//! - **Source locations are offsets into the bytes the body came with**, and the unit's tag is the [`Body`](crate::module::Body)'s address, as are the
//!   functions of frame states: that is how a backtrace names a native frame, and in what code the interpreter goes on. The unit keeps
//!   the body. (What is inlined has such offsets, too: [`LowerCx::locate`].)
//! - **What an instance never changes is loaded as a constant** ([`vmctx`]); nothing of an instance is a constant of the
//!   code, which all instances of a module share. Addresses of the module's own code cells are.
//! - **What is likely is taken for granted only behind a guard** ([`speculate`]), by the optimizing tier; the others record it
//!   ([`profile`]). What has never run it may leave out ([`arms`]). What nobody has changed yet it takes for granted without one ([`assume`]), because whoever changes it says so
//!   ([`written`]).
//! - **Nothing is inlined here but small bodies into themselves** ([`itself`]); the optimizing tier inlines what it likes.
//! - **Host code is reached through [`helpers`]**, which always return.

mod arms;
mod assume;
mod bulk;
mod call;
mod check;
mod clif;
mod closed;
mod control;
mod count;
mod exit;
mod facts;
mod function;
mod helpers;
mod itself;
mod memory;
mod numeric;
mod poll;
mod profile;
mod signature;
mod site;
mod speculate;
mod stack;
mod table;
mod trapping;
mod variable;
mod vmctx;
mod written;

use count::Counting;
use exit::Resuming;
use function::{Manner, Opened, Profiling};
use std::sync::{Arc, Mutex, PoisonError};

use tierup::{Bailout, BailoutReason, CraneliftBackend, CraneliftBackendBuilder, Lower, LowerCx, MemoryStyle, OptLevel, Tier};
use wasmparser::FuncValidatorAllocations;

pub use check::Checker;

use crate::config::{Config, Deopt, Speculate};
use crate::module::FuncHandle;

/// Lowers functions of this VM. Goes into a backend that [`baseline`](WasmLower::baseline) configured, or one beside it.
pub(crate) struct WasmLower {
    /// Work that loops of code that counts do before the broker is told, in work units.
    flush: i64,
    /// Whether code is to leave on request.
    plants_exits: bool,
    /// Whether indirect calls are profiled, in code that counts, and speculated on, in that of the optimizing tier.
    speculate: Speculate,
    /// Whether code can be left at its polls, whatever that costs.
    leaves_at_polls: bool,
    /// Whether the optimizing tier's code polls.
    interruptible: bool,
    /// Scratch space of validators, for reuse by any worker.
    validators: Mutex<Vec<FuncValidatorAllocations>>,
}

impl Default for WasmLower {
    fn default() -> Self {
        Self {
            flush: count::FLUSH,
            plants_exits: false,
            speculate: Speculate::Off,
            leaves_at_polls: false,
            interruptible: false,
            validators: Mutex::default(),
        }
    }
}

impl WasmLower {
    /// One for engines of this configuration.
    pub(crate) fn of(config: &Config) -> Self {
        // Where loops are entered out of order, the broker is told of every turn.
        let flush = if config.osr.is_forced() { 0 } else { count::FLUSH };
        let speculate = if config.profiles() { config.speculate } else { Speculate::Off };
        let leaves_at_polls = config.leaves_at_polls;
        let (plants_exits, interruptible) = (config.deopt != Deopt::Off, config.interruptible || leaves_at_polls);
        Self { flush, plants_exits, speculate, leaves_at_polls, interruptible, ..Self::default() }
    }

    /// The baseline tier: its compiler, guarded memories, and what generated code calls.
    pub(crate) fn baseline(level: OptLevel) -> CraneliftBackendBuilder {
        let builder = CraneliftBackend::builder().opt_level(level).memory_style(MemoryStyle::Guarded);
        // SAFETY: plain functions of those signatures, in this program for good; they return, and may run on any thread that runs the
        // instance whose vmctx they are given.
        let builder = unsafe { builder.symbol_table(helpers::HELPERS) };
        // SAFETY: whatever the tests lower is verified, and nothing is refused.
        unsafe { builder.trust_lowering() }
    }
}

/// Bytes of a body up to which it is taken to become part of its callers' code in a higher tier: two for each instruction that LLVM's units take in of
/// what is called often.
const MOST_INLINED: usize = 160;

impl Lower<FuncHandle> for WasmLower {
    fn lower(&self, cx: &mut LowerCx<'_, FuncHandle>) -> Result<(), Bailout> {
        let handle = cx.guest();
        let Some(module) = handle.module() else {
            return Err(Bailout::terminal(BailoutReason::Cancelled));
        };
        let Some(function) = module.function(handle.index) else {
            return Err(Bailout::terminal(BailoutReason::Unsupported { what: "an import has no body".to_owned() }));
        };
        let body = handle.body(function);
        if !function.has(body) {
            // Reloaded meanwhile: the broker is about to learn of it, if it does not know.
            return Err(Bailout::retryable(BailoutReason::Cancelled));
        }
        cx.set_tag(std::ptr::from_ref(body).addr() as u64);
        if let Some(later) = &handle.body {
            cx.keep(Arc::clone(later) as _);
        }
        if let Some(name) = module.function_name(handle.index) {
            cx.set_name(name);
        }
        let index = function.index;
        let scratch = self.validators.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let mut validator = module.validator(function).into_validator(scratch);
        let needs_liveness = cx.wants_sites() || !cx.polls_loops() || self.leaves_at_polls;
        let opened = Opened::new(&module, body, index, &mut validator, self.plants_exits, needs_liveness)?;
        let samples = self.flush > 0 && cx.may_be_sampled();
        let counting = match (samples, opened.is_silent) {
            (true, false) => cx.sampled().map(|countdown| Counting { countdown, function: index, flush: None }),
            // It would never be sampled. But its callers are while it runs, and what makes it faster is that they are compiled, with it inside.
            (true, true) if body.bytes(&module).len() <= MOST_INLINED && module.is_called_from_within(index) => None,
            _ => cx.countdown().map(|countdown| Counting { countdown, function: index, flush: Some(self.flush) }),
        };
        let mut builder = cx.start(signature::body(&function.ty, cx.call_conv()));
        let profiling = match self.speculate {
            Speculate::Off => Profiling::Off,
            _ if counting.is_some() => Profiling::Record,
            // Nothing better comes.
            _ if cx.tier() == Tier::new(1) => Profiling::Off,
            Speculate::Auto | Speculate::Arms => Profiling::Speculate,
            Speculate::Always => Profiling::SpeculateAlways,
        };
        let plants_exits = self.plants_exits;
        let exits = plants_exits || profiling != Profiling::Off;
        let resuming = if exits { Resuming::new(&module, body) } else { None };
        let polls = self.interruptible || !cx.polls_loops();
        let manner = Manner { counting, resuming, plants_exits, profiling, polls, leaves_at_polls: self.leaves_at_polls };
        function::lower(&module, function, opened, &mut validator, manner, cx, &mut builder)?;
        builder.finish();
        self.validators.lock().unwrap_or_else(PoisonError::into_inner).push(validator.into_allocations());
        Ok(())
    }
}

impl std::fmt::Debug for WasmLower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmLower").finish_non_exhaustive()
    }
}
