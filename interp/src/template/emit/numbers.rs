//! Arithmetic and conversions.

use super::super::asm::{Alu, EQUAL, Float, FloatOp, RAX, RCX, RDX, Rm, Shift, Width, Xmm};
use super::{CONSTANT, Emitter, F32, F64, FLOAT, INT, LEN, MEM, NoTemplate, OTHER, TEMP, VALUE, register};
use crate::exec::Form;
use crate::exec::op::binary::BinaryOp;
use crate::exec::op::data::Class;
use crate::exec::op::unary::UnaryOp;

impl Emitter<'_> {
    /// Says of which class the result is.
    pub(super) fn binary(&mut self, op: BinaryOp, form: Form) -> Result<Class, NoTemplate> {
        use BinaryOp as B;
        use Width::{W32, W64};
        match op {
            B::I32Add => self.arithmetic(Alu::Add, W32, form),
            B::I64Add => self.arithmetic(Alu::Add, W64, form),
            B::I32Sub => self.arithmetic(Alu::Sub, W32, form),
            B::I64Sub => self.arithmetic(Alu::Sub, W64, form),
            B::I32And => self.arithmetic(Alu::And, W32, form),
            B::I64And => self.arithmetic(Alu::And, W64, form),
            B::I32Or => self.arithmetic(Alu::Or, W32, form),
            B::I64Or => self.arithmetic(Alu::Or, W64, form),
            B::I32Xor => self.arithmetic(Alu::Xor, W32, form),
            B::I64Xor => self.arithmetic(Alu::Xor, W64, form),
            B::I32Mul => self.mul(W32, form),
            B::I64Mul => self.mul(W64, form),
            B::I32Shl => self.shift(Shift::Shl, W32, form),
            B::I64Shl => self.shift(Shift::Shl, W64, form),
            B::I32ShrS => self.shift(Shift::ShrS, W32, form),
            B::I64ShrS => self.shift(Shift::ShrS, W64, form),
            B::I32ShrU => self.shift(Shift::ShrU, W32, form),
            B::I64ShrU => self.shift(Shift::ShrU, W64, form),
            B::I32Rotl => self.shift(Shift::Rotl, W32, form),
            B::I64Rotl => self.shift(Shift::Rotl, W64, form),
            B::I32Rotr => self.shift(Shift::Rotr, W32, form),
            B::I64Rotr => self.shift(Shift::Rotr, W64, form),
            B::I32DivS => self.div(W32, true, false, form),
            B::I64DivS => self.div(W64, true, false, form),
            B::I32DivU => self.div(W32, false, false, form),
            B::I64DivU => self.div(W64, false, false, form),
            B::I32RemS => self.div(W32, true, true, form),
            B::I64RemS => self.div(W64, true, true, form),
            B::I32RemU => self.div(W32, false, true, form),
            B::I64RemU => self.div(W64, false, true, form),
            B::F32Add => return Ok(self.float(FloatOp::Add, Float::F32, form)),
            B::F64Add => return Ok(self.float(FloatOp::Add, Float::F64, form)),
            B::F32Sub => return Ok(self.float(FloatOp::Sub, Float::F32, form)),
            B::F64Sub => return Ok(self.float(FloatOp::Sub, Float::F64, form)),
            B::F32Mul => return Ok(self.float(FloatOp::Mul, Float::F32, form)),
            B::F64Mul => return Ok(self.float(FloatOp::Mul, Float::F64, form)),
            B::F32Div => return Ok(self.float(FloatOp::Div, Float::F32, form)),
            B::F64Div => return Ok(self.float(FloatOp::Div, Float::F64, form)),
            _ => return Err(NoTemplate),
        }
        Ok(Class::Int)
    }

    /// The immediate as a register holds it.
    fn immediate(&self, width: Width) -> u64 {
        match width {
            Width::W32 => self.k().into(),
            Width::W64 => i64::from(self.k() as i32) as u64,
        }
    }

    fn arithmetic(&mut self, op: Alu, width: Width, form: Form) {
        let (a, b, k) = (self.a(), self.b(), self.k() as i32);
        match form {
            Form::SlotSlot => {
                self.asm.load(width, INT, a);
                self.asm.alu(op, width, INT, b);
            }
            Form::AccSlot => self.asm.alu(op, width, INT, a),
            Form::SlotAcc if op == Alu::Sub => {
                self.asm.load(width, TEMP, a);
                self.asm.alu(op, width, TEMP, Rm::Reg(INT));
                self.asm.load(Width::W64, INT, Rm::Reg(TEMP));
            }
            Form::SlotAcc => self.asm.alu(op, width, INT, a),
            Form::SlotImm => {
                self.asm.load(width, INT, a);
                self.asm.alu_constant(op, width, Rm::Reg(INT), k);
            }
            Form::AccImm => self.asm.alu_constant(op, width, Rm::Reg(INT), k),
            Form::ImmSlot | Form::ImmAcc => {
                let right = if form == Form::ImmSlot { a } else { Rm::Reg(INT) };
                self.asm.constant(TEMP, self.immediate(width));
                self.asm.alu(op, width, TEMP, right);
                self.asm.load(Width::W64, INT, Rm::Reg(TEMP));
            }
        }
    }

    fn mul(&mut self, width: Width, form: Form) {
        let (a, b, k) = (self.a(), self.b(), self.k() as i32);
        match form {
            Form::SlotSlot => {
                self.asm.load(width, INT, a);
                self.asm.mul(width, INT, b);
            }
            Form::SlotAcc | Form::AccSlot => self.asm.mul(width, INT, a),
            Form::SlotImm | Form::ImmSlot => self.asm.mul_constant(width, INT, a, k),
            Form::AccImm | Form::ImmAcc => self.asm.mul_constant(width, INT, Rm::Reg(INT), k),
        }
    }

    fn shift(&mut self, op: Shift, width: Width, form: Form) {
        let (a, b) = (self.a(), self.b());
        if let Form::SlotImm | Form::AccImm = form {
            if form == Form::SlotImm {
                self.asm.load(width, INT, a);
            }
            return self.asm.shift_constant(op, width, INT, self.k() as u8);
        }
        // The count is in `cl`, where the memory's length is.
        self.asm.load(Width::W64, OTHER, Rm::Reg(LEN));
        let (count, value) = match form {
            Form::SlotSlot => (b, Some(a)),
            Form::SlotAcc => (Rm::Reg(INT), Some(a)),
            Form::ImmAcc => (Rm::Reg(INT), None),
            _ => (a, None),
        };
        self.asm.load(Width::W32, RCX, count);
        if let Some(value) = value {
            self.asm.load(width, INT, value);
        } else if let Form::ImmSlot | Form::ImmAcc = form {
            self.asm.constant(INT, self.immediate(width));
        }
        self.asm.shift(op, width, INT);
        self.asm.load(Width::W64, LEN, Rm::Reg(OTHER));
    }

    /// By 0 the handler divides, and by -1 with a sign: the processor would trap there.
    fn div(&mut self, width: Width, signed: bool, remainder: bool, form: Form) {
        let (a, b) = (self.a(), self.b());
        let (dividend, divisor) = match form {
            Form::SlotSlot => (Some(a), Some(b)),
            Form::SlotAcc => (Some(a), Some(Rm::Reg(INT))),
            Form::AccSlot => (Some(Rm::Reg(INT)), Some(a)),
            Form::SlotImm => (Some(a), None),
            Form::AccImm => (Some(Rm::Reg(INT)), None),
            Form::ImmSlot => (None, Some(a)),
            Form::ImmAcc => (None, Some(Rm::Reg(INT))),
        };
        let immediate = self.immediate(width);
        match divisor {
            Some(divisor) => self.asm.load(width, OTHER, divisor),
            None => self.asm.constant(OTHER, immediate),
        }
        self.asm.test(width, OTHER);
        self.give_up_if(EQUAL);
        if signed {
            self.asm.alu_constant(Alu::Cmp, width, Rm::Reg(OTHER), -1);
            self.give_up_if(EQUAL);
        }
        match dividend {
            Some(dividend) => self.asm.load(width, RAX, dividend),
            None => self.asm.constant(RAX, immediate),
        }
        // The upper half of the dividend is in `rdx`, where the memory's base is.
        self.asm.load(Width::W64, VALUE, Rm::Reg(RDX));
        if signed {
            self.asm.extend_dividend(width);
        } else {
            self.asm.constant(RDX, 0);
        }
        self.asm.div(width, signed, OTHER);
        self.asm.load(width, INT, Rm::Reg(if remainder { RDX } else { RAX }));
        self.asm.load(Width::W64, MEM, Rm::Reg(VALUE));
    }

    /// Loads the instruction's float immediate.
    pub(super) fn float_immediate(&mut self, float: Float, to: Xmm) {
        let bits = match float {
            Float::F32 => self.k().into(),
            Float::F64 => self.word(2),
        };
        self.asm.constant(TEMP, bits);
        self.asm.float_from_bits(float, to, TEMP);
    }

    fn float(&mut self, op: FloatOp, float: Float, form: Form) -> Class {
        let (a, b, acc) = (self.a(), self.b(), register(float));
        let commutes = matches!(op, FloatOp::Add | FloatOp::Mul);
        match form {
            Form::SlotSlot => {
                self.asm.float_load(float, acc, a);
                self.asm.float(op, float, acc, b);
            }
            Form::AccSlot => self.asm.float(op, float, acc, a),
            Form::SlotAcc if commutes => self.asm.float(op, float, acc, a),
            Form::SlotAcc => {
                self.asm.float_load(float, FLOAT, a);
                self.asm.float(op, float, FLOAT, Rm::Xmm(acc));
                self.asm.float_load(float, acc, Rm::Xmm(FLOAT));
            }
            Form::SlotImm => {
                self.float_immediate(float, CONSTANT);
                self.asm.float_load(float, acc, a);
                self.asm.float(op, float, acc, Rm::Xmm(CONSTANT));
            }
            Form::AccImm => {
                self.float_immediate(float, CONSTANT);
                self.asm.float(op, float, acc, Rm::Xmm(CONSTANT));
            }
            Form::ImmSlot => {
                self.float_immediate(float, acc);
                self.asm.float(op, float, acc, a);
            }
            Form::ImmAcc => {
                self.float_immediate(float, CONSTANT);
                self.asm.float(op, float, CONSTANT, Rm::Xmm(acc));
                self.asm.float_load(float, acc, Rm::Xmm(CONSTANT));
            }
        }
        match float {
            Float::F32 => Class::F32,
            Float::F64 => Class::F64,
        }
    }

    /// Says of which class the result is.
    pub(super) fn unary(&mut self, op: UnaryOp, accumulator: bool) -> Result<Class, NoTemplate> {
        use UnaryOp as U;
        use Width::{W32, W64};
        let int = if accumulator { Rm::Reg(INT) } else { self.a() };
        let float = |float| if accumulator { Rm::Xmm(register(float)) } else { self.a() };
        let (f32, f64) = (float(Float::F32), float(Float::F64));
        match op {
            U::I32Clz => self.find_bit(W32, true, int),
            U::I64Clz => self.find_bit(W64, true, int),
            U::I32Ctz => self.find_bit(W32, false, int),
            U::I64Ctz => self.find_bit(W64, false, int),
            U::I32WrapI64 => self.asm.load(W32, INT, int),
            U::I32Extend8S => self.asm.load_extended(W32, true, 1, INT, int),
            U::I32Extend16S => self.asm.load_extended(W32, true, 2, INT, int),
            U::I64Extend8S => self.asm.load_extended(W64, true, 1, INT, int),
            U::I64Extend16S => self.asm.load_extended(W64, true, 2, INT, int),
            U::I64ExtendI32S | U::I64Extend32S => self.asm.load_extended(W64, true, 4, INT, int),
            U::I32ReinterpretF32 if accumulator => self.asm.float_bits(Float::F32, INT, F32),
            U::I64ReinterpretF64 if accumulator => self.asm.float_bits(Float::F64, INT, F64),
            U::I32ReinterpretF32 => self.asm.load(W32, INT, self.a()),
            U::I64ReinterpretF64 => self.asm.load(W64, INT, self.a()),

            U::F32Sqrt => return Ok(self.float_unary(Float::F32, f32)),
            U::F64Sqrt => return Ok(self.float_unary(Float::F64, f64)),
            U::F32DemoteF64 => {
                self.asm.float_from_float(Float::F64, F32, f64);
                return Ok(Class::F32);
            }
            U::F64PromoteF32 => {
                self.asm.float_from_float(Float::F32, F64, f32);
                return Ok(Class::F64);
            }
            U::F32ConvertI32S | U::F32ConvertI64S => {
                let width = if op == U::F32ConvertI32S { W32 } else { W64 };
                self.asm.float_from_int(Float::F32, F32, width, int);
                return Ok(Class::F32);
            }
            U::F64ConvertI32S | U::F64ConvertI64S => {
                let width = if op == U::F64ConvertI32S { W32 } else { W64 };
                self.asm.float_from_int(Float::F64, F64, width, int);
                return Ok(Class::F64);
            }
            // Unsigned ones are signed ones of twice the width.
            U::F32ConvertI32U => {
                self.asm.load(W32, TEMP, int);
                self.asm.float_from_int(Float::F32, F32, W64, Rm::Reg(TEMP));
                return Ok(Class::F32);
            }
            U::F64ConvertI32U => {
                self.asm.load(W32, TEMP, int);
                self.asm.float_from_int(Float::F64, F64, W64, Rm::Reg(TEMP));
                return Ok(Class::F64);
            }
            U::F32ReinterpretI32 => {
                self.asm.load(W32, TEMP, int);
                self.asm.float_from_bits(Float::F32, F32, TEMP);
                return Ok(Class::F32);
            }
            U::F64ReinterpretI64 => {
                self.asm.load(W64, TEMP, int);
                self.asm.float_from_bits(Float::F64, F64, TEMP);
                return Ok(Class::F64);
            }
            U::F64Neg | U::F64Abs => {
                match f64 {
                    Rm::Xmm(acc) => self.asm.float_bits(Float::F64, TEMP, acc),
                    slot => self.asm.load(W64, TEMP, slot),
                }
                self.sign(op == U::F64Neg);
                self.asm.float_from_bits(Float::F64, F64, TEMP);
                return Ok(Class::F64);
            }
            _ => return Err(NoTemplate),
        }
        Ok(Class::Int)
    }

    /// The number of zeros before the highest set bit, or the lowest.
    fn find_bit(&mut self, width: Width, highest: bool, from: Rm) {
        let bits = if width == Width::W32 { 32 } else { 64 };
        self.asm.find_bit(width, highest, OTHER, from);
        // Without one, what makes it the number of bits.
        self.asm.constant(TEMP, if highest { 2 * bits - 1 } else { bits });
        self.asm.load_if(EQUAL, OTHER, Rm::Reg(TEMP));
        if highest {
            self.asm.alu_constant(Alu::Xor, Width::W32, Rm::Reg(OTHER), bits as i32 - 1);
        }
        self.asm.load(Width::W32, INT, Rm::Reg(OTHER));
    }

    /// Changes, or clears, the uppermost bit of [`TEMP`].
    fn sign(&mut self, change: bool) {
        self.asm.constant(OTHER, if change { 1 << 63 } else { !(1 << 63) });
        let op = if change { Alu::Xor } else { Alu::And };
        self.asm.alu(op, Width::W64, TEMP, Rm::Reg(OTHER));
    }

    fn float_unary(&mut self, float: Float, from: Rm) -> Class {
        let acc = register(float);
        self.asm.float_load(float, acc, from);
        self.asm.float(FloatOp::Sqrt, float, acc, Rm::Xmm(acc));
        match float {
            Float::F32 => Class::F32,
            Float::F64 => Class::F64,
        }
    }
}
