//! The bytes of an instruction.
//!
//! They are put together in registers, in two halves of eight, and written at once. What is marked to be inlined is part of one function:
//! passed on through memory, its parts take twice as many instructions.

use crate::{
    Assembler,
    operand::{Gpr, Mem, RSP, Rm, Width},
};

/// Up to eight bytes, the first in the lowest bits.
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    bits: u64,
    len: u32,
}

impl Bytes {
    pub(crate) const NONE: Self = Bytes { bits: 0, len: 0 };

    #[inline]
    pub(crate) fn one(byte: u8) -> Self {
        Bytes { bits: byte.into(), len: 8 }
    }

    #[inline]
    pub(crate) fn four(bytes: u32) -> Self {
        Bytes { bits: bytes.into(), len: 32 }
    }

    #[inline]
    pub(crate) fn eight(bytes: u64) -> Self {
        Bytes { bits: bytes, len: 64 }
    }

    /// The lowest 1, 2 or 4 of a number.
    #[inline]
    pub(crate) fn low(count: u8, bits: u32) -> Self {
        let len = 8 * u32::from(count);
        Bytes { bits: u64::from(bits) & ((1 << len) - 1), len }
    }

    /// A byte, or nothing where it is 0.
    #[inline]
    fn unless_zero(byte: u8) -> Self {
        Bytes { bits: byte.into(), len: if byte == 0 { 0 } else { 8 } }
    }

    /// With others behind, eight in all.
    #[inline]
    pub(crate) fn then(self, behind: Self) -> Self {
        Bytes { bits: self.bits | behind.bits << self.len, len: self.len + behind.len }
    }
}

/// What an instruction begins with.
#[derive(Clone, Copy)]
pub(crate) struct Op {
    /// Up to three bytes, as they are written, and how many bits that is.
    opcode: u32,
    len: u8,
    prefix: u8,
    rex: u8,
}

impl Op {
    /// An opcode of up to three bytes, the last in the lowest bits. (Inlined, it is a constant.)
    #[inline(always)]
    pub(crate) const fn new(opcode: u32) -> Self {
        let above = opcode.leading_zeros() & !7;
        Op { opcode: opcode.swap_bytes() >> above, len: 32 - above as u8, prefix: 0, rex: 0 }
    }

    /// With a prefix before all the rest, unless that is 0.
    #[inline]
    pub(crate) const fn prefix(self, prefix: u8) -> Self {
        Op { prefix, ..self }
    }

    /// Of operands of that width.
    #[inline]
    pub(crate) const fn width(self, width: Width) -> Self {
        match width {
            Width::W32 => self,
            Width::W64 => Op { rex: self.rex | 8, ..self },
        }
    }

    /// Of a register of a byte, for four of which REX is needed.
    #[inline]
    pub(crate) const fn byte(self) -> Self {
        Op { rex: self.rex | 0x40, ..self }
    }
}

/// What an operand contributes.
struct Operand {
    /// The uppermost bits of index and base.
    rex: u8,
    /// ModRM, and SIB where there is one.
    form: Bytes,
    disp: Bytes,
}

impl Operand {
    #[inline(always)]
    fn of(rm: Rm) -> Self {
        let register = |number: u8| Operand { rex: number >> 3, form: Bytes::one(0xc0 | number & 7), disp: Bytes::NONE };
        match rm {
            Rm::Gpr(rm) => register(rm.number()),
            Rm::Xmm(rm) => register(rm.number()),
            Rm::Mem(Mem::Pool(_)) => Operand { rex: 0, form: Bytes::one(5), disp: Bytes::four(0) },
            Rm::Mem(Mem::Base(base, disp)) => {
                let (mode, disp) = displacement(base, disp);
                let low = base.number() & 7;
                // `rsp` and `r12` are named in SIB, with no index.
                let sib = Bytes::unless_zero(if low == 4 { 0x24 } else { 0 });
                Operand { rex: base.number() >> 3, form: Bytes::one(mode | low).then(sib), disp }
            }
            Rm::Mem(Mem::Index(base, index, scale, disp)) => {
                let (mode, disp) = displacement(base, disp);
                let form = Bytes::one(mode | 4).then(scaled(index, scale, base.number()));
                Operand { rex: index.number() >> 3 << 1 | base.number() >> 3, form, disp }
            }
            Rm::Mem(Mem::Scaled(index, scale, disp)) => {
                let form = Bytes::one(4).then(scaled(index, scale, 5));
                Operand { rex: index.number() >> 3 << 1, form, disp: Bytes::four(disp.cast_unsigned()) }
            }
        }
    }
}

impl Assembler {
    /// Bytes of an instruction, or of several.
    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    /// Writes an instruction of two parts.
    #[inline(always)]
    pub(crate) fn write(&mut self, head: Bytes, tail: Bytes) {
        let bits = u128::from(head.bits) | u128::from(tail.bits) << head.len;
        let end = self.code.len() + ((head.len + tail.len) / 8) as usize;
        // All sixteen, of which the compiler knows how many they are, and then what is not part of it away again.
        self.code.extend_from_slice(&bits.to_le_bytes());
        self.code.truncate(end);
    }

    /// An instruction with ModRM.
    #[inline]
    pub(crate) fn op(&mut self, op: Op, reg: u8, rm: Rm) {
        self.op_with(op, reg, rm, Bytes::NONE);
    }

    /// The same with an immediate of up to four bytes.
    #[inline]
    pub(crate) fn op_with(&mut self, op: Op, reg: u8, rm: Rm, imm: Bytes) {
        let operand = Operand::of(rm);
        let rex = rex(op.rex | (reg >> 3) << 2 | operand.rex);
        let head = Bytes::unless_zero(op.prefix).then(rex).then(Bytes { bits: op.opcode.into(), len: op.len.into() });
        self.write_with(head, reg, rm, operand, imm);
    }

    /// An opcode that has the register in itself, and an immediate.
    #[inline]
    pub(crate) fn op_short(&mut self, op: Op, reg: Gpr, imm: Bytes) {
        let rex = rex(op.rex | reg.number() >> 3);
        self.write(rex.then(Bytes::one(op.opcode as u8 | reg.number() & 7)), imm);
    }

    /// A VEX prefix of three bytes: opcode map 2, and `prefix` as it numbers them. `second` is the source that ModRM does not name.
    #[inline]
    pub(crate) fn op_vex(&mut self, prefix: u8, width: Width, opcode: u8, reg: u8, second: u8, rm: Rm) {
        let operand = Operand::of(rm);
        let registers = !(reg >> 3 << 7 | operand.rex << 5) & 0xe0;
        let wide = if width == Width::W64 { 0x80 } else { 0 };
        let vex = [0xc4, registers | 2, wide | (!second & 0xf) << 3 | prefix, opcode];
        self.write_with(Bytes::four(u32::from_le_bytes(vex)), reg, rm, operand, Bytes::NONE);
    }

    /// Writes an instruction whose ModRM and what belongs to it follow `head`.
    #[inline(always)]
    fn write_with(&mut self, head: Bytes, reg: u8, rm: Rm, operand: Operand, imm: Bytes) {
        let form = Bytes { bits: operand.form.bits | u64::from(reg & 7) << 3, ..operand.form };
        self.write(head.then(form), operand.disp.then(imm));
        if let Rm::Mem(Mem::Pool(constant)) = rm {
            let behind = imm.len / 8;
            self.to_pool.push((self.position() - behind - 4, behind as u8, constant));
        }
    }
}

/// A prefix that is there if there is a reason for it.
#[inline]
fn rex(rex: u8) -> Bytes {
    Bytes::unless_zero(if rex == 0 { 0 } else { 0x40 | rex })
}

#[inline]
fn scaled(index: Gpr, scale: u8, base: u8) -> Bytes {
    debug_assert!(index != RSP && scale < 4, "the processor has no such operand");
    Bytes::one(scale << 6 | (index.number() & 7) << 3 | base & 7)
}

/// ModRM's mode for a base and a displacement, and what is written of that.
#[inline]
fn displacement(base: Gpr, disp: i32) -> (u8, Bytes) {
    match i8::try_from(disp) {
        // `rbp` and `r13` always have a displacement.
        Ok(0) if base.number() & 7 != 5 => (0, Bytes::NONE),
        Ok(short) => (0x40, Bytes::one(short.cast_unsigned())),
        Err(_) => (0x80, Bytes::four(disp.cast_unsigned())),
    }
}
