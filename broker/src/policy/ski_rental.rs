//! Ski rental: compile when what not compiling has cost equals the price.

use super::{
    Decision, HotnessPolicy, Reason, Sample,
    budget::{first_look, promote_when},
};
use crate::Tier;

/// Promotes when the time lost so far equals what compiling costs: the deterministic strategy for renting skis or buying them, which never
/// pays more than twice what knowing the future would have (Karlin, Manasse, Rudolph, Sleator: *Competitive snoopy caching*, 1988; no
/// deterministic strategy does better).
///
/// ```text
/// lost   = spent · (1 − 1/S)          what the code that runs now has cost beyond what the next tier's would have
/// price  = patience · (C + wait)      compiling it, and waiting for the compilers meanwhile
/// ```
///
/// Against a random adversary a `patience` drawn from the density `e^x / (e − 1)` on `[0, 1]` is better (`e/(e−1)`-competitive): that is for
/// the embedder to draw, once.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct SkiRental {
    /// How much of the price may be lost before it is paid: 1 for the deterministic strategy.
    pub patience: f64,
    /// Work after which costs are looked at for the first time.
    pub first_look: u32,
}

impl Default for SkiRental {
    fn default() -> Self {
        SkiRental { patience: 1.0, first_look: 16 << 10 }
    }
}

impl HotnessPolicy for SkiRental {
    fn first_budget(&self, tier: Tier, _size: u32) -> u32 {
        first_look(tier, self.first_look)
    }

    fn decide(&self, sample: &Sample) -> Decision {
        let outlook = sample.next_outlook();
        let lost_per_unit = 1.0 - 1.0 / outlook.speedup.max(1.0);
        let price = self.patience * (outlook.cost as f64 + sample.queue_wait as f64);
        let missing = if lost_per_unit > 0.0 { price / lost_per_unit - sample.spent as f64 } else { f64::INFINITY };
        promote_when(sample, sample.next, missing, Reason::Pays)
    }
}
