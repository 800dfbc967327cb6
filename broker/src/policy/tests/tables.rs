//! A table for each policy: the formula's numbers, worked out by hand.

use super::*;

const CALL: u64 = CALL_WORK as u64;
/// One turn of a loop.
const TURN: u64 = 10;

/// A function of 100 bytes that made so many calls and turns in `tier` since its code was installed.
fn after(tier: Tier, calls: u64, turns: u64) -> Sample {
    let (loop_work, next) = (turns * TURN, Tier::new(tier.index() + 1));
    let spent = calls * CALL + loop_work;
    Sample { work: spent, spent, loop_work, ..Sample::new(tier, next, 100) }
}

/// The same in one of its loops.
fn at_loop(tier: Tier, turns: u64) -> Sample {
    Sample { site: Some(0), ..after(tier, 0, turns) }
}

/// A sample that could go to tiers of these costs and speedups.
fn facing<const N: usize>(spent: u64, outlooks: [Outlook; N]) -> Sample {
    let mut sample = Sample { work: spent, spent, ..Sample::new(Tier::INTERPRETER, TIER1, 100) };
    sample.outlook[..N].copy_from_slice(&outlooks);
    sample
}

fn promotes(tier: Tier, reason: Reason) -> Decision {
    Decision::Promote { tier, reason }
}

fn cold(budget: u32) -> Decision {
    Decision::Wait { budget, reason: WaitReason::NotHot }
}

#[track_caller]
fn check(policy: &dyn HotnessPolicy, table: &[(Sample, Decision)]) {
    for (row, (sample, decision)) in table.iter().enumerate() {
        assert_eq!(policy.decide(sample), *decision, "row {row}");
    }
}

/// First budgets for tier 1 and 2 of bodies of 100 bytes, and of loops.
#[track_caller]
fn budgets(policy: &dyn HotnessPolicy, bodies: [u32; 2], loops: [u32; 2]) {
    assert_eq!([TIER1, TIER2].map(|tier| policy.first_budget(tier, 100)), bodies);
    assert_eq!([TIER1, TIER2].map(|tier| policy.osr_budget(tier, 100)), loops);
}

#[test]
fn hotspot_has_two_predicates() {
    let (policy, interpreter) = (HotSpot::default(), Tier::INTERPRETER);
    // 200 calls; for tier 2, 600 calls and 14,400 turns are less work than 5,000 calls.
    budgets(&policy, [12_800, 600 * 64 + 14_400 * 10], [600_000, 400_000]);
    check(
        &policy,
        &[
            (after(interpreter, 200, 0), promotes(TIER1, Reason::Budget)),
            (after(interpreter, 199, 0), cold(64)),
            (after(interpreter, 100, 1_900), promotes(TIER1, Reason::Budget)),
            // One call short of the least, one turn short of the sum.
            (after(interpreter, 99, 1_901), cold(64)),
            (after(interpreter, 100, 1_899), cold(10)),
            // However often a loop turns, that few calls are not enough for the body.
            (after(interpreter, 1, 1_000_000), cold(99 * 64)),
            (after(TIER1, 5_000, 0), promotes(TIER2, Reason::Budget)),
            (after(TIER1, 600, 14_400), promotes(TIER2, Reason::Budget)),
            (after(TIER1, 600, 14_399), cold(10)),
            (at_loop(interpreter, 60_000), promotes(TIER1, Reason::Budget)),
            (at_loop(interpreter, 59_000), cold(10_000)),
            (at_loop(TIER1, 40_000), promotes(TIER2, Reason::Budget)),
            (Sample { bailouts: 1, ..after(interpreter, 200, 0) }, promotes(TIER1, Reason::Retry)),
        ],
    );
    assert!(matches!(
        policy.decide(&Sample { pending: true, ..after(interpreter, 900, 0) }),
        Decision::Wait { reason: WaitReason::Pending, .. }
    ));
}

#[test]
fn truffle_adds_calls_and_turns() {
    let (policy, interpreter) = (Truffle::default(), Tier::INTERPRETER);
    budgets(&policy, [64 + 399 * 10, 3 * 64 + 9_997 * 10], [1_003_520, 1_003_520]);
    check(
        &policy,
        &[
            (after(interpreter, 400, 0), promotes(TIER1, Reason::Budget)),
            (after(interpreter, 1, 399), promotes(TIER1, Reason::Budget)),
            (after(interpreter, 1, 390), cold(90)),
            (after(interpreter, 0, 9_999), cold(64)),
            (after(TIER1, 3, 9_997), promotes(TIER2, Reason::Budget)),
            (after(TIER1, 2, 20_000), cold(64)),
            (at_loop(interpreter, 100_352), promotes(TIER1, Reason::Budget)),
            (at_loop(TIER1, 100_351), cold(10)),
        ],
    );
}

#[test]
fn v8_budgets_are_executions_times_length() {
    let policy = V8::default();
    // 100 bytes are less than what a call charges.
    budgets(&policy, [400 * 64, 3_000 * 64], [100 * 64, 500 * 64]);
    assert_eq!(policy.first_budget(TIER1, 2_000), 400 * 1_000);
    assert_eq!(policy.first_budget(TIER2, u32::MAX), i32::MAX as u32 - 1, "the largest budget that ends");
    let large = Sample { size: 61_441, ..after(TIER1, 1, 0) };
    check(
        &policy,
        &[
            (after(Tier::INTERPRETER, 400, 0), promotes(TIER1, Reason::Budget)),
            (after(Tier::INTERPRETER, 399, 0), cold(64)),
            (after(Tier::INTERPRETER, 0, 2_560), promotes(TIER1, Reason::Budget)),
            (after(TIER1, 3_000, 0), promotes(TIER2, Reason::Budget)),
            (at_loop(TIER1, 3_200), promotes(TIER2, Reason::Budget)),
            (large, Decision::Never { reason: NeverReason::TooLarge }),
            (Sample { size: 61_440, ..large }, cold(3_000 * 30_720 - 64)),
        ],
    );
}

#[test]
fn jsc_scales_with_the_root_of_the_size() {
    let policy = Jsc::default();
    // 1000 · (0.825914 + 0.061504 · √101.02406) = 1444.09 points, 15 a call: 96.3 calls.
    assert_eq!(policy.first_budget(TIER1, 100), 6_161);
    // The fit's own points: sizes 10 and 200 are to give 0.9 and 1.0, but it does so only roughly.
    let factor = |size| f64::from(policy.osr_budget(TIER1, size)) / 10_000.0;
    assert!((factor(10) - 1.030).abs() < 0.001 && (factor(1_268) - 3.017).abs() < 0.001, "{} {}", factor(10), factor(1_268));
    check(
        &policy,
        &[
            (after(Tier::INTERPRETER, 97, 0), promotes(TIER1, Reason::Budget)),
            (after(Tier::INTERPRETER, 96, 5), promotes(TIER1, Reason::Budget)),
            (after(Tier::INTERPRETER, 96, 4), cold(64)),
            (after(Tier::INTERPRETER, 0, 1_445), promotes(TIER1, Reason::Budget)),
            // 1,444.09 points: 1,344.09 are missing, 4.27 units each.
            (after(Tier::INTERPRETER, 0, 100), cold(5_735)),
            (Sample { deopts: 1, ..after(Tier::INTERPRETER, 192, 0) }, cold(64)),
            (Sample { deopts: 1, ..after(Tier::INTERPRETER, 193, 0) }, promotes(TIER1, Reason::Budget)),
            (after(TIER1, 6_162, 0), promotes(TIER2, Reason::Budget)),
        ],
    );
}

#[test]
fn spidermonkey_has_one_dial() {
    let at = |level| SpiderMonkey { level, ..SpiderMonkey::default() };
    let table =
        [(1, u32::MAX), (2, 2_902_500), (3, 967_500), (4, 322_500), (5, 107_500), (6, 35_833), (7, 11_944), (8, 3_981), (9, 0)];
    for (level, budget) in table {
        assert_eq!(at(level).first_budget(TIER1, 100), budget, "level {level}");
    }
    assert_eq!(at(5).first_budget(TIER2, 100), 1_075_000, "ten times as dear");
    assert_eq!(at(2).first_budget(TIER1, u32::MAX), 2_000_000_000, "clamped");
    check(
        &at(5),
        &[
            (facing(107_500, []), promotes(TIER1, Reason::Budget)),
            (facing(107_499, []), cold(1)),
            (facing(7_500, []), cold(100_000)),
        ],
    );
    check(&at(9), &[(facing(0, []), promotes(TIER1, Reason::FirstCall))]);
    assert!(matches!(at(1).decide(&facing(u64::MAX, [])), Decision::Wait { .. }));
}

#[test]
fn cost_benefit_takes_the_tier_that_is_done_first() {
    // The speedups and, for a method of 1,000 bytes, the costs that Jikes RVM measured for its compilers.
    let jikes = [Outlook::new(1_000, 4.0), Outlook::new(25_000, 5.8), Outlook::new(50_000, 5.9)];
    check(
        &CostBenefit::default(),
        &[
            // 1,000 + 1,333/4 = 1,333.
            (facing(1_333, jikes), cold(2)),
            (facing(1_335, jikes), promotes(TIER1, Reason::Pays)),
            // Tier 1 is done after 1,000 + T/4, tier 2 after 25,000 + T/5.8: the same at T = 309,333.
            (facing(309_000, jikes), promotes(TIER1, Reason::Pays)),
            (facing(310_000, jikes), promotes(TIER2, Reason::Pays)),
            (facing(100_000_000, jikes), promotes(Tier::new(3), Reason::Pays)),
            // What is no faster is never worth anything.
            (facing(u64::MAX, [Outlook::new(1, 1.0)]), cold(1 << 24)),
            (facing(100, [Outlook::new(1_000, 2.0)]), cold(1_901)),
        ],
    );
}

#[test]
fn ski_rental_pays_when_it_has_lost_the_price() {
    let double = [Outlook::new(1_000, 2.0)];
    check(
        &SkiRental::default(),
        &[
            (facing(1_999, double), cold(1)),
            (facing(2_000, double), promotes(TIER1, Reason::Pays)),
            (Sample { queue_wait: 500, ..facing(2_000, double) }, cold(1_000)),
            (facing(1_000, [Outlook::new(1_000, f64::INFINITY)]), promotes(TIER1, Reason::Pays)),
            (facing(u64::MAX, [Outlook::new(1_000, 1.0)]), cold(1 << 24)),
        ],
    );
    check(&SkiRental { patience: 0.5, ..SkiRental::default() }, &[(facing(1_000, double), promotes(TIER1, Reason::Pays))]);
}

#[test]
fn hazard_rates_are_compared_with_the_break_even_point() {
    // C · S/(S−1) = 8,000.
    let outlook = [Outlook::new(4_000, 2.0)];
    check(
        &HazardRate::default(),
        &[
            // Without observations, half of what gets to 2^k stops before 2^(k+1): at 2,048 the rate is 1/4,096 > 1/8,000.
            (facing(2_048, outlook), cold(2_048)),
            // At 4,096 it is 1/8,192.
            (facing(4_096, outlook), promotes(TIER1, Reason::Pays)),
        ],
    );
    let mut short = Lifetimes::default();
    let mut long = Lifetimes::default();
    for _ in 0..10_000 {
        // Functions here run for 5,000 units or for ever; there they stop at once or run for ever.
        short.note_ended(5_000);
        long.note_ended(100);
    }
    for _ in 0..100 {
        short.note_running(1 << 40);
        long.note_running(1 << 40);
    }
    let policy = |lifetimes| HazardRate { lifetimes, ..HazardRate::default() };
    // 10,000 of 10,100 stop between 4,096 and 8,191: nearly 1 in 4,096 a unit.
    check(&policy(short), &[(facing(4_096, outlook), cold(4_096)), (facing(8_192, outlook), promotes(TIER1, Reason::Pays))]);
    check(&policy(long.clone()), &[(facing(1_024, outlook), promotes(TIER1, Reason::Pays)), (facing(64, outlook), cold(64))]);
    // The estimate itself: of 10,100 at risk 10,000 ended, in a bucket 64 units wide.
    assert!(matches!(
        HazardRate { prior: 0.0, ..policy(long) }.decide(&facing(64, [Outlook::new(32, 2.0)])),
        Decision::Promote { .. }
    ));
}
