//! Any policy, with another budget for loops.

use super::{Decision, HotnessPolicy, Sample};
use crate::{Rules, Tier};

/// Decides as `policy` does, but asks for OSR variants after `work` units in loops: 0 at the first back-edge, `u32::MAX` never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OsrAfter<P> {
    /// What decides everything else.
    pub policy: P,
    /// Work units of a loop that asks for a variant, for every tier.
    pub work: u32,
}

impl<P: HotnessPolicy> HotnessPolicy for OsrAfter<P> {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        self.policy.first_budget(tier, size)
    }

    fn osr_budget(&self, _tier: Tier, _size: u32) -> u32 {
        self.work
    }

    fn decide(&self, sample: &Sample) -> Decision {
        self.policy.decide(sample)
    }

    fn wants_quiet(&self) -> bool {
        self.policy.wants_quiet()
    }

    fn rules(&self) -> Option<&Rules> {
        self.policy.rules()
    }
}
