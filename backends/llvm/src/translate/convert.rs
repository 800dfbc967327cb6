//! Between floats, integers and bits.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, TrapCode, Type, Value, types};
use inkwell::{
    FloatPredicate,
    types::FloatType,
    values::{BasicValueEnum, FloatValue, IntValue},
};

use super::{Handled, Translator, basic_type};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    let value: BasicValueEnum<'_> = match t.func.dfg.insts[inst] {
        InstructionData::LoadNoOffset { opcode: Opcode::Bitcast, arg, .. } => {
            let to = basic_type(t.context, t.clif_type(inst))?;
            t.builder.build_bit_cast(t.value(arg), to, "")?
        }
        InstructionData::Unary { opcode, arg } => {
            let (from, to) = (t.func.dfg.value_type(arg), t.clif_type(inst));
            match opcode {
                Opcode::Fpromote | Opcode::Fdemote => {
                    let (Some(_), Some(to)) = (t.float_type(from), t.float_type(to)) else { return Ok(false) };
                    t.builder.build_float_cast(t.float(arg), to, "")?.into()
                }
                Opcode::FcvtFromUint | Opcode::FcvtFromSint => {
                    let (true, Some(to)) = (converts(from), t.float_type(to)) else { return Ok(false) };
                    match opcode {
                        Opcode::FcvtFromUint => t.builder.build_unsigned_int_to_float(t.int(arg), to, "")?.into(),
                        _ => t.builder.build_signed_int_to_float(t.int(arg), to, "")?.into(),
                    }
                }
                Opcode::FcvtToUintSat | Opcode::FcvtToSintSat => {
                    let (Some(from), true) = (t.float_type(from), converts(to)) else { return Ok(false) };
                    let signed = opcode == Opcode::FcvtToSintSat;
                    let name = if signed { "llvm.fptosi.sat" } else { "llvm.fptoui.sat" };
                    t.intrinsic(name, &[t.int_type(to).into(), from.into()], &[t.float(arg).into()])?
                }
                Opcode::FcvtToUint | Opcode::FcvtToSint => {
                    let (Some(from), true) = (t.float_type(from), converts(to)) else { return Ok(false) };
                    to_int(t, arg, from, to, opcode == Opcode::FcvtToSint)?.into()
                }
                _ => return Ok(false),
            }
        }
        _ => return Ok(false),
    };
    t.define(inst, value);
    Ok(true)
}

/// Integers that convert without a library.
fn converts(ty: Type) -> bool {
    ty.is_int() && ty != types::I128
}

/// Converts, trapping on NaN and on what does not fit. LLVM's own conversion is poison there.
fn to_int<'ctx>(
    t: &mut Translator<'ctx, '_>,
    arg: Value,
    from: FloatType<'ctx>,
    to: Type,
    signed: bool,
) -> Result<IntValue<'ctx>, Refusal> {
    let value = t.float(arg);
    let unordered = t.builder.build_float_compare(FloatPredicate::UNO, value, value, "")?;
    t.trap_if(unordered, TrapCode::BAD_CONVERSION_TO_INTEGER)?;
    let outside = outside(t, value, from, to.bits(), signed)?;
    t.trap_if(outside, TrapCode::INTEGER_OVERFLOW)?;
    let to = t.int_type(to);
    Ok(if signed {
        t.builder.build_float_to_signed_int(value, to, "")?
    } else {
        t.builder.build_float_to_unsigned_int(value, to, "")?
    })
}

/// Whether the truncation of `value` has no integer of `bits` bits. Both bounds are exact in either float type.
fn outside<'ctx>(
    t: &Translator<'ctx, '_>,
    value: FloatValue<'ctx>,
    from: FloatType<'ctx>,
    bits: u32,
    signed: bool,
) -> Result<IntValue<'ctx>, Refusal> {
    let compare = |predicate, bound: f64| t.builder.build_float_compare(predicate, value, from.const_float(bound), "");
    let high = 2f64.powi(if signed { bits - 1 } else { bits }.cast_signed());
    let low = if signed { -high } else { 0.0 };
    let mantissa = if from == t.context.f32_type() { f32::MANTISSA_DIGITS } else { f64::MANTISSA_DIGITS };
    // Everything above `low - 1` truncates to `low` or more; where that is no float, the next one down is out of range.
    let too_low =
        if !signed || bits <= mantissa { compare(FloatPredicate::OLE, low - 1.0)? } else { compare(FloatPredicate::OLT, low)? };
    let too_high = compare(FloatPredicate::OGE, high)?;
    Ok(t.builder.build_or(too_low, too_high, "")?)
}
