//! A policy's answer in one word, so that an interpreter thread can note it without allocating.
//!
//! ```text
//!  63        44 43    40 39      36 35     33 32  31            0
//! ┌────────────┬────────┬──────────┬─────────┬────┬───────────────┐
//! │     0      │ reason │ kind + 1 │ tier    │ at │ budget        │
//! └────────────┴────────┴──────────┴─────────┴────┴───────────────┘
//! ```
//!
//! The tier is the one the bead was to go to; `at` says that a loop had asked.
#![forbid(unsafe_code)]

use crate::{Decision, NeverReason, Reason, Sample, Tier, WaitReason};

const BUDGET: u64 = u32::MAX as u64;
const AT_LOOP: u64 = 1 << 32;
const TIER: u32 = 33;
const KIND: u32 = 36;
const REASON: u32 = 40;

const REASONS: [Reason; 9] = [
    Reason::Budget,
    Reason::FirstCall,
    Reason::Pays,
    Reason::QueueAhead,
    Reason::Retry,
    Reason::CalledAgain,
    Reason::OuterLoop,
    Reason::Deopt,
    Reason::Forced,
];
const WAITS: [WaitReason; 8] = [
    WaitReason::Pending,
    WaitReason::Load,
    WaitReason::Held,
    WaitReason::CodePressure,
    WaitReason::NotHot,
    WaitReason::Startup,
    WaitReason::Efficiency,
    WaitReason::CompileShare,
];
const NEVERS: [NeverReason; 2] = [NeverReason::TooLarge, NeverReason::Excluded];

/// What a policy said about a bead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) decision: Decision,
    /// The tier that was in question.
    pub(crate) tier: Tier,
    pub(crate) at_loop: bool,
}

impl Answer {
    pub(crate) fn new(sample: &Sample, decision: Decision) -> Self {
        let tier = if let Decision::Promote { tier, .. } = decision { tier } else { sample.next };
        Answer { decision, tier, at_loop: sample.site.is_some() }
    }

    pub(crate) fn pack(self) -> u64 {
        fn index<T: PartialEq>(all: &[T], one: T) -> u64 {
            all.iter().position(|known| *known == one).unwrap_or(0) as u64
        }
        let (kind, reason, budget) = match self.decision {
            Decision::Promote { reason, .. } => (1, index(&REASONS, reason), 0),
            Decision::Wait { budget, reason } => (2, index(&WAITS, reason), budget),
            Decision::Never { reason } => (3, index(&NEVERS, reason), 0),
        };
        let tier = u64::from(self.tier.index() & 7) << TIER;
        u64::from(budget) | if self.at_loop { AT_LOOP } else { 0 } | tier | kind << KIND | reason << REASON
    }

    /// `None` of the word that no answer makes.
    pub(crate) fn unpack(word: u64) -> Option<Self> {
        let tier = Tier::new((word >> TIER & 7) as u8);
        let reason = (word >> REASON & 0xF) as usize;
        let decision = match word >> KIND & 0xF {
            1 => Decision::Promote { tier, reason: *REASONS.get(reason)? },
            2 => Decision::Wait { budget: (word & BUDGET) as u32, reason: *WAITS.get(reason)? },
            3 => Decision::Never { reason: *NEVERS.get(reason)? },
            _ => return None,
        };
        Some(Answer { decision, tier, at_loop: word & AT_LOOP != 0 })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn answers_are_what_was_packed() {
        let promotes = REASONS.map(|reason| Decision::Promote { tier: Tier::MAX, reason });
        let waits = WAITS.map(|reason| Decision::Wait { budget: u32::MAX, reason });
        let nevers = NEVERS.map(|reason| Decision::Never { reason });
        for decision in promotes.into_iter().chain(waits).chain(nevers) {
            for at_loop in [false, true] {
                let answer = Answer { decision, tier: Tier::MAX, at_loop };
                assert_eq!(Answer::unpack(answer.pack()), Some(answer));
            }
        }
        assert_eq!(Answer::unpack(0), None);
    }
}
