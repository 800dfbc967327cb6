//! Integers: constants, arithmetic, shifts, comparisons, conversions between widths; and `select`, of any type.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, Value, condcodes::IntCC};
use inkwell::{
    IntPredicate,
    values::{BasicValueEnum, IntValue},
};

use super::{Handled, Translator, basic_type};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    let Some(ty) = t.result_type(inst) else { return Ok(false) };
    let data = t.func.dfg.insts[inst];
    if let InstructionData::Ternary { opcode: Opcode::Select | Opcode::SelectSpectreGuard, args } = data {
        // As a guard against speculation it is void: LLVM may make it a branch. Tiers promise results, not timing.
        basic_type(t.context, ty)?;
        let result = t.func.dfg.first_result(inst);
        let (one, other) = (t.forwarded(args[1], result), t.forwarded(args[2], result));
        let value = t.builder.build_select(t.truth(args[0])?, one, other, "")?;
        t.define(inst, value);
        return Ok(true);
    }
    if !ty.is_int() {
        return Ok(false);
    }
    let value = match data {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => t.int_type(ty).const_int(imm.bits().cast_unsigned(), false),
        InstructionData::Binary { opcode: Opcode::Iadd, args } => {
            let (lhs, rhs) = (t.int(args[0]), t.int(args[1]));
            t.sum(t.func.dfg.first_result(inst), lhs, rhs)?
        }
        InstructionData::Binary { opcode, args } => match binary(t, opcode, args)? {
            Some(value) => value,
            None => return Ok(false),
        },
        InstructionData::IntCompare { opcode: Opcode::Icmp, args, cond } => {
            let bit = t.builder.build_int_compare(predicate(cond), t.int(args[0]), t.int(args[1]), "")?;
            t.builder.build_int_z_extend(bit, t.context.i8_type(), "")?
        }
        InstructionData::Unary { opcode, arg } => {
            let to = t.int_type(ty);
            match opcode {
                Opcode::Ineg => t.builder.build_int_neg(t.int(arg), "")?,
                // The bits of a float may be inverted, but its result is a float.
                Opcode::Bnot => t.builder.build_not(t.int(arg), "")?,
                Opcode::Iabs => {
                    let wraps = t.context.bool_type().const_zero();
                    t.intrinsic("llvm.abs", &[to.into()], &[t.int(arg).into(), wraps.into()])?.into_int_value()
                }
                Opcode::Uextend => t.extension(arg, to)?,
                Opcode::Sextend => t.builder.build_int_s_extend(t.int(arg), to, "")?,
                Opcode::Ireduce => t.builder.build_int_truncate(t.int(arg), to, "")?,
                _ => return Ok(false),
            }
        }
        _ => return Ok(false),
    };
    t.define(inst, value);
    Ok(true)
}

fn binary<'ctx>(t: &Translator<'ctx, '_>, opcode: Opcode, args: [Value; 2]) -> Result<Option<IntValue<'ctx>>, Refusal> {
    if !args.iter().all(|&arg| t.func.dfg.value_type(arg).is_int()) {
        return Ok(None);
    }
    let (lhs, rhs) = (t.int(args[0]), t.int(args[1]));
    let choose = |name| {
        let choice = t.intrinsic(name, &[lhs.get_type().into()], &[lhs.into(), rhs.into()]);
        choice.map(BasicValueEnum::into_int_value)
    };
    Ok(Some(match opcode {
        Opcode::Isub => t.builder.build_int_sub(lhs, rhs, "")?,
        Opcode::Imul => t.builder.build_int_mul(lhs, rhs, "")?,
        Opcode::Umulhi => high_product(t, lhs, rhs, false)?,
        Opcode::Smulhi => high_product(t, lhs, rhs, true)?,
        Opcode::Band => t.builder.build_and(lhs, rhs, "")?,
        Opcode::Bor => t.builder.build_or(lhs, rhs, "")?,
        Opcode::Bxor => t.builder.build_xor(lhs, rhs, "")?,
        Opcode::Ishl => t.builder.build_left_shift(lhs, amount(t, lhs, rhs)?, "")?,
        Opcode::Ushr => t.builder.build_right_shift(lhs, amount(t, lhs, rhs)?, false, "")?,
        Opcode::Sshr => t.builder.build_right_shift(lhs, amount(t, lhs, rhs)?, true, "")?,
        Opcode::Smin => choose("llvm.smin")?,
        Opcode::Smax => choose("llvm.smax")?,
        Opcode::Umin => choose("llvm.umin")?,
        Opcode::Umax => choose("llvm.umax")?,
        _ => return Ok(None),
    }))
}

/// The upper half of the product, through one of twice the width.
fn high_product<'ctx>(
    t: &Translator<'ctx, '_>,
    lhs: IntValue<'ctx>,
    rhs: IntValue<'ctx>,
    signed: bool,
) -> Result<IntValue<'ctx>, Refusal> {
    let ty = lhs.get_type();
    let width = ty.get_bit_width();
    let twice = t.context.custom_width_int_type(std::num::NonZeroU32::new(2 * width).expect("not empty"));
    let twice = twice.map_err(|error| Refusal::Llvm(error.to_string()))?;
    let lhs = t.builder.build_int_cast_sign_flag(lhs, twice, signed, "")?;
    let rhs = t.builder.build_int_cast_sign_flag(rhs, twice, signed, "")?;
    let product = t.builder.build_int_mul(lhs, rhs, "")?;
    let high = t.builder.build_right_shift(product, twice.const_int(width.into(), false), false, "")?;
    Ok(t.builder.build_int_truncate(high, ty, "")?)
}

/// CLIF takes shift amounts modulo the width and of any type; LLVM's beyond the width are poison.
fn amount<'ctx>(t: &Translator<'ctx, '_>, lhs: IntValue<'ctx>, rhs: IntValue<'ctx>) -> Result<IntValue<'ctx>, Refusal> {
    let ty = lhs.get_type();
    let rhs = t.builder.build_int_cast_sign_flag(rhs, ty, false, "")?;
    Ok(t.builder.build_and(rhs, ty.const_int(u64::from(ty.get_bit_width()) - 1, false), "")?)
}

impl<'ctx> Translator<'ctx, '_> {
    /// A CLIF truth value (not zero) as LLVM's one bit.
    pub(super) fn truth(&self, value: Value) -> Result<IntValue<'ctx>, Refusal> {
        let value = self.int(value);
        Ok(self.builder.build_int_compare(IntPredicate::NE, value, value.get_type().const_zero(), "")?)
    }
}

fn predicate(cond: IntCC) -> IntPredicate {
    match cond {
        IntCC::Equal => IntPredicate::EQ,
        IntCC::NotEqual => IntPredicate::NE,
        IntCC::SignedLessThan => IntPredicate::SLT,
        IntCC::SignedGreaterThanOrEqual => IntPredicate::SGE,
        IntCC::SignedGreaterThan => IntPredicate::SGT,
        IntCC::SignedLessThanOrEqual => IntPredicate::SLE,
        IntCC::UnsignedLessThan => IntPredicate::ULT,
        IntCC::UnsignedGreaterThanOrEqual => IntPredicate::UGE,
        IntCC::UnsignedGreaterThan => IntPredicate::UGT,
        IntCC::UnsignedLessThanOrEqual => IntPredicate::ULE,
    }
}
