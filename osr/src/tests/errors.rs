//! Bad input is told, by name, and never a panic.

use cranelift_codegen::ir::{Block, Value};

use super::run::{NO_LIMIT, bounded, leave, live, make, parse, site, sites};
use crate::{Limits, OsrError, Sites};

const BODY: &str = "
function %body(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    jump block1(v3)
block1(v4: i64):
    v5 = iadd_imm v4, 1
    v6 = icmp ult v5, v2
    brif v6, block1(v5), block2
block2:
    return v5
block3:
    v7 = iconst.i64 0
    jump block3
}";

fn good() -> Sites {
    sites(&[site(0, 1, &[(0, 2), (1, 4)])])
}

fn error(text: &str, sites: &Sites, id: u32) -> OsrError {
    make(text, sites, id).expect_err("an error")
}

#[test]
fn declarations_that_do_not_fit() {
    assert!(make(BODY, &good(), 0).is_ok());
    assert_eq!(error(BODY, &good(), 1), OsrError::UnknownSite { site: 1 });
    assert_eq!(error(BODY, &Sites::default(), 0), OsrError::UnknownSite { site: 0 });
    let twice = sites(&[site(0, 1, &[]), site(0, 2, &[])]);
    assert_eq!(error(BODY, &twice, 0), OsrError::DuplicateSite { site: 0 });
    for block in [0, 4, 1000] {
        let expected = OsrError::NoSuchBlock { site: 3, block: Block::from_u32(block) };
        assert_eq!(error(BODY, &sites(&[site(3, block, &[])]), 3), expected);
        let leaving = Sites { leaves: vec![leave(block, 3, &[])], ..good() };
        assert_eq!(error(BODY, &leaving, 0), expected);
    }
    // No such values (v50 is skipped by the text, below v100); one the header makes itself; one of a block that is never reached.
    for value in [1000, 50, 5, 7] {
        let expected = OsrError::NoSuchValue { site: 3, value: Value::from_u32(value) };
        assert_eq!(error(BODY, &sites(&[site(3, 1, &[(0, value)])]), 3), expected);
    }
    let leaving = Sites { leaves: vec![leave(2, 3, &[(0, 7)])], ..good() };
    assert_eq!(error(BODY, &leaving, 0), OsrError::NoSuchValue { site: 3, value: Value::from_u32(7) });
    let mut computed = good();
    computed.sites[0].computed = live(&[(0, 1000)]).iter().map(|&(_, value)| (value, value)).collect();
    assert_eq!(error(BODY, &computed, 0), OsrError::NoSuchValue { site: 0, value: Value::from_u32(1000) });
    assert_eq!(error(BODY, &sites(&[site(3, 3, &[])]), 3), OsrError::Unreachable { site: 3 });
}

#[test]
fn what_is_in_no_slot_is_named() {
    let missing = sites(&[site(0, 1, &[(0, 2)])]);
    let expected = OsrError::Lost { site: 0, value: Value::from_u32(4), definition: "block1".to_owned() };
    assert_eq!(error(BODY, &missing, 0), expected);
    let missing = sites(&[site(0, 1, &[(0, 4)])]);
    let expected = OsrError::Lost { site: 0, value: Value::from_u32(2), definition: "block0".to_owned() };
    assert_eq!(error(BODY, &missing, 0), expected);
}

/// Calls that the body left come back by ways it does not have: then it may know nothing of the slots.
#[test]
fn what_only_the_body_knows_of_a_slot() {
    let assuming = |live| Sites { assumes: true, ..sites(&[site(0, 1, live)]) };
    let assumed = |slot, value| OsrError::Assumed { site: 0, slot, value: Value::from_u32(value) };
    let body = BODY.replace("block1(v3)", "block1(v3, v2)").replace("block1(v4: i64)", "block1(v4: i64, v10: i64)");
    let body = body.replace("block1(v5)", "block1(v5, v10)").replace("ult v5, v2", "ult v5, v10");
    assert!(make(&body, &assuming(&[(0, 10), (1, 4)]), 0).is_ok());
    assert_eq!(error(&body, &assuming(&[(0, 2), (1, 4)]), 0), assumed(0, 2), "the argument, which may have been set meanwhile");
    assert_eq!(error(&body, &assuming(&[(0, 10), (1, 4), (2, 3)]), 0), assumed(2, 3), "a constant");
    assert_eq!(error(&body, &assuming(&[(0, 10), (1, 10), (2, 4)]), 0), assumed(1, 10), "one value for two slots");
    assert!(make(&body, &sites(&[site(0, 1, &[(0, 10), (1, 10), (2, 4)])]), 0).is_ok(), "which nothing is wrong with otherwise");
}

#[test]
fn slots_that_cannot_be() {
    let far = sites(&[site(0, 1, &[(0, 2), (u32::MAX, 4)])]);
    assert_eq!(error(BODY, &far, 0), OsrError::SlotNumber { slot: u32::MAX });
    let wide = BODY.replace("i64, i64, i64) -> i64", "i64, i64, i64, i128) -> i64").replace("v2: i64)", "v2: i64, v8: i128)");
    let wide = wide.replace("v5 = iadd_imm v4, 1", "v9 = ireduce.i64 v8\n    v5 = iadd v4, v9");
    let in_slot = sites(&[site(0, 1, &[(0, 2), (1, 4), (2, 8)])]);
    assert!(matches!(error(&wide, &in_slot, 0), OsrError::SlotType { value, .. } if value.as_u32() == 8));
    assert!(matches!(error(&wide, &good(), 0), OsrError::Lost { value, .. } if value.as_u32() == 8));
}

#[test]
fn bodies_that_are_none() {
    let short = "function %body(i64) system_v {\nblock0(v0: i64):\n jump block1\nblock1:\n jump block1\n}";
    assert!(matches!(error(short, &sites(&[site(0, 1, &[])]), 0), OsrError::Signature { .. }));
    let two = BODY.replace("-> i64 system_v", "-> i64, i64 system_v").replace("return v5", "return v5, v5");
    assert!(matches!(error(&two, &good(), 0), OsrError::Signature { .. }));
    let invalid = BODY.replace("return v5", "return");
    assert!(matches!(error(&invalid, &good(), 0), OsrError::Invalid { .. }));
    assert!(matches!(
        bounded(&parse("function %empty() {}"), &good(), 0, &NO_LIMIT),
        Err(OsrError::Signature { .. } | OsrError::Invalid { .. })
    ));
}

#[test]
fn what_a_variant_cannot_do() {
    let text = "
function %body(i64, i64, i64) -> i64 tail {
    sig0 = (i64, i64, i64) -> i64 tail
    fn0 = %other sig0
block0(v0: i64, v1: i64, v2: i64):
    jump block1(v2)
block1(v3: i64):
    v4 = iadd_imm v3, -1
    brif v4, block1(v4), block2
block2:
    return_call fn0(v0, v1, v3)
}";
    match error(text, &sites(&[site(0, 1, &[(0, 3)])]), 0) {
        OsrError::Unsupported { instruction } => assert!(instruction.contains("return_call"), "{instruction}"),
        other => panic!("{other}"),
    }
}

#[test]
fn the_size_is_bounded() {
    let nest = parse(
        "
function %nest(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    jump block1(v3)
block1(v4: i64):
    v5 = iconst.i64 0
    jump block2(v5)
block2(v6: i64):
    v7 = iadd_imm v6, 1
    v8 = icmp ult v7, v2
    brif v8, block2(v7), block3
block3:
    v9 = iadd_imm v4, 1
    v10 = icmp ult v9, v2
    brif v10, block1(v9), block4
block4:
    return v9
}",
    );
    let two = sites(&[site(0, 1, &[(0, 2), (1, 4)]), site(1, 2, &[(0, 2), (1, 4), (2, 6)])]);
    let within = |site, growth, instructions| bounded(&nest, &two, site, &Limits { growth, instructions });
    let refused = |site, instructions, limit| Err(OsrError::TooLarge { site, instructions, limit });
    // Of thirteen instructions the outer loop and the exit, eleven; and to enter the inner loop, it and what follows it once more.
    assert_eq!(within(0, 1, 0).map(drop), Ok(()), "as large as its function at most, were that larger than all");
    assert_eq!(within(1, 2, 19).map(drop), Ok(()));
    assert_eq!(within(1, 2, 18).map(drop), refused(1, 19, 18));
    assert_eq!(within(1, 2, 0).map(drop), refused(1, 19, 16), "a quarter more than the function");
    assert_eq!(within(1, 1, 19).map(drop), refused(1, 19, 13));
    assert_eq!(within(0, 0, 19).map(drop), refused(0, 11, 0));
}
