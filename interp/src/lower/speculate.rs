//! Speculation on indirect calls: a call that has called few functions becomes direct calls of these, behind guards.
//!
//! A guard compares the function reference, which is code *and* instance. Where the table is closed and has the function once, the
//! element's number says as much, and nothing is read. What is none of the known functions leaves for the interpreter, before the
//! call, with everything that may be wrong with it: an index out of bounds, null, another type. The code never goes on behind an exit,
//! so after the guard the compiler knows what was called, and what that did.
//!
//! Of a closed table whose functions the compiler can inline all at once, nothing need be taken for granted ([`closed`](super::closed)): a
//! choice by number is as fast, and never wrong. Nor is it of a call that the profile knows nothing of, or too much (see [`Seen`]), whose guard is suppressed, or
//! whose frame has too many values to leave with.

use tierup::deopt::{ExitReason, FrameState};
use tierup::{Bailout, BeadRef, GuardId};

use super::call;
use super::clif::{BodyAbi, InstBuilder, IntCC, Value, types};
use super::closed::join_with;
use super::facts::Callee;
use super::function::{FuncLower, Profiling};
use super::signature::clif_type;
use crate::deopt::GuardKind;
use crate::module::FuncHandle;
use crate::profile::{STABLE, Seen};

/// What an indirect call is taken to be.
pub(super) struct Plan<'m> {
    guard: GuardId,
    /// The frame before the call.
    state: FrameState,
    /// What it calls, the most frequent first.
    targets: Vec<Target<'m>>,
}

#[derive(Clone, Copy)]
struct Target<'m> {
    function: u32,
    bead: BeadRef<'m, FuncHandle>,
    /// Its only element, if the table is closed.
    element: Option<u32>,
}

/// What to speculate on at the call of type `ty` through `table` whose lowering begins here, if anything.
pub(super) fn plan<'m>(f: &mut FuncLower<'m, '_>, ty: u32, table: u32) -> Option<Plan<'m>> {
    let stable = match f.profiling {
        Profiling::Off | Profiling::Record => return None,
        Profiling::Speculate => STABLE,
        Profiling::SpeculateAlways => 0,
    };
    let Seen::Few(functions) = f.call_site()?.seen(stable) else { return None };
    let guard = GuardKind::Target.at(f.offset);
    if f.cx.suppressed(guard) {
        return None;
    }
    let targets: Vec<_> = functions.into_iter().filter_map(|function| target(f, ty, table, function)).collect();
    if targets.is_empty() {
        return None;
    }
    Some(Plan { guard, state: f.frame_state()?, targets })
}

/// `None` for a function that cannot be called here: nobody has ever called it here.
fn target<'m>(f: &FuncLower<'m, '_>, ty: u32, table: u32, function: u32) -> Option<Target<'m>> {
    let Callee::Defined { bead } = f.facts.callee(function) else { return None };
    let is_callable = f.facts.canonical_type(f.facts.type_of_function(function)) == f.facts.canonical_type(ty);
    let elements = f.known_elements(table).unwrap_or_default();
    let mut places = (0..).zip(elements).filter(|(_, element)| **element == Some(function)).map(|(place, _)| place);
    let element = places.next().filter(|_| places.next().is_none());
    is_callable.then_some(Target { function, bead, element })
}

/// Calls the element of that `index`, which is taken to be what the plan says, with the arguments on top of the operand stack.
pub(super) fn call(f: &mut FuncLower<'_, '_>, ty: u32, table: u32, index: Value, plan: &Plan<'_>) -> Result<Vec<Value>, Bailout> {
    let reference = plan.targets.iter().any(|target| target.element.is_none()).then(|| {
        let element = f.table_element(table, index);
        let flags = f.regions.elements();
        f.b.ins().load(types::I64, flags, element, 0)
    });
    let (last, others) = plan.targets.split_last().expect("a plan has targets");
    // Not needed by a single one.
    let join = f.b.create_block();
    for &result in f.facts.func_type(ty).results() {
        f.b.append_block_param(join, clif_type(result));
    }
    for target in others {
        let is_it = is_target(f, index, reference, *target);
        let (hit, next) = (f.b.create_block(), f.b.create_block());
        f.b.ins().brif(is_it, hit, &[], next, &[]);
        f.b.seal_block(hit);
        f.b.seal_block(next);
        f.b.switch_to_block(hit);
        let results = call::known(f, ty, target.function, target.bead);
        join_with(f, join, &results);
        f.b.switch_to_block(next);
    }
    let is_it = is_target(f, index, reference, *last);
    // A constant, so that the parameter is not kept for this.
    let callee = f.b.ins().iconst(types::I64, i64::from(f.function));
    let abi = BodyAbi { callee, ..f.abi };
    let results = match f.cx.guard(f.b, &abi, is_it, &plan.state, plan.guard, ExitReason::WrongTarget) {
        Some(()) => call::known(f, ty, last.function, last.bead),
        None => call::through_table(f, ty, table, index, call::to_own)?,
    };
    if others.is_empty() {
        return Ok(results);
    }
    join_with(f, join, &results);
    f.b.seal_block(join);
    f.b.switch_to_block(join);
    Ok(f.b.block_params(join).to_vec())
}

/// Whether the element is the target.
fn is_target(f: &mut FuncLower<'_, '_>, index: Value, reference: Option<Value>, target: Target<'_>) -> Value {
    match (target.element, reference) {
        (Some(element), _) => f.b.ins().icmp_imm_u(IntCC::Equal, index, i64::from(element)),
        (None, reference) => {
            let own = f.func_ref(target.function);
            f.b.ins().icmp(IntCC::Equal, reference.expect("read for targets that are told by it"), own)
        }
    }
}
