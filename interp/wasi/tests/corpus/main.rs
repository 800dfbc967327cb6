//! Real programs compiled to WASI, output and exit code byte for byte, in every tier configuration.
//!
//! The programs are in `$TIERUP_TESTDATA/corpus`. `cargo test` runs each short; `TIERUP_MATRIX=full` runs each long as well.

mod configuration;
mod program;

use std::thread;

use configuration::Configuration;
use program::Length;

fn check(configuration: Configuration) {
    for program in program::all() {
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
    use super::*;

    /// Checks if there is a helper.
    fn check_if_possible(configuration: Configuration) {
        match tierup_interp::Llvm::default().version() {
            Ok(_) => check(configuration),
            Err(error) => println!("skipped: {configuration}, {error}"),
        }
    }

    #[test]
    fn compiled_by_llvm_before_the_first_call() {
        check_if_possible(Configuration::Opt);
    }

    #[test]
    fn three_tiers_with_random_thresholds() {
        let configuration = Configuration::three_tiers();
        println!("{configuration}");
        check_if_possible(configuration);
    }
}
