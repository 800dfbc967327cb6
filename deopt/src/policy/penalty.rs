//! A penalty with a random part, and a maximum after which nothing is tried any more.

use tierup_broker::{DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample, GuardId};

use super::decision;

/// Penalty of the first time (`PENALTY_MIN`: twice LuaJIT's least hot count of 36).
const LEAST: u32 = 72;
/// A penalty above this is the last (`PENALTY_MAX`).
const MOST: u32 = 60_000;
/// Bits of the random part (`PENALTY_RNDBITS`).
const RANDOM_BITS: u32 = 4;

/// Gives the unit up at its first exit, and the next waits for a penalty: 72 the first time, then `2 · last + random(0..15)`. Past
/// 60,000, the tenth time, the tier is given up.
///
/// LuaJIT's rule for traces that could not be recorded (`penalty_pc` in `lj_trace.c`), for code that had to be left. The random part
/// keeps loops that depend on each other from being tried in the same order for ever. LuaJIT draws it from its state's generator;
/// here it is a function of the seed, the guard and the number of the retry (SplitMix64), so the same run decides the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomizedPenalty {
    /// Work units per point of the penalty: LuaJIT's count loop turns and calls.
    pub work: u32,
    /// Whatever makes runs differ.
    pub seed: u64,
}

impl RandomizedPenalty {
    /// The penalty after `retries` earlier ones; `None` past the maximum.
    pub fn penalty(&self, guard: GuardId, retries: u32) -> Option<u32> {
        let mut penalty = LEAST;
        for retry in 1..=retries {
            let random = mix(self.seed ^ mix(guard.0 ^ mix(u64::from(retry)))) as u32 & ((1 << RANDOM_BITS) - 1);
            penalty = 2 * penalty + random;
            if penalty > MOST {
                return None;
            }
        }
        Some(penalty)
    }
}

impl Default for RandomizedPenalty {
    /// 10 work units per point.
    fn default() -> Self {
        RandomizedPenalty { work: 10, seed: 0 }
    }
}

impl DeoptPolicy for RandomizedPenalty {
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision {
        match self.penalty(sample.guard, sample.deopts) {
            Some(penalty) => decision(DeoptAction::BackOff { work: penalty.saturating_mul(self.work) }, DeoptReason::Penalty),
            None => decision(DeoptAction::NeverThisTier, DeoptReason::TooManyRetries),
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
