//! Cranelift's own conformance files, through LLVM, through Cranelift, and with every call crossing from one to the other.
//!
//! Each file runs in a child process (this binary again): if LLVM aborts, one file fails and has a name.

mod child;
mod file;
mod report;
#[path = "../tiers/mod.rs"]
mod tiers;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

use report::Report;

/// Tells a child which file is its.
const FILE: &str = "TIERUP_CLIF_FILE";
/// Tells a child to die, to see that it is noticed.
const ABORT: &str = "TIERUP_CLIF_ABORT";
/// Stack of the thread that runs the code: one file has a frame of a megabyte.
const STACK: usize = 64 << 20;

/// Not a test of its own: what a child runs.
#[test]
fn child_process() {
    let Some(path) = env::var_os(FILE) else { return };
    let text = fs::read_to_string(path).unwrap();
    let run = move || match child::run(&text) {
        Ok(report) => report.print(),
        Err(message) => Report { failures: vec![message], ..Report::default() }.print(),
    };
    thread::Builder::new().stack_size(STACK).spawn(run).unwrap().join().unwrap();
    if env::var_os(ABORT).is_some() {
        std::process::abort();
    }
}

/// Runs a file in a child. A child that dies is a failure.
fn in_child(path: &Path, abort: bool) -> Report {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child_process", "--nocapture"]).env(FILE, path);
    if abort {
        command.env(ABORT, "1");
    }
    let output = command.output().unwrap();
    let report = Report::read(&String::from_utf8_lossy(&output.stdout));
    match report {
        Some(report) if output.status.success() => report,
        _ => {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = stderr.lines().rev().take(3).collect::<Vec<_>>().join(" | ");
            Report { failures: vec![format!("the process died, {}: {last}", output.status)], ..Report::default() }
        }
    }
}

/// The folder of conformance files, or nothing to test.
fn folder() -> Option<PathBuf> {
    let Some(data) = env::var_os("TIERUP_TESTDATA") else {
        println!("skipped: TIERUP_TESTDATA not set");
        return None;
    };
    Some(Path::new(&data).join("clif-runtests"))
}

#[test]
fn every_command_is_right_or_its_file_refused() {
    let Some(folder) = folder() else { return };
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "clif"));
    files.sort();
    let reports = reports(&files);
    let (mut total, mut refused, mut failures, mut complete) = (Report::default(), 0, Vec::new(), 0);
    for (path, report) in files.iter().zip(reports) {
        let name = path.file_stem().unwrap().to_string_lossy();
        refused += usize::from(!report.refusals.is_empty());
        complete += usize::from(report.refusals.is_empty() && report.failures.is_empty());
        for refusal in &report.refusals {
            println!("refused  {name}: {refusal}");
        }
        for refusal in &report.boundary {
            println!("not across tiers  {name}: {refusal}");
        }
        println!("quick  {name}: {} of {} commands", report.quick, report.commands);
        failures.extend(report.failures.iter().map(|failure| format!("{name}: {failure}")));
        total.add(report);
    }
    println!("{} files, {complete} complete, {refused} refused; {} run commands", files.len(), total.commands);
    println!("right: Cranelift {}, LLVM O2 {}, LLVM cheap {}", total.cranelift, total.llvm, total.llvm_cheap);
    println!("right: quick {}, declined {}", total.quick, total.not_quick);
    println!("right across tiers: Cranelift → LLVM {}, LLVM → Cranelift {}", total.into_llvm, total.into_cranelift);
    println!("not across tiers: {} `tail`, {} refused at the boundary", total.tail, total.not_across);
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(!files.is_empty() && refused * 100 <= files.len() * 3, "{refused} of {} files refused", files.len());
    assert!(total.llvm == total.llvm_cheap && total.into_llvm == total.into_cranelift);
    // Every command is accounted for.
    assert_eq!(total.cranelift, total.commands);
    assert_eq!(total.quick + total.not_quick, total.commands);
    let is_quick_here = is_x86_feature_detected!("bmi2");
    assert!(
        total.quick * 4 >= total.commands || !is_quick_here,
        "the quick compiler declines {} of {}",
        total.not_quick,
        total.commands
    );
    assert_eq!(total.into_llvm + total.tail + total.not_across, total.commands);
}

/// Two files at a time, in order.
fn reports(files: &[PathBuf]) -> Vec<Report> {
    let next = Mutex::new(files.iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    // A statement of its own: the lock is not held while the child runs.
                    let file = next.lock().unwrap().next();
                    let Some((at, path)) = file else { return };
                    let report = in_child(path, false);
                    done.lock().unwrap().push((at, report));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, report)| report).collect()
}

const ADD: &str = "test run\ntarget x86_64\n\nfunction %add(i32, i32) -> i32 {\nblock0(v0: i32, v1: i32):\n    v2 = iadd v0, v1\n    return v2\n}\n; run: %add(1, 2) == 3\n";

fn scratch(name: &str, text: &str) -> PathBuf {
    let path = env::temp_dir().join(format!("tierup-{}-{name}.clif", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_wrong_expectation_fails() {
    let right = scratch("right", ADD);
    assert_eq!(in_child(&right, false).failures, Vec::<String>::new());
    let wrong = scratch("wrong", &ADD.replace("== 3", "== 4"));
    let report = in_child(&wrong, false);
    // Cranelift, the quick compiler, two pipelines, two directions.
    assert_eq!(report.failures.len(), 6, "{report:?}");
    assert!(report.failures.iter().all(|failure| failure.contains("%add(1, 2) == 4, actual: 3")), "{report:?}");
    assert_eq!((report.llvm, report.commands), (0, 1));
    let _ = (fs::remove_file(right), fs::remove_file(wrong));
}

#[test]
fn a_child_that_dies_is_a_failure() {
    let path = scratch("dies", ADD);
    let report = in_child(&path, true);
    assert!(report.failures[0].contains("the process died"), "{report:?}");
    let _ = fs::remove_file(path);
}

#[test]
fn what_is_refused_is_refused_by_name() {
    let text = ADD.replace("v2 = iadd v0, v1", "v3 = splat.i32x4 v0\n    v2 = extractlane v3, 0");
    let path = scratch("refused", &text);
    let report = in_child(&path, false);
    assert!(report.refusals.iter().any(|refusal| refusal.contains("%add") && refusal.contains("splat")), "{report:?}");
    assert_eq!(report.llvm, 0);
    let _ = fs::remove_file(path);
}
