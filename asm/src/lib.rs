//! x86-64 machine code, written in one pass: for compilers that know each instruction when they come to it.
//!
//! There is a method for each kind of instruction that such compilers have needed so far, named after what it does or after the
//! manual's mnemonic. What is not known yet is a [`Label`], and what does not fit into an instruction a [`Constant`] behind the code;
//! [`finish`](Assembler::finish) fills both in.
//!
//! ```
//! use tierup_asm::{Alu, Assembler, Cond, RAX, RDI, Width};
//!
//! // The sum of 1 to n.
//! let mut asm = Assembler::default();
//! let turn = asm.label();
//! asm.mov_imm(RAX, 0);
//! asm.bind(turn);
//! asm.alu(Alu::Add, Width::W64, RAX, RDI);
//! asm.alu_imm(Alu::Sub, Width::W64, RDI, 1);
//! asm.jump_if(Cond::NotEqual, turn);
//! asm.ret();
//! assert_eq!(asm.finish().len(), 15);
//! ```
//!
//! Operands come in Intel's order, destination first. Encodings are those of the Intel 64 and IA-32 Architectures Software Developer's
//! Manual, volume 2; `tests/encodings.rs` has a disassembler read every one of them back. SSE2 is taken for granted, and what needs more
//! says so.
//!
//! Code is at most 2 GiB, as displacements are. Nothing here runs or maps it.

#![forbid(unsafe_code)]

// Everything is `#[inline]`, that is, compiled with what calls it, and so beside it in the file. In an object of its own it would be a page fault more, of
// 2 to 3 us, for the first code that a process makes.

mod control;
mod encode;
mod float;
mod integer;
mod operand;
mod vector;

pub use float::{FloatOp, MaskOp, Rounding};
pub use integer::{Alu, BitCount, Shift};
pub use operand::{
    Cond, Constant, Gpr, Mem, Precision, R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, Rm, Width,
    Xmm,
};
pub use vector::LaneOp;

/// A position in the code that may not be known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(u32);

const UNBOUND: u32 = u32::MAX;

/// Machine code under construction.
#[derive(Debug, Default)]
pub struct Assembler {
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
}

impl Assembler {
    /// Forgets everything but the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.code.clear();
        self.labels.clear();
        self.to_label.clear();
        self.in_tables.clear();
        self.to_pool.clear();
        self.narrow.clear();
        self.wide.clear();
    }

    /// Room for so many bytes more without another allocation.
    #[inline]
    pub fn reserve(&mut self, bytes: usize) {
        self.code.reserve(bytes);
    }

    /// Bytes of code so far.
    #[inline]
    pub fn position(&self) -> u32 {
        self.code.len() as u32
    }

    /// Takes back what was written from `position` on. Labels that were bound there must not be used any more.
    #[inline]
    pub fn rewind(&mut self, position: u32) {
        self.code.truncate(position as usize);
        self.to_label.truncate(self.to_label.partition_point(|&(at, _)| at < position));
        self.in_tables.truncate(self.in_tables.partition_point(|&(at, ..)| at < position));
        self.to_pool.truncate(self.to_pool.partition_point(|&(at, ..)| at < position));
    }

    /// A new label.
    #[inline]
    pub fn label(&mut self) -> Label {
        self.labels.push(UNBOUND);
        Label(self.labels.len() as u32 - 1)
    }

    /// So many new labels.
    #[inline]
    pub fn labels(&mut self, count: usize) -> impl ExactSizeIterator<Item = Label> + use<> {
        let (first, end) = (self.labels.len(), self.labels.len() + count);
        self.labels.resize(end, UNBOUND);
        (first..end).map(|number| Label(number as u32))
    }

    /// What is written next is where the label is.
    ///
    /// # Panics
    ///
    /// With debug assertions, if it was bound before.
    #[inline]
    pub fn bind(&mut self, label: Label) {
        debug_assert_eq!(self.labels[label.0 as usize], UNBOUND);
        self.labels[label.0 as usize] = self.position();
    }

    /// A constant of eight bytes, of which narrower operands are the first.
    #[inline]
    pub fn constant(&mut self, bits: u64) -> Constant {
        Constant::Narrow(place(&mut self.narrow, bits))
    }

    /// A constant of sixteen bytes, aligned.
    #[inline]
    pub fn wide_constant(&mut self, bits: u128) -> Constant {
        Constant::Wide(place(&mut self.wide, bits))
    }

    /// Fills in what was open and appends the constants. The code can be copied to any address that is a multiple of 16.
    ///
    /// # Panics
    ///
    /// With debug assertions, if a label that is used was never bound.
    #[inline]
    pub fn finish(&mut self) -> &[u8] {
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
        &self.code
    }
}

/// The number of a constant, which is not kept again if it is one of the last few dozens: each is looked for, and there may be many.
#[inline]
fn place<T: Copy + PartialEq>(constants: &mut Vec<T>, bits: T) -> u32 {
    const RECENT: usize = 48;
    let first = constants.len().saturating_sub(RECENT);
    let at = first + constants[first..].iter().position(|&known| known == bits).unwrap_or(constants.len() - first);
    if at == constants.len() {
        constants.push(bits);
    }
    at as u32
}

#[inline]
fn patch(code: &mut [u8], at: u32, value: u32) {
    code[at as usize..at as usize + 4].copy_from_slice(&value.to_le_bytes());
}
