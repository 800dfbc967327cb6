//! Where LLVM should live, in figures: a helper process against LLVM in this process. `backends/LLVM.md` has the results.
//!
//! `cargo bench -p tierup-llvm --bench helper [-- HELPER…]` measures the helper cargo built, or those named.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use tierup_backends::{
    CodeMemory,
    llvm::protocol::{Answer, Hello, read_frame, write_frame},
    object::load,
};
use tierup_llvm::{ObjectCompiler, Options, text};

const ROUNDS: usize = 20;

struct Helper {
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
}

impl Helper {
    /// Starts one and waits until it is ready.
    fn start(program: &str) -> Self {
        let mut command = Command::new(program);
        let mut child =
            command.arg("--serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the helper can be run");
        let (requests, answers) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut helper = Helper { child, requests, answers };
        Hello::decode(&helper.receive()).expect("a helper says hello");
        helper
    }

    fn receive(&mut self) -> Vec<u8> {
        read_frame(&mut self.answers).expect("the pipe holds").expect("the helper goes on")
    }

    /// Round trip, the helper's own share of it, and the object.
    fn compile(&mut self, clif: &str) -> (Duration, Duration, Vec<u8>) {
        let start = Instant::now();
        write_frame(&mut self.requests, clif.as_bytes()).expect("the pipe holds");
        match Answer::decode(&self.receive()) {
            Ok(Answer::Object { micros, bytes, .. }) => (start.elapsed(), Duration::from_micros(micros), bytes),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A figure of a process in MiB, from one of its files.
fn memory(pid: u32, file: &str, keys: &[&str]) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let found = status.lines().filter(|line| keys.iter().any(|key| line.starts_with(key)));
    let kib: f64 = found.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).sum();
    kib / 1024.0
}

/// Smallest and median, in milliseconds.
fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!("{:.2} (median {:.2})", ms(times[0]), ms(times[times.len() / 2]))
}

/// A body of `diamonds` branches in a row, each with arithmetic of its own.
fn unit(diamonds: usize) -> String {
    let mut clif = String::from("function %unit(i64, i64, i64) -> i64 system_v {\nblock0(v0: i64, v1: i64, v2: i64):\n");
    let _ = writeln!(clif, "    jump block1(v2)");
    for i in 0..diamonds {
        let (block, value) = (1 + 3 * i, 10 + 10 * i);
        let (odd, even, next) = (block + 1, block + 2, block + 3);
        let v = |offset: usize| format!("v{}", value + offset);
        let _ = writeln!(clif, "block{block}({}: i64):\n    {} = iconst.i64 {}", v(0), v(1), 3 + 2 * i);
        let _ = writeln!(clif, "    {} = imul {}, {}\n    {} = ushr {}, {}", v(2), v(0), v(1), v(3), v(2), v(1));
        let _ = writeln!(clif, "    brif {}, block{odd}, block{even}", v(3));
        let _ = writeln!(clif, "block{odd}:\n    {} = bxor {}, {}\n    jump block{next}({})", v(4), v(2), v(0), v(4));
        let _ = writeln!(clif, "block{even}:\n    {} = isub {}, {}\n    jump block{next}({})", v(5), v(0), v(1), v(5));
    }
    let _ = writeln!(clif, "block{}(v5: i64):\n    return v5\n}}", 1 + 3 * diamonds);
    clif
}

fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let helpers = if named.is_empty() { vec![env!("CARGO_BIN_EXE_tierup-llvm").to_owned()] } else { named };
    let units = [("1 block", unit(0)), ("31 blocks", unit(10)), ("601 blocks", unit(200))];
    for program in &helpers {
        println!("{program}: {:.1} MB", fs::metadata(program).map_or(0, |file| file.len()) as f64 / 1e6);
        let mut starts = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            drop(Helper::start(program));
            // Ending it is in here too, less than a millisecond.
            starts.push(start.elapsed());
        }
        println!("  spawn to ready, ms: {}", summary(starts));
        let mut helper = Helper::start(program);
        let pid = helper.child.id();
        println!("  resident when ready: {:.1} MiB", memory(pid, "status", &["VmRSS"]));
        println!("  first request, ms: {:.2}", helper.compile(&units[0].1).0.as_secs_f64() * 1e3);
        for (name, clif) in &units {
            let turns: Vec<_> = (0..ROUNDS).map(|_| helper.compile(clif)).collect();
            let trips = turns.iter().map(|turn| turn.0).collect();
            let extra = turns.iter().map(|turn| turn.0.saturating_sub(turn.1)).collect();
            println!(
                "  {name}, {} bytes of text, request to object, ms: {}; of it transport: {}",
                clif.len(),
                summary(trips),
                summary(extra)
            );
        }
        let private = memory(pid, "smaps_rollup", &["Private_Clean", "Private_Dirty"]);
        println!("  resident after that: {:.1} MiB, of it private {private:.1}", memory(pid, "status", &["VmRSS"]));
    }

    println!("in this process");
    let here = std::process::id();
    let (before, start) = (memory(here, "status", &["VmRSS"]), Instant::now());
    let mut compiler = ObjectCompiler::new(Options::default()).expect("LLVM knows the host");
    println!("  object compiler made, ms: {:.2}", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    text::compile(&mut compiler, &units[0].1);
    println!("  first compile, ms: {:.2}", start.elapsed().as_secs_f64() * 1e3);
    let memory_for_code = CodeMemory::reserve(1 << 24).expect("address space");
    for (name, clif) in &units {
        let (mut parsing, mut whole, mut loading) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            text::parse(clif).expect("the bench's own text");
            parsing.push(start.elapsed());
            let start = Instant::now();
            let Answer::Object { bytes, .. } = text::compile(&mut compiler, clif) else { panic!("refused") };
            whole.push(start.elapsed());
            let start = Instant::now();
            load(&bytes, &memory_for_code, &|_| None).expect("the object loads");
            loading.push(start.elapsed());
        }
        println!(
            "  {name}, text to object, ms: {}; of it parsing and verifying: {}; loading the object: {}",
            summary(whole),
            summary(parsing),
            summary(loading)
        );
    }
    println!("  resident: {:.1} MiB, {before:.1} before", memory(here, "status", &["VmRSS"]));
    let _ = std::io::stdout().flush();
}
