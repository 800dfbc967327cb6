//! Calls of what is interpreted, and `br_table`: where it goes on is known when it gets there.

use std::mem::offset_of;

use tierup::{CALL_WORK, CountSlot, Face, STAMP_FROM_CODE_CELL};

use super::super::asm::{ABOVE, Alu, EQUAL, NEGATIVE, NOT_BELOW, NOT_EQUAL, Rm, Width};
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
        let index = if accumulator { Rm::Reg(INT) } else { self.a() };
        self.asm.load(Width::W32, TEMP, index);
        self.asm.constant(OTHER, self.k().into());
        self.asm.alu(Alu::Cmp, Width::W32, TEMP, Rm::Reg(OTHER));
        self.asm.load_if(ABOVE, TEMP, Rm::Reg(OTHER));
        self.asm.constant(OTHER, self.address(2));
        self.asm.load(Width::W64, IP, Rm::Scaled(OTHER, TEMP, 0));
        self.asm.jump_to(Rm::At(IP, 0));
    }

    /// Calls a function of the same instance, whose address is the instruction's third word.
    pub(super) fn call(&mut self) -> Result<(), NoTemplate> {
        let function = self.word(2) as *const Function;
        // SAFETY: the module owns the function, and this body.
        let bead = unsafe { (*function).bead.as_ref() };
        let slot = i32::try_from(bead.index() as usize * size_of::<CountSlot>()).map_err(|_| NoTemplate)?;
        // SAFETY: as above.
        let entered = unsafe { &raw const (*function).entered };
        self.asm.constant(TEMP, entered.expose_provenance() as u64);
        self.asm.load(Width::W64, TEMP, Rm::At(TEMP, 0));
        self.asm.constant(IP, bead.code_cell().expose_provenance() as u64);
        self.asm.load(Width::W64, OTHER, Rm::At(CX, at!(Cx, countdown)));
        if slot != 0 {
            self.asm.alu_constant(Alu::Add, Width::W64, Rm::Reg(OTHER), slot);
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
        let index = if accumulator { Rm::Reg(INT) } else { self.b() };
        // The element.
        self.asm.load(Width::W32, TEMP, index);
        self.asm.load(Width::W64, OTHER, Rm::At(CX, at!(Cx, vmctx)));
        self.asm.load(Width::W64, VALUE, Rm::At(OTHER, at!(VmCtx, tables)));
        self.asm.load(Width::W64, VALUE, Rm::At(VALUE, table));
        self.asm.alu(Alu::Cmp, Width::W64, TEMP, Rm::At(VALUE, at!(TableDef, len)));
        self.give_up_if(NOT_BELOW);
        self.asm.load(Width::W64, VALUE, Rm::At(VALUE, at!(TableDef, base)));
        self.asm.load(Width::W64, VALUE, Rm::Scaled(VALUE, TEMP, 0));
        // A function of this type, and of this instance.
        self.asm.test(Width::W64, VALUE);
        self.give_up_if(EQUAL);
        self.asm.alu_constant(Alu::Cmp, Width::W32, Rm::At(VALUE, at!(FuncRef, ty)), ty as i32);
        self.give_up_if(NOT_EQUAL);
        self.asm.alu(Alu::Cmp, Width::W64, OTHER, Rm::At(VALUE, at!(FuncRef, vmctx)));
        self.give_up_if(NOT_EQUAL);
        self.asm.alu_constant(Alu::Cmp, Width::W32, Rm::At(VALUE, at!(FuncRef, kind)), KIND_WASM as i32);
        self.give_up_if(NOT_EQUAL);
        if let Some(site) = site {
            self.asm.load(Width::W64, TEMP, Rm::Reg(VALUE));
            self.asm.alu(Alu::Sub, Width::W64, TEMP, Rm::At(OTHER, at!(VmCtx, funcs)));
            self.asm.constant(OTHER, site.expose_provenance() as u64);
            self.asm.load(Width::W32, OTHER, Rm::At(OTHER, profile::TARGETS));
            self.asm.alu(Alu::Cmp, Width::W64, TEMP, Rm::Reg(OTHER));
            self.give_up_if(NOT_EQUAL);
        }
        self.asm.load(Width::W64, IP, Rm::At(VALUE, at!(FuncRef, code)));
        self.asm.load(Width::W64, VALUE, Rm::At(VALUE, at!(FuncRef, func)));
        self.asm.load(Width::W64, TEMP, Rm::At(VALUE, at!(Function, entered)));
        self.asm.load(Width::W32, VALUE, Rm::At(VALUE, at!(Function, bead_index)));
        self.asm.load(Width::W64, OTHER, Rm::At(CX, at!(Cx, countdown)));
        self.asm.lea(OTHER, Rm::Scaled(OTHER, VALUE, 0));
        self.pay_and_enter(site);
        Ok(())
    }

    /// Charges a call and goes into the body, unless it has native code or cannot pay: what `InterpThread::try_invoke` does and the
    /// handler after it. The body's prepared form is in [`TEMP`], the address of the bead's code cell in [`IP`], that of the countdown in
    /// [`OTHER`]. `site` is to be told of a call of its first target.
    fn pay_and_enter(&mut self, site: Option<*const CallSite>) {
        const INTERPRETED: i32 = (Face::NO_BODY | Face::COUNTED) as i32;
        let base = (self.word(1) >> 16 & 0xffff) as i32 * 8;
        self.asm.test(Width::W64, TEMP);
        self.give_up_if(EQUAL);
        self.asm.load(Width::W64, VALUE, Rm::At(IP, 0));
        self.asm.alu_constant(Alu::And, Width::W32, Rm::Reg(VALUE), INTERPRETED);
        self.asm.alu_constant(Alu::Cmp, Width::W32, Rm::Reg(VALUE), INTERPRETED);
        self.give_up_if(NOT_EQUAL);
        self.asm.load(Width::W32, VALUE, Rm::At(IP, STAMP_FROM_CODE_CELL as i32));
        self.asm.alu(Alu::Cmp, Width::W32, VALUE, Rm::At(OTHER, at!(CountSlot, generation)));
        self.give_up_if(NOT_EQUAL);
        // Room for the frame.
        self.asm.load(Width::W32, VALUE, Rm::At(TEMP, at!(Prepared, frame_slots)));
        self.asm.lea(VALUE, Rm::Scaled(FP, VALUE, base));
        self.asm.alu(Alu::Cmp, Width::W64, VALUE, Rm::At(CX, at!(Cx, stack_end)));
        self.give_up_if(ABOVE);
        self.asm.load(Width::W32, VALUE, Rm::At(OTHER, at!(CountSlot, countdown)));
        self.asm.alu_constant(Alu::Sub, Width::W32, Rm::Reg(VALUE), CALL_WORK as i32);
        self.give_up_if(NEGATIVE);
        // Nothing keeps it from being done.
        self.asm.store(Width::W32, Rm::At(OTHER, at!(CountSlot, countdown)), VALUE);
        if let Some(site) = site {
            self.asm.constant(OTHER, site.expose_provenance() as u64);
            self.asm.alu_constant(Alu::Add, Width::W32, Rm::At(OTHER, profile::COUNTS), 1);
        }
        self.asm.load(Width::W32, VALUE, Rm::At(TEMP, at!(Prepared, control)));
        self.asm.constant(IP, self.address(CALL_WORDS));
        self.asm.store(Width::W64, Rm::Scaled(FP, VALUE, base), IP);
        self.asm.store(Width::W64, Rm::Scaled(FP, VALUE, base + 8), FP);
        self.asm.load(Width::W64, IP, Rm::At(TEMP, at!(Prepared, entry)));
        if base != 0 {
            self.asm.alu_constant(Alu::Add, Width::W64, Rm::Reg(FP), base);
        }
        self.asm.jump_to(Rm::At(IP, 0));
    }
}
