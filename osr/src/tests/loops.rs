//! Loops of every shape: no turn is lost, none is made twice.

use cranelift_codegen::{dominator_tree::DominatorTree, flowgraph::ControlFlowGraph, ir::Function, loop_analysis::LoopAnalysis};

use super::run::{make, result, site, sites};

/// sum of i for i in v4..v2.
const SUM: &str = "
function %body(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    jump block1(v3, v3)
block1(v4: i64, v5: i64):
    v6 = icmp ult v4, v2
    brif v6, block2, block3
block2:
    v7 = iadd v5, v4
    v8 = iadd_imm v4, 1
    jump block1(v8, v7)
block3:
    return v5
}";

#[test]
fn a_loop_goes_on_where_it_was() {
    let sites = sites(&[site(0, 1, &[(0, 2), (1, 4), (2, 5)])]);
    assert_eq!(result(SUM, &sites, 0, &[10, 4, 100, 0]), 100 + (4..10).sum::<u64>());
    assert_eq!(result(SUM, &sites, 0, &[10, 10, 100, 0]), 100);
}

#[test]
fn a_slot_may_be_declared_by_an_alias() {
    // What cranelift-frontend makes of a variable's value when it finds out what that is.
    let text = SUM.replace("v6 = icmp ult v4, v2", "v30 -> v4\n    v6 = icmp ult v30, v2");
    let sites = sites(&[site(0, 1, &[(0, 2), (1, 30), (2, 5)])]);
    assert_eq!(result(&text, &sites, 0, &[10, 4, 100, 0]), 100 + (4..10).sum::<u64>());
}

#[test]
fn one_loop_needs_no_repair() {
    let sites = sites(&[site(0, 1, &[(0, 2), (1, 4), (2, 5)])]);
    let made = make(SUM, &sites, 0).unwrap();
    let blocks = made.layout.blocks().count();
    assert_eq!(blocks, 4, "prologue, header, turn, exit:\n{}", made.display());
    assert_eq!(made.layout.blocks().map(|block| made.dfg.block_params(block).len()).sum::<usize>(), 3 + 2);
}

/// h = h * 31 + (i * 100 + j * 10 + k), at depth 3, and h * 3 + i, h * 5 + j after the inner loops.
const NEST: &str = "
function %body(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    jump block1(v3, v3)
block1(v4: i64, v5: i64):
    v6 = icmp ult v4, v2
    brif v6, block2, block9
block2:
    v7 = imul_imm v4, 100
    jump block3(v3, v5)
block3(v8: i64, v9: i64):
    v10 = icmp ult v8, v2
    brif v10, block4, block8
block4:
    v11 = imul_imm v8, 10
    v12 = iadd v7, v11
    jump block5(v3, v9)
block5(v13: i64, v14: i64):
    v15 = icmp ult v13, v2
    brif v15, block6, block7
block6:
    v16 = imul_imm v14, 31
    v17 = iadd v12, v13
    v18 = iadd v16, v17
    v19 = iadd_imm v13, 1
    jump block5(v19, v18)
block7:
    v20 = imul_imm v14, 5
    v21 = iadd v20, v8
    v22 = iadd_imm v8, 1
    jump block3(v22, v21)
block8:
    v23 = imul_imm v9, 3
    v24 = iadd v23, v4
    v25 = iadd_imm v4, 1
    jump block1(v25, v24)
block9:
    return v5
}";

/// The same, from (i, j, k) on: `depth` says in which loop's header.
fn nest(n: u64, depth: u32, at: [u64; 3], mut h: u64) -> u64 {
    let [mut i, mut j, mut k] = at;
    let (mut in_j, mut in_k) = (depth >= 1, depth >= 2);
    while in_j || in_k || i < n {
        if !std::mem::take(&mut in_j) {
            j = 0;
        }
        while in_k || j < n {
            if !std::mem::take(&mut in_k) {
                k = 0;
            }
            while k < n {
                h = h.wrapping_mul(31).wrapping_add(i * 100 + j * 10 + k);
                k += 1;
            }
            h = h.wrapping_mul(5).wrapping_add(j);
            j += 1;
        }
        h = h.wrapping_mul(3).wrapping_add(i);
        i += 1;
    }
    h
}

#[test]
fn a_nest_finishes_what_is_under_way_and_goes_on() {
    // Slots: n, i, j, k, h. v7 and v12 are in none: they are computed again.
    let sites = sites(&[
        site(0, 1, &[(0, 2), (1, 4), (4, 5)]),
        site(1, 3, &[(0, 2), (1, 4), (2, 8), (4, 9)]),
        site(2, 5, &[(0, 2), (1, 4), (2, 8), (3, 13), (4, 14)]),
    ]);
    for depth in 0..3 {
        for (i, j, k) in [(0, 0, 0), (1, 2, 3), (3, 0, 1), (3, 3, 4), (2, 3, 0)] {
            let expected = nest(4, depth, [i, j, k], 9);
            assert_eq!(result(NEST, &sites, depth, &[4, i, j, k, 9]), expected, "site {depth} at {i} {j} {k}");
        }
    }
}

/// Whether every cycle is a natural loop, and the headers by depth.
fn loop_depths(func: &Function) -> Vec<usize> {
    let graph = ControlFlowGraph::with_function(func);
    let dominators = DominatorTree::with_function(func, &graph);
    let position = |block| dominators.cfg_rpo().position(|&b| b == block);
    for &block in dominators.cfg_rpo() {
        for to in graph.succ_iter(block) {
            let forward = position(to) > position(block);
            assert!(forward || dominators.block_dominates(to, block), "{block} to {to} in:\n{}", func.display());
        }
    }
    let mut loops = LoopAnalysis::new();
    loops.compute(func, &graph, &dominators);
    let mut depths: Vec<usize> = loops.loops().map(|l| loops.loop_level(loops.loop_header(l)).level()).collect();
    depths.sort_unstable();
    depths
}

#[test]
fn the_nest_is_there_untouched_behind_its_copies() {
    let sites = sites(&[site(1, 3, &[(0, 2), (1, 4), (2, 8), (4, 9)]), site(2, 5, &[(0, 2), (1, 4), (2, 8), (3, 13), (4, 14)])]);
    // k, then j and k, then i, j and k.
    assert_eq!(loop_depths(&make(NEST, &sites, 2).unwrap()), [1, 1, 1, 2, 2, 3]);
    assert_eq!(loop_depths(&make(NEST, &sites, 1).unwrap()), [1, 1, 2, 2, 3]);
}

/// Two loops in a row, in a loop: the first counts a up to v2, the second b.
const SIBLINGS: &str = "
function %body(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    jump block1(v3, v3)
block1(v4: i64, v5: i64):
    jump block2(v3, v5)
block2(v6: i64, v7: i64):
    v8 = imul_imm v7, 3
    v9 = iadd v8, v6
    v10 = iadd_imm v6, 1
    v11 = icmp ult v10, v2
    brif v11, block2(v10, v9), block3(v3, v9)
block3(v12: i64, v13: i64):
    v14 = imul_imm v13, 7
    v15 = iadd v14, v12
    v16 = iadd_imm v12, 1
    v17 = icmp ult v16, v2
    brif v17, block3(v16, v15), block4
block4:
    v18 = iadd_imm v4, 1
    v19 = icmp ult v18, v2
    brif v19, block1(v18, v15), block5
block5:
    v20 = iadd v15, v4
    return v20
}";

#[test]
fn a_loop_before_or_behind_in_the_same_turn_is_told_apart() {
    let sites = sites(&[
        site(0, 1, &[(0, 2), (1, 4), (3, 5)]),
        site(1, 2, &[(0, 2), (1, 4), (2, 6), (3, 7)]),
        site(2, 3, &[(0, 2), (1, 4), (2, 12), (3, 13)]),
    ]);
    let reference = |site: u32, [n, mut i, at, mut h]: [u64; 4]| {
        let mut start = Some((site, at));
        loop {
            let first = start.take();
            if let None | Some((0 | 1, _)) = first {
                let mut a = first.filter(|&(site, _)| site == 1).map_or(0, |(_, at)| at);
                while {
                    h = h.wrapping_mul(3).wrapping_add(a);
                    a += 1;
                    a < n
                } {}
            }
            let mut b = first.filter(|&(site, _)| site == 2).map_or(0, |(_, at)| at);
            while {
                h = h.wrapping_mul(7).wrapping_add(b);
                b += 1;
                b < n
            } {}
            i += 1;
            if i >= n {
                return h.wrapping_add(i - 1);
            }
        }
    };
    for site in 0..3 {
        for frame in [[4, 0, 0, 1], [4, 2, 1, 5], [4, 3, 3, 6]] {
            assert_eq!(result(SIBLINGS, &sites, site, &frame), reference(site, frame), "site {site} at {frame:?}");
        }
    }
}

/// An inner loop with two ways back, one out to the outer loop's next turn, and one out of both.
const BREAKS: &str = "
function %body(i64, i64, i64) -> i64 system_v {
    jt0 = unused
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    jump block1(v3, v3)
block1(v4: i64, v5: i64):
    v6 = iadd_imm v4, 1
    v7 = icmp ult v6, v2
    brif v7, block2(v3, v5), block8(v5)
block2(v8: i64, v9: i64):
    v10 = iadd_imm v8, 1
    v11 = imul_imm v9, 31
    v12 = iadd v11, v8
    v13 = ireduce.i32 v8
    br_table v13, block6, [block3, block4, block5(v12), block4]
block3:
    jump block2(v10, v12)
block4:
    v14 = iadd_imm v12, 3
    jump block2(v10, v14)
block5(v15: i64):
    v16 = icmp_imm eq v6, 3
    brif v16, block7, block2(v10, v15)
block6:
    v17 = iadd v12, v6
    jump block1(v6, v17)
block7:
    v18 = imul_imm v12, 1000
    jump block8(v18)
block8(v19: i64):
    v20 = iadd v19, v4
    return v20
}";

#[test]
fn several_ways_back_and_out_by_a_table() {
    let text = BREAKS.replace("    jt0 = unused\n", "");
    let sites = sites(&[site(0, 1, &[(0, 2), (1, 4), (3, 5)]), site(1, 2, &[(0, 2), (1, 4), (2, 8), (3, 9)])]);
    let reference = |site: u32, [n, mut i, at, mut h]: [u64; 4]| {
        let mut inner = (site == 1).then_some(at);
        loop {
            let next = i + 1;
            if inner.is_none() && next >= n {
                return h.wrapping_add(i);
            }
            let mut j = inner.take().unwrap_or(0);
            loop {
                let step = h.wrapping_mul(31).wrapping_add(j);
                match j {
                    0 => h = step,
                    1 | 3 => h = step.wrapping_add(3),
                    2 if next == 3 => return step.wrapping_mul(1000).wrapping_add(i),
                    2 => h = step,
                    _ => {
                        h = step.wrapping_add(next);
                        break;
                    }
                }
                j += 1;
            }
            i = next;
        }
    };
    for site in 0..2 {
        for frame in [[6, 0, 0, 1], [6, 0, 3, 1], [6, 1, 2, 4], [6, 2, 1, 5], [6, 3, 2, 5], [6, 5, 0, 8], [6, 4, 9, 8]] {
            assert_eq!(result(&text, &sites, site, &frame), reference(site, frame), "site {site} at {frame:?}");
        }
    }
}

/// A cycle of two entries: block1 and block2 lead to each other, and block0 to both.
const IRREDUCIBLE: &str = "
function %body(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    brif v2, block1(v3, v3), block2(v3, v3)
block1(v4: i64, v5: i64):
    v6 = imul_imm v5, 3
    v7 = iadd_imm v4, 1
    jump block2(v7, v6)
block2(v8: i64, v9: i64):
    v10 = iadd v9, v8
    v11 = icmp ult v8, v2
    brif v11, block1(v8, v10), block3
block3:
    return v10
}";

#[test]
fn a_cycle_of_two_entries_is_one_stage() {
    let sites = sites(&[site(0, 1, &[(0, 2), (1, 4), (2, 5)]), site(1, 2, &[(0, 2), (1, 8), (2, 9)])]);
    let reference = |[n, mut i, mut h]: [u64; 3], mut second: bool| loop {
        if !std::mem::take(&mut second) {
            h *= 3;
            i += 1;
        }
        h += i;
        if i >= n {
            return h;
        }
    };
    for frame in [[5, 0, 1], [5, 3, 2], [5, 5, 3]] {
        assert_eq!(result(IRREDUCIBLE, &sites, 0, &frame), reference(frame, false));
        assert_eq!(result(IRREDUCIBLE, &sites, 1, &frame), reference(frame, true));
    }
    assert_eq!(make(IRREDUCIBLE, &sites, 0).unwrap().layout.blocks().count(), 4);
}

#[test]
fn a_header_nobody_branches_back_to_is_a_block_of_the_loop_around_it() {
    // block3 as a site: inside the outer loop of NEST, but behind a loop that is no loop.
    let text = "
function %body(i64, i64, i64) -> i64 system_v {
block0(v0: i64, v1: i64, v2: i64):
    v3 = iconst.i64 0
    jump block1(v3, v3)
block1(v4: i64, v5: i64):
    v6 = imul_imm v5, 3
    jump block2(v6)
block2(v7: i64):
    v8 = iadd v7, v4
    v9 = iadd_imm v4, 1
    v10 = icmp ult v9, v2
    brif v10, block1(v9, v8), block3
block3:
    return v8
}";
    let sites = sites(&[site(0, 1, &[(0, 2), (1, 4), (2, 5)]), site(1, 2, &[(0, 2), (1, 4), (2, 7)])]);
    let reference = |[n, mut i, mut h]: [u64; 3], mut second: bool| loop {
        if !std::mem::take(&mut second) {
            h *= 3;
        }
        h += i;
        i += 1;
        if i >= n {
            return h;
        }
    };
    for frame in [[5, 0, 1], [5, 3, 2], [5, 5, 3]] {
        assert_eq!(result(text, &sites, 0, &frame), reference(frame, false));
        assert_eq!(result(text, &sites, 1, &frame), reference(frame, true));
    }
    assert_eq!(loop_depths(&make(text, &sites, 1).unwrap()), [1]);
}

#[test]
fn a_loop_without_end_leaves_nothing_behind() {
    let text = "
function %body(i64, i64, i64) system_v {
block0(v0: i64, v1: i64, v2: i64):
    jump block1(v2)
block1(v3: i64):
    jump block2(v3)
block2(v4: i64):
    v5 = iadd_imm v4, 1
    trapz v5, user1
    jump block2(v5)
}";
    let sites = sites(&[site(0, 1, &[(0, 3)]), site(1, 2, &[(0, 4)])]);
    let made = make(text, &sites, 1).unwrap();
    assert_eq!(made.layout.blocks().count(), 2, "{}", made.display());
}
