//! The helper process and the loader together: the ABI's test through both, and everything a helper may do to us.

mod faults;
mod process;
#[path = "../../../tests/spike/mod.rs"]
mod spike;
mod text;

use std::{fs, sync::Barrier, thread};

use cranelift_codegen::ir::Function;
use spike::{SpikeCode, SpikeCompiler};
use tierup_backends::{
    CodeMemory, LlvmBackend, LlvmBackendBuilder, LlvmPipeline, LowerCx,
    abi::{Regs, ThreadCells, WIDE_SLOTS, enter},
    llvm::{Helper, ObjectSource},
};
use tierup_broker::{Bailout, BailoutReason, Tier};
use tierup_llvm::{InProcess, Options};

const TIER: Tier = Tier::new(1);

/// The executable cargo built for this test.
const HELPER: &str = env!("CARGO_BIN_EXE_tierup-llvm");

type Provide = fn(&mut LowerCx<'_, Function>) -> Result<(), Bailout>;

fn provide(cx: &mut LowerCx<'_, Function>) -> Result<(), Bailout> {
    let func = cx.guest().clone();
    cx.provide(func);
    Ok(())
}

fn builder() -> LlvmBackendBuilder {
    LlvmBackend::builder().helper(HELPER)
}

fn build(builder: LlvmBackendBuilder) -> LlvmBackend<Function, Provide> {
    builder.build(provide as Provide).unwrap()
}

impl<S: ObjectSource> SpikeCompiler for LlvmBackend<Function, Provide, S> {
    fn compile(&self, func: &Function) -> SpikeCode {
        let code = self.compile_direct(func, TIER).unwrap();
        SpikeCode { entry: code.entry(), keep: Box::new(code) }
    }
}

mod through_the_helper {
    use super::{build, builder, spike};
    spike::every_case!(build(builder()));
}

mod through_the_helper_cheap {
    use super::{LlvmPipeline, build, builder, spike};
    spike::every_case!(build(builder().pipeline(LlvmPipeline::Cheap)));
}

mod in_process {
    use super::{InProcess, LlvmBackend, Options, Provide, provide, spike};
    spike::every_case!(LlvmBackend::builder().build_with(InProcess::new(Options::default()), provide as Provide).unwrap());
}

/// `argument + constant`, as a body.
fn adds(constant: u64) -> Function {
    parse(&format!(
        "function %adds(i64, i64, i64) -> i64 system_v {{\nblock0(v0: i64, v1: i64, v2: i64):\n    v3 = iconst.i64 {constant}\n    v4 = iadd v2, v3\n    return v4\n}}"
    ))
}

fn parse(text: &str) -> Function {
    cranelift_reader::parse_functions(text).unwrap().remove(0)
}

/// Calls a body of one integer.
fn call(entry: *const u8, argument: u64) -> u64 {
    let mut wide = vec![0; WIDE_SLOTS];
    let mut cells = ThreadCells::new(std::ptr::null_mut(), wide.as_mut_ptr());
    let mut vmctx: *mut ThreadCells = &mut cells;
    let mut regs = Regs::default();
    regs.gpr[0] = (&raw mut vmctx) as u64;
    regs.gpr[2] = argument;
    // SAFETY: compiled from a body of this signature, kept by the caller, and no function here checks the stack.
    unsafe { enter(vmctx, entry, &mut regs) }.unwrap();
    regs.ret_gpr
}

fn reason(backend: &LlvmBackend<Function, Provide, impl ObjectSource>, func: &Function) -> BailoutReason {
    backend.compile_direct(func, TIER).unwrap_err().reason().clone()
}

#[test]
fn libm_and_libc_are_linked() {
    let backend = build(builder().helper_argument("--cpu").helper_argument("x86-64"));
    // Without SSE4.1 and FMA both are calls.
    let func = parse(
        "function %f(i64, i64, i64) -> i64 system_v {\nblock0(v0: i64, v1: i64, v2: i64):\n    v3 = fcvt_from_sint.f64 v2\n    v4 = f64const 0x1.8p0\n    v5 = fma v3, v4, v4\n    v6 = floor v5\n    v7 = fcvt_to_sint_sat.i64 v6\n    return v7\n}",
    );
    let code = backend.compile_direct(&func, TIER).unwrap();
    assert_eq!(call(code.entry(), 10), 16);
}

#[test]
fn two_compiles_at_once_take_two_helpers() {
    let backend = build(builder());
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        for base in [0, 1000] {
            let (backend, barrier) = (&backend, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for i in 0..20 {
                    let code = backend.compile_direct(&adds(base + i), TIER).unwrap();
                    assert_eq!(call(code.entry(), 7), base + i + 7);
                }
            });
        }
    });
    let idle = Helper::idle(backend.source()).len();
    assert_eq!(idle, 2, "and both are kept for the next");
    assert_eq!(backend.code_memory().used_bytes(), 0);
    assert_eq!(backend.totals().units, 40);
}

/// Ten times as many units as are alive come and go: code bytes and mappings stay as they were.
#[test]
fn reloading_leaves_nothing_behind() {
    let memory = CodeMemory::reserve(16 << 20).unwrap();
    let backend = build(builder().pipeline(LlvmPipeline::Cheap).code_memory(memory.clone()));
    let compile = |constant: u64| (constant, backend.compile_direct(&adds(constant), TIER).unwrap());
    let mut live: Vec<_> = (0..20).map(compile).collect();
    let (used, maps) = (memory.used_bytes(), maps());
    for turn in 0..200 {
        live.swap_remove(turn * 7 % live.len());
        live.push(compile(1000 + turn as u64));
    }
    for (constant, code) in &live {
        assert_eq!(call(code.entry(), 1), constant + 1);
    }
    assert_eq!(memory.used_bytes(), used);
    // Other tests of this process map memory too.
    assert!(self::maps() <= maps + maps / 10 + 20, "{} maps, {maps} before", self::maps());
    drop(live);
    assert_eq!(memory.used_bytes(), 0);
}

fn maps() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn code_is_found_in_the_map_until_it_goes() {
    let backend = LlvmBackend::builder()
        .helper(HELPER)
        .build(|cx: &mut LowerCx<'_, Function>| {
            cx.set_tag(99);
            provide(cx)
        })
        .unwrap();
    let code = backend.compile_direct(&adds(1), TIER).unwrap();
    let entry = code.entry() as usize;
    let memory = backend.code_memory();
    assert_eq!(memory.map().find(entry).map(|at| (at.tag, at.code_offset)), Some((99, 0)));
    drop(code);
    assert!(memory.map().find(entry).is_none());
    assert_eq!(memory.used_bytes(), 0);
}

#[test]
fn what_the_translator_does_not_know_is_named() {
    let backend = build(builder());
    let func = parse(
        "function %f(i64, i64, i64) -> i64 system_v {\nblock0(v0: i64, v1: i64, v2: i64):\n    v3 = splat.i64x2 v2\n    v4 = extractlane v3, 0\n    return v4\n}",
    );
    let bailout = backend.compile_direct(&func, TIER).unwrap_err();
    assert!(!bailout.is_retryable());
    assert!(matches!(bailout.reason(), BailoutReason::Unsupported { what } if what.contains("splat")), "{bailout}");
}

#[test]
fn large_frames_are_refused() {
    let func = parse(
        "function %f(i64, i64, i64) -> i64 system_v {
    ss0 = explicit_slot 40000
    fn0 = %memset(i64, i32, i64) -> i64 system_v
block0(v0: i64, v1: i64, v2: i64):
    v3 = stack_addr.i64 ss0
    v4 = iconst.i64 40000
    v5 = ireduce.i32 v2
    v6 = call fn0(v3, v5, v4)
    v7 = iadd v3, v2
    v8 = load.i64 v7
    return v8
}",
    );
    let found = reason(&build(builder()), &func);
    assert!(matches!(found, BailoutReason::FrameTooLarge { bytes: 40_000.., limit: 32_768 }), "{found}");
}
