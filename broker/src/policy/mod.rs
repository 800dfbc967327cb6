//! When to promote, and when to give code up: pure functions from a sample to a decision. No clock, no atomics, no threads, no
//! I/O, so the same code runs live and in a replay.
#![forbid(unsafe_code)]

mod budget;
mod config;
mod cost_benefit;
mod deopt;
mod hazard;
mod hotspot;
mod jsc;
mod modify;
mod osr_after;
mod sample;
mod ski_rental;
mod spidermonkey;
mod threshold;
mod tiered;
mod truffle;
mod v8;

pub use config::{ConfiguredPolicy, PolicyChoice, PolicyConfig, PolicyConfigError};
pub use cost_benefit::CostBenefit;
pub use deopt::{DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample, GuardId, KeepAlways};
pub use hazard::{HazardRate, Lifetimes};
pub use hotspot::{HotSpot, HotSpotStep};
pub use jsc::Jsc;
pub use modify::{CodePressure, CompileShare, EfficiencyMode, Hysteresis, LoadFeedback, Modified, Modifiers, StartupDelay};
pub use osr_after::OsrAfter;
pub use sample::{Outlook, Sample};
pub use ski_rental::SkiRental;
pub use spidermonkey::SpiderMonkey;
pub use threshold::Threshold;
pub use tiered::Tiered;
pub use truffle::Truffle;
pub use v8::V8;

use crate::{Rules, Tier};

/// What to do with a bead whose budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Ask for `tier`.
    Promote {
        /// The tier to ask for. One that does not exist, is disabled or is not above the current one is corrected to the
        /// sample's `next`.
        tier: Tier,
        /// Why.
        reason: Reason,
    },
    /// Ask again after `budget` more work units.
    Wait {
        /// Work units until the next sample.
        budget: u32,
        /// Why.
        reason: WaitReason,
    },
    /// Never ask about this bead again until it is reloaded.
    Never {
        /// Why.
        reason: NeverReason,
    },
}

/// Why a bead was promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Its budget of work is spent.
    #[error("budget spent")]
    Budget,
    /// The policy compiles before the first call.
    #[error("first call")]
    FirstCall,
    /// Compiling is reckoned to cost less than it saves.
    #[error("it pays")]
    Pays,
    /// The budget is nearly spent, and compiling takes time.
    #[error("queued ahead")]
    QueueAhead,
    /// Enough work was done since the last retryable bailout.
    #[error("retry")]
    Retry,
    /// A function that was entered in the middle is called again: its body is worth compiling as well.
    #[error("called again")]
    CalledAgain,
    /// The variant of a loop further in was too large.
    #[error("the outer loop instead")]
    OuterLoop,
    /// Code of the tier was given up because it was left for the interpreter: another one, from what is known now.
    #[error("deopt")]
    Deopt,
    /// The embedder asked.
    #[error("forced")]
    Forced,
}

/// Why a bead waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum WaitReason {
    /// Its request has not been answered yet.
    #[error("already requested")]
    Pending,
    /// The queue is long: the threshold is higher.
    #[error("compilers are busy")]
    Load,
    /// The queue is too long: nothing is asked for until it is short.
    #[error("held back until compilers are nearly idle")]
    Held,
    /// Native code takes too much memory.
    #[error("code memory pressure")]
    CodePressure,
    /// Not hot enough by another measure.
    #[error("not hot yet")]
    NotHot,
    /// Functions are being called for the first time.
    #[error("the program is starting")]
    Startup,
    /// The embedder has asked to save energy.
    #[error("efficiency mode")]
    Efficiency,
    /// Compilers have had their share of the processor.
    #[error("compilers have used their share")]
    CompileShare,
}

/// Why a bead is never asked about again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NeverReason {
    /// The body is too large to be worth compiling.
    #[error("body too large")]
    TooLarge,
    /// The policy excludes it.
    #[error("excluded by the policy")]
    Excluded,
}

/// Decides when a bead is promoted. All amounts are work units; see [`CALL_WORK`](crate::CALL_WORK).
///
/// Implementations must be pure: the same arguments give the same answer, and nothing blocks, because
/// interpreter threads call them.
pub trait HotnessPolicy: Send + Sync {
    /// Work a bead of `size` guest bytes may do before the policy is first asked about promoting it to `tier`.
    ///
    /// 0 asks on the very first call, `u32::MAX` never: nor does a function that was entered in a loop and is called again.
    fn first_budget(&self, tier: Tier, size: u32) -> u32;

    /// Work the loops of a bead may do before the policy is first asked about an OSR variant of `tier`, for a loop that is still
    /// running: 0 asks at the first back-edge, `u32::MAX` never. As for the body unless a policy says otherwise.
    ///
    /// Only loops count here, and only where the function has no code of the tier; its body has
    /// [its own budget](Self::first_budget), for which loops count as well.
    fn osr_budget(&self, tier: Tier, size: u32) -> u32 {
        self.first_budget(tier, size)
    }

    /// The budget is spent: what now?
    fn decide(&self, sample: &Sample) -> Decision;

    /// Whether decisions depend on [`Sample::quiet`]. Knowing it costs a look at the clock for every function a thread begins to count.
    fn wants_quiet(&self) -> bool {
        false
    }

    /// What is said about single functions, looked up when they are registered. What decides about all is not asked about these
    /// differently: their budgets are scaled, and tiers above their highest are disabled.
    fn rules(&self) -> Option<&Rules> {
        None
    }
}

macro_rules! forwarded {
    ($($pointer:ty),*) => { $(
        impl<P: HotnessPolicy + ?Sized> HotnessPolicy for $pointer {
            fn first_budget(&self, tier: Tier, size: u32) -> u32 {
                (**self).first_budget(tier, size)
            }

            fn osr_budget(&self, tier: Tier, size: u32) -> u32 {
                (**self).osr_budget(tier, size)
            }

            fn decide(&self, sample: &Sample) -> Decision {
                (**self).decide(sample)
            }

            fn wants_quiet(&self) -> bool {
                (**self).wants_quiet()
            }

            fn rules(&self) -> Option<&Rules> {
                (**self).rules()
            }
        }
    )* };
}

forwarded!(&P, Box<P>, crate::sync::Arc<P>);

#[cfg(test)]
mod tests;
