//! Jumps, calls, the stack, and what does nothing.

use crate::{
    Assembler, Label, UNBOUND,
    encode::{Bytes, Op},
    integer::Alu,
    operand::{Cond, Gpr, Mem, RAX, Rm, Width},
};

impl Assembler {
    /// Goes on at a label. Back to a near one it takes two bytes.
    #[inline]
    pub fn jump(&mut self, target: Label) {
        match self.backward(target) {
            Some(disp) => self.bytes(&[0xeb, disp as u8]),
            None => self.write_to(Bytes::one(0xe9), target),
        }
    }

    /// Goes on at a label if the condition holds.
    #[inline]
    pub fn jump_if(&mut self, cond: Cond, target: Label) {
        match self.backward(target) {
            Some(disp) => self.bytes(&[0x70 | cond as u8, disp as u8]),
            None => self.write_to(Bytes::one(0x0f).then(Bytes::one(0x80 | cond as u8)), target),
        }
    }

    /// The displacement of a jump of two bytes, if the label is known and near enough.
    #[inline]
    fn backward(&self, target: Label) -> Option<i8> {
        let at = self.labels[target.0 as usize];
        if at == UNBOUND {
            return None;
        }
        i8::try_from(i64::from(at) - i64::from(self.position()) - 2).ok()
    }

    /// An instruction that ends with the distance to a label.
    #[inline]
    fn write_to(&mut self, head: Bytes, target: Label) {
        self.write(head, Bytes::four(0));
        self.to_label.push((self.position() - 4, target));
    }

    /// Goes on at the address in a register or in memory.
    pub fn jump_to(&mut self, target: impl Into<Rm>) {
        self.op(Op::new(0xff), 4, target.into());
    }

    /// Goes on at an address, with a register set to a number before. Uses `rax` up.
    #[inline]
    pub fn jump_far(&mut self, address: u64, reg: Gpr, value: u64) {
        for (reg, value) in [(reg, value), (RAX, address)] {
            self.op_short(Op::new(0xb8).width(Width::W64), reg, Bytes::eight(value));
        }
        self.bytes(&[0xff, 0xe0]);
    }

    /// Goes on at one of `targets`, by an index, which is within them. Uses both registers up. The table follows.
    #[inline]
    pub fn jump_table(&mut self, index: Gpr, scratch: Gpr, targets: &[Label]) {
        let table = self.label();
        // lea scratch, [rip + table]
        let scratch_number = scratch.number();
        let lea = [0x48 | (scratch_number >> 3) << 2, 0x8d, (scratch_number & 7) << 3 | 5];
        self.write_to(lea.into_iter().map(Bytes::one).fold(Bytes::NONE, Bytes::then), table);
        self.movsx(Width::W64, 4, index, Mem::Index(scratch, index, 2, 0));
        self.alu(Alu::Add, Width::W64, index, scratch);
        self.jump_to(index);
        self.bind(table);
        let start = self.position();
        for &target in targets {
            self.in_tables.push((self.position(), start, target));
            self.bytes(&[0; 4]);
        }
    }

    /// Calls what is at the address in a register or in memory.
    pub fn call(&mut self, target: impl Into<Rm>) {
        self.op(Op::new(0xff), 2, target.into());
    }

    /// Pushes 64 bits.
    #[inline]
    pub fn push(&mut self, reg: Gpr) {
        self.op_short(Op::new(0x50), reg, Bytes::NONE);
    }

    /// Pops 64 bits.
    #[inline]
    pub fn pop(&mut self, reg: Gpr) {
        self.op_short(Op::new(0x58), reg, Bytes::NONE);
    }

    /// Returns.
    #[inline]
    pub fn ret(&mut self) {
        self.bytes(&[0xc3]);
    }

    /// Traps; what follows is not reached.
    #[inline]
    pub fn ud2(&mut self) {
        self.bytes(&[0x0f, 0x0b]);
    }

    /// Goes on at a multiple of `to`, with instructions that do nothing before it.
    #[inline]
    pub fn align(&mut self, to: u32) {
        // By length (volume 2, NOP).
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
            self.bytes(nop);
            missing -= nop.len();
        }
    }
}
