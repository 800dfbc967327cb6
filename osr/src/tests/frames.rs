//! What goes in through the frame, and what comes out.

use cranelift_codegen::ir::Value;

use super::run::{TWO_WIDE, enter, leave, make, result, site, sites};
use crate::{OsrError, Sites};

const TYPES: &str = "
function %body(i64, i64, i32, f32, f64, i8) -> f32 system_v {
block0(v0: i64, v1: i64, v2: i32, v3: f32, v4: f64, v5: i8):
    jump block1(v2, v3, v4, v5)
block1(v6: i32, v7: f32, v8: f64, v9: i8):
    v10 = fdemote.f32 v8
    v11 = fadd v7, v10
    v12 = uextend.i32 v9
    v13 = isub v6, v12
    v14 = icmp_imm.i32 sgt v13, 0
    brif v14, block1(v13, v11, v8, v9), block2
block2:
    return v11
}";

#[test]
fn narrow_values_are_in_the_low_half_and_come_out_with_zeros_above() {
    let sites = sites(&[site(0, 1, &[(0, 6), (1, 7), (2, 8), (3, 9)])]);
    let garbage = 0xdead_beef_0000_0000;
    let frame = [garbage | 10, garbage | u64::from(1.0f32.to_bits()), 2.5f64.to_bits(), garbage | 0xaa_bb04];
    assert_eq!(result(TYPES, &sites, 0, &frame), u64::from((1.0f32 + 3.0 * 2.5).to_bits()));
}

/// What the frontend leaves behind where a header uses a variable that the loop does not change: `v9` was the header's parameter.
const ALIAS: &str = "
function %body(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    jump block1(v3)
block1(v4: i64):
    v9 -> v2
    v5 = iadd_imm v4, 3
    v6 = icmp ult v5, v9
    brif v6, block1(v5), block2
block2:
    return v5
}";

#[test]
fn an_alias_stands_for_its_value() {
    let sites = sites(&[site(0, 1, &[(0, 9), (1, 4)])]);
    assert_eq!(result(ALIAS, &sites, 0, &[10, 1]), 10);
    assert_eq!(result(ALIAS, &sites, 0, &[10, 2]), 11);
}

/// Counts in steps of two up to `v3`, an even number that is in a slot of its own.
const DERIVED: &str = "
function %body(i64, i64, i64, f64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64, v7: f64):
    v3 = band_imm v2, -2
    v8 = fcvt_to_uint_sat.i64 v7
    v4 = iconst.i64 0
    jump block1(v4)
block1(v5: i64):
    v6 = iadd_imm v5, 2
    v9 = icmp ne v6, v3
    brif v9, block1(v6), block2
block2:
    v10 = iadd v6, v8
    return v10
}";

#[test]
fn what_follows_from_other_slots_is_computed_from_them() {
    let all = sites(&[site(0, 1, &[(0, 2), (1, 3), (2, 5), (3, 8)])]);
    let variant = make(DERIVED, &all, 0).unwrap().display().to_string();
    assert!(variant.contains("band"), "a compiler sees that the bound is even: {variant}");
    assert!(!variant.contains("fcvt"), "what comes from floats is loaded: {variant}");
    assert_eq!(result(DERIVED, &all, 0, &[11, 10, 4, 100]), 110);
    // Without the slot it follows from, there is nothing to compute it from.
    let bound = sites(&[site(0, 1, &[(1, 3), (2, 5), (3, 8)])]);
    assert!(!make(DERIVED, &bound, 0).unwrap().display().to_string().contains("band"));
    assert_eq!(result(DERIVED, &bound, 0, &[0, 10, 4, 100]), 110);
}

/// Uses a constant, arithmetic on a slot, a constant of the vmctx, the callee, and the address of a stack slot.
const OUTSIDE: &str = "
function %body(i64, i64, i64) -> i64 system_v {
    ss0 = explicit_slot 8
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 40
    v4 = iadd v2, v3
    v5 = load.i64 notrap aligned readonly v0
    v6 = load.i64 notrap aligned v5
    v7 = stack_addr.i64 ss0
    v8 = uadd_overflow_trap v2, v3, user1
    v9, v10 = uadd_overflow v2, v3
    jump block1(v2)
block1(v11: i64):
    v12 = iadd v11, v4
    store notrap aligned v12, v7
    v13 = load.i64 notrap aligned v7
    v14 = isub v5, v0
    v15 = iadd v13, v14
    v16 = iadd v15, v1
    v17 = iadd v16, v9
    v18 = icmp_imm ult v17, 1000
    brif v18, block1(v17), block2
block2:
    return v17
}";

#[test]
fn what_is_in_no_slot_is_computed_again() {
    let sites = sites(&[site(0, 1, &[(0, 2), (1, 11)])]);
    // The driver's vmctx is its own cells, and 7 the callee.
    let turn = |x: u64| x + (5 + 40) + 7 + (5 + 40);
    let expected = std::iter::successors(Some(900), |&x| Some(turn(x))).skip(1).find(|&x| x >= 1000).unwrap();
    assert_eq!(result(OUTSIDE, &sites, 0, &[5, 900]), expected);
}

#[test]
fn what_would_not_be_the_same_again_is_lost() {
    for (used, why) in [("v6", "load"), ("v8", "uadd_overflow_trap")] {
        let text = OUTSIDE.replace("v16 = iadd v15, v1", &format!("v16 = iadd v15, {used}"));
        let sites = sites(&[site(0, 1, &[(0, 2), (1, 11)])]);
        match make(&text, &sites, 0) {
            Err(OsrError::Lost { site: 0, value, definition }) => {
                assert_eq!(value.to_string(), used);
                assert!(definition.contains(why), "{definition}");
            }
            other => panic!("{used}: {other:?}"),
        }
    }
}

#[test]
fn the_lowering_can_vouch_for_a_value() {
    let text = OUTSIDE.replace("v16 = iadd v15, v1", "v16 = iadd v15, v6");
    let mut sites = sites(&[site(0, 1, &[(0, 2), (1, 11)])]);
    let mut vouch = |value: u32, recipe: u32| {
        sites.sites[0].computed = vec![(Value::from_u32(value), Value::from_u32(recipe))];
        make(&text, &sites, 0)
    };
    assert!(vouch(6, 6).is_ok(), "read again");
    assert!(vouch(6, 3).is_ok(), "as a constant");
    assert!(vouch(6, 1).is_ok(), "as the callee");
    assert!(matches!(vouch(6, 8), Err(OsrError::Lost { .. })), "what may trap is not repeated");
    assert!(matches!(vouch(4, 4), Err(OsrError::Lost { .. })), "vouching for another");

    let constant = make(
        &text,
        &{
            sites.sites[0].computed = vec![(Value::from_u32(6), Value::from_u32(3))];
            sites
        },
        0,
    )
    .unwrap();
    let expected = 900 + 45 + 40 + 45;
    assert_eq!(enter(&constant, &[5, 900]), (crate::DONE, vec![expected, 900]));
}

#[test]
fn a_recipe_that_needs_itself_is_an_error() {
    let text = OUTSIDE.replace("v16 = iadd v15, v1", "v16 = iadd v15, v4");
    let mut sites = sites(&[site(0, 1, &[(1, 11)])]);
    sites.sites[0].computed = vec![(Value::from_u32(2), Value::from_u32(4)), (Value::from_u32(4), Value::from_u32(9))];
    assert!(matches!(make(&text, &sites, 0), Err(OsrError::Lost { .. })));
}

/// Two results, in the wide buffer.
const WIDE: &str = "
function %body(i64, i64, i64) system_v {
block0(v0: i64, v1: i64, v2: i64):
    jump block1(v2)
block1(v3: i64):
    v4 = iadd_imm v3, -1
    brif v4, block1(v4), block2
block2:
    v5 = load.i64 notrap aligned readonly v0
    v6 = load.i64 notrap aligned readonly v5+8
    v7 = iconst.i64 11
    store notrap aligned v7, v6
    v8 = iconst.i64 22
    store notrap aligned v8, v6+8
    return
}";

#[test]
fn wide_results_go_to_the_frame() {
    let sites = Sites { wide: TWO_WIDE, ..sites(&[site(0, 1, &[(0, 3)])]) };
    assert_eq!(enter(&make(WIDE, &sites, 0).unwrap(), &[3, 5, 6]), (crate::DONE, vec![11, 22, 6]));
}

#[test]
fn without_results_the_frame_stays() {
    let sites = sites(&[site(0, 1, &[(0, 3)])]);
    assert_eq!(enter(&make(WIDE, &sites, 0).unwrap(), &[3, 5, 6]), (crate::DONE, vec![3, 5, 6]));
}

/// Counts down; at 100 it leaves for site 4. What the body itself does there must not be in the variant.
const LEAVING: &str = "
function %body(i64, i64, i64, f32) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64, v3: f32):
    jump block1(v2, v3)
block1(v4: i64, v5: f32):
    v6 = iadd_imm v4, -1
    v7 = icmp_imm eq v6, 100
    brif v7, block3, block2
block2:
    v8 = fadd v5, v5
    brif v6, block1(v6, v8), block5
block3:
    trap user1
block5:
    return v4
}";

#[test]
fn leaving_stores_the_slots_and_names_the_site() {
    let sites = Sites { leaves: vec![leave(3, 4, &[(2, 6), (0, 5)])], ..sites(&[site(0, 1, &[(0, 4), (1, 5)])]) };
    let made = make(LEAVING, &sites, 0).unwrap();
    let f32_bits = |x: f32| u64::from(x.to_bits());
    assert_eq!(enter(&made, &[102, !0 << 32 | f32_bits(1.5), 77]), (4, vec![f32_bits(3.0), !0 << 32 | f32_bits(1.5), 100]));
    assert_eq!(enter(&made, &[5, f32_bits(1.5), 77]), (crate::DONE, vec![1, f32_bits(1.5), 77]));
}
