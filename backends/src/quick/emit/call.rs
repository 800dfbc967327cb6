//! Calls, and what a function is called with.

use cranelift_codegen::ir::{Inst, InstructionData, Signature, Type, Value, types};
use tierup_asm::{Gpr, Mem, Precision, R8, R9, RAX, RBP, RCX, RDI, RDX, RSI, RSP, Rm, Width, Xmm};

use super::{
    super::{
        assign::{Place, changes_registers},
        moves::Spot,
    },
    Emitter, Frame, Result, Unsupported,
};

/// Registers of integer arguments, in order (System V ABI, AMD64, 3.2.3).
const GPRS: [Gpr; 6] = [RDI, RSI, RDX, RCX, R8, R9];

/// The register of a float result.
pub(super) const FLOAT_RESULT: Xmm = Xmm::new(0);

/// Where the arguments of a signature are.
struct Passing {
    ints: usize,
    floats: u8,
    words: u32,
}

enum Passed {
    Gpr(Gpr),
    Xmm(Xmm),
    Word(u32),
}

impl Passing {
    fn new() -> Self {
        Passing { ints: 0, floats: 0, words: 0 }
    }

    fn next(&mut self, ty: Type) -> Passed {
        if ty.is_float() && self.floats < 8 {
            self.floats += 1;
            return Passed::Xmm(Xmm::new(self.floats - 1));
        }
        if !ty.is_float() && self.ints < GPRS.len() {
            self.ints += 1;
            return Passed::Gpr(GPRS[self.ints - 1]);
        }
        self.words += 1;
        Passed::Word(self.words - 1)
    }
}

/// How many words of arguments are on the stack.
pub(super) fn stack_words(signature: &Signature) -> u32 {
    let mut passing = Passing::new();
    for param in &signature.params {
        passing.next(param.value_type);
    }
    passing.words
}

impl Emitter<'_> {
    /// Takes the function's own arguments.
    pub(super) fn take_parameters(&mut self) {
        let Some(entry) = self.func.layout.entry_block() else { return };
        let params = self.func.dfg.block_params(entry);
        let mut passing = Passing::new();
        for &param in params {
            let place = self.place(param);
            let from = match passing.next(self.ty(param)) {
                Passed::Gpr(reg) if self.is_extended_by_copy(param) => Spot::Half(reg),
                Passed::Gpr(reg) => Spot::Gpr(reg),
                Passed::Xmm(reg) => Spot::Xmm(reg),
                Passed::Word(word) => Spot::Word(Mem::Base(RBP, 16 + 8 * word as i32)),
            };
            if place != Place::None {
                let to = self.spot(place);
                self.moves.push((to, from));
            }
        }
        self.copy_all();
        let mut passing = Passing::new();
        for &param in params {
            let is_in_register = matches!(passing.next(self.ty(param)), Passed::Gpr(_));
            if !(is_in_register && self.is_extended_by_copy(param)) {
                self.extend(param);
            }
        }
    }

    /// Whether a parameter that is passed in a register is extended when it is copied.
    fn is_extended_by_copy(&self, param: Value) -> bool {
        self.ty(param) == types::I32 && matches!(self.place(param), Place::Gpr(_))
    }

    /// Clears what callers leave undefined of a narrow integer.
    fn extend(&mut self, value: Value) {
        let ty = self.ty(value);
        if ty == types::I64 || ty.is_float() {
            return;
        }
        match self.place(value) {
            Place::Gpr(reg) => self.narrow(ty, reg, reg),
            Place::Slot(slot) => {
                let slot = self.slot(slot);
                self.asm.mov(Width::W64, RAX, slot);
                self.narrow(ty, RAX, RAX);
                self.asm.store(8, slot, RAX);
            }
            Place::Xmm(_) | Place::None => {}
        }
    }

    fn narrow(&mut self, ty: Type, to: Gpr, from: Gpr) {
        match ty {
            types::I8 => self.asm.movzx(1, to, from),
            types::I16 => self.asm.movzx(2, to, from),
            types::I32 => self.asm.mov(Width::W32, to, from),
            _ if to != from => self.asm.mov(Width::W64, to, from),
            _ => {}
        }
    }

    pub(super) fn call(&mut self, inst: Inst) -> Result {
        let func = self.func;
        let signature = func.dfg.call_signature(inst).ok_or(Unsupported("a call"))?;
        let signature = &func.dfg.signatures[signature];
        let mut args = func.dfg.inst_args(inst);
        let target = match func.dfg.insts[inst] {
            InstructionData::CallIndirect { .. } => {
                let (&callee, others) = args.split_first().ok_or(Unsupported("a call"))?;
                args = others;
                self.callee(callee)?
            }
            InstructionData::Call { func_ref, .. } => {
                let callee = &func.dfg.ext_funcs[func_ref];
                let address = (self.address)(&callee.name).ok_or(Unsupported("a callee"))?;
                self.asm.mov_imm(RAX, address as i64);
                Rm::Gpr(RAX)
            }
            _ => return Err(Unsupported("a call")),
        };
        let mut passing = Passing::new();
        let keeps = !changes_registers(signature.call_conv);
        for &arg in args {
            let to = match passing.next(self.ty(arg)) {
                Passed::Gpr(reg) => Spot::Gpr(reg),
                Passed::Xmm(_) | Passed::Word(_) if keeps => return Err(Unsupported("a signature")),
                Passed::Xmm(reg) => Spot::Xmm(reg),
                Passed::Word(word) => Spot::Word(Mem::Base(RSP, 8 * word as i32)),
            };
            let from = self.source(arg);
            self.moves.push((to, from));
        }
        // Whatever lives in the argument registers is expected there afterwards.
        let kept = if keeps { passing.ints } else { 0 };
        for (at, &reg) in GPRS[..kept].iter().enumerate() {
            let mem = self.kept(at);
            self.asm.store(8, mem, reg);
        }
        self.copy_all();
        self.asm.call(target);
        for (at, &reg) in GPRS[..kept].iter().enumerate() {
            let mem = self.kept(at);
            self.asm.mov(Width::W64, reg, mem);
        }
        let [result] = *func.dfg.inst_results(inst) else { return Ok(()) };
        let ty = self.ty(result);
        match self.place(result) {
            Place::Gpr(to) => self.narrow(ty, to, RAX),
            Place::Xmm(FLOAT_RESULT) | Place::None => {}
            Place::Xmm(to) => self.asm.movaps(to, FLOAT_RESULT),
            Place::Slot(slot) => {
                let slot = self.slot(slot);
                if ty.is_float() {
                    self.asm.store_float(Precision::Double, slot, FLOAT_RESULT);
                } else {
                    self.narrow(ty, RAX, RAX);
                    self.asm.store(8, slot, RAX);
                }
            }
        }
        Ok(())
    }

    /// What is called, as an operand of which copies of arguments change nothing.
    fn callee(&mut self, callee: Value) -> Result<Rm> {
        let Some((address, offset)) = self.loaded(callee) else {
            self.int_into(RAX, callee);
            return Ok(RAX.into());
        };
        let (mem, target) = match self.loaded(address) {
            Some((cell, at)) if let Some(cell) = self.known(cell) => {
                self.asm.load_rax_from(cell.wrapping_add(at.into()));
                return Ok(Mem::Base(RAX, offset).into());
            }
            Some((cell, at)) => (self.address(cell, at)?, Mem::Base(RAX, offset).into()),
            None => (self.address(address, offset)?, RAX.into()),
        };
        self.asm.mov(Width::W64, RAX, mem);
        Ok(target)
    }

    fn kept(&self, at: usize) -> Mem {
        Frame::word(self.frame.kept + at as u32)
    }
}
