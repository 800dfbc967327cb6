//! What each instruction becomes. Registers are those of the handlers ([`State`](crate::exec)): what a template does not do itself it leaves to
//! the instruction's handler, which finds everything where another handler would have left it.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use tierup::CountSlot;

use super::asm::{
    ABOVE, Alu, Asm, BELOW, Branch, Cc, EQUAL, Float, FloatOp, GREATER, LESS, NEGATIVE, NOT_ABOVE, NOT_BELOW, NOT_EQUAL,
    NOT_GREATER, NOT_LESS, ORDERED, R8, R9, R10, R11, RAX, RCX, RDI, RDX, RSI, Reg, Rm, Shift, UNORDERED, Width, Xmm,
};
use crate::exec::op::binary::BinaryOp;
use crate::exec::op::branch::{self, CompareOp};
use crate::exec::op::data::{Class, ReturnPlace};
use crate::exec::op::memory::{LoadOp, Place, StoreOp, ValuePlace};
use crate::exec::op::unary::UnaryOp;
use crate::exec::{Cx, Form, Kind};
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

/// How a comparison is made, and when it holds.
enum Test {
    Int(Width, Cc),
    /// Of two floats, maybe the other way round: where it is asked whether one is above the other, unordered ones are not.
    Float {
        float: Float,
        swapped: bool,
        cc: Cc,
    },
    /// That two floats are equal, or not.
    FloatEqual {
        float: Float,
        equal: bool,
    },
}

/// When a comparison that was made holds.
#[derive(Clone, Copy)]
enum Holds {
    If(Cc),
    /// Equal and ordered.
    Equal,
    /// Not equal, or not ordered.
    NotEqual,
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
            self.asm.test(INT);
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

    // Arithmetic.

    /// Says of which class the result is.
    fn binary(&mut self, op: BinaryOp, form: Form) -> Result<Class, NoTemplate> {
        use BinaryOp as B;
        use Width::{W32, W64};
        match op {
            B::I32Add => self.arithmetic(Alu::Add, W32, form),
            B::I64Add => self.arithmetic(Alu::Add, W64, form),
            B::I32Sub => self.arithmetic(Alu::Sub, W32, form),
            B::I64Sub => self.arithmetic(Alu::Sub, W64, form),
            B::I32And => self.arithmetic(Alu::And, W32, form),
            B::I64And => self.arithmetic(Alu::And, W64, form),
            B::I32Or => self.arithmetic(Alu::Or, W32, form),
            B::I64Or => self.arithmetic(Alu::Or, W64, form),
            B::I32Xor => self.arithmetic(Alu::Xor, W32, form),
            B::I64Xor => self.arithmetic(Alu::Xor, W64, form),
            B::I32Mul => self.mul(W32, form),
            B::I64Mul => self.mul(W64, form),
            B::I32Shl => self.shift(Shift::Shl, W32, form),
            B::I64Shl => self.shift(Shift::Shl, W64, form),
            B::I32ShrS => self.shift(Shift::ShrS, W32, form),
            B::I64ShrS => self.shift(Shift::ShrS, W64, form),
            B::I32ShrU => self.shift(Shift::ShrU, W32, form),
            B::I64ShrU => self.shift(Shift::ShrU, W64, form),
            B::I32Rotl => self.shift(Shift::Rotl, W32, form),
            B::I64Rotl => self.shift(Shift::Rotl, W64, form),
            B::I32Rotr => self.shift(Shift::Rotr, W32, form),
            B::I64Rotr => self.shift(Shift::Rotr, W64, form),
            B::F32Add => return Ok(self.float(FloatOp::Add, Float::F32, form)),
            B::F64Add => return Ok(self.float(FloatOp::Add, Float::F64, form)),
            B::F32Sub => return Ok(self.float(FloatOp::Sub, Float::F32, form)),
            B::F64Sub => return Ok(self.float(FloatOp::Sub, Float::F64, form)),
            B::F32Mul => return Ok(self.float(FloatOp::Mul, Float::F32, form)),
            B::F64Mul => return Ok(self.float(FloatOp::Mul, Float::F64, form)),
            B::F32Div => return Ok(self.float(FloatOp::Div, Float::F32, form)),
            B::F64Div => return Ok(self.float(FloatOp::Div, Float::F64, form)),
            _ => return Err(NoTemplate),
        }
        Ok(Class::Int)
    }

    /// The immediate as a register holds it.
    fn immediate(&self, width: Width) -> u64 {
        match width {
            Width::W32 => self.k().into(),
            Width::W64 => i64::from(self.k() as i32) as u64,
        }
    }

    fn arithmetic(&mut self, op: Alu, width: Width, form: Form) {
        let (a, b, k) = (self.a(), self.b(), self.k() as i32);
        match form {
            Form::SlotSlot => {
                self.asm.load(width, INT, a);
                self.asm.alu(op, width, INT, b);
            }
            Form::AccSlot => self.asm.alu(op, width, INT, a),
            Form::SlotAcc if op == Alu::Sub => {
                self.asm.load(width, TEMP, a);
                self.asm.alu(op, width, TEMP, Rm::Reg(INT));
                self.asm.load(Width::W64, INT, Rm::Reg(TEMP));
            }
            Form::SlotAcc => self.asm.alu(op, width, INT, a),
            Form::SlotImm => {
                self.asm.load(width, INT, a);
                self.asm.alu_constant(op, width, Rm::Reg(INT), k);
            }
            Form::AccImm => self.asm.alu_constant(op, width, Rm::Reg(INT), k),
            Form::ImmSlot | Form::ImmAcc => {
                let right = if form == Form::ImmSlot { a } else { Rm::Reg(INT) };
                self.asm.constant(TEMP, self.immediate(width));
                self.asm.alu(op, width, TEMP, right);
                self.asm.load(Width::W64, INT, Rm::Reg(TEMP));
            }
        }
    }

    fn mul(&mut self, width: Width, form: Form) {
        let (a, b, k) = (self.a(), self.b(), self.k() as i32);
        match form {
            Form::SlotSlot => {
                self.asm.load(width, INT, a);
                self.asm.mul(width, INT, b);
            }
            Form::SlotAcc | Form::AccSlot => self.asm.mul(width, INT, a),
            Form::SlotImm | Form::ImmSlot => self.asm.mul_constant(width, INT, a, k),
            Form::AccImm | Form::ImmAcc => self.asm.mul_constant(width, INT, Rm::Reg(INT), k),
        }
    }

    fn shift(&mut self, op: Shift, width: Width, form: Form) {
        let (a, b) = (self.a(), self.b());
        if let Form::SlotImm | Form::AccImm = form {
            if form == Form::SlotImm {
                self.asm.load(width, INT, a);
            }
            return self.asm.shift_constant(op, width, INT, self.k() as u8);
        }
        // The count is in `cl`, where the memory's length is.
        self.asm.load(Width::W64, OTHER, Rm::Reg(LEN));
        let (count, value) = match form {
            Form::SlotSlot => (b, Some(a)),
            Form::SlotAcc => (Rm::Reg(INT), Some(a)),
            Form::ImmAcc => (Rm::Reg(INT), None),
            _ => (a, None),
        };
        self.asm.load(Width::W32, RCX, count);
        if let Some(value) = value {
            self.asm.load(width, INT, value);
        } else if let Form::ImmSlot | Form::ImmAcc = form {
            self.asm.constant(INT, self.immediate(width));
        }
        self.asm.shift(op, width, INT);
        self.asm.load(Width::W64, LEN, Rm::Reg(OTHER));
    }

    /// Loads the instruction's float immediate.
    fn float_immediate(&mut self, float: Float, to: Xmm) {
        let bits = match float {
            Float::F32 => self.k().into(),
            Float::F64 => self.word(2),
        };
        self.asm.constant(TEMP, bits);
        self.asm.float_from_bits(float, to, TEMP);
    }

    fn float(&mut self, op: FloatOp, float: Float, form: Form) -> Class {
        let (a, b, acc) = (self.a(), self.b(), register(float));
        let commutes = matches!(op, FloatOp::Add | FloatOp::Mul);
        match form {
            Form::SlotSlot => {
                self.asm.float_load(float, acc, a);
                self.asm.float(op, float, acc, b);
            }
            Form::AccSlot => self.asm.float(op, float, acc, a),
            Form::SlotAcc if commutes => self.asm.float(op, float, acc, a),
            Form::SlotAcc => {
                self.asm.float_load(float, FLOAT, a);
                self.asm.float(op, float, FLOAT, Rm::Xmm(acc));
                self.asm.float_load(float, acc, Rm::Xmm(FLOAT));
            }
            Form::SlotImm => {
                self.float_immediate(float, CONSTANT);
                self.asm.float_load(float, acc, a);
                self.asm.float(op, float, acc, Rm::Xmm(CONSTANT));
            }
            Form::AccImm => {
                self.float_immediate(float, CONSTANT);
                self.asm.float(op, float, acc, Rm::Xmm(CONSTANT));
            }
            Form::ImmSlot => {
                self.float_immediate(float, acc);
                self.asm.float(op, float, acc, a);
            }
            Form::ImmAcc => {
                self.float_immediate(float, CONSTANT);
                self.asm.float(op, float, CONSTANT, Rm::Xmm(acc));
                self.asm.float_load(float, acc, Rm::Xmm(CONSTANT));
            }
        }
        match float {
            Float::F32 => Class::F32,
            Float::F64 => Class::F64,
        }
    }

    /// Says of which class the result is.
    fn unary(&mut self, op: UnaryOp, accumulator: bool) -> Result<Class, NoTemplate> {
        use UnaryOp as U;
        use Width::{W32, W64};
        let int = if accumulator { Rm::Reg(INT) } else { self.a() };
        let float = |float| if accumulator { Rm::Xmm(register(float)) } else { self.a() };
        let (f32, f64) = (float(Float::F32), float(Float::F64));
        match op {
            U::I32WrapI64 => self.asm.load(W32, INT, int),
            U::I32Extend8S => self.asm.load_extended(W32, true, 1, INT, int),
            U::I32Extend16S => self.asm.load_extended(W32, true, 2, INT, int),
            U::I64Extend8S => self.asm.load_extended(W64, true, 1, INT, int),
            U::I64Extend16S => self.asm.load_extended(W64, true, 2, INT, int),
            U::I64ExtendI32S | U::I64Extend32S => self.asm.load_extended(W64, true, 4, INT, int),
            U::I32ReinterpretF32 if accumulator => self.asm.float_bits(Float::F32, INT, F32),
            U::I64ReinterpretF64 if accumulator => self.asm.float_bits(Float::F64, INT, F64),
            U::I32ReinterpretF32 => self.asm.load(W32, INT, self.a()),
            U::I64ReinterpretF64 => self.asm.load(W64, INT, self.a()),

            U::F32Sqrt => return Ok(self.float_unary(Float::F32, f32)),
            U::F64Sqrt => return Ok(self.float_unary(Float::F64, f64)),
            U::F32DemoteF64 => {
                self.asm.float_from_float(Float::F64, F32, f64);
                return Ok(Class::F32);
            }
            U::F64PromoteF32 => {
                self.asm.float_from_float(Float::F32, F64, f32);
                return Ok(Class::F64);
            }
            U::F32ConvertI32S | U::F32ConvertI64S => {
                let width = if op == U::F32ConvertI32S { W32 } else { W64 };
                self.asm.float_from_int(Float::F32, F32, width, int);
                return Ok(Class::F32);
            }
            U::F64ConvertI32S | U::F64ConvertI64S => {
                let width = if op == U::F64ConvertI32S { W32 } else { W64 };
                self.asm.float_from_int(Float::F64, F64, width, int);
                return Ok(Class::F64);
            }
            // Unsigned ones are signed ones of twice the width.
            U::F32ConvertI32U => {
                self.asm.load(W32, TEMP, int);
                self.asm.float_from_int(Float::F32, F32, W64, Rm::Reg(TEMP));
                return Ok(Class::F32);
            }
            U::F64ConvertI32U => {
                self.asm.load(W32, TEMP, int);
                self.asm.float_from_int(Float::F64, F64, W64, Rm::Reg(TEMP));
                return Ok(Class::F64);
            }
            U::F32ReinterpretI32 => {
                self.asm.load(W32, TEMP, int);
                self.asm.float_from_bits(Float::F32, F32, TEMP);
                return Ok(Class::F32);
            }
            U::F64ReinterpretI64 => {
                self.asm.load(W64, TEMP, int);
                self.asm.float_from_bits(Float::F64, F64, TEMP);
                return Ok(Class::F64);
            }
            U::F64Neg | U::F64Abs => {
                match f64 {
                    Rm::Xmm(acc) => self.asm.float_bits(Float::F64, TEMP, acc),
                    slot => self.asm.load(W64, TEMP, slot),
                }
                self.sign(op == U::F64Neg);
                self.asm.float_from_bits(Float::F64, F64, TEMP);
                return Ok(Class::F64);
            }
            _ => return Err(NoTemplate),
        }
        Ok(Class::Int)
    }

    /// Changes, or clears, the uppermost bit of [`TEMP`].
    fn sign(&mut self, change: bool) {
        self.asm.constant(OTHER, if change { 1 << 63 } else { !(1 << 63) });
        let op = if change { Alu::Xor } else { Alu::And };
        self.asm.alu(op, Width::W64, TEMP, Rm::Reg(OTHER));
    }

    fn float_unary(&mut self, float: Float, from: Rm) -> Class {
        let acc = register(float);
        self.asm.float_load(float, acc, from);
        self.asm.float(FloatOp::Sqrt, float, acc, Rm::Xmm(acc));
        match float {
            Float::F32 => Class::F32,
            Float::F64 => Class::F64,
        }
    }

    // Comparisons.

    /// Sets flags; says when the comparison holds.
    fn compare(&mut self, op: CompareOp, form: Form) -> Holds {
        match test_of(op) {
            Test::Int(width, cc) => {
                self.compare_ints(width, form);
                Holds::If(cc)
            }
            Test::Float { float, swapped, cc } => {
                self.compare_floats(float, swapped, form);
                Holds::If(cc)
            }
            Test::FloatEqual { float, equal } => {
                self.compare_floats(float, false, form);
                if equal { Holds::Equal } else { Holds::NotEqual }
            }
        }
    }

    fn compare_ints(&mut self, width: Width, form: Form) {
        let (a, b, k) = (self.a(), self.b(), self.k() as i32);
        match form {
            Form::SlotSlot => {
                self.asm.load(width, TEMP, a);
                self.asm.alu(Alu::Cmp, width, TEMP, b);
            }
            Form::SlotAcc => self.asm.alu_from(Alu::Cmp, width, a, INT),
            Form::SlotImm => self.asm.alu_constant(Alu::Cmp, width, a, k),
            Form::AccImm => self.asm.alu_constant(Alu::Cmp, width, Rm::Reg(INT), k),
            Form::AccSlot | Form::ImmSlot | Form::ImmAcc => unreachable!("comparisons have no such form"),
        }
    }

    fn compare_floats(&mut self, float: Float, swapped: bool, form: Form) {
        let (a, b, acc) = (self.a(), self.b(), Rm::Xmm(register(float)));
        let (l, r) = match form {
            Form::SlotSlot => (a, b),
            Form::SlotAcc => (a, acc),
            Form::SlotImm => (a, Rm::Xmm(CONSTANT)),
            Form::AccImm => (acc, Rm::Xmm(CONSTANT)),
            Form::AccSlot | Form::ImmSlot | Form::ImmAcc => unreachable!("comparisons have no such form"),
        };
        if let Form::SlotImm | Form::AccImm = form {
            self.float_immediate(float, CONSTANT);
        }
        let (first, second) = if swapped { (r, l) } else { (l, r) };
        let first = if let Rm::Xmm(register) = first {
            register
        } else {
            self.asm.float_load(float, FLOAT, first);
            FLOAT
        };
        self.asm.float_compare(float, first, second);
    }

    /// The comparison's value, in the accumulator.
    fn value_of(&mut self, holds: Holds) {
        match holds {
            Holds::If(cc) => self.asm.set(cc, TEMP),
            Holds::Equal | Holds::NotEqual => {
                let is_equal = matches!(holds, Holds::Equal);
                let (cc, parity) = if is_equal { (EQUAL, ORDERED) } else { (NOT_EQUAL, UNORDERED) };
                self.asm.set(cc, TEMP);
                self.asm.set(parity, OTHER);
                let op = if is_equal { Alu::And } else { Alu::Or };
                self.asm.alu(op, Width::W32, TEMP, Rm::Reg(OTHER));
            }
        }
        self.asm.load_extended(Width::W32, false, 1, INT, Rm::Reg(TEMP));
    }

    fn branch_on(&mut self, op: CompareOp, form: Form, back: bool) -> Result<(), NoTemplate> {
        let wide = matches!(form, Form::SlotImm | Form::AccImm)
            && matches!(test_of(op), Test::Float { float: Float::F64, .. } | Test::FloatEqual { float: Float::F64, .. });
        let word = 2 + usize::from(wide);
        let holds = self.compare(op, form);
        if !back {
            match holds {
                Holds::If(cc) => self.branch_if(cc, word),
                Holds::NotEqual => {
                    self.branch_if(NOT_EQUAL, word);
                    self.branch_if(UNORDERED, word);
                }
                Holds::Equal => {
                    let over = self.asm.jump_if(UNORDERED);
                    self.branch_if(EQUAL, word);
                    self.asm.direct(over, self.asm.here());
                }
            }
            return Ok(());
        }
        let over = match holds {
            Holds::If(cc) => [Some(self.asm.jump_if(cc.negated())), None],
            Holds::Equal => [Some(self.asm.jump_if(NOT_EQUAL)), Some(self.asm.jump_if(UNORDERED))],
            Holds::NotEqual => {
                let taken = self.asm.jump_if(UNORDERED);
                let over = self.asm.jump_if(EQUAL);
                self.asm.direct(taken, self.asm.here());
                [Some(over), None]
            }
        };
        self.branch(word, true)?;
        for over in over.into_iter().flatten() {
            self.asm.direct(over, self.asm.here());
        }
        Ok(())
    }

    // Memory.

    /// Where `bytes` bytes are to be accessed. Beyond the end the handler finds that out once more, and traps.
    fn locate(&mut self, place: Place, bytes: u32) -> Result<Rm, NoTemplate> {
        let offset = self.k();
        let end = i32::try_from(u64::from(offset) + u64::from(bytes)).map_err(|_| NoTemplate)?;
        match place {
            Place::Slot => self.asm.load(Width::W32, TEMP, self.a()),
            Place::Acc => self.asm.load(Width::W32, TEMP, Rm::Reg(INT)),
            Place::Absolute => self.asm.constant(TEMP, 0),
        }
        self.asm.lea(OTHER, Rm::At(TEMP, end));
        self.asm.alu(Alu::Cmp, Width::W64, OTHER, Rm::Reg(LEN));
        self.give_up_if(ABOVE);
        Ok(Rm::Indexed(MEM, TEMP, offset as i32))
    }

    /// Says of which class the result is.
    fn load(&mut self, op: LoadOp, place: Place) -> Result<Class, NoTemplate> {
        use Width::{W32, W64};
        let (width, signed, bytes) = match op {
            LoadOp::F32Load => {
                let from = self.locate(place, 4)?;
                self.asm.float_load(Float::F32, F32, from);
                return Ok(Class::F32);
            }
            LoadOp::F64Load => {
                let from = self.locate(place, 8)?;
                self.asm.float_load(Float::F64, F64, from);
                return Ok(Class::F64);
            }
            LoadOp::I64Load => {
                let from = self.locate(place, 8)?;
                self.asm.load(W64, INT, from);
                return Ok(Class::Int);
            }
            LoadOp::I32Load => (W32, false, 4),
            LoadOp::I32Load8U => (W32, false, 1),
            LoadOp::I32Load8S => (W32, true, 1),
            LoadOp::I32Load16U => (W32, false, 2),
            LoadOp::I32Load16S => (W32, true, 2),
            LoadOp::I64Load8S => (W64, true, 1),
            LoadOp::I64Load16S => (W64, true, 2),
            LoadOp::I64Load32S => (W64, true, 4),
        };
        let from = self.locate(place, bytes.into())?;
        self.asm.load_extended(width, signed, bytes, INT, from);
        Ok(Class::Int)
    }

    fn store(&mut self, op: StoreOp, place: Place, value: ValuePlace) -> Result<(), NoTemplate> {
        let bytes = match op {
            StoreOp::Store8 => 1,
            StoreOp::Store16 => 2,
            StoreOp::Store32 => 4,
            StoreOp::Store64 => 8,
        };
        let to = self.locate(place, bytes)?;
        let from = if value == ValuePlace::Int { INT } else { VALUE };
        match value {
            ValuePlace::Int => {}
            ValuePlace::Slot => self.asm.load(Width::W64, VALUE, self.dst()),
            ValuePlace::F32 => self.asm.float_bits(Float::F32, VALUE, F32),
            ValuePlace::F64 => self.asm.float_bits(Float::F64, VALUE, F64),
            ValuePlace::Imm => self.asm.constant(VALUE, self.word(2)),
        }
        match op {
            StoreOp::Store8 => self.asm.store_byte(to, from),
            StoreOp::Store16 => self.asm.store_half(to, from),
            StoreOp::Store32 => self.asm.store(Width::W32, to, from),
            StoreOp::Store64 => self.asm.store(Width::W64, to, from),
        }
        Ok(())
    }
}

fn test_of(op: CompareOp) -> Test {
    use CompareOp as C;
    use Width::{W32, W64};
    let float = |float, swapped, cc| Test::Float { float, swapped, cc };
    match op {
        C::I32Eq => Test::Int(W32, EQUAL),
        C::I32Ne => Test::Int(W32, NOT_EQUAL),
        C::I32LtS => Test::Int(W32, LESS),
        C::I32LtU => Test::Int(W32, BELOW),
        C::I32GtS => Test::Int(W32, GREATER),
        C::I32GtU => Test::Int(W32, ABOVE),
        C::I32LeS => Test::Int(W32, NOT_GREATER),
        C::I32LeU => Test::Int(W32, NOT_ABOVE),
        C::I32GeS => Test::Int(W32, NOT_LESS),
        C::I32GeU => Test::Int(W32, NOT_BELOW),
        C::I64Eq => Test::Int(W64, EQUAL),
        C::I64Ne => Test::Int(W64, NOT_EQUAL),
        C::I64LtS => Test::Int(W64, LESS),
        C::I64LtU => Test::Int(W64, BELOW),
        C::I64GtS => Test::Int(W64, GREATER),
        C::I64GtU => Test::Int(W64, ABOVE),
        C::I64LeS => Test::Int(W64, NOT_GREATER),
        C::I64LeU => Test::Int(W64, NOT_ABOVE),
        C::I64GeS => Test::Int(W64, NOT_LESS),
        C::I64GeU => Test::Int(W64, NOT_BELOW),
        C::F32Eq => Test::FloatEqual { float: Float::F32, equal: true },
        C::F32Ne => Test::FloatEqual { float: Float::F32, equal: false },
        C::F64Eq => Test::FloatEqual { float: Float::F64, equal: true },
        C::F64Ne => Test::FloatEqual { float: Float::F64, equal: false },
        // Unordered floats are "below" and "equal": what is asked is whether the greater one is above.
        C::F32Lt => float(Float::F32, true, ABOVE),
        C::F32Gt => float(Float::F32, false, ABOVE),
        C::F32Le => float(Float::F32, true, NOT_BELOW),
        C::F32Ge => float(Float::F32, false, NOT_BELOW),
        C::F32NotLt => float(Float::F32, true, NOT_ABOVE),
        C::F32NotGt => float(Float::F32, false, NOT_ABOVE),
        C::F32NotLe => float(Float::F32, true, BELOW),
        C::F32NotGe => float(Float::F32, false, BELOW),
        C::F64Lt => float(Float::F64, true, ABOVE),
        C::F64Gt => float(Float::F64, false, ABOVE),
        C::F64Le => float(Float::F64, true, NOT_BELOW),
        C::F64Ge => float(Float::F64, false, NOT_BELOW),
        C::F64NotLt => float(Float::F64, true, NOT_ABOVE),
        C::F64NotGt => float(Float::F64, false, NOT_ABOVE),
        C::F64NotLe => float(Float::F64, true, BELOW),
        C::F64NotGe => float(Float::F64, false, BELOW),
    }
}
