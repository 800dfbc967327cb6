//! Compile again at every exit.

use tierup_broker::{DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample};

use super::decision;

/// Gives the unit up at its first exit, and compiles again at once, from the profile that has the new case in it.
///
/// The rule of V8's eager deoptimizations, which discard the code at once. It settles when profiles only ever widen; a guard that
/// fails for another reason each time makes it compile for ever, which is what the other policies are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlwaysRecompile;

impl DeoptPolicy for AlwaysRecompile {
    fn decide(&self, _: &DeoptSample) -> DeoptDecision {
        decision(DeoptAction::Recompile, DeoptReason::Always)
    }
}
