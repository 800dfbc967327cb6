//! Loads and stores.

use tierup_asm::{Alu, Cond, Mem, Precision, Width};

use super::{Emitter, F32, F64, INT, LEN, MEM, NoTemplate, OTHER, TEMP, VALUE};
use crate::exec::op::data::Class;
use crate::exec::op::memory::{LoadOp, Place, StoreOp, ValuePlace};

impl Emitter<'_> {
    /// Where `bytes` bytes are to be accessed. Beyond the end the handler finds that out once more, and traps.
    fn locate(&mut self, place: Place, bytes: u8) -> Result<Mem, NoTemplate> {
        let offset = self.k();
        let end = i32::try_from(u64::from(offset) + u64::from(bytes)).map_err(|_| NoTemplate)?;
        match place {
            Place::Slot => self.asm.mov(Width::W32, TEMP, self.a()),
            Place::Acc => self.asm.mov(Width::W32, TEMP, INT),
            Place::Absolute => self.constant(TEMP, 0),
        }
        self.asm.lea(Width::W64, OTHER, Mem::Base(TEMP, end));
        self.asm.alu(Alu::Cmp, Width::W64, OTHER, LEN);
        self.give_up_if(Cond::Above);
        Ok(Mem::Index(MEM, TEMP, 0, offset as i32))
    }

    /// Says of which class the result is.
    pub(super) fn load(&mut self, op: LoadOp, place: Place) -> Result<Class, NoTemplate> {
        use Width::{W32, W64};
        let bytes = match op {
            LoadOp::I32Load8U | LoadOp::I32Load8S | LoadOp::I64Load8S => 1,
            LoadOp::I32Load16U | LoadOp::I32Load16S | LoadOp::I64Load16S => 2,
            LoadOp::I32Load | LoadOp::I64Load32S | LoadOp::F32Load => 4,
            LoadOp::I64Load | LoadOp::F64Load => 8,
        };
        let from = self.locate(place, bytes)?;
        match op {
            LoadOp::F32Load => {
                self.asm.load_float(Precision::Single, F32, from);
                return Ok(Class::F32);
            }
            LoadOp::F64Load => {
                self.asm.load_float(Precision::Double, F64, from);
                return Ok(Class::F64);
            }
            LoadOp::I32Load => self.asm.mov(W32, INT, from),
            LoadOp::I64Load => self.asm.mov(W64, INT, from),
            LoadOp::I32Load8U => self.asm.movzx(1, INT, from),
            LoadOp::I32Load16U => self.asm.movzx(2, INT, from),
            LoadOp::I32Load8S => self.asm.movsx(W32, 1, INT, from),
            LoadOp::I32Load16S => self.asm.movsx(W32, 2, INT, from),
            LoadOp::I64Load8S => self.asm.movsx(W64, 1, INT, from),
            LoadOp::I64Load16S => self.asm.movsx(W64, 2, INT, from),
            LoadOp::I64Load32S => self.asm.movsx(W64, 4, INT, from),
        }
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
            ValuePlace::Slot => self.asm.mov(Width::W64, VALUE, self.dst()),
            ValuePlace::F32 => self.asm.float_to_bits(Width::W32, VALUE, F32),
            ValuePlace::F64 => self.asm.float_to_bits(Width::W64, VALUE, F64),
            ValuePlace::Imm => self.constant(VALUE, self.word(2)),
        }
        self.asm.store(bytes, to, from);
        Ok(())
    }
}
