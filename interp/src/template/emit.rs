//! What each instruction becomes. Registers are those of the handlers ([`State`](crate::exec)): what a template does not do itself it leaves to
//! the instruction's handler, which finds everything where another handler would have left it.

mod access;
mod call;
mod compare;
mod numbers;

use std::mem::{self, offset_of};
use std::sync::atomic::{AtomicU64, Ordering};

use tierup::CountSlot;
use tierup_asm::{Alu, Assembler, Cond, Gpr, Label, Mem, Precision, R8, R9, R10, R11, RAX, RCX, RDI, RDX, RSI, Rm, Width, Xmm};

use crate::exec::op::branch;
use crate::exec::op::data::{Class, ReturnPlace};
use crate::exec::{Cx, Kind};
use crate::vmctx::GLOBAL_CELLS;

// The handlers' arguments, in the order of their type. `ip` is only told to handlers; here it may be anything.
const IP: Gpr = RDI;
const FP: Gpr = RSI;
const MEM: Gpr = RDX;
const LEN: Gpr = RCX;
const CX: Gpr = R8;
const INT: Gpr = R9;
const F64: Xmm = Xmm::new(0);
const F32: Xmm = Xmm::new(1);
// Nobody's.
const TEMP: Gpr = RAX;
const OTHER: Gpr = R10;
const VALUE: Gpr = R11;
const FLOAT: Xmm = Xmm::new(2);
const CONSTANT: Xmm = Xmm::new(3);

/// Slots that are cleared one by one.
const FEW: u32 = 16;

/// An instruction with no template, or none for these operands.
struct NoTemplate;

/// What an emitter makes of a body's instructions.
pub(super) struct Emitted {
    /// Code that is still to be [finished](Assembler::finish).
    pub(super) asm: Assembler,
    /// Where in it each instruction begins.
    pub(super) entries: Vec<u32>,
}

/// Makes machine code of the instructions that begin at these words.
pub(super) fn emit(words: &[AtomicU64], kinds: &[(u32, Kind)]) -> Emitted {
    let mut asm = Assembler::default();
    asm.reserve(words.len() * 16);
    let labels = asm.labels(kinds.len()).collect();
    let mut emitter = Emitter { asm, words, at: 0, kinds, labels, handed: Vec::new() };
    let mut entries = Vec::with_capacity(kinds.len());
    for (index, &(at, kind)) in kinds.iter().enumerate() {
        emitter.at = at as usize;
        let start = emitter.asm.position();
        entries.push(start);
        emitter.asm.bind(emitter.labels[index]);
        let handed = emitter.handed.len();
        if emitter.instruction(kind).is_err() {
            emitter.asm.rewind(start);
            emitter.handed.truncate(handed);
            let (ip, handler) = (emitter.address(0), emitter.word(0));
            emitter.hand_over(ip, handler);
        }
    }
    for Handed { label, ip, handler } in mem::take(&mut emitter.handed) {
        emitter.asm.bind(label);
        emitter.hand_over(ip, handler);
    }
    Emitted { asm: emitter.asm, entries }
}

/// Where a handler takes over, from as many branches as there are.
struct Handed {
    label: Label,
    ip: u64,
    handler: u64,
}

struct Emitter<'w> {
    asm: Assembler,
    words: &'w [AtomicU64],
    /// The instruction under way.
    at: usize,
    kinds: &'w [(u32, Kind)],
    /// Where each instruction begins.
    labels: Vec<Label>,
    handed: Vec<Handed>,
}

fn slot(number: u64) -> Mem {
    Mem::Base(FP, (number & 0xffff) as i32 * 8)
}

fn register(precision: Precision) -> Xmm {
    match precision {
        Precision::Single => F32,
        Precision::Double => F64,
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

    fn dst(&self) -> Mem {
        slot(self.word(1))
    }

    fn a(&self) -> Mem {
        slot(self.word(1) >> 16)
    }

    fn b(&self) -> Mem {
        slot(self.word(1) >> 32)
    }

    fn c(&self) -> Mem {
        slot(self.word(1) >> 48)
    }

    fn k(&self) -> u32 {
        (self.word(1) >> 32) as u32
    }

    /// The instruction that the branch word `at` leads to.
    fn target(&self, at: usize) -> Label {
        let word = (self.word(at) as usize - self.words.as_ptr().expose_provenance()) / size_of::<u64>();
        let index = self.kinds.binary_search_by_key(&(word as u32), |&(at, _)| at).expect("branches lead to instructions");
        self.labels[index]
    }

    // Ways on.

    /// Leaves to a handler, for the instruction at `ip`.
    fn hand_over(&mut self, ip: u64, handler: u64) {
        self.asm.jump_far(handler, IP, ip);
    }

    /// Leaves to a handler, for the instruction at `ip`, if the condition holds.
    fn hand_over_if(&mut self, cond: Cond, ip: u64, handler: u64) {
        let label = match self.handed.last() {
            Some(last) if (last.ip, last.handler) == (ip, handler) => last.label,
            _ => {
                let label = self.asm.label();
                self.handed.push(Handed { label, ip, handler });
                label
            }
        };
        self.asm.jump_if(cond, label);
    }

    /// Leaves the instruction to its handler if the condition holds: nothing has been done yet.
    fn give_up_if(&mut self, cond: Cond) {
        self.hand_over_if(cond, self.address(0), self.word(0));
    }

    fn branch_if(&mut self, cond: Cond, at: usize) {
        self.asm.jump_if(cond, self.target(at));
    }

    /// Branches to the target of the branch word `at`, a loop header if it is `back`.
    fn branch(&mut self, at: usize, back: bool) -> Result<(), NoTemplate> {
        if back {
            self.count(at)?;
        }
        self.asm.jump(self.target(at));
        Ok(())
    }

    /// Counts a turn of the loop whose branch word is at `at`.
    fn count(&mut self, at: usize) -> Result<(), NoTemplate> {
        let info = self.word(at + 2);
        let index = i32::try_from((info & 0xffff_ffff) as usize * size_of::<CountSlot>()).map_err(|_| NoTemplate)?;
        let countdown = index.checked_add(offset_of!(CountSlot, countdown) as i32).ok_or(NoTemplate)?;
        self.asm.mov(Width::W64, TEMP, Mem::Base(CX, offset_of!(Cx, countdown) as i32));
        self.asm.alu_imm(Alu::Sub, Width::W32, Mem::Base(TEMP, countdown), (info >> 48) as i32);
        self.hand_over_if(Cond::Negative, self.address(at), branch::spent() as usize as u64);
        Ok(())
    }

    // What takes more than one instruction, or another by its operand.

    fn constant(&mut self, to: Gpr, bits: u64) {
        self.asm.mov_imm(to, bits.cast_signed());
    }

    /// Loads a float, or copies a register.
    fn float_load(&mut self, precision: Precision, to: Xmm, from: Rm) {
        match from {
            Rm::Xmm(from) => self.asm.movaps(to, from),
            Rm::Mem(from) => self.asm.load_float(precision, to, from),
            Rm::Gpr(_) => unreachable!("floats are in vector registers"),
        }
    }

    // Results: in the accumulator, and in slot DST.

    fn keep_int(&mut self) {
        self.asm.store(8, self.dst(), INT);
    }

    fn keep_float(&mut self, precision: Precision) {
        match precision {
            Precision::Double => self.asm.store_float(precision, self.dst(), F64),
            // Slots hold it zero-extended.
            Precision::Single => {
                self.asm.float_to_bits(precision.width(), TEMP, F32);
                self.asm.store(8, self.dst(), TEMP);
            }
        }
    }

    fn keep(&mut self, class: Class) {
        match class {
            Class::Int => self.keep_int(),
            Class::F32 => self.keep_float(Precision::Single),
            Class::F64 => self.keep_float(Precision::Double),
        }
    }

    /// Loads an accumulator from 64 bits of memory.
    fn accumulate(&mut self, class: Class, from: Mem) {
        match class {
            Class::Int => self.asm.mov(Width::W64, INT, from),
            Class::F32 => self.asm.load_float(Precision::Single, F32, from),
            Class::F64 => self.asm.load_float(Precision::Double, F64, from),
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
                self.constant(TEMP, self.k().into());
                self.asm.store(8, self.dst(), TEMP);
            }
            Kind::Wide => {
                self.constant(TEMP, self.word(2));
                self.asm.store(8, self.dst(), TEMP);
            }
            Kind::Keep { class } => self.keep(class),
            Kind::Clear if self.k() <= FEW => {
                let first = self.word(1) & 0xffff;
                for number in first..first + u64::from(self.k()) {
                    // Not wrapped: the slots are the frame's.
                    self.asm.store_imm(8, Mem::Base(FP, number as i32 * 8), 0);
                }
            }
            Kind::Return { class, place } => self.return_one(class, place),
            Kind::ReturnNone => {
                let [ip, caller] = self.control();
                self.asm.mov(Width::W64, IP, ip);
                self.asm.mov(Width::W64, FP, caller);
                self.asm.jump_to(Mem::Base(IP, 0));
            }
            Kind::Switch { accumulator } => self.switch(accumulator),
            Kind::Call => self.call()?,
            Kind::CallIndirect { accumulator, profiled } => self.call_indirect(accumulator, profiled)?,
            Kind::Clear | Kind::Other => return Err(NoTemplate),
        }
        Ok(())
    }

    fn copy(&mut self, to: Mem, from: Mem) {
        self.asm.mov(Width::W64, TEMP, from);
        self.asm.store(8, to, TEMP);
    }

    /// The two control slots, the first of which is in DST.
    fn control(&self) -> [Mem; 2] {
        let first = (self.word(1) & 0xffff) as i32 * 8;
        [Mem::Base(FP, first), Mem::Base(FP, first + 8)]
    }

    fn return_one(&mut self, class: Class, place: ReturnPlace) {
        let [ip, caller] = self.control();
        self.asm.mov(Width::W64, IP, ip);
        self.asm.mov(Width::W64, TEMP, caller);
        match place {
            ReturnPlace::Slot => self.accumulate(class, self.a()),
            ReturnPlace::Imm => self.constant(INT, self.k().into()),
            ReturnPlace::Acc => {}
        }
        // After the control slots were read: it may be one of them.
        let result = Mem::Base(FP, 0);
        match class {
            Class::Int => self.asm.store(8, result, INT),
            Class::F64 => self.asm.store_float(Precision::Double, result, F64),
            Class::F32 => {
                self.asm.float_to_bits(Width::W32, VALUE, F32);
                self.asm.store(8, result, VALUE);
            }
        }
        self.asm.mov(Width::W64, FP, TEMP);
        self.asm.jump_to(Mem::Base(IP, 0));
    }

    /// Where the global is that the instruction names.
    fn cell(&mut self) -> Result<Mem, NoTemplate> {
        let at = i32::try_from(GLOBAL_CELLS + size_of::<u64>() * self.k() as usize).map_err(|_| NoTemplate)?;
        self.asm.mov(Width::W64, TEMP, Mem::Base(CX, offset_of!(Cx, vmctx) as i32));
        Ok(Mem::Base(TEMP, at))
    }

    fn global_set(&mut self, from: Option<Class>) -> Result<(), NoTemplate> {
        let value = match from {
            Some(Class::Int) => INT,
            None => {
                self.asm.mov(Width::W64, VALUE, self.a());
                VALUE
            }
            Some(Class::F64) => {
                self.asm.float_to_bits(Width::W64, VALUE, F64);
                VALUE
            }
            Some(Class::F32) => {
                self.asm.float_to_bits(Width::W32, VALUE, F32);
                VALUE
            }
        };
        let cell = self.cell()?;
        self.asm.store(8, cell, value);
        Ok(())
    }

    fn select(&mut self, class: Class, accumulator: bool) {
        if accumulator {
            self.asm.test(Width::W32, INT, INT);
        } else {
            self.asm.alu_imm(Alu::Cmp, Width::W32, self.c(), 0);
        }
        let to = if class == Class::Int { INT } else { TEMP };
        self.asm.mov(Width::W64, to, self.a());
        self.asm.cmov(Cond::Equal, to, self.b());
        match class {
            Class::Int => {}
            Class::F32 => self.asm.bits_to_float(Width::W32, F32, TEMP),
            Class::F64 => self.asm.bits_to_float(Width::W64, F64, TEMP),
        }
    }
}
