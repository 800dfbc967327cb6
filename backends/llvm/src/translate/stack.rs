//! Stack slots, and the registers that say where the frame is.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, StackSlot};
use inkwell::{AddressSpace, values::PointerValue};

use super::{Handled, Translator};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    let i64_type = t.context.i64_type();
    match t.func.dfg.insts[inst] {
        InstructionData::StackAddr { opcode: Opcode::StackAddr, stack_slot, offset } => {
            let slot = t.builder.build_ptr_to_int(t.slot(stack_slot), i64_type, "")?;
            let offset = i64_type.const_int(i64::from(i32::from(offset)).cast_unsigned(), true);
            let address = t.builder.build_int_add(slot, offset, "")?;
            t.define(inst, address);
        }
        InstructionData::NullAry { opcode } => {
            let pointer = t.context.ptr_type(AddressSpace::default());
            let zero = t.context.i32_type().const_zero().into();
            let value = match opcode {
                Opcode::GetStackPointer => {
                    let rsp = t.context.metadata_node(&[t.context.metadata_string("rsp").into()]);
                    t.intrinsic("llvm.read_register", &[i64_type.into()], &[rsp.into()])?.into_int_value()
                }
                Opcode::GetFramePointer => {
                    let frame = t.intrinsic("llvm.frameaddress", &[pointer.into()], &[zero])?;
                    t.builder.build_ptr_to_int(frame.into_pointer_value(), i64_type, "")?
                }
                Opcode::GetReturnAddress => {
                    let address = t.intrinsic("llvm.returnaddress", &[], &[zero])?;
                    t.builder.build_ptr_to_int(address.into_pointer_value(), i64_type, "")?
                }
                _ => return Ok(false),
            };
            t.define(inst, value);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

impl<'ctx> Translator<'ctx, '_> {
    /// Makes the slots. The builder must be in the entry block, where LLVM gives them a fixed place.
    pub(super) fn allocate_slots(&mut self) -> Result<(), Refusal> {
        for (slot, data) in self.func.sized_stack_slots.iter() {
            let place = self.builder.build_alloca(self.context.i8_type().array_type(data.size), &slot.to_string())?;
            // A word at least, as in Cranelift; 16 bytes where a 16-byte atomic fits, because in Cranelift a frame's first slot is.
            let least = if data.size < 16 { 8 } else { 16 };
            let align = 1u32.checked_shl(data.align_shift.into()).unwrap_or(u32::MAX).max(least);
            place.as_instruction().expect("an alloca is an instruction").set_alignment(align)?;
            self.slots[slot] = Some(place);
        }
        Ok(())
    }

    pub(super) fn slot(&self, slot: StackSlot) -> PointerValue<'ctx> {
        self.slots[slot].expect("slots are allocated first")
    }
}
