//! What each instruction becomes. Registers are those of the handlers ([`State`](crate::exec)): what a template does not do itself it leaves to
//! the instruction's handler, which finds everything where another handler would have left it.

mod access;
mod call;
mod compare;
mod numbers;

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use tierup::CountSlot;

use super::asm::{Alu, Asm, Branch, Cc, EQUAL, Float, NEGATIVE, R8, R9, R10, R11, RAX, RCX, RDI, RDX, RSI, Reg, Rm, Width, Xmm};
use crate::exec::op::branch;
use crate::exec::op::data::{Class, ReturnPlace};
use crate::exec::{Cx, Kind};
use crate::vmctx::GLOBAL_CELLS;

// The handlers' arguments, in the order of their type. `ip` is only told to handlers; here it may be anything.
const IP: Reg = RDI;
const FP: Reg = RSI;
const MEM: Reg = RDX;
const LEN: Reg = RCX;
const CX: Reg = R8;
const INT: Reg = R9;
const F64: Xmm = Xmm(0);
const F32: Xmm = Xmm(1);
// Nobody's.
const TEMP: Reg = RAX;
const OTHER: Reg = R10;
const VALUE: Reg = R11;
const FLOAT: Xmm = Xmm(2);
const CONSTANT: Xmm = Xmm(3);

/// Slots that are cleared one by one.
const FEW: u32 = 16;

/// An instruction with no template, or none for these operands.
struct NoTemplate;

/// What an emitter makes of a body's instructions.
pub(super) struct Emitted {
    pub(super) asm: Asm,
    /// Where each instruction begins: its word, and the position in the code.
    pub(super) entries: Vec<(u32, usize)>,
}

/// Makes machine code of the instructions that begin at these words.
pub(super) fn emit(words: &[AtomicU64], kinds: &[(u32, Kind)]) -> Emitted {
    let asm = Asm::with_capacity(words.len() * 16);
    let mut emitter = Emitter { asm, words, at: 0, handed: Vec::new(), branches: Vec::new() };
    let mut entries = Vec::with_capacity(kinds.len());
    for &(at, kind) in kinds {
        emitter.at = at as usize;
        let start = emitter.asm.here();
        entries.push((at, start));
        let (handed, branches) = (emitter.handed.len(), emitter.branches.len());
        if emitter.instruction(kind).is_err() {
            emitter.asm.truncate(start);
            emitter.handed.truncate(handed);
            emitter.branches.truncate(branches);
            let (ip, handler) = (emitter.address(0), emitter.word(0));
            emitter.hand_over(ip, handler);
        }
    }
    emitter.finish(&entries);
    Emitted { asm: emitter.asm, entries }
}

/// A branch to where a handler takes over.
struct Handed {
    from: Branch,
    ip: u64,
    handler: u64,
}

struct Emitter<'w> {
    asm: Asm,
    words: &'w [AtomicU64],
    /// The instruction under way.
    at: usize,
    handed: Vec<Handed>,
    /// Branches to the instructions at these words.
    branches: Vec<(Branch, usize)>,
}

fn slot(number: u64) -> Rm {
    Rm::At(FP, (number & 0xffff) as i32 * 8)
}

fn register(float: Float) -> Xmm {
    match float {
        Float::F32 => F32,
        Float::F64 => F64,
    }
}

impl Emitter<'_> {
    // What the instruction says.

    fn word(&self, at: usize) -> u64 {
        // Ordering: Relaxed. The one who makes templates is the one who changes words.
        self.words[self.at + at].load(Ordering::Relaxed)
    }

    fn address(&self, at: usize) -> u64 {
        (&raw const self.words[self.at + at]).expose_provenance() as u64
    }

    fn dst(&self) -> Rm {
        slot(self.word(1))
    }

    fn a(&self) -> Rm {
        slot(self.word(1) >> 16)
    }

    fn b(&self) -> Rm {
        slot(self.word(1) >> 32)
    }

    fn c(&self) -> Rm {
        slot(self.word(1) >> 48)
    }

    fn k(&self) -> u32 {
        (self.word(1) >> 32) as u32
    }

    /// The instruction that the branch word `at` leads to.
    fn target(&self, at: usize) -> usize {
        (self.word(at) as usize - self.words.as_ptr().expose_provenance()) / size_of::<u64>()
    }

    // Ways on.

    /// Leaves to a handler, for the instruction at `ip`.
    fn hand_over(&mut self, ip: u64, handler: u64) {
        self.asm.constant(IP, ip);
        self.asm.constant(TEMP, handler);
        self.asm.jump_to(Rm::Reg(TEMP));
    }

    /// Leaves the instruction to its handler if the condition holds: nothing has been done yet.
    fn give_up_if(&mut self, cc: Cc) {
        let from = self.asm.jump_if(cc);
        self.handed.push(Handed { from, ip: self.address(0), handler: self.word(0) });
    }

    fn branch_if(&mut self, cc: Cc, word: usize) {
        let branch = self.asm.jump_if(cc);
        self.branches.push((branch, self.target(word)));
    }

    /// Branches to the target of the branch word `at`, a loop header if it is `back`.
    fn branch(&mut self, at: usize, back: bool) -> Result<(), NoTemplate> {
        if back {
            self.count(at)?;
        }
        let branch = self.asm.jump();
        self.branches.push((branch, self.target(at)));
        Ok(())
    }

    /// Counts a turn of the loop whose branch word is at `at`.
    fn count(&mut self, at: usize) -> Result<(), NoTemplate> {
        let info = self.word(at + 2);
        let index = i32::try_from((info & 0xffff_ffff) as usize * size_of::<CountSlot>()).map_err(|_| NoTemplate)?;
        let countdown = index.checked_add(offset_of!(CountSlot, countdown) as i32).ok_or(NoTemplate)?;
        self.asm.load(Width::W64, TEMP, Rm::At(CX, offset_of!(Cx, countdown) as i32));
        self.asm.alu_constant(Alu::Sub, Width::W32, Rm::At(TEMP, countdown), (info >> 48) as i32);
        let from = self.asm.jump_if(NEGATIVE);
        self.handed.push(Handed { from, ip: self.address(at), handler: branch::spent() as usize as u64 });
        Ok(())
    }

    fn finish(&mut self, entries: &[(u32, usize)]) {
        for Handed { from, ip, handler } in std::mem::take(&mut self.handed) {
            self.asm.direct(from, self.asm.here());
            self.hand_over(ip, handler);
        }
        for (branch, word) in std::mem::take(&mut self.branches) {
            let at = entries.binary_search_by_key(&(word as u32), |&(at, _)| at).expect("branches lead to instructions");
            self.asm.direct(branch, entries[at].1);
        }
    }

    // Results: in the accumulator, and in slot DST.

    fn keep_int(&mut self) {
        self.asm.store(Width::W64, self.dst(), INT);
    }

    fn keep_float(&mut self, float: Float) {
        match float {
            Float::F64 => self.asm.float_store(float, self.dst(), F64),
            // Slots hold it zero-extended.
            Float::F32 => {
                self.asm.float_bits(float, TEMP, F32);
                self.asm.store(Width::W64, self.dst(), TEMP);
            }
        }
    }

    fn keep(&mut self, class: Class) {
        match class {
            Class::Int => self.keep_int(),
            Class::F32 => self.keep_float(Float::F32),
            Class::F64 => self.keep_float(Float::F64),
        }
    }

    /// Loads an accumulator from 64 bits of memory.
    fn accumulate(&mut self, class: Class, from: Rm) {
        match class {
            Class::Int => self.asm.load(Width::W64, INT, from),
            Class::F32 => self.asm.float_load(Float::F32, F32, from),
            Class::F64 => self.asm.float_load(Float::F64, F64, from),
        }
    }

    fn instruction(&mut self, kind: Kind) -> Result<(), NoTemplate> {
        match kind {
            Kind::Binary { op, form, stored } => {
                let class = self.binary(op, form)?;
                if stored {
                    self.keep(class);
                }
            }
            Kind::Unary { op, accumulator, stored } => {
                let class = self.unary(op, accumulator)?;
                if stored {
                    self.keep(class);
                }
            }
            Kind::Test { op, form, stored } => {
                let holds = self.compare(op, form);
                self.value_of(holds);
                if stored {
                    self.keep_int();
                }
            }
            Kind::Branch { op, form, back } => self.branch_on(op, form, back)?,
            Kind::Jump { back } => self.branch(1, back)?,
            Kind::Load { op, place, stored } => {
                let class = self.load(op, place)?;
                if stored {
                    self.keep(class);
                }
            }
            Kind::Store { op, place, value } => self.store(op, place, value)?,
            Kind::Select { class, accumulator, stored } => {
                self.select(class, accumulator);
                if stored {
                    self.keep(class);
                }
            }
            Kind::GlobalGet { class, stored } => {
                let cell = self.cell()?;
                self.accumulate(class, cell);
                if stored {
                    self.keep(class);
                }
            }
            Kind::GlobalSet { from } => self.global_set(from)?,
            Kind::Copy => self.copy(self.dst(), self.a()),
            Kind::CopyTwo => {
                self.copy(self.dst(), self.a());
                self.copy(self.b(), self.c());
            }
            Kind::Narrow => {
                self.asm.constant(TEMP, self.k().into());
                self.asm.store(Width::W64, self.dst(), TEMP);
            }
            Kind::Wide => {
                self.asm.constant(TEMP, self.word(2));
                self.asm.store(Width::W64, self.dst(), TEMP);
            }
            Kind::Keep { class } => self.keep(class),
            Kind::Clear if self.k() <= FEW => {
                let first = self.word(1) & 0xffff;
                for number in first..first + u64::from(self.k()) {
                    // Not wrapped: the slots are the frame's.
                    self.asm.store_zero(Rm::At(FP, number as i32 * 8));
                }
            }
            Kind::Return { class, place } => self.return_one(class, place),
            Kind::ReturnNone => {
                let [ip, caller] = self.control();
                self.asm.load(Width::W64, IP, ip);
                self.asm.load(Width::W64, FP, caller);
                self.asm.jump_to(Rm::At(IP, 0));
            }
            Kind::Switch { accumulator } => self.switch(accumulator),
            Kind::Call => self.call()?,
            Kind::CallIndirect { accumulator, profiled } => self.call_indirect(accumulator, profiled)?,
            Kind::Clear | Kind::Other => return Err(NoTemplate),
        }
        Ok(())
    }

    fn copy(&mut self, to: Rm, from: Rm) {
        self.asm.load(Width::W64, TEMP, from);
        self.asm.store(Width::W64, to, TEMP);
    }

    /// The two control slots, the first of which is in DST.
    fn control(&self) -> [Rm; 2] {
        let first = (self.word(1) & 0xffff) as i32 * 8;
        [Rm::At(FP, first), Rm::At(FP, first + 8)]
    }

    fn return_one(&mut self, class: Class, place: ReturnPlace) {
        let [ip, caller] = self.control();
        self.asm.load(Width::W64, IP, ip);
        self.asm.load(Width::W64, TEMP, caller);
        match place {
            ReturnPlace::Slot => self.accumulate(class, self.a()),
            ReturnPlace::Imm => self.asm.constant(INT, self.k().into()),
            ReturnPlace::Acc => {}
        }
        // After the control slots were read: it may be one of them.
        let result = Rm::At(FP, 0);
        match class {
            Class::Int => self.asm.store(Width::W64, result, INT),
            Class::F64 => self.asm.float_store(Float::F64, result, F64),
            Class::F32 => {
                self.asm.float_bits(Float::F32, VALUE, F32);
                self.asm.store(Width::W64, result, VALUE);
            }
        }
        self.asm.load(Width::W64, FP, Rm::Reg(TEMP));
        self.asm.jump_to(Rm::At(IP, 0));
    }

    /// Where the global is that the instruction names.
    fn cell(&mut self) -> Result<Rm, NoTemplate> {
        let at = i32::try_from(GLOBAL_CELLS + size_of::<u64>() * self.k() as usize).map_err(|_| NoTemplate)?;
        self.asm.load(Width::W64, TEMP, Rm::At(CX, offset_of!(Cx, vmctx) as i32));
        Ok(Rm::At(TEMP, at))
    }

    fn global_set(&mut self, from: Option<Class>) -> Result<(), NoTemplate> {
        let value = match from {
            Some(Class::Int) => INT,
            None => {
                self.asm.load(Width::W64, VALUE, self.a());
                VALUE
            }
            Some(Class::F64) => {
                self.asm.float_bits(Float::F64, VALUE, F64);
                VALUE
            }
            Some(Class::F32) => {
                self.asm.float_bits(Float::F32, VALUE, F32);
                VALUE
            }
        };
        let cell = self.cell()?;
        self.asm.store(Width::W64, cell, value);
        Ok(())
    }

    fn select(&mut self, class: Class, accumulator: bool) {
        if accumulator {
            self.asm.test(Width::W32, INT);
        } else {
            self.asm.alu_constant(Alu::Cmp, Width::W32, self.c(), 0);
        }
        let to = if class == Class::Int { INT } else { TEMP };
        self.asm.load(Width::W64, to, self.a());
        self.asm.load_if(EQUAL, to, self.b());
        match class {
            Class::Int => {}
            Class::F32 => self.asm.float_from_bits(Float::F32, F32, TEMP),
            Class::F64 => self.asm.float_from_bits(Float::F64, F64, TEMP),
        }
    }
}
