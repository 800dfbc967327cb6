//! Loads and stores. An access that may trap is volatile: LLVM must neither delete nor move it. The optimizing tier checks its
//! accesses explicitly, so in its hot loops none may.

use cranelift_codegen::ir::{Endianness, Inst, InstructionData, MemFlags, MemFlagsData, Opcode, Type, Value, types};
use inkwell::values::{BasicValue, BasicValueEnum, InstructionValue};

use super::{Handled, Translator, basic_type, int_type};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    match t.func.dfg.insts[inst] {
        InstructionData::Load { opcode, arg, flags, offset } => {
            let Some(flags) = t.little_endian(flags) else { return Ok(false) };
            let to = t.clif_type(inst);
            let (memory, signed) = match opcode {
                Opcode::Load => (to, None),
                Opcode::Uload8 => (types::I8, Some(false)),
                Opcode::Sload8 => (types::I8, Some(true)),
                Opcode::Uload16 => (types::I16, Some(false)),
                Opcode::Sload16 => (types::I16, Some(true)),
                Opcode::Uload32 => (types::I32, Some(false)),
                Opcode::Sload32 => (types::I32, Some(true)),
                _ => return Ok(false),
            };
            let loaded = load(t, memory, flags, arg, offset.into())?;
            let value = match signed {
                None => loaded,
                Some(signed) => {
                    let to = int_type(t.context, to);
                    t.builder.build_int_cast_sign_flag(loaded.into_int_value(), to, signed, "")?.into()
                }
            };
            t.define(inst, value);
        }
        InstructionData::Store { opcode, args, flags, offset } => {
            let Some(flags) = t.little_endian(flags) else { return Ok(false) };
            let value = match opcode {
                Opcode::Store => t.value(args[0]),
                Opcode::Istore8 => narrow(t, args[0], types::I8)?,
                Opcode::Istore16 => narrow(t, args[0], types::I16)?,
                Opcode::Istore32 => narrow(t, args[0], types::I32)?,
                _ => return Ok(false),
            };
            // Checked here, where a vector could come in.
            basic_type(t.context, t.func.dfg.value_type(args[0]))?;
            let pointer = t.pointer(args[1], offset.into())?;
            let store = t.builder.build_store(pointer, value)?;
            t.access(store, flags)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn load<'ctx>(
    t: &Translator<'ctx, '_>,
    ty: Type,
    flags: MemFlagsData,
    address: Value,
    offset: i32,
) -> Result<BasicValueEnum<'ctx>, Refusal> {
    let value = t.builder.build_load(basic_type(t.context, ty)?, t.pointer(address, offset)?, "")?;
    let load = value.as_instruction_value().expect("a load is an instruction");
    t.access(load, flags)?;
    if flags.readonly() && flags.notrap() {
        t.invariant(load)?;
    }
    Ok(value)
}

impl<'ctx> Translator<'ctx, '_> {
    /// The flags, unless the access swaps bytes.
    pub(super) fn little_endian(&self, flags: MemFlags) -> Option<MemFlagsData> {
        let flags = self.func.dfg.mem_flags[flags];
        (flags.endianness(Endianness::Little) == Endianness::Little).then_some(flags)
    }

    /// Flags of a plain access: no alignment promised unless CLIF does, volatile if it may trap.
    fn access(&self, inst: InstructionValue<'ctx>, flags: MemFlagsData) -> Result<(), Refusal> {
        if !flags.aligned() {
            inst.set_alignment(1)?;
        }
        if !flags.notrap() {
            inst.set_volatile(true)?;
        }
        match flags.alias_region() {
            Some(region) => self.region(inst, region),
            None => Ok(()),
        }
    }
}

fn narrow<'ctx>(t: &Translator<'ctx, '_>, value: Value, to: Type) -> Result<BasicValueEnum<'ctx>, Refusal> {
    let value = t.builder.build_int_truncate(t.int(value), int_type(t.context, to), "")?;
    Ok(value.as_basic_value_enum())
}
