//! Calls of what is interpreted, and `br_table`: where it goes on is known when it gets there.

use std::mem::offset_of;

use tierup::{CALL_WORK, CountSlot, Face, STAMP_FROM_CODE_CELL};
use tierup_asm::{Alu, Cond, Mem, Rm, Width};

use super::{CX, Emitter, FP, INT, IP, NoTemplate, OTHER, TEMP, VALUE};
use crate::exec::Cx;
use crate::exec::op::call::CALL_WORDS;
use crate::module::Function;
use crate::prepare::Prepared;
use crate::profile::{self, CallSite};
use crate::vmctx::{FuncRef, KIND_WASM, TableDef, VmCtx};

/// An offset in a record.
macro_rules! at {
    ($record:ty, $field:ident) => {
        offset_of!($record, $field) as i32
    };
}

impl Emitter<'_> {
    pub(super) fn switch(&mut self, accumulator: bool) {
        let index = if accumulator { Rm::Gpr(INT) } else { self.a().into() };
        self.asm.mov(Width::W32, TEMP, index);
        self.constant(OTHER, self.k().into());
        self.asm.alu(Alu::Cmp, Width::W32, TEMP, OTHER);
        self.asm.cmov(Cond::Above, TEMP, OTHER);
        self.constant(OTHER, self.address(2));
        self.asm.mov(Width::W64, IP, Mem::Index(OTHER, TEMP, 3, 0));
        self.asm.jump_to(Mem::Base(IP, 0));
    }

    /// Calls a function of the same instance, whose address is the instruction's third word.
    pub(super) fn call(&mut self) -> Result<(), NoTemplate> {
        let function = self.word(2) as *const Function;
        // SAFETY: the module owns the function, and this body.
        let bead = unsafe { (*function).bead.as_ref() };
        let slot = i32::try_from(bead.index() as usize * size_of::<CountSlot>()).map_err(|_| NoTemplate)?;
        // SAFETY: as above.
        let entered = unsafe { &raw const (*function).entered };
        self.constant(TEMP, entered.expose_provenance() as u64);
        self.asm.mov(Width::W64, TEMP, Mem::Base(TEMP, 0));
        self.constant(IP, bead.code_cell().expose_provenance() as u64);
        self.asm.mov(Width::W64, OTHER, Mem::Base(CX, at!(Cx, countdown)));
        if slot != 0 {
            self.asm.alu_imm(Alu::Add, Width::W64, OTHER, slot);
        }
        self.pay_and_enter(None);
        Ok(())
    }

    pub(super) fn call_indirect(&mut self, accumulator: bool, profiled: bool) -> Result<(), NoTemplate> {
        let site = profiled.then_some(self.word(2) as *const CallSite);
        let (table, ty) = match site {
            // SAFETY: the site belongs to the code.
            Some(site) => unsafe { ((*site).table, (*site).ty) },
            None => (self.word(2) as u32, (self.word(2) >> 32) as u32),
        };
        let table = i32::try_from(size_of::<*mut TableDef>() * table as usize).map_err(|_| NoTemplate)?;
        let index = if accumulator { Rm::Gpr(INT) } else { self.b().into() };
        // The element.
        self.asm.mov(Width::W32, TEMP, index);
        self.asm.mov(Width::W64, OTHER, Mem::Base(CX, at!(Cx, vmctx)));
        self.asm.mov(Width::W64, VALUE, Mem::Base(OTHER, at!(VmCtx, tables)));
        self.asm.mov(Width::W64, VALUE, Mem::Base(VALUE, table));
        self.asm.alu(Alu::Cmp, Width::W64, TEMP, Mem::Base(VALUE, at!(TableDef, len)));
        self.give_up_if(Cond::AboveOrEqual);
        self.asm.mov(Width::W64, VALUE, Mem::Base(VALUE, at!(TableDef, base)));
        self.asm.mov(Width::W64, VALUE, Mem::Index(VALUE, TEMP, 3, 0));
        // A function of this type, and of this instance.
        self.asm.test(Width::W64, VALUE, VALUE);
        self.give_up_if(Cond::Equal);
        self.asm.alu_imm(Alu::Cmp, Width::W32, Mem::Base(VALUE, at!(FuncRef, ty)), ty as i32);
        self.give_up_if(Cond::NotEqual);
        self.asm.alu(Alu::Cmp, Width::W64, OTHER, Mem::Base(VALUE, at!(FuncRef, vmctx)));
        self.give_up_if(Cond::NotEqual);
        self.asm.alu_imm(Alu::Cmp, Width::W32, Mem::Base(VALUE, at!(FuncRef, kind)), KIND_WASM as i32);
        self.give_up_if(Cond::NotEqual);
        if let Some(site) = site {
            self.asm.mov(Width::W64, TEMP, VALUE);
            self.asm.alu(Alu::Sub, Width::W64, TEMP, Mem::Base(OTHER, at!(VmCtx, funcs)));
            self.constant(OTHER, site.expose_provenance() as u64);
            self.asm.mov(Width::W32, OTHER, Mem::Base(OTHER, profile::TARGETS));
            self.asm.alu(Alu::Cmp, Width::W64, TEMP, OTHER);
            self.give_up_if(Cond::NotEqual);
        }
        self.asm.mov(Width::W64, IP, Mem::Base(VALUE, at!(FuncRef, code)));
        self.asm.mov(Width::W64, VALUE, Mem::Base(VALUE, at!(FuncRef, func)));
        self.asm.mov(Width::W64, TEMP, Mem::Base(VALUE, at!(Function, entered)));
        self.asm.mov(Width::W32, VALUE, Mem::Base(VALUE, at!(Function, bead_index)));
        self.asm.mov(Width::W64, OTHER, Mem::Base(CX, at!(Cx, countdown)));
        self.asm.lea(Width::W64, OTHER, Mem::Index(OTHER, VALUE, 3, 0));
        self.pay_and_enter(site);
        Ok(())
    }

    /// Charges a call and goes into the body, unless it has native code or cannot pay: what `InterpThread::try_invoke` does and the
    /// handler after it. The body's prepared form is in [`TEMP`], the address of the bead's code cell in [`IP`], that of the countdown in
    /// [`OTHER`]. `site` is to be told of a call of its first target.
    fn pay_and_enter(&mut self, site: Option<*const CallSite>) {
        const INTERPRETED: i32 = (Face::NO_BODY | Face::COUNTED) as i32;
        let base = (self.word(1) >> 16 & 0xffff) as i32 * 8;
        self.asm.test(Width::W64, TEMP, TEMP);
        self.give_up_if(Cond::Equal);
        self.asm.mov(Width::W64, VALUE, Mem::Base(IP, 0));
        self.asm.alu_imm(Alu::And, Width::W32, VALUE, INTERPRETED);
        self.asm.alu_imm(Alu::Cmp, Width::W32, VALUE, INTERPRETED);
        self.give_up_if(Cond::NotEqual);
        self.asm.mov(Width::W32, VALUE, Mem::Base(IP, STAMP_FROM_CODE_CELL as i32));
        self.asm.alu(Alu::Cmp, Width::W32, VALUE, Mem::Base(OTHER, at!(CountSlot, generation)));
        self.give_up_if(Cond::NotEqual);
        // Room for the frame.
        self.asm.mov(Width::W32, VALUE, Mem::Base(TEMP, at!(Prepared, frame_slots)));
        self.asm.lea(Width::W64, VALUE, Mem::Index(FP, VALUE, 3, base));
        self.asm.alu(Alu::Cmp, Width::W64, VALUE, Mem::Base(CX, at!(Cx, stack_end)));
        self.give_up_if(Cond::Above);
        self.asm.mov(Width::W32, VALUE, Mem::Base(OTHER, at!(CountSlot, countdown)));
        self.asm.alu_imm(Alu::Sub, Width::W32, VALUE, CALL_WORK as i32);
        self.give_up_if(Cond::Negative);
        // Nothing keeps it from being done.
        self.asm.store(4, Mem::Base(OTHER, at!(CountSlot, countdown)), VALUE);
        if let Some(site) = site {
            self.constant(OTHER, site.expose_provenance() as u64);
            self.asm.alu_imm(Alu::Add, Width::W32, Mem::Base(OTHER, profile::COUNTS), 1);
        }
        self.asm.mov(Width::W32, VALUE, Mem::Base(TEMP, at!(Prepared, control)));
        self.constant(IP, self.address(CALL_WORDS));
        self.asm.store(8, Mem::Index(FP, VALUE, 3, base), IP);
        self.asm.store(8, Mem::Index(FP, VALUE, 3, base + 8), FP);
        self.asm.mov(Width::W64, IP, Mem::Base(TEMP, at!(Prepared, entry)));
        if base != 0 {
            self.asm.alu_imm(Alu::Add, Width::W64, FP, base);
        }
        self.asm.jump_to(Mem::Base(IP, 0));
    }
}
