//! Locals, globals, and the operators that only rearrange operands.

use super::clif::{Ieee32, Ieee64, InstBuilder, Type, Value, types};
use super::facts::GlobalPlace;
use super::function::FuncLower;
use super::vmctx::Stability;
use crate::module::ConstExpr;
use tierup::Bailout;
use wasmparser::Operator;

/// Lowers `op` if it is a variable or parametric operator; `false` if it belongs to another family.
pub(super) fn lower(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> Result<bool, Bailout> {
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
        Operator::GlobalSet { global_index } => global_set(f, global_index)?,
        Operator::Drop => {
            f.operands.pop();
        }
        Operator::Select | Operator::TypedSelect { .. } => {
            let (if_true, if_false, condition) = f.operands.pop3();
            let value = f.b.ins().select(condition, if_true, if_false);
            f.operands.push(value);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn global_get(f: &mut FuncLower<'_, '_>, index: u32) {
    let global = f.facts.global(index);
    if let Some(initial) = f.known_global(index) {
        let value = match initial {
            ConstExpr::Func(function) => f.func_ref(function),
            ConstExpr::Value(slot) => constant(f, global.ty, slot),
            ConstExpr::Global(_) => unreachable!("that is not known"),
        };
        f.operands.push(value);
        return;
    }
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

fn constant(f: &mut FuncLower<'_, '_>, ty: Type, slot: u64) -> Value {
    match ty {
        types::F32 => f.b.ins().f32const(Ieee32::with_bits(slot as u32)),
        types::F64 => f.b.ins().f64const(Ieee64::with_bits(slot)),
        types::I32 => f.b.ins().iconst(ty, i64::from(slot as u32)),
        _ => f.b.ins().iconst(ty, slot.cast_signed()),
    }
}

/// Stores only the value's own bytes: the upper half of a 32-bit global's cell is zero from the start.
fn global_set(f: &mut FuncLower<'_, '_>, index: u32) -> Result<(), Bailout> {
    f.tell_global_written(index)?;
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
    Ok(())
}
