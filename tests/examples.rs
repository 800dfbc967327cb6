//! The examples run, and show what they are there to show.

use std::path::PathBuf;
use std::process::Command;

/// Where cargo puts what it builds.
fn built(path: &str) -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(path)
}

/// What an example prints. Cargo has built it: examples are part of `cargo test`.
fn output_of(example: &str, arguments: &[&str]) -> String {
    let output = Command::new(built("examples").join(example)).args(arguments).output().expect("the example was built");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{example}: {:?}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn tiny_computes_in_whichever_tier_and_overflows_in_order() {
    let text = output_of("tiny", &[]);
    for line in ["fib(20) = 6765 ", "fib(32) = 2178309 ", "fib(i64::MAX): trap 1"] {
        assert!(text.contains(line), "{line:?} in:\n{text}");
    }
}

#[test]
fn osr_moves_one_call_into_native_code() {
    let text = output_of("osr", &[]);
    let first = text.lines().next().unwrap_or_default();
    assert!(text.lines().all(|line| line.starts_with("131434424 steps")), "{text}");
    let turns: u64 = first.split_once(": ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).unwrap_or_default();
    assert!(turns > 0 && turns < 131_434_424, "one call, in both: {text}");
    assert!(first.ends_with("in loops [0]") || first.ends_with("in loops [1]"), "{text}");
}

#[test]
fn dynamic_leaves_where_types_change_and_is_compiled_again() {
    let text = output_of("dynamic", &[]);
    // In this order: what it assumes, where it leaves and why, and what it assumes then.
    let mut rest = &*text;
    for line in [
        "sum: compiled, assuming 3: int < int, 5: int + int, 8: int + int",
        "sum from loop 0: installed, interpreter -> tier 1",
        "sum: exit at 5, 0 + 0.5: another type, the right operand is int",
        "sum: compiled, assuming 3: int < int, 5: number + number, 8: int + int",
        "given up because of \"the left operand is int\": recompile without the guard: the guard fails too often",
        "sum: exit at 5, 2147483647 + 2147483647: overflow, the result fits",
        "sum: compiled, assuming 3: int < int, 8: int + int",
        "fib = 6765",
        "every result is the interpreter's",
    ] {
        let Some((_, after)) = rest.split_once(line) else { panic!("{line:?} in:\n{rest}") };
        rest = after;
    }
    for leave in ["every:1", "random:3"] {
        let text = output_of("dynamic", &[leave]);
        assert!(text.ends_with("every result is the interpreter's\n"), "{text}");
    }
}

#[test]
#[cfg(feature = "llvm")]
fn two_tiers_reaches_both_with_one_result() {
    if !built("tierup-llvm").exists() {
        println!("skipped: tierup-llvm was not built");
        return;
    }
    let text = output_of("two_tiers", &[]);
    for tier in ["tier 1", "tier 2"] {
        assert!(text.contains(&format!("{tier} says 333833500")), "{tier} in:\n{text}");
    }
    assert_eq!(text.lines().count(), text.matches("says 333833500").count(), "{text}");
}
