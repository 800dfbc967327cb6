//! Locals, globals, and the operators that only rearrange operands.

use super::clif::InstBuilder;
use super::facts::GlobalPlace;
use super::function::FuncLower;
use super::vmctx::Stability;
use wasmparser::Operator;

/// Lowers `op` if it is a variable or parametric operator; `false` if it belongs to another family.
pub(super) fn lower(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    match *op {
        Operator::LocalGet { local_index } => {
            let value = f.b.use_var(f.locals[local_index as usize]);
            f.operands.push(value);
        }
        Operator::LocalSet { local_index } => {
            let value = f.operands.pop();
            f.b.def_var(f.locals[local_index as usize], value);
        }
        Operator::LocalTee { local_index } => {
            let value = f.operands.top(1)[0];
            f.b.def_var(f.locals[local_index as usize], value);
        }
        Operator::GlobalGet { global_index } => global_get(f, global_index),
        Operator::GlobalSet { global_index } => global_set(f, global_index),
        Operator::Drop => {
            f.operands.pop();
        }
        Operator::Select | Operator::TypedSelect { .. } => {
            let (if_true, if_false, condition) = f.operands.pop3();
            let value = f.b.ins().select(condition, if_true, if_false);
            f.operands.push(value);
        }
        _ => return false,
    }
    true
}

fn global_get(f: &mut FuncLower<'_, '_>, index: u32) {
    let global = f.facts.global(index);
    // Initializers run before any function does, so an immutable global is a constant of the instance.
    let stability = if global.mutable { Stability::Mutable } else { Stability::Constant };
    let flags = f.regions.global(stability);
    let value = match global.place {
        GlobalPlace::Inline(offset) => f.b.ins().load(global.ty, flags, f.abi.vmctx, offset),
        GlobalPlace::Imported(offset) => {
            let cell = f.imported_global_cell(offset);
            f.b.ins().load(global.ty, flags, cell, 0)
        }
    };
    f.operands.push(value);
}

/// Stores only the value's own bytes: the upper half of a 32-bit global's cell is zero from the start.
fn global_set(f: &mut FuncLower<'_, '_>, index: u32) {
    let value = f.operands.pop();
    let global = f.facts.global(index);
    let flags = f.regions.global(Stability::Mutable);
    match global.place {
        GlobalPlace::Inline(offset) => f.b.ins().store(flags, value, f.abi.vmctx, offset),
        GlobalPlace::Imported(offset) => {
            let cell = f.imported_global_cell(offset);
            f.b.ins().store(flags, value, cell, 0)
        }
    };
}
