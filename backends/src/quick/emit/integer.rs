//! Arithmetic on integers.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, Value, types};
use tierup_asm::{Alu, BitCount, Cond, Gpr, Mem, RAX, RCX, RDX, Rm, Shift, Width};

use super::{super::assign::is_commutative, Emitter, Result, Unsupported, control::immediate, width};

impl Emitter<'_> {
    pub(super) fn integer_operation(&mut self, inst: Inst) -> Result {
        match self.func.dfg.insts[inst] {
            InstructionData::Binary { opcode, args } => self.binary(inst, opcode, args),
            InstructionData::Unary { opcode, arg } => self.unary(inst, opcode, arg),
            InstructionData::LoadNoOffset { opcode: Opcode::Bitcast, arg, .. } => {
                self.define(inst, |e, to| e.int_into(to, arg));
                Ok(())
            }
            _ => Err(Unsupported("an operation on integers")),
        }
    }

    fn unary(&mut self, inst: Inst, opcode: Opcode, arg: Value) -> Result {
        let from = self.ty(arg);
        let width = width(from);
        let is_narrow = from.bits() < 32;
        match opcode {
            Opcode::Ireduce => {
                let bytes = self.ty(self.func.dfg.first_result(inst)).bytes() as u8;
                self.define(inst, |e, to| {
                    let arg = e.operand(arg, RAX);
                    match bytes {
                        4 => e.asm.mov(Width::W32, to, arg),
                        _ => e.asm.movzx(bytes, to, arg),
                    }
                });
            }
            Opcode::Sextend => {
                let bytes = from.bytes() as u8;
                let wide = super::width(self.ty(self.func.dfg.first_result(inst)));
                if self.ty(self.func.dfg.first_result(inst)).bits() < 32 {
                    return Err(Unsupported("a narrow extension"));
                }
                self.define(inst, |e, to| {
                    let arg = e.operand(arg, RAX);
                    e.asm.movsx(wide, bytes, to, arg);
                });
            }
            Opcode::Clz | Opcode::Ctz | Opcode::Popcnt if !is_narrow => self.define(inst, |e, to| {
                let arg = e.operand(arg, RAX);
                let what = match opcode {
                    Opcode::Clz => BitCount::LeadingZeros,
                    Opcode::Ctz => BitCount::TrailingZeros,
                    _ => BitCount::Ones,
                };
                e.asm.count(what, width, to, arg);
            }),
            Opcode::Ineg | Opcode::Bnot if !is_narrow => self.define(inst, |e, to| {
                e.int_into(to, arg);
                if opcode == Opcode::Ineg { e.asm.neg(width, to) } else { e.asm.not(width, to) }
            }),
            _ => return Err(Unsupported("an operation on an integer")),
        }
        Ok(())
    }

    fn binary(&mut self, inst: Inst, opcode: Opcode, [a, b]: [Value; 2]) -> Result {
        let ty = self.ty(a);
        let width = width(ty);
        let op = match opcode {
            Opcode::Band => Alu::And,
            Opcode::Bor => Alu::Or,
            Opcode::Bxor => Alu::Xor,
            _ if ty != types::I32 && ty != types::I64 => return Err(Unsupported("narrow arithmetic")),
            Opcode::Iadd => Alu::Add,
            Opcode::Isub => Alu::Sub,
            Opcode::Imul => {
                self.multiply(inst, width, a, b);
                return Ok(());
            }
            Opcode::Ishl => return self.shift(inst, Shift::Left, width, a, b),
            Opcode::Ushr => return self.shift(inst, Shift::Right, width, a, b),
            Opcode::Sshr => return self.shift(inst, Shift::Arithmetic, width, a, b),
            Opcode::Rotl => return self.shift(inst, Shift::RotateLeft, width, a, b),
            Opcode::Rotr => return self.shift(inst, Shift::RotateRight, width, a, b),
            Opcode::Udiv | Opcode::Urem | Opcode::Sdiv | Opcode::Srem => {
                self.divide(inst, opcode, width, a, b);
                return Ok(());
            }
            Opcode::Umin | Opcode::Umax | Opcode::Smin | Opcode::Smax => {
                let cond = match opcode {
                    Opcode::Umin => Cond::Above,
                    Opcode::Umax => Cond::Below,
                    Opcode::Smin => Cond::Greater,
                    _ => Cond::Less,
                };
                self.define(inst, |e, to| {
                    let b = e.operand(b, RCX);
                    e.int_into(RAX, a);
                    e.asm.alu(Alu::Cmp, width, RAX, b);
                    e.asm.cmov(cond, RAX, b);
                    if to != RAX {
                        e.asm.mov(Width::W64, to, RAX);
                    }
                });
                return Ok(());
            }
            _ => return Err(Unsupported("an operation on two integers")),
        };
        let (a, b) = if self.known(a).is_some() && is_commutative(opcode) { (b, a) } else { (a, b) };
        self.define(inst, |e, to| e.alu(op, is_commutative(opcode), width, to, a, b));
        Ok(())
    }

    fn alu(&mut self, op: Alu, is_commutative: bool, width: Width, to: Gpr, a: Value, b: Value) {
        if op == Alu::Add {
            let (a, b) = if self.scaled(a).is_some() { (b, a) } else { (a, b) };
            if let Some((b, scale)) = self.scaled(b) {
                let b = self.int(b, RCX);
                let sum = match self.known(a).and_then(|known| immediate(width, known)) {
                    Some(known) => Mem::Scaled(b, scale, known),
                    None => Mem::Index(self.int(a, RAX), b, scale, 0),
                };
                self.asm.lea(width, to, sum);
                return;
            }
        }
        if let (Alu::And, Some(mask @ (0xff | 0xffff))) = (op, self.known(b)) {
            let a = self.operand(a, to);
            self.asm.movzx(if mask == 0xff { 1 } else { 2 }, to, a);
            return;
        }
        if let Some(known) = self.known(b).and_then(|known| immediate(width, known)) {
            let a = self.int(a, to);
            let sum = match op {
                Alu::Add => Some(known),
                Alu::Sub => known.checked_neg(),
                _ => None,
            };
            match sum {
                Some(by) if a != to => self.asm.lea(width, to, Mem::Base(a, by)),
                _ => {
                    if a != to {
                        self.asm.mov(Width::W64, to, a);
                    }
                    self.asm.alu_imm(op, width, to, known);
                }
            }
            return;
        }
        let mut b = self.operand(b, RCX);
        if b == Rm::Gpr(to) {
            if is_commutative {
                b = self.operand(a, RCX);
                self.asm.alu(op, width, to, b);
                return;
            }
            self.asm.mov(Width::W64, RCX, to);
            b = RCX.into();
        }
        let from = self.int(a, to);
        if from != to {
            if let (Alu::Add, Rm::Gpr(other)) = (op, b) {
                self.asm.lea(width, to, Mem::Index(from, other, 0, 0));
                return;
            }
            self.asm.mov(Width::W64, to, from);
        }
        self.asm.alu(op, width, to, b);
    }

    fn multiply(&mut self, inst: Inst, width: Width, a: Value, b: Value) {
        let (a, b) = if self.known(a).is_some() { (b, a) } else { (a, b) };
        self.define(inst, |e, to| {
            if let Some(known) = e.known(b).and_then(|known| immediate(width, known)) {
                let a = e.operand(a, RAX);
                e.asm.imul_imm(width, to, a, known);
                return;
            }
            let b = e.operand(b, RCX);
            if b == Rm::Gpr(to) {
                let a = e.operand(a, RCX);
                e.asm.imul(width, to, a);
                return;
            }
            e.int_into(to, a);
            e.asm.imul(width, to, b);
        });
    }

    fn shift(&mut self, inst: Inst, shift: Shift, width: Width, a: Value, amount: Value) -> Result {
        self.define(inst, |e, to| match e.known(amount) {
            Some(known) => {
                e.int_into(to, a);
                let mask = if width == Width::W64 { 63 } else { 31 };
                e.asm.shift_imm(shift, width, to, known as u8 & mask);
            }
            None if matches!(shift, Shift::RotateLeft | Shift::RotateRight) => {
                e.int_into(RCX, amount);
                e.int_into(to, a);
                e.asm.shift_cl(shift, width, to);
            }
            None => {
                let amount = e.int(amount, RCX);
                let a = e.operand(a, RAX);
                e.asm.shift_by(shift, width, to, a, amount);
            }
        });
        Ok(())
    }

    fn divide(&mut self, inst: Inst, opcode: Opcode, width: Width, a: Value, b: Value) {
        let is_signed = matches!(opcode, Opcode::Sdiv | Opcode::Srem);
        let result = if matches!(opcode, Opcode::Urem | Opcode::Srem) { RDX } else { RAX };
        self.int_into(RAX, a);
        let b = match self.operand(b, RCX) {
            Rm::Gpr(RDX) => {
                self.asm.mov(Width::W64, RCX, RDX);
                Rm::Gpr(RCX)
            }
            b => b,
        };
        let past = self.asm.label();
        if opcode == Opcode::Srem {
            // The quotient of the least number and -1 does not exist; the remainder does.
            let divides = self.asm.label();
            self.asm.alu_imm(Alu::Cmp, width, b, -1);
            self.asm.jump_if(Cond::NotEqual, divides);
            self.asm.mov_imm(RDX, 0);
            self.asm.jump(past);
            self.asm.bind(divides);
        }
        match is_signed {
            true => self.asm.sign_to_rdx(width),
            false => self.asm.mov_imm(RDX, 0),
        }
        self.asm.div(width, is_signed, b);
        self.asm.bind(past);
        self.define(inst, |e, to| {
            if to != result {
                e.asm.mov(Width::W64, to, result);
            }
        });
    }
}
