//! Arithmetic that says whether it overflowed: as a second result, with a carry or borrow coming in, or by trapping.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, Value};
use inkwell::values::IntValue;

use super::{Handled, Translator};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    match t.func.dfg.insts[inst] {
        InstructionData::Binary { opcode, args } => {
            let name = match opcode {
                Opcode::UaddOverflow => "llvm.uadd.with.overflow",
                Opcode::SaddOverflow => "llvm.sadd.with.overflow",
                Opcode::UsubOverflow => "llvm.usub.with.overflow",
                Opcode::SsubOverflow => "llvm.ssub.with.overflow",
                Opcode::UmulOverflow => "llvm.umul.with.overflow",
                Opcode::SmulOverflow => "llvm.smul.with.overflow",
                _ => return Ok(false),
            };
            let Some(args) = integers(t, &args) else { return Ok(false) };
            let (value, overflow) = checked(t, name, args[0], args[1])?;
            define(t, inst, value, overflow)?;
        }
        InstructionData::Ternary { opcode, args } => {
            let name = match opcode {
                Opcode::UaddOverflowCin => "llvm.uadd.with.overflow",
                Opcode::SaddOverflowCin => "llvm.sadd.with.overflow",
                Opcode::UsubOverflowBin => "llvm.usub.with.overflow",
                Opcode::SsubOverflowBin => "llvm.ssub.with.overflow",
                _ => return Ok(false),
            };
            let Some(operands) = integers(t, &args[..2]) else { return Ok(false) };
            let carry = t.truth(args[2])?;
            let carry = t.builder.build_int_z_extend(carry, operands[0].get_type(), "")?;
            let (value, one) = checked(t, name, operands[0], operands[1])?;
            let (value, two) = checked(t, name, value, carry)?;
            // Unsigned, at most one of the two overflows. Signed, two overflows cancel each other.
            let overflow = t.builder.build_xor(one, two, "")?;
            define(t, inst, value, overflow)?;
        }
        InstructionData::IntAddTrap { opcode: Opcode::UaddOverflowTrap, args, code } => {
            let Some(operands) = integers(t, &args) else { return Ok(false) };
            let (value, overflow) = checked(t, "llvm.uadd.with.overflow", operands[0], operands[1])?;
            t.trap_if(overflow, code)?;
            t.define(inst, value);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn integers<'ctx>(t: &Translator<'ctx, '_>, args: &[Value]) -> Option<Vec<IntValue<'ctx>>> {
    args.iter().map(|&arg| t.func.dfg.value_type(arg).is_int().then(|| t.int(arg))).collect()
}

/// Result and overflow bit.
fn checked<'ctx>(
    t: &Translator<'ctx, '_>,
    name: &str,
    lhs: IntValue<'ctx>,
    rhs: IntValue<'ctx>,
) -> Result<(IntValue<'ctx>, IntValue<'ctx>), Refusal> {
    let pair = t.intrinsic(name, &[lhs.get_type().into()], &[lhs.into(), rhs.into()])?.into_struct_value();
    let value = t.builder.build_extract_value(pair, 0, "")?.into_int_value();
    let overflow = t.builder.build_extract_value(pair, 1, "")?.into_int_value();
    Ok((value, overflow))
}

fn define<'ctx>(
    t: &mut Translator<'ctx, '_>,
    inst: Inst,
    value: IntValue<'ctx>,
    overflow: IntValue<'ctx>,
) -> Result<(), Refusal> {
    let overflow = t.builder.build_int_z_extend(overflow, t.context.i8_type(), "")?;
    t.define_pair(inst, value, overflow);
    Ok(())
}
