//! What the ABI's crossings cost: `crossings KIND COUNT` makes that many of one kind and prints nanoseconds per crossing.
//!
//! Without arguments every kind runs a million times. `quick-KIND` is the same in the quick compiler's code. Instructions are the difference of two counts under callgrind:
//! `valgrind --tool=callgrind crossings cell 1000000` and `… 2000000`.

use std::{
    env,
    ffi::c_void,
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use cranelift_codegen::{
    ir::{AbiParam, BlockArg, InstBuilder, Signature, Value, condcodes::IntCC, types::I64},
    isa::CallConv,
};
use tierup_backends::{
    CodeMap, CraneliftBackend, LowerCx, OptLevel, Site,
    abi::{Regs, Resume, ThreadCells, WIDE_SLOTS, bridge_stub, enter},
    clif::{self, Traps},
    deopt::{ExitReason, FrameState},
};
use tierup_broker::{Bailout, CodeCell, Face, GuardId, Tier};

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

/// Slots of the frame that enters a loop.
const SLOTS: u32 = 16;

/// A loop that carries 16 values, entered from a frame.
const CARRIES: &str = "carries";

/// A body that leaves at once with eight slots. A driver finds the exit, rebuilds the frame and returns its first slot.
const EXITS: &str = "exits";
const EXIT_SLOTS: u32 = 8;

/// Where the driver finds exits, and what it rebuilds.
struct Driver {
    map: *const CodeMap,
    frame: [u64; EXIT_SLOTS as usize],
}

unsafe extern "C" fn finish(vmctx: *mut c_void, _: u64, buffer: *mut u64, resume: u64) -> u32 {
    // SAFETY: the stub's: the vmctx begins with the cells, whose host is the driver.
    let (driver, pc) = unsafe {
        let cells = *vmctx.cast::<*mut ThreadCells>();
        (&mut *(*cells).host.cast::<Driver>(), (*cells).exit_pc)
    };
    // SAFETY: the map outlives the bench's calls.
    let exits = unsafe { &*driver.map }.exits(pc).expect("it has exits");
    let Resume::Exit(number) = Resume::decode(resume) else { return 1 };
    let Some(exit) = exits.exit(number) else { return 1 };
    exit.take();
    // SAFETY: the wide buffer, with so many words.
    let words = unsafe { std::slice::from_raw_parts(buffer, exit.words()) };
    for frame in exit.rebuild(words) {
        for (slot, word) in frame.slots() {
            driver.frame[slot as usize] = word;
        }
    }
    // SAFETY: as above.
    unsafe { *buffer = black_box(&driver.frame)[0] };
    0
}

fn exits(cx: &mut LowerCx<'_, String>) {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params = vec![AbiParam::new(I64); 3];
    signature.returns = vec![AbiParam::new(I64)];
    let mut b = cx.start(signature);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let mut traps = Traps::new();
    let abi = clif::leaf_prologue(&mut b, &mut traps);
    let x = b.block_params(entry)[2];
    let never = b.ins().icmp_imm_s(IntCC::Equal, x, -1);
    let values = (0..EXIT_SLOTS).map(|slot| (slot, b.ins().iadd_imm_s(x, i64::from(slot)))).collect::<Vec<_>>();
    let state = FrameState::of(1, 2).slots(values);
    cx.guard(&mut b, &abi, never, &state, GuardId(1), ExitReason::Overflow).expect("few slots");
    b.ins().return_(&[x]);
    traps.finish(&mut b);
    b.finish();
}

fn parse(cx: &mut LowerCx<'_, String>) -> Result<(), Bailout> {
    if cx.guest() == CARRIES {
        carries(cx);
        return Ok(());
    }
    if cx.guest() == EXITS {
        exits(cx);
        return Ok(());
    }
    cx.provide(cranelift_reader::parse_functions(cx.guest()).expect("the bench's own text").remove(0));
    Ok(())
}

fn carries(cx: &mut LowerCx<'_, String>) {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params = vec![AbiParam::new(I64); 3];
    signature.returns = vec![AbiParam::new(I64)];
    let mut b = cx.start(signature);
    let [entry, header, end] = [(); 3].map(|()| b.create_block());
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let start = vec![BlockArg::Value(b.block_params(entry)[2]); SLOTS as usize];
    b.ins().jump(header, &start);
    b.switch_to_block(header);
    let carried: Vec<Value> = (0..SLOTS).map(|_| b.append_block_param(header, I64)).collect();
    let one = b.ins().iconst(I64, 1);
    let left = b.ins().isub(carried[0], one);
    let sums = carried.windows(2).map(|pair| b.ins().iadd(pair[0], pair[1])).collect::<Vec<_>>();
    let next: Vec<BlockArg> = [left].iter().chain(&sums).copied().map(BlockArg::Value).collect();
    b.ins().brif(left, header, &next, end, &[]);
    b.switch_to_block(end);
    let sum = sums.into_iter().reduce(|one, other| b.ins().iadd(one, other)).expect("there are some");
    b.ins().return_(&[sum]);
    b.seal_all_blocks();
    cx.loop_site(Site { id: 0, header, live: (0..).zip(carried).collect(), computed: Vec::new() });
    b.finish();
}

fn run(kind: &str, count: u64) -> Option<Duration> {
    let (level, kind) = kind.strip_prefix("quick-").map_or((OptLevel::Speed, kind), |kind| (OptLevel::Quick, kind));
    let backend = CraneliftBackend::builder().opt_level(level).build(parse).expect("this target has a backend");
    let compile = |text: String| backend.compile_direct(&text, Tier::new(1)).expect("the bench's own text compiles");
    let leaf = compile(LEAF.to_owned());
    let turns = |call: &str| compile(LOOP.replace("CALL", call));
    let (code, target) = match kind {
        "osr" => {
            let variant = backend.compile_variant(&CARRIES.to_owned(), Tier::new(1), 0);
            (variant.expect("the bench's own loop compiles"), leaf.entry())
        }
        "exit" => (compile(EXITS.to_owned()), leaf.entry()),
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
    cells.finish = finish;
    let mut driver = Driver { map: backend.code_memory().map(), frame: [0; EXIT_SLOTS as usize] };
    cells.host = (&raw mut driver).cast();
    let face = Face::new(target);
    let cell = CodeCell::new((&raw const face).cast_mut());
    let vmctx = Vmctx { cells: &mut cells, cell: &cell, leaf: leaf.entry() };
    let mut regs = Regs::default();
    regs.gpr[0] = (&raw const vmctx) as u64;
    regs.gpr[2] = count;
    let start = Instant::now();
    let entries = if matches!(kind, "enter" | "exit" | "osr") { count } else { 1 };
    let mut frame = [1u64; SLOTS as usize];
    for _ in 0..entries {
        if kind == "osr" {
            // One turn is left; the result of the last entry is in slot 0.
            frame[0] = 1;
            regs.gpr[2] = (&raw mut frame) as u64;
        }
        // SAFETY: the code has that signature, checks no stack and traps nowhere.
        unsafe { enter(vmctx.cells, black_box(code.entry()), &mut regs) }.expect("nothing traps");
    }
    Some(start.elapsed())
}

fn main() -> ExitCode {
    let mut args = env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let kinds = args
        .next()
        .map_or_else(|| ["loop", "direct", "cell", "bridge", "enter", "osr", "exit"].map(String::from).to_vec(), |k| vec![k]);
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
