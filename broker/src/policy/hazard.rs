//! The hazard rate: compile once a function is more likely to go on than to stop before that has paid.

use super::{
    Decision, HotnessPolicy, Reason, Sample,
    budget::{first_look, promote_when},
};
use crate::Tier;

/// Powers of two of work that lifetimes are sorted by.
const BUCKETS: usize = 48;

/// How much work functions did before they stopped: by powers of two, so it is small, and can be kept from one run to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct Lifetimes {
    /// Functions that stopped after at least `2^k` units of work, and less than twice that.
    ended: Vec<u32>,
    /// Functions that had got so far when they were last looked at, and may go on.
    running: Vec<u32>,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Lifetimes { ended: vec![0; BUCKETS], running: vec![0; BUCKETS] }
    }
}

/// The bucket of so much work. In whole numbers: logarithms of powers of two need not be exact.
fn bucket(work: u64) -> usize {
    (work.max(1).ilog2() as usize).min(BUCKETS - 1)
}

/// Where a bucket begins, which is also how wide it is.
fn start(bucket: usize) -> u64 {
    1 << bucket
}

impl Lifetimes {
    /// A function stopped after `work` units: it was released, or the program ended.
    pub fn note_ended(&mut self, work: u64) {
        count(&mut self.ended, work);
    }

    /// A function has done `work` units and may do more: statistics call it censored.
    pub fn note_running(&mut self, work: u64) {
        count(&mut self.running, work);
    }

    fn at(counts: &[u32], bucket: usize) -> f64 {
        counts.get(bucket).copied().map_or(0.0, f64::from)
    }

    /// How many functions got as far as `bucket`.
    fn at_risk(&self, bucket: usize) -> f64 {
        (bucket..BUCKETS).map(|bucket| Self::at(&self.ended, bucket) + Self::at(&self.running, bucket)).sum()
    }

    /// The hazard rate after `work` units, per unit: the Nelson-Aalen increment of the bucket, `d / n`, over its width. `prior`
    /// functions are added of which, as of everything whose future is as long as its past, half stop in each bucket.
    fn hazard(&self, work: u64, prior: f64) -> f64 {
        let bucket = bucket(work);
        let ended = Self::at(&self.ended, bucket) + prior / 2.0;
        let at_risk = self.at_risk(bucket) + prior;
        let width = start(bucket) as f64;
        if at_risk > 0.0 { ended / at_risk / width } else { 0.5 / width }
    }
}

fn count(counts: &mut Vec<u32>, work: u64) {
    counts.resize(BUCKETS, 0);
    let count = &mut counts[bucket(work)];
    *count = count.saturating_add(1);
}

/// Promotes a function that has done `x` work once its hazard rate, the probability of stopping in the next unit given that it got so far,
/// has fallen below one over the break-even point (after Ungar, US 6993755; Nelson 1969, Aalen 1978 for the estimate).
///
/// ```text
/// h(x) < 1 / n*        n* = C · S/(S−1)
/// ```
///
/// Above that a function is likely to stop before compiling it has paid. Where lifetimes have a heavy tail `h` falls, and the rule is a
/// threshold that fits the program; where `h` is `1/x`, the future as long as the past, it is [`CostBenefit`](super::CostBenefit)'s.
/// Without lifetimes noted, or with few, that is what it takes for granted.
///
/// The lifetimes are those of an earlier run, or of functions released in this one: policies are pure, so they do not note them
/// themselves. `Broker::walk` has the work of every function.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct HazardRate {
    /// What is known of how long functions run.
    pub lifetimes: Lifetimes,
    /// How many noted functions the assumption weighs.
    pub prior: f64,
    /// Work after which the rate is looked at for the first time.
    pub first_look: u32,
}

impl Default for HazardRate {
    fn default() -> Self {
        HazardRate { lifetimes: Lifetimes::default(), prior: 20.0, first_look: 16 << 10 }
    }
}

impl HotnessPolicy for HazardRate {
    fn first_budget(&self, tier: Tier, _size: u32) -> u32 {
        first_look(tier, self.first_look)
    }

    fn decide(&self, sample: &Sample) -> Decision {
        let break_even = sample.next_outlook().break_even();
        if break_even.is_infinite() || self.lifetimes.hazard(sample.spent, self.prior) * break_even < 1.0 {
            let missing = if break_even.is_infinite() { f64::INFINITY } else { 0.0 };
            return promote_when(sample, sample.next, missing, Reason::Pays);
        }
        // The rate is the same in all of a bucket.
        let missing = start(bucket(sample.spent) + 1).saturating_sub(sample.spent).max(1);
        promote_when(sample, sample.next, missing as f64, Reason::Pays)
    }
}
