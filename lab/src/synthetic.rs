//! Programs made up to be hard on policies, each in its own way.
//!
//! Paces and costs are round numbers of the size that the tiers of the WebAssembly VM have: an interpreter of 2.5 ns per work unit, a baseline five
//! times as fast that takes 1 ms for a small function, an optimizer twice as fast again that takes ten times as long.

use crate::{Function, Kind, Program, Record, TierFacts};

const INTERPRETED: f64 = 2.5;
const MILLISECOND: u64 = 1_000_000;

/// All of them. The same seed makes the same programs.
pub fn all(seed: u64) -> Vec<Program> {
    vec![
        stops_when_promoted(),
        warm_crowd(400),
        huge_before_small(),
        phases(12, 8),
        one_long_loop(),
        flat(3_000, seed),
        zipf(600, seed),
    ]
}

/// A function of `size` bytes, whose costs are in proportion.
fn function(name: impl Into<String>, size: u32) -> Function {
    let compile = |per_byte: u64, base: u64| base + per_byte * u64::from(size);
    Function {
        name: name.into(),
        size,
        tiers: vec![
            TierFacts::new(INTERPRETED, 0, 0),
            TierFacts::new(INTERPRETED / 5.0, compile(6_000, MILLISECOND / 4), size * 6),
            TierFacts::new(INTERPRETED / 10.0, compile(60_000, 4 * MILLISECOND), size * 5),
        ],
    }
}

fn program(name: &str, functions: Vec<Function>, records: Vec<Record>) -> Program {
    let tiers = ["interpreter", "baseline", "optimizing"].map(str::to_owned).to_vec();
    Program { name: name.to_owned(), tiers, functions, records }
}

fn calls(function: u32, work: u64) -> Record {
    Record { thread: 0, function, kind: Kind::Calls, work }
}

/// What ski-rental's worst case is for a threshold of 100 typical calls: every function stops when it has just been asked for.
fn stops_when_promoted() -> Program {
    let functions = (0..60).map(|index| function(format!("stops_{index}"), 120)).collect();
    // Such a policy asks for a function after 409,600 units.
    let records = (0..60).map(|index| calls(index, 420_000)).collect();
    program("stops when promoted", functions, records)
}

/// Many functions become hot at the same time: the queue decides.
fn warm_crowd(count: u32) -> Program {
    let functions = (0..count).map(|index| function(format!("crowd_{index}"), 60 + index % 7 * 40)).collect();
    let round = |round: u64| (0..count).map(move |index| calls(index, 4_000 + round % 3 * 500 + u64::from(index % 11) * 900));
    program("warm crowd", functions, (0..300).flat_map(round).collect())
}

/// A function that takes very long to compile is hot first; small ones come while it is being compiled.
fn huge_before_small() -> Program {
    let mut functions = vec![function("huge", 60_000)];
    functions.extend((0..40).map(|index| function(format!("small_{index}"), 80)));
    let mut records = vec![calls(0, 3_000_000)];
    for round in 0..400 {
        records.extend((1..=40).map(|index| calls(index, 12_000 + round % 5 * 1_000)));
        records.push(calls(0, 20_000));
    }
    program("huge before small", functions, records)
}

/// Every phase has hot functions of its own, and ends.
fn phases(count: u32, each: u32) -> Program {
    let functions = (0..count * each).map(|index| function(format!("phase_{}_{}", index / each, index % each), 150)).collect();
    let phase = |phase: u32| (0..250).flat_map(move |_| (0..each).map(move |index| calls(phase * each + index, 9_000)));
    program("phases", functions, (0..count).flat_map(phase).collect())
}

/// One call, and a loop in it: without OSR nothing helps.
fn one_long_loop() -> Program {
    let mut records = vec![calls(0, 64)];
    records.extend((0..4_000).map(|_| Record { thread: 0, function: 0, kind: Kind::Loop { site: 0 }, work: 50_000 }));
    program("one long loop", vec![function("main", 400)], records)
}

/// Much code, none of it hot: compiling anything is wasted.
fn flat(count: u32, seed: u64) -> Program {
    let mut dice = fastrand::Rng::with_seed(seed);
    let functions = (0..count).map(|index| function(format!("flat_{index}"), dice.u32(40..900))).collect();
    let mut records: Vec<_> = (0..count * 8).map(|index| calls(index % count, dice.u64(2_000..12_000))).collect();
    dice.shuffle(&mut records);
    program("flat", functions, records)
}

/// As real programs are: a few functions do most of the work.
fn zipf(count: u32, seed: u64) -> Program {
    let mut dice = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let functions = (0..count).map(|index| function(format!("zipf_{index}"), dice.u32(40..1_500))).collect();
    let weights: Vec<f64> = (1..=count).map(|rank| 1.0 / f64::from(rank)).collect();
    let total: f64 = weights.iter().sum();
    let mut pick = || {
        let mut left = dice.f64() * total;
        weights
            .iter()
            .position(|weight| {
                left -= weight;
                left <= 0.0
            })
            .unwrap_or(0) as u32
    };
    let records = (0..20_000).map(|_| calls(pick(), 20_000)).collect();
    program("zipf", functions, records)
}
