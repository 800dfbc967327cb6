//! Instructions, one block after the other.
//!
//! Narrow integers are zero-extended to 64 bits wherever they are. `rax`, `rcx`, `r11`, `xmm14` and `xmm15` hold nothing from one
//! instruction to the next.

mod call;
mod control;
mod float;
mod integer;
mod memory;
mod vector;

use cranelift_codegen::{
    ir::{ArgumentPurpose, BlockCall, ExternalName, Function, Inst, InstructionData, Opcode, Signature, Type, Value, types},
    isa::CallConv,
};
use tierup_asm::{Alu, Assembler, Cond, Gpr, Label, Mem, Precision, R11, RAX, RBP, RSP, Rm, Shift, Width, Xmm};

use crate::abi::MAX_FRAME;

use super::{
    Code, Unsupported,
    assign::{Assignment, Brought, Place, changes_registers},
    facts::{Facts, Role},
    moves::{Mover, Spot, copy_all},
};

/// A vector register for the moment.
const X14: Xmm = Xmm::new(14);
/// Another; copies use it, too.
const X15: Xmm = Xmm::new(15);

/// Scratch space.
#[derive(Default)]
pub(super) struct Scratch {
    asm: Assembler,
    labels: Vec<Label>,
    moves: Vec<(Spot, Spot)>,
}

/// Whether registers are not what they were after this instruction.
pub(super) fn is_volatile(func: &Function, inst: Inst) -> bool {
    match func.dfg.call_signature(inst) {
        Some(signature) => changes_registers(func.dfg.signatures[signature].call_conv),
        None => false,
    }
}

/// What a comparison left in the flags.
#[derive(Debug, Clone, Copy)]
enum Flags {
    One(Cond),
    Both(Cond, Cond),
    Either(Cond, Cond),
}

/// A list of copies that waits until the rest is emitted.
struct Detour {
    label: Label,
    call: BlockCall,
}

struct Emitter<'a> {
    func: &'a Function,
    facts: &'a Facts,
    assignment: &'a Assignment,
    asm: &'a mut Assembler,
    labels: &'a [Label],
    moves: &'a mut Vec<(Spot, Spot)>,
    brought: &'a Brought,
    address: &'a dyn Fn(&ExternalName) -> Option<usize>,
    frame: Frame,
    detours: Vec<Detour>,
    locations: Vec<(u32, u32, u32)>,
}

/// Where what is in the frame, from its lower end, which `rsp` points at between prologue and epilogue. (`rbp`, at its upper end, is for those who walk the stack.
/// It is read back from memory behind every call, and what is found by it would have to wait for that.)
struct Frame {
    /// Words of arguments that calls pass on the stack: the first ones. Behind them are the values'.
    outgoing: u32,
    /// Where arguments of calls that change no register put what is in them.
    kept: u32,
    explicit: Vec<i32>,
    bytes: u32,
    /// Bytes of it at its upper end, where registers are saved.
    saved: u32,
}

/// Loops begin at multiples of so many bytes, which processors fetch at once: otherwise a turn of a short loop takes one fetch more or not, as luck has it, and with it up to an
/// eighth of its time.
const FETCHED: u32 = 32;

type Result<T = ()> = std::result::Result<T, Unsupported>;

pub(super) fn emit(
    func: &Function,
    facts: &Facts,
    assignment: &Assignment,
    brought: &Brought,
    scratch: &mut Scratch,
    address: &dyn Fn(&ExternalName) -> Option<usize>,
) -> Result<Code> {
    check_signature(&func.signature)?;
    if func.signature.call_conv != CallConv::SystemV {
        return Err(Unsupported("a convention"));
    }
    let Scratch { asm, labels, moves } = scratch;
    asm.clear();
    labels.clear();
    labels.extend(asm.labels(facts.blocks.len()));
    moves.clear();
    let frame = Frame::of(func, facts, assignment)?;
    let mut emitter = Emitter {
        func,
        facts,
        assignment,
        asm,
        labels,
        moves,
        brought,
        address,
        frame,
        detours: Vec::new(),
        locations: Vec::new(),
    };
    emitter.function()?;
    let Emitter { frame, locations, .. } = emitter;
    let bytes = asm.finish();
    Ok(Code { bytes: bytes.to_vec(), locations, frame_bytes: frame.bytes as usize, entered_at: Vec::new() })
}

impl Frame {
    /// The word of that number.
    fn word(number: u32) -> Mem {
        Mem::Base(RSP, 8 * number as i32)
    }

    /// Bytes of it below what is saved.
    fn unsaved(&self) -> i32 {
        (self.bytes - self.saved) as i32
    }

    fn of(func: &Function, facts: &Facts, assignment: &Assignment) -> Result<Self> {
        let mut outgoing = 0;
        let mut keeps = false;
        for index in 0..facts.blocks.len() {
            for &inst in facts.code(index) {
                if let Some(signature) = func.dfg.call_signature(inst) {
                    let signature = &func.dfg.signatures[signature];
                    check_signature(signature)?;
                    outgoing = outgoing.max(call::stack_words(signature));
                    keeps |= !changes_registers(signature.call_conv);
                }
            }
        }
        let saved = 8 * assignment.saved.len() as u32;
        let kept = outgoing + assignment.slots;
        let mut bytes = 8 * (kept + if keeps { 6 } else { 0 });
        let mut explicit = Vec::new();
        for slot in func.sized_stack_slots.values() {
            if slot.align_shift > 4 || slot.size as usize > MAX_FRAME || bytes as usize > MAX_FRAME {
                return Err(Unsupported("a stack slot"));
            }
            let at = bytes.next_multiple_of(16);
            bytes = at + slot.size;
            explicit.push(at as i32);
        }
        bytes = (bytes.next_multiple_of(8) + saved).next_multiple_of(16);
        if bytes as usize > MAX_FRAME {
            return Err(Unsupported("a large frame"));
        }
        Ok(Frame { outgoing, kept, explicit, bytes, saved })
    }
}

/// Refuses what is passed in other ways than numbers in registers and on the stack.
fn check_signature(signature: &Signature) -> Result {
    let is_plain = |param: &cranelift_codegen::ir::AbiParam| {
        param.purpose == ArgumentPurpose::Normal
            && super::facts::is_supported(param.value_type)
            && param.extension != cranelift_codegen::ir::ArgumentExtension::Sext
    };
    match signature.call_conv {
        CallConv::SystemV | CallConv::PreserveAll => {}
        _ => return Err(Unsupported("a convention")),
    }
    if !signature.params.iter().chain(&signature.returns).all(is_plain) || signature.returns.len() > 1 {
        return Err(Unsupported("a signature"));
    }
    Ok(())
}

impl Emitter<'_> {
    fn function(&mut self) -> Result {
        self.prologue();
        for cold in [false, true] {
            let mut index = 0;
            while index < self.facts.blocks.len() {
                if self.facts.blocks[index].is_cold == cold {
                    self.block(index, self.behind(index))?;
                }
                index += 1;
            }
        }
        while let Some(Detour { label, call }) = self.detours.pop() {
            self.asm.bind(label);
            self.copy_arguments(&call);
            let target = self.target(&call);
            self.asm.jump(target);
        }
        Ok(())
    }

    /// The block that is emitted next.
    fn behind(&self, index: usize) -> Option<usize> {
        let is_cold = self.facts.blocks[index].is_cold;
        (index + 1..self.facts.blocks.len()).find(|&at| self.facts.blocks[at].is_cold == is_cold)
    }

    fn prologue(&mut self) {
        self.asm.push(RBP);
        self.asm.mov(Width::W64, RBP, RSP);
        for &reg in &self.assignment.saved {
            self.asm.push(reg);
        }
        if self.frame.unsaved() > 0 {
            self.asm.alu_imm(Alu::Sub, Width::W64, RSP, self.frame.unsaved());
        }
        self.take_parameters();
    }

    fn epilogue(&mut self) {
        if self.frame.unsaved() > 0 {
            self.asm.alu_imm(Alu::Add, Width::W64, RSP, self.frame.unsaved());
        }
        for &reg in self.assignment.saved.iter().rev() {
            self.asm.pop(reg);
        }
        self.asm.pop(RBP);
        self.asm.ret();
    }

    fn block(&mut self, index: usize, next: Option<usize>) -> Result {
        if self.assignment.is_header(index) {
            self.asm.align(FETCHED);
        }
        self.asm.bind(self.labels[index]);
        for &inst in self.facts.code(index).iter().rev() {
            let from = self.asm.position();
            self.instruction(inst, next)?;
            self.locate(inst, from);
        }
        Ok(())
    }

    fn locate(&mut self, inst: Inst, from: u32) {
        let location = self.func.srcloc(inst);
        let to = self.asm.position();
        if location.is_default() || from == to {
            return;
        }
        match self.locations.last_mut() {
            Some(last) if last.1 == from && last.2 == location.bits() => last.1 = to,
            _ => self.locations.push((from, to, location.bits())),
        }
    }

    fn instruction(&mut self, inst: Inst, next: Option<usize>) -> Result {
        let data = &self.func.dfg.insts[inst];
        match data.opcode() {
            Opcode::Jump | Opcode::Brif | Opcode::BrTable | Opcode::Return | Opcode::Trap => self.terminator(inst, next),
            Opcode::Call | Opcode::CallIndirect => self.call(inst),
            Opcode::Nop => Ok(()),
            _ if self.is_vector(inst) => self.vector(inst),
            opcode if opcode.can_load() || opcode.can_store() => self.access(inst),
            _ => match *data {
                InstructionData::FloatCompare { .. } | InstructionData::IntCompare { .. } => {
                    let flags = self.compare(inst)?;
                    self.define(inst, |e, to| e.materialize(flags, to));
                    Ok(())
                }
                InstructionData::Ternary { opcode: Opcode::Select, args } => self.select(inst, args),
                InstructionData::NullAry { opcode: Opcode::GetStackPointer } => {
                    self.define(inst, |e, to| e.asm.mov(Width::W64, to, RSP));
                    Ok(())
                }
                InstructionData::StackAddr { stack_slot, offset, .. } => {
                    let at = self.frame.explicit[stack_slot.as_u32() as usize] + i32::from(offset);
                    self.define(inst, |e, to| e.asm.lea(Width::W64, to, Mem::Base(RSP, at)));
                    Ok(())
                }
                _ => {
                    let [result] = *self.func.dfg.inst_results(inst) else { return Err(Unsupported("an instruction")) };
                    let is_float = self.ty(result).is_float()
                        || self.func.dfg.inst_args(inst).first().is_some_and(|&arg| self.ty(arg).is_float());
                    if is_float { self.float_operation(inst) } else { self.integer_operation(inst) }
                }
            },
        }
    }

    fn ty(&self, value: Value) -> Type {
        self.func.dfg.value_type(value)
    }

    /// Where a value is.
    fn place(&self, value: Value) -> Place {
        self.assignment.place(self.facts.canonical(value))
    }

    /// The integer, if it is known.
    fn known(&self, value: Value) -> Option<i64> {
        match self.facts.role_of(value) {
            Role::Constant(value) => Some(value),
            _ => None,
        }
    }

    fn slot(&self, slot: u32) -> Mem {
        Frame::word(self.frame.outgoing + slot)
    }

    /// An integer in a register: its own, or `scratch`.
    fn int(&mut self, value: Value, scratch: Gpr) -> Gpr {
        if let Some(known) = self.known(value) {
            self.asm.mov_imm(scratch, known);
            return scratch;
        }
        if let Some((shifted, by)) = self.scaled(value) {
            let width = width(self.ty(value));
            self.int_into(scratch, shifted);
            self.asm.shift_imm(Shift::Left, width, scratch, by);
            return scratch;
        }
        if self.is_stack_pointer(value) {
            return RSP;
        }
        match self.place(value) {
            Place::Gpr(reg) => reg,
            Place::Slot(slot) => {
                self.asm.mov(Width::W64, scratch, self.slot(slot));
                scratch
            }
            Place::Xmm(_) | Place::None => unreachable!("{value} is an integer with a place"),
        }
    }

    /// An integer as an operand: known ones in `scratch`.
    fn operand(&mut self, value: Value, scratch: Gpr) -> Rm {
        match self.place(value) {
            Place::Slot(slot) if self.known(value).is_none() => self.slot(slot).into(),
            _ => self.int(value, scratch).into(),
        }
    }

    /// An integer in a given register.
    fn int_into(&mut self, to: Gpr, value: Value) {
        let from = self.int(value, to);
        if from != to {
            self.asm.mov(Width::W64, to, from);
        }
    }

    /// Has `then` make an integer result in the register it is given.
    fn define(&mut self, inst: Inst, then: impl FnOnce(&mut Self, Gpr)) {
        let result = self.func.dfg.first_result(inst);
        match self.place(result) {
            Place::Gpr(reg) => then(self, reg),
            Place::Slot(slot) => {
                then(self, RAX);
                let slot = self.slot(slot);
                self.asm.store(8, slot, RAX);
            }
            Place::Xmm(_) | Place::None => then(self, RAX),
        }
    }

    /// Has `then` make a float result in the register it is given.
    fn define_float(&mut self, inst: Inst, then: impl FnOnce(&mut Self, Xmm)) {
        let result = self.func.dfg.first_result(inst);
        match self.place(result) {
            Place::Xmm(reg) => then(self, reg),
            Place::Slot(slot) => {
                then(self, X14);
                let slot = self.slot(slot);
                self.asm.store_float(Precision::Double, slot, X14);
            }
            Place::Gpr(_) | Place::None => then(self, X14),
        }
    }

    /// A float as an operand.
    fn float_operand(&mut self, value: Value) -> Rm {
        if let Role::FloatConstant(bits) = self.facts.role_of(value) {
            return Rm::Mem(Mem::Pool(self.asm.constant(bits)));
        }
        match self.place(value) {
            Place::Xmm(reg) => reg.into(),
            Place::Slot(slot) => self.slot(slot).into(),
            Place::Gpr(_) | Place::None => unreachable!("{value} is a float with a place"),
        }
    }

    /// A float in a register: its own, or `scratch`.
    fn float(&mut self, value: Value, scratch: Xmm) -> Xmm {
        match self.float_operand(value) {
            Rm::Xmm(reg) => reg,
            Rm::Mem(mem) => {
                self.asm.load_float(Precision::Double, scratch, mem);
                scratch
            }
            Rm::Gpr(_) => unreachable!("a float is in no such register"),
        }
    }

    fn float_into(&mut self, to: Xmm, value: Value) {
        let from = self.float(value, to);
        if from != to {
            self.asm.movaps(to, from);
        }
    }

    /// The spot something is read from when it is copied.
    fn source(&mut self, value: Value) -> Spot {
        match self.facts.role_of(value) {
            Role::Constant(known) => Spot::Known(known),
            Role::FloatConstant(bits) => Spot::Pool(self.asm.constant(bits)),
            Role::Folded(_) if self.is_stack_pointer(value) => Spot::Gpr(RSP),
            _ => self.spot(self.place(value)),
        }
    }

    /// Whether it is the stack pointer, which is read where it is: nothing moves it between prologue and epilogue.
    fn is_stack_pointer(&self, value: Value) -> bool {
        self.facts.folded(value).is_some_and(|inst| self.func.dfg.insts[inst].opcode() == Opcode::GetStackPointer)
    }

    fn spot(&self, place: Place) -> Spot {
        match place {
            Place::Gpr(reg) => Spot::Gpr(reg),
            Place::Xmm(reg) => Spot::Xmm(reg),
            Place::Slot(slot) => Spot::Word(self.slot(slot)),
            Place::None => unreachable!("what is copied has a place"),
        }
    }

    fn copy_all(&mut self) {
        let mut moves = std::mem::take(self.moves);
        copy_all(&mut moves, self);
        *self.moves = moves;
    }
}

impl Mover for Emitter<'_> {
    fn copy(&mut self, to: Spot, from: Spot) {
        match (to, from) {
            (Spot::Gpr(to), Spot::Gpr(from)) => self.asm.mov(Width::W64, to, from),
            (Spot::Gpr(to), Spot::Half(from)) => self.asm.mov(Width::W32, to, from),
            (Spot::Gpr(to), Spot::Word(from)) => self.asm.mov(Width::W64, to, from),
            (Spot::Gpr(to), Spot::Known(value)) => self.asm.mov_imm(to, value),
            (Spot::Xmm(to), Spot::Xmm(from)) => self.asm.movaps(to, from),
            // A word that was put aside.
            (Spot::Xmm(to), Spot::Gpr(from)) => self.asm.bits_to_float(Width::W64, to, from),
            (Spot::Xmm(to), Spot::Word(from)) => self.asm.load_float(Precision::Double, to, from),
            (Spot::Xmm(to), Spot::Pool(from)) => self.asm.load_float(Precision::Double, to, Mem::Pool(from)),
            (Spot::Word(to), Spot::Gpr(from)) => self.asm.store(8, to, from),
            (Spot::Word(to), Spot::Xmm(from)) => self.asm.store_float(Precision::Double, to, from),
            (Spot::Word(to), Spot::Word(from)) => {
                self.asm.load_float(Precision::Double, X15, from);
                self.asm.store_float(Precision::Double, to, X15);
            }
            (Spot::Word(to), Spot::Pool(from)) => {
                self.asm.load_float(Precision::Double, X15, Mem::Pool(from));
                self.asm.store_float(Precision::Double, to, X15);
            }
            (Spot::Word(to), Spot::Known(value)) => match i32::try_from(value) {
                Ok(value) => self.asm.store_imm(8, to, value),
                // By way of no register that copies are made to, or put aside in.
                Err(_) => {
                    let constant = self.asm.constant(value.cast_unsigned());
                    self.copy(Spot::Word(to), Spot::Pool(constant));
                }
            },
            (to, from) => unreachable!("a copy from {from:?} to {to:?}"),
        }
    }

    fn spare(&self, what: Spot) -> Spot {
        match what {
            Spot::Xmm(_) => Spot::Xmm(X14),
            _ => Spot::Gpr(R11),
        }
    }
}

/// The width of an operation on integers of that type.
fn width(ty: Type) -> Width {
    if ty == types::I64 { Width::W64 } else { Width::W32 }
}

fn precision(ty: Type) -> Precision {
    if ty == types::F32 { Precision::Single } else { Precision::Double }
}
