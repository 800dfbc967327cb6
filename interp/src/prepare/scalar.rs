//! Types, as instructions see them: which accumulator has their values, and how constants of them are encoded.

use crate::exec::op::data::Class;
use crate::types::ValType;

/// Types whose immediates are encoded differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    I32,
    I64,
    F32,
    F64,
}

impl Scalar {
    pub(super) fn class(self) -> Class {
        match self {
            Self::I32 | Self::I64 => Class::Int,
            Self::F32 => Class::F32,
            Self::F64 => Class::F64,
        }
    }

    /// How the constant is encoded as an immediate: the 32-bit field, and a word of its own. `None` if it cannot be.
    pub(super) fn immediate(self, bits: u64) -> Option<(u32, Option<u64>)> {
        match self {
            Self::I32 | Self::F32 => Some((bits as u32, None)),
            Self::I64 => (i64::from(bits as i32) as u64 == bits).then_some((bits as u32, None)),
            Self::F64 => Some((0, Some(bits))),
        }
    }
}

/// The class of a type the validator accepted.
pub(super) fn class_of_wasm(ty: wasmparser::ValType) -> Class {
    match ty {
        wasmparser::ValType::F32 => Class::F32,
        wasmparser::ValType::F64 => Class::F64,
        _ => Class::Int,
    }
}

pub(super) fn class_of(ty: ValType) -> Class {
    match ty {
        ValType::F32 => Class::F32,
        ValType::F64 => Class::F64,
        ValType::I32 | ValType::I64 | ValType::FuncRef | ValType::ExternRef => Class::Int,
    }
}
