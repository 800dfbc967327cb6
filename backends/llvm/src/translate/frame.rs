//! One frame, one stack pointer.
//!
//! LLVM must not assume that two reads of the stack pointer are equal. Here they are, in one frame: there are no dynamic
//! allocations, and what is pushed for a call is gone when code goes on. When a callee was inlined, its check of the stack is the
//! caller's, and is left out: the frames are one, made by whoever checked first.

use inkwell::{
    context::Context,
    module::Module,
    values::{CallSiteValue, InstructionOpcode, InstructionValue},
};

/// Makes all reads of the stack pointer in a function one. To be run after inlining, and before the passes that then find the
/// checks to be one.
pub(crate) fn share_stack_pointer<'ctx>(context: &'ctx Context, module: &Module<'ctx>) {
    let builder = context.create_builder();
    for function in module.get_functions() {
        let insts = function.get_basic_blocks().into_iter().flat_map(|block| block.get_instructions());
        let reads: Vec<_> = insts.filter(reads_register).collect();
        let ([first, others @ ..], Some(entry)) = (&reads[..], function.get_first_basic_block()) else { continue };
        // To where it is before all others.
        let start = entry.get_instructions().find(|inst| inst.get_opcode() != InstructionOpcode::Alloca);
        if let Some(start) = start.filter(|start| start != first) {
            first.remove_from_basic_block();
            builder.position_before(&start);
            builder.insert_instruction(first, None);
        }
        for other in others {
            other.replace_all_uses_with(first);
            other.erase_from_basic_block();
        }
    }
}

/// The only register CLIF can ask for is the stack pointer.
fn reads_register(inst: &InstructionValue<'_>) -> bool {
    inst.get_opcode() == InstructionOpcode::Call
        && CallSiteValue::try_from(*inst)
            .ok()
            .and_then(|call| call.get_called_fn_value())
            .is_some_and(|callee| callee.get_name().to_bytes().starts_with(b"llvm.read_register."))
}
