//! Back to the tier below, whose code is still there.

use tierup_broker::{DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample};

use super::decision;

/// Goes on in the tier below when a unit was left `exits` times: that costs no compile. What comes after that tier is counted
/// for from the start, so that a better profile is there by then; when `units` units went that way the tier is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevertAfter {
    /// Exits a unit may have; 0 is as 1.
    pub exits: u32,
    /// Units that may be given up, of one function and tier.
    pub units: u32,
}

impl Default for RevertAfter {
    fn default() -> Self {
        RevertAfter { exits: 10, units: 10 }
    }
}

impl DeoptPolicy for RevertAfter {
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision {
        if sample.unit_exits < self.exits {
            decision(DeoptAction::Keep, DeoptReason::Rare)
        } else if sample.deopts < self.units {
            decision(DeoptAction::RevertTo { tier: sample.fallback }, DeoptReason::TooManyExits)
        } else {
            decision(DeoptAction::NeverThisTier, DeoptReason::TooManyRetries)
        }
    }
}
