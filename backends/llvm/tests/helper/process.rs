//! The executable by itself: as a filter, and as a child whose parent goes.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tierup_backends::{
    CodeMemory,
    llvm::protocol::{Answer, Hello, VERSION, read_frame, write_frame},
    object::load,
};

use super::{HELPER, call};

const UNIT: &str = "function %entry(i64, i64, i64) -> i64 system_v {
    fn0 = %callee(i64) -> i64 system_v
block0(v0: i64, v1: i64, v2: i64):
    v3 = call fn0(v2)
    v4 = call fn0(v3)
    return v4
}

function %callee(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 3
    v2 = imul v0, v1
    return v2
}
";

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(HELPER);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs the filter: whether it succeeded, its output, its complaints.
fn filter(arguments: &[&str], text: &str) -> (bool, Vec<u8>, String) {
    let mut child = start(arguments);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn text_becomes_an_object() {
    let (ok, object, complaints) = filter(&[], UNIT);
    assert!(ok, "{complaints}");
    let loaded = load(&object, &CodeMemory::reserve(1 << 20).unwrap(), &|_| None).unwrap();
    assert_eq!(call(loaded.function("entry").unwrap().start as *const u8, 5), 45);
}

#[test]
fn text_becomes_llvm_ir() {
    let (_, ir, _) = filter(&["--emit", "ir"], UNIT);
    let ir = String::from_utf8(ir).unwrap();
    assert!(ir.contains("mul i64") && !ir.contains("call i64"), "the callee is inlined: {ir}");
    let (_, ir, _) = filter(&["--emit", "unoptimized-ir"], UNIT);
    assert!(String::from_utf8(ir).unwrap().contains("call i64"));
}

#[test]
fn text_that_is_no_unit_is_refused() {
    for (text, complaint) in [
        ("", "no function"),
        ("function what", "not CLIF"),
        ("function %f() -> i64 system_v {\nblock0:\n    v0 = iconst.i32 1\n    return v0\n}", "verifier"),
    ] {
        let (ok, output, complaints) = filter(&[], text);
        assert!(!ok && output.is_empty() && complaints.contains(complaint), "{text:?}: {complaints}");
    }
}

#[test]
fn a_conversation_by_hand() {
    let mut child = start(&["--serve"]);
    let (mut requests, mut answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let hello = Hello::decode(&read_frame(&mut answers).unwrap().unwrap()).unwrap();
    assert_eq!(hello.version, VERSION);
    assert!(hello.compiler.starts_with("LLVM 19."), "{}", hello.compiler);
    // Both at once: the helper answers in order.
    write_frame(&mut requests, b"function what").unwrap();
    write_frame(&mut requests, UNIT.as_bytes()).unwrap();
    let mut answer = || Answer::decode(&read_frame(&mut answers).unwrap().unwrap()).unwrap();
    assert!(matches!(answer(), Answer::Failed(why) if why.contains("not CLIF")));
    assert!(matches!(answer(), Answer::Object { entry, .. } if entry == "entry"));
    drop(requests);
    assert!(ends(&mut child));
}

/// Whoever started a helper may die at any time; the system closes the pipe.
#[test]
fn the_end_of_input_ends_it_also_in_a_compile() {
    let marker = std::env::temp_dir().join(format!("tierup-orphan-{}", std::process::id()));
    let _ = fs::remove_file(&marker);
    let mut child = start(&["--serve", "--fault", "hang", "--fault-once", marker.to_str().unwrap()]);
    let mut requests = child.stdin.take().unwrap();
    write_frame(&mut requests, UNIT.as_bytes()).unwrap();
    while !marker.exists() {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(child.try_wait().unwrap().is_none(), "it hangs");
    drop(requests);
    assert!(ends(&mut child));
    fs::remove_file(marker).unwrap();
}

/// LLVM is not asked to stop: the process goes from under it, whatever else was asked.
#[test]
fn the_end_of_input_ends_it_while_llvm_computes() {
    let mut child = start(&["--serve", "--pipeline", "o2"]);
    let (mut requests, mut answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    read_frame(&mut answers).unwrap().unwrap();
    write_frame(&mut requests, takes_long(8000).as_bytes()).unwrap();
    write_frame(&mut requests, UNIT.as_bytes()).unwrap();
    requests.write_all(&[0xff]).unwrap();
    // A hundred times what it takes to be ready, a twentieth of the compile.
    while processor_time(child.id()) < Duration::from_secs(1) {
        assert!(child.try_wait().unwrap().is_none(), "it compiles");
        thread::sleep(Duration::from_millis(5));
    }
    let closed = Instant::now();
    drop(requests);
    assert!(ends(&mut child));
    assert!(closed.elapsed() < Duration::from_secs(2), "{:?}", closed.elapsed());
    let mut answer = Vec::new();
    answers.read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty(), "it was not over");
}

/// A function of so many blocks, each with a way back to the first: some seconds of LLVM's `O2`.
fn takes_long(blocks: usize) -> String {
    let mut clif =
        "function %long(i64, i64, i64) -> i64 system_v {\nblock0(v0: i64, v1: i64, v2: i64):\n    jump block1(v2)\n".to_owned();
    for block in 1..=blocks {
        let v = |offset: usize| format!("v{}", 3 + 6 * (block - 1) + offset);
        writeln!(clif, "block{block}({}: i64):\n    {} = iconst.i64 {}", v(0), v(1), 7 * block - 4).unwrap();
        writeln!(clif, "    {} = imul {}, {}\n    {} = load.i64 {}", v(2), v(0), v(1), v(3), v(2)).unwrap();
        writeln!(clif, "    {} = bxor {}, v2\n    {} = icmp ult {}, v1", v(4), v(3), v(5), v(4)).unwrap();
        writeln!(clif, "    brif {}, block1({}), block{}({})", v(5), v(4), block + 1, v(4)).unwrap();
    }
    let last = 3 + 6 * blocks;
    writeln!(clif, "block{}(v{last}: i64):\n    return v{last}\n}}", blocks + 1).unwrap();
    clif
}

/// What a process has computed so far: `utime` of proc(5), in hundredths of a second.
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_whitespace().nth(11).unwrap().parse().unwrap();
    Duration::from_millis(10 * ticks)
}

fn ends(child: &mut Child) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}
