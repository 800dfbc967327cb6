//! What is chosen, seen in the names of the unit's functions and of what they call.

use std::collections::BTreeMap;

use cranelift_codegen::{
    ir::{AbiParam, ExtFuncData, ExternalName, Function, InstBuilder, Signature, UserExternalName, types::I64},
    isa::CallConv,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

use super::{Body, GROWTH, Library, MAX_COLD, MAX_HOT, MAX_LEVELS, MAX_REPEATS, Unit, may_fit};
use crate::lower::{Label, UNRESOLVED};

/// Functions by number, and which of them are hot.
#[derive(Default)]
struct Functions {
    bodies: BTreeMap<usize, Body>,
    cold: Vec<usize>,
    asked: Vec<usize>,
}

impl Library for Functions {
    fn is_hot(&self, number: usize) -> bool {
        !self.cold.contains(&number)
    }

    fn body(&mut self, number: usize) -> Option<Body> {
        self.asked.push(number);
        self.bodies.get(&number).cloned()
    }

    fn code_cell(&self, number: usize) -> usize {
        0x1000 * number
    }
}

fn signature(words: usize) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend(vec![AbiParam::new(I64); 2 + words]);
    signature
}

/// A function of `size` instructions that calls each of `callees` once.
fn body(size: usize, callees: &[u32]) -> Body {
    taking(0, size, callees)
}

/// As [`body`], with more parameters, which it passes on.
fn taking(words: usize, size: usize, callees: &[u32]) -> Body {
    let mut func = Function::new();
    func.signature = signature(words);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let args = b.block_params(entry).to_vec();
    for &index in callees {
        let signature = b.import_signature(signature(words));
        let name = UserExternalName { namespace: UNRESOLVED, index };
        let name = ExternalName::user(b.func.declare_imported_user_function(name));
        let callee = b.import_function(ExtFuncData { name, signature, colocated: false, patchable: false });
        b.ins().call(callee, &args);
    }
    for _ in callees.len() + 1..size {
        b.ins().nop();
    }
    b.ins().return_(&[]);
    assert_eq!(func.dfg.num_insts(), size);
    Body { func, label: Label { tag: size as u64, ..Label::default() } }
}

/// The unit, each function with what it calls: `"u0:0 u1:1"`.
fn shape(unit: &Unit) -> Vec<String> {
    let functions = unit.functions.iter().map(|func| {
        let names = func.params.user_named_funcs().values().map(ToString::to_string);
        std::iter::once(func.name.to_string()).chain(names).collect::<Vec<_>>().join(" ")
    });
    functions.map(|shape| shape.replace("u4294967295:", "cell:")).collect()
}

fn unfold(entry: Body, bodies: impl IntoIterator<Item = (usize, Body)>) -> Vec<String> {
    let bodies = std::iter::once((0, entry.clone())).chain(bodies).collect();
    shape(&Unit::unfold(entry, &mut Functions { bodies, ..Functions::default() }))
}

#[test]
fn a_function_that_calls_nothing_is_alone() {
    assert_eq!(unfold(body(9, &[]), []), ["u0:0"]);
}

#[test]
fn callees_come_with_their_callees() {
    let unit = unfold(body(9, &[1, 2]), [(1, body(9, &[2])), (2, body(9, &[]))]);
    assert_eq!(unit, ["u0:0 u1:1 u1:2", "u1:1 u2:2", "u1:2", "u2:2"]);
}

#[test]
fn chains_end_at_code_cells() {
    let unit = unfold(body(9, &[1]), (1..=9).map(|number| (number, body(9, &[number as u32 + 1]))));
    assert_eq!(unit.len(), MAX_LEVELS as usize + 2);
    assert_eq!(unit[MAX_LEVELS as usize], format!("u{MAX_LEVELS}:{MAX_LEVELS} cell:{}", MAX_LEVELS + 1));
    assert_eq!(unit[MAX_LEVELS as usize + 1], format!("cell:{}", MAX_LEVELS + 1));
}

#[test]
fn recursion_is_bounded() {
    assert_eq!((MAX_REPEATS, MAX_LEVELS), (3, 4));
    assert_eq!(unfold(body(9, &[0]), []), ["u0:0 u1:0", "u1:0 u2:0", "u2:0 u3:0", "u3:0 cell:0", "cell:0"]);
    // By way of another as well.
    let unit = unfold(body(9, &[1]), [(1, body(9, &[0]))]);
    assert_eq!(unit, ["u0:0 u1:1", "u1:1 u2:0", "u2:0 u3:1", "u3:1 u4:0", "u4:0 cell:1", "cell:1"]);
    // What is there for another function's sake does not make it more.
    let unit = unfold(body(9, &[1]), [(1, body(9, &[1]))]);
    assert_eq!(unit, ["u0:0 u1:1", "u1:1 u2:1", "u2:1 u3:1", "u3:1 cell:1", "cell:1"]);
}

#[test]
fn large_callees_are_called() {
    let sizes = [MAX_COLD, MAX_COLD + 1, MAX_HOT, MAX_HOT + 1];
    let bodies = sizes.iter().enumerate().flat_map(|(at, &size)| [(2 * at + 1, body(size, &[])), (2 * at + 2, body(size, &[]))]);
    let mut functions = Functions { bodies: bodies.collect(), cold: vec![2, 4, 6, 8], ..Functions::default() };
    let unit = Unit::unfold(body(20, &[1, 2, 3, 4, 5, 6, 7, 8]), &mut functions);
    assert_eq!(shape(&unit)[0], "u0:0 u1:1 u1:2 u1:3 cell:4 u1:5 cell:6 cell:7 cell:8");
    assert_eq!(unit.contents.into_iter().collect::<Vec<_>>(), [1, 2, 3, 5]);
}

#[test]
fn a_unit_grows_so_far() {
    let least = *GROWTH.start();
    // The smallest first.
    let size = |number| MAX_HOT - 30 + number;
    let callees: Vec<(usize, Body)> = (1..=30).map(|number| (number, body(size(number), &[]))).collect();
    // Each is called at two places.
    let unit = unfold(body(80, &(1..=30).rev().flat_map(|number| [number; 2]).collect::<Vec<_>>()), callees);
    let sums = (1..=30).scan(0, |sum, number| {
        *sum += 2 * size(number);
        Some(*sum)
    });
    let there = sums.take_while(|&sum| sum <= least).count();
    assert!((1..30).contains(&there));
    assert_eq!(unit[0].split(' ').filter(|name| name.starts_with("u1:")).count(), there);
    assert!(unit[0].ends_with(" u1:1") && unit[0].contains("cell:30"), "{unit:?}");
    // A copy for each of the callers' copies, so a callee is dearer the deeper it is.
    let unit = unfold(body(9, &[1; 5]), [(1, body(21, &[2; 20])), (2, body(30, &[]))]);
    assert_eq!(unit[..2], ["u0:0 u1:1", "u1:1 cell:2"]);
    // A large function may grow by as much again.
    for (sites, name) in [(40, "u1:1"), (41, "cell:1")] {
        let unit = unfold(body(40 * MAX_HOT, &vec![1; sites]), [(1, body(MAX_HOT, &[]))]);
        assert_eq!(unit[0], format!("u0:0 {name}"));
    }
}

#[test]
fn what_does_not_fit_is_called() {
    let entry = body(20, &[1, 2, 3]);
    // Of another signature; not to be had; fine.
    let mut functions = Functions::default();
    functions.bodies.extend([(1, taking(1, 9, &[])), (3, body(9, &[2, 2]))]);
    let unit = Unit::unfold(entry, &mut functions);
    assert_eq!(shape(&unit), ["u0:0 cell:1 cell:2 u1:3", "u1:3 cell:2", "cell:1", "cell:2"]);
    assert_eq!(functions.asked, [1, 2, 3], "each once");
    let stub = unit.functions[2].display().to_string();
    assert!(stub.contains("iconst.i64 4096") && stub.contains("call_indirect"), "{stub}");
}

#[test]
fn maps_tell_whose_body_it_is() {
    let mut functions = Functions { bodies: BTreeMap::from([(1, body(7, &[2]))]), ..Functions::default() };
    let unit = Unit::unfold(body(9, &[1]), &mut functions);
    let tags = ["u0:0", "u1:1", "u4294967295:2"].map(|symbol| unit.label_of(symbol).tag);
    assert_eq!(tags, [9, 7, 9]);
    let single = Unit::single(body(9, &[]));
    assert_eq!((shape(&single), single.label_of("u0:0").tag), (vec!["u0:0".to_owned()], 9));
}

#[test]
fn long_bodies_are_not_looked_at() {
    assert!(may_fit(40, false) && may_fit(40, true));
    assert!(!may_fit(300, false) && may_fit(300, true));
    assert!(!may_fit(3000, true));
}
