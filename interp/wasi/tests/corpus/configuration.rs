//! The ways to run a program.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "llvm")]
use tierup::Mode;
use tierup::{Decision, HotnessPolicy, Reason, Sample, Tier};
#[cfg(feature = "llvm")]
use tierup_interp::Speculate;
use tierup_interp::{Baseline, Config, Deopt, Osr, TierMode};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Configuration {
    Interp,
    Baseline,
    /// As the baseline, but Cranelift compiles.
    Cranelift,
    /// Workers compile what the default policy finds hot.
    Background,
    /// Workers compile after budgets that look random, some of them zero.
    Mixed {
        seed: u64,
    },
    /// LLVM before the first call.
    #[cfg(feature = "llvm")]
    Opt,
    /// Workers compile quickly, then with LLVM, after budgets that look random.
    #[cfg(feature = "llvm")]
    ThreeTiers {
        seed: u64,
    },
    /// From the interpreter into the quick compiler's code, in loops only.
    LoopsToBaseline(Osr),
    /// Into Cranelift's.
    LoopsToCranelift(Osr),
    /// From the interpreter into LLVM's code, in loops only.
    #[cfg(feature = "llvm")]
    LoopsToOpt(Osr),
    /// Through both, bodies compiled on this thread or by workers as well.
    #[cfg(feature = "llvm")]
    LoopsThrough(Osr, Mode),
    /// Code leaves through exits, and where loops are entered by force goes on there.
    Exits {
        of: Exited,
        osr: Osr,
        deopt: Deopt,
    },
}

/// The code that is left through exits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exited {
    /// The quick compiler's, compiled before the first call.
    Baseline,
    /// LLVM's, compiled before the first call.
    #[cfg(feature = "llvm")]
    Opt,
    /// Both, of which LLVM's speculates on all it can.
    #[cfg(feature = "llvm")]
    ThreeTiers(Mode),
}

impl Configuration {
    /// Random thresholds; `TIERUP_SEED` repeats a run.
    pub(crate) fn mixed() -> Self {
        Self::Mixed { seed: seed() }
    }

    /// Random thresholds for both compilers; likewise.
    #[cfg(feature = "llvm")]
    pub(crate) fn three_tiers() -> Self {
        Self::ThreeTiers { seed: seed() }
    }

    pub(crate) fn config(self) -> Config {
        let mut config = Config::default();
        match self {
            Self::Interp => config.tier = TierMode::Interp,
            Self::Baseline => config.tier = TierMode::Baseline,
            Self::Cranelift => (config.tier, config.baseline) = (TierMode::Baseline, Baseline::Cranelift),
            Self::Background => config.tier = TierMode::Auto,
            Self::Mixed { seed } => {
                config.tier = TierMode::Auto;
                config.policy = Some(Arc::new(Random { seed }));
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
                config.policy = Some(Arc::new(Random { seed }));
                config.speculate = Speculate::Always;
            }
            Self::LoopsToBaseline(osr) => {
                config.tier = TierMode::Baseline;
                config.osr = osr;
            }
            Self::LoopsToCranelift(osr) => {
                config = Self::Cranelift.config();
                config.osr = osr;
            }
            #[cfg(feature = "llvm")]
            Self::LoopsToOpt(osr) => {
                config.tier = TierMode::Opt;
                config.osr = osr;
                config.llvm = Some(patient());
                config.deadline = Some(PATIENCE);
            }
            #[cfg(feature = "llvm")]
            Self::LoopsThrough(osr, mode) => {
                config.osr = osr;
                config.mode = Some(mode);
                config.llvm = Some(patient());
                config.deadline = Some(PATIENCE);
                config.policy = Some(Arc::new(Random { seed: 1 }));
            }
            Self::Exits { of, osr, deopt } => {
                let code = match of {
                    Exited::Baseline => Self::LoopsToBaseline(osr),
                    #[cfg(feature = "llvm")]
                    Exited::Opt => Self::LoopsToOpt(osr),
                    #[cfg(feature = "llvm")]
                    Exited::ThreeTiers(mode) => Self::LoopsThrough(osr, mode),
                };
                config = code.config();
                config.deopt = deopt;
                #[cfg(feature = "llvm")]
                if let Exited::ThreeTiers(_) = of {
                    config.speculate = Speculate::Always;
                }
            }
        }
        config
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interp => f.write_str("interpreter"),
            Self::Baseline => f.write_str("baseline"),
            Self::Cranelift => f.write_str("Cranelift"),
            Self::Background => f.write_str("background"),
            Self::Mixed { seed } => write!(f, "mixed, TIERUP_SEED={seed}"),
            #[cfg(feature = "llvm")]
            Self::Opt => f.write_str("opt"),
            #[cfg(feature = "llvm")]
            Self::ThreeTiers { seed } => write!(f, "three tiers, TIERUP_SEED={seed}"),
            Self::LoopsToBaseline(osr) => write!(f, "loops to baseline, {osr:?}"),
            Self::LoopsToCranelift(osr) => write!(f, "loops to Cranelift's code, {osr:?}"),
            #[cfg(feature = "llvm")]
            Self::LoopsToOpt(osr) => write!(f, "loops to opt, {osr:?}"),
            #[cfg(feature = "llvm")]
            Self::LoopsThrough(osr, mode) => write!(f, "loops through all tiers, {osr:?}, {mode:?}"),
            Self::Exits { of, osr, deopt } => write!(f, "exits of {of:?}, {deopt:?}, loops {osr:?}"),
        }
    }
}

pub(crate) fn seed() -> u64 {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
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

/// Budgets that depend on nothing but the seed and the body's size: as random as a pure policy can be.
struct Random {
    seed: u64,
}

impl HotnessPolicy for Random {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        let mut mixed = self.seed ^ u64::from(size) << 8 ^ u64::from(tier.index());
        for _ in 0..2 {
            mixed = (mixed ^ mixed >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        match mixed >> 60 {
            0..3 => 0,
            3..8 => (mixed % 1_000) as u32,
            8..14 => (mixed % 100_000) as u32,
            _ => (mixed % 10_000_000) as u32,
        }
    }

    fn decide(&self, sample: &Sample) -> Decision {
        if sample.pending {
            Decision::Wait { budget: 1_000_000, reason: tierup::WaitReason::Pending }
        } else {
            Decision::Promote { tier: sample.next, reason: Reason::Budget }
        }
    }
}
