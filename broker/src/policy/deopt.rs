//! When compiled code is given up because it left for the interpreter: a pure function from a sample to a decision, as for
//! promotion.
//!
//! An *exit* is one run of code that left at a guard. The broker counts exits, asks at every one, and does what the answer says;
//! code that is *given up* makes room for the code of the next lower tier that the bead still has, or for the interpreter.

use std::fmt;

use crate::Tier;

/// The embedder's name of what a guard speculates on: the same in every unit that is compiled of a function, so that what was
/// learnt of it outlives the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuardId(pub u64);

impl fmt::Display for GuardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guard {:#x}", self.0)
    }
}

/// What a policy may look at when a unit was left at a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeoptSample {
    /// The tier of the unit that was left.
    pub tier: Tier,
    /// The tier that runs the function if the unit is given up: one whose code the bead still has, or the interpreter. For an
    /// OSR variant this is the tier of the body.
    pub fallback: Tier,
    /// The loop site, when the unit is an OSR variant.
    pub site: Option<u32>,
    /// Where it was left.
    pub guard: GuardId,
    /// Exits of this unit at this guard, by all threads, this one included.
    pub guard_exits: u32,
    /// Exits of this unit at any guard, by all threads, this one included.
    pub unit_exits: u32,
    /// Units of this bead that were given up because of this guard since it was registered or reloaded.
    pub guard_deopts: u32,
    /// Units of this bead and this tier that were given up since it was registered or reloaded: the number of the retry.
    pub deopts: u32,
    /// Whether compiles that begin now leave the guard's speculation out.
    pub suppressed: bool,
    /// Guards of this bead that are suppressed.
    pub suppressed_guards: u32,
    /// Work units done since registration, in any tier that counts.
    pub work: u64,
    /// Size of the guest body in bytes.
    pub size: u32,
}

impl DeoptSample {
    /// A sample of the first exit ever of code of `tier` at `guard`, in a bead that has no other code.
    pub fn new(tier: Tier, guard: GuardId) -> Self {
        DeoptSample {
            tier,
            fallback: Tier::INTERPRETER,
            site: None,
            guard,
            guard_exits: 1,
            unit_exits: 1,
            guard_deopts: 0,
            deopts: 0,
            suppressed: false,
            suppressed_guards: 0,
            work: 0,
            size: 0,
        }
    }
}

/// What to do about a unit that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{action}: {reason}")]
pub struct DeoptDecision {
    /// What to do.
    pub action: DeoptAction,
    /// Why.
    pub reason: DeoptReason,
}

/// What can be done about a unit that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeoptAction {
    /// Nothing: leaving now and then is cheaper than a compile.
    #[error("keep")]
    Keep,
    /// Give the unit up, and ask for another one of the tier at once, from the profile there is now. It is taken first from the
    /// queue.
    #[error("recompile")]
    Recompile,
    /// As [`Recompile`](Self::Recompile), and compiles that begin from now on are told not to speculate on what the guard tests, until
    /// the body is reloaded.
    #[error("recompile without the guard")]
    Suppress,
    /// Give the unit up, with a body its variants of the tier as well, and ask for nothing before `work` more units of work are done.
    /// (A thread in a loop that better code exists for counts by itself and may ask for a variant before.)
    #[error("back off for {work} work units")]
    BackOff {
        /// Work units until the promotion policy is asked again.
        work: u32,
    },
    /// Give up all code of the bead above `tier`; counting for what comes after `tier` starts over.
    #[error("revert to {tier}")]
    RevertTo {
        /// The highest tier that may stay. One that is not below the unit's is corrected to the sample's `fallback`.
        tier: Tier,
    },
    /// Give up all code of the unit's tier and never ask for that tier again, until the body is reloaded.
    #[error("never this tier")]
    NeverThisTier,
}

/// Why it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DeoptReason {
    /// The policy does the same at every exit.
    #[error("at every exit")]
    Always,
    /// There were too few exits to act.
    #[error("left too rarely to matter")]
    Rare,
    /// There were as many exits as the policy lets a unit have.
    #[error("left too often")]
    TooManyExits,
    /// There were as many exits at this guard as the policy lets one have.
    #[error("the guard fails too often")]
    BadGuard,
    /// The code that is there now speculates on it no more.
    #[error("the guard is suppressed already")]
    Suppressed,
    /// Code that was given up before is left again: wait longer each time.
    #[error("a penalty for trying again")]
    Penalty,
    /// Code of the tier was given up as often as the policy lets it be.
    #[error("too many retries")]
    TooManyRetries,
}

/// Decides what becomes of code that was left at a guard.
///
/// Implementations must be pure, as for [`HotnessPolicy`](crate::HotnessPolicy): the same arguments give the same answer, and
/// nothing blocks, because interpreter threads call them, at every exit of code that is still in use.
pub trait DeoptPolicy: Send + Sync {
    /// A unit was left: what now?
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision;
}

/// Keeps everything: the control every other policy is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeepAlways;

impl DeoptPolicy for KeepAlways {
    fn decide(&self, _: &DeoptSample) -> DeoptDecision {
        DeoptDecision { action: DeoptAction::Keep, reason: DeoptReason::Always }
    }
}
