//! The x86-64 instructions templates are made of (Intel's manual, volume 2).

/// A general register, by its number in encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reg(pub(super) u8);

pub(super) const RAX: Reg = Reg(0);
pub(super) const RCX: Reg = Reg(1);
pub(super) const RDX: Reg = Reg(2);
pub(super) const RSI: Reg = Reg(6);
pub(super) const RDI: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
pub(super) const R10: Reg = Reg(10);
pub(super) const R11: Reg = Reg(11);

/// A vector register, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Xmm(pub(super) u8);

/// An operand in a register or in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rm {
    Reg(Reg),
    Xmm(Xmm),
    /// Base and displacement; the base is neither `rsp` nor `r12`.
    At(Reg, i32),
    /// Base, index, and displacement.
    Indexed(Reg, Reg, i32),
    /// The same with an index in units of eight bytes.
    Scaled(Reg, Reg, i32),
}

/// Width of a general operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    W32,
    W64,
}

/// Width of a float operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Float {
    F32,
    F64,
}

impl Float {
    /// The prefix of scalar operations.
    fn scalar(self) -> u8 {
        match self {
            Self::F32 => 0xf3,
            Self::F64 => 0xf2,
        }
    }
}

/// A condition code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cc(pub(super) u8);

pub(super) const BELOW: Cc = Cc(2);
pub(super) const NOT_BELOW: Cc = Cc(3);
pub(super) const EQUAL: Cc = Cc(4);
pub(super) const NOT_EQUAL: Cc = Cc(5);
pub(super) const NOT_ABOVE: Cc = Cc(6);
pub(super) const ABOVE: Cc = Cc(7);
pub(super) const NEGATIVE: Cc = Cc(8);
pub(super) const UNORDERED: Cc = Cc(10);
pub(super) const ORDERED: Cc = Cc(11);
pub(super) const LESS: Cc = Cc(12);
pub(super) const NOT_LESS: Cc = Cc(13);
pub(super) const NOT_GREATER: Cc = Cc(14);
pub(super) const GREATER: Cc = Cc(15);

impl Cc {
    pub(super) fn negated(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// Arithmetic with an opcode for a register and an operand, and an extension for an immediate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts, by their extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shift {
    Rotl = 0,
    Rotr = 1,
    Shl = 4,
    ShrU = 5,
    ShrS = 7,
}

/// Float arithmetic, by its opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloatOp {
    Sqrt = 0x51,
    Add = 0x58,
    Mul = 0x59,
    Sub = 0x5c,
    Div = 0x5e,
}

/// Where a branch is whose target is still to be told: its displacement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Branch(usize);

/// Machine code under construction.
#[derive(Debug, Default)]
pub(super) struct Asm {
    bytes: Vec<u8>,
}

impl Asm {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How much there is.
    pub(super) fn here(&self) -> usize {
        self.bytes.len()
    }

    /// Takes back what was written from `at` on.
    pub(super) fn truncate(&mut self, at: usize) {
        self.bytes.truncate(at);
    }

    fn imm32(&mut self, imm: u32) {
        self.bytes.extend(imm.to_le_bytes());
    }

    /// Prefix (0: none), REX where it is needed, opcode, and the operands: `reg` is a register's number or an extension.
    fn encode(&mut self, prefix: u8, wide: bool, opcode: &[u8], reg: u8, rm: Rm) {
        self.encode_with(prefix, wide, false, opcode, reg, rm);
    }

    /// The same; `byte`: a register is one of a byte, for some of which REX is needed.
    fn encode_with(&mut self, prefix: u8, wide: bool, byte: bool, opcode: &[u8], reg: u8, rm: Rm) {
        if prefix != 0 {
            self.bytes.push(prefix);
        }
        let (base, index) = match rm {
            Rm::Reg(Reg(number)) | Rm::Xmm(Xmm(number)) | Rm::At(Reg(number), _) => (number, 0),
            Rm::Indexed(base, index, _) | Rm::Scaled(base, index, _) => (base.0, index.0),
        };
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3;
        if rex != 0x40 || byte {
            self.bytes.push(rex);
        }
        self.bytes.extend_from_slice(opcode);
        let reg = (reg & 7) << 3;
        match rm {
            Rm::Reg(_) | Rm::Xmm(_) => self.bytes.push(0xc0 | reg | base & 7),
            Rm::At(_, displacement) => match i8::try_from(displacement) {
                Ok(short) => self.bytes.extend([0x40 | reg | base & 7, short as u8]),
                Err(_) => {
                    self.bytes.push(0x80 | reg | base & 7);
                    self.imm32(displacement as u32);
                }
            },
            Rm::Indexed(_, _, displacement) | Rm::Scaled(_, _, displacement) => {
                let scale = if let Rm::Scaled(..) = rm { 3 << 6 } else { 0 };
                self.bytes.extend([0x80 | reg | 4, scale | (index & 7) << 3 | base & 7]);
                self.imm32(displacement as u32);
            }
        }
    }

    /// `to = from`; the upper half is cleared by a narrow one.
    pub(super) fn load(&mut self, width: Width, to: Reg, from: Rm) {
        self.encode(0, width == Width::W64, &[0x8b], to.0, from);
    }

    pub(super) fn store(&mut self, width: Width, to: Rm, from: Reg) {
        self.encode(0, width == Width::W64, &[0x89], from.0, to);
    }

    pub(super) fn store_byte(&mut self, to: Rm, from: Reg) {
        self.encode_with(0, false, true, &[0x88], from.0, to);
    }

    pub(super) fn store_half(&mut self, to: Rm, from: Reg) {
        self.encode(0x66, false, &[0x89], from.0, to);
    }

    /// Clears 64 bits.
    pub(super) fn store_zero(&mut self, to: Rm) {
        self.encode(0, true, &[0xc7], 0, to);
        self.imm32(0);
    }

    /// `to = from`, of 8, 16 or 32 bits, zero- or sign-extended to `width`.
    pub(super) fn load_extended(&mut self, width: Width, signed: bool, bytes: u8, to: Reg, from: Rm) {
        let wide = width == Width::W64;
        match (bytes, signed) {
            (4, false) => self.load(Width::W32, to, from),
            (4, true) => self.encode(0, wide, &[0x63], to.0, from),
            (2, false) => self.encode(0, false, &[0x0f, 0xb7], to.0, from),
            (2, true) => self.encode(0, wide, &[0x0f, 0xbf], to.0, from),
            // A register's low byte has no number of its own without REX.
            (_, false) => self.encode_with(0, false, true, &[0x0f, 0xb6], to.0, from),
            (_, true) => self.encode_with(0, wide, true, &[0x0f, 0xbe], to.0, from),
        }
    }

    pub(super) fn constant(&mut self, to: Reg, value: u64) {
        let opcode = 0xb8 | to.0 & 7;
        match u32::try_from(value) {
            Ok(narrow) => {
                if to.0 >= 8 {
                    self.bytes.push(0x41);
                }
                self.bytes.push(opcode);
                self.imm32(narrow);
            }
            Err(_) => {
                self.bytes.extend([0x48 | to.0 >> 3, opcode]);
                self.bytes.extend(value.to_le_bytes());
            }
        }
    }

    /// `to = address of at`.
    pub(super) fn lea(&mut self, to: Reg, at: Rm) {
        self.encode(0, true, &[0x8d], to.0, at);
    }

    pub(super) fn alu(&mut self, op: Alu, width: Width, to: Reg, from: Rm) {
        self.encode(0, width == Width::W64, &[0x03 | (op as u8) << 3], to.0, from);
    }

    /// With the operand on the left.
    pub(super) fn alu_from(&mut self, op: Alu, width: Width, to: Rm, from: Reg) {
        self.encode(0, width == Width::W64, &[0x01 | (op as u8) << 3], from.0, to);
    }

    /// With an immediate, sign-extended.
    pub(super) fn alu_constant(&mut self, op: Alu, width: Width, to: Rm, value: i32) {
        let wide = width == Width::W64;
        if let Ok(short) = i8::try_from(value) {
            self.encode(0, wide, &[0x83], op as u8, to);
            self.bytes.push(short as u8);
        } else {
            self.encode(0, wide, &[0x81], op as u8, to);
            self.imm32(value as u32);
        }
    }

    pub(super) fn mul(&mut self, width: Width, to: Reg, from: Rm) {
        self.encode(0, width == Width::W64, &[0x0f, 0xaf], to.0, from);
    }

    pub(super) fn mul_constant(&mut self, width: Width, to: Reg, from: Rm, value: i32) {
        self.encode(0, width == Width::W64, &[0x69], to.0, from);
        self.imm32(value as u32);
    }

    /// By a constant, of which the processor takes as many bits as WebAssembly.
    pub(super) fn shift_constant(&mut self, op: Shift, width: Width, to: Reg, by: u8) {
        self.encode(0, width == Width::W64, &[0xc1], op as u8, Rm::Reg(to));
        self.bytes.push(by);
    }

    /// By `cl`, in the same way.
    pub(super) fn shift(&mut self, op: Shift, width: Width, to: Reg) {
        self.encode(0, width == Width::W64, &[0xd3], op as u8, Rm::Reg(to));
    }

    /// Divides `rdx:rax`: the quotient to `rax`, the remainder to `rdx`.
    pub(super) fn div(&mut self, width: Width, signed: bool, by: Reg) {
        self.encode(0, width == Width::W64, &[0xf7], if signed { 7 } else { 6 }, Rm::Reg(by));
    }

    /// Extends `rax` by its sign to `rdx:rax`.
    pub(super) fn extend_dividend(&mut self, width: Width) {
        match width {
            Width::W32 => self.bytes.push(0x99),
            Width::W64 => self.bytes.extend([0x48, 0x99]),
        }
    }

    /// The number of the lowest, or highest, set bit. With none it sets "equal" and nothing else.
    pub(super) fn find_bit(&mut self, width: Width, highest: bool, to: Reg, from: Rm) {
        self.encode(0, width == Width::W64, &[0x0f, if highest { 0xbd } else { 0xbc }], to.0, from);
    }

    /// Sets flags for whether it is zero, and for its sign.
    pub(super) fn test(&mut self, width: Width, of: Reg) {
        self.encode(0, width == Width::W64, &[0x85], of.0, Rm::Reg(of));
    }

    /// Sets the low byte to a condition.
    pub(super) fn set(&mut self, cc: Cc, to: Reg) {
        self.encode_with(0, false, true, &[0x0f, 0x90 | cc.0], 0, Rm::Reg(to));
    }

    /// `to = from` under a condition, 64 bits.
    pub(super) fn load_if(&mut self, cc: Cc, to: Reg, from: Rm) {
        self.encode(0, true, &[0x0f, 0x40 | cc.0], to.0, from);
    }

    pub(super) fn float_load(&mut self, float: Float, to: Xmm, from: Rm) {
        match from {
            // Of registers, all of it: the other form keeps half and waits for what was there.
            Rm::Xmm(_) => self.encode(0, false, &[0x0f, 0x28], to.0, from),
            _ => self.encode(float.scalar(), false, &[0x0f, 0x10], to.0, from),
        }
    }

    pub(super) fn float_store(&mut self, float: Float, to: Rm, from: Xmm) {
        self.encode(float.scalar(), false, &[0x0f, 0x11], from.0, to);
    }

    pub(super) fn float(&mut self, op: FloatOp, float: Float, to: Xmm, from: Rm) {
        self.encode(float.scalar(), false, &[0x0f, op as u8], to.0, from);
    }

    /// Compares: below, equal, above, or unordered.
    pub(super) fn float_compare(&mut self, float: Float, l: Xmm, r: Rm) {
        let prefix = if float == Float::F64 { 0x66 } else { 0 };
        self.encode(prefix, false, &[0x0f, 0x2e], l.0, r);
    }

    /// The bits, from a general register.
    pub(super) fn float_from_bits(&mut self, float: Float, to: Xmm, from: Reg) {
        self.encode(0x66, float == Float::F64, &[0x0f, 0x6e], to.0, Rm::Reg(from));
    }

    /// The bits, to a general register, the upper half of which narrow ones clear.
    pub(super) fn float_bits(&mut self, float: Float, to: Reg, from: Xmm) {
        self.encode(0x66, float == Float::F64, &[0x0f, 0x7e], from.0, Rm::Reg(to));
    }

    /// A float of a signed integer.
    pub(super) fn float_from_int(&mut self, float: Float, to: Xmm, width: Width, from: Rm) {
        // The conversion keeps the upper half of the register, and waits for it, were it not cleared.
        self.encode(0, false, &[0x0f, 0x57], to.0, Rm::Xmm(to));
        self.encode(float.scalar(), width == Width::W64, &[0x0f, 0x2a], to.0, from);
    }

    /// A float of one of the other width.
    pub(super) fn float_from_float(&mut self, from_width: Float, to: Xmm, from: Rm) {
        self.encode(from_width.scalar(), false, &[0x0f, 0x5a], to.0, from);
    }

    pub(super) fn jump_if(&mut self, cc: Cc) -> Branch {
        self.bytes.extend([0x0f, 0x80 | cc.0]);
        self.imm32(0);
        Branch(self.here() - 4)
    }

    pub(super) fn jump(&mut self) -> Branch {
        self.bytes.push(0xe9);
        self.imm32(0);
        Branch(self.here() - 4)
    }

    /// Jumps to the address in a register or in memory.
    pub(super) fn jump_to(&mut self, to: Rm) {
        self.encode(0, false, &[0xff], 4, to);
    }

    /// Directs a branch to `target`, a position in this code.
    pub(super) fn direct(&mut self, Branch(at): Branch, target: usize) {
        let from = at + 4;
        let distance = i32::try_from(target as i64 - from as i64).expect("bodies are not that long");
        self.bytes[at..from].copy_from_slice(&distance.to_le_bytes());
    }
}
