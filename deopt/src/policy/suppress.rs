//! One bad guard costs one speculation, not the function.

use tierup_broker::{DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample};

use super::decision;

/// Compiles without a speculation when the unit was left `exits` times at its guard, for up to `guards` guards of one function;
/// about everything else it asks `otherwise`.
///
/// Exits of a guard that is suppressed already come from code that was compiled before: that goes, if it is not gone.
///
/// HotSpot's rule: past `PerBytecodeTrapLimit` (4) traps of one reason at one bytecode the compiler emits no trap of that reason there,
/// and past `PerMethodTrapLimit` (100) none in the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuppressGuard<P> {
    /// Exits at one guard that one unit may have; 0 is as 1.
    pub exits: u32,
    /// Guards of one function that may be suppressed.
    pub guards: u32,
    /// Who decides otherwise.
    pub otherwise: P,
}

impl<P> SuppressGuard<P> {
    /// With HotSpot's numbers: 4 exits, 100 guards.
    pub fn or(otherwise: P) -> Self {
        SuppressGuard { exits: 4, guards: 100, otherwise }
    }
}

impl<P: DeoptPolicy> DeoptPolicy for SuppressGuard<P> {
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision {
        if sample.suppressed {
            decision(DeoptAction::Recompile, DeoptReason::Suppressed)
        } else if sample.guard_exits >= self.exits && sample.suppressed_guards < self.guards {
            decision(DeoptAction::Suppress, DeoptReason::BadGuard)
        } else {
            self.otherwise.decide(sample)
        }
    }
}
