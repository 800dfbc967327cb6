//! The command as its users meet it: exit codes, messages, results.

use std::path::PathBuf;
use std::process::{Command, Output};

/// `(func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)`,
/// `(func (export "trap") unreachable)`, `(func (export "half") (param f64) (result f64) local.get 0 f64.const 0.5 f64.mul)`.
const LIBRARY: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x0f\x03\x60\x02\x7f\x7f\x01\x7f\x60\0\0\x60\x01\x7c\x01\x7c\
    \x03\x04\x03\x00\x01\x02\
    \x07\x15\x03\x03add\0\0\x04trap\0\x01\x04half\0\x02\
    \x0a\x1c\x03\x07\0\x20\0\x20\x01\x6a\x0b\x03\0\0\x0b\x0e\0\x20\0\x44\0\0\0\0\0\0\xe0\x3f\xa2\x0b";

/// `_start` calls `proc_exit` with 7.
const EXIT_7: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x08\x02\x60\x01\x7f\0\x60\0\0\
    \x02\x24\x01\x16wasi_snapshot_preview1\x09proc_exit\0\0\
    \x03\x02\x01\x01\
    \x07\x0a\x01\x06_start\0\x01\
    \x0a\x08\x01\x06\0\x41\x07\x10\0\x0b";

/// A module in a file that is removed in the end.
struct Module(PathBuf);

impl Module {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("tierup-cli-{}-{name}.wasm", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn tierup(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tierup")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn invoke_prints_results_in_every_tier() {
    let library = Module::new("invoke", LIBRARY);
    for tier in ["interp", "baseline", "auto"] {
        let output = tierup(&["run", "--tier", tier, "--invoke", "add", library.path(), "40", "2"]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "42\n"), "{}", stderr(&output));
        let output = tierup(&["run", "--tier", tier, "--invoke", "half", library.path(), "-3"]);
        assert_eq!(stdout(&output), "-1.5\n");
    }
}

#[test]
fn the_exit_code_is_the_programs() {
    let program = Module::new("exit", EXIT_7);
    for tier in ["interp", "baseline", "auto"] {
        let output = tierup(&["run", "--tier", tier, program.path()]);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(7), ""));
    }
}

#[test]
fn a_trap_is_told_with_where_it_was() {
    let library = Module::new("trap", LIBRARY);
    for tier in ["interp", "baseline"] {
        let output = tierup(&["run", "--tier", tier, "--invoke", "trap", library.path()]);
        assert_eq!(output.status.code(), Some(134));
        let message = stderr(&output);
        assert!(message.contains("unreachable") && message.contains("(function 1) at 0x"), "{message}");
    }
}

#[test]
fn statistics_name_what_tiered() {
    let library = Module::new("stats", LIBRARY);
    let output = tierup(&["run", "--stats", "--tier", "baseline", "--invoke", "add", library.path(), "1", "2"]);
    let report = stderr(&output);
    assert_eq!(stdout(&output), "3\n");
    for expected in ["1 native of 3 functions", "Tiers", "What tiered, when and why", "interpreter → tier 1", "first call"] {
        assert!(report.contains(expected), "no {expected:?} in:\n{report}");
    }
}

#[test]
fn mistakes_are_told_in_a_sentence() {
    let (library, garbage) = (Module::new("mistakes", LIBRARY), Module::new("garbage", b"not wasm"));
    let cases: [(&[&str], i32, &str); 10] = [
        (&["run", "/does/not/exist.wasm"], 1, "cannot read /does/not/exist.wasm"),
        (&["run", garbage.path()], 1, "malformed module"),
        (&["run", library.path()], 1, "no function \"_start\" to call; it exports add, trap, half"),
        (&["run", "--invoke", "sub", library.path()], 1, "no function \"sub\""),
        (&["run", "--invoke", "add", library.path(), "1"], 2, "takes 2 arguments, 1 given"),
        (&["run", "--invoke", "add", library.path(), "1", "x"], 2, "argument 2: \"x\" is no i32"),
        (&["run", "--policy", "eager", library.path()], 2, "threshold=CALLS"),
        (&["run", "--dir", "nowhere", library.path()], 2, "HOST::GUEST"),
        (&["run", "--dir", "/does/not/exist::/", library.path()], 1, "cannot open the directory /does/not/exist"),
        (&["run", "--log", "a=b=c", library.path()], 2, "--log a=b=c"),
    ];
    for (args, code, message) in cases {
        let output = tierup(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{args:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn check_compiles_everything_and_runs_nothing() {
    let library = Module::new("check", LIBRARY);
    let output = tierup(&["check", library.path()]);
    let report = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{report}{}", stderr(&output));
    assert!(report.contains("3 functions, all valid") && report.contains("tier 1: 3 compile, 0 do not"), "{report}");
    // The same with a body that does not validate: `i32.add` becomes `i64.add`.
    let mut bytes = LIBRARY.to_vec();
    let add = bytes.iter().rposition(|&byte| byte == 0x6a).unwrap();
    bytes[add] = 0x7c;
    let wrong = Module::new("wrong", &bytes);
    let output = tierup(&["check", wrong.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("invalid module at 0x"), "{}", stderr(&output));
}
