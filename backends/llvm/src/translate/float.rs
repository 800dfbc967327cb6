//! Floats: constants, arithmetic, conversions, bit casts. No fast-math flags.
//!
//! Known gap: LLVM folds operations to an operand without quieting a signalling NaN; a lowering that stores NaN bits needs
//! quieting before this family grows.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode};

use super::{Handled, Translator, basic_type};

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    let data = t.func.dfg.insts[inst];
    let value = match data {
        InstructionData::UnaryIeee32 { opcode: Opcode::F32const, imm } => {
            let bits = t.context.i32_type().const_int(u64::from(imm.bits()), false);
            t.builder.build_bit_cast(bits, t.context.f32_type(), "")?
        }
        InstructionData::UnaryIeee64 { opcode: Opcode::F64const, imm } => {
            let bits = t.context.i64_type().const_int(imm.bits(), false);
            t.builder.build_bit_cast(bits, t.context.f64_type(), "")?
        }
        InstructionData::Binary { opcode, args } if t.clif_type(inst).is_float() => {
            let (lhs, rhs) = (t.float(args[0]), t.float(args[1]));
            match opcode {
                Opcode::Fadd => t.builder.build_float_add(lhs, rhs, "")?,
                Opcode::Fsub => t.builder.build_float_sub(lhs, rhs, "")?,
                Opcode::Fmul => t.builder.build_float_mul(lhs, rhs, "")?,
                Opcode::Fdiv => t.builder.build_float_div(lhs, rhs, "")?,
                _ => return Ok(false),
            }
            .into()
        }
        InstructionData::LoadNoOffset { opcode: Opcode::Bitcast, arg, .. } => {
            let to = basic_type(t.context, t.clif_type(inst))?;
            t.builder.build_bit_cast(t.value(arg), to, "")?
        }
        InstructionData::Unary { opcode, arg } => {
            let to = basic_type(t.context, t.clif_type(inst))?;
            match opcode {
                Opcode::Fneg => t.builder.build_float_neg(t.float(arg), "")?.into(),
                Opcode::Fpromote => t.builder.build_float_ext(t.float(arg), to.into_float_type(), "")?.into(),
                Opcode::Fdemote => t.builder.build_float_trunc(t.float(arg), to.into_float_type(), "")?.into(),
                Opcode::FcvtFromUint => t.builder.build_unsigned_int_to_float(t.int(arg), to.into_float_type(), "")?.into(),
                Opcode::FcvtFromSint => t.builder.build_signed_int_to_float(t.int(arg), to.into_float_type(), "")?.into(),
                _ => return Ok(false),
            }
        }
        _ => return Ok(false),
    };
    t.define(inst, value);
    Ok(true)
}
