//! A threshold per tier, with four presets, and requests made ahead of the threshold.

use super::{
    Decision, HotnessPolicy, Reason, Sample,
    budget::{budget_of, promote_when},
    threshold::promote_once,
};
use crate::{CALL_WORK, TYPICAL_CALL_WORK, Tier};

/// Promotes to tier 1 after one amount of work and to every further tier after another.
///
/// Each is given in calls. The presets take a call to be worth [`TYPICAL_CALL_WORK`] units, so a function whose loops do more
/// than that is promoted after fewer calls, and one that does less after more.
///
/// Loops have thresholds of their own, for OSR variants. Unless [set](Self::osr_work) they are what the same number of calls is
/// worth: a variant costs about what the body does, so the work that must have been done before either pays is the same (the
/// break-even of the ski-rental problem, as for [`TYPICAL_CALL_WORK`]). In the default preset these 102,400 units are 10,000 turns
/// of a loop of ten operators. It is what others have come to by other ways: HotSpot enters its first compiler's code after
/// 60,000 back-edges (`Tier3BackEdgeThreshold`; `Tier4BackEdgeThreshold` is 40,000 more, counted in compiled code), Truffle after
/// 100,352 (`OSRCompilationThreshold`), .NET after 10,000 by its source and 69,000 by its documentation. In calls they wait for
/// hundreds only: with them a long loop is told from a function that is called often by waiting longer, here by watching its next
/// back-edges for a call. As in Wizard, after one frame has gone over, the others in the loop follow at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct Tiered {
    baseline_calls: u32,
    optimizing_calls: u32,
    call_work: u32,
    ahead_percent: u8,
    /// For tier 1, and for every further tier.
    osr_work: Option<[u32; 2]>,
    pays_percent: u8,
}

impl Tiered {
    /// Tier 1 after `baseline_calls`, every tier above after `optimizing_calls` more, each worth [`CALL_WORK`]; nothing is
    /// requested ahead.
    pub const fn new(baseline_calls: u32, optimizing_calls: u32) -> Self {
        Tiered { baseline_calls, optimizing_calls, call_work: CALL_WORK, ahead_percent: 0, osr_work: None, pays_percent: 0 }
    }

    /// Takes a call to be worth `units` of work.
    #[must_use]
    pub const fn call_worth(mut self, units: u32) -> Self {
        self.call_work = units;
        self
    }

    /// 10 and 100 calls: native code soon, for developing a lowering.
    pub const fn development() -> Self {
        Tiered::new(10, 100).call_worth(TYPICAL_CALL_WORK)
    }

    /// 1,000 and 10,000 calls: compiles only what stays hot.
    pub const fn production() -> Self {
        Tiered::new(1_000, 10_000).call_worth(TYPICAL_CALL_WORK)
    }

    /// 1,000 and 100,000 calls: for a second tier whose compiles take tens of milliseconds, as LLVM's do.
    pub const fn production_llvm() -> Self {
        Tiered::new(1_000, 100_000).call_worth(TYPICAL_CALL_WORK)
    }

    /// Asks for OSR variants of tier 1 after loops have done `baseline` units of work, of every tier above after `optimizing` more;
    /// `u32::MAX` is never.
    #[must_use]
    pub const fn osr_work(mut self, baseline: u32, optimizing: u32) -> Self {
        self.osr_work = Some([baseline, optimizing]);
        self
    }

    /// Asks for tiers above the first only when the time lost without them is `percent` of what the compile is reckoned to take, and not before
    /// the threshold; 0 is by the threshold alone. [`SkiRental`](super::SkiRental) waits for 100.
    #[must_use]
    pub const fn optimizing_pays(mut self, percent: u8) -> Self {
        self.pays_percent = percent;
        self
    }

    /// Requests when only `percent` of a threshold is left (at most 100), so that the code is ready when it is reached.
    #[must_use]
    pub const fn queue_ahead(mut self, percent: u8) -> Self {
        self.ahead_percent = if percent > 100 { 100 } else { percent };
        self
    }
}

impl Default for Tiered {
    /// 25 and 10,000 calls: a tenth of a millisecond, as long as a quick compiler takes, and some milliseconds of native code before a
    /// compiler that takes as long for it. And a quarter of the time that pays for the compile: where one compiler is a hundred times
    /// slower than the other, a large function waits until it has been seen to go on.
    fn default() -> Self {
        Tiered::new(25, 10_000).call_worth(TYPICAL_CALL_WORK).optimizing_pays(25)
    }
}

impl HotnessPolicy for Tiered {
    fn first_budget(&self, tier: Tier, _size: u32) -> u32 {
        let calls = if tier.index() <= 1 { self.baseline_calls } else { self.optimizing_calls };
        let work = u64::from(calls) * u64::from(self.call_work);
        u32::try_from(work * u64::from(100 - self.ahead_percent) / 100).unwrap_or(u32::MAX)
    }

    fn osr_budget(&self, tier: Tier, size: u32) -> u32 {
        match self.osr_work {
            Some([baseline, _]) if tier.index() <= 1 => baseline,
            Some([_, optimizing]) => optimizing,
            None => self.first_budget(tier, size),
        }
    }

    fn decide(&self, sample: &Sample) -> Decision {
        let budget = budget_of(self, sample);
        if self.pays_percent > 0 && sample.next.index() > 1 {
            let pays = sample.next_outlook().break_even() * f64::from(self.pays_percent) / 100.0;
            return promote_when(sample, sample.next, pays.max(f64::from(budget)) - sample.spent as f64, Reason::Pays);
        }
        let reason = match (budget, self.ahead_percent) {
            (0, 0) => Reason::FirstCall,
            (_, 0) => Reason::Budget,
            _ => Reason::QueueAhead,
        };
        promote_once(sample, reason, budget)
    }
}
