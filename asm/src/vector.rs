//! Sixteen bytes at once.

use crate::{
    Assembler,
    encode::{Bytes, Op},
    operand::{Mem, Xmm},
};

/// Operations on four lanes of 32 bits, by their opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LaneOp {
    /// All bits where lanes are equal, and none elsewhere: `pcmpeqd`.
    Equal = 0x76,
    /// Differences: `psubd`.
    Sub = 0xfa,
}

impl Assembler {
    /// Loads from any address: `movups`.
    #[inline]
    pub fn load_vector(&mut self, dst: Xmm, mem: Mem) {
        self.op(Op::new(0x0f10), dst.number(), mem.into());
    }

    /// Stores to any address: `movups`.
    #[inline]
    pub fn store_vector(&mut self, mem: Mem, src: Xmm) {
        self.op(Op::new(0x0f11), src.number(), mem.into());
    }

    /// `dst = dst op src`, lane by lane.
    #[inline]
    pub fn lanes(&mut self, op: LaneOp, dst: Xmm, src: Xmm) {
        self.op(Op::new(0x0f00 | op as u32).prefix(0x66), dst.number(), src.into());
    }

    /// The lowest 32-bit lane in all of them: `pshufd`.
    #[inline]
    pub fn spread(&mut self, dst: Xmm, src: Xmm) {
        self.op_with(Op::new(0x0f70).prefix(0x66), dst.number(), src.into(), Bytes::one(0));
    }

    /// Sets "equal" if no bit is set: `ptest` (SSE4.1).
    #[inline]
    pub fn test_vector(&mut self, a: Xmm) {
        self.op(Op::new(0x0f3817).prefix(0x66), a.number(), a.into());
    }
}
