//! What leaving compiled code costs, on the language of `examples/dynamic`.
//!
//! `cargo bench --bench deopt` prints
//! - what a call costs that leaves its code at once, with eight live slots, beside one that is interpreted and one that is not left;
//! - a storm: types change every 1,000 calls. Second by second the calls made with speculation and without, in turns, and how much
//!   was compiled until then.
//!
//! `-- --seconds N` has the storm last for N seconds with and as many without (default: 6).

#[path = "../examples/dynamic/lang/mod.rs"]
#[allow(dead_code, reason = "shared with the example")]
mod lang;

use std::time::{Duration, Instant};

use lang::value::{Value, int, literal};
use lang::{Compiler, Config, Leave, Vm, parse};
use tierup::{Mode, Tiered};

/// `leaves` has eight live slots where it is left. In `step` and `same` types change.
const PROGRAM: &str = r#"
    fn leaves(a, b, c, d) {
        let e = a; let f = b; let g = c; let h = d;
        if a < b { return g; }
        return e + f + h;
    }

    fn step(x, y, n) {
        let s = x;
        let i = 0;
        while i < n {
            if s < y { s = s + x * 2; } else { s = s - y; }
            i = i + 1;
        }
        return s;
    }

    fn same(a, b) {
        if a == b { return a; }
        return b;
    }
"#;

fn vm(config: Config) -> Vm {
    Vm::new(parse(PROGRAM).expect("the bench's own program"), config).expect("this target has a backend")
}

/// Nanoseconds of a call of `leaves`, the best of some rounds.
fn time_of_a_call(mut vm: Vm) -> f64 {
    const CALLS: u32 = 100_000;
    let arguments = [1, 2, 3, 4].map(int);
    let round = |vm: &mut Vm| {
        let started = Instant::now();
        for _ in 0..CALLS {
            vm.run("leaves", &arguments).expect("no error");
        }
        started.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    (0..10).map(|_| round(&mut vm)).fold(f64::INFINITY, f64::min)
}

/// Calls per phase.
const PHASE: u64 = 1000;

/// One program in the storm.
struct Storm {
    vm: Vm,
    phases: Vec<[Value; 2]>,
    calls: u64,
}

impl Storm {
    fn new(cautious: bool) -> Self {
        // Compiled in the midst of the first phase.
        let vm = vm(Config { cautious, policy: Tiered::new(20, 0), ..Config::default() });
        let text = [vm.heap.string("one".into()), vm.heap.string("other".into())];
        let phases =
            vec![[int(3), int(50)], [literal(0.5), literal(8.25)], [int(1 << 30), int(i32::MAX)], text, [int(7), literal(0.5)]];
        Storm { vm, phases, calls: 0 }
    }

    /// Calls made in `time`.
    fn run_for(&mut self, time: Duration) -> u64 {
        let (before, started) = (self.calls, Instant::now());
        while started.elapsed() < time {
            for _ in 0..100 {
                let [x, y] = self.phases[(self.calls / PHASE) as usize % self.phases.len()];
                let is_text = x == self.phases[3][0];
                let result = if is_text { self.vm.run("same", &[x, y]) } else { self.vm.run("step", &[x, y, int(100)]) };
                result.expect("no error");
                self.vm.run("same", &[x, x]).expect("no error");
                self.calls += 1;
            }
        }
        self.calls - before
    }

    fn units(&self) -> u64 {
        self.vm.broker.stats().tiers[0].installed
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let seconds =
        arguments.iter().position(|argument| argument == "--seconds").and_then(|at| arguments.get(at + 1)?.parse().ok());

    let sync = || Config { mode: Mode::Sync, policy: Tiered::new(20, 0), ..Config::default() };
    let stays = time_of_a_call(vm(sync()));
    let leaves = time_of_a_call(vm(Config { leave: Leave::Every(1), ..sync() }));
    let interpreted = time_of_a_call(vm(Config { compiler: Compiler::None, ..sync() }));
    println!(
        "a call in native code {stays:.0} ns, interpreted {interpreted:.0} ns, left at once with 8 slots and finished by the interpreter {leaves:.0} ns"
    );

    let (mut speculating, mut cautious) = (Storm::new(false), Storm::new(true));
    for second in 1..=seconds.unwrap_or(6) {
        let with = speculating.run_for(Duration::from_secs(1));
        let without = cautious.run_for(Duration::from_secs(1));
        println!(
            "second {second}: {with:8} calls with speculation, {without:8} without: {:.2}; {} phases, {} exits, {} units compiled",
            with as f64 / without as f64,
            speculating.calls / PHASE,
            speculating.vm.exits(),
            speculating.units(),
        );
    }
}
