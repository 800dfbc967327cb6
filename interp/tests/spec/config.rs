//! The configurations the tests run in.

use std::fmt;
use std::sync::Arc;

use tierup::{CALL_WORK, Decision, HotnessPolicy, Mode, Reason, Sample, Tier};
#[cfg(feature = "llvm")]
use tierup_interp::Speculate;
use tierup_interp::{self as vm, Config, Deopt, Engine, Osr, Templates, TierMode};

/// How functions get to run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Configuration {
    /// Nothing is compiled, and handlers do everything.
    Interp,
    /// Nothing is compiled; every body has templates before it runs.
    Templates,
    /// Everything is compiled before its first call.
    Baseline,
    /// By Cranelift.
    Cranelift,
    /// Each function is compiled, on the calling thread, after a number of calls that the seed and its size decide.
    Mixed {
        /// What decides.
        seed: u64,
    },
    /// As mixed, compiled on worker threads whenever they get to it.
    Background,
    /// Everything is compiled by LLVM before its first call.
    #[cfg(feature = "llvm")]
    Opt,
    /// As mixed, with LLVM above the baseline.
    #[cfg(feature = "llvm")]
    ThreeTiers {
        /// What decides.
        seed: u64,
    },
    /// Running loops go on in native code at once, or by chance.
    Loops {
        /// From where, to where.
        through: Through,
        /// When.
        osr: Osr,
    },
    /// Compiled code leaves through exits.
    Exits {
        /// Whose code.
        of: Exited,
        /// When loops are entered; where that is forced, calls begin in a lower tier.
        osr: Osr,
        /// When it leaves.
        deopt: Deopt,
    },
}

/// The code that is left through exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exited {
    /// The quick compiler's.
    Baseline,
    /// LLVM's.
    #[cfg(feature = "llvm")]
    Opt,
    /// Both, compiled on the calling thread.
    #[cfg(feature = "llvm")]
    ThreeTiers,
}

/// The tiers that running loops go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// From the interpreter to the quick compiler's code.
    InterpToBaseline,
    /// To Cranelift's.
    InterpToCranelift,
    /// From the interpreter to LLVM's code.
    #[cfg(feature = "llvm")]
    InterpToOpt,
    /// From baseline code, in which functions begin, to LLVM's.
    #[cfg(feature = "llvm")]
    BaselineToOpt,
    /// From either to either, baseline bodies compiled as well, on the calling thread.
    #[cfg(feature = "llvm")]
    ThreeTiers,
    /// As three tiers, compiled in the background.
    #[cfg(feature = "llvm")]
    Background,
}

impl Through {
    fn has_llvm(self) -> bool {
        !matches!(self, Self::InterpToBaseline | Self::InterpToCranelift)
    }
}

impl Configuration {
    /// Mixed, with the seed of the environment or of the clock.
    pub(crate) fn mixed() -> Self {
        Self::Mixed { seed: seed() }
    }

    /// Three tiers, with the same seed.
    #[cfg(feature = "llvm")]
    pub(crate) fn three_tiers() -> Self {
        Self::ThreeTiers { seed: seed() }
    }

    /// Whether LLVM compiles something.
    pub(crate) fn has_llvm(self) -> bool {
        match self {
            Self::Interp | Self::Templates | Self::Baseline | Self::Cranelift | Self::Mixed { .. } | Self::Background => false,
            #[cfg(feature = "llvm")]
            Self::Opt | Self::ThreeTiers { .. } => true,
            Self::Loops { through, .. } => through.has_llvm(),
            Self::Exits { of, .. } => of != Exited::Baseline,
        }
    }

    /// An engine set up this way.
    pub(crate) fn engine(self) -> Result<Engine, tierup_interp::Error> {
        let mut config = Config::default();
        match self {
            Self::Interp => (config.tier, config.templates) = (TierMode::Interp, Templates::Off),
            Self::Templates => (config.tier, config.templates) = (TierMode::Interp, Templates::Always),
            Self::Baseline => config.tier = TierMode::Baseline,
            Self::Cranelift => (config.tier, config.baseline) = (TierMode::Baseline, vm::Baseline::Cranelift),
            Self::Mixed { seed } => {
                config.tier = TierMode::Auto;
                config.mode = Some(Mode::Sync);
                config.policy = Some(Arc::new(Scattered { seed }));
            }
            Self::Background => {
                config.tier = TierMode::Auto;
                config.mode = Some(Mode::Background);
                config.policy = Some(Arc::new(Scattered { seed: 0 }));
            }
            #[cfg(feature = "llvm")]
            Self::Opt => {
                config.tier = TierMode::Opt;
                config.llvm = Some(patient());
                config.deadline = Some(PATIENCE);
            }
            #[cfg(feature = "llvm")]
            Self::ThreeTiers { seed } => {
                config.llvm = Some(patient());
                config.deadline = Some(PATIENCE);
                config.mode = Some(Mode::Sync);
                config.policy = Some(Arc::new(Scattered { seed }));
                config.speculate = Speculate::Always;
            }
            Self::Loops { through, osr } => {
                config.osr = osr;
                config.templates = if let Osr::Random(_) = osr { Templates::Always } else { Templates::Auto };
                #[cfg(feature = "llvm")]
                if through.has_llvm() {
                    config.llvm = Some(patient());
                    config.deadline = Some(PATIENCE);
                }
                match through {
                    Through::InterpToBaseline => config.tier = TierMode::Baseline,
                    Through::InterpToCranelift => {
                        (config.tier, config.baseline) = (TierMode::Baseline, vm::Baseline::Cranelift);
                    }
                    #[cfg(feature = "llvm")]
                    Through::InterpToOpt => config.tier = TierMode::Opt,
                    #[cfg(feature = "llvm")]
                    Through::BaselineToOpt => {
                        config.mode = Some(Mode::Sync);
                        config.policy = Some(Arc::new(BaselineFirst));
                    }
                    #[cfg(feature = "llvm")]
                    Through::ThreeTiers | Through::Background => {
                        let is_sync = through == Through::ThreeTiers;
                        config.mode = Some(if is_sync { Mode::Sync } else { Mode::Background });
                        config.policy = Some(Arc::new(Scattered { seed: 0 }));
                    }
                }
            }
            Self::Exits { of, osr, deopt } => {
                (config.osr, config.deopt) = (osr, deopt);
                config.templates = if let Deopt::Random(_) = deopt { Templates::Off } else { Templates::Always };
                #[cfg(feature = "llvm")]
                if of != Exited::Baseline {
                    config.llvm = Some(patient());
                    config.deadline = Some(PATIENCE);
                }
                match of {
                    Exited::Baseline => config.tier = TierMode::Baseline,
                    #[cfg(feature = "llvm")]
                    Exited::Opt => config.tier = TierMode::Opt,
                    #[cfg(feature = "llvm")]
                    Exited::ThreeTiers => {
                        config.mode = Some(Mode::Sync);
                        config.policy = Some(Arc::new(Scattered { seed: 0 }));
                        config.speculate = Speculate::Always;
                    }
                }
            }
        }
        Engine::new(config)
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interp => f.write_str("interpreter"),
            Self::Templates => f.write_str("templates"),
            Self::Baseline => f.write_str("baseline"),
            Self::Cranelift => f.write_str("Cranelift"),
            Self::Mixed { seed } => write!(f, "mixed (TIERUP_SEED={seed})"),
            Self::Background => f.write_str("background"),
            #[cfg(feature = "llvm")]
            Self::Opt => f.write_str("opt"),
            #[cfg(feature = "llvm")]
            Self::ThreeTiers { seed } => write!(f, "three tiers (TIERUP_SEED={seed})"),
            Self::Loops { through, osr } => write!(f, "loops {through:?}, {osr:?}"),
            Self::Exits { of, osr, deopt } => write!(f, "exits of {of:?}, {deopt:?}, loops {osr:?}"),
        }
    }
}

pub(crate) fn seed() -> u64 {
    let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos() as u64);
    std::env::var("TIERUP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock)
}

/// A helper that is not taken for hung on a busy machine.
#[cfg(feature = "llvm")]
fn patient() -> tierup_interp::Llvm {
    tierup_interp::Llvm { answer_limit: Some(PATIENCE), ..Default::default() }
}

/// How long one compile may take: some take seconds, and more where everything else runs at the same time.
#[cfg(feature = "llvm")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// Everything in Cranelift's code before its first call, nothing by itself in LLVM's.
#[cfg(feature = "llvm")]
struct BaselineFirst;

#[cfg(feature = "llvm")]
impl HotnessPolicy for BaselineFirst {
    fn first_budget(&self, tier: Tier, _: u32) -> u32 {
        if tier == Tier::new(1) { 0 } else { u32::MAX }
    }

    fn decide(&self, sample: &Sample) -> Decision {
        Decision::Promote { tier: sample.next, reason: Reason::Budget }
    }
}

/// A policy that gives each size of function a number of calls of its own, from none to a few dozen.
struct Scattered {
    seed: u64,
}

impl HotnessPolicy for Scattered {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        let mut mixed = self.seed ^ (u64::from(size) << 8) ^ u64::from(tier.index());
        for _ in 0..3 {
            mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        match mixed >> 62 {
            0 => 0,
            1 => CALL_WORK,
            _ => CALL_WORK * ((mixed >> 32) as u32 % 32),
        }
    }

    fn decide(&self, sample: &Sample) -> Decision {
        Decision::Promote { tier: sample.next, reason: Reason::Budget }
    }
}
