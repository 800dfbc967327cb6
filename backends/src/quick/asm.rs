//! An assembler for the few x86-64 instructions that the quick compiler emits.

use std::collections::HashMap;

/// A general purpose register, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Gpr(pub(super) u8);

/// A vector register, by its number. Only its low lane is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Xmm(pub(super) u8);

pub(super) const RAX: Gpr = Gpr(0);
pub(super) const RCX: Gpr = Gpr(1);
pub(super) const RDX: Gpr = Gpr(2);
pub(super) const RBX: Gpr = Gpr(3);
pub(super) const RSP: Gpr = Gpr(4);
pub(super) const RBP: Gpr = Gpr(5);
pub(super) const RSI: Gpr = Gpr(6);
pub(super) const RDI: Gpr = Gpr(7);
pub(super) const R8: Gpr = Gpr(8);
pub(super) const R9: Gpr = Gpr(9);
pub(super) const R10: Gpr = Gpr(10);
pub(super) const R11: Gpr = Gpr(11);
pub(super) const R12: Gpr = Gpr(12);
pub(super) const R13: Gpr = Gpr(13);
pub(super) const R14: Gpr = Gpr(14);
pub(super) const R15: Gpr = Gpr(15);

/// A memory operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mem {
    /// `[base + disp]`
    Base(Gpr, i32),
    /// `[base + (index << scale) + disp]`; the index is not the stack pointer, and the scale 3 at most.
    Index(Gpr, Gpr, u8, i32),
    /// `[(index << scale) + disp]`
    Scaled(Gpr, u8, i32),
    /// A constant of the pool.
    Pool(Constant),
}

/// A place in the constant pool: 16-byte entries first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Constant {
    Wide(u32),
    Narrow(u32),
}

/// What a ModRM byte names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rm {
    Gpr(Gpr),
    Xmm(Xmm),
    Mem(Mem),
}

impl From<Gpr> for Rm {
    fn from(reg: Gpr) -> Self {
        Rm::Gpr(reg)
    }
}

impl From<Xmm> for Rm {
    fn from(reg: Xmm) -> Self {
        Rm::Xmm(reg)
    }
}

impl From<Mem> for Rm {
    fn from(mem: Mem) -> Self {
        Rm::Mem(mem)
    }
}

/// Operand width of an integer instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    W32,
    W64,
}

impl Width {
    fn rex(self) -> u8 {
        match self {
            Width::W32 => 0,
            Width::W64 => 8,
        }
    }
}

/// Precision of a float instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Single,
    Double,
}

impl Precision {
    /// The prefix of a scalar instruction.
    fn scalar(self) -> u8 {
        match self {
            Precision::Single => 0xf3,
            Precision::Double => 0xf2,
        }
    }

    /// The prefix of a packed one.
    fn packed(self) -> u8 {
        match self {
            Precision::Single => 0,
            Precision::Double => 0x66,
        }
    }
}

/// The eight operations with a uniform encoding, by their number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// A condition code, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cond {
    Overflow = 0,
    NoOverflow = 1,
    Below = 2,
    AboveOrEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowOrEqual = 6,
    Above = 7,
    Negative = 8,
    Parity = 10,
    NoParity = 11,
    Less = 12,
    GreaterOrEqual = 13,
    LessOrEqual = 14,
    Greater = 15,
}

impl Cond {
    pub(super) fn inverse(self) -> Self {
        use Cond::*;
        match self {
            Overflow => NoOverflow,
            NoOverflow => Overflow,
            Below => AboveOrEqual,
            AboveOrEqual => Below,
            Equal => NotEqual,
            NotEqual => Equal,
            BelowOrEqual => Above,
            Above => BelowOrEqual,
            Parity => NoParity,
            NoParity => Parity,
            Less => GreaterOrEqual,
            GreaterOrEqual => Less,
            LessOrEqual => Greater,
            Greater => LessOrEqual,
            Negative => unreachable!("not used inverted"),
        }
    }
}

/// Shifts by an amount in a register, as BMI2 has them: they touch neither flags nor `cl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shift {
    Left,
    Right,
    Arithmetic,
}

/// A position in the code that may not be known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(u32);

const UNBOUND: u32 = u32::MAX;

/// Machine code under construction.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<u8>,
    labels: Vec<u32>,
    /// Displacements of 4 bytes that end where the instruction does.
    to_label: Vec<(u32, Label)>,
    /// Entries of jump tables: relative to the table's start.
    in_tables: Vec<(u32, u32, Label)>,
    /// Displacements to constants, and how many bytes of the instruction follow.
    to_pool: Vec<(u32, u8, Constant)>,
    narrow: Vec<u64>,
    wide: Vec<u128>,
    known: HashMap<u64, u32>,
}

impl Assembler {
    pub(super) fn clear(&mut self) {
        self.code.clear();
        self.labels.clear();
        self.to_label.clear();
        self.in_tables.clear();
        self.to_pool.clear();
        self.narrow.clear();
        self.wide.clear();
        self.known.clear();
    }

    pub(super) fn position(&self) -> u32 {
        self.code.len() as u32
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(UNBOUND);
        Label(self.labels.len() as u32 - 1)
    }

    pub(super) fn bind(&mut self, label: Label) {
        debug_assert_eq!(self.labels[label.0 as usize], UNBOUND);
        self.labels[label.0 as usize] = self.position();
    }

    /// Goes on at a multiple of `to`, with instructions that do nothing before it.
    pub(super) fn align(&mut self, to: u32) {
        // By length (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, NOP).
        const NOPS: [&[u8]; 9] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        let mut missing = (self.position().next_multiple_of(to) - self.position()) as usize;
        while missing > 0 {
            let nop = NOPS[missing.min(NOPS.len()) - 1];
            self.code.extend_from_slice(nop);
            missing -= nop.len();
        }
    }

    pub(super) fn constant(&mut self, bits: u64) -> Constant {
        let next = self.narrow.len() as u32;
        let at = *self.known.entry(bits).or_insert(next);
        if at == next {
            self.narrow.push(bits);
        }
        Constant::Narrow(at)
    }

    pub(super) fn wide_constant(&mut self, bits: u128) -> Constant {
        let at = self.wide.iter().position(|&known| known == bits).unwrap_or_else(|| {
            self.wide.push(bits);
            self.wide.len() - 1
        });
        Constant::Wide(at as u32)
    }

    /// Fills in what was open and appends the constants. Returns the code and how much of it is instructions.
    pub(super) fn finish(&mut self) -> (&[u8], usize) {
        let instructions = self.code.len();
        if !self.wide.is_empty() || !self.narrow.is_empty() {
            self.code.resize(self.code.len().next_multiple_of(16), 0xcc);
        }
        let wide = self.code.len();
        for bits in &self.wide {
            self.code.extend_from_slice(&bits.to_le_bytes());
        }
        let narrow = self.code.len();
        for bits in &self.narrow {
            self.code.extend_from_slice(&bits.to_le_bytes());
        }
        for &(at, label) in &self.to_label {
            let target = self.labels[label.0 as usize];
            debug_assert_ne!(target, UNBOUND);
            patch(&mut self.code, at, target.wrapping_sub(at + 4));
        }
        for &(at, table, label) in &self.in_tables {
            let target = self.labels[label.0 as usize];
            debug_assert_ne!(target, UNBOUND);
            patch(&mut self.code, at, target.wrapping_sub(table));
        }
        for &(at, behind, constant) in &self.to_pool {
            let target = match constant {
                Constant::Wide(index) => wide + 16 * index as usize,
                Constant::Narrow(index) => narrow + 8 * index as usize,
            };
            patch(&mut self.code, at, (target as u32).wrapping_sub(at + 4 + u32::from(behind)));
        }
        (&self.code, instructions)
    }

    fn byte(&mut self, byte: u8) {
        self.code.push(byte);
    }

    fn imm32(&mut self, imm: i32) {
        self.code.extend_from_slice(&imm.to_le_bytes());
    }

    /// Prefix, REX, opcode, ModRM. `behind` bytes of an immediate follow. `rex` is set where a byte register may be one of the four
    /// that need the prefix to be named.
    fn op(&mut self, prefix: u8, mut rex: u8, opcode: &[u8], reg: u8, rm: Rm, behind: u8) {
        if prefix != 0 {
            self.byte(prefix);
        }
        rex |= (reg >> 3) << 2;
        rex |= match rm {
            Rm::Gpr(Gpr(r)) | Rm::Xmm(Xmm(r)) => r >> 3,
            Rm::Mem(Mem::Base(base, _)) => base.0 >> 3,
            Rm::Mem(Mem::Index(base, index, ..)) => base.0 >> 3 | (index.0 >> 3) << 1,
            Rm::Mem(Mem::Scaled(index, ..)) => (index.0 >> 3) << 1,
            Rm::Mem(Mem::Pool(_)) => 0,
        };
        if rex != 0 {
            self.byte(0x40 | rex & 0xf);
        }
        self.code.extend_from_slice(opcode);
        self.modrm(reg, rm, behind);
    }

    fn modrm(&mut self, reg: u8, rm: Rm, behind: u8) {
        let reg = (reg & 7) << 3;
        match rm {
            Rm::Gpr(Gpr(r)) | Rm::Xmm(Xmm(r)) => self.byte(0xc0 | reg | r & 7),
            Rm::Mem(Mem::Pool(constant)) => {
                self.byte(reg | 5);
                self.to_pool.push((self.position(), behind, constant));
                self.imm32(0);
            }
            Rm::Mem(Mem::Base(base, disp)) => {
                let low = base.0 & 7;
                let mode = displacement(base, disp);
                self.byte(mode | reg | low);
                if low == 4 {
                    self.byte(0x24);
                }
                self.displace(mode, disp);
            }
            Rm::Mem(Mem::Index(base, index, scale, disp)) => {
                let mode = displacement(base, disp);
                self.byte(mode | reg | 4);
                self.byte(scale << 6 | (index.0 & 7) << 3 | base.0 & 7);
                self.displace(mode, disp);
            }
            Rm::Mem(Mem::Scaled(index, scale, disp)) => {
                self.byte(reg | 4);
                self.byte(scale << 6 | (index.0 & 7) << 3 | 5);
                self.imm32(disp);
            }
        }
    }

    fn displace(&mut self, mode: u8, disp: i32) {
        match mode {
            0 => {}
            0x40 => self.byte(disp as u8),
            _ => self.imm32(disp),
        }
    }

    // Integers.

    pub(super) fn alu(&mut self, op: Alu, width: Width, dst: Gpr, src: impl Into<Rm>) {
        self.op(0, width.rex(), &[(op as u8) << 3 | 3], dst.0, src.into(), 0);
    }

    /// `op [mem], reg`
    pub(super) fn alu_to(&mut self, op: Alu, width: Width, dst: Mem, src: Gpr) {
        self.op(0, width.rex(), &[(op as u8) << 3 | 1], src.0, dst.into(), 0);
    }

    pub(super) fn alu_imm(&mut self, op: Alu, width: Width, dst: impl Into<Rm>, imm: i32) {
        let dst = dst.into();
        match i8::try_from(imm) {
            Ok(imm) => {
                self.op(0, width.rex(), &[0x83], op as u8, dst, 1);
                self.byte(imm as u8);
            }
            Err(_) => {
                self.op(0, width.rex(), &[0x81], op as u8, dst, 4);
                self.imm32(imm);
            }
        }
    }

    pub(super) fn test(&mut self, width: Width, a: Gpr, b: Gpr) {
        self.op(0, width.rex(), &[0x85], b.0, a.into(), 0);
    }

    pub(super) fn mov(&mut self, width: Width, dst: Gpr, src: impl Into<Rm>) {
        self.op(0, width.rex(), &[0x8b], dst.0, src.into(), 0);
    }

    /// A value of any width; no flags change.
    pub(super) fn mov_imm(&mut self, dst: Gpr, value: i64) {
        if let Ok(low) = u32::try_from(value) {
            self.op_short(0, 0xb8, dst);
            self.imm32(low.cast_signed());
        } else if let Ok(low) = i32::try_from(value) {
            self.op(0, 8, &[0xc7], 0, dst.into(), 4);
            self.imm32(low);
        } else {
            self.op_short(8, 0xb8, dst);
            self.code.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Loads eight bytes at a constant address into `rax`.
    pub(super) fn load_rax_from(&mut self, address: i64) {
        self.code.extend_from_slice(&[0x48, 0xa1]);
        self.code.extend_from_slice(&address.to_le_bytes());
    }

    fn op_short(&mut self, rex: u8, opcode: u8, reg: Gpr) {
        let rex = rex | reg.0 >> 3;
        if rex != 0 {
            self.byte(0x40 | rex);
        }
        self.byte(opcode | reg.0 & 7);
    }

    /// Stores the low `bytes` of a register.
    pub(super) fn store(&mut self, bytes: u8, mem: Mem, src: Gpr) {
        match bytes {
            1 => self.op(0, 0x40, &[0x88], src.0, mem.into(), 0),
            2 => self.op(0x66, 0, &[0x89], src.0, mem.into(), 0),
            4 => self.op(0, 0, &[0x89], src.0, mem.into(), 0),
            _ => self.op(0, 8, &[0x89], src.0, mem.into(), 0),
        }
    }

    /// Stores the low `bytes` of a constant, sign-extended.
    pub(super) fn store_imm(&mut self, bytes: u8, mem: Mem, imm: i32) {
        match bytes {
            1 => {
                self.op(0, 0, &[0xc6], 0, mem.into(), 1);
                self.byte(imm as u8);
            }
            2 => {
                self.op(0x66, 0, &[0xc7], 0, mem.into(), 2);
                self.code.extend_from_slice(&(imm as i16).to_le_bytes());
            }
            4 => {
                self.op(0, 0, &[0xc7], 0, mem.into(), 4);
                self.imm32(imm);
            }
            _ => {
                self.op(0, 8, &[0xc7], 0, mem.into(), 4);
                self.imm32(imm);
            }
        }
    }

    /// The low byte or two, zero-extended to 64 bits.
    pub(super) fn movzx(&mut self, bytes: u8, dst: Gpr, src: impl Into<Rm>) {
        let opcode = if bytes == 1 { 0xb6 } else { 0xb7 };
        self.op(0, 0x40, &[0x0f, opcode], dst.0, src.into(), 0);
    }

    /// The low 1, 2 or 4 bytes, sign-extended.
    pub(super) fn movsx(&mut self, width: Width, bytes: u8, dst: Gpr, src: impl Into<Rm>) {
        let rex = 0x40 | width.rex();
        match bytes {
            1 => self.op(0, rex, &[0x0f, 0xbe], dst.0, src.into(), 0),
            2 => self.op(0, rex, &[0x0f, 0xbf], dst.0, src.into(), 0),
            _ => self.op(0, width.rex(), &[0x63], dst.0, src.into(), 0),
        }
    }

    pub(super) fn lea(&mut self, width: Width, dst: Gpr, mem: Mem) {
        self.op(0, width.rex(), &[0x8d], dst.0, mem.into(), 0);
    }

    pub(super) fn imul(&mut self, width: Width, dst: Gpr, src: impl Into<Rm>) {
        self.op(0, width.rex(), &[0x0f, 0xaf], dst.0, src.into(), 0);
    }

    pub(super) fn imul_imm(&mut self, width: Width, dst: Gpr, src: impl Into<Rm>, imm: i32) {
        match i8::try_from(imm) {
            Ok(imm) => {
                self.op(0, width.rex(), &[0x6b], dst.0, src.into(), 1);
                self.byte(imm as u8);
            }
            Err(_) => {
                self.op(0, width.rex(), &[0x69], dst.0, src.into(), 4);
                self.imm32(imm);
            }
        }
    }

    /// `div` or `idiv` of `rdx:rax`.
    pub(super) fn div(&mut self, width: Width, is_signed: bool, src: impl Into<Rm>) {
        self.op(0, width.rex(), &[0xf7], if is_signed { 7 } else { 6 }, src.into(), 0);
    }

    /// The sign of `rax` into `rdx`.
    pub(super) fn sign_to_rdx(&mut self, width: Width) {
        if width == Width::W64 {
            self.byte(0x48);
        }
        self.byte(0x99);
    }

    pub(super) fn neg(&mut self, width: Width, dst: Gpr) {
        self.op(0, width.rex(), &[0xf7], 3, dst.into(), 0);
    }

    pub(super) fn not(&mut self, width: Width, dst: Gpr) {
        self.op(0, width.rex(), &[0xf7], 2, dst.into(), 0);
    }

    /// Shifts in place by a constant.
    pub(super) fn shift_imm(&mut self, shift: Shift, width: Width, dst: Gpr, amount: u8) {
        let op = match shift {
            Shift::Left => 4,
            Shift::Right => 5,
            Shift::Arithmetic => 7,
        };
        self.op(0, width.rex(), &[0xc1], op, dst.into(), 1);
        self.byte(amount);
    }

    /// Shifts by a register.
    pub(super) fn shift(&mut self, shift: Shift, width: Width, dst: Gpr, src: Rm, amount: Gpr) {
        let prefix = match shift {
            Shift::Left => 1,
            Shift::Arithmetic => 2,
            Shift::Right => 3,
        };
        let (x, b) = match src {
            Rm::Gpr(Gpr(r)) | Rm::Xmm(Xmm(r)) => (0, r >> 3),
            Rm::Mem(Mem::Base(base, _)) => (0, base.0 >> 3),
            Rm::Mem(Mem::Index(base, index, ..)) => (index.0 >> 3, base.0 >> 3),
            Rm::Mem(Mem::Scaled(index, ..)) => (index.0 >> 3, 0),
            Rm::Mem(Mem::Pool(_)) => (0, 0),
        };
        self.byte(0xc4);
        self.byte((dst.0 >> 3 ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | 2);
        self.byte(width.rex() << 4 | (!amount.0 & 0xf) << 3 | prefix);
        self.byte(0xf7);
        self.modrm(dst.0, src, 0);
    }

    /// Rotates in place by a constant.
    pub(super) fn rotate_imm(&mut self, is_left: bool, width: Width, dst: Gpr, amount: u8) {
        self.op(0, width.rex(), &[0xc1], u8::from(!is_left), dst.into(), 1);
        self.byte(amount);
    }

    /// Rotates in place by `cl`.
    pub(super) fn rotate(&mut self, is_left: bool, width: Width, dst: Gpr) {
        self.op(0, width.rex(), &[0xd3], u8::from(!is_left), dst.into(), 0);
    }

    pub(super) fn lzcnt(&mut self, width: Width, dst: Gpr, src: impl Into<Rm>) {
        self.op(0xf3, width.rex(), &[0x0f, 0xbd], dst.0, src.into(), 0);
    }

    pub(super) fn tzcnt(&mut self, width: Width, dst: Gpr, src: impl Into<Rm>) {
        self.op(0xf3, width.rex(), &[0x0f, 0xbc], dst.0, src.into(), 0);
    }

    pub(super) fn popcnt(&mut self, width: Width, dst: Gpr, src: impl Into<Rm>) {
        self.op(0xf3, width.rex(), &[0x0f, 0xb8], dst.0, src.into(), 0);
    }

    /// The condition as 0 or 1, in the whole register.
    pub(super) fn set(&mut self, cond: Cond, dst: Gpr) {
        self.op(0, 0x40, &[0x0f, 0x90 | cond as u8], 0, dst.into(), 0);
        self.movzx(1, dst, dst);
    }

    pub(super) fn cmov(&mut self, cond: Cond, dst: Gpr, src: impl Into<Rm>) {
        self.op(0, 8, &[0x0f, 0x40 | cond as u8], dst.0, src.into(), 0);
    }

    // Floats.

    pub(super) fn float(&mut self, opcode: u8, precision: Precision, dst: Xmm, src: impl Into<Rm>) {
        self.op(precision.scalar(), 0, &[0x0f, opcode], dst.0, src.into(), 0);
    }

    /// A packed operation, for those that have no scalar form: `and` 0x54, `andn` 0x55, `or` 0x56, `xor` 0x57.
    pub(super) fn float_bits(&mut self, opcode: u8, precision: Precision, dst: Xmm, src: impl Into<Rm>) {
        self.op(precision.packed(), 0, &[0x0f, opcode], dst.0, src.into(), 0);
    }

    pub(super) fn ucomis(&mut self, precision: Precision, a: Xmm, b: impl Into<Rm>) {
        self.op(precision.packed(), 0, &[0x0f, 0x2e], a.0, b.into(), 0);
    }

    /// Between registers, the whole of it.
    pub(super) fn movaps(&mut self, dst: Xmm, src: Xmm) {
        self.op(0, 0, &[0x0f, 0x28], dst.0, src.into(), 0);
    }

    pub(super) fn load_float(&mut self, precision: Precision, dst: Xmm, mem: Mem) {
        self.float(0x10, precision, dst, mem);
    }

    pub(super) fn store_float(&mut self, precision: Precision, mem: Mem, src: Xmm) {
        self.float(0x11, precision, src, mem);
    }

    /// `roundss`, `roundsd` (SSE4.1).
    pub(super) fn round(&mut self, precision: Precision, dst: Xmm, src: impl Into<Rm>, mode: u8) {
        let opcode = if precision == Precision::Single { 0x0a } else { 0x0b };
        self.op(0x66, 0, &[0x0f, 0x3a, opcode], dst.0, src.into(), 1);
        self.byte(8 | mode);
    }

    /// Signed integer to float.
    pub(super) fn int_to_float(&mut self, width: Width, precision: Precision, dst: Xmm, src: impl Into<Rm>) {
        self.op(precision.scalar(), width.rex(), &[0x0f, 0x2a], dst.0, src.into(), 0);
    }

    /// Float to signed integer, toward zero.
    pub(super) fn float_to_int(&mut self, width: Width, precision: Precision, dst: Gpr, src: impl Into<Rm>) {
        self.op(precision.scalar(), width.rex(), &[0x0f, 0x2c], dst.0, src.into(), 0);
    }

    /// Bits of an integer register into a vector register.
    pub(super) fn bits_to_float(&mut self, width: Width, dst: Xmm, src: impl Into<Rm>) {
        self.op(0x66, width.rex(), &[0x0f, 0x6e], dst.0, src.into(), 0);
    }

    pub(super) fn float_to_bits(&mut self, width: Width, dst: impl Into<Rm>, src: Xmm) {
        self.op(0x66, width.rex(), &[0x0f, 0x7e], src.0, dst.into(), 0);
    }

    // Vectors.

    /// Sixteen bytes, at any address.
    pub(super) fn load_vector(&mut self, dst: Xmm, mem: Mem) {
        self.op(0, 0, &[0x0f, 0x10], dst.0, mem.into(), 0);
    }

    pub(super) fn store_vector(&mut self, mem: Mem, src: Xmm) {
        self.op(0, 0, &[0x0f, 0x11], src.0, mem.into(), 0);
    }

    /// A packed operation on integers: equality of 32-bit lanes is 0x76, their difference 0xfa.
    pub(super) fn lanes(&mut self, opcode: u8, dst: Xmm, src: Xmm) {
        self.op(0x66, 0, &[0x0f, opcode], dst.0, src.into(), 0);
    }

    /// The lowest 32-bit lane in all of them.
    pub(super) fn spread(&mut self, dst: Xmm, src: Xmm) {
        self.op(0x66, 0, &[0x0f, 0x70], dst.0, src.into(), 1);
        self.byte(0);
    }

    /// Whether any bit is set, as flags (SSE4.1).
    pub(super) fn test_vector(&mut self, a: Xmm) {
        self.op(0x66, 0, &[0x0f, 0x38, 0x17], a.0, a.into(), 0);
    }

    // Control.

    pub(super) fn jump(&mut self, target: Label) {
        match self.backward(target, 2) {
            Some(disp) => {
                self.byte(0xeb);
                self.byte(disp as u8);
            }
            None => {
                self.byte(0xe9);
                self.displace_to(target);
            }
        }
    }

    pub(super) fn jump_if(&mut self, cond: Cond, target: Label) {
        match self.backward(target, 2) {
            Some(disp) => {
                self.byte(0x70 | cond as u8);
                self.byte(disp as u8);
            }
            None => {
                self.byte(0x0f);
                self.byte(0x80 | cond as u8);
                self.displace_to(target);
            }
        }
    }

    /// The displacement, if the label is known and near enough.
    fn backward(&self, target: Label, len: i64) -> Option<i8> {
        let at = self.labels[target.0 as usize];
        if at == UNBOUND {
            return None;
        }
        i8::try_from(i64::from(at) - i64::from(self.position()) - len).ok()
    }

    fn displace_to(&mut self, target: Label) {
        self.to_label.push((self.position(), target));
        self.imm32(0);
    }

    /// Jumps to one of `targets`, by an index in `index`, which is within them. Uses both registers up.
    pub(super) fn jump_table(&mut self, index: Gpr, scratch: Gpr, targets: &[Label]) {
        let table = self.label();
        // lea scratch, [rip + table]
        self.byte(0x48 | (scratch.0 >> 3) << 2);
        self.byte(0x8d);
        self.byte((scratch.0 & 7) << 3 | 5);
        self.displace_to(table);
        // movsxd index, [scratch + 4 * index]
        self.byte(0x48 | (index.0 >> 3) << 2 | (index.0 >> 3) << 1 | scratch.0 >> 3);
        self.byte(0x63);
        self.byte(0x44 | (index.0 & 7) << 3);
        self.byte(0x80 | (index.0 & 7) << 3 | scratch.0 & 7);
        self.byte(0);
        self.alu(Alu::Add, Width::W64, index, scratch);
        self.op(0, 0, &[0xff], 4, index.into(), 0);
        self.bind(table);
        let start = self.position();
        for &target in targets {
            self.in_tables.push((self.position(), start, target));
            self.imm32(0);
        }
    }

    pub(super) fn call(&mut self, target: impl Into<Rm>) {
        self.op(0, 0, &[0xff], 2, target.into(), 0);
    }

    pub(super) fn push(&mut self, reg: Gpr) {
        self.op_short(0, 0x50, reg);
    }

    pub(super) fn pop(&mut self, reg: Gpr) {
        self.op_short(0, 0x58, reg);
    }

    pub(super) fn ret(&mut self) {
        self.byte(0xc3);
    }

    /// Never executed.
    pub(super) fn ud2(&mut self) {
        self.byte(0x0f);
        self.byte(0x0b);
    }
}

fn displacement(base: Gpr, disp: i32) -> u8 {
    match disp {
        // `rbp` and `r13` always have a displacement.
        0 if base.0 & 7 != 5 => 0,
        _ if i8::try_from(disp).is_ok() => 0x40,
        _ => 0x80,
    }
}

fn patch(code: &mut [u8], at: u32, value: u32) {
    code[at as usize..at as usize + 4].copy_from_slice(&value.to_le_bytes());
}
