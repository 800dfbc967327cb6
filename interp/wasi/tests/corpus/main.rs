//! Real programs compiled to WASI, output and exit code byte for byte, in every tier configuration.
//!
//! The programs are in `$TIERUP_TESTDATA/corpus`. `cargo test` runs each short; `TIERUP_MATRIX=full` runs each long as well.

mod configuration;
mod program;

use std::thread;

use configuration::Configuration;
use program::Length;
use tierup_interp::Osr;

fn check(configuration: Configuration) {
    check_those(configuration, |_| true);
}

fn check_those(configuration: Configuration, chosen: impl Fn(&str) -> bool) {
    for program in program::all().into_iter().filter(|program| chosen(&program.name)) {
        for &length in Length::chosen() {
            let outcome = program.run(configuration, length);
            assert!(outcome.is_ok(), "{} {length:?}, {configuration}: {}", program.name, outcome.unwrap_err());
        }
    }
}

#[test]
fn interpreted() {
    check(Configuration::Interp);
}

#[test]
fn compiled_before_the_first_call() {
    check(Configuration::Baseline);
}

#[test]
fn tiered_in_the_background() {
    check(Configuration::Background);
}

#[test]
fn mixed_with_random_thresholds() {
    let configuration = Configuration::mixed();
    println!("{configuration}");
    check(configuration);
}

#[test]
fn loops_to_baseline_at_once() {
    check(Configuration::LoopsToBaseline(Osr::Always));
}

#[test]
fn loops_to_baseline_by_chance() {
    let configuration = Configuration::LoopsToBaseline(Osr::Random(configuration::seed()));
    println!("{configuration}");
    check(configuration);
}

/// Two instances of one module, in two stores, on two threads, at once: they share code while it tiers.
#[test]
fn two_instances_on_two_threads() {
    for program in program::all() {
        let loaded = program.load(Configuration::Background).unwrap();
        thread::scope(|scope| {
            let runs = [(); 2].map(|()| scope.spawn(|| program.run_loaded(&loaded, Length::Short)));
            for run in runs {
                let outcome = run.join().unwrap();
                assert!(outcome.is_ok(), "{}: {}", program.name, outcome.unwrap_err());
            }
        });
    }
}

#[cfg(feature = "llvm")]
mod with_llvm {
    use tierup::Mode;

    use super::*;

    /// Programs that LLVM compiles in seconds; the others take a minute or two together.
    const QUICK: [&str; 2] = ["perft", "ray"];

    /// Checks if there is a helper: the quick programs, or all of them where the full matrix is asked for.
    fn check_if_possible(configuration: Configuration) {
        match tierup_interp::Llvm::default().version() {
            Ok(_) if Length::chosen().contains(&Length::Long) => check(configuration),
            Ok(_) => check_those(configuration, |name| QUICK.contains(&name)),
            Err(error) => println!("skipped: {configuration}, {error}"),
        }
    }

    #[test]
    fn compiled_by_llvm_before_the_first_call() {
        check_if_possible(Configuration::Opt);
    }

    #[test]
    fn loops_to_llvm_at_once() {
        check_if_possible(Configuration::LoopsToOpt(Osr::Always));
    }

    #[test]
    fn loops_through_all_tiers_at_once() {
        check_if_possible(Configuration::LoopsThrough(Osr::Always, Mode::Sync));
    }

    #[test]
    fn loops_through_all_tiers_by_chance() {
        let configuration = Configuration::LoopsThrough(Osr::Random(configuration::seed()), Mode::Background);
        println!("{configuration}");
        check_if_possible(configuration);
    }

    #[test]
    fn three_tiers_with_random_thresholds() {
        let configuration = Configuration::three_tiers();
        println!("{configuration}");
        check_if_possible(configuration);
    }
}
