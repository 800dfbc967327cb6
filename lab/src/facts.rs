//! What the tiers are for each function, from runs in which everything was in one tier.
//!
//! A run in a tier was looked at every so often: a function that was met `n` times, where a look stands for `s` nanoseconds and that did
//! `w` work units, has a pace of `n·s/w`. Its standard error is `1/√n`. Where little was to be seen, what is expected counts: the *prior* is, for the
//! interpreter, the pace of all functions together, and for a compiled tier the function's own pace in the interpreter times what the functions that were in that
//! tier became slower or faster together. With `m` looks, seen or expected, whichever is more, the pace is `(m·measured + 20·prior) / (m + 20)`.
//!
//! Code that counts is measured as a tier of its own, with that of the tier it belongs to as the prior of its pace. It is no faster, and its compile
//! takes no less: whatever two measurements of one compile say, no policy may be better off with code that does more.
//!
//! *Inlining.* What a function gains where it is part of others' code it gains by their compile, not by its own. So the highest tier is run once more with each
//! function compiled apart, which says how fast its own code is: that is its pace. What it took less than that is taken off all functions in proportion to how
//! often each was met, for it is not known who of them contain it: most of it off the largest, which is most often who does; what a function has won by
//! containing itself comes back to it.
//!
//! A compile that was not seen is taken to cost what the others cost per byte of body, 64 added to each: as the broker reckons.

use crate::{Counting, TierFacts};

/// Looks that the prior counts for.
const PRIOR_LOOKS: f64 = 20.0;
/// No code is taken to be more times faster than the prior than this.
const FASTEST: f64 = 32.0;
/// What every compile costs beyond its size, in bytes of body.
const BASE_SIZE: f64 = 64.0;

/// A run in which all functions were in one tier. Vectors are by function.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TierRun {
    /// How often each was met; `None` of one that was not in the tier.
    pub met: Vec<Option<u64>>,
    /// Nanoseconds a look stands for, divided by how many times the program was run.
    pub look: f64,
    /// Nanoseconds and bytes of code of each function's compile, where one was seen.
    pub compiles: Vec<Option<(u64, u32)>>,
    /// Places of those whose code is [silent](TierFacts::silent).
    pub silent: Vec<usize>,
}

impl TierRun {
    /// Nanoseconds of some functions together.
    fn together(&self, which: impl Fn(usize) -> bool) -> f64 {
        let met = self.met.iter().enumerate().filter(|(index, _)| which(*index)).filter_map(|(_, met)| *met);
        met.sum::<u64>() as f64 * self.look
    }
}

/// A function, as far as its tiers depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Bytes of its body.
    pub size: u32,
    /// Work units it did.
    pub work: u64,
}

/// The facts of each function: `runs` are of the interpreter, then of each compiled tier in order. `counting` is of the first compiled tier with
/// code that counts, where there is a tier above; of other tiers none does. `apart` is of the highest tier with nothing inlined.
pub fn facts(
    functions: &[Measured],
    runs: &[TierRun],
    counting: Option<&TierRun>,
    apart: Option<&TierRun>,
) -> Vec<Vec<TierFacts>> {
    // A program too short to be seen at all: any pace will do, the same for all.
    let interpreter = runs.first().map_or(0.0, |run| run.together(|_| true));
    let work: f64 = functions.iter().map(|function| function.work as f64).sum();
    let mean = if interpreter > 0.0 { interpreter / work.max(1.0) } else { 1.0 };
    let ratio = |run: &TierRun, over: &TierRun| {
        let is_there = |index: usize| run.met.get(index).copied().flatten().is_some();
        match (run.together(is_there), over.together(is_there)) {
            (here, there) if here > 0.0 && there > 0.0 => here / there,
            _ => 1.0,
        }
    };
    let ratios: Vec<f64> = runs.iter().map(|run| ratio(run, &runs[0])).collect();
    let counting = counting.map(|run| (run, runs.get(1).map_or(1.0, |over| ratio(run, over)), Costs::of(functions, run)));
    let costs: Vec<Costs> = runs.iter().map(|run| Costs::of(functions, run)).collect();
    let of = |(index, function): (usize, &Measured)| {
        let mut interpreted = mean;
        let mut tiers = Vec::new();
        for (tier, run) in runs.iter().enumerate() {
            let prior = if tier == 0 { mean } else { interpreted * ratios[tier] };
            let pace = pace(run, index, function.work, prior);
            if tier == 0 {
                interpreted = pace;
            }
            let seen = run.compiles.get(index).copied().flatten();
            let (compile, code_bytes) =
                if tier == 0 { (0, 0) } else { seen.unwrap_or_else(|| costs[tier].expected(function.size)) };
            let mut facts = TierFacts { silent: run.silent.contains(&index), ..TierFacts::new(pace, compile, code_bytes) };
            if let (1, Some((run, ratio, costs))) = (tier, &counting) {
                let seen = run.compiles.get(index).copied().flatten();
                let (compile, _) = seen.unwrap_or_else(|| costs.expected(function.size));
                let slower = self::pace(run, index, function.work, pace * ratio);
                facts.counting = Counting { pace: slower.max(facts.pace), compile: compile.max(facts.compile) };
            }
            tiers.push(facts);
        }
        tiers
    };
    let mut facts: Vec<Vec<TierFacts>> = functions.iter().enumerate().map(of).collect();
    if let (Some(top @ 1..), Some(apart)) = (runs.len().checked_sub(1), apart) {
        let ratio = ratio(apart, &runs[0]);
        let alone = |(index, function): (usize, &Measured)| pace(apart, index, function.work, facts[index][0].pace * ratio);
        let alone: Vec<f64> = functions.iter().enumerate().map(alone).collect();
        let least = |facts: &[TierFacts]| facts[0].pace * ratios[top] / FASTEST;
        let own = own_paces(functions, &runs[top], &alone, &facts.iter().map(|facts| facts[top].pace).collect::<Vec<_>>());
        for (facts, own) in facts.iter_mut().zip(own) {
            let TierFacts { compile, code_bytes, .. } = facts[top];
            facts[top] = TierFacts::new(own.max(least(facts)), compile, code_bytes);
        }
    }
    facts
}

/// What each function's own compile makes of its pace, where that was `met` in `run`, and is `alone` when nothing is inlined.
fn own_paces(functions: &[Measured], run: &TierRun, alone: &[f64], met: &[f64]) -> Vec<f64> {
    let looks = |index: usize| run.met.get(index).copied().flatten();
    let all: u64 = (0..functions.len()).filter_map(looks).sum();
    let mut nanos: Vec<f64> = functions.iter().zip(met).map(|(function, met)| met * function.work as f64).collect();
    for (index, function) in functions.iter().enumerate() {
        let gain = (alone[index] - met[index]) * function.work as f64;
        if looks(index).is_some() && gain > 0.0 {
            nanos[index] += gain;
            (0..functions.len()).for_each(|host| nanos[host] -= gain * looks(host).unwrap_or(0) as f64 / all.max(1) as f64);
        }
    }
    functions.iter().zip(nanos).map(|(function, nanos)| nanos / function.work.max(1) as f64).collect()
}

fn pace(run: &TierRun, index: usize, work: u64, prior: f64) -> f64 {
    let work = work.max(1) as f64;
    let Some(met) = run.met.get(index).copied().flatten().map(|met| met as f64).filter(|_| run.look > 0.0) else { return prior };
    let looks = met.max(prior * work / run.look);
    let weighed = (looks * (met * run.look / work) + PRIOR_LOOKS * prior) / (looks + PRIOR_LOOKS);
    weighed.max(prior / FASTEST)
}

/// What a tier's compiles cost per byte of body.
struct Costs {
    nanos: f64,
    bytes: f64,
}

impl Costs {
    fn of(functions: &[Measured], run: &TierRun) -> Self {
        let seen = functions.iter().zip(&run.compiles).filter_map(|(function, compile)| Some((function.size, (*compile)?)));
        let (size, nanos, bytes) = seen.fold((0.0, 0.0, 0.0), |(size, nanos, bytes), (own, (took, code))| {
            (size + f64::from(own) + BASE_SIZE, nanos + took as f64, bytes + f64::from(code))
        });
        let each = f64::max(size, 1.0);
        Costs { nanos: nanos / each, bytes: bytes / each }
    }

    fn expected(&self, size: u32) -> (u64, u32) {
        let size = f64::from(size) + BASE_SIZE;
        ((self.nanos * size) as u64, (self.bytes * size) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Measured; 3] =
        [Measured { size: 100, work: 1_000_000 }, Measured { size: 200, work: 1_000_000 }, Measured { size: 36, work: 100 }];

    fn runs() -> [TierRun; 2] {
        let interpreter =
            TierRun { met: [1_000, 3_000, 0].map(Some).into(), look: 1_000.0, compiles: vec![None; 3], ..TierRun::default() };
        let baseline = TierRun {
            met: [500, 300, 0].map(Some).into(),
            look: 1_000.0,
            compiles: vec![Some((164_000, 640)), Some((264_000, 1_216)), None],
            ..TierRun::default()
        };
        [interpreter, baseline]
    }

    #[test]
    fn who_was_met_often_has_a_pace_of_its_own() {
        let facts = facts(&ALL, &runs(), None, None);
        let paces = |index: usize| (facts[index][0].pace, facts[index][1].pace);
        assert!((paces(0).0 - 1.0).abs() < 0.05 && (paces(1).0 - 3.0).abs() < 0.05, "{:?} {:?}", paces(0), paces(1));
        assert!((paces(0).1 - 0.5).abs() < 0.05 && (paces(1).1 - 0.3).abs() < 0.05, "{:?} {:?}", paces(0), paces(1));
        // All together went from 4 ms to 0.8.
        assert!((paces(2).0 - 2.0).abs() < 0.05 && (paces(2).0 / paces(2).1 - 5.0).abs() < 0.05, "the prior: {:?}", paces(2));
    }

    #[test]
    fn who_was_not_there_is_as_fast_as_the_others_became() {
        let [interpreter, baseline] = runs();
        let some = TierRun { met: vec![Some(250), None, None], ..baseline.clone() };
        let facts = facts(&ALL, &[interpreter, some], None, None);
        assert!((facts[1][0].pace / facts[1][1].pace - 4.0).abs() < 0.1, "{facts:?}");
    }

    #[test]
    fn a_compile_that_was_not_seen_costs_by_the_byte() {
        let facts = facts(&ALL, &runs(), None, None);
        assert_eq!((facts[0][1].compile, facts[0][0].compile), (164_000, 0));
        // 428 microseconds for 428 bytes, 64 added to each body.
        assert_eq!((facts[2][1].compile, facts[2][1].code_bytes), (100_000, 433));
    }

    #[test]
    fn what_was_not_met_though_it_did_much_is_fast_but_not_infinitely() {
        let functions = [Measured { size: 10, work: 1 << 40 }, Measured { size: 10, work: 1 << 40 }];
        let run = |met: [u64; 2]| TierRun { met: met.map(Some).into(), look: 1e6, compiles: vec![None; 2], ..TierRun::default() };
        let facts = facts(&functions, &[run([100_000, 100_000]), run([20_000, 0])], None, None);
        assert!(facts[1][1].pace > 0.0 && facts[1][1].pace < facts[0][1].pace / 10.0, "{facts:?}");
    }

    #[test]
    fn code_that_counts_has_a_pace_of_its_own() {
        let [interpreter, baseline] = runs();
        let counting = TierRun {
            met: [1_000, 300, 0].map(Some).into(),
            compiles: vec![Some((328_000, 900)), None, None],
            ..baseline.clone()
        };
        let facts = facts(&ALL, &[interpreter, baseline.clone(), baseline], Some(&counting), None);
        let slower = |index: usize| facts[index][1].counting.pace / facts[index][1].pace;
        assert!((slower(0) - 2.0).abs() < 0.1 && (1.0..1.1).contains(&slower(1)), "{} {}", slower(0), slower(1));
        assert!((slower(2) - 1.6).abs() < 0.1, "as all together: {}", slower(2));
        assert_eq!((facts[0][1].counting.compile, facts[1][1].counting.compile), (328_000, 528_000));
        assert_eq!((facts[0][2].counting.pace, facts[0][2].counting.compile), (facts[0][2].pace, facts[0][2].compile));
    }

    #[test]
    fn code_that_counts_is_no_better_whatever_was_measured() {
        let [interpreter, baseline] = runs();
        let counting = TierRun {
            met: [250, 150, 0].map(Some).into(),
            compiles: vec![Some((82_000, 640)), Some((132_000, 1_216)), None],
            ..baseline.clone()
        };
        for function in facts(&ALL, &[interpreter, baseline.clone(), baseline], Some(&counting), None) {
            assert_eq!(function[1].counting, Counting { pace: function[1].pace, compile: function[1].compile });
        }
    }

    /// Two callers of a leaf, all as fast as one another in the lower tiers.
    fn with_a_leaf(met: [u64; 3], apart: [u64; 3]) -> Vec<f64> {
        let functions = [Measured { size: 100, work: 1_000_000 }; 3];
        let run = |met: [u64; 3]| TierRun { met: met.map(Some).into(), look: 1_000.0, ..TierRun::default() };
        let facts = facts(&functions, &[run([40_000; 3]), run([10_000; 3]), run(met)], None, Some(&run(apart)));
        facts.iter().map(|facts| facts[2].pace).collect()
    }

    #[track_caller]
    fn close(paces: &[f64], expected: [f64; 3]) {
        assert!(paces.iter().zip(expected).all(|(pace, expected)| (pace - expected).abs() < 0.05), "{paces:?}, not {expected:?}");
    }

    #[test]
    fn what_is_won_by_inlining_is_won_by_the_compile_of_whose_code_it_is() {
        // Nothing was inlined.
        close(&with_a_leaf([6_000, 6_000, 8_000], [6_000, 6_000, 8_000]), [6.0, 6.0, 8.0]);
        // All of the leaf was, in the first one's code.
        close(&with_a_leaf([9_000, 0, 0], [6_000, 200, 8_000]), [1.0, 0.2, 8.0]);
        // In both's.
        close(&with_a_leaf([9_000, 9_000, 0], [9_000, 9_000, 8_000]), [5.1, 5.1, 8.0]);
        // The first in itself.
        close(&with_a_leaf([6_000, 0, 0], [12_000, 0, 0]), [5.9, 0.1, 0.1]);
    }

    #[test]
    fn no_caller_gains_more_than_there_was() {
        let paces = with_a_leaf([2_000, 6_000, 0], [6_000, 6_000, 12_000]);
        assert!(paces.iter().all(|&pace| pace > 0.0), "{paces:?}");
    }

    #[test]
    fn without_anything_seen_paces_are_positive() {
        let facts = facts(&ALL, &[TierRun::default(), TierRun::default()], None, None);
        assert!(facts.iter().flatten().all(|tier| tier.pace > 0.0 && tier.pace.is_finite()), "{facts:?}");
    }
}
