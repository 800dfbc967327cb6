//! A value in a slot of a frame: 64 bits, narrow values in the low half.
//!
//! What the upper half holds on entry is nobody's; on exit it is zero.

use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Type, Value,
    types::{F32, F64, I8, I16, I32, I64},
};
use cranelift_frontend::FunctionBuilder;

use crate::OsrError;

/// Whether values of that type can be in a slot.
pub(crate) fn holds(ty: Type) -> bool {
    [I8, I16, I32, I64, F32, F64].contains(&ty)
}

/// Loads a value of type `ty`, which a slot [`holds`], from slot `slot` of `frame`.
pub(crate) fn load(b: &mut FunctionBuilder<'_>, frame: Value, slot: u32, ty: Type) -> Result<Value, OsrError> {
    // The low half is at the lower address: no supported target is big-endian.
    Ok(b.ins().load(ty, MemFlagsData::trusted(), frame, offset(slot)?))
}

/// Stores `value`, which the body calls `named`, to slot `slot` of `frame`.
pub(crate) fn store(b: &mut FunctionBuilder<'_>, frame: Value, slot: u32, value: Value, named: Value) -> Result<(), OsrError> {
    let ty = b.func.dfg.value_type(value);
    let bits = match ty {
        I64 | F64 => value,
        I8 | I16 | I32 => b.ins().uextend(I64, value),
        F32 => {
            let bits = b.ins().bitcast(I32, MemFlagsData::new(), value);
            b.ins().uextend(I64, bits)
        }
        _ => return Err(OsrError::SlotType { value: named, ty }),
    };
    b.ins().store(MemFlagsData::trusted(), bits, frame, offset(slot)?);
    Ok(())
}

pub(crate) fn offset(slot: u32) -> Result<i32, OsrError> {
    i32::try_from(u64::from(slot) * 8).map_err(|_| OsrError::SlotNumber { slot })
}
