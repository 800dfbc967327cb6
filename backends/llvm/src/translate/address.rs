//! Addresses: an `iadd` tree becomes one `gep` off its likeliest base. Without that LLVM sees integers, knows nothing about
//! aliasing, and does not vectorize.
//!
//! Where a summand is the zero-extended counter of the loop the address is computed in, the base is what the sum was when the
//! loop began, `base + zext(start)`, and the summand `zext(counter) - zext(start)`: the same address whatever wraps, and
//! LLVM makes the difference a multiple of the trip count where it can show that the counter does not wrap.

use cranelift_codegen::ir::{Function, InstructionData, Opcode, StackSlot, Value, ValueDef};
use inkwell::{
    AddressSpace,
    values::{IntValue, PointerValue},
};

use super::Translator;
use crate::refusal::Refusal;

/// Leaves of a tree looked at before settling for a plain pointer.
const MAX_LEAVES: usize = 16;

impl<'ctx> Translator<'ctx, '_> {
    /// The pointer `address + offset`.
    pub(super) fn pointer(&self, address: Value, offset: i32) -> Result<PointerValue<'ctx>, Refusal> {
        let leaves = summands(self.func, address);
        let base = (0..leaves.len()).max_by_key(|&at| self.likelihood(leaves[at])).expect("a tree has a leaf");
        let i64_type = self.context.i64_type();
        let start = (0..leaves.len()).filter(|&at| at != base).find_map(|at| self.start(leaves[at]).map(|start| (at, start)));
        let (base_pointer, within) = self.base(leaves[base], start.map(|(_, start)| start))?;
        let mut rest = i64_type.const_int(i64::from(offset).wrapping_add(within).cast_unsigned(), true);
        for (at, &leaf) in leaves.iter().enumerate() {
            if at == base {
                continue;
            }
            let mut summand = self.int(leaf);
            if let Some((counter, start)) = start
                && counter == at
                && self.slot_of(leaves[base]).is_none()
            {
                summand = self.builder.build_int_sub(summand, self.extended(start)?, "")?;
            }
            rest = self.builder.build_int_add(rest, summand, "")?;
        }
        if rest.is_const() && rest.get_zero_extended_constant() == Some(0) {
            return Ok(base_pointer);
        }
        // SAFETY: without `inbounds` a gep is wrapping address arithmetic, whatever the operands.
        Ok(unsafe { self.builder.build_gep(self.context.i8_type(), base_pointer, &[rest], "") }?)
    }

    /// The base as a pointer and an offset from it. A stack slot is one already; others have the counter's `start` in them.
    fn base(&self, value: Value, start: Option<Value>) -> Result<(PointerValue<'ctx>, i64), Refusal> {
        if let Some((slot, offset)) = self.slot_of(value) {
            return Ok((self.slot(slot), offset));
        }
        let mut address = self.int(value);
        if let Some(start) = start {
            address = self.builder.build_int_add(address, self.extended(start)?, "")?;
        }
        let pointer = self.context.ptr_type(AddressSpace::default());
        Ok((self.builder.build_int_to_ptr(address, pointer, "")?, 0))
    }

    fn slot_of(&self, value: Value) -> Option<(StackSlot, i64)> {
        let ValueDef::Result(inst, _) = self.func.dfg.value_def(value) else { return None };
        match self.func.dfg.insts[inst] {
            InstructionData::StackAddr { stack_slot, offset, .. } => Some((stack_slot, i64::from(i32::from(offset)))),
            _ => None,
        }
    }

    /// What the counter that `leaf` extends began at.
    fn start(&self, leaf: Value) -> Option<Value> {
        let ValueDef::Result(inst, _) = self.func.dfg.value_def(leaf) else { return None };
        let InstructionData::Unary { opcode: Opcode::Uextend, arg } = self.func.dfg.insts[inst] else { return None };
        self.induction.start(self.func, arg, self.func.layout.inst_block(inst)?)
    }

    fn extended(&self, value: Value) -> Result<IntValue<'ctx>, Refusal> {
        Ok(self.builder.build_int_z_extend(self.int(value), self.context.i64_type(), "")?)
    }

    /// How likely a summand is the object's address: a slot, a parameter, then what was loaded or returned, then what flows
    /// around.
    fn likelihood(&self, value: Value) -> u8 {
        match self.func.dfg.value_def(value) {
            ValueDef::Param(block, _) if self.func.layout.entry_block() == Some(block) => 3,
            ValueDef::Result(inst, _) => match self.func.dfg.insts[inst].opcode() {
                Opcode::StackAddr => 4,
                Opcode::Load | Opcode::AtomicLoad | Opcode::Call | Opcode::CallIndirect | Opcode::SymbolValue => 2,
                _ => 0,
            },
            _ => 1,
        }
    }
}

/// The summands of an address, left to right.
pub(super) fn summands(func: &Function, address: Value) -> Vec<Value> {
    let (mut leaves, mut open) = (Vec::new(), vec![func.dfg.resolve_aliases(address)]);
    while let Some(value) = open.pop() {
        match func.dfg.value_def(value) {
            ValueDef::Result(inst, _)
                if func.dfg.insts[inst].opcode() == Opcode::Iadd && leaves.len() + open.len() < MAX_LEAVES =>
            {
                let args = func.dfg.inst_args(inst);
                open.extend([args[1], args[0]].map(|arg| func.dfg.resolve_aliases(arg)));
            }
            _ => leaves.push(value),
        }
    }
    leaves
}
