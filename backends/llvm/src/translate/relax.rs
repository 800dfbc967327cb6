//! Takes back the quieting that turned out not to be needed.
//!
//! Results of arithmetic are multiplied by a hidden one where their bits are looked at (`quiet`), in case LLVM folds the
//! arithmetic to an operand. After the passes it shows whether it did: what is still arithmetic on values that are not known
//! has nothing left to fold in the code generator, and quiets as the hardware does.

use inkwell::{
    module::Module,
    values::{AnyValue, BasicValue, BasicValueEnum, CallSiteValue, InstructionOpcode as Opcode, InstructionValue, Operand},
};

use super::quiet::ONES;

/// Values looked at before the multiplication stays.
pub(super) const MAX_VALUES: usize = 64;

/// Removes multiplications by a hidden one whose other factor is quiet. To be run after the passes.
pub(crate) fn relax(module: &Module<'_>) {
    if ONES.iter().all(|name| module.get_global(name).is_none()) {
        return;
    }
    for function in module.get_functions() {
        for block in function.get_basic_blocks() {
            let products = block.get_instructions().filter(|inst| inst.get_opcode() == Opcode::FMul);
            for product in products.collect::<Vec<_>>() {
                if let [Some(one), Some(other)] = [operand(product, 0), operand(product, 1)]
                    && let Some(factor) = (is_one(one).then_some(other)).or_else(|| is_one(other).then_some(one))
                    && let Some(quiet) = factor.as_instruction_value().filter(|_| is_quiet(factor))
                {
                    product.replace_all_uses_with(&quiet);
                    product.erase_from_basic_block();
                }
            }
        }
    }
}

pub(crate) fn operand<'ctx>(inst: InstructionValue<'ctx>, index: u32) -> Option<BasicValueEnum<'ctx>> {
    inst.get_operand(index).and_then(Operand::value)
}

/// A load of a hidden one, or a vector of such and of lanes that do not matter.
fn is_one(value: BasicValueEnum<'_>) -> bool {
    let Some(inst) = value.as_instruction_value() else { return false };
    let lane = |index| operand(inst, index).is_some_and(is_one);
    let free = |index| operand(inst, index).is_some_and(is_undefined);
    match inst.get_opcode() {
        Opcode::Load => match operand(inst, 0) {
            Some(BasicValueEnum::PointerValue(from)) => ONES.iter().any(|one| from.get_name().to_bytes() == one.as_bytes()),
            _ => false,
        },
        Opcode::InsertElement => (free(0) || lane(0)) && lane(1),
        Opcode::ShuffleVector => lane(0) && (free(1) || lane(1)),
        _ => false,
    }
}

/// Whether the value cannot be a signalling NaN, nor become something that can in the code generator.
pub(super) fn is_quiet(value: BasicValueEnum<'_>) -> bool {
    let (mut seen, mut open) = (Vec::new(), vec![value]);
    while let Some(value) = open.pop() {
        if is_undefined(value) || seen.contains(&value) {
            continue;
        }
        if seen.len() == MAX_VALUES {
            return false;
        }
        seen.push(value);
        let Some(inst) = value.as_instruction_value() else { return false };
        // A loop's values are as quiet as what comes into the loop.
        let forwarded = match inst.get_opcode() {
            Opcode::FAdd | Opcode::FSub | Opcode::FMul | Opcode::FDiv => {
                let operands = [operand(inst, 0), operand(inst, 1)];
                // Neutral constants fold late; what is left then is the other operand or its negation.
                match operands.iter().flatten().position(|&operand| is_constant(operand)) {
                    Some(constant) => vec![1 - constant as u32],
                    None => vec![],
                }
            }
            Opcode::SIToFP | Opcode::UIToFP | Opcode::FPExt => vec![],
            Opcode::FNeg | Opcode::ExtractElement => vec![0],
            Opcode::InsertElement | Opcode::ShuffleVector => vec![0, 1],
            Opcode::Select => vec![1, 2],
            Opcode::Phi => (0..inst.get_num_operands()).collect(),
            Opcode::Call => match intrinsic(inst).as_deref() {
                Some("llvm.sqrt") => vec![],
                Some("llvm.fma") if (0..3).all(|index| !operand(inst, index).is_some_and(is_constant)) => vec![],
                Some("llvm.fabs" | "llvm.copysign" | "llvm.floor" | "llvm.ceil" | "llvm.trunc" | "llvm.roundeven") => vec![0],
                _ => return false,
            },
            _ => return false,
        };
        for index in forwarded {
            let Some(value) = operand(inst, index) else { return false };
            open.push(value);
        }
    }
    true
}

/// The called intrinsic, without its types.
pub(super) fn intrinsic(call: InstructionValue<'_>) -> Option<String> {
    let callee = CallSiteValue::try_from(call).ok()?.get_called_fn_value()?;
    let name = callee.get_name().to_string_lossy().into_owned();
    let parts: Vec<&str> = name.split('.').take(2).collect();
    Some(parts.join("."))
}

pub(super) fn is_constant(value: BasicValueEnum<'_>) -> bool {
    match value {
        BasicValueEnum::FloatValue(value) => value.is_const(),
        BasicValueEnum::VectorValue(value) => value.is_const(),
        _ => false,
    }
}

fn is_undefined(value: BasicValueEnum<'_>) -> bool {
    match value {
        BasicValueEnum::FloatValue(value) => value.is_undef() || value.as_any_value_enum().is_poison(),
        BasicValueEnum::VectorValue(value) => value.is_undef() || value.as_any_value_enum().is_poison(),
        _ => false,
    }
}
