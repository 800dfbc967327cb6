//! Whoever calls a function calls its new body: directly, with the old one in the caller's own code, by reference, across instances.

use std::sync::Arc;

use tierup_interp::{Caller, Config, Engine, Instance, Linker, Module, Store, TierMode, Val};

use super::{configurations, wasm};

/// Functions that are called in every way there is.
fn library(leaf: i32) -> String {
    format!(
        r#"(module
            (type $f (func (param i32) (result i32)))
            (import "host" "reload" (func $reload))
            (table $closed 4 funcref)
            (table $open (export "open") 4 funcref)
            (elem (table $closed) (i32.const 1) func $leaf $same)
            (elem (table $open) (i32.const 1) func $leaf $same)
            (func $leaf (export "leaf") (type $f) (i32.add (local.get 0) (i32.const {leaf})))
            (func $same (type $f) (i32.add (local.get 0) (i32.const 0)))
            (func (export "direct") (param $n i32) (param $at i32) (result i32) (local $sum i32)
                (loop $turn
                    (if (i32.eq (local.get $n) (local.get $at)) (then (call $reload)))
                    (local.set $sum (call $leaf (local.get $sum)))
                    (br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                local.get $sum)
            (func (export "closed") (param $n i32) (param $at i32) (result i32) (local $sum i32)
                (loop $turn
                    (if (i32.eq (local.get $n) (local.get $at)) (then (call $reload)))
                    (local.set $sum (call_indirect $closed (type $f) (local.get $sum) (i32.const 1)))
                    (br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                local.get $sum)
            (func (export "open_call") (param $n i32) (param $at i32) (result i32) (local $sum i32)
                (loop $turn
                    (if (i32.eq (local.get $n) (local.get $at)) (then (call $reload)))
                    (local.set $sum (call_indirect $open (type $f) (local.get $sum) (i32.const 1)))
                    (br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                local.get $sum))"#
    )
}

/// Another module, that imports the function.
const USER: &str = r#"(module
    (import "host" "reload" (func $reload))
    (import "library" "leaf" (func $leaf (param i32) (result i32)))
    (func (export "across") (param $n i32) (param $at i32) (result i32) (local $sum i32)
        (loop $turn
            (if (i32.eq (local.get $n) (local.get $at)) (then (call $reload)))
            (local.set $sum (call $leaf (local.get $sum)))
            (br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        local.get $sum))"#;

const WAYS: [&str; 4] = ["direct", "closed", "open_call", "across"];

struct World {
    module: Module,
    store: Store<Option<Vec<u8>>>,
    library: Instance,
    user: Instance,
}

impl World {
    fn new(engine: &Engine) -> Self {
        let module = Module::new(engine, wasm(&library(1))).expect("a valid module");
        let mut store = Store::new(engine, None).expect("a store");
        let mut linker = Linker::new();
        let reloads = module.clone();
        linker.func_wrap("host", "reload", move |mut caller: Caller<'_, Option<Vec<u8>>>| {
            if let Some(edition) = caller.data_mut().take() {
                assert_eq!(reloads.reload_from(&edition).expect("an edition").functions, [1]);
            }
        });
        let library = linker.instantiate(&mut store, &module).expect("it has what it needs");
        linker.instance(&store, "library", &library).expect("another name");
        let user = Module::new(engine, wasm(USER)).expect("a valid module");
        let user = linker.instantiate(&mut store, &user).expect("it has what it needs");
        Self { module, store, library, user }
    }

    /// Calls `leaf` so often, in a loop of `way`; the reload is before call number `n - at`.
    fn call(&mut self, way: &str, n: i32, at: i32) -> i32 {
        let instance = if way == "across" { &self.user } else { &self.library };
        let func = instance.func(&self.store, way).unwrap();
        match func.call(&mut self.store, &[Val::I32(n), Val::I32(at)]).unwrap()[..] {
            [Val::I32(sum)] => sum,
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_next_call_is_of_the_new_body() {
    for configuration in configurations() {
        for way in WAYS {
            let mut world = World::new(&configuration.engine().expect("an engine"));
            for leaf in [1, 10, 100] {
                if leaf > 1 {
                    world.module.reload_from(&wasm(&library(leaf))).expect("an edition");
                }
                for _ in 0..40 {
                    assert_eq!(world.call(way, 50, 0), 50 * leaf, "{configuration}, {way}");
                }
            }
        }
    }
}

/// A loop that calls the function goes on with the new body. Where the old one is part of the loop's code, that is left at its next
/// poll, if it can be, else where it returns.
#[test]
fn a_loop_goes_on_with_the_new_body() {
    let mut worlds: Vec<(String, bool, Engine)> = { configurations().into_iter() }
        .map(|configuration| (configuration.to_string(), configuration.has_llvm(), configuration.engine().expect("an engine")))
        .collect();
    worlds.extend(leaving());
    for (what, contains, engine) in worlds {
        for way in WAYS {
            let mut world = World::new(&engine);
            for _ in 0..40 {
                world.call(way, 50, 0);
            }
            *world.store.data_mut() = Some(wasm(&library(100)));
            let (old, new) = (30, 20 * 100);
            let sum = world.call(way, 50, 20);
            assert!(sum == old + new || contains && (50..old + new).contains(&sum), "{what}, {way}: {sum}");
            if what.starts_with("leaves") {
                // In the turn of the reload the old one may be called once more.
                assert!(sum == old + new || sum == old + 1 + new - 100, "{what}, {way}: {sum}");
            }
            assert_eq!(world.call(way, 50, 0), 5000, "{what}, {way}");
        }
    }
}

/// Engines whose code of any tier is left at its polls.
fn leaving() -> Vec<(String, bool, Engine)> {
    let config = |tier| Config { tier, leaves_at_polls: true, ..Config::default() };
    let mut all = vec![("leaves, baseline", config(TierMode::Baseline))];
    #[cfg(feature = "llvm")]
    if super::has_llvm() {
        all.push(("leaves, opt", config(TierMode::Opt)));
    }
    all.into_iter().map(|(what, config)| (what.to_owned(), true, Engine::new(config).expect("an engine"))).collect()
}

/// A guest handle from before does not bring the old body back.
#[test]
fn an_old_handle_is_not_the_new_body() {
    for tier in [TierMode::Interp, TierMode::Baseline] {
        let engine = Engine::new(Config { tier, ..Config::default() }).expect("an engine");
        let mut world = World::new(&engine);
        let handles = Arc::new(std::sync::Mutex::new(Vec::new()));
        engine.broker().reload_all(|handle| {
            handles.lock().unwrap().push(handle.clone());
            None
        });
        world.module.reload_from(&wasm(&library(100))).expect("an edition");
        let old = handles.lock().unwrap().iter().find(|handle| handle.name().as_deref() == Some("leaf")).cloned();
        let old = old.expect("the function was registered");
        let reloaded = engine.broker().reload_all(|handle| (handle.name().as_deref() == Some("leaf")).then(|| old.clone()));
        assert_eq!(reloaded, 1);
        for _ in 0..10 {
            assert_eq!(world.call("direct", 50, 0), 5000);
        }
    }
}
