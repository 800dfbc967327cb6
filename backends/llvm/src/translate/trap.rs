//! Traps. The ABI's traps are calls of the trap stub, which the lowering emits. CLIF's own become `llvm.ubsantrap`: on x86-64
//! `ud1l code(%eax), %eax` with the trap code in the place of a displacement, so that LLVM cannot merge two codes into one instruction as it does with `ud2`.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, TrapCode};
use inkwell::values::IntValue;

use super::{Handled, Translator};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    match t.func.dfg.insts[inst] {
        InstructionData::Trap { opcode: Opcode::Trap, code } => {
            t.emit_trap(code)?;
        }
        InstructionData::CondTrap { opcode, arg, code } => {
            let truth = t.truth(arg)?;
            let cond = match opcode {
                Opcode::Trapz => t.builder.build_not(truth, "")?,
                Opcode::Trapnz => truth,
                _ => return Ok(false),
            };
            t.trap_if(cond, code)?;
        }
        InstructionData::NullAry { opcode: Opcode::Debugtrap } => t.effect("llvm.debugtrap", &[])?,
        _ => return Ok(false),
    }
    Ok(true)
}

impl<'ctx> Translator<'ctx, '_> {
    /// Leaves by a trap if the bit is set; goes on in a new block.
    pub(super) fn trap_if(&mut self, cond: IntValue<'ctx>, code: TrapCode) -> Result<(), Refusal> {
        let here = self.here();
        let exit = match self.traps.get(&code) {
            Some(&exit) => exit,
            None => {
                let exit = self.context.append_basic_block(self.function, "trap");
                self.builder.position_at_end(exit);
                self.emit_trap(code)?;
                self.traps.insert(code, exit);
                exit
            }
        };
        let next = self.context.append_basic_block(self.function, "");
        self.builder.position_at_end(here);
        let branch = self.builder.build_conditional_branch(cond, exit, next)?;
        self.weigh(branch, true, false)?;
        self.builder.position_at_end(next);
        Ok(())
    }

    /// Ends the block with a trap.
    fn emit_trap(&self, code: TrapCode) -> Result<(), Refusal> {
        let code = self.context.i8_type().const_int(u64::from(code.as_raw().get()), false);
        self.effect("llvm.ubsantrap", &[code.into()])?;
        self.builder.build_unreachable()?;
        Ok(())
    }
}
