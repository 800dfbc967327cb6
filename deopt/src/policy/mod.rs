//! What becomes of code that was left at an exit: the recovery policies of the field, as pure functions for
//! [`DeoptPolicy`](tierup_broker::DeoptPolicy). No clock, no atomics, no threads: a table tests each.
//!
//! | policy | after | what it does | whose |
//! |---|---|---|---|
//! | [`AlwaysRecompile`] | every exit | compiles again from what is known now | V8's eager deopts |
//! | [`ThresholdThenDisable`] | so many exits | compiles again; after so many units never this tier | HotSpot, SpiderMonkey |
//! | [`ExponentialBackoff`] | every exit | interprets for twice as long each time | |
//! | [`RetryThreshold`] | `100 · 2^retry` exits | compiles again | JavaScriptCore |
//! | [`RandomizedPenalty`] | every exit | waits `2 · last + 0..15`; past a maximum never again | LuaJIT |
//! | [`RevertAfter`] | so many exits | goes on in the tier below | |
//! | [`SuppressGuard`] | so many exits of one guard | compiles again without that one speculation; else asks another policy | HotSpot |

mod always;
mod backoff;
mod penalty;
mod retry;
mod revert;
mod suppress;
#[cfg(test)]
mod tests;
mod threshold;

pub use always::AlwaysRecompile;
pub use backoff::ExponentialBackoff;
pub use penalty::RandomizedPenalty;
pub use retry::RetryThreshold;
pub use revert::RevertAfter;
pub use suppress::SuppressGuard;
pub use threshold::ThresholdThenDisable;

use tierup_broker::{DeoptAction, DeoptDecision, DeoptReason};

fn decision(action: DeoptAction, reason: DeoptReason) -> DeoptDecision {
    DeoptDecision { action, reason }
}
