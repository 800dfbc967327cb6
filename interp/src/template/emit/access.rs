//! Loads and stores.

use super::super::asm::{ABOVE, Alu, Float, Rm, Width};
use super::{Emitter, F32, F64, INT, LEN, MEM, NoTemplate, OTHER, TEMP, VALUE};
use crate::exec::op::data::Class;
use crate::exec::op::memory::{LoadOp, Place, StoreOp, ValuePlace};

impl Emitter<'_> {
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
    pub(super) fn load(&mut self, op: LoadOp, place: Place) -> Result<Class, NoTemplate> {
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

    pub(super) fn store(&mut self, op: StoreOp, place: Place, value: ValuePlace) -> Result<(), NoTemplate> {
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
