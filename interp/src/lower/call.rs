//! Calls. A callee receives its own vmctx and its own token, whoever calls it. A function of this module is
//! reached through its bead's code cell, whose address is a constant of the code; an import and an indirect
//! callee through the function reference. Two or more results travel in the thread's wide buffer.

use super::clif::{self, Inst, InstBuilder, IntCC, SigRef, Value, types};
use super::facts::Callee;
use super::function::FuncLower;
use super::signature::clif_type;
use super::vmctx::FuncRefParts;
use crate::trap::TrapCode;
use wasmparser::Operator;

/// Lowers `op` if it is a call; `false` if it belongs to another family.
pub(super) fn lower(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    match *op {
        Operator::Call { function_index } => direct(f, function_index),
        Operator::CallIndirect { type_index, table_index } => indirect(f, type_index, table_index),
        _ => return false,
    }
    true
}

fn direct(f: &mut FuncLower<'_, '_>, function: u32) {
    let ty = f.facts.type_of_function(function);
    match f.facts.callee(function) {
        Callee::Defined { bead } => {
            let target = FuncRefParts {
                code_cell: f.b.ins().iconst(types::I64, bead.code_cell().addr() as i64),
                vmctx: f.abi.vmctx,
                token: f.b.ins().iconst(types::I64, i64::from(function)),
            };
            call(f, ty, target, |f, signature, args| match f.cx.inlinable(f.b, bead, signature) {
                Some(callee) => f.b.ins().call(callee, args),
                None => through_cell(target)(f, signature, args),
            });
        }
        Callee::Imported => {
            let reference = f.func_ref(function);
            let target = f.func_ref_parts(reference);
            call(f, ty, target, through_cell(target));
        }
    }
}

/// Calls whatever runs the function now.
fn through_cell(target: FuncRefParts) -> impl FnOnce(&mut FuncLower<'_, '_>, SigRef, &[Value]) -> Inst {
    move |f, signature, args| clif::call_code_cell(f.b, signature, target.code_cell, args)
}

fn indirect(f: &mut FuncLower<'_, '_>, ty: u32, table: u32) {
    let index = f.operands.pop();
    let element = f.table_element(table, index);
    let flags = f.regions.elements();
    let reference = f.b.ins().load(types::I64, flags, element, 0);
    let null = f.b.ins().icmp_imm_u(IntCC::Equal, reference, 0);
    f.trap_if(null, TrapCode::IndirectCallToNull);
    let actual = f.func_ref_type(reference);
    let expected = f.facts.canonical_type(ty);
    let differs = f.b.ins().icmp_imm_u(IntCC::NotEqual, actual, i64::from(expected));
    f.trap_if(differs, TrapCode::BadSignature);
    let target = f.func_ref_parts(reference);
    call(f, ty, target, through_cell(target));
}

fn call(
    f: &mut FuncLower<'_, '_>,
    ty: u32,
    target: FuncRefParts,
    emit: impl FnOnce(&mut FuncLower<'_, '_>, SigRef, &[Value]) -> Inst,
) {
    let signature = f.signature(ty);
    let ty = f.facts.func_type(ty);
    let params = ty.params().len();
    let mut args = Vec::with_capacity(params + 2);
    args.push(target.vmctx);
    args.push(target.token);
    args.extend_from_slice(f.operands.top(params));
    f.operands.truncate(f.operands.height() - params);
    let call = emit(f, signature, &args);
    f.memory_may_have_grown();
    match ty.results() {
        [] => {}
        [_] => {
            let result = f.b.inst_results(call)[0];
            f.operands.push(result);
        }
        wide => {
            for (slot, &result) in wide.iter().enumerate() {
                let value = clif::load_wide(f.b, f.abi.cells, slot, clif_type(result));
                f.operands.push(value);
            }
        }
    }
}

impl FuncLower<'_, '_> {
    /// Returns the `results` topmost operands, which are all the function has.
    pub(super) fn return_top(&mut self, results: usize) {
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
