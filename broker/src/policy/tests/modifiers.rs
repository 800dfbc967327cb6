//! A table for each modifier.

use super::*;

fn sample(spent: u64) -> Sample {
    Sample { spent, work: spent, ..Sample::new(Tier::INTERPRETER, TIER1, 10) }
}

/// What `modifiers` make of a threshold of 100 calls, 6,400 units.
fn modified(modifiers: Modifiers) -> Modified<Threshold> {
    Modified::new(Threshold { calls: 100 }, modifiers)
}

fn promote(tier: Tier) -> Decision {
    Decision::Promote { tier, reason: Reason::Budget }
}

fn wait(budget: u32, reason: WaitReason) -> Decision {
    Decision::Wait { budget, reason }
}

#[track_caller]
fn check(modifiers: Modifiers, table: &[(Sample, Decision)]) {
    let policy = modified(modifiers);
    for (row, (sample, decision)) in table.iter().enumerate() {
        assert_eq!(policy.decide(sample), *decision, "row {row}");
    }
}

#[test]
fn load_raises_thresholds_as_in_hotspot() {
    let modifiers = Modifiers { load_feedback: Some(LoadFeedback::hotspot()), ..Modifiers::default() };
    assert_eq!(modified(modifiers).first_budget(TIER1, 1), 6_400);
    let tier2 = Sample { next: TIER2, tier: TIER1, load: 3.0, ..sample(12_800) };
    check(
        modifiers,
        &[
            (sample(6_400), promote(TIER1)),
            (Sample { load: 5.0, ..sample(6_400) }, wait(6_400, WaitReason::Load)),
            (Sample { load: 5.0, ..sample(12_800) }, promote(TIER1)),
            (Sample { load: 10.0, ..sample(12_800) }, wait(6_400, WaitReason::Load)),
            (tier2, promote(TIER2)),
            (Sample { load: 3.1, ..tier2 }, wait(214, WaitReason::Load)),
        ],
    );
}

#[test]
fn load_lowers_thresholds_as_in_truffle() {
    let modifiers = Modifiers { load_feedback: Some(LoadFeedback::truffle()), ..Modifiers::default() };
    let policy = modified(modifiers);
    assert_eq!((policy.first_budget(TIER1, 1), policy.osr_budget(TIER1, 1)), (640, 640), "asked as early as it could be");
    check(
        modifiers,
        &[
            (sample(640), promote(TIER1)),
            (Sample { load: 5.0, ..sample(640) }, wait(2_880, WaitReason::NotHot)),
            (Sample { load: 5.0, ..sample(3_520) }, promote(TIER1)),
            (Sample { load: 10.0, ..sample(6_399) }, wait(1, WaitReason::NotHot)),
            (Sample { load: 90.0, ..sample(6_400) }, promote(TIER1)),
            (Sample { load: 190.0, ..sample(6_400) }, wait(57_600, WaitReason::Load)),
            (Sample { load: 190.0, ..sample(64_000) }, promote(TIER1)),
        ],
    );
    for calls in [0, u32::MAX] {
        let budget = Threshold { calls }.first_budget(TIER1, 1);
        assert_eq!(Modified::new(Threshold { calls }, modifiers).first_budget(TIER1, 1), budget, "at once and never stay so");
    }
}

#[test]
fn hysteresis_holds_until_the_queue_is_short() {
    let modifiers = Modifiers { hysteresis: Some(Hysteresis::default()), ..Modifiers::default() };
    let tier2 = |load, held| Sample { next: TIER2, tier: TIER1, load, held, ..sample(6_400) };
    check(
        modifiers,
        &[
            (tier2(5.0, false), promote(TIER2)),
            (tier2(5.1, false), wait(1_600, WaitReason::Held)),
            (tier2(5.0, true), wait(1_600, WaitReason::Held)),
            (tier2(2.1, true), wait(1_600, WaitReason::Held)),
            (tier2(2.0, true), promote(TIER2)),
            (Sample { load: 100.0, ..sample(6_400) }, promote(TIER1)),
        ],
    );
}

#[test]
fn bodies_wait_until_nothing_new_is_called() {
    let modifiers = Modifiers { startup_delay: Some(StartupDelay::default()), ..Modifiers::default() };
    assert!(modified(modifiers).wants_quiet() && !modified(Modifiers::default()).wants_quiet());
    check(
        modifiers,
        &[
            (Sample { quiet: 99_999, ..sample(6_400) }, wait(1_600, WaitReason::Startup)),
            (Sample { quiet: 100_000, ..sample(6_400) }, promote(TIER1)),
            (Sample { quiet: 0, site: Some(1), ..sample(6_400) }, promote(TIER1)),
        ],
    );
}

#[test]
fn saving_energy_raises_thresholds_and_holds_high_tiers() {
    let modifiers = Modifiers { efficiency_mode: Some(EfficiencyMode::default()), ..Modifiers::default() };
    let saving = |spent| Sample { efficiency: true, ..sample(spent) };
    check(
        modifiers,
        &[
            (sample(6_400), promote(TIER1)),
            (saving(6_400), wait(19_200, WaitReason::Efficiency)),
            (saving(25_600), promote(TIER1)),
            (Sample { next: TIER2, ..saving(1 << 40) }, wait(1_600, WaitReason::Efficiency)),
        ],
    );
}

#[test]
fn code_that_fills_its_room_raises_thresholds() {
    let modifiers = Modifiers { code_pressure: Some(CodePressure { limit: 1_000, from_percent: 50 }), ..Modifiers::default() };
    let full = |code_bytes, spent| Sample { code_bytes, ..sample(spent) };
    check(
        modifiers,
        &[
            (full(500, 6_400), promote(TIER1)),
            // 1,000/250 − 2: e² times as much.
            (full(750, 6_400), wait(40_890, WaitReason::CodePressure)),
            (full(750, 47_290), promote(TIER1)),
            (full(1_000, 1 << 50), wait(1_600, WaitReason::CodePressure)),
        ],
    );
}

#[test]
fn compilers_have_a_share_of_the_processor() {
    let modifiers = Modifiers { compile_share: Some(CompileShare { percent: 10, burst_ms: 5 }), ..Modifiers::default() };
    let busy = |compile_ms: u64, age_ms: u64| Sample {
        compile_nanos: compile_ms * 1_000_000,
        age_nanos: age_ms * 1_000_000,
        ..sample(6_400)
    };
    check(
        modifiers,
        &[
            (busy(5, 0), promote(TIER1)),
            (busy(6, 9), wait(1_600, WaitReason::CompileShare)),
            (busy(6, 10), promote(TIER1)),
            (busy(105, 1_000), promote(TIER1)),
            (busy(106, 1_000), wait(1_600, WaitReason::CompileShare)),
        ],
    );
}

#[test]
fn factors_multiply_and_reasons_to_hold_back_add_up() {
    let modifiers = Modifiers {
        load_feedback: Some(LoadFeedback::hotspot()),
        efficiency_mode: Some(EfficiencyMode::default()),
        compile_share: Some(CompileShare { percent: 0, burst_ms: 0 }),
        ..Modifiers::default()
    };
    let both = Sample { load: 5.0, efficiency: true, ..sample(6_400) };
    check(
        modifiers,
        &[
            // Eight times as much; the larger factor is the reason.
            (both, wait(44_800, WaitReason::Efficiency)),
            (Sample { compile_nanos: 1, ..sample(6_400) }, wait(1_600, WaitReason::CompileShare)),
        ],
    );
}

/// Policies that look at more than their budget see a function that has done less.
#[test]
fn thresholds_inside_a_policy_are_scaled_as_well() {
    let policy =
        Modified::new(HotSpot::default(), Modifiers { load_feedback: Some(LoadFeedback::hotspot()), ..Modifiers::default() });
    let calls = |calls: u64| Sample { load: 5.0, ..sample(calls * 64) };
    assert_eq!(policy.decide(&calls(400)), promote(TIER1));
    assert_eq!(policy.decide(&calls(398)), wait(128, WaitReason::NotHot), "one call short of 200 is two short of 400");
}
