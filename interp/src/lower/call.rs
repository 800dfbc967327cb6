//! Calls. A callee receives its own vmctx and its own token, whoever calls it. A function of this module is
//! reached through its bead's code cell, whose address is a constant of the code; an import and an indirect
//! callee through the function reference. Two or more results travel in the thread's wide buffer.

use super::clif::{self, Inst, InstBuilder, IntCC, SigRef, Value, types};
use super::facts::Callee;
use super::function::{FuncLower, Profiling};
use super::signature::clif_type;
use super::vmctx::FuncRefParts;
use super::{closed, speculate};
use crate::module::FuncHandle;
use crate::trap::TrapCode;
use tierup::{Bailout, BeadRef};
use wasmparser::Operator;

/// Lowers `op` if it is a call; `false` if it belongs to another family.
pub(super) fn lower(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> Result<bool, Bailout> {
    match *op {
        Operator::Call { function_index } => direct(f, function_index)?,
        Operator::CallIndirect { type_index, table_index } => indirect(f, type_index, table_index)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn direct(f: &mut FuncLower<'_, '_>, function: u32) -> Result<(), Bailout> {
    let ty = f.facts.type_of_function(function);
    if function == f.function && f.inline_itself(ty)? {
        return Ok(());
    }
    let results = match f.facts.callee(function) {
        Callee::Defined { bead } => known(f, ty, function, bead),
        Callee::Imported => {
            let reference = f.func_ref(function);
            let target = f.func_ref_parts(reference);
            to_any(f, ty, target)
        }
    };
    complete(f, ty, &results);
    f.note_call();
    Ok(())
}

/// Calls a function of this module, whose body may take the call's place, with the arguments on top of the operand stack.
pub(super) fn known(f: &mut FuncLower<'_, '_>, ty: u32, function: u32, bead: BeadRef<'_, FuncHandle>) -> Vec<Value> {
    let target = f.defined(function, bead);
    emit(f, ty, target, |f, signature, args| match f.cx.inlinable(f.b, bead, signature) {
        Some(callee) => f.b.ins().call(callee, args),
        None => through_cell(target)(f, signature, args),
    })
}

/// Calls whatever runs the function now.
fn through_cell(target: FuncRefParts) -> impl FnOnce(&mut FuncLower<'_, '_>, SigRef, &[Value]) -> Inst {
    move |f, signature, args| clif::call_code_cell(f.b, signature, target.code_cell, args)
}

fn indirect(f: &mut FuncLower<'_, '_>, ty: u32, table: u32) -> Result<(), Bailout> {
    // What is known beats what is likely.
    let targets = if f.profiling == Profiling::SpeculateAlways { Vec::new() } else { closed::targets(f, ty, table) };
    let plan = if targets.is_empty() { speculate::plan(f, ty, table) } else { None };
    let index = f.operands.pop();
    let results = match plan {
        Some(plan) => speculate::call(f, ty, table, index, &plan)?,
        None if targets.is_empty() => through_table(f, ty, table, index, to_own)?,
        // Code for what is left over is in the way of what is not.
        None => closed::choose(f, ty, index, &targets, |f| through_table(f, ty, table, index, to_any))?,
    };
    complete(f, ty, &results);
    f.note_call();
    Ok(())
}

/// Calls the element of that `index`, whatever it is, by `call` with the arguments on top of the operand stack.
pub(super) fn through_table(
    f: &mut FuncLower<'_, '_>,
    ty: u32,
    table: u32,
    index: Value,
    call: impl FnOnce(&mut FuncLower<'_, '_>, u32, FuncRefParts) -> Vec<Value>,
) -> Result<Vec<Value>, Bailout> {
    let element = f.table_element(table, index);
    let flags = f.regions.elements();
    let reference = f.b.ins().load(types::I64, flags, element, 0);
    let null = f.b.ins().icmp_imm_u(IntCC::Equal, reference, 0);
    f.trap_if(null, TrapCode::IndirectCallToNull);
    let actual = f.func_ref_type(reference);
    let expected = f.facts.canonical_type(ty);
    let differs = f.b.ins().icmp_imm_u(IntCC::NotEqual, actual, i64::from(expected));
    f.trap_if(differs, TrapCode::BadSignature);
    f.record_target(reference)?;
    let target = f.func_ref_parts(reference);
    Ok(call(f, ty, target))
}

/// Calls a function of whatever instance.
fn to_any(f: &mut FuncLower<'_, '_>, ty: u32, target: FuncRefParts) -> Vec<Value> {
    emit(f, ty, target, through_cell(target))
}

/// Calls a function that is most often of the calling instance.
///
/// All that a callee does to memory and globals waits for its vmctx. One that is read from the reference waits itself for whatever the program computed
/// the index from, and in a guest's interpreter loop that is what the callee before has written: each turn takes the time of all these reads, one after
/// the other, however well the processor predicts the call. The caller's own is there already, and a branch that is predicted
/// decides that it is meant.
pub(super) fn to_own(f: &mut FuncLower<'_, '_>, ty: u32, target: FuncRefParts) -> Vec<Value> {
    let own = FuncRefParts { vmctx: f.abi.vmctx, ..target };
    let is_own = f.b.ins().icmp(IntCC::Equal, target.vmctx, own.vmctx);
    let join = f.b.create_block();
    if !f.cx.polls_loops() {
        let vmctx = f.b.append_block_param(join, types::I64);
        f.b.ins().brif(is_own, join, &[own.vmctx.into()], join, &[target.vmctx.into()]);
        f.b.switch_to_block(join);
        f.b.seal_block(join);
        return to_any(f, ty, FuncRefParts { vmctx, ..target });
    }
    // LLVM would see that the two are one, but makes no one call of two.
    let [here, elsewhere] = [(); 2].map(|()| f.b.create_block());
    f.b.set_cold_block(elsewhere);
    for &result in f.facts.func_type(ty).results() {
        f.b.append_block_param(join, clif_type(result));
    }
    f.b.ins().brif(is_own, here, &[], elsewhere, &[]);
    for (block, receiver) in [(here, own), (elsewhere, target)] {
        f.b.switch_to_block(block);
        f.b.seal_block(block);
        let results = to_any(f, ty, receiver);
        closed::join_with(f, join, &results);
    }
    f.b.switch_to_block(join);
    f.b.seal_block(join);
    f.b.block_params(join).to_vec()
}

/// Calls `target` by `call` with the arguments on top of the operand stack, which stay there, and returns its results.
pub(super) fn emit(
    f: &mut FuncLower<'_, '_>,
    ty: u32,
    target: FuncRefParts,
    call: impl FnOnce(&mut FuncLower<'_, '_>, SigRef, &[Value]) -> Inst,
) -> Vec<Value> {
    let signature = f.signature(ty);
    let ty = f.facts.func_type(ty);
    let params = ty.params().len();
    let mut args = Vec::with_capacity(params + 2);
    args.push(target.vmctx);
    args.push(target.token);
    args.extend_from_slice(f.operands.top(params));
    let call = call(f, signature, &args);
    match ty.results() {
        wide @ [_, _, ..] => {
            let load = |(slot, &result)| clif::load_wide(f.b, f.abi.cells, slot, clif_type(result));
            wide.iter().enumerate().map(load).collect()
        }
        _ => f.b.inst_results(call).to_vec(),
    }
}

/// Replaces the arguments on the operand stack by the results.
fn complete(f: &mut FuncLower<'_, '_>, ty: u32, results: &[Value]) {
    f.operands.truncate(f.operands.height() - f.facts.func_type(ty).params().len());
    f.operands.push_all(results);
    f.memory_may_have_grown();
}

impl FuncLower<'_, '_> {
    /// A function of this module, as a callee.
    pub(super) fn defined(&mut self, function: u32, bead: BeadRef<'_, FuncHandle>) -> FuncRefParts {
        FuncRefParts {
            code_cell: self.b.ins().iconst(types::I64, bead.code_cell().addr() as i64),
            vmctx: self.abi.vmctx,
            token: self.b.ins().iconst(types::I64, i64::from(function)),
        }
    }

    /// Returns the `results` topmost operands, which are all the function has.
    pub(super) fn return_top(&mut self, results: usize) {
        if let Some(returns) = self.returns {
            self.jump(returns, results);
            return;
        }
        self.count_return();
        if results < 2 {
            self.b.ins().return_(self.operands.top(results));
            return;
        }
        for slot in 0..results {
            let value = self.operands.top(results)[slot];
            clif::store_wide(self.b, self.abi.cells, slot, value);
        }
        self.b.ins().return_(&[]);
    }
}
