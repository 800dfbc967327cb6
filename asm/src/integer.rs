//! Integers.

use crate::{
    Assembler,
    encode::{Bytes, Op},
    operand::{Cond, Gpr, Mem, Rm, Width},
};

/// Operations with a uniform encoding, by their number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "names that say it")]
pub enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    /// Sets flags as a subtraction does, and nothing else.
    Cmp = 7,
}

/// Shifts and rotations, by their number in encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "names that say it")]
pub enum Shift {
    RotateLeft = 0,
    RotateRight = 1,
    Left = 4,
    /// Zeros come in.
    Right = 5,
    /// Copies of the sign come in.
    Arithmetic = 7,
}

/// What is counted, or found, in the bits of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitCount {
    /// The number of the lowest bit that is set: `bsf`. Of 0 the destination is kept, and "equal" is set.
    Lowest,
    /// The number of the highest bit that is set: `bsr`. Of 0 the destination is kept, and "equal" is set.
    Highest,
    /// Zeros above the highest bit that is set: `lzcnt`, which a processor without it takes for `bsr`.
    LeadingZeros,
    /// Zeros below the lowest bit that is set: `tzcnt`, which a processor without it (BMI1) takes for `bsf`.
    TrailingZeros,
    /// Bits that are set: `popcnt`.
    Ones,
}

impl Assembler {
    /// `dst = dst op src`
    pub fn alu(&mut self, op: Alu, width: Width, dst: Gpr, src: impl Into<Rm>) {
        self.op(Op::new((op as u32) << 3 | 3).width(width), dst.number(), src.into());
    }

    /// `dst = dst op src`, in memory.
    #[inline]
    pub fn alu_to(&mut self, op: Alu, width: Width, dst: Mem, src: Gpr) {
        self.op(Op::new((op as u32) << 3 | 1).width(width), src.number(), dst.into());
    }

    /// `dst = dst op imm`, sign-extended.
    pub fn alu_imm(&mut self, op: Alu, width: Width, dst: impl Into<Rm>, imm: i32) {
        self.op_imm(width, [0x83, 0x81], op as u8, dst.into(), imm);
    }

    /// An instruction with an opcode for an immediate of one byte, and another for four.
    #[inline]
    fn op_imm(&mut self, width: Width, [short, long]: [u32; 2], reg: u8, rm: Rm, imm: i32) {
        match i8::try_from(imm) {
            Ok(imm) => {
                self.op_with(Op::new(short).width(width), reg, rm, Bytes::one(imm.cast_unsigned()));
            }
            Err(_) => {
                self.op_with(Op::new(long).width(width), reg, rm, Bytes::four(imm.cast_unsigned()));
            }
        }
    }

    /// Sets flags as `a & b` does.
    #[inline]
    pub fn test(&mut self, width: Width, a: Gpr, b: Gpr) {
        self.op(Op::new(0x85).width(width), b.number(), a.into());
    }

    /// `dst = src`
    pub fn mov(&mut self, width: Width, dst: Gpr, src: impl Into<Rm>) {
        self.op(Op::new(0x8b).width(width), dst.number(), src.into());
    }

    /// 64 bits. No flags change.
    #[inline]
    pub fn mov_imm(&mut self, dst: Gpr, value: i64) {
        if let Ok(low) = u32::try_from(value) {
            self.op_short(Op::new(0xb8), dst, Bytes::four(low));
        } else if let Ok(low) = i32::try_from(value) {
            self.op_with(Op::new(0xc7).width(Width::W64), 0, dst.into(), Bytes::four(low.cast_unsigned()));
        } else {
            self.op_short(Op::new(0xb8).width(Width::W64), dst, Bytes::eight(value.cast_unsigned()));
        }
    }

    /// Loads eight bytes at a constant address into `rax`.
    #[inline]
    pub fn load_rax_from(&mut self, address: i64) {
        self.bytes(&[0x48, 0xa1]);
        self.bytes(&address.to_le_bytes());
    }

    /// Stores the low 1, 2, 4 or 8 `bytes` of a register.
    ///
    /// # Panics
    ///
    /// With debug assertions, for other numbers of bytes.
    #[inline]
    pub fn store(&mut self, bytes: u8, mem: Mem, src: Gpr) {
        debug_assert!(matches!(bytes, 1 | 2 | 4 | 8), "{bytes} bytes");
        let op = match bytes {
            1 => Op::new(0x88).byte(),
            2 => Op::new(0x89).prefix(0x66),
            4 => Op::new(0x89),
            _ => Op::new(0x89).width(Width::W64),
        };
        self.op(op, src.number(), mem.into());
    }

    /// Stores the low 1, 2, 4 or 8 `bytes` of a constant, sign-extended.
    ///
    /// # Panics
    ///
    /// With debug assertions, for other numbers of bytes.
    #[inline]
    pub fn store_imm(&mut self, bytes: u8, mem: Mem, imm: i32) {
        debug_assert!(matches!(bytes, 1 | 2 | 4 | 8), "{bytes} bytes");
        let op = match bytes {
            1 => Op::new(0xc6),
            2 => Op::new(0xc7).prefix(0x66),
            4 => Op::new(0xc7),
            _ => Op::new(0xc7).width(Width::W64),
        };
        self.op_with(op, 0, mem.into(), Bytes::low(bytes.min(4), imm.cast_unsigned()));
    }

    /// The low 1 or 2 `bytes`, zero-extended to 64 bits.
    ///
    /// # Panics
    ///
    /// With debug assertions, for other numbers of bytes.
    pub fn movzx(&mut self, bytes: u8, dst: Gpr, src: impl Into<Rm>) {
        debug_assert!(matches!(bytes, 1 | 2), "{bytes} bytes");
        let op = if bytes == 1 { Op::new(0x0fb6).byte() } else { Op::new(0x0fb7) };
        self.op(op, dst.number(), src.into());
    }

    /// The low 1, 2 or 4 `bytes`, sign-extended to the width.
    ///
    /// # Panics
    ///
    /// With debug assertions, for other numbers of bytes.
    pub fn movsx(&mut self, width: Width, bytes: u8, dst: Gpr, src: impl Into<Rm>) {
        debug_assert!(matches!(bytes, 1 | 2 | 4), "{bytes} bytes");
        let op = match bytes {
            1 => Op::new(0x0fbe).byte(),
            2 => Op::new(0x0fbf),
            _ => Op::new(0x63),
        };
        self.op(op.width(width), dst.number(), src.into());
    }

    /// `dst` = the operand's address, of which a narrow one has 32 bits.
    #[inline]
    pub fn lea(&mut self, width: Width, dst: Gpr, mem: Mem) {
        self.op(Op::new(0x8d).width(width), dst.number(), mem.into());
    }

    /// `dst = dst * src`
    pub fn imul(&mut self, width: Width, dst: Gpr, src: impl Into<Rm>) {
        self.op(Op::new(0x0faf).width(width), dst.number(), src.into());
    }

    /// `dst = src * imm`, sign-extended.
    pub fn imul_imm(&mut self, width: Width, dst: Gpr, src: impl Into<Rm>, imm: i32) {
        self.op_imm(width, [0x6b, 0x69], dst.number(), src.into(), imm);
    }

    /// Divides `rdx:rax`, by `div` or `idiv`: quotient to `rax`, remainder to `rdx`. The processor traps where there is no result.
    pub fn div(&mut self, width: Width, is_signed: bool, by: impl Into<Rm>) {
        self.op(Op::new(0xf7).width(width), if is_signed { 7 } else { 6 }, by.into());
    }

    /// Extends `rax` by its sign to `rdx:rax`: `cdq`, `cqo`.
    #[inline]
    pub fn sign_to_rdx(&mut self, width: Width) {
        match width {
            Width::W32 => self.bytes(&[0x99]),
            Width::W64 => self.bytes(&[0x48, 0x99]),
        }
    }

    /// `dst = -dst`
    #[inline]
    pub fn neg(&mut self, width: Width, dst: Gpr) {
        self.op(Op::new(0xf7).width(width), 3, dst.into());
    }

    /// `dst = !dst`
    #[inline]
    pub fn not(&mut self, width: Width, dst: Gpr) {
        self.op(Op::new(0xf7).width(width), 2, dst.into());
    }

    /// Shifts by a constant, modulo the width.
    #[inline]
    pub fn shift_imm(&mut self, shift: Shift, width: Width, dst: Gpr, amount: u8) {
        self.op_with(Op::new(0xc1).width(width), shift as u8, dst.into(), Bytes::one(amount));
    }

    /// Shifts by `cl`, modulo the width.
    #[inline]
    pub fn shift_cl(&mut self, shift: Shift, width: Width, dst: Gpr) {
        self.op(Op::new(0xd3).width(width), shift as u8, dst.into());
    }

    /// `dst = src shifted by amount`, modulo the width; no flags change: `shlx` and its like (BMI2).
    ///
    /// # Panics
    ///
    /// For rotations: there is no such instruction.
    pub fn shift_by(&mut self, shift: Shift, width: Width, dst: Gpr, src: impl Into<Rm>, amount: Gpr) {
        let prefix = match shift {
            Shift::Left => 1,
            Shift::Arithmetic => 2,
            Shift::Right => 3,
            Shift::RotateLeft | Shift::RotateRight => panic!("BMI2 rotates by constants only"),
        };
        self.op_vex(prefix, width, 0xf7, dst.number(), amount.number(), src.into());
    }

    /// `dst` = what is counted in `src`.
    pub fn count(&mut self, what: BitCount, width: Width, dst: Gpr, src: impl Into<Rm>) {
        let (prefix, opcode) = match what {
            BitCount::Lowest => (0, 0x0fbc),
            BitCount::Highest => (0, 0x0fbd),
            BitCount::TrailingZeros => (0xf3, 0x0fbc),
            BitCount::LeadingZeros => (0xf3, 0x0fbd),
            BitCount::Ones => (0xf3, 0x0fb8),
        };
        self.op(Op::new(opcode).prefix(prefix).width(width), dst.number(), src.into());
    }

    /// The condition as 0 or 1, in the register's low byte, and no other: `setcc`.
    #[inline]
    pub fn set_byte(&mut self, cond: Cond, dst: Gpr) {
        self.op(Op::new(0x0f90 | cond as u32).byte(), 0, dst.into());
    }

    /// The condition as 0 or 1, in the whole register.
    #[inline]
    pub fn set(&mut self, cond: Cond, dst: Gpr) {
        self.set_byte(cond, dst);
        self.movzx(1, dst, dst);
    }

    /// `dst = src` under a condition, 64 bits. Memory is read either way.
    pub fn cmov(&mut self, cond: Cond, dst: Gpr, src: impl Into<Rm>) {
        self.op(Op::new(0x0f40 | cond as u32).width(Width::W64), dst.number(), src.into());
    }
}
