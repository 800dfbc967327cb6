use tierup_broker::{SAMPLE_PERIOD, SAMPLE_WORK, Threshold, Tiered};

use super::*;
use crate::{Counting, Function, Kind, Record, TierFacts, oracle, plan, synthetic};

const ONE: Machine = Machine { workers: 1, sharing: 1.0, processors: usize::MAX };

fn function(paces: &[f64], compile: u64) -> Function {
    let facts = |(tier, &pace): (usize, &f64)| TierFacts::new(pace, if tier == 0 { 0 } else { compile }, 10);
    Function { name: "f".to_owned(), size: 100, tiers: paces.iter().enumerate().map(facts).collect() }
}

fn program(functions: Vec<Function>, records: Vec<Record>) -> Program {
    let tiers = functions[0].tiers.iter().map(|_| "tier".to_owned()).collect();
    Program { name: String::new(), tiers, functions, records }
}

fn calls(function: u32, work: u64) -> Record {
    Record { thread: 0, function, kind: Kind::Calls, work }
}

#[test]
fn a_threshold_is_kept_and_a_compile_takes_its_time() {
    let program = program(vec![function(&[2.0, 1.0], 100_000)], vec![calls(0, 1_000_000)]);
    let outcome = replay(&program, ONE, Threshold { calls: 1_000 }).unwrap();
    // 64,000 units until it is asked for, 50,000 while it is compiled, the rest in its code.
    let expected = 2.0 * 64_000.0 + 100_000.0 + (1_000_000.0 - 114_000.0);
    assert!((outcome.total - expected).abs() < 1_000.0, "{} for {expected}", outcome.total);
    assert_eq!((outcome.compiles, outcome.compile_time, outcome.wasted), (1, 100_000.0, 0.0));
    let never = replay(&program, ONE, Threshold { calls: u32::MAX }).unwrap();
    assert_eq!((never.total, never.compiles), (2_000_000.0, 0));
    let shared = replay(&program, Machine { sharing: 2.0, ..ONE }, Threshold { calls: 1_000 }).unwrap();
    assert!((shared.total - expected - 100_000.0).abs() < 1_000.0, "{}: the compile takes twice as long for both", shared.total);
}

#[test]
fn loops_are_entered_in_the_middle() {
    let at = |kind, work| Record { thread: 0, function: 0, kind, work };
    let program =
        program(vec![function(&[8.0, 2.0, 1.0], 10_000)], vec![at(Kind::Calls, 64), at(Kind::Loop { site: 0 }, 20_000_000)]);
    let outcome = replay(&program, ONE, Tiered::new(1_000, 10_000)).unwrap();
    // 64,000 interpreted, 640,000 in the baseline, and what the watches and the compiles add.
    let expected = 8.0 * 64_000.0 + 2.0 * 640_000.0 + (20_000_000.0 - 704_000.0);
    assert!((outcome.total / expected - 1.0).abs() < 0.02, "{} for {expected}", outcome.total);
    assert!(outcome.residency.iter().all(|time| *time > 0.0), "{:?}", outcome.residency);
}

/// A second tier after `samples` samples' work.
fn sampled(samples: u32) -> Tiered {
    Tiered::new(1, samples * SAMPLE_WORK / 64)
}

#[test]
fn sampled_code_is_promoted_by_the_time_it_takes() {
    const PERIOD: f64 = SAMPLE_PERIOD.as_nanos() as f64;
    let at = |kind, work| Record { thread: 0, function: 0, kind, work };
    let loops = vec![at(Kind::Calls, 64), at(Kind::Loop { site: 0 }, 200_000_000)];
    for records in [vec![calls(0, 200_000_000)], loops] {
        let program = program(vec![function(&[2.0, 1.0, 0.5], 10_000)], records);
        let outcome = replay(&program, ONE, sampled(10)).unwrap();
        // Ten samples, and one more until a loop has been watched, whatever is done meanwhile.
        let below = outcome.residency[1] / PERIOD;
        assert!((9.0..=12.0).contains(&below), "{below} periods");
    }
}

#[test]
fn what_is_silent_is_put_down_to_who_is_sampled_next() {
    let records: Vec<_> = (0..20_000).map(|turn| calls(turn % 2, 10_000)).collect();
    let compiles = |silent| {
        let functions = [false, silent].map(|silent| {
            let mut function = function(&[2.0, 1.0, 0.5], 10_000);
            function.tiers[1].silent = silent;
            function
        });
        let outcome = replay(&program(functions.into(), records.clone()), ONE, sampled(20)).unwrap();
        (outcome.compiles, outcome.residency[1])
    };
    let ((both, until_both), (one, until_one)) = (compiles(false), compiles(true));
    assert_eq!((both, one), (4, 3), "the silent one stays in the first tier");
    assert!(until_one > until_both, "{until_one} {until_both}");
    // Counted by a policy that waits for less than samples tell, nothing is silent.
    let mut silent = function(&[2.0, 1.0, 0.5], 10_000);
    silent.tiers[1].silent = true;
    assert_eq!(replay(&program(vec![silent], vec![calls(0, 20_000_000)]), ONE, Tiered::new(1, 15_625)).unwrap().compiles, 2);
}

#[test]
fn code_that_counts_takes_longer_and_is_promoted_by_its_work() {
    let mut slow = function(&[2.0, 1.0, 0.5], 10_000);
    slow.tiers[1].counting = Counting { pace: 1.5, compile: 20_000 };
    let program = program(vec![slow], vec![calls(0, 20_000_000)]);
    let counted = replay(&program, ONE, Tiered::new(1, 15_625)).unwrap();
    // A million units, and what is done while the optimizer works.
    assert!((counted.residency[1] / 1.5 / 1_006_667.0 - 1.0).abs() < 0.01, "{:?}", counted.residency);
    assert_eq!(counted.compile_time, 20_000.0 + 10_000.0);
    let sampled = replay(&program, ONE, sampled(100)).unwrap();
    assert!((sampled.residency[1] / 20_000_000.0 - 1.0).abs() < 0.01, "{:?}", sampled.residency);
    assert_eq!(sampled.compile_time, 10_000.0);
}

#[test]
fn the_same_again_is_the_same() {
    for program in synthetic::all(3) {
        let machine = Machine { workers: 2, sharing: 1.5, processors: 2 };
        let first = replay(&program, machine, Tiered::default()).unwrap();
        assert_eq!(first, replay(&program, machine, Tiered::default()).unwrap(), "{}", program.name);
    }
}

#[test]
fn several_threads_and_workers() {
    let mut program = synthetic::all(3).remove(1);
    let half = program.records.len() / 2;
    program.records[half..].iter_mut().for_each(|record| record.thread = 1);
    let one = replay(&program, ONE, Tiered::default()).unwrap();
    let four = replay(&program, Machine { workers: 4, ..ONE }, Tiered::default()).unwrap();
    assert!(four.wait(0.99) < one.wait(0.99) && one.wait(0.5) > 0.0, "{} {}", four.wait(0.99), one.wait(0.99));
    assert!(four.total < one.total, "{} with four workers, {} with one", four.total, one.total);
}

#[test]
fn no_policy_is_better_than_the_bound() {
    for program in synthetic::all(7) {
        for machine in [ONE, Machine { workers: 2, sharing: 2.0, processors: 2 }] {
            let bound = oracle::lower_bound(&program, machine);
            for policy in [Tiered::development(), Tiered::default(), Tiered::production()] {
                let outcome = replay(&program, machine, policy).unwrap();
                assert!(outcome.total >= bound * (1.0 - 1e-9), "{}: {} under {bound}", program.name, outcome.total);
                assert!(
                    outcome.total <= plan::time(&program, machine, &[]) * machine.slowdown(1, 2),
                    "{}: slower than slow",
                    program.name
                );
            }
        }
    }
}

#[test]
fn the_default_on_what_is_made_up_to_be_hard() {
    for program in synthetic::all(1) {
        let best = oracle::search(&program, Machine::default(), 1, 300);
        let outcome = replay(&program, Machine::default(), Tiered::default()).unwrap();
        // What stops when it has just been asked for was compiled in vain, and the oracle has it compiled before its first call. Nobody can who does not
        // know the future: what is lost against interpreting everything is bounded instead.
        let (against, most) = match &program.name[..] {
            "stops when promoted" => (plan::time(&program, Machine::default(), &[]), 1.0),
            _ => (best.time, 2.0),
        };
        assert!(outcome.total <= against * most + 1.0, "{}: {} times", program.name, outcome.total / against);
    }
}

/// Functions that are called once, and stop before their code could have come: nobody who compiles nothing before it is called is within twice of who
/// does, and the default is nearly as good as anybody.
#[test]
fn nobody_is_within_twice_of_who_knows_what_will_be_called() {
    let program = synthetic::all(1).remove(0);
    let best = oracle::search(&program, Machine::default(), 1, 300).time;
    // Each is one record: at best a compile begins with it, and what is left then runs in the fastest code.
    let least = |record: &Record| {
        let tiers = &program.functions[record.function as usize].tiers;
        let interpreted = record.work as f64 * tiers[0].pace;
        let with = |tier: &TierFacts| {
            let until = (tier.compile as f64).min(interpreted);
            until + (interpreted - until) * tier.pace / tiers[0].pace
        };
        tiers[1..].iter().map(with).fold(interpreted, f64::min)
    };
    let least: f64 = program.records.iter().map(least).sum();
    assert_eq!(program.records.len(), program.functions.len());
    assert!(least > 2.4 * best, "{} times", least / best);
    assert!(oracle::search_seen(&program, Machine::default(), &[], 1, 300).time >= least * (1.0 - 1e-9));
    let outcome = replay(&program, Machine::default(), Tiered::default()).unwrap();
    assert!(outcome.total <= 1.1 * least, "{} times what anybody could do", outcome.total / least);
}
