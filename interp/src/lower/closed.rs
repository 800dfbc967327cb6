//! Indirect calls through tables that nobody can write to, or nobody has written to: where the compiler may inline what such a call can reach, the call
//! becomes a choice by the element's number between direct calls. What is not among them (other functions, null, another type,
//! an index out of bounds) goes the way of every indirect call, which finds what is there, or the trap.

use std::collections::BTreeMap;

use super::call;
use super::clif::{Block, BlockArg, FuncRef, InstBuilder, Switch, Value};
use super::facts::Callee;
use super::function::FuncLower;
use super::signature::clif_type;
use crate::module::FuncHandle;
use tierup::{Bailout, BeadRef};

/// Functions of the right type in a table, at most, that a look at each is worth.
const MAX_CANDIDATES: usize = 64;
/// Direct calls that stand for one indirect one, at most.
const MAX_TARGETS: usize = 16;

/// A function that an indirect call may reach.
pub(super) struct Target<'m> {
    function: u32,
    bead: BeadRef<'m, FuncHandle>,
    callee: FuncRef,
    /// Where in the table it is.
    elements: Vec<u32>,
}

/// The functions that a call of type `ty` through `table` may reach and the compiler may inline.
pub(super) fn targets<'m>(f: &mut FuncLower<'m, '_>, ty: u32, table: u32) -> Vec<Target<'m>> {
    if !f.cx.inlines() {
        return Vec::new();
    }
    let mut candidates = BTreeMap::<u32, Vec<u32>>::new();
    for (element, function) in (0..).zip(f.known_elements(table).unwrap_or_default()) {
        if let Some(function) = *function
            && f.facts.canonical_type(f.facts.type_of_function(function)) == f.facts.canonical_type(ty)
        {
            candidates.entry(function).or_default().push(element);
        }
    }
    if candidates.len() > MAX_CANDIDATES {
        return Vec::new();
    }
    let signature = f.signature(ty);
    let inlinable = candidates.into_iter().filter_map(|(function, elements)| {
        let Callee::Defined { bead } = f.facts.callee(function) else { return None };
        let callee = f.cx.inlinable(f.b, bead, signature)?;
        Some(Target { function, bead, callee, elements })
    });
    let targets: Vec<_> = inlinable.collect();
    if targets.len() > MAX_TARGETS { Vec::new() } else { targets }
}

/// Calls one of `targets` if the element of that `index` is one; if not, whatever `otherwise` calls. All leave what they
/// return, which this returns, too.
pub(super) fn choose(
    f: &mut FuncLower<'_, '_>,
    ty: u32,
    index: Value,
    targets: &[Target<'_>],
    otherwise: impl FnOnce(&mut FuncLower<'_, '_>) -> Result<Vec<Value>, Bailout>,
) -> Result<Vec<Value>, Bailout> {
    let mut switch = Switch::new();
    let blocks: Vec<Block> = targets.iter().map(|_| f.b.create_block()).collect();
    for (target, &block) in targets.iter().zip(&blocks) {
        for &element in &target.elements {
            switch.set_entry(u128::from(element), block);
        }
    }
    let rest = f.b.create_block();
    let join = f.b.create_block();
    for &result in f.facts.func_type(ty).results() {
        f.b.append_block_param(join, clif_type(result));
    }
    switch.emit(f.b, index, rest);
    for (target, &block) in targets.iter().zip(&blocks) {
        f.b.switch_to_block(block);
        f.b.seal_block(block);
        let receiver = f.defined(target.function, target.bead);
        let results = call::emit(f, ty, receiver, |f, _, args| f.b.ins().call(target.callee, args));
        join_with(f, join, &results);
    }
    f.b.switch_to_block(rest);
    f.b.seal_block(rest);
    let results = otherwise(f)?;
    join_with(f, join, &results);
    f.b.switch_to_block(join);
    f.b.seal_block(join);
    Ok(f.b.block_params(join).to_vec())
}

/// Goes on in `join`, which takes the results.
pub(super) fn join_with(f: &mut FuncLower<'_, '_>, join: Block, results: &[Value]) {
    let results: Vec<_> = results.iter().map(|&result| BlockArg::Value(result)).collect();
    f.b.ins().jump(join, &results);
}
