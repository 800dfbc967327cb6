//! Polls, in the interpreter and in Cranelift's code.

mod endless;

use std::time::Duration;

use endless::{ENDLESS, LOOPS, answers, is_tiered_down};
use tierup_interp::{Config, Osr, TierMode};

/// Time for loops to be compiled and entered.
const WARM_UP: Duration = Duration::from_millis(30);

fn all_answer(config: &Config) {
    for function in ENDLESS {
        answers(config.clone(), function, WARM_UP);
    }
}

#[test]
fn interpreted_guests_answer() {
    all_answer(&Config { tier: TierMode::Interp, ..Config::default() });
}

#[test]
fn compiled_guests_answer() {
    all_answer(&Config { tier: TierMode::Baseline, ..Config::default() });
}

#[test]
fn guests_that_are_entered_at_their_loops_answer() {
    all_answer(&Config::default());
    all_answer(&Config { tier: TierMode::Baseline, osr: Osr::Always, ..Config::default() });
}

#[test]
fn running_guests_are_tiered_down() {
    for function in LOOPS {
        is_tiered_down(Config { tier: TierMode::Baseline, osr: Osr::Off, ..Config::default() }, function);
    }
}
