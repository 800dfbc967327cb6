//! Atomics. All are sequentially consistent, as CLIF's are. Shared cells are read this way, so that LLVM does not hoist the
//! read out of a loop.
//!
//! They are naturally aligned in LLVM (what it assumes of the read-modify-write ones unasked), or it calls a library. x86-64 does
//! not mind if they are not, up to 8 bytes.

use cranelift_codegen::ir::{AtomicRmwOp, Inst, InstructionData, MemFlagsData, Opcode, Type, types};
use inkwell::{
    AtomicOrdering, AtomicRMWBinOp,
    values::{BasicValue, InstructionValue},
};

use super::{Handled, Translator, int_type};
use crate::refusal::Refusal;

const ORDERING: AtomicOrdering = AtomicOrdering::SequentiallyConsistent;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    match t.func.dfg.insts[inst] {
        InstructionData::LoadNoOffset { opcode: Opcode::AtomicLoad, arg, flags } => {
            let (Some(flags), ty) = (t.little_endian(flags), t.clif_type(inst)) else { return Ok(false) };
            if !is_atomic(t, ty) {
                return Ok(false);
            }
            let value = t.builder.build_load(int_type(t.context, ty), t.pointer(arg, 0)?, "")?;
            let load = value.as_instruction_value().expect("a load is an instruction");
            load.set_atomic_ordering(ORDERING)?;
            load.set_alignment(ty.bytes())?;
            trapping(load, flags)?;
            t.define(inst, value);
        }
        InstructionData::StoreNoOffset { opcode: Opcode::AtomicStore, args, flags } => {
            let (Some(flags), ty) = (t.little_endian(flags), t.func.dfg.value_type(args[0])) else { return Ok(false) };
            if !is_atomic(t, ty) {
                return Ok(false);
            }
            let store = t.builder.build_store(t.pointer(args[1], 0)?, t.int(args[0]))?;
            store.set_atomic_ordering(ORDERING)?;
            store.set_alignment(ty.bytes())?;
            trapping(store, flags)?;
        }
        InstructionData::AtomicRmw { opcode: Opcode::AtomicRmw, args, flags, op } => {
            let (Some(flags), ty) = (t.little_endian(flags), t.clif_type(inst)) else { return Ok(false) };
            if !is_atomic(t, ty) {
                return Ok(false);
            }
            let old = t.builder.build_atomicrmw(operation(op), t.pointer(args[0], 0)?, t.int(args[1]), ORDERING)?;
            trapping(old.as_instruction().expect("an instruction"), flags)?;
            t.define(inst, old);
        }
        InstructionData::AtomicCas { opcode: Opcode::AtomicCas, args, flags } => {
            let (Some(flags), ty) = (t.little_endian(flags), t.clif_type(inst)) else { return Ok(false) };
            if !is_atomic(t, ty) {
                return Ok(false);
            }
            let (expected, new) = (t.int(args[1]), t.int(args[2]));
            let pair = t.builder.build_cmpxchg(t.pointer(args[0], 0)?, expected, new, ORDERING, ORDERING)?;
            trapping(pair.as_instruction().expect("an instruction"), flags)?;
            let old = t.builder.build_extract_value(pair, 0, "")?;
            t.define(inst, old);
        }
        InstructionData::NullAry { opcode: Opcode::Fence } => {
            t.builder.build_fence(ORDERING, false, "")?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn is_atomic(t: &Translator<'_, '_>, ty: Type) -> bool {
    ty.is_int() && (ty != types::I128 || t.target.has_cmpxchg16b)
}

fn trapping(inst: InstructionValue<'_>, flags: MemFlagsData) -> Result<(), Refusal> {
    if !flags.notrap() {
        inst.set_volatile(true)?;
    }
    Ok(())
}

fn operation(op: AtomicRmwOp) -> AtomicRMWBinOp {
    match op {
        AtomicRmwOp::Add => AtomicRMWBinOp::Add,
        AtomicRmwOp::Sub => AtomicRMWBinOp::Sub,
        AtomicRmwOp::And => AtomicRMWBinOp::And,
        AtomicRmwOp::Nand => AtomicRMWBinOp::Nand,
        AtomicRmwOp::Or => AtomicRMWBinOp::Or,
        AtomicRmwOp::Xor => AtomicRMWBinOp::Xor,
        AtomicRmwOp::Xchg => AtomicRMWBinOp::Xchg,
        AtomicRmwOp::Umin => AtomicRMWBinOp::UMin,
        AtomicRmwOp::Umax => AtomicRMWBinOp::UMax,
        AtomicRmwOp::Smin => AtomicRMWBinOp::Min,
        AtomicRmwOp::Smax => AtomicRMWBinOp::Max,
    }
}
