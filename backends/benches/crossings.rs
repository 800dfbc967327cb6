//! What the ABI's crossings cost: `crossings KIND COUNT` makes that many of one kind and prints nanoseconds per crossing.
//!
//! Without arguments every kind runs a million times. Instructions are the difference of two counts under callgrind:
//! `valgrind --tool=callgrind crossings cell 1000000` and `… 2000000`.

use std::{
    env,
    ffi::c_void,
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use tierup_backends::{
    CraneliftBackend, LowerCx,
    abi::{Regs, ThreadCells, WIDE_SLOTS, bridge_stub, enter},
};
use tierup_broker::{Bailout, CodeCell, Face, Tier};

const LEAF: &str = "
function %leaf(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    return v2
}";

/// vmctx: 0 cells, 8 address of the code cell, 16 address of the leaf. Argument: turns. `CALL` is replaced.
const LOOP: &str = "
function %turns(i64, i64, i64) -> i64 system_v {
    sig0 = (i64, i64, i64) -> i64 system_v
block0(v0: i64, v1: i64, v2: i64):
    v20 = load.i64 notrap aligned v0+8
    v21 = load.i64 notrap aligned v0+16
    v22 = iconst.i64 1
    jump block1(v2)
block1(v3: i64):
    CALL
    v10 = isub v9, v22
    brif v10, block1(v10), block2
block2:
    return v2
}";

const NONE: &str = "v9 = bor v3, v3";
const DIRECT: &str = "v9 = call_indirect sig0, v21(v0, v22, v3)";
const CELL: &str = "
    v6 = atomic_load.i64 notrap aligned v20
    v7 = load.i64 notrap aligned v6
    v9 = call_indirect sig0, v7(v0, v22, v3)";

#[repr(C)]
struct Vmctx {
    cells: *mut ThreadCells,
    cell: *const CodeCell,
    leaf: *const u8,
}

unsafe extern "C" fn identity(_: *mut c_void, _: u64, regs: *mut Regs) -> u32 {
    // SAFETY: the stub's registers.
    let regs = unsafe { &mut *regs };
    regs.ret_gpr = regs.gpr[2];
    0
}

fn parse(cx: &mut LowerCx<'_, String>) -> Result<(), Bailout> {
    cx.provide(cranelift_reader::parse_functions(cx.guest()).expect("the bench's own text").remove(0));
    Ok(())
}

fn run(kind: &str, count: u64) -> Option<Duration> {
    let backend = CraneliftBackend::builder().build(parse).expect("this target has a backend");
    let compile = |text: String| backend.compile_direct(&text, Tier::new(1)).expect("the bench's own text compiles");
    let leaf = compile(LEAF.to_owned());
    let turns = |call: &str| compile(LOOP.replace("CALL", call));
    let (code, target) = match kind {
        "enter" => (compile(LEAF.to_owned()), leaf.entry()),
        "loop" => (turns(NONE), leaf.entry()),
        "direct" => (turns(DIRECT), leaf.entry()),
        "cell" => (turns(CELL), leaf.entry()),
        "bridge" => (turns(CELL), bridge_stub()),
        _ => return None,
    };
    let mut wide = vec![0; WIDE_SLOTS];
    let mut cells = ThreadCells::new(std::ptr::null_mut(), wide.as_mut_ptr());
    cells.bridge = identity;
    let face = Face::new(target);
    let cell = CodeCell::new((&raw const face).cast_mut());
    let vmctx = Vmctx { cells: &mut cells, cell: &cell, leaf: leaf.entry() };
    let mut regs = Regs::default();
    regs.gpr[0] = (&raw const vmctx) as u64;
    regs.gpr[2] = count;
    let start = Instant::now();
    let entries = if kind == "enter" { count } else { 1 };
    for _ in 0..entries {
        // SAFETY: the code has that signature, checks no stack and traps nowhere.
        unsafe { enter(vmctx.cells, black_box(code.entry()), &mut regs) }.expect("nothing traps");
    }
    Some(start.elapsed())
}

fn main() -> ExitCode {
    let mut args = env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let kinds = args.next().map_or_else(|| ["loop", "direct", "cell", "bridge", "enter"].map(String::from).to_vec(), |k| vec![k]);
    let count = args.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000u64).max(1);
    for kind in kinds {
        let Some(time) = run(&kind, count) else {
            eprintln!("unknown crossing `{kind}`");
            return ExitCode::FAILURE;
        };
        println!("{kind:>8} {:8.2} ns", time.as_nanos() as f64 / count as f64);
    }
    ExitCode::SUCCESS
}
