//! What is no edition of the module is refused, and changes nothing.

use tierup_interp::{Config, Engine, Error, Linker, Module, Part, ReloadError, Store, TierMode, Val};

use super::wasm;

const MODULE: &str = r#"(module
    (type $f (func (param i32) (result i32)))
    (import "host" "g" (global i32))
    (memory (export "memory") 1 2)
    (table $t 4 funcref)
    (global $counter (mut i32) (i32.const 5))
    (func $f (export "f") (type $f) (i32.add (local.get 0) (i32.const 1)))
    (func $other (export "other") (param i32) (result i32) (call_indirect $t (type $f) (local.get 0) (i32.const 0)))
    (elem (table $t) (i32.const 0) func $f)
    (data (i32.const 8) "text"))"#;

fn module() -> Module {
    let engine = Engine::new(Config { tier: TierMode::Baseline, ..Config::default() }).expect("an engine");
    Module::new(&engine, wasm(MODULE)).expect("a valid module")
}

fn refused(binary: &[u8]) -> ReloadError {
    module().reload_from(binary).expect_err("it is not an edition of the module")
}

#[test]
fn what_is_no_module() {
    assert!(matches!(refused(b"not wasm"), ReloadError::Module(Error::Malformed { .. })));
    let mut cut = wasm(MODULE);
    cut.truncate(cut.len() - 3);
    assert!(matches!(refused(&cut), ReloadError::Module(Error::Malformed { .. })));
    // Its type section says nothing.
    assert!(matches!(refused(b"\0asm\x01\0\0\0\x01\x02\x01\x00"), ReloadError::Module(_)));
}

#[test]
fn what_differs() {
    let cases = [
        ("(type $f (func (param i32) (result i32)))", "(type $f (func (param i64) (result i32)))", Part::Types, 0),
        (r#""host" "g" (global i32)"#, r#""host" "h" (global i32)"#, Part::Imports, 0),
        (
            r#"(import "host" "g" (global i32))"#,
            r#"(import "host" "g" (global i32)) (import "a" "b" (global i32))"#,
            Part::Imports,
            1,
        ),
        ("(memory (export \"memory\") 1 2)", "(memory (export \"memory\") 1 3)", Part::Memories, 0),
        ("(table $t 4 funcref)", "(table $t 5 funcref)", Part::Tables, 0),
        ("(mut i32) (i32.const 5)", "i32 (i32.const 5)", Part::Globals, 1),
        ("(mut i32) (i32.const 5)", "(mut i32) (i32.const 6)", Part::GlobalValues, 0),
        (r#"(func $f (export "f")"#, r#"(func $f (export "g")"#, Part::Exports, 1),
        ("(data", "(func) (data", Part::Types, 1),
        ("(data", "(func (type $f) local.get 0) (data", Part::Functions, 2),
        ("(data", "(start $s) (func $s) (data", Part::Types, 1),
        ("(i32.const 0) func $f", "(i32.const 1) func $f", Part::Elements, 0),
        ("(i32.const 0) func $f", "(i32.const 0) func $f $f", Part::Elements, 0),
        (r#""text""#, r#""next""#, Part::Data, 0),
    ];
    for (old, new, part, index) in cases {
        assert!(MODULE.contains(old), "{old}");
        let text = MODULE
            .replace(old, new)
            .replace("call_indirect $t (type $f) (local.get 0)", "call_indirect $t (param i32) (result i32) (local.get 0)");
        let text = if part == Part::Types && index == 0 {
            text.replace("(i32.add (local.get 0) (i32.const 1))", "(i32.const 0)")
        } else {
            text
        };
        match refused(&wasm(&text)) {
            ReloadError::Differs { part: p, index: i } => assert_eq!((p, i), (part, index), "{new}"),
            other => panic!("{new}: {other}"),
        }
    }
}

/// Nothing is reloaded if one of several bodies cannot be.
#[test]
fn a_body_that_is_not_valid() {
    let engine = Engine::new(Config { tier: TierMode::Baseline, ..Config::default() }).expect("an engine");
    let edition = |f: &str, g: &str| {
        wasm(&format!(r#"(module (func (export "f") (result i32) {f}) (func (export "g") (result i32) {g}))"#))
    };
    let module = Module::new(&engine, edition("i32.const 1", "i32.const 2")).expect("a valid module");
    let mut store = Store::new(&engine, ()).expect("a store");
    let instance = Linker::new().instantiate(&mut store, &module).expect("it needs nothing");
    let mut call = |name: &str| instance.func(&store, name).unwrap().call(&mut store, &[]).unwrap();
    assert_eq!((call("f"), call("g")), (vec![Val::I32(1)], vec![Val::I32(2)]));
    let error = module.reload_from(&edition("i32.const 3", "i64.const 4")).expect_err("the second is of another type");
    assert!(matches!(error, ReloadError::Body { function: 1, error: Error::Invalid { .. } }), "{error}");
    assert_eq!((call("f"), call("g")), (vec![Val::I32(1)], vec![Val::I32(2)]));
    assert_eq!(module.later_bodies(), 0);
    let reloaded = module.reload_from(&edition("i32.const 3", "i32.const 4")).expect("an edition");
    assert_eq!(reloaded.functions, [0, 1]);
    assert_eq!((call("f"), call("g")), (vec![Val::I32(3)], vec![Val::I32(4)]));
}

/// Where nobody could write to a table, code may rely on it.
#[test]
fn a_body_that_writes_to_a_table() {
    let error = refused(&wasm(
        &MODULE.replace("(i32.add (local.get 0) (i32.const 1))", "(table.set $t (i32.const 0) (ref.null func)) (i32.const 0)"),
    ));
    assert!(matches!(error, ReloadError::WritesTables { function: 0 }), "{error}");
    // It is exported: nothing is known of it.
    let open = MODULE.replace("(table $t 4 funcref)", r#"(table $t (export "t") 4 funcref)"#);
    let engine = Engine::new(Config::default()).expect("an engine");
    let module = Module::new(&engine, wasm(&open)).expect("a valid module");
    let writes =
        open.replace("(i32.add (local.get 0) (i32.const 1))", "(table.set $t (i32.const 0) (ref.null func)) (i32.const 0)");
    assert_eq!(module.reload_from(&wasm(&writes)).expect("nobody relies on the table").functions, [0]);
}
