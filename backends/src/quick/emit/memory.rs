//! Loads and stores.

use cranelift_codegen::ir::{Inst, InstructionData, MemFlags, Opcode, Type, Value, types};
use tierup_asm::{Gpr, Mem, Precision, R11, RAX, RCX, Width};

use super::{Emitter, Result, Role, Unsupported, X15, precision};

impl Emitter<'_> {
    pub(super) fn access(&mut self, inst: Inst) -> Result {
        match self.func.dfg.insts[inst] {
            InstructionData::Load { opcode, arg, flags, offset } => self.load(inst, opcode, arg, flags, offset.into()),
            InstructionData::LoadNoOffset { opcode: Opcode::AtomicLoad, arg, flags } => {
                self.load(inst, Opcode::Load, arg, flags, 0)
            }
            InstructionData::Store { opcode, args, flags, offset } => self.store(opcode, args, flags, offset.into()),
            _ => Err(Unsupported("an access")),
        }
    }

    /// The operand for an address. May use `rax` and `rcx`.
    pub(super) fn address(&mut self, address: Value, offset: i32) -> Result<Mem> {
        let canonical = self.facts.canonical(address);
        let Role::Folded(inst) = self.facts.role(canonical) else {
            return Ok(Mem::Base(self.int(address, RAX), offset));
        };
        let InstructionData::Binary { args: [a, b], .. } = self.func.dfg.insts[inst] else {
            return Err(Unsupported("an address"));
        };
        match self.known(b).and_then(|by| i32::try_from(by).ok()) {
            Some(by) => self.address(a, offset.checked_add(by).ok_or(Unsupported("an offset"))?),
            None => {
                let (a, b) = if self.scaled(a).is_some() { (b, a) } else { (a, b) };
                let (b, scale) = self.scaled(b).unwrap_or((b, 0));
                let a = self.int(a, RAX);
                let b = self.int(b, RCX);
                Ok(Mem::Index(a, b, scale, offset))
            }
        }
    }

    /// What a load that is part of its user reads: an address, and how far behind it.
    pub(super) fn loaded(&self, value: Value) -> Option<(Value, i32)> {
        match self.func.dfg.insts[self.facts.folded(value)?] {
            InstructionData::Load { arg, offset, .. } => Some((arg, offset.into())),
            InstructionData::LoadNoOffset { arg, .. } => Some((arg, 0)),
            _ => None,
        }
    }

    /// What a shift that is part of its user shifts, and how far.
    pub(super) fn scaled(&self, value: Value) -> Option<(Value, u8)> {
        match self.func.dfg.insts[self.facts.folded(value)?] {
            InstructionData::Binary { opcode: Opcode::Ishl, args: [value, by] } => Some((value, self.known(by)? as u8)),
            _ => None,
        }
    }

    fn load(&mut self, inst: Inst, opcode: Opcode, address: Value, flags: MemFlags, offset: i32) -> Result {
        self.check_order(flags)?;
        let mem = self.address(address, offset)?;
        let ty = self.ty(self.func.dfg.first_result(inst));
        if ty.is_float() {
            self.define_float(inst, |e, to| e.asm.load_float(precision(ty), to, mem));
            return Ok(());
        }
        let wide = super::width(ty);
        if ty.bits() < 32 && opcode != Opcode::Load {
            return Err(Unsupported("a narrow load"));
        }
        self.define(inst, |e, to| match opcode {
            Opcode::Uload8 => e.asm.movzx(1, to, mem),
            Opcode::Uload16 => e.asm.movzx(2, to, mem),
            Opcode::Uload32 => e.asm.mov(Width::W32, to, mem),
            Opcode::Sload8 => e.asm.movsx(wide, 1, to, mem),
            Opcode::Sload16 => e.asm.movsx(wide, 2, to, mem),
            Opcode::Sload32 => e.asm.movsx(wide, 4, to, mem),
            _ => e.load_integer(ty, to, mem),
        });
        match opcode {
            Opcode::Load | Opcode::Uload8 | Opcode::Uload16 | Opcode::Uload32 => Ok(()),
            Opcode::Sload8 | Opcode::Sload16 | Opcode::Sload32 => Ok(()),
            _ => Err(Unsupported("a load")),
        }
    }

    /// Zero-extends it.
    pub(super) fn load_integer(&mut self, ty: Type, to: Gpr, from: Mem) {
        match ty {
            types::I8 => self.asm.movzx(1, to, from),
            types::I16 => self.asm.movzx(2, to, from),
            _ => self.asm.mov(super::width(ty), to, from),
        }
    }

    fn store(&mut self, opcode: Opcode, [value, address]: [Value; 2], flags: MemFlags, offset: i32) -> Result {
        self.check_order(flags)?;
        let ty = self.ty(value);
        let mem = self.address(address, offset)?;
        if ty.is_float() {
            let value = self.float(value, X15);
            let precision: Precision = precision(ty);
            self.asm.store_float(precision, mem, value);
            return Ok(());
        }
        let bytes = match opcode {
            Opcode::Store => ty.bytes() as u8,
            Opcode::Istore8 => 1,
            Opcode::Istore16 => 2,
            Opcode::Istore32 => 4,
            _ => return Err(Unsupported("a store")),
        };
        let known = self.known(value).and_then(|known| if bytes < 8 { Some(known as i32) } else { i32::try_from(known).ok() });
        match known {
            Some(known) => self.asm.store_imm(bytes, mem, known),
            None => {
                let value = self.int(value, R11);
                self.asm.store(bytes, mem, value);
            }
        }
        Ok(())
    }

    /// Refuses accesses in the other byte order.
    pub(super) fn check_order(&self, flags: MemFlags) -> Result {
        match self.func.dfg.mem_flags[flags].explicit_endianness() {
            Some(cranelift_codegen::ir::Endianness::Big) => Err(Unsupported("a byte order")),
            _ => Ok(()),
        }
    }
}
