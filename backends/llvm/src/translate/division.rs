//! Integer division. What traps in CLIF is undefined in LLVM, so each division is preceded by its checks; where the lowering
//! has checked already, LLVM finds them redundant.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, TrapCode, types};
use inkwell::{IntPredicate, values::IntValue};

use super::{Handled, Translator};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    let InstructionData::Binary { opcode, args } = t.func.dfg.insts[inst] else { return Ok(false) };
    if !matches!(opcode, Opcode::Udiv | Opcode::Sdiv | Opcode::Urem | Opcode::Srem) {
        return Ok(false);
    }
    // Neither compiler divides 128 bits without a library.
    let ty = t.clif_type(inst);
    if !ty.is_int() || ty == types::I128 {
        return Ok(false);
    }
    let (lhs, rhs) = (t.int(args[0]), t.int(args[1]));
    let by_zero = t.builder.build_int_compare(IntPredicate::EQ, rhs, rhs.get_type().const_zero(), "")?;
    t.trap_if(by_zero, TrapCode::INTEGER_DIVISION_BY_ZERO)?;
    let value = match opcode {
        Opcode::Udiv => t.builder.build_int_unsigned_div(lhs, rhs, "")?,
        Opcode::Urem => t.builder.build_int_unsigned_rem(lhs, rhs, "")?,
        Opcode::Sdiv => {
            let overflow = overflows(t, lhs, rhs)?;
            t.trap_if(overflow, TrapCode::INTEGER_OVERFLOW)?;
            t.builder.build_int_signed_div(lhs, rhs, "")?
        }
        _ => {
            // The least integer modulo -1 is 0, as anything modulo 1.
            let overflow = overflows(t, lhs, rhs)?;
            let one = rhs.get_type().const_int(1, false);
            let divisor = t.builder.build_select(overflow, one, rhs, "")?.into_int_value();
            t.builder.build_int_signed_rem(lhs, divisor, "")?
        }
    };
    t.define(inst, value);
    Ok(true)
}

/// Whether the quotient is one more than the greatest integer.
fn overflows<'ctx>(t: &Translator<'ctx, '_>, lhs: IntValue<'ctx>, rhs: IntValue<'ctx>) -> Result<IntValue<'ctx>, Refusal> {
    let ty = lhs.get_type();
    let least = ty.const_int(1 << (ty.get_bit_width() - 1), false);
    let least = t.builder.build_int_compare(IntPredicate::EQ, lhs, least, "")?;
    let minus_one = t.builder.build_int_compare(IntPredicate::EQ, rhs, ty.const_all_ones(), "")?;
    Ok(t.builder.build_and(least, minus_one, "")?)
}
