//! Integers as rows of bits: counts, rotations, reversals, masks, halves.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode};
use inkwell::{
    IntPredicate,
    values::{BasicValueEnum, IntValue},
};

use super::{Handled, Translator, basic_type};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    match t.func.dfg.insts[inst] {
        InstructionData::Unary { opcode: Opcode::Isplit, arg } => {
            let (whole, half) = (t.int(arg), t.int_type(t.clif_type(inst)));
            let width = whole.get_type().const_int(half.get_bit_width().into(), false);
            let low = t.builder.build_int_truncate(whole, half, "")?;
            let high = t.builder.build_right_shift(whole, width, false, "")?;
            let high = t.builder.build_int_truncate(high, half, "")?;
            t.define_pair(inst, low, high);
        }
        InstructionData::Unary { opcode, arg } => {
            if !t.func.dfg.value_type(arg).is_int() {
                return Ok(false);
            }
            let Some(value) = unary(t, inst, opcode, t.int(arg))? else { return Ok(false) };
            t.define(inst, value);
        }
        InstructionData::Binary { opcode: Opcode::Iconcat, args } => {
            let (whole, low, high) = (t.int_type(t.clif_type(inst)), t.int(args[0]), t.int(args[1]));
            let width = whole.const_int(low.get_type().get_bit_width().into(), false);
            let low = t.builder.build_int_z_extend(low, whole, "")?;
            let high = t.builder.build_int_z_extend(high, whole, "")?;
            let high = t.builder.build_left_shift(high, width, "")?;
            let value = t.builder.build_or(low, high, "")?;
            t.define(inst, value);
        }
        InstructionData::Binary { opcode: opcode @ (Opcode::Rotl | Opcode::Rotr), args } => {
            let ty = t.clif_type(inst);
            if !ty.is_int() {
                return Ok(false);
            }
            let value = t.int(args[0]);
            // The intrinsic takes the amount modulo the width, as CLIF does.
            let amount = t.builder.build_int_cast_sign_flag(t.int(args[1]), value.get_type(), false, "")?;
            let name = if opcode == Opcode::Rotl { "llvm.fshl" } else { "llvm.fshr" };
            let value = t.intrinsic(name, &[value.get_type().into()], &[value.into(), value.into(), amount.into()])?;
            t.define(inst, value);
        }
        InstructionData::Ternary { opcode: Opcode::Bitselect, args } => {
            let value = bitselect(t, inst, args.map(|arg| t.value(arg)))?;
            t.define(inst, value);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn unary<'ctx>(
    t: &Translator<'ctx, '_>,
    inst: Inst,
    opcode: Opcode,
    value: IntValue<'ctx>,
) -> Result<Option<IntValue<'ctx>>, Refusal> {
    let ty = value.get_type();
    let plain = |name| t.intrinsic(name, &[ty.into()], &[value.into()]).map(BasicValueEnum::into_int_value);
    // Zero is defined: its leading and trailing zeros are the width.
    let defined = t.context.bool_type().const_zero();
    let count = |name, of: IntValue<'ctx>| {
        t.intrinsic(name, &[ty.into()], &[of.into(), defined.into()]).map(BasicValueEnum::into_int_value)
    };
    Ok(Some(match opcode {
        Opcode::Popcnt => plain("llvm.ctpop")?,
        Opcode::Bitrev => plain("llvm.bitreverse")?,
        // One byte reversed is itself; the intrinsic starts at two.
        Opcode::Bswap if ty.get_bit_width() == 8 => value,
        Opcode::Bswap => plain("llvm.bswap")?,
        Opcode::Clz => count("llvm.ctlz", value)?,
        Opcode::Ctz => count("llvm.cttz", value)?,
        Opcode::Cls => {
            // Sign bits become zeros; the sign itself does not count.
            let shift = ty.const_int(u64::from(ty.get_bit_width()) - 1, false);
            let sign = t.builder.build_right_shift(value, shift, true, "")?;
            let zeros = count("llvm.ctlz", t.builder.build_xor(value, sign, "")?)?;
            t.builder.build_int_sub(zeros, ty.const_int(1, false), "")?
        }
        Opcode::Bmask => {
            let bit = t.builder.build_int_compare(IntPredicate::NE, value, ty.const_zero(), "")?;
            t.builder.build_int_s_extend(bit, t.int_type(t.clif_type(inst)), "")?
        }
        _ => return Ok(None),
    }))
}

/// `(c & x) | (!c & y)`, on the bits of floats too.
fn bitselect<'ctx>(
    t: &Translator<'ctx, '_>,
    inst: Inst,
    operands: [BasicValueEnum<'ctx>; 3],
) -> Result<BasicValueEnum<'ctx>, Refusal> {
    let ty = t.clif_type(inst);
    let to = basic_type(t.context, ty)?;
    let bits = t.int_type(ty.as_int());
    let mut ints = [bits.const_zero(); 3];
    for (int, operand) in ints.iter_mut().zip(operands) {
        *int = t.builder.build_bit_cast(operand, bits, "")?.into_int_value();
    }
    let [cond, x, y] = ints;
    let x = t.builder.build_and(cond, x, "")?;
    let y = t.builder.build_and(t.builder.build_not(cond, "")?, y, "")?;
    let value = t.builder.build_or(x, y, "")?;
    Ok(t.builder.build_bit_cast(value, to, "")?)
}
