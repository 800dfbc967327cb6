//! Integers: constants, arithmetic, shifts, comparisons, conversions between widths.
//!
//! Division is not here: CLIF's traps, LLVM's is undefined, and checks belong into the lowering.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, condcodes::IntCC};
use inkwell::{IntPredicate, values::IntValue};

use super::{Handled, Translator, int_type};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    let data = t.func.dfg.insts[inst];
    let opcode = data.opcode();
    if opcode == Opcode::Select && !t.clif_type(inst).is_int() {
        return select(t, inst);
    }
    let value = match data {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => {
            int_type(t.context, t.clif_type(inst)).const_int(imm.bits().cast_unsigned(), false)
        }
        InstructionData::Binary { opcode, args } if t.clif_type(inst).is_int() => {
            let (lhs, rhs) = (t.int(args[0]), t.int(args[1]));
            match opcode {
                Opcode::Iadd => t.builder.build_int_add(lhs, rhs, "")?,
                Opcode::Isub => t.builder.build_int_sub(lhs, rhs, "")?,
                Opcode::Imul => t.builder.build_int_mul(lhs, rhs, "")?,
                Opcode::Band => t.builder.build_and(lhs, rhs, "")?,
                Opcode::Bor => t.builder.build_or(lhs, rhs, "")?,
                Opcode::Bxor => t.builder.build_xor(lhs, rhs, "")?,
                Opcode::Ishl => t.builder.build_left_shift(lhs, amount(t, lhs, rhs)?, "")?,
                Opcode::Ushr => t.builder.build_right_shift(lhs, amount(t, lhs, rhs)?, false, "")?,
                Opcode::Sshr => t.builder.build_right_shift(lhs, amount(t, lhs, rhs)?, true, "")?,
                _ => return Ok(false),
            }
        }
        InstructionData::IntCompare { opcode: Opcode::Icmp, args, cond } => {
            let bit = t.builder.build_int_compare(predicate(cond), t.int(args[0]), t.int(args[1]), "")?;
            t.builder.build_int_z_extend(bit, t.context.i8_type(), "")?
        }
        InstructionData::Unary { opcode, arg } => {
            let to = t.clif_type(inst);
            match opcode {
                Opcode::Ineg => t.builder.build_int_neg(t.int(arg), "")?,
                Opcode::Bnot => t.builder.build_not(t.int(arg), "")?,
                Opcode::Uextend => t.builder.build_int_z_extend(t.int(arg), int_type(t.context, to), "")?,
                Opcode::Sextend => t.builder.build_int_s_extend(t.int(arg), int_type(t.context, to), "")?,
                Opcode::Ireduce => t.builder.build_int_truncate(t.int(arg), int_type(t.context, to), "")?,
                _ => return Ok(false),
            }
        }
        InstructionData::Ternary { opcode: Opcode::Select, .. } => return select(t, inst),
        _ => return Ok(false),
    };
    t.define(inst, value);
    Ok(true)
}

fn select(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    let cond = t.truth(t.arg(inst, 0))?;
    let value = t.builder.build_select(cond, t.value(t.arg(inst, 1)), t.value(t.arg(inst, 2)), "")?;
    t.define(inst, value);
    Ok(true)
}

/// CLIF takes shift amounts modulo the width and of any type; LLVM's beyond the width are poison.
fn amount<'ctx>(t: &Translator<'ctx, '_>, lhs: IntValue<'ctx>, rhs: IntValue<'ctx>) -> Result<IntValue<'ctx>, Refusal> {
    let ty = lhs.get_type();
    let rhs = t.builder.build_int_cast_sign_flag(rhs, ty, false, "")?;
    Ok(t.builder.build_and(rhs, ty.const_int(u64::from(ty.get_bit_width()) - 1, false), "")?)
}

impl<'ctx> Translator<'ctx, '_> {
    /// A CLIF truth value (not zero) as LLVM's one bit.
    pub(super) fn truth(&self, value: cranelift_codegen::ir::Value) -> Result<IntValue<'ctx>, Refusal> {
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
