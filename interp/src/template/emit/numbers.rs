//! Arithmetic and conversions.

use tierup_asm::{Alu, BitCount, Cond, FloatOp, Precision, RAX, RCX, RDX, Rm, Shift, Width, Xmm};

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
            B::I32Shl => self.shift(Shift::Left, W32, form),
            B::I64Shl => self.shift(Shift::Left, W64, form),
            B::I32ShrS => self.shift(Shift::Arithmetic, W32, form),
            B::I64ShrS => self.shift(Shift::Arithmetic, W64, form),
            B::I32ShrU => self.shift(Shift::Right, W32, form),
            B::I64ShrU => self.shift(Shift::Right, W64, form),
            B::I32Rotl => self.shift(Shift::RotateLeft, W32, form),
            B::I64Rotl => self.shift(Shift::RotateLeft, W64, form),
            B::I32Rotr => self.shift(Shift::RotateRight, W32, form),
            B::I64Rotr => self.shift(Shift::RotateRight, W64, form),
            B::I32DivS => self.div(W32, true, false, form),
            B::I64DivS => self.div(W64, true, false, form),
            B::I32DivU => self.div(W32, false, false, form),
            B::I64DivU => self.div(W64, false, false, form),
            B::I32RemS => self.div(W32, true, true, form),
            B::I64RemS => self.div(W64, true, true, form),
            B::I32RemU => self.div(W32, false, true, form),
            B::I64RemU => self.div(W64, false, true, form),
            B::F32Add => return Ok(self.float(FloatOp::Add, Precision::Single, form)),
            B::F64Add => return Ok(self.float(FloatOp::Add, Precision::Double, form)),
            B::F32Sub => return Ok(self.float(FloatOp::Sub, Precision::Single, form)),
            B::F64Sub => return Ok(self.float(FloatOp::Sub, Precision::Double, form)),
            B::F32Mul => return Ok(self.float(FloatOp::Mul, Precision::Single, form)),
            B::F64Mul => return Ok(self.float(FloatOp::Mul, Precision::Double, form)),
            B::F32Div => return Ok(self.float(FloatOp::Div, Precision::Single, form)),
            B::F64Div => return Ok(self.float(FloatOp::Div, Precision::Double, form)),
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
                self.asm.mov(width, INT, a);
                self.asm.alu(op, width, INT, b);
            }
            Form::AccSlot => self.asm.alu(op, width, INT, a),
            Form::SlotAcc if op == Alu::Sub => {
                self.asm.mov(width, TEMP, a);
                self.asm.alu(op, width, TEMP, INT);
                self.asm.mov(Width::W64, INT, TEMP);
            }
            Form::SlotAcc => self.asm.alu(op, width, INT, a),
            Form::SlotImm => {
                self.asm.mov(width, INT, a);
                self.asm.alu_imm(op, width, INT, k);
            }
            Form::AccImm => self.asm.alu_imm(op, width, INT, k),
            Form::ImmSlot | Form::ImmAcc => {
                let right = if form == Form::ImmSlot { a.into() } else { Rm::Gpr(INT) };
                self.constant(TEMP, self.immediate(width));
                self.asm.alu(op, width, TEMP, right);
                self.asm.mov(Width::W64, INT, TEMP);
            }
        }
    }

    fn mul(&mut self, width: Width, form: Form) {
        let (a, b, k) = (self.a(), self.b(), self.k() as i32);
        match form {
            Form::SlotSlot => {
                self.asm.mov(width, INT, a);
                self.asm.imul(width, INT, b);
            }
            Form::SlotAcc | Form::AccSlot => self.asm.imul(width, INT, a),
            Form::SlotImm | Form::ImmSlot => self.asm.imul_imm(width, INT, a, k),
            Form::AccImm | Form::ImmAcc => self.asm.imul_imm(width, INT, INT, k),
        }
    }

    fn shift(&mut self, op: Shift, width: Width, form: Form) {
        let (a, b) = (self.a(), self.b());
        if let Form::SlotImm | Form::AccImm = form {
            if form == Form::SlotImm {
                self.asm.mov(width, INT, a);
            }
            return self.asm.shift_imm(op, width, INT, self.k() as u8);
        }
        // The count is in `cl`, where the memory's length is.
        self.asm.mov(Width::W64, OTHER, LEN);
        let (count, value) = match form {
            Form::SlotSlot => (Rm::Mem(b), Some(a)),
            Form::SlotAcc => (Rm::Gpr(INT), Some(a)),
            Form::ImmAcc => (Rm::Gpr(INT), None),
            _ => (Rm::Mem(a), None),
        };
        self.asm.mov(Width::W32, RCX, count);
        if let Some(value) = value {
            self.asm.mov(width, INT, value);
        } else if let Form::ImmSlot | Form::ImmAcc = form {
            self.constant(INT, self.immediate(width));
        }
        self.asm.shift_cl(op, width, INT);
        self.asm.mov(Width::W64, LEN, OTHER);
    }

    /// By 0 the handler divides, and by -1 with a sign: the processor would trap there.
    fn div(&mut self, width: Width, signed: bool, remainder: bool, form: Form) {
        let (a, b) = (Rm::Mem(self.a()), Rm::Mem(self.b()));
        let (dividend, divisor) = match form {
            Form::SlotSlot => (Some(a), Some(b)),
            Form::SlotAcc => (Some(a), Some(Rm::Gpr(INT))),
            Form::AccSlot => (Some(Rm::Gpr(INT)), Some(a)),
            Form::SlotImm => (Some(a), None),
            Form::AccImm => (Some(Rm::Gpr(INT)), None),
            Form::ImmSlot => (None, Some(a)),
            Form::ImmAcc => (None, Some(Rm::Gpr(INT))),
        };
        let immediate = self.immediate(width);
        match divisor {
            Some(divisor) => self.asm.mov(width, OTHER, divisor),
            None => self.constant(OTHER, immediate),
        }
        self.asm.test(width, OTHER, OTHER);
        self.give_up_if(Cond::Equal);
        if signed {
            self.asm.alu_imm(Alu::Cmp, width, OTHER, -1);
            self.give_up_if(Cond::Equal);
        }
        match dividend {
            Some(dividend) => self.asm.mov(width, RAX, dividend),
            None => self.constant(RAX, immediate),
        }
        // The upper half of the dividend is in `rdx`, where the memory's base is.
        self.asm.mov(Width::W64, VALUE, RDX);
        if signed {
            self.asm.sign_to_rdx(width);
        } else {
            self.constant(RDX, 0);
        }
        self.asm.div(width, signed, OTHER);
        self.asm.mov(width, INT, if remainder { RDX } else { RAX });
        self.asm.mov(Width::W64, MEM, VALUE);
    }

    /// Loads the instruction's float immediate.
    pub(super) fn float_immediate(&mut self, precision: Precision, to: Xmm) {
        let bits = match precision {
            Precision::Single => self.k().into(),
            Precision::Double => self.word(2),
        };
        self.constant(TEMP, bits);
        self.asm.bits_to_float(precision.width(), to, TEMP);
    }

    fn float(&mut self, op: FloatOp, precision: Precision, form: Form) -> Class {
        let (a, b, acc) = (self.a(), self.b(), register(precision));
        let commutes = matches!(op, FloatOp::Add | FloatOp::Mul);
        match form {
            Form::SlotSlot => {
                self.asm.load_float(precision, acc, a);
                self.asm.float(op, precision, acc, b);
            }
            Form::AccSlot => self.asm.float(op, precision, acc, a),
            Form::SlotAcc if commutes => self.asm.float(op, precision, acc, a),
            Form::SlotAcc => {
                self.asm.load_float(precision, FLOAT, a);
                self.asm.float(op, precision, FLOAT, acc);
                self.asm.movaps(acc, FLOAT);
            }
            Form::SlotImm => {
                self.float_immediate(precision, CONSTANT);
                self.asm.load_float(precision, acc, a);
                self.asm.float(op, precision, acc, CONSTANT);
            }
            Form::AccImm => {
                self.float_immediate(precision, CONSTANT);
                self.asm.float(op, precision, acc, CONSTANT);
            }
            Form::ImmSlot => {
                self.float_immediate(precision, acc);
                self.asm.float(op, precision, acc, a);
            }
            Form::ImmAcc => {
                self.float_immediate(precision, CONSTANT);
                self.asm.float(op, precision, CONSTANT, acc);
                self.asm.movaps(acc, CONSTANT);
            }
        }
        class(precision)
    }

    /// Says of which class the result is.
    pub(super) fn unary(&mut self, op: UnaryOp, accumulator: bool) -> Result<Class, NoTemplate> {
        use UnaryOp as U;
        use Width::{W32, W64};
        let int = if accumulator { Rm::Gpr(INT) } else { self.a().into() };
        let float = |precision| if accumulator { Rm::Xmm(register(precision)) } else { self.a().into() };
        let (f32, f64) = (float(Precision::Single), float(Precision::Double));
        match op {
            U::I32Clz => self.find_bit(W32, true, int),
            U::I64Clz => self.find_bit(W64, true, int),
            U::I32Ctz => self.find_bit(W32, false, int),
            U::I64Ctz => self.find_bit(W64, false, int),
            U::I32WrapI64 => self.asm.mov(W32, INT, int),
            U::I32Extend8S => self.asm.movsx(W32, 1, INT, int),
            U::I32Extend16S => self.asm.movsx(W32, 2, INT, int),
            U::I64Extend8S => self.asm.movsx(W64, 1, INT, int),
            U::I64Extend16S => self.asm.movsx(W64, 2, INT, int),
            U::I64ExtendI32S | U::I64Extend32S => self.asm.movsx(W64, 4, INT, int),
            U::I32ReinterpretF32 if accumulator => self.asm.float_to_bits(Width::W32, INT, F32),
            U::I64ReinterpretF64 if accumulator => self.asm.float_to_bits(Width::W64, INT, F64),
            U::I32ReinterpretF32 => self.asm.mov(W32, INT, self.a()),
            U::I64ReinterpretF64 => self.asm.mov(W64, INT, self.a()),

            U::F32Sqrt => return Ok(self.float_unary(Precision::Single, f32)),
            U::F64Sqrt => return Ok(self.float_unary(Precision::Double, f64)),
            U::F32DemoteF64 => {
                self.asm.float(FloatOp::Convert, Precision::Double, F32, f64);
                return Ok(Class::F32);
            }
            U::F64PromoteF32 => {
                self.asm.float(FloatOp::Convert, Precision::Single, F64, f32);
                return Ok(Class::F64);
            }
            U::F32ConvertI32S | U::F32ConvertI64S => {
                let width = if op == U::F32ConvertI32S { W32 } else { W64 };
                self.convert(Precision::Single, F32, width, int);
                return Ok(Class::F32);
            }
            U::F64ConvertI32S | U::F64ConvertI64S => {
                let width = if op == U::F64ConvertI32S { W32 } else { W64 };
                self.convert(Precision::Double, F64, width, int);
                return Ok(Class::F64);
            }
            // Unsigned ones are signed ones of twice the width.
            U::F32ConvertI32U => {
                self.asm.mov(W32, TEMP, int);
                self.convert(Precision::Single, F32, W64, TEMP.into());
                return Ok(Class::F32);
            }
            U::F64ConvertI32U => {
                self.asm.mov(W32, TEMP, int);
                self.convert(Precision::Double, F64, W64, TEMP.into());
                return Ok(Class::F64);
            }
            U::F32ReinterpretI32 => {
                self.asm.mov(W32, TEMP, int);
                self.asm.bits_to_float(Width::W32, F32, TEMP);
                return Ok(Class::F32);
            }
            U::F64ReinterpretI64 => {
                self.asm.mov(W64, TEMP, int);
                self.asm.bits_to_float(Width::W64, F64, TEMP);
                return Ok(Class::F64);
            }
            U::F64Neg | U::F64Abs => {
                match f64 {
                    Rm::Xmm(acc) => self.asm.float_to_bits(Width::W64, TEMP, acc),
                    slot => self.asm.mov(W64, TEMP, slot),
                }
                self.sign(op == U::F64Neg);
                self.asm.bits_to_float(Width::W64, F64, TEMP);
                return Ok(Class::F64);
            }
            _ => return Err(NoTemplate),
        }
        Ok(Class::Int)
    }

    /// A float of a signed integer.
    fn convert(&mut self, precision: Precision, to: Xmm, width: Width, from: Rm) {
        self.asm.clear_float(to);
        self.asm.int_to_float(width, precision, to, from);
    }

    /// The number of zeros before the highest set bit, or the lowest.
    fn find_bit(&mut self, width: Width, highest: bool, from: Rm) {
        let bits = if width == Width::W32 { 32 } else { 64 };
        self.asm.count(if highest { BitCount::Highest } else { BitCount::Lowest }, width, OTHER, from);
        // Without one, what makes it the number of bits.
        self.constant(TEMP, if highest { 2 * bits - 1 } else { bits });
        self.asm.cmov(Cond::Equal, OTHER, TEMP);
        if highest {
            self.asm.alu_imm(Alu::Xor, Width::W32, OTHER, bits as i32 - 1);
        }
        self.asm.mov(Width::W32, INT, OTHER);
    }

    /// Changes, or clears, the uppermost bit of [`TEMP`].
    fn sign(&mut self, change: bool) {
        self.constant(OTHER, if change { 1 << 63 } else { !(1 << 63) });
        let op = if change { Alu::Xor } else { Alu::And };
        self.asm.alu(op, Width::W64, TEMP, OTHER);
    }

    fn float_unary(&mut self, precision: Precision, from: Rm) -> Class {
        let acc = register(precision);
        self.float_load(precision, acc, from);
        self.asm.float(FloatOp::Sqrt, precision, acc, acc);
        class(precision)
    }
}

fn class(precision: Precision) -> Class {
    match precision {
        Precision::Single => Class::F32,
        Precision::Double => Class::F64,
    }
}
