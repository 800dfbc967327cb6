//! Real programs compiled to WASI, output and exit code byte for byte, in every tier configuration.
//!
//! The programs are in `$TIERUP_TESTDATA/corpus`. `cargo test` runs each short; `TIERUP_MATRIX=full` runs each long as well.
//! `TIERUP_PROGRAM=name` runs one of them, `TIERUP_LARGEST=bytes` keeps larger functions out of LLVM.

mod configuration;
/// Bodies that do the same, for hot reload.
#[path = "../../../tests/differential/edition.rs"]
mod edition;
mod program;

use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use configuration::{Configuration, Exited};
use program::Length;
use tierup_interp::{Deopt, Osr};

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
fn compiled_by_cranelift() {
    check(Configuration::Cranelift);
}

#[test]
fn loops_to_cranelift_at_once() {
    check(Configuration::LoopsToCranelift(Osr::Always));
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

/// How code is left: from everywhere to hardly ever, and by chance.
fn ways_to_leave() -> [Deopt; 5] {
    let every = |n| Deopt::Every(NonZeroU32::new(n).expect("not 0"));
    [every(1), every(2), every(7), every(1000), Deopt::Random(configuration::seed())]
}

/// Programs that are compiled and run in seconds, whatever is done to them.
const QUICK: [&str; 3] = ["perft", "ray", "vdispatch"];

/// The programs for this run of the tests: those that are quick enough, or all where the full matrix is asked for.
fn wanted(quick: &[&str]) -> impl Iterator<Item = program::Program> {
    program::all().into_iter().filter(move |program| Length::is_full() || quick.contains(&&*program.name))
}

/// Quick programs with one way each to leave their code, entered again at each loop. Where the full matrix is asked for, every program
/// with all ways to leave, and with one each where loops are entered by chance and never.
fn check_exits(of: Exited, quick: &[&str]) {
    let ways = ways_to_leave();
    for (nth, program) in wanted(quick).enumerate() {
        let way = |nth: usize| ways[nth % ways.len()];
        let all: Vec<_> = if Length::is_full() {
            // First what is over soonest: where loops are entered by force, this thread waits for each of their variants.
            let some = [(Osr::Off, way(nth + 2)), (Osr::Random(configuration::seed()), way(nth))];
            some.into_iter().chain(ways.map(|deopt| (Osr::Always, deopt))).collect()
        } else {
            vec![(Osr::Always, way(nth + 1))]
        };
        for (osr, deopt) in all {
            let configuration = Configuration::Exits { of, osr, deopt };
            println!("{}: {configuration}", program.name);
            let began = Instant::now();
            let ran = program.run(configuration, Length::Short);
            let ran = ran.unwrap_or_else(|error| panic!("{}, {configuration}: {error}", program.name));
            println!("{}: {ran}, in {:.1?}", program.name, began.elapsed());
            assert!(ran.exits > 0, "{}, {configuration}: nothing was left", program.name);
        }
    }
}

#[test]
fn exits_of_baseline() {
    check_exits(Exited::Baseline, &QUICK);
}

/// The long inputs, with one way to leave each.
#[test]
fn long_runs_with_exits() {
    if !Length::is_full() {
        println!("skipped: TIERUP_MATRIX=full runs the long inputs");
        return;
    }
    for (nth, program) in program::all().into_iter().enumerate() {
        let deopt = ways_to_leave()[(nth + 3) % 5];
        let configuration = Configuration::Exits { of: Exited::Baseline, osr: Osr::Always, deopt };
        println!("{}, long: {configuration}", program.name);
        let outcome = program.run(configuration, Length::Long);
        assert!(outcome.is_ok(), "{}, long, {configuration}: {}", program.name, outcome.unwrap_err());
    }
}

/// Two instances of one module, in two stores, on two threads, at once: they share code while it tiers.
#[test]
fn two_instances_on_two_threads() {
    on_two_threads(program::all().into_iter(), |_| Configuration::Background);
}

/// The same, while they leave their code again and again.
#[test]
fn exits_on_two_threads() {
    on_two_threads(wanted(&QUICK), |nth| {
        let deopt = ways_to_leave()[(nth + 2) % 5];
        Configuration::Exits { of: Exited::Baseline, osr: Osr::Always, deopt }
    });
}

/// The same, while functions get other bodies.
#[test]
fn exits_and_reloads_of_baseline() {
    check_reloads(Exited::Baseline, &["ray"]);
}

/// Editions that are taken in turns.
const EDITIONS: u32 = 4;

/// Two instances on two threads that leave their code, entered again at each loop, while this thread reloads every function again and again,
/// at growing intervals, so that sooner or later code of every tier is made in between. One way to leave for each program, or all.
fn check_reloads(of: Exited, quick: &[&str]) {
    let ways = ways_to_leave();
    for (nth, program) in wanted(quick).enumerate() {
        let editions: Vec<_> = (0..EDITIONS).map(|number| edition::edition(&program.wasm().unwrap(), number)).collect();
        // What leaves seldom is over soonest.
        for &deopt in if Length::is_full() { &ways[..] } else { &ways[(nth + 1) % ways.len()..][..1] }.iter().rev() {
            let configuration = Configuration::Exits { of, osr: Osr::Always, deopt };
            let loaded = program.load(configuration).unwrap();
            let (mut reloads, mut functions, mut pause) = (0, 0, Duration::from_millis(2));
            thread::scope(|scope| {
                let runs = [(); 2].map(|()| scope.spawn(|| program.run_loaded(&loaded, Length::Short)));
                while reloads == 0 || !runs.iter().all(|run| run.is_finished()) {
                    let edition = &editions[(reloads + 1) % editions.len()];
                    functions += loaded.reload_from(edition).expect("an edition of the module").functions.len();
                    reloads += 1;
                    thread::sleep(pause);
                    pause = pause * 6 / 5;
                }
                for run in runs {
                    let ran = run.join().unwrap();
                    let ran = ran.unwrap_or_else(|error| panic!("{}, {configuration}, reloaded: {error}", program.name));
                    println!("{}: {ran}", program.name);
                }
            });
            println!("{}: {configuration}, {reloads} reloads of {functions} functions", program.name);
            assert!(functions > 0);
        }
    }
}

fn on_two_threads(programs: impl Iterator<Item = program::Program>, configuration: impl Fn(usize) -> Configuration) {
    for (nth, program) in programs.enumerate() {
        let loaded = program.load(configuration(nth)).unwrap();
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

    /// Checks if there is a helper: some quick programs, or all of them where the full matrix is asked for.
    fn check_if_possible(configuration: Configuration) {
        match tierup_interp::Llvm::default().version() {
            Ok(_) if Length::is_full() => check(configuration),
            Ok(_) => check_those(configuration, |name| QUICK[..2].contains(&name)),
            Err(error) => println!("skipped: {configuration}, {error}"),
        }
    }

    /// [`check_exits`], likewise. With exits everywhere LLVM is given several times as much.
    fn check_exits_if_possible(of: Exited) {
        match tierup_interp::Llvm::default().version() {
            Ok(_) => check_exits(of, &["ray"]),
            Err(error) => println!("skipped: exits of {of:?}, {error}"),
        }
    }

    #[test]
    fn exits_of_opt() {
        check_exits_if_possible(Exited::Opt);
    }

    #[test]
    fn exits_of_three_tiers() {
        check_exits_if_possible(Exited::ThreeTiers(Mode::Sync));
    }

    #[test]
    fn exits_of_three_tiers_in_the_background() {
        check_exits_if_possible(Exited::ThreeTiers(Mode::Background));
    }

    #[test]
    fn exits_and_reloads_of_three_tiers() {
        match tierup_interp::Llvm::default().version() {
            Ok(_) => check_reloads(Exited::ThreeTiers(Mode::Background), &["ray"]),
            Err(error) => println!("skipped: exits and reloads, {error}"),
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
