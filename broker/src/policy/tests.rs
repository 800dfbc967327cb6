//! Policies are tested with tables, not with threads.

mod laws;
mod modifiers;
mod tables;

use super::*;
use crate::{CALL_WORK, TYPICAL_CALL_WORK};

const TIER1: Tier = Tier::new(1);
const TIER2: Tier = Tier::new(2);

#[test]
fn budgets_are_calls_times_their_work() {
    let table: &[(&dyn HotnessPolicy, u32, u32, u32)] = &[
        (&Threshold { calls: 0 }, CALL_WORK, 0, 0),
        (&Threshold { calls: 7 }, CALL_WORK, 7, 7),
        (&Tiered::development(), TYPICAL_CALL_WORK, 10, 100),
        (&Tiered::default(), TYPICAL_CALL_WORK, 25, 10_000),
        (&Tiered::production(), TYPICAL_CALL_WORK, 1_000, 10_000),
        (&Tiered::production_llvm(), TYPICAL_CALL_WORK, 1_000, 100_000),
        (&Tiered::default().queue_ahead(0), TYPICAL_CALL_WORK, 25, 10_000),
        (&Tiered::default().queue_ahead(20), TYPICAL_CALL_WORK, 20, 8_000),
        (&Tiered::default().queue_ahead(100), TYPICAL_CALL_WORK, 0, 0),
        (&Tiered::default().queue_ahead(200), TYPICAL_CALL_WORK, 0, 0),
    ];
    for (row, &(policy, work, baseline, optimizing)) in table.iter().enumerate() {
        assert_eq!(policy.first_budget(TIER1, 10), baseline * work, "row {row}");
        assert_eq!(policy.first_budget(TIER2, 10), optimizing * work, "row {row}");
    }
    assert_eq!(Threshold { calls: u32::MAX }.first_budget(TIER1, 1), u32::MAX);
    assert_eq!(Tiered::new(3, 5).first_budget(TIER1, 1), 3 * CALL_WORK, "only presets know what a typical call does");
    assert_eq!(Tiered::new(u32::MAX, u32::MAX).first_budget(TIER2, 1), u32::MAX);
}

#[test]
fn loops_have_budgets_of_their_own() {
    let table: &[(&dyn HotnessPolicy, u32, u32)] = &[
        (&Threshold { calls: 7 }, 7 * CALL_WORK, 7 * CALL_WORK),
        (&Tiered::default(), 102_400, 40_960_000),
        (&Tiered::default().osr_work(5, 6), 5, 6),
        (&Tiered::new(0, 0).osr_work(u32::MAX, u32::MAX), u32::MAX, u32::MAX),
        (&OsrAfter { policy: Tiered::default(), work: 9 }, 9, 9),
    ];
    for (row, &(policy, baseline, optimizing)) in table.iter().enumerate() {
        assert_eq!(policy.osr_budget(TIER1, 10), baseline, "row {row}");
        assert_eq!(policy.osr_budget(TIER2, 10), optimizing, "row {row}");
    }
    assert_eq!(OsrAfter { policy: Tiered::default(), work: 9 }.first_budget(TIER1, 10), 102_400);
}

#[test]
fn an_optimizer_may_have_to_pay() {
    fn after(percent: u8, spent: u64, outlook: Outlook) -> Decision {
        let mut sample = Sample { spent, ..Sample::new(TIER1, TIER2, 10) };
        sample.outlook[1] = outlook;
        Tiered::new(1, 1_000).optimizing_pays(percent).decide(&sample)
    }
    let (waits, promotes) =
        (|budget| Decision::Wait { budget, reason: WaitReason::NotHot }, Decision::Promote { tier: TIER2, reason: Reason::Pays });
    // Twice as fast for 100,000 units: as much is lost after 200,000.
    assert_eq!(after(100, 64_000, Outlook::new(100_000, 2.0)), waits(136_000));
    assert_eq!(after(100, 200_000, Outlook::new(100_000, 2.0)), promotes);
    assert_eq!(after(50, 99_000, Outlook::new(100_000, 2.0)), waits(1_000));
    // A compile that costs nothing still waits for the threshold.
    assert_eq!(after(100, 60_000, Outlook::new(1, 2.0)), waits(4_000));
    assert_eq!(after(100, 64_000, Outlook::new(1, 2.0)), promotes);
}

#[test]
fn the_default_has_large_functions_wait() {
    let after = |spent, cost| {
        let mut sample = Sample { spent, ..Sample::new(TIER1, TIER2, 10) };
        sample.outlook[TIER2.slot()] = Outlook::new(cost, 2.0);
        Tiered::default().decide(&sample)
    };
    let threshold = 10_000 * u64::from(TYPICAL_CALL_WORK);
    assert!(matches!(after(threshold, 1_000_000), Decision::Promote { tier: TIER2, .. }));
    let waits = Decision::Wait { budget: 500_000_000 - threshold as u32, reason: WaitReason::NotHot };
    assert_eq!(after(threshold, 1_000_000_000), waits);
    assert!(matches!(after(500_000_000, 1_000_000_000), Decision::Promote { tier: TIER2, .. }));
}

#[test]
fn decisions_and_their_reasons() {
    let sample = Sample::new(Tier::INTERPRETER, TIER1, 10);
    let promote = |reason| Decision::Promote { tier: TIER1, reason };
    let wait = |budget: u32| Decision::Wait { budget, reason: WaitReason::Pending };
    let table: &[(&dyn HotnessPolicy, Sample, Decision)] = &[
        (&Threshold { calls: 0 }, sample, promote(Reason::FirstCall)),
        (&Threshold { calls: 5 }, sample, promote(Reason::Budget)),
        (&Threshold { calls: 5 }, Sample { bailouts: 1, ..sample }, promote(Reason::Retry)),
        (&Threshold { calls: 5 }, Sample { pending: true, ..sample }, wait(5 * CALL_WORK)),
        (&Tiered::new(0, 0), sample, promote(Reason::FirstCall)),
        (&Tiered::default(), sample, promote(Reason::Budget)),
        (&Tiered::default().queue_ahead(10), sample, promote(Reason::QueueAhead)),
        (&Tiered::default(), Sample { bailouts: 3, ..sample }, promote(Reason::Retry)),
        (&Tiered::default(), Sample { pending: true, ..sample }, wait(25 * TYPICAL_CALL_WORK)),
        (&Tiered::default().osr_work(9, 9), Sample { site: Some(3), ..sample }, promote(Reason::Budget)),
        (&Tiered::default().osr_work(9, 9), Sample { site: Some(3), pending: true, ..sample }, wait(9)),
        (&Tiered::default().osr_work(0, 9), Sample { site: Some(3), bailouts: 1, ..sample }, promote(Reason::Retry)),
        (&Tiered::default().optimizing_pays(100), sample, promote(Reason::Budget)),
    ];
    for (row, &(policy, sample, decision)) in table.iter().enumerate() {
        assert_eq!(policy.decide(&sample), decision, "row {row}");
        assert_eq!(policy.decide(&sample), decision, "row {row}: a policy is a function");
    }
}
