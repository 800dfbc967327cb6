//! The few operations on four lanes that counting needs. Vectors are in registers, or not compiled here.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, condcodes::IntCC, types};
use tierup_asm::{Cond, LaneOp, RAX, Width, Xmm};

use super::{Emitter, Place, Result, Unsupported, X15};

impl Emitter<'_> {
    /// Whether an instruction makes or reads a vector.
    pub(super) fn is_vector(&self, inst: Inst) -> bool {
        let dfg = &self.func.dfg;
        dfg.inst_results(inst).iter().chain(dfg.inst_args(inst)).any(|&value| self.ty(value).is_vector())
    }

    pub(super) fn vector(&mut self, inst: Inst) -> Result {
        let dfg = &self.func.dfg;
        let mut values = dfg.inst_results(inst).iter().chain(dfg.inst_args(inst)).filter(|&&value| self.ty(value).is_vector());
        if !values.all(|&value| self.ty(value) == types::I32X4 && !matches!(self.place(value), Place::Slot(_))) {
            return Err(Unsupported("a vector"));
        }
        match dfg.insts[inst] {
            InstructionData::Load { opcode: Opcode::Load, arg, flags, offset } => {
                self.check_order(flags)?;
                let mem = self.address(arg, offset.into())?;
                self.define_float(inst, |e, to| e.asm.load_vector(to, mem));
            }
            InstructionData::Store { opcode: Opcode::Store, args: [value, address], flags, offset } => {
                self.check_order(flags)?;
                let mem = self.address(address, offset.into())?;
                let Place::Xmm(value) = self.place(value) else { return Err(Unsupported("a vector")) };
                self.asm.store_vector(mem, value);
            }
            InstructionData::Unary { opcode: Opcode::Splat, arg } => {
                let arg = self.operand(arg, RAX);
                self.define_float(inst, |e, to| {
                    e.asm.bits_to_float(Width::W32, to, arg);
                    e.asm.spread(to, to);
                });
            }
            InstructionData::Unary { opcode: Opcode::VanyTrue, arg } => {
                let Place::Xmm(arg) = self.place(arg) else { return Err(Unsupported("a vector")) };
                self.asm.test_vector(arg);
                self.define(inst, |e, to| e.asm.set(Cond::NotEqual, to));
            }
            InstructionData::IntCompare { args: [a, b], cond: IntCC::Equal, .. } => {
                self.lanes(inst, LaneOp::Equal, self.place(a), self.place(b))?
            }
            InstructionData::Binary { opcode: Opcode::Isub, args: [a, b] } => {
                self.lanes(inst, LaneOp::Sub, self.place(a), self.place(b))?;
            }
            _ => return Err(Unsupported("an operation on vectors")),
        }
        Ok(())
    }

    fn lanes(&mut self, inst: Inst, op: LaneOp, a: Place, b: Place) -> Result {
        let (Place::Xmm(a), Place::Xmm(b)) = (a, b) else { return Err(Unsupported("a vector")) };
        self.define_float(inst, |e, to: Xmm| {
            let other = if b == to && a != to {
                e.asm.movaps(X15, b);
                X15
            } else {
                b
            };
            if a != to {
                e.asm.movaps(to, a);
            }
            e.asm.lanes(op, to, other);
        });
        Ok(())
    }
}
