//! The hot path, one out-of-line function per row, ours beside the incumbent's.
//!
//! `cargo bench --bench hotpath` runs every row under callgrind and prints instructions per call, `ret` included;
//! without valgrind it says so. `cargo bench --bench hotpath -- --time` prints the best nanoseconds per call instead.
//! `cargo bench --bench hotpath -- --row NAME CALLS` makes the calls of one row and nothing else, for any profiler.

use std::{hint::black_box, process::Command, sync::Arc, time::Instant};

use beadie::Beadie;
use tierup::{
    Bailout, Bead, BeadRef, BeadSpec, Broker, CodeUnit, CompileRequest, Compiler, InterpThread, Mode, NativeCode, OsrEntry,
    Threshold, Tier, Tiered,
};

/// A compiler of one Rust function.
struct OneFunction;

extern "C" fn body() -> u64 {
    1
}

// SAFETY: the entry is a function of this program.
unsafe impl Compiler<u32> for OneFunction {
    fn name(&self) -> &str {
        "one function"
    }

    fn compiles_osr(&self) -> bool {
        true
    }

    fn compile(&self, request: &CompileRequest<'_, u32>) -> Result<CodeUnit, Bailout> {
        Ok(request.unit(body as *const u8, 1, Box::new(())))
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn tierup_on_invoke<'t>(thread: &'t InterpThread<u32>, bead: BeadRef<'_, u32>) -> Option<NativeCode<'t>> {
    thread.on_invoke(bead)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn tierup_on_back_edge(thread: &InterpThread<u32>, bead: BeadRef<'_, u32>) {
    thread.on_back_edge(bead, 0, 5);
}

#[unsafe(no_mangle)]
#[inline(never)]
fn tierup_osr_entry<'t>(thread: &'t InterpThread<u32>, bead: BeadRef<'_, u32>, site: u32) -> Option<OsrEntry<'t>> {
    thread.osr_entry(bead, site)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn tierup_back_edge_spent<'t>(thread: &'t InterpThread<u32>, bead: BeadRef<'_, u32>, site: u32) -> Option<OsrEntry<'t>> {
    thread.back_edge_spent(bead, site, 5)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn tierup_quiescent(thread: &mut InterpThread<u32>) {
    thread.quiescent();
}

#[unsafe(no_mangle)]
#[inline(never)]
fn beadie_on_invoke(beadie: &Beadie, bead: &Arc<beadie::Bead>) -> Option<*mut ()> {
    beadie.on_invoke(bead, |_| body as *mut ())
}

struct Tierup {
    thread: InterpThread<u32>,
    bead: Bead<u32>,
    _broker: Broker<u32>,
}

impl Tierup {
    fn new(tiers: usize, policy: impl tierup::HotnessPolicy + 'static) -> Self {
        let builder = (0..tiers).fold(Broker::builder(), |builder, _| builder.compiler(OneFunction));
        let broker = builder.mode(Mode::Sync).policy(policy).build().expect("the configuration is valid");
        let thread = broker.register_thread().expect("there is memory");
        let bead = broker.register(0, BeadSpec { size: 10 }).expect("there is room");
        Tierup { thread, bead, _broker: broker }
    }

    fn compiled(self) -> Self {
        self._broker.compile_now(self.bead.as_ref(), Tier::new(1)).expect("the compiler works");
        self
    }

    /// The calls of a row, after one that draws the slice.
    fn invoke(&self, calls: u64) {
        for _ in 0..=calls {
            black_box(tierup_on_invoke(&self.thread, self.bead.as_ref()));
        }
    }
}

/// One row: its name, the function to count, and what makes the calls.
struct Row {
    name: &'static str,
    symbol: &'static str,
    calls: fn(u64),
}

const ROWS: &[Row] = &[
    Row {
        name: "tierup/compiled-final",
        symbol: "tierup_on_invoke",
        calls: |calls| Tierup::new(1, Threshold { calls: 0 }).compiled().invoke(calls),
    },
    Row {
        name: "tierup/compiled-pending",
        symbol: "tierup_on_invoke",
        calls: |calls| Tierup::new(2, Tiered::new(0, u32::MAX)).compiled().invoke(calls),
    },
    Row {
        name: "tierup/cold",
        symbol: "tierup_on_invoke",
        calls: |calls| Tierup::new(1, Threshold { calls: u32::MAX }).invoke(calls),
    },
    Row {
        name: "tierup/back-edge",
        symbol: "tierup_on_back_edge",
        calls: |calls| {
            let it = Tierup::new(1, Threshold { calls: u32::MAX });
            (0..=calls).for_each(|_| tierup_on_back_edge(&it.thread, black_box(it.bead.as_ref())));
        },
    },
    Row {
        name: "tierup/osr-lookup-hit",
        symbol: "tierup_osr_entry",
        calls: |calls| {
            let it = Tierup::new(1, Threshold { calls: u32::MAX });
            it._broker.compile_osr_now(it.bead.as_ref(), Tier::new(1), 7).expect("the compiler works");
            (0..=calls).for_each(|_| {
                assert!(tierup_osr_entry(&it.thread, black_box(it.bead.as_ref()), 7).is_some());
            });
        },
    },
    Row {
        name: "tierup/osr-lookup-miss",
        symbol: "tierup_osr_entry",
        calls: |calls| {
            let it = Tierup::new(1, Threshold { calls: u32::MAX });
            (0..=calls).for_each(|_| {
                assert!(tierup_osr_entry(&it.thread, black_box(it.bead.as_ref()), 7).is_none());
            });
        },
    },
    Row {
        name: "tierup/back-edge-enters",
        symbol: "tierup_back_edge_spent",
        calls: |calls| {
            let it = Tierup::new(1, Threshold { calls: u32::MAX });
            it._broker.compile_osr_now(it.bead.as_ref(), Tier::new(1), 7).expect("the compiler works");
            (0..=calls).for_each(|_| {
                assert!(tierup_back_edge_spent(&it.thread, black_box(it.bead.as_ref()), 7).is_some());
            });
        },
    },
    Row {
        name: "tierup/quiescent",
        symbol: "tierup_quiescent",
        calls: |calls| {
            let mut it = Tierup::new(1, Threshold { calls: u32::MAX });
            (0..=calls).for_each(|_| tierup_quiescent(black_box(&mut it.thread)));
        },
    },
    Row {
        name: "beadie/compiled",
        symbol: "beadie_on_invoke",
        calls: |calls| {
            let beadie = Beadie::new();
            let bead = beadie.register(std::ptr::null_mut(), None);
            bead.eager_install(body as *mut ());
            (0..=calls).for_each(|_| {
                black_box(beadie_on_invoke(&beadie, black_box(&bead)));
            });
        },
    },
    Row {
        name: "beadie/cold",
        symbol: "beadie_on_invoke",
        calls: |calls| {
            let beadie = Beadie::with_policy(beadie::ThresholdPolicy::new(u32::MAX));
            let bead = beadie.register(std::ptr::null_mut(), None);
            (0..=calls).for_each(|_| {
                black_box(beadie_on_invoke(&beadie, black_box(&bead)));
            });
        },
    },
];

/// Calls counted per row: two runs of different length are subtracted, so that setting up cancels out.
const CALLS: u64 = 1000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--row", name, calls] => {
            let row = ROWS.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row `{name}`"));
            (row.calls)(calls.parse().expect("a number of calls"));
        }
        ["--time"] => time(),
        [] => count(),
        _ => {
            eprintln!("usage: hotpath [--time | --row NAME CALLS]");
            std::process::exit(2);
        }
    }
}

/// Instructions per call, by callgrind.
fn count() {
    println!("{:<26} instructions per call, ret included", "path");
    for row in ROWS {
        match instructions(row, 2 * CALLS).zip(instructions(row, CALLS)) {
            Some((more, fewer)) => println!("{:<26} {:.2}", row.name, (more - fewer) as f64 / CALLS as f64),
            None => println!("{:<26} not counted: valgrind is not installed, or did not run", row.name),
        }
    }
}

fn instructions(row: &Row, calls: u64) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={}", row.symbol))
        .arg(std::env::current_exe().ok()?)
        .args(["--row", row.name, &calls.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :"))?;
    collected.1.trim().parse().ok()
}

/// Nanoseconds per call, the loop around it included: the best of many repetitions.
fn time() {
    println!("{:<26} best ns per call, loop included", "path");
    for row in ROWS {
        let (short, long) = (100_000, 2_100_000);
        let best = |calls| (0..20).map(|_| seconds(row, calls)).fold(f64::INFINITY, f64::min);
        let per_call = (best(long) - best(short)) / (long - short) as f64;
        println!("{:<26} {:.2}", row.name, per_call * 1e9);
    }
}

fn seconds(row: &Row, calls: u64) -> f64 {
    let start = Instant::now();
    (row.calls)(calls);
    start.elapsed().as_secs_f64()
}
