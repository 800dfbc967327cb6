//! Polls in the code that LLVM makes of guests: bodies, and loops that are entered while they run.

#[path = "../../../interp/tests/polls/endless.rs"]
mod endless;

use std::time::Duration;

use endless::{ENDLESS, LOOPS, answers, is_tiered_down};
use tierup_interp::{Config, Llvm, Osr, TierMode};

fn config(tier: TierMode) -> Config {
    Config {
        tier,
        llvm: Some(Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() }),
        interruptible: true,
        ..Config::default()
    }
}

#[test]
fn bodies_answer() {
    for function in ENDLESS {
        answers(config(TierMode::Opt), function, Duration::from_millis(20));
    }
}

#[test]
fn loops_that_are_entered_answer() {
    for function in ENDLESS {
        answers(config(TierMode::Auto), function, Duration::from_millis(300));
    }
    for function in ENDLESS {
        answers(Config { osr: Osr::Always, ..config(TierMode::Opt) }, function, Duration::from_millis(20));
    }
}

#[test]
fn running_guests_are_tiered_down() {
    for function in LOOPS {
        is_tiered_down(Config { leaves_at_polls: true, osr: Osr::Off, ..config(TierMode::Opt) }, function);
    }
}
