//! A table per policy.

use tierup_broker::{
    DeoptAction::{self, BackOff, Keep, NeverThisTier, Recompile, RevertTo, Suppress},
    DeoptPolicy,
    DeoptReason::{self, Always, BadGuard, Penalty, Rare, TooManyExits, TooManyRetries},
    DeoptSample, GuardId, KeepAlways, Tier,
};

use super::{
    AlwaysRecompile, ExponentialBackoff, RandomizedPenalty, RetryThreshold, RevertAfter, SuppressGuard, ThresholdThenDisable,
};

const GUARD: GuardId = GuardId(0x1702);

/// The `exits`th exit of a unit, all at one guard, after `deopts` units were given up.
fn sample(exits: u32, deopts: u32) -> DeoptSample {
    let mut sample = DeoptSample::new(Tier::new(2), GUARD);
    (sample.unit_exits, sample.guard_exits, sample.deopts) = (exits, exits, deopts);
    sample.fallback = Tier::new(1);
    sample
}

/// That sample, changed.
fn but(mut sample: DeoptSample, change: impl FnOnce(&mut DeoptSample)) -> DeoptSample {
    change(&mut sample);
    sample
}

#[track_caller]
fn table(policy: &dyn DeoptPolicy, rows: &[(u32, u32, DeoptAction, DeoptReason)]) {
    for &(exits, deopts, action, reason) in rows {
        let decision = policy.decide(&sample(exits, deopts));
        assert_eq!((decision.action, decision.reason), (action, reason), "{exits} exits after {deopts} deopts");
    }
}

#[test]
fn always_recompile() {
    table(&AlwaysRecompile, &[(1, 0, Recompile, Always), (1, 1000, Recompile, Always)]);
}

#[test]
fn threshold_then_disable() {
    let policy = ThresholdThenDisable { exits: 10, units: 3 };
    table(
        &policy,
        &[
            (1, 0, Keep, Rare),
            (9, 2, Keep, Rare),
            (10, 0, Recompile, TooManyExits),
            (11, 2, Recompile, TooManyExits),
            (9, 3, Keep, Rare),
            (10, 3, NeverThisTier, TooManyRetries),
        ],
    );
}

#[test]
fn exponential_backoff() {
    let policy = ExponentialBackoff { exits: 2, first: 100, most: 5000 };
    let wait = |work| BackOff { work };
    table(
        &policy,
        &[
            (1, 0, Keep, Rare),
            (2, 0, wait(100), Penalty),
            (2, 1, wait(200), Penalty),
            (2, 5, wait(3200), Penalty),
            (2, 6, wait(5000), Penalty),
            (2, 31, wait(5000), Penalty),
            (2, 32, wait(5000), Penalty),
            (2, u32::MAX, wait(5000), Penalty),
        ],
    );
}

#[test]
fn thresholds_double_with_retries() {
    let policy = RetryThreshold::default();
    table(
        &policy,
        &[
            (99, 0, Keep, Rare),
            (100, 0, Recompile, TooManyExits),
            (199, 1, Keep, Rare),
            (200, 1, Recompile, TooManyExits),
            (102_399, 10, Keep, Rare),
            (102_400, 10, Recompile, TooManyExits),
            (100 << 25, 25, Recompile, TooManyExits),
            (u32::MAX, 26, Keep, Rare),
            (u32::MAX, u32::MAX, Keep, Rare),
        ],
    );
    let in_a_loop = |exits, deopts| policy.decide(&but(sample(exits, deopts), |sample| sample.site = Some(3))).action;
    assert_eq!([in_a_loop(4, 0), in_a_loop(5, 0), in_a_loop(19, 2), in_a_loop(20, 2)], [Keep, Recompile, Keep, Recompile]);
}

#[test]
fn penalties_double_and_differ() {
    let policy = RandomizedPenalty { work: 10, seed: 7 };
    assert_eq!(policy.decide(&sample(1, 0)).action, BackOff { work: 720 });
    let mut last = 72;
    for retry in 1..=9 {
        let penalty = policy.penalty(GUARD, retry).unwrap();
        assert!((2 * last..2 * last + 16).contains(&penalty), "{penalty} after {last}");
        table(&policy, &[(1, retry, BackOff { work: penalty * 10 }, Penalty)]);
        last = penalty;
    }
    table(&policy, &[(1, 10, NeverThisTier, TooManyRetries), (1, u32::MAX, NeverThisTier, TooManyRetries)]);

    let second = |seed, guard| RandomizedPenalty { work: 1, seed }.penalty(GuardId(guard), 1);
    let differ = |penalties: Vec<_>| penalties.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(differ((0..100).map(|seed| second(seed, 1)).collect()) == 16, "every random part is drawn");
    assert!(differ((0..100).map(|guard| second(1, guard)).collect()) == 16, "every random part is drawn");
}

#[test]
fn revert() {
    let down = RevertTo { tier: Tier::new(1) };
    let policy = RevertAfter { exits: 2, units: 2 };
    table(
        &policy,
        &[
            (1, 0, Keep, Rare),
            (2, 0, down, TooManyExits),
            (2, 1, down, TooManyExits),
            (1, 2, Keep, Rare),
            (2, 2, NeverThisTier, TooManyRetries),
        ],
    );
}

#[test]
fn a_bad_guard_costs_one_speculation() {
    let policy = SuppressGuard::or(KeepAlways);
    table(&policy, &[(1, 0, Keep, Always), (3, 0, Keep, Always), (4, 0, Suppress, BadGuard), (5, 7, Suppress, BadGuard)]);
    let elsewhere = but(sample(50, 0), |sample| sample.guard_exits = 3);
    assert_eq!(policy.decide(&elsewhere).action, Keep, "the exits were other guards'");
    let suppressed = but(sample(1, 1), |sample| sample.suppressed = true);
    let old = policy.decide(&suppressed);
    assert_eq!((old.action, old.reason), (Recompile, DeoptReason::Suppressed));
    let many = but(sample(4, 0), |sample| sample.suppressed_guards = 100);
    assert_eq!(policy.decide(&many).action, Keep);
    let strict = SuppressGuard { exits: 4, guards: 1, otherwise: ThresholdThenDisable { exits: 1, units: 0 } };
    assert_eq!(strict.decide(&but(sample(4, 0), |sample| sample.suppressed_guards = 1)).action, NeverThisTier);
}
