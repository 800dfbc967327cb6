//! Arithmetic on floats, and conversions.

use cranelift_codegen::ir::{Inst, InstructionData, Opcode, Type, Value, types};
use tierup_asm::{Alu, Cond, FloatOp, Gpr, MaskOp, Mem, Precision, RAX, RCX, Rm, Rounding, Shift, Width, Xmm};

use super::{Emitter, Result, Unsupported, X14, X15, precision, width};

impl Emitter<'_> {
    pub(super) fn float_operation(&mut self, inst: Inst) -> Result {
        match self.func.dfg.insts[inst] {
            InstructionData::Binary { opcode, args } => self.float_binary(inst, opcode, args),
            InstructionData::Unary { opcode, arg } => self.float_unary(inst, opcode, arg),
            InstructionData::LoadNoOffset { opcode: Opcode::Bitcast, arg, .. } => self.bitcast(inst, arg),
            _ => Err(Unsupported("an operation on floats")),
        }
    }

    fn float_binary(&mut self, inst: Inst, opcode: Opcode, [a, b]: [Value; 2]) -> Result {
        let precision = precision(self.ty(a));
        let (op, is_commutative) = match opcode {
            Opcode::Fadd => (FloatOp::Add, true),
            Opcode::Fmul => (FloatOp::Mul, true),
            Opcode::Fsub => (FloatOp::Sub, false),
            Opcode::Fdiv => (FloatOp::Div, false),
            Opcode::Fmin | Opcode::Fmax => {
                self.least_or_greatest(inst, opcode == Opcode::Fmin, precision, a, b);
                return Ok(());
            }
            Opcode::Fcopysign => {
                let (sign, rest) = self.masks(precision);
                self.float_into(X15, b);
                self.asm.mask(MaskOp::And, precision, X15, sign);
                self.float_into(X14, a);
                self.asm.mask(MaskOp::And, precision, X14, rest);
                self.asm.mask(MaskOp::Or, precision, X14, X15);
                self.define_float(inst, |e, to| {
                    if to != X14 {
                        e.asm.movaps(to, X14);
                    }
                });
                return Ok(());
            }
            _ => return Err(Unsupported("an operation on two floats")),
        };
        self.define_float(inst, |e, to| {
            let mut other = e.float_operand(b);
            if other == Rm::Xmm(to) {
                if is_commutative {
                    other = e.float_operand(a);
                    e.asm.float(op, precision, to, other);
                    return;
                }
                e.asm.movaps(X15, to);
                other = X15.into();
            }
            e.float_into(to, a);
            e.asm.float(op, precision, to, other);
        });
        Ok(())
    }

    /// The sign of a float, and everything else, as operands.
    fn masks(&mut self, precision: Precision) -> (Mem, Mem) {
        let sign = match precision {
            Precision::Single => u128::from(1_u32 << 31),
            Precision::Double => u128::from(1_u64 << 63),
        };
        let rest = match precision {
            Precision::Single => u128::from(u32::MAX >> 1),
            Precision::Double => u128::from(u64::MAX >> 1),
        };
        (Mem::Pool(self.asm.wide_constant(sign)), Mem::Pool(self.asm.wide_constant(rest)))
    }

    /// As IEEE 754-2019 has `minimum` and `maximum`: NaN if either is, and -0 below 0.
    fn least_or_greatest(&mut self, inst: Inst, is_least: bool, precision: Precision, a: Value, b: Value) {
        let (differ, nan, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.float_into(X15, b);
        self.float_into(X14, a);
        self.asm.ucomis(precision, X14, X15);
        self.asm.jump_if(Cond::NotEqual, differ);
        self.asm.jump_if(Cond::Parity, nan);
        // Equal: zeros may differ in their signs.
        self.asm.mask(if is_least { MaskOp::Or } else { MaskOp::And }, precision, X14, X15);
        self.asm.jump(done);
        self.asm.bind(nan);
        self.asm.float(FloatOp::Add, precision, X14, X15);
        self.asm.jump(done);
        self.asm.bind(differ);
        self.asm.float(if is_least { FloatOp::Min } else { FloatOp::Max }, precision, X14, X15);
        self.asm.bind(done);
        self.define_float(inst, |e, to| {
            if to != X14 {
                e.asm.movaps(to, X14);
            }
        });
    }

    fn float_unary(&mut self, inst: Inst, opcode: Opcode, arg: Value) -> Result {
        let to = self.ty(self.func.dfg.first_result(inst));
        let from = self.ty(arg);
        match opcode {
            Opcode::Fneg | Opcode::Fabs => {
                let precision = precision(from);
                let (sign, rest) = self.masks(precision);
                self.define_float(inst, |e, to| {
                    e.float_into(to, arg);
                    match opcode {
                        Opcode::Fneg => e.asm.mask(MaskOp::Xor, precision, to, sign),
                        _ => e.asm.mask(MaskOp::And, precision, to, rest),
                    }
                });
            }
            Opcode::Sqrt => self.define_float(inst, |e, to| {
                let arg = e.float_operand(arg);
                e.asm.float(FloatOp::Sqrt, precision(from), to, arg);
            }),
            Opcode::Ceil | Opcode::Floor | Opcode::Trunc | Opcode::Nearest => {
                let rounding = match opcode {
                    Opcode::Nearest => Rounding::Nearest,
                    Opcode::Floor => Rounding::Down,
                    Opcode::Ceil => Rounding::Up,
                    _ => Rounding::TowardZero,
                };
                self.define_float(inst, |e, to| {
                    let arg = e.float_operand(arg);
                    e.asm.round(rounding, precision(from), to, arg);
                });
            }
            Opcode::Fpromote | Opcode::Fdemote => self.define_float(inst, |e, to| {
                let arg = e.float_operand(arg);
                e.asm.float(FloatOp::Convert, precision(from), to, arg);
            }),
            Opcode::FcvtFromSint if from.bits() >= 32 => self.define_float(inst, |e, reg| {
                let arg = e.operand(arg, RAX);
                e.convert_signed(width(from), precision(to), reg, arg);
            }),
            Opcode::FcvtFromUint if from.bits() <= 32 => self.define_float(inst, |e, reg| {
                // It is zero-extended.
                let arg = e.operand(arg, RAX);
                e.convert_signed(Width::W64, precision(to), reg, arg);
            }),
            Opcode::FcvtFromUint => {
                self.int_into(RAX, arg);
                self.define_float(inst, |e, reg| e.convert_unsigned(precision(to), reg));
            }
            Opcode::FcvtToSintSat if to.bits() >= 32 => {
                self.float_into(X15, arg);
                self.saturate_signed(to, precision(from));
                self.define_from_rax(inst);
            }
            Opcode::FcvtToUintSat if to.bits() >= 32 => {
                self.float_into(X15, arg);
                self.saturate_unsigned(to, precision(from));
                self.define_from_rax(inst);
            }
            _ => return Err(Unsupported("an operation on a float")),
        }
        Ok(())
    }

    fn define_from_rax(&mut self, inst: Inst) {
        self.define(inst, |e, to| {
            if to != RAX {
                e.asm.mov(Width::W64, to, RAX);
            }
        });
    }

    fn convert_signed(&mut self, width: Width, precision: Precision, to: Xmm, from: Rm) {
        // The conversion writes a part of the register only, and would wait for the rest.
        self.asm.clear_float(to);
        self.asm.int_to_float(width, precision, to, from);
    }

    /// From 64 bits in `rax`: halved, with what is lost kept in the last bit, where it matters for rounding, and doubled.
    fn convert_unsigned(&mut self, precision: Precision, to: Xmm) {
        let (large, done) = (self.asm.label(), self.asm.label());
        self.asm.test(Width::W64, RAX, RAX);
        self.asm.jump_if(Cond::Negative, large);
        self.convert_signed(Width::W64, precision, to, RAX.into());
        self.asm.jump(done);
        self.asm.bind(large);
        self.asm.mov(Width::W64, RCX, RAX);
        self.asm.shift_imm(Shift::Right, Width::W64, RAX, 1);
        self.asm.alu_imm(Alu::And, Width::W32, RCX, 1);
        self.asm.alu(Alu::Or, Width::W64, RAX, RCX);
        self.convert_signed(Width::W64, precision, to, RAX.into());
        self.asm.float(FloatOp::Add, precision, to, to);
        self.asm.bind(done);
    }

    /// From `xmm15` to `rax`, saturating; NaN is 0.
    fn saturate_signed(&mut self, ty: Type, precision: Precision) {
        let width = width(ty);
        let (done, not_nan) = (self.asm.label(), self.asm.label());
        self.asm.float_to_int(width, precision, RAX, X15);
        // Only the least number, which also stands for what does not fit, overflows.
        self.asm.alu_imm(Alu::Cmp, width, RAX, 1);
        self.asm.jump_if(Cond::NoOverflow, done);
        self.asm.ucomis(precision, X15, X15);
        self.asm.jump_if(Cond::NoParity, not_nan);
        self.asm.mov_imm(RAX, 0);
        self.asm.jump(done);
        self.asm.bind(not_nan);
        self.asm.clear_float(X14);
        self.asm.ucomis(precision, X15, X14);
        self.asm.jump_if(Cond::BelowOrEqual, done);
        self.asm.mov_imm(RAX, if ty == types::I64 { i64::MAX } else { i64::from(i32::MAX) });
        self.asm.bind(done);
    }

    /// From `xmm15` to `rax`, saturating; NaN is 0.
    fn saturate_unsigned(&mut self, ty: Type, precision: Precision) {
        let (zero, most, large, done) = (self.asm.label(), self.asm.label(), self.asm.label(), self.asm.label());
        let is_wide = ty == types::I64;
        self.asm.clear_float(X14);
        self.asm.ucomis(precision, X15, X14);
        self.asm.jump_if(Cond::BelowOrEqual, zero);
        let beyond = self.power_of_two(precision, if is_wide { 64 } else { 32 });
        self.asm.ucomis(precision, X15, beyond);
        self.asm.jump_if(Cond::AboveOrEqual, most);
        let half = self.power_of_two(precision, 63);
        if is_wide {
            self.asm.ucomis(precision, X15, half);
            self.asm.jump_if(Cond::AboveOrEqual, large);
        }
        self.asm.float_to_int(Width::W64, precision, RAX, X15);
        self.asm.jump(done);
        if is_wide {
            self.asm.bind(large);
            self.asm.float(FloatOp::Sub, precision, X15, half);
            self.asm.float_to_int(Width::W64, precision, RAX, X15);
            self.asm.mov_imm(RCX, i64::MIN);
            self.asm.alu(Alu::Xor, Width::W64, RAX, RCX);
            self.asm.jump(done);
        }
        self.asm.bind(zero);
        self.asm.mov_imm(RAX, 0);
        self.asm.jump(done);
        self.asm.bind(most);
        self.asm.mov_imm(RAX, if is_wide { -1 } else { i64::from(u32::MAX) });
        self.asm.bind(done);
    }

    fn power_of_two(&mut self, precision: Precision, exponent: i32) -> Mem {
        let bits = match precision {
            Precision::Single => u64::from(2_f32.powi(exponent).to_bits()),
            Precision::Double => 2_f64.powi(exponent).to_bits(),
        };
        Mem::Pool(self.asm.constant(bits))
    }

    fn bitcast(&mut self, inst: Inst, arg: Value) -> Result {
        let (from, to) = (self.ty(arg), self.ty(self.func.dfg.first_result(inst)));
        match (from.is_float(), to.is_float()) {
            (true, false) => self.define(inst, |e, reg: Gpr| match e.float_operand(arg) {
                Rm::Xmm(xmm) => e.asm.float_to_bits(width(to), reg, xmm),
                memory => e.asm.mov(width(to), reg, memory),
            }),
            (false, true) => self.define_float(inst, |e, reg| {
                let arg = e.operand(arg, RAX);
                e.asm.bits_to_float(width(from), reg, arg);
            }),
            (true, true) => self.define_float(inst, |e, reg| e.float_into(reg, arg)),
            (false, false) => return self.integer_operation(inst),
        }
        Ok(())
    }
}
