//! The check itself: one module, every configuration, against the interpreter.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use tierup::{Decision, HotnessPolicy, Mode, NeverReason, Reason, Sample, Tier};
#[cfg(feature = "llvm")]
use tierup_interp::Speculate;
use tierup_interp::{Config, Deopt, Engine, Osr, Templates, TierMode, TrapCode};

use crate::compare::{Difference, compare};
use crate::generate::Nans;
use crate::observe::{Observation, Outcome, Reloads, observe_reloading};
use crate::random::mix;

/// Which tiers run what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tiering {
    /// Everything interpreted, by handlers: the reference.
    Interp,
    /// Everything interpreted, by templates.
    Templates,
    /// Every function compiled before its first call.
    Baseline,
    /// Each function by chance: never, at its first call, or after some work, compiled on the calling thread.
    Mixed(u64),
    /// The same, compiled in the background.
    Background(u64),
    /// Every function compiled by LLVM before its first call.
    #[cfg(feature = "llvm")]
    Opt,
    /// As mixed, with LLVM above Cranelift.
    #[cfg(feature = "llvm")]
    ThreeTiers(u64),
    /// Functions begin in the interpreter, loops go on in Cranelift's code, entered so.
    LoopsToBaseline(Osr),
    /// Functions begin in the interpreter, loops go on in LLVM's code.
    #[cfg(feature = "llvm")]
    LoopsToOpt(Osr),
    /// As three tiers, and loops go on in a higher tier from either of the lower ones.
    #[cfg(feature = "llvm")]
    LoopsThrough(Osr, Mode, u64),
    /// Every function compiled before its first call, left through exits; in the modes that force it, loops are entered again.
    ExitsOfBaseline(Osr, Deopt),
    /// The same of LLVM's code.
    #[cfg(feature = "llvm")]
    ExitsOfOpt(Osr, Deopt),
    /// As three tiers, and code of any is left through exits.
    #[cfg(feature = "llvm")]
    ExitsOfAll(Osr, Deopt, u64),
}

/// What a check of one or more modules covered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) modules: u64,
    /// Seeds that made no module.
    pub(crate) no_module: u64,
    /// Modules the engine refused, in every configuration alike.
    pub(crate) refused: u64,
    pub(crate) returns: u64,
    pub(crate) traps: u64,
    pub(crate) host_calls: u64,
    pub(crate) overflows: u64,
    pub(crate) native: Native,
    /// Functions that got another body while they could run.
    pub(crate) reloaded: u64,
}

/// What was compiled, over all configurations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Native {
    pub(crate) installed: u64,
    /// Those of them that LLVM compiled.
    pub(crate) optimized: u64,
    /// OSR variants among them.
    pub(crate) variants: u64,
    /// How often code was left through an exit.
    pub(crate) exits: u64,
    /// Compiles given up, by reason.
    pub(crate) bailouts: BTreeMap<String, u64>,
}

/// A module ran differently.
#[derive(Debug)]
pub(crate) struct Failure {
    tiering: Tiering,
    reloads: Reloads,
    difference: Difference,
}

/// The configurations to compare with the interpreter.
#[cfg(not(feature = "llvm"))]
fn tierings(seed: u64) -> Vec<Tiering> {
    without_llvm(seed)
}

/// The configurations to compare with the interpreter: one of those with LLVM as well, which takes longer than the others
/// together. All of them when much time is given.
#[cfg(feature = "llvm")]
fn tierings(seed: u64) -> Vec<Tiering> {
    let mut tierings = without_llvm(seed);
    if has_llvm() {
        let long = std::env::var_os("TIERUP_FUZZ_SECONDS").is_some();
        if long || seed.is_multiple_of(16) {
            tierings.push(Tiering::Opt);
        }
        if long || seed % 16 == 8 {
            tierings.push(Tiering::ThreeTiers(seed));
        }
        if long || seed % 16 == 4 {
            tierings.push(Tiering::LoopsToOpt(forced(seed / 16)));
        }
        if long || seed % 16 == 12 {
            let mode = if seed / 16 % 4 < 2 { Mode::Sync } else { Mode::Background };
            tierings.push(Tiering::LoopsThrough(forced(seed / 16), mode, seed));
        }
        if long || seed % 16 == 2 {
            tierings.push(Tiering::ExitsOfOpt(sometimes_forced(seed / 16), exits(seed / 16)));
        }
        if long || seed % 16 == 10 {
            tierings.push(Tiering::ExitsOfAll(sometimes_forced(seed / 16), exits(seed / 16), seed));
        }
    }
    tierings
}

fn without_llvm(seed: u64) -> Vec<Tiering> {
    vec![
        Tiering::Templates,
        Tiering::Baseline,
        Tiering::Mixed(seed),
        Tiering::Background(seed),
        Tiering::LoopsToBaseline(forced(seed)),
        Tiering::ExitsOfBaseline(sometimes_forced(seed), exits(seed)),
    ]
}

/// Exits at every so many points, or by chance.
fn exits(seed: u64) -> Deopt {
    let every = |n| NonZeroU32::new(n).map_or(Deopt::Off, Deopt::Every);
    match mix(seed) % 8 {
        0 => every(1),
        1 | 2 => every(2),
        3 | 4 => every(7),
        5 => every(1000),
        _ => Deopt::Random(seed),
    }
}

/// As [`forced`], every other time.
fn sometimes_forced(seed: u64) -> Osr {
    if (seed / 2).is_multiple_of(2) { Osr::Auto } else { forced(seed) }
}

/// Every loop at once, or some by chance.
fn forced(seed: u64) -> Osr {
    if seed.is_multiple_of(2) { Osr::Always } else { Osr::Random(seed) }
}

/// Whether there is a helper; says so once if not.
#[cfg(feature = "llvm")]
fn has_llvm() -> bool {
    static ASKED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ASKED.get_or_init(|| match tierup_interp::Llvm::default().version() {
        Ok(_) => true,
        Err(error) => {
            println!("skipped: opt and three tiers, {error}");
            false
        }
    })
}

/// Runs the module in every configuration and compares what they show.
pub(crate) fn check(wasm: &[u8], seed: u64, nans: Nans) -> Result<Summary, Failure> {
    let (want, ..) = run(Tiering::Interp, Reloads::Never, wasm, seed);
    let mut summary = Summary::of(&want);
    let tierings = tierings(seed);
    // The same with reloads: of one of them or the interpreter, or of all when much time is given.
    let all: Vec<_> = [Tiering::Interp].into_iter().chain(tierings.iter().copied()).collect();
    let is_long = std::env::var_os("TIERUP_FUZZ_SECONDS").is_some();
    let reloaded = if is_long { all } else { vec![all[seed as usize % all.len()]] };
    let runs = tierings.into_iter().map(|tiering| (tiering, Reloads::Never));
    for (tiering, reloads) in runs.chain(reloaded.into_iter().map(|tiering| (tiering, Reloads::Often))) {
        let differs = |difference| Failure { tiering, reloads, difference };
        let (got, native, reloaded) = run(tiering, reloads, wasm, seed);
        summary.native.add(&native);
        summary.reloaded += reloaded;
        match (&want, &got) {
            (Ok(want), Ok(got)) => compare(want, got, nans).map_err(differs)?,
            (Err(want), Err(got)) if want == got => {}
            (want, got) => {
                let words = |run: &Result<_, String>| run.as_ref().err().map_or("ran", |error| error).to_owned();
                return Err(differs(format!("engine: {}, not {}", words(got), words(want))));
            }
        }
    }
    Ok(summary)
}

/// Runs `work` on a thread with stack enough for deep guests.
pub(crate) fn with_stack<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK + (4 << 20)).spawn_scoped(scope, work);
        match thread.expect("a thread can be made").join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Machine stack for guests.
pub(crate) const STACK: usize = 32 << 20;

/// What the module shows, and what was compiled meanwhile, and reloaded.
fn run(tiering: Tiering, reloads: Reloads, wasm: &[u8], seed: u64) -> (Result<Observation, String>, Native, u64) {
    let engine = match Engine::new(tiering.config()) {
        Ok(engine) => engine,
        Err(error) => return (Err(error.to_string()), Native::default(), 0),
    };
    let observed = observe_reloading(&engine, wasm, seed, reloads).map_err(|error| error.to_string());
    let reloaded = observed.as_ref().map_or(0, |&(_, reloaded)| reloaded);
    let observed = observed.map(|(observed, _)| observed);
    let mut native = Native { exits: observed.as_ref().map_or(0, |observed| observed.exits), ..Native::default() };
    for (below, tier) in engine.broker().stats().tiers.into_iter().enumerate() {
        native.installed += tier.installed;
        native.optimized += if below > 0 { tier.installed } else { 0 };
        native.variants += tier.installed_osr;
        for (kind, count) in tier.bailouts {
            *native.bailouts.entry(format!("{kind:?}")).or_default() += count;
        }
    }
    (observed, native, reloaded)
}

impl Tiering {
    fn config(self) -> Config {
        // Where code is left, or entered, by chance, in templates from the beginning.
        let templates = match self {
            Self::LoopsToBaseline(Osr::Random(_)) | Self::ExitsOfBaseline(..) | Self::Mixed(_) => Templates::Always,
            _ => Templates::Auto,
        };
        let config = Config {
            templates,
            max_native_stack: STACK,
            value_stack: STACK,
            max_memory_pages: 16,
            max_table_elements: 1000,
            ..Config::default()
        };
        let mixed = |seed, mode| Config {
            tier: TierMode::Auto,
            policy: Some(Arc::new(Chance(seed))),
            mode: Some(mode),
            workers: Some(1),
            ..config.clone()
        };
        match self {
            Self::Interp => Config { tier: TierMode::Interp, templates: Templates::Off, ..config },
            Self::Templates => Config { tier: TierMode::Interp, templates: Templates::Always, ..config },
            Self::Baseline => Config { tier: TierMode::Baseline, ..config },
            Self::Mixed(seed) => mixed(seed, Mode::Sync),
            Self::Background(seed) => mixed(seed, Mode::Background),
            #[cfg(feature = "llvm")]
            Self::Opt => Config { tier: TierMode::Opt, ..config },
            #[cfg(feature = "llvm")]
            Self::ThreeTiers(seed) => {
                let (llvm, speculate) = (Some(tierup_interp::Llvm::default()), Speculate::Always);
                Config { llvm, speculate, ..mixed(seed, Mode::Sync) }
            }
            Self::LoopsToBaseline(osr) => Config { tier: TierMode::Baseline, osr, ..config },
            #[cfg(feature = "llvm")]
            Self::LoopsToOpt(osr) => Config { tier: TierMode::Opt, osr, ..config },
            #[cfg(feature = "llvm")]
            Self::LoopsThrough(osr, mode, seed) => {
                Config { llvm: Some(tierup_interp::Llvm::default()), osr, ..mixed(seed, mode) }
            }
            Self::ExitsOfBaseline(osr, deopt) => Config { tier: TierMode::Baseline, osr, deopt, ..config },
            #[cfg(feature = "llvm")]
            Self::ExitsOfOpt(osr, deopt) => Config { tier: TierMode::Opt, osr, deopt, ..config },
            #[cfg(feature = "llvm")]
            Self::ExitsOfAll(osr, deopt, seed) => {
                let (llvm, speculate) = (Some(tierup_interp::Llvm::default()), Speculate::Always);
                Config { llvm, speculate, osr, deopt, ..mixed(seed, Mode::Sync) }
            }
        }
    }
}

/// A policy that decides by chance, so that tiers meet in every combination.
struct Chance(u64);

impl HotnessPolicy for Chance {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        let chance = mix(self.0 ^ u64::from(size) << 8 ^ u64::from(tier.index()));
        match chance % 4 {
            0 => 0,
            1 => (chance >> 8) as u32 % 64,
            2 => (chance >> 8) as u32 % 4096,
            _ => u32::MAX,
        }
    }

    fn decide(&self, sample: &Sample) -> Decision {
        if self.first_budget(sample.next, sample.size) == u32::MAX {
            Decision::Never { reason: NeverReason::Excluded }
        } else {
            Decision::Promote { tier: sample.next, reason: Reason::Budget }
        }
    }
}

impl Summary {
    fn of(run: &Result<Observation, String>) -> Self {
        let mut summary = Self { modules: 1, ..Self::default() };
        let Ok(observation) = run else {
            summary.refused = 1;
            return summary;
        };
        for step in &observation.steps {
            summary.host_calls += step.host_calls.len() as u64;
            match step.outcome {
                Outcome::Returned(_) => summary.returns += 1,
                Outcome::Trapped(TrapCode::StackOverflow) => summary.overflows += 1,
                Outcome::Trapped(_) | Outcome::HostFailed(_) | Outcome::Refused(_) => summary.traps += 1,
            }
        }
        summary
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.modules += other.modules;
        self.no_module += other.no_module;
        self.refused += other.refused;
        self.returns += other.returns;
        self.traps += other.traps;
        self.host_calls += other.host_calls;
        self.overflows += other.overflows;
        self.native.add(&other.native);
        self.reloaded += other.reloaded;
    }
}

impl Native {
    fn add(&mut self, other: &Self) {
        self.installed += other.installed;
        self.optimized += other.optimized;
        self.variants += other.variants;
        self.exits += other.exits;
        for (kind, count) in &other.bailouts {
            *self.bailouts.entry(kind.clone()).or_default() += count;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} modules ({} seeds made none, {} refused), {} calls returned, {} trapped, {} overflowed the stack; {} host calls; {} units compiled, {} of them by LLVM, {} to be entered in a loop, {} exits, {} functions reloaded, given up: {:?}",
            self.modules,
            self.no_module,
            self.refused,
            self.returns,
            self.traps,
            self.overflows,
            self.host_calls,
            self.native.installed,
            self.native.optimized,
            self.native.variants,
            self.native.exits,
            self.reloaded,
            self.native.bailouts
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, reloading {:?}, differs from the interpreter: {}", self.tiering, self.reloads, self.difference)
    }
}
