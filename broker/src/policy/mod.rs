//! When to promote, and when to give code up: pure functions from a sample to a decision. No clock, no atomics, no threads, no
//! I/O, so the same code runs live and in a replay.
#![forbid(unsafe_code)]

mod deopt;
mod osr_after;
mod threshold;
mod tiered;

pub use deopt::{DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample, GuardId, KeepAlways};
pub use osr_after::OsrAfter;
pub use threshold::Threshold;
pub use tiered::Tiered;

use crate::Tier;

/// What a policy may look at when a bead's budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// The tier whose code runs now.
    pub tier: Tier,
    /// The lowest tier above it that is not disabled for this bead.
    pub next: Tier,
    /// The loop that asks, for an OSR variant of `next`; `None` when it is about the body.
    pub site: Option<u32>,
    /// Work units done since registration, in any tier that counts.
    pub work: u64,
    /// Size of the guest body in bytes.
    pub size: u32,
    /// Whether `next` has been asked for already and not yet answered.
    pub pending: bool,
    /// Retryable bailouts of `next` on this bead so far; at a site, of all OSR variants.
    pub bailouts: u8,
    /// Requests waiting or being compiled, broker-wide.
    pub queued: usize,
    /// Bytes of native code installed, broker-wide.
    pub code_bytes: u64,
}

impl Sample {
    /// A sample of a bead of `size` bytes that runs in `tier` and could go to `next`, everything else zero.
    pub fn new(tier: Tier, next: Tier, size: u32) -> Self {
        Sample { tier, next, site: None, work: 0, size, pending: false, bailouts: 0, queued: 0, code_bytes: 0 }
    }
}

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
    /// The queue is long.
    #[error("compilers are busy")]
    Load,
    /// Native code takes too much memory.
    #[error("code memory pressure")]
    CodePressure,
    /// Not hot enough by another measure.
    #[error("not hot yet")]
    NotHot,
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
}

#[cfg(test)]
mod tests;
