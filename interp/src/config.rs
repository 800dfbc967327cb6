//! How an engine is set up.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tierup::{DeoptPolicy, Event, HotnessPolicy, Mode, OptLevel, Tier, Work};

#[cfg(feature = "llvm")]
pub use crate::llvm::Llvm;
use crate::module::FuncHandle;
use crate::transfer::OnTransfer;

/// Who is told of transitions.
pub type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;

/// Who is told of work that was done.
pub type OnWork = Arc<dyn Fn(&FuncHandle, Work) + Send + Sync>;

/// Which tiers an engine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TierMode {
    /// The interpreter only; nothing is ever compiled.
    Interp,
    /// Everything is compiled before its first call, on the calling thread. What is called with less than 512 KiB of stack
    /// left is interpreted, and stays so if that happens again and again.
    Baseline,
    /// Everything is compiled by LLVM before its first call, on the calling thread, as for `Baseline`; by Cranelift what LLVM
    /// refuses.
    #[cfg(feature = "llvm")]
    Opt,
    /// The interpreter first, native code for what turns out hot.
    #[default]
    Auto,
}

/// What compiles the first tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Baseline {
    /// The [quick compiler](tierup::OptLevel::Quick): a third to a fourth of the time, code about as fast. Cranelift compiles what it does not know.
    #[default]
    Quick,
    /// Cranelift.
    Cranelift,
}

impl Baseline {
    /// The backend's level that is.
    pub(crate) fn level(self) -> OptLevel {
        match self {
            Self::Quick => OptLevel::Quick,
            Self::Cranelift => OptLevel::Speed,
        }
    }
}

/// When the interpreter has machine code of its own in place of its handlers: a straight line of *templates* for a body's instructions, made in
/// 10 to 25 microseconds, which takes a quarter to two thirds of the time. It is still the interpreter: frames, counts and polls are the same.
///
/// There are none on other processors than x86-64, without an optimizing compiler, nor where the system forbids executable memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Templates {
    /// Never.
    Off,
    /// For bodies that turn out warm, long before they are worth a compile.
    #[default]
    Auto,
    /// For every body that is interpreted, at once. For tests.
    Always,
}

impl Templates {
    /// Whether this build can have any.
    pub const AVAILABLE: bool = cfg!(all(tierup_templates, not(debug_assertions)));
}

/// When running loops go on in native code, entered at their headers (on-stack replacement).
///
/// All but the default are for tests: they change when, never what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Osr {
    /// Never: a call stays in the code it began in.
    Off,
    /// When the policy finds it worth while.
    #[default]
    Auto,
    /// At every header, as soon as it is reached; what it takes is compiled at once, on the calling thread. The interpreter goes
    /// on in the lowest tier, that in the next. Every call begins in code that can be left for another: never in the highest
    /// tier, and with [`TierMode::Baseline`] and `Opt` in the interpreter.
    Always,
    /// As `Always`, but after some arrivals at headers only, from none to a few dozen, and in a tier chosen by chance: the same for
    /// the same seed in each store, unless workers compile meanwhile.
    Random(u64),
}

impl Osr {
    /// Whether loop headers are entered out of order, for a test.
    pub(crate) fn is_forced(self) -> bool {
        matches!(self, Self::Always | Self::Random(_))
    }
}

/// Whether compiled code leaves for the interpreter where it need not, at the interpreter's resume points: where control arrives (at
/// blocks, loops, behind calls), and before calls and accesses to memory, globals and tables.
///
/// All but the default are for tests: they change who goes on, never what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deopt {
    /// Never, and nothing is compiled for it.
    #[default]
    Off,
    /// At every `n`-th point that code of a store passes.
    Every(NonZeroU32),
    /// After some points, from none to a few hundred: as the seed says, the same in each store, unless workers compile meanwhile.
    Random(u64),
}

/// Whether the optimizing tier takes for granted that the program goes on as it has so far: that indirect calls call what they have
/// called, and that tables and globals are not written to that never were. Code leaves for the interpreter where that turns out wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speculate {
    /// Never. Nothing is recorded for it either.
    Off,
    /// Where what has been seen is all there is to expect, and where it helps.
    #[default]
    Auto,
    /// As `Auto`, and that parts of large functions are not reached that never were, which are not compiled then: LLVM's code of an
    /// interpreter's loop is a third as large, and there a fraction of the time goes into it, but a program that comes to do something else
    /// leaves that code, again and again, until it is compiled anew.
    Arms,
    /// On whatever has been seen, were it once, even where it helps nothing. For tests: code is left more often.
    Always,
}

/// An engine's configuration. The defaults suit a command that runs one program.
#[derive(Clone)]
pub struct Config {
    /// Which tiers to use.
    pub tier: TierMode,
    /// What compiles the first tier.
    pub baseline: Baseline,
    /// The optimizing tier, above it. Without it there is none, but with [`TierMode::Opt`].
    #[cfg(feature = "llvm")]
    pub llvm: Option<Llvm>,
    /// When interpreted bodies have templates.
    pub templates: Templates,
    /// When running loops go on in native code.
    pub osr: Osr,
    /// What the optimizing tier, if there is one, takes for granted.
    pub speculate: Speculate,
    /// Whether code is left for the interpreter on request.
    pub deopt: Deopt,
    /// What becomes of code that was left; by default [`Recovery`](crate::Recovery)'s default decides. Not asked about exits on request.
    pub deopt_policy: Option<Arc<dyn DeoptPolicy>>,
    /// Whether the optimizing tier's code, too, polls, at its loops and calls: then guests [stop](crate::InterruptHandle) and answer
    /// whoever waits for them within about 100 us, wherever they are. Otherwise such code is waited for until it returns, or calls what
    /// polls. Small loops and functions pay up to half as many instructions again. The other tiers always poll.
    pub interruptible: bool,
    /// Whether the optimizing tier's code, too, can be left for the interpreter in the midst of a loop, when its function is
    /// [tiered down](crate::Module::tier_down) or reloaded: what a debugger needs, at the price of a poll at every turn of a loop,
    /// which keeps loops from becoming vector code. Baseline code always can.
    pub leaves_at_polls: bool,
    /// Who compiles in [`TierMode::Auto`]; by default background workers where there are threads, else the host in
    /// [`Broker::run_pending`](tierup::Broker::run_pending).
    pub mode: Option<Mode>,
    /// What is hot in [`TierMode::Auto`]; by default [`Tiered`](tierup::Tiered)'s default.
    pub policy: Option<Arc<dyn HotnessPolicy>>,
    /// Compile workers of the background mode; by default the broker decides.
    pub workers: Option<usize>,
    /// Workers that compile for one tier only, besides those: [`BrokerBuilder::workers_for`](tierup::BrokerBuilder::workers_for).
    pub workers_for: Vec<(Tier, usize)>,
    /// Time one compile may take; by default [`BrokerBuilder::deadline`](tierup::BrokerBuilder::deadline)'s.
    pub deadline: Option<Duration>,
    /// Told of every transition of every function, by whoever compiles.
    pub on_event: Option<OnEvent>,
    /// Told of every frame that goes on in another tier at a loop header or through an exit, with its live slots: what a trace shows.
    pub on_transfer: Option<OnTransfer>,
    /// Told of every call and every turn of a loop that is counted, by the thread that makes it, which waits: for recordings. What is
    /// counted is what could go to a higher tier ([`TierMode::Auto`]); where the policy never asks, everything is, for it stays interpreted.
    /// See [`BrokerBuilder::on_work`](tierup::BrokerBuilder::on_work).
    pub on_work: Option<OnWork>,
    /// Whether profilers are told of native code through the system's perf map.
    pub perf_map: bool,
    /// Bytes of machine stack that guest calls may use, counted from the outermost call. Where the calling thread has
    /// less, guests get less: 128 KiB are left for host functions, and a call with less than that traps at once with
    /// [`TrapCode::StackOverflow`](crate::TrapCode). (On a stack whose bounds are not known, such as a coroutine's, both
    /// must be there.)
    pub max_native_stack: usize,
    /// Bytes of each store's value stack, where interpreter frames live.
    pub value_stack: usize,
    /// Pages (64 KiB) no memory grows past, whatever its type says.
    pub max_memory_pages: u64,
    /// Elements no table grows past, whatever its type says.
    pub max_table_elements: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tier: TierMode::default(),
            baseline: Baseline::default(),
            #[cfg(feature = "llvm")]
            llvm: None,
            templates: Templates::default(),
            osr: Osr::default(),
            speculate: Speculate::default(),
            deopt: Deopt::default(),
            deopt_policy: None,
            interruptible: false,
            leaves_at_polls: false,
            mode: None,
            policy: None,
            workers: None,
            workers_for: Vec::new(),
            deadline: None,
            on_event: None,
            on_transfer: None,
            on_work: None,
            perf_map: false,
            max_native_stack: 1 << 20,
            value_stack: 8 << 20,
            max_memory_pages: crate::memory::MAX_PAGES,
            max_table_elements: 10_000_000,
        }
    }
}

impl Config {
    /// How many compiled tiers engines of this configuration have.
    pub fn compiled_tiers(&self) -> u8 {
        #[cfg(feature = "llvm")]
        if self.tier == TierMode::Opt || self.tier == TierMode::Auto && self.llvm.is_some() {
            return 2;
        }
        u8::from(self.tier != TierMode::Interp)
    }

    /// Whether it is recorded what the program does, for the optimizing tier to speculate on.
    pub(crate) fn profiles(&self) -> bool {
        self.speculate != Speculate::Off && self.compiled_tiers() > 1
    }

    /// The optimizing tier, if engines of this configuration have one.
    #[cfg(feature = "llvm")]
    pub(crate) fn optimizing(&self) -> Option<Llvm> {
        match self.tier {
            TierMode::Interp | TierMode::Baseline => None,
            TierMode::Opt => Some(self.llvm.clone().unwrap_or_default()),
            TierMode::Auto => self.llvm.clone(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("tier", &self.tier)
            .field("templates", &self.templates)
            .field("osr", &self.osr)
            .field("speculate", &self.speculate)
            .field("deopt", &self.deopt)
            .field("mode", &self.mode)
            .field("workers", &self.workers)
            .field("workers_for", &self.workers_for)
            .field("max_native_stack", &self.max_native_stack)
            .field("value_stack", &self.value_stack)
            .field("max_memory_pages", &self.max_memory_pages)
            .field("max_table_elements", &self.max_table_elements)
            .finish_non_exhaustive()
    }
}
