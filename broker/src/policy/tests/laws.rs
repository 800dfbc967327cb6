//! What every policy keeps to under every modifier, over extremes.

use super::*;

fn policies() -> Vec<(&'static str, Box<dyn HotnessPolicy>)> {
    vec![
        ("threshold", Box::new(Threshold { calls: 100 })),
        ("at once", Box::new(Threshold { calls: 0 })),
        ("never", Box::new(Threshold { calls: u32::MAX })),
        ("tiered", Box::new(Tiered::default())),
        ("osr after", Box::new(OsrAfter { policy: Tiered::default(), work: 1 })),
        ("hotspot", Box::new(HotSpot::default())),
        ("truffle", Box::new(Truffle::default())),
        ("v8", Box::new(V8::default())),
        ("jsc", Box::new(Jsc::default())),
        ("spidermonkey", Box::new(SpiderMonkey::default())),
        ("cost benefit", Box::new(CostBenefit::default())),
        ("ski rental", Box::new(SkiRental::default())),
        ("hazard rate", Box::new(HazardRate::default())),
    ]
}

fn modifiers() -> Vec<Modifiers> {
    let none = Modifiers::default();
    let one = [
        Modifiers { load_feedback: Some(LoadFeedback::hotspot()), ..none },
        Modifiers { load_feedback: Some(LoadFeedback::truffle()), ..none },
        Modifiers { load_feedback: Some(LoadFeedback::Truffle { min_scale: 0.0, low: 0.0, high: 0.0 }), ..none },
        Modifiers { load_feedback: Some(LoadFeedback::HotSpot { feedback: [0.0, -1.0] }), ..none },
        Modifiers { hysteresis: Some(Hysteresis::default()), ..none },
        Modifiers { startup_delay: Some(StartupDelay::default()), ..none },
        Modifiers { efficiency_mode: Some(EfficiencyMode { scale: f64::INFINITY, top_tier: 0 }), ..none },
        Modifiers { efficiency_mode: Some(EfficiencyMode::default()), ..none },
        Modifiers { code_pressure: Some(CodePressure::default()), ..none },
        Modifiers { code_pressure: Some(CodePressure { limit: 0, from_percent: 255 }), ..none },
        Modifiers { compile_share: Some(CompileShare { percent: 0, burst_ms: 0 }), ..none },
    ];
    let all = one.iter().fold(none, |all, one| Modifiers {
        load_feedback: one.load_feedback.or(all.load_feedback),
        hysteresis: one.hysteresis.or(all.hysteresis),
        startup_delay: one.startup_delay.or(all.startup_delay),
        efficiency_mode: one.efficiency_mode.or(all.efficiency_mode),
        code_pressure: one.code_pressure.or(all.code_pressure),
        compile_share: one.compile_share.or(all.compile_share),
    });
    [none, all].into_iter().chain(one).collect()
}

/// Everything around the function, at its extremes and in the middle.
fn surroundings() -> Vec<Sample> {
    let mut samples = Vec::new();
    for size in [0, 100, u32::MAX] {
        for (tier, next) in [(Tier::INTERPRETER, TIER1), (TIER1, TIER2), (Tier::INTERPRETER, Tier::MAX)] {
            for site in [None, Some(0)] {
                for extreme in [0, 1, 2] {
                    let number = [0, 1_000, u64::MAX][extreme];
                    let float = [0.0, 5.0, f64::INFINITY][extreme];
                    let mut sample = Sample {
                        site,
                        rate: float,
                        load: float,
                        queued: number as usize,
                        queue_wait: number,
                        code_bytes: number,
                        quiet: number,
                        compile_nanos: number,
                        deopts: number as u32,
                        bailouts: number as u8,
                        efficiency: extreme == 1,
                        held: extreme == 1,
                        ..Sample::new(tier, next, size)
                    };
                    sample.outlook = [Outlook::new(number, [0.0, 3.0, f64::NAN][extreme]); 7];
                    samples.push(sample);
                }
            }
        }
    }
    samples
}

/// As little work as can be, as much, and what lies between, loops' part included.
fn works() -> Vec<(u64, u64)> {
    let amounts = (0..64).step_by(3).map(|power| 1_u64 << power).chain([0, u64::MAX]);
    let mut works: Vec<_> = amounts.flat_map(|work| [(work, 0), (work, work / 2), (work, work), (work, u64::MAX)]).collect();
    works.sort_unstable();
    works
}

/// Every modifier with every policy: no panic, budgets that end, and who is promoted would be had it done more.
#[test]
fn every_policy_keeps_to_the_laws_under_every_modifier() {
    for (name, policy) in policies() {
        for modifiers in modifiers() {
            let policy = Modified::new(&policy, modifiers);
            // There is no unsafe code in it: a few will do where every step is checked.
            for around in surroundings().into_iter().step_by(if cfg!(miri) { 331 } else { 1 }) {
                check_budgets(&policy, &around, name);
                for share in 0..4 {
                    check_growth(&policy, around, share, name);
                }
            }
        }
    }
}

fn check_budgets(policy: &dyn HotnessPolicy, around: &Sample, name: &str) {
    let Sample { next, size, .. } = *around;
    for budget in [policy.first_budget(next, size), policy.osr_budget(next, size)] {
        assert!(budget < i32::MAX as u32 || budget == u32::MAX, "{name}: {budget} never ends, and does not say so");
    }
}

/// With a fixed share of loops, more work never makes a policy less willing.
fn check_growth(policy: &dyn HotnessPolicy, around: Sample, share: usize, name: &str) {
    let mut promoted = None;
    for (spent, loop_work) in works().into_iter().skip(share).step_by(4) {
        let sample = Sample { work: spent, spent, loop_work, ..around };
        match policy.decide(&sample) {
            Decision::Wait { budget, .. } => {
                assert!(budget >= 1, "{name}: a wait that does not end: {sample:?}");
                assert_eq!(promoted, None, "{name} waits after more work: {sample:?}");
            }
            Decision::Promote { tier, .. } => {
                assert!(!tier.is_interpreter(), "{name}");
                promoted = Some(spent);
            }
            Decision::Never { .. } => {}
        }
        let asked = policy.decide(&Sample { pending: true, ..sample });
        assert!(!matches!(asked, Decision::Promote { .. }), "{name} asks twice: {sample:?}");
    }
}

/// A modifier, what provokes it, and what it then does: multiply thresholds, or hold back for a reason.
type Provoked = (Modifiers, fn(&mut Sample), Result<f64, WaitReason>);

fn provoked() -> Vec<Provoked> {
    let none = Modifiers::default();
    let truffle = Modifiers { load_feedback: Some(LoadFeedback::truffle()), ..none };
    vec![
        (Modifiers { load_feedback: Some(LoadFeedback::hotspot()), ..none }, |sample| sample.load = 5.0, Ok(2.0)),
        (truffle, |sample| sample.load = 0.0, Ok(0.1)),
        (truffle, |sample| sample.load = 190.0, Ok(10.0)),
        (
            Modifiers { hysteresis: Some(Hysteresis { from_tier: 1, ..Hysteresis::default() }), ..none },
            |sample| sample.load = 5.1,
            Err(WaitReason::Held),
        ),
        (Modifiers { startup_delay: Some(StartupDelay::default()), ..none }, |sample| sample.quiet = 0, Err(WaitReason::Startup)),
        (Modifiers { efficiency_mode: Some(EfficiencyMode::default()), ..none }, |sample| sample.efficiency = true, Ok(4.0)),
        (
            Modifiers { code_pressure: Some(CodePressure { limit: 1_000, from_percent: 50 }), ..none },
            |sample| sample.code_bytes = 750,
            Ok(2_f64.exp()),
        ),
        (
            Modifiers { compile_share: Some(CompileShare { percent: 0, burst_ms: 0 }), ..none },
            |sample| sample.compile_nanos = 1,
            Err(WaitReason::CompileShare),
        ),
    ]
}

fn promotes(policy: &impl HotnessPolicy, around: Sample, work: u64) -> bool {
    matches!(policy.decide(&Sample { work, spent: work, ..around }), Decision::Promote { .. })
}

/// The least work after which a policy promotes, if it ever does.
fn least(policy: &impl HotnessPolicy, around: Sample) -> Option<u64> {
    let (mut no, mut yes) = (0, 1 << 50);
    if !promotes(policy, around, yes) {
        return None;
    }
    while no < yes {
        let between = no + (yes - no) / 2;
        if promotes(policy, around, between) { yes = between } else { no = between + 1 }
    }
    Some(yes)
}

/// Every modifier, and every two of them at once, does to every policy what it says: a factor is one of the work that it takes, whatever
/// the policy looks at, and who is held is held however hot. (That a budget of never stays one is in the modifiers' tables.)
#[test]
fn every_modifier_has_its_effect_on_every_policy() {
    let none = (Modifiers::default(), (|_| ()) as fn(&mut Sample), Ok(1.0));
    for (name, policy) in policies().into_iter().filter(|(name, _)| *name != "never") {
        let mut calm = Sample { load: 50.0, ..Sample::new(Tier::INTERPRETER, TIER1, 100) };
        calm.outlook[TIER1.slot()] = Outlook::new(100_000, 3.0);
        let alone = least(&Modified::new(&policy, Modifiers::default()), calm);
        assert!(alone.is_some(), "{name}");
        // As above: a few will do under Miri.
        for (first, (one, provoke, effect)) in
            [none].into_iter().chain(provoked()).enumerate().step_by(if cfg!(miri) { 5 } else { 1 })
        {
            for (other, provoke_too, effect_too) in provoked().into_iter().skip(first) {
                if one.load_feedback.is_some() && other.load_feedback.is_some() {
                    continue;
                }
                let modifiers = Modifiers {
                    load_feedback: one.load_feedback.or(other.load_feedback),
                    hysteresis: one.hysteresis.or(other.hysteresis),
                    startup_delay: one.startup_delay.or(other.startup_delay),
                    efficiency_mode: one.efficiency_mode.or(other.efficiency_mode),
                    code_pressure: one.code_pressure.or(other.code_pressure),
                    compile_share: one.compile_share.or(other.compile_share),
                };
                let policy = Modified::new(&policy, modifiers);
                let mut sample = calm;
                provoke(&mut sample);
                provoke_too(&mut sample);
                let found = least(&policy, sample);
                let what = format!("{name} with {modifiers:?}: {alone:?} alone, {found:?}");
                let Some((scale, alone)) = effect.and_then(|scale| Ok(scale * effect_too?)).ok().zip(alone) else {
                    assert_eq!(found, None, "{what}");
                    let decision = policy.decide(&Sample { work: 1 << 50, spent: 1 << 50, ..sample });
                    let reason = if let Decision::Wait { reason, .. } = decision { Err(reason) } else { Ok(0.0) };
                    assert!([effect, effect_too].contains(&reason), "{what}: {decision:?}");
                    continue;
                };
                let expected = alone as f64 * scale;
                assert!((found.unwrap() as f64 - expected).abs() <= 1.0 + expected * 1e-9, "{what}, expected {expected}");
            }
        }
    }
}
