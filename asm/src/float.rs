//! Floats, in a vector register's low lane.

use crate::{
    Assembler,
    encode::{Bytes, Op},
    operand::{Gpr, Mem, Precision, Rm, Width, Xmm},
};

/// Scalar operations, by their opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "names that say it")]
pub enum FloatOp {
    /// Of the source alone.
    Sqrt = 0x51,
    Add = 0x58,
    Mul = 0x59,
    /// The source in the other precision.
    Convert = 0x5a,
    Sub = 0x5c,
    /// The second operand if either is NaN, or both are zeros.
    Min = 0x5d,
    Div = 0x5e,
    /// As [`Min`](Self::Min).
    Max = 0x5f,
}

/// Operations on all bits of a vector register, by their opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "names that say it")]
pub enum MaskOp {
    And = 0x54,
    Or = 0x56,
    Xor = 0x57,
}

/// Which integer a float is rounded to, by its number in encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "names that say it")]
pub enum Rounding {
    /// The even one of two that are.
    Nearest = 0,
    Down = 1,
    Up = 2,
    TowardZero = 3,
}

impl Assembler {
    /// `dst = dst op src`, or of `src` alone.
    pub fn float(&mut self, op: FloatOp, precision: Precision, dst: Xmm, src: impl Into<Rm>) {
        self.op(Op::new(0x0f00 | op as u32).prefix(precision.scalar()), dst.number(), src.into());
    }

    /// `dst = dst op src`, all 128 bits, as `andps` and its like; in memory they are aligned.
    pub fn mask(&mut self, op: MaskOp, precision: Precision, dst: Xmm, src: impl Into<Rm>) {
        self.op(Op::new(0x0f00 | op as u32).prefix(precision.packed()), dst.number(), src.into());
    }

    /// Compares: below, equal, above, or with parity, and then also below and equal, if either is NaN.
    pub fn ucomis(&mut self, precision: Precision, a: Xmm, b: impl Into<Rm>) {
        self.op(Op::new(0x0f2e).prefix(precision.packed()), a.number(), b.into());
    }

    /// Copies a register, the whole of it.
    #[inline]
    pub fn movaps(&mut self, dst: Xmm, src: Xmm) {
        self.op(Op::new(0x0f28), dst.number(), src.into());
    }

    /// Loads a float, and clears the rest of the register: `movss`, `movsd`.
    #[inline]
    pub fn load_float(&mut self, precision: Precision, dst: Xmm, mem: Mem) {
        self.op(Op::new(0x0f10).prefix(precision.scalar()), dst.number(), mem.into());
    }

    /// Stores a float: `movss`, `movsd`.
    #[inline]
    pub fn store_float(&mut self, precision: Precision, mem: Mem, src: Xmm) {
        self.op(Op::new(0x0f11).prefix(precision.scalar()), src.number(), mem.into());
    }

    /// Rounds to an integer that is a float, and reports no loss: `roundss`, `roundsd` (SSE4.1).
    pub fn round(&mut self, rounding: Rounding, precision: Precision, dst: Xmm, src: impl Into<Rm>) {
        let opcode = if precision == Precision::Single { 0x0f3a0a } else { 0x0f3a0b };
        self.op_with(Op::new(opcode).prefix(0x66), dst.number(), src.into(), Bytes::one(8 | rounding as u8));
    }

    /// A float of a signed integer: `cvtsi2ss`, `cvtsi2sd`. All but the low lane is kept, and has to be waited for: [`clear_float`](Self::clear_float) first.
    pub fn int_to_float(&mut self, width: Width, precision: Precision, dst: Xmm, src: impl Into<Rm>) {
        self.op(Op::new(0x0f2a).prefix(precision.scalar()).width(width), dst.number(), src.into());
    }

    /// A signed integer of a float, rounded toward zero; the least one of what does not fit: `cvttss2si`, `cvttsd2si`.
    pub fn float_to_int(&mut self, width: Width, precision: Precision, dst: Gpr, src: impl Into<Rm>) {
        self.op(Op::new(0x0f2c).prefix(precision.scalar()).width(width), dst.number(), src.into());
    }

    /// An integer's bits, and zeros above: `movd`, `movq`.
    pub fn bits_to_float(&mut self, width: Width, dst: Xmm, src: impl Into<Rm>) {
        self.op(Op::new(0x0f6e).prefix(0x66).width(width), dst.number(), src.into());
    }

    /// A float's bits: `movd`, `movq`.
    pub fn float_to_bits(&mut self, width: Width, dst: impl Into<Rm>, src: Xmm) {
        self.op(Op::new(0x0f7e).prefix(0x66).width(width), src.number(), dst.into());
    }

    /// Zeros, for which nothing has to be waited: `xorps`.
    #[inline]
    pub fn clear_float(&mut self, dst: Xmm) {
        self.mask(MaskOp::Xor, Precision::Single, dst, dst);
    }
}
