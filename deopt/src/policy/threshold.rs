//! So many exits per unit, so many units per function.

use tierup_broker::{DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample};

use super::decision;

/// Keeps a unit until it was left `exits` times, and compiles again; gives the tier up for this function when `units` of its
/// units went that way.
///
/// The defaults: 10 exits are SpiderMonkey's `FrequentBailoutThreshold`, 400 recompiles HotSpot's
/// `PerMethodRecompilationCutoff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThresholdThenDisable {
    /// Exits a unit may have; 0 is as 1.
    pub exits: u32,
    /// Units that may be given up, of one function and tier.
    pub units: u32,
}

impl Default for ThresholdThenDisable {
    fn default() -> Self {
        ThresholdThenDisable { exits: 10, units: 400 }
    }
}

impl DeoptPolicy for ThresholdThenDisable {
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision {
        if sample.unit_exits < self.exits {
            decision(DeoptAction::Keep, DeoptReason::Rare)
        } else if sample.deopts < self.units {
            decision(DeoptAction::Recompile, DeoptReason::TooManyExits)
        } else {
            decision(DeoptAction::NeverThisTier, DeoptReason::TooManyRetries)
        }
    }
}
