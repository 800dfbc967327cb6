use super::*;
use crate::{Function, Kind, Machine, Program, Record, TierFacts, plan};

/// A small program by chance: `functions` of two or three tiers, on one or two threads.
fn small(seed: u64, functions: u32, tiers: usize) -> Program {
    let mut dice = fastrand::Rng::with_seed(seed);
    let function = |dice: &mut fastrand::Rng, index: u32| {
        let mut pace = 4.0;
        let facts = (0..tiers).map(|tier| {
            pace /= 1.2 + dice.f64() * 4.0;
            TierFacts::new(pace, if tier == 0 { 0 } else { dice.u64(1..4_000) * 4_u64.pow(tier as u32) }, 100)
        });
        Function { name: format!("f{index}"), size: 100, tiers: facts.collect() }
    };
    let functions: Vec<_> = (0..functions).map(|index| function(&mut dice, index)).collect();
    let threads = dice.u16(1..3);
    let records = (0..40).map(|_| Record {
        thread: dice.u16(..threads),
        function: dice.u32(..functions.len() as u32),
        kind: if dice.u8(..4) == 0 { Kind::Loop { site: 0 } } else { Kind::Calls },
        work: dice.u64(1..2_000),
    });
    Program { name: format!("small {seed}"), tiers: vec![String::new(); tiers], records: records.collect(), functions }
}

const fn machine(workers: usize, sharing: f64) -> Machine {
    Machine { workers, sharing, processors: usize::MAX }
}

const MACHINES: [Machine; 5] =
    [machine(1, 1.0), machine(2, 1.0), machine(1, 2.0), machine(2, 1.3), Machine { processors: 2, ..machine(2, 1.2) }];

#[test]
fn no_plan_is_better_than_the_bound() {
    for seed in 0..300 {
        let program = small(seed, 1 + seed as u32 % 5, 2 + seed as usize % 2);
        let machine = MACHINES[seed as usize % 5];
        let bound = lower_bound(&program, machine);
        let mut dice = fastrand::Rng::with_seed(seed);
        let jobs = candidates(&program);
        for _ in 0..50 {
            let mut plan = jobs.clone();
            dice.shuffle(&mut plan);
            plan.truncate(dice.usize(..=plan.len()));
            let time = plan::time(&program, machine, &plan);
            assert!(bound <= time * (1.0 + 1e-9), "{seed}: {bound} {time} {plan:?}");
        }
    }
}

#[test]
fn the_search_finds_the_best_plan_of_small_programs() {
    let (mut tried, mut missed, mut worst, mut apart) = (0, 0, 0.0_f64, 0.0);
    for seed in 0..60 {
        // Six functions of one compiled tier, all called; or loops and calls of three, or of two with two tiers. All have plans by the thousand.
        let mut program = match seed % 3 {
            0 => small(seed, 6, 2),
            1 => small(seed, 3, 2),
            _ => small(seed, 2, 3),
        };
        if seed % 3 == 0 {
            program.records.iter_mut().for_each(|record| record.kind = Kind::Calls);
        }
        let machine = MACHINES[seed as usize % 5];
        let Some(best) = exhaustive(&program, machine, 200_000) else { continue };
        tried += 1;
        let bound = lower_bound(&program, machine);
        assert!(bound <= best.time * (1.0 + 1e-9), "{seed}: {bound} is above the best, {}", best.time);
        apart += best.time / bound - 1.0;
        let found = search(&program, machine, seed, 3_000);
        assert!(found.time >= best.time * (1.0 - 1e-9), "{seed}: {} is better than the best, {}", found.time, best.time);
        let lost = found.time / best.time - 1.0;
        missed += u32::from(lost > 1e-9);
        worst = worst.max(lost);
    }
    assert!(tried >= 55 && missed <= 3 && worst < 0.02, "{missed} of {tried} missed, by up to {worst}");
    let apart = apart / f64::from(tried);
    assert!(apart < 0.15, "on the average bounds are {apart} below the best plans");
}

#[test]
fn the_clock_of_the_search_is_right() {
    for seed in 0..300 {
        let mut program = small(seed, 1 + seed as u32 % 5, 2 + seed as usize % 2);
        program.records.iter_mut().for_each(|record| record.thread = 0);
        let machine = MACHINES[seed as usize % 5];
        let (clock, jobs) = (clock::Clock::new(&program, machine), candidates(&program));
        let mut dice = fastrand::Rng::with_seed(seed);
        for _ in 0..20 {
            let mut plan = jobs.clone();
            dice.shuffle(&mut plan);
            plan.truncate(dice.usize(..=plan.len()));
            let (slow, fast) = (plan::time(&program, machine, &plan), clock.time(&plan));
            assert!((slow / fast - 1.0).abs() < 1e-9, "{seed}: {slow} {fast} {plan:?}");
        }
    }
}

#[test]
fn what_is_known_by_hand() {
    let facts = |pace, compile| TierFacts::new(pace, compile, 10);
    let function = |name: &str| Function { name: name.to_owned(), size: 10, tiers: vec![facts(4.0, 0), facts(1.0, 1_000)] };
    let calls = |function, work| Record { thread: 0, function, kind: Kind::Calls, work };
    let program = Program {
        name: String::new(),
        tiers: vec![String::new(); 2],
        functions: vec![function("a"), function("b")],
        records: vec![calls(0, 1_000), calls(1, 100), calls(0, 1_000)],
    };
    let machine = machine(1, 1.0);
    let job = |function| plan::Job { function, tier: 1, kind: Kind::Calls };
    assert_eq!(plan::time(&program, machine, &[]), 8_400.0);
    // 1,000 ns interpreted are 250 units; then 750, 400 ns of b, 1,000.
    assert_eq!(plan::time(&program, machine, &[job(0)]), 1_000.0 + 750.0 + 400.0 + 1_000.0);
    // Twice as slow while it is compiled: 250 units in 2,000 ns.
    assert_eq!(plan::time(&program, Machine { sharing: 2.0, ..machine }, &[job(0)]), 2_000.0 + 750.0 + 400.0 + 1_000.0);
    assert_eq!(candidates(&program), [job(0), job(1)]);
    // The worker has nothing better to do than b: its code comes when a quarter of b's work is left.
    let both = Best { time: 1_000.0 + 750.0 + 250.0 + 37.5 + 1_000.0, plan: vec![job(0), job(1)], workers: 1 };
    assert_eq!(exhaustive(&program, machine, 100), Some(both));
    // With a worker of its own b would be done in time. The one there is has not compiled both when a's first work ends.
    let alone = 1_000.0 + 750.0 + 100.0 + 1_000.0;
    let bound = lower_bound(&program, machine);
    assert!((alone..=1_000.0 + 750.0 + 250.0 + 37.5 + 1_000.0).contains(&bound), "{bound}");
    let outcome = plan::outcome(&program, machine, &[job(0), job(1)]);
    assert_eq!((outcome.compiles, outcome.compile_time, outcome.wasted), (2, 2_000.0, 1_000.0));
    // The second compile ends in the midst of b's only record.
    assert_eq!(outcome.residency, [1_000.0 + 250.0, 750.0 + 37.5 + 1_000.0]);
}

#[test]
fn of_one_function_the_bound_is_nearly_the_best_plan() {
    // A recursion in one outermost call: 10 ms in the baseline while the optimizer works, twice that where they share a processor.
    let facts = |pace, compile| TierFacts::new(pace, compile, 10);
    let tiers = vec![facts(8.0, 0), facts(2.0, 200_000), facts(1.0, 10_000_000)];
    let program = Program {
        name: String::new(),
        tiers: vec![String::new(); 3],
        functions: vec![Function { name: "fib".to_owned(), size: 50, tiers }],
        records: vec![Record { thread: 0, function: 0, kind: Kind::Calls, work: 30_000_000 }],
    };
    for machine in MACHINES {
        let best = exhaustive(&program, machine, 1_000).unwrap().time;
        let bound = lower_bound(&program, machine);
        assert!(bound <= best && best < bound * 1.02, "{machine:?}: {best} over {bound}");
    }
}

#[test]
fn a_loop_is_served_by_its_variant_or_by_the_body_it_was_called_in() {
    let facts = |pace, compile| TierFacts::new(pace, compile, 10);
    let program = |records| Program {
        name: String::new(),
        tiers: vec![String::new(); 2],
        functions: vec![Function { name: String::new(), size: 1, tiers: vec![facts(2.0, 0), facts(1.0, 100)] }],
        records,
    };
    let at = |kind, work| Record { thread: 0, function: 0, kind, work };
    let machine = machine(1, 1.0);
    let job = |kind| plan::Job { function: 0, tier: 1, kind };
    let site = Kind::Loop { site: 3 };
    // The call begins interpreted and stays so; the variant for another site is of no use.
    let early = program(vec![at(Kind::Calls, 10), at(site, 1_000)]);
    assert_eq!(plan::time(&early, machine, &[job(Kind::Calls)]), 2_020.0);
    assert_eq!(plan::time(&early, machine, &[job(Kind::Loop { site: 0 })]), 2_020.0);
    assert_eq!(plan::time(&early, machine, &[job(site)]), 100.0 + 960.0);
    // A call that begins in the body keeps it.
    let late = program(vec![at(Kind::Calls, 100), at(site, 1_000)]);
    assert_eq!(plan::time(&late, machine, &[job(Kind::Calls)]), 100.0 + 50.0 + 1_000.0);
}

#[test]
fn who_knows_only_what_was_called_waits_for_it() {
    let function = |name: &str| Function {
        name: name.to_owned(),
        size: 1,
        tiers: vec![TierFacts::new(2.0, 0, 0), TierFacts::new(1.0, 500, 1)],
    };
    let calls = |function, work| Record { thread: 0, function, kind: Kind::Calls, work };
    let program = Program {
        name: String::new(),
        tiers: vec![String::new(); 2],
        functions: vec![function("first"), function("second")],
        records: vec![calls(0, 100), calls(1, 1_000)],
    };
    for machine in [machine(1, 1.0), machine(1, 2.0)] {
        let slow = machine.sharing;
        let best = search(&program, machine, 1, 500).time;
        // The second function's compile begins before the function was called.
        assert_eq!(best, plan::time(&program, machine, &[plan::Job { function: 1, tier: 1, kind: Kind::Calls }]));
        let called = search_seen(&program, machine, &[], 1, 500).time;
        // At its own first call, after 200: 250 units are done while it is compiled, and 750 afterwards.
        assert_eq!(called, 200.0 + 500.0 * slow + 750.0);
        let late = search_seen(&program, machine, &[400], 1, 500).time;
        // Or never, where a compile slows it so much that this is better.
        assert_eq!(late, f64::min(200.0 + 800.0 + 500.0 * slow + 350.0, 2_200.0));
    }
}

#[test]
fn who_knows_everything_is_no_worse() {
    for seed in 0..60 {
        let mut program = small(seed, 3, 2);
        program.records.iter_mut().for_each(|record| record.thread = 0);
        let machine = MACHINES[seed as usize % 5];
        let bound = lower_bound(&program, machine);
        let dice = &mut fastrand::Rng::with_seed(seed);
        for after in [0, dice.u64(1..10_000)] {
            let seen = search_seen(&program, machine, &[after], seed, 200);
            assert!(
                seen.time >= bound * (1.0 - 1e-9) && seen.time <= plan::time(&program, machine, &[]) + 1e-6,
                "{seed} {after}"
            );
        }
    }
}

#[test]
fn short_loops_are_served_by_the_body_and_by_a_variant() {
    let tiers = vec![TierFacts::new(2.0, 0, 0), TierFacts::new(1.0, 10, 1)];
    let function = Function { name: "f".to_owned(), size: 1, tiers };
    let at = |kind, work| Record { thread: 0, function: 0, kind, work };
    let job = |kind| plan::Job { function: 0, tier: 1, kind };
    let site = |site| Kind::Loop { site };
    let program = Program {
        name: String::new(),
        tiers: vec![String::new(); 2],
        functions: vec![function],
        records: vec![at(Kind::Calls, 100), at(Kind::Short { site: 3 }, 1_000), at(site(3), 50)],
    };
    let (machine, all) = (machine(1, 1.0), [job(Kind::Calls), job(site(3)), job(site(4))]);
    let clock = super::clock::Clock::new(&program, machine);
    for (plan, time) in [(&all[..1], 1_155.0), (&all[1..2], 190.0 + 10.0 + 1_050.0), (&all[2..], 2_300.0), (&all[..2], 1_155.0)] {
        assert_eq!((plan::time(&program, machine, plan), clock.time(plan)), (time, time), "{plan:?}");
    }
}
