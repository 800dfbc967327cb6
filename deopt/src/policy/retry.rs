//! A threshold that doubles with every retry.

use tierup_broker::{DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample};

use super::decision;

/// Compiles again when a unit was left `exits · 2^retry` times, an OSR variant `loop_exits · 2^retry` times, where `retry` is how
/// many units of the tier were given up before: code that keeps failing is kept longer each time.
///
/// JavaScriptCore's rule (`CodeBlock::adjustedExitCountThreshold`) with its numbers: `osrExitCountForReoptimization` 100,
/// `osrExitCountForReoptimizationFromLoop` 5. As there a threshold that is too large for 32 bits is never reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryThreshold {
    /// Exits the first unit may have.
    pub exits: u32,
    /// Exits the first unit may have if it was entered in a loop.
    pub loop_exits: u32,
}

impl Default for RetryThreshold {
    fn default() -> Self {
        RetryThreshold { exits: 100, loop_exits: 5 }
    }
}

impl DeoptPolicy for RetryThreshold {
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision {
        let exits = if sample.site.is_some() { self.loop_exits } else { self.exits };
        let threshold = u64::from(exits).checked_mul(1u64.checked_shl(sample.deopts).unwrap_or(u64::MAX));
        match threshold.and_then(|threshold| u32::try_from(threshold).ok()) {
            Some(threshold) if sample.unit_exits >= threshold => decision(DeoptAction::Recompile, DeoptReason::TooManyExits),
            _ => decision(DeoptAction::Keep, DeoptReason::Rare),
        }
    }
}
