//! Signalling NaNs in minima and maxima. `fmin` and `fmax` of a NaN and a number are NaN, in CLIF and, as `llvm.minimum` and
//! `llvm.maximum`, in LLVM. But for processors with AVX512DQ, LLVM 19 (`LowerFMINIMUM_FMAXIMUM`) orders two scalars for `vmin`,
//! which returns its second operand if either is a NaN, with a `vfpclass` that asks for quiet NaNs only. When it knows that
//! one of the two is a number it leaves out the test that would follow, and of a signalling NaN and a number remains the number.
//!
//! So where LLVM may know that of one operand, the other is quieted, as in `quiet`. Constants are ordered by another path, which
//! is right, and so are vectors.

use inkwell::{
    module::Module,
    values::{BasicValue, BasicValueEnum, InstructionOpcode as Opcode, InstructionValue},
};

use super::{
    quiet::hidden_one,
    relax::{MAX_VALUES, intrinsic, is_constant, is_quiet, operand},
};
use crate::refusal::Refusal;

/// Quiets operands of minima and maxima that may be signalling beside a number. To be run after the passes: before them it does
/// not show what becomes a number.
pub(crate) fn quiet_minima(module: &Module<'_>) -> Result<(), Refusal> {
    for function in module.get_functions() {
        for block in function.get_basic_blocks() {
            let minima = block.get_instructions().filter(|&inst| is_minimum(inst));
            for minimum in minima.collect::<Vec<_>>() {
                let [Some(one), Some(other)] = [operand(minimum, 0), operand(minimum, 1)] else { continue };
                if is_constant(one) || is_constant(other) {
                    continue;
                }
                for (index, value, beside) in [(0, one, other), (1, other, one)] {
                    if may_be_known_number(beside) && !is_quiet(value) {
                        quiet(module, minimum, index, value)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn is_minimum(inst: InstructionValue<'_>) -> bool {
    inst.get_opcode() == Opcode::Call && matches!(intrinsic(inst).as_deref(), Some("llvm.minimum" | "llvm.maximum"))
}

fn quiet<'ctx>(
    module: &Module<'ctx>,
    minimum: InstructionValue<'ctx>,
    index: u32,
    value: BasicValueEnum<'ctx>,
) -> Result<(), Refusal> {
    let BasicValueEnum::FloatValue(value) = value else { return Ok(()) };
    let builder = module.get_context().create_builder();
    builder.position_before(&minimum);
    let one = builder.build_load(value.get_type(), hidden_one(module, value.get_type()).as_pointer_value(), "")?;
    let quiet = builder.build_float_mul(value, one.into_float_value(), "")?;
    minimum.set_operand(index, quiet);
    Ok(())
}

/// Whether LLVM's code generator may find that the value is no NaN (`SelectionDAG::isKnownNeverNaN`).
fn may_be_known_number(value: BasicValueEnum<'_>) -> bool {
    let (mut seen, mut open) = (Vec::new(), vec![value]);
    while let Some(value) = open.pop() {
        if is_constant(value) || seen.contains(&value) {
            continue;
        }
        if seen.len() == MAX_VALUES {
            return true;
        }
        seen.push(value);
        // An argument.
        let Some(inst) = value.as_instruction_value() else { return false };
        // The result is a number only if these operands are.
        let forwarded = match inst.get_opcode() {
            // The code generator works block by block; and arithmetic on numbers may make a NaN.
            Opcode::Load | Opcode::Phi | Opcode::FAdd | Opcode::FSub | Opcode::FMul | Opcode::FDiv => return false,
            Opcode::FNeg | Opcode::FPExt | Opcode::FPTrunc => vec![0],
            Opcode::Select => vec![1, 2],
            Opcode::Call => match intrinsic(inst).as_deref() {
                Some("llvm.sqrt" | "llvm.fma") => return false,
                Some("llvm.minimum" | "llvm.maximum") => vec![0, 1],
                Some("llvm.fabs" | "llvm.copysign" | "llvm.floor" | "llvm.ceil" | "llvm.trunc" | "llvm.roundeven") => vec![0],
                Some(name) if name.starts_with("llvm.") => return true,
                _ => return false,
            },
            _ => return true,
        };
        for index in forwarded {
            let Some(value) = operand(inst, index) else { return true };
            open.push(value);
        }
    }
    true
}
