//! Twice as long each time.

use tierup_broker::{DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample};

use super::decision;

/// Gives a unit up when it was left `exits` times, and asks for the next after `first · 2^deopts` units of work, at most `most`.
///
/// Plain binary exponential backoff (Metcalfe and Boggs, *Ethernet*, 1976), in work instead of time: whatever the program does, the
/// `n`th compile comes after at least `first · (2^n - 1)` units of work, so that compiles are a vanishing part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExponentialBackoff {
    /// Exits a unit may have; 0 is as 1.
    pub exits: u32,
    /// Work units after the first unit was given up.
    pub first: u32,
    /// Work units at most.
    pub most: u32,
}

impl Default for ExponentialBackoff {
    /// One exit; from 10,000 work units to 2^30.
    fn default() -> Self {
        ExponentialBackoff { exits: 1, first: 10_000, most: 1 << 30 }
    }
}

impl DeoptPolicy for ExponentialBackoff {
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision {
        if sample.unit_exits < self.exits {
            return decision(DeoptAction::Keep, DeoptReason::Rare);
        }
        let factor = 1u32.checked_shl(sample.deopts).unwrap_or(u32::MAX);
        let work = self.first.saturating_mul(factor).min(self.most);
        decision(DeoptAction::BackOff { work }, DeoptReason::Penalty)
    }
}
