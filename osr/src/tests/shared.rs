//! Variants of several sites: one copy of the function, entered wherever a call is.

use super::run::{enter_at, make_shared, site, sites};
use crate::{DONE, OsrError, Site};

/// sum of 3 * i for i in v2.., then of 5 * j, each up to the same constant of the vmctx.
const TWO: &str = "
function %body(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    v3 = load.i64 notrap aligned readonly v0+16
    v4 = iconst.i64 3
    v5 = iconst.i64 0
    jump block1(v2, v5)
block1(v6: i64, v7: i64):
    v8 = icmp ult v6, v3
    brif v8, block2, block3
block2:
    v9 = imul v6, v4
    v10 = iadd v7, v9
    v11 = iadd_imm v6, 1
    jump block1(v11, v10)
block3:
    v12 = iconst.i64 5
    jump block4(v2, v7)
block4(v13: i64, v14: i64):
    v15 = icmp ult v13, v3
    brif v15, block5, block6
block5:
    v16 = imul v13, v12
    v17 = iadd v14, v16
    v18 = iadd_imm v13, 1
    jump block4(v18, v17)
block6:
    return v14
}";

/// Slots: the parameter, the counter, the sum.
fn two() -> [Site; 2] {
    [site(0, 1, &[(0, 2), (1, 6), (2, 7)]), site(1, 4, &[(0, 2), (1, 13), (2, 14)])]
}

#[test]
fn each_loop_is_entered_in_the_one_copy() {
    // The interpreter's vmctx is its own cells, whose third word nobody writes: a constant does instead.
    let text = TWO.replace("load.i64 notrap aligned readonly v0+16", "iconst.i64 10");
    for asked in 0..2 {
        let made = make_shared(&text, &sites(&two()), asked).unwrap();
        assert_eq!(made.sites, [asked, 1 - asked]);
        let first = (4..10).map(|i| 3 * i).sum::<u64>() + (2..10).map(|j| 5 * j).sum::<u64>();
        let second = (4..10).map(|j| 5 * j).sum::<u64>();
        for (site, expected) in [(0, first), (1, second)] {
            let (status, frame) = enter_at(&made.function, site, &[2, 4, 100]);
            assert_eq!((status, frame[0]), (DONE, 100 + expected), "at {site}, asked for {asked}");
        }
        let imuls = made.function.display().to_string().matches("imul").count();
        assert_eq!(imuls, 2, "no loop is there twice");
    }
}

#[test]
fn what_is_the_same_at_each_site_is_computed_once() {
    let made = make_shared(TWO, &sites(&two()), 0).unwrap();
    let text = made.function.display().to_string();
    assert_eq!(text.matches("readonly").count(), 1, "{text}");
    let entry = made.function.layout.entry_block().unwrap();
    let first = made.function.layout.block_insts(entry).map(|inst| made.function.dfg.display_inst(inst).to_string());
    assert_eq!(first.filter(|inst| inst.contains("readonly")).count(), 1, "before it is known which site it is:\n{text}");
    // As constants they stay operands of instructions; as parameters of a header they would not.
    for block in made.function.layout.blocks().filter(|&block| block != entry) {
        assert!(made.function.dfg.block_params(block).len() <= 3, "parameter, counter, sum:\n{text}");
    }
}

/// One loop in another.
const NEST: &str = "
function %body(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    jump block1(v3, v3)
block1(v4: i64, v5: i64):
    v6 = icmp ult v4, v2
    brif v6, block2(v3, v5), block5
block2(v8: i64, v9: i64):
    v10 = icmp ult v8, v2
    brif v10, block3, block4
block3:
    v11 = iadd v9, v8
    v12 = iadd_imm v8, 1
    jump block2(v12, v11)
block4:
    v13 = iadd_imm v4, 1
    jump block1(v13, v9)
block5:
    return v5
}";

#[test]
fn the_nest_asked_for_is_entered_at_its_top_only() {
    let sites = sites(&[site(0, 1, &[(0, 2), (1, 4), (2, 5)]), site(1, 2, &[(0, 2), (1, 4), (2, 9), (3, 8)])]);
    let made = make_shared(NEST, &sites, 0).unwrap();
    assert_eq!((made.sites, made.function.signature.params.len()), (vec![0], 3));
    let made = make_shared(NEST, &sites, 1).unwrap();
    assert_eq!(made.sites, [1, 0]);
    // i = 2 of 4, j = 3 of 4, sum 100; and i = 2, sum 100.
    assert_eq!(enter_at(&made.function, 1, &[4, 2, 100, 3]).1[0], 100 + 3 + 6);
    assert_eq!(enter_at(&made.function, 0, &[4, 2, 100, 0]).1[0], 100 + 6 + 6);
}

#[test]
fn other_sites_are_given_up_before_the_one_asked_for() {
    let all = |second: &[(u32, u32)]| {
        let [first, _] = two();
        sites(&[first, site(1, 4, second)])
    };
    let made = make_shared(TWO, &all(&[(0, 2), (1, 13)]), 0).unwrap();
    assert_eq!(made.sites, [0], "the sum is in no slot at site 1");
    assert!(matches!(make_shared(TWO, &all(&[(1, 13), (0, 2)]), 1), Err(OsrError::Lost { site: 1, .. })));
    // Long prologues: more slots than the function has instructions.
    let many: Vec<(u32, u32)> = (0..40).map(|slot| (slot, 2)).chain([(40, 13), (41, 14)]).collect();
    assert_eq!(make_shared(TWO, &all(&many), 0).unwrap().sites, [0]);
}

#[test]
fn large_bodies_are_not_shared() {
    let padded = |instructions: u32| {
        let padding: String = (0..instructions).map(|at| format!("    v{} = iadd v16, v16\n", 5_000 + at)).collect();
        TWO.replace("    v17 = iadd v14, v16\n", &format!("{padding}    v17 = iadd v14, v16\n"))
    };
    let sites_of = |text: &str| make_shared(text, &sites(&two()), 0).unwrap().sites;
    assert_eq!(sites_of(&padded(900)), [0, 1]);
    assert_eq!(sites_of(&padded(1_000)), [0]);
}

#[test]
fn code_that_assumes_is_entered_where_it_was_asked_for() {
    let declared = crate::Sites { assumes: true, ..sites(&[site(0, 1, &[(1, 6), (2, 7)]), site(1, 4, &[(1, 13), (2, 14)])]) };
    // v2 is used behind the first loop: it is a parameter of the function, in no slot.
    assert!(matches!(make_shared(TWO, &declared, 0), Err(OsrError::Lost { .. })));
    assert_eq!(make_shared(TWO, &declared, 1).unwrap().sites, [1]);
}
