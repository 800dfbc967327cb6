//! Jikes RVM's cost-benefit model: the tier with the least expected time.

use super::{
    Decision, HotnessPolicy, Reason, Sample,
    budget::{first_look, promote_when},
};
use crate::Tier;

/// Promotes to the tier `j` that is expected to be done soonest, if that is sooner than to go on (Jikes RVM, `AnalyticModel`; Arnold, Fink,
/// Grove, Hind, Sweeney: *Adaptive optimization in the Jalapeño JVM*, 2000).
///
/// ```text
/// argmin_j  C_j + T / S_j      against  T
/// ```
///
/// `T` is the time the function is still going to take in the code it runs in: as long as it has taken [so far](Sample::spent). `C_j` and
/// `S_j` are [what compiling costs](super::Outlook::cost) and [how much faster](super::Outlook::speedup) the code is. Jikes has both from
/// measurements made when it was built; here the broker measures while it runs. A tier may be passed over. It is the one policy for which the
/// future is as long as the past: every function is compiled that has run for `C · S/(S−1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct CostBenefit {
    /// Work after which the model is asked for the first time (Jikes asks about methods found on the stack by a timer).
    pub first_look: u32,
}

impl Default for CostBenefit {
    fn default() -> Self {
        CostBenefit { first_look: 16 << 10 }
    }
}

impl HotnessPolicy for CostBenefit {
    fn first_budget(&self, tier: Tier, _size: u32) -> u32 {
        first_look(tier, self.first_look)
    }

    fn decide(&self, sample: &Sample) -> Decision {
        let future = sample.spent as f64;
        let time = |(_, outlook): &(Tier, super::Outlook)| outlook.cost as f64 + future / outlook.speedup.max(f64::MIN_POSITIVE);
        let best = sample.outlooks().min_by(|left, right| time(left).total_cmp(&time(right)));
        match best {
            Some(best) if time(&best) < future => promote_when(sample, best.0, 0.0, Reason::Pays),
            _ => {
                let break_even = sample.outlooks().map(|(_, outlook)| outlook.break_even()).fold(f64::INFINITY, f64::min);
                // At the break-even point itself nothing is gained yet.
                promote_when(sample, sample.next, (break_even - future).max(0.0) + 1.0, Reason::Pays)
            }
        }
    }
}
