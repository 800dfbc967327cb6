//! Floats: constants, arithmetic, comparisons, rounding, signs. No fast-math flags.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, Value, condcodes::FloatCC, types};
use inkwell::{
    FloatPredicate,
    types::FloatType,
    values::{BasicValueEnum, FloatValue, IntValue},
};

use super::{Handled, Translator};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    let value: BasicValueEnum<'_> = match t.func.dfg.insts[inst] {
        InstructionData::UnaryIeee16 { opcode: Opcode::F16const, imm } => {
            let bits = t.context.i16_type().const_int(u64::from(imm.bits()), false);
            t.builder.build_bit_cast(bits, t.context.f16_type(), "")?
        }
        InstructionData::UnaryIeee32 { opcode: Opcode::F32const, imm } => {
            let bits = t.context.i32_type().const_int(u64::from(imm.bits()), false);
            t.builder.build_bit_cast(bits, t.context.f32_type(), "")?
        }
        InstructionData::UnaryIeee64 { opcode: Opcode::F64const, imm } => {
            let bits = t.context.i64_type().const_int(imm.bits(), false);
            t.builder.build_bit_cast(bits, t.context.f64_type(), "")?
        }
        InstructionData::UnaryConst { opcode: Opcode::F128const, constant_handle } => {
            let bytes = t.func.dfg.constants.get(constant_handle).as_slice();
            let Ok(bytes) = <[u8; 16]>::try_from(bytes) else { return Ok(false) };
            let (low, high) = bytes.split_at(8);
            let words = [low, high].map(|half| u64::from_le_bytes(half.try_into().expect("half of 16 bytes")));
            let bits = t.int_type(types::I128).const_int_arbitrary_precision(&words);
            t.builder.build_bit_cast(bits, t.context.f128_type(), "")?
        }
        InstructionData::FloatCompare { opcode: Opcode::Fcmp, args, cond } => {
            if operand(t, args[0]).is_none() {
                return Ok(false);
            }
            let bit = t.builder.build_float_compare(predicate(cond), t.float(args[0]), t.float(args[1]), "")?;
            t.builder.build_int_z_extend(bit, t.context.i8_type(), "")?.into()
        }
        InstructionData::Binary { opcode, args } => {
            let Some(ty) = operand(t, args[0]) else { return Ok(false) };
            if matches!(opcode, Opcode::Band | Opcode::Bor | Opcode::Bxor) {
                bitwise(t, opcode, ty, args)?
            } else {
                let (lhs, rhs) = (t.float(args[0]), t.float(args[1]));
                let Some(value) = binary(t, opcode, ty, lhs, rhs)? else { return Ok(false) };
                value
            }
        }
        InstructionData::Unary { opcode: Opcode::Bnot, arg } => {
            let Some(ty) = operand(t, arg) else { return Ok(false) };
            let inverted = t.builder.build_not(float_bits(t, arg)?, "")?;
            t.builder.build_bit_cast(inverted, ty, "")?
        }
        InstructionData::Unary { opcode, arg } => {
            let Some(ty) = operand(t, arg) else { return Ok(false) };
            let Some(value) = unary(t, opcode, ty, t.float(arg))? else { return Ok(false) };
            value
        }
        InstructionData::Ternary { opcode: Opcode::Fma, args } => {
            let Some(ty) = operand(t, args[0]) else { return Ok(false) };
            t.intrinsic("llvm.fma", &[ty.into()], &args.map(|arg| t.float(arg).into()))?
        }
        _ => return Ok(false),
    };
    t.define(inst, value);
    Ok(true)
}

fn operand<'ctx>(t: &Translator<'ctx, '_>, value: Value) -> Option<FloatType<'ctx>> {
    t.float_type(t.func.dfg.value_type(value))
}

fn binary<'ctx>(
    t: &Translator<'ctx, '_>,
    opcode: Opcode,
    ty: FloatType<'ctx>,
    lhs: FloatValue<'ctx>,
    rhs: FloatValue<'ctx>,
) -> Result<Option<BasicValueEnum<'ctx>>, Refusal> {
    Ok(Some(match opcode {
        Opcode::Fadd => t.builder.build_float_add(lhs, rhs, "")?.into(),
        Opcode::Fsub => t.builder.build_float_sub(lhs, rhs, "")?.into(),
        Opcode::Fmul => t.builder.build_float_mul(lhs, rhs, "")?.into(),
        Opcode::Fdiv => t.builder.build_float_div(lhs, rhs, "")?.into(),
        // NaN if either is, and -0 is less than +0: CLIF's meaning, not C's.
        Opcode::Fmin => t.intrinsic("llvm.minimum", &[ty.into()], &[lhs.into(), rhs.into()])?,
        Opcode::Fmax => t.intrinsic("llvm.maximum", &[ty.into()], &[lhs.into(), rhs.into()])?,
        Opcode::Fcopysign => t.intrinsic("llvm.copysign", &[ty.into()], &[lhs.into(), rhs.into()])?,
        _ => return Ok(None),
    }))
}

fn unary<'ctx>(
    t: &Translator<'ctx, '_>,
    opcode: Opcode,
    ty: FloatType<'ctx>,
    value: FloatValue<'ctx>,
) -> Result<Option<BasicValueEnum<'ctx>>, Refusal> {
    let name = match opcode {
        Opcode::Fneg => return Ok(Some(t.builder.build_float_neg(value, "")?.into())),
        Opcode::Fabs => "llvm.fabs",
        Opcode::Sqrt => "llvm.sqrt",
        Opcode::Ceil => "llvm.ceil",
        Opcode::Floor => "llvm.floor",
        Opcode::Trunc => "llvm.trunc",
        // Ties go to even.
        Opcode::Nearest => "llvm.roundeven",
        _ => return Ok(None),
    };
    Ok(Some(t.intrinsic(name, &[ty.into()], &[value.into()])?))
}

/// A logical operation on the bits of two floats.
fn bitwise<'ctx>(
    t: &Translator<'ctx, '_>,
    opcode: Opcode,
    ty: FloatType<'ctx>,
    args: [Value; 2],
) -> Result<BasicValueEnum<'ctx>, Refusal> {
    let (lhs, rhs) = (float_bits(t, args[0])?, float_bits(t, args[1])?);
    let value = match opcode {
        Opcode::Band => t.builder.build_and(lhs, rhs, "")?,
        Opcode::Bor => t.builder.build_or(lhs, rhs, "")?,
        _ => t.builder.build_xor(lhs, rhs, "")?,
    };
    Ok(t.builder.build_bit_cast(value, ty, "")?)
}

/// The bits of a float.
fn float_bits<'ctx>(t: &Translator<'ctx, '_>, value: Value) -> Result<IntValue<'ctx>, Refusal> {
    let bits = t.int_type(t.func.dfg.value_type(value).as_int());
    Ok(t.builder.build_bit_cast(t.value(value), bits, "")?.into_int_value())
}

fn predicate(cond: FloatCC) -> FloatPredicate {
    match cond {
        FloatCC::Ordered => FloatPredicate::ORD,
        FloatCC::Unordered => FloatPredicate::UNO,
        FloatCC::Equal => FloatPredicate::OEQ,
        FloatCC::NotEqual => FloatPredicate::UNE,
        FloatCC::OrderedNotEqual => FloatPredicate::ONE,
        FloatCC::UnorderedOrEqual => FloatPredicate::UEQ,
        FloatCC::LessThan => FloatPredicate::OLT,
        FloatCC::LessThanOrEqual => FloatPredicate::OLE,
        FloatCC::GreaterThan => FloatPredicate::OGT,
        FloatCC::GreaterThanOrEqual => FloatPredicate::OGE,
        FloatCC::UnorderedOrLessThan => FloatPredicate::ULT,
        FloatCC::UnorderedOrLessThanOrEqual => FloatPredicate::ULE,
        FloatCC::UnorderedOrGreaterThan => FloatPredicate::UGT,
        FloatCC::UnorderedOrGreaterThanOrEqual => FloatPredicate::UGE,
    }
}
