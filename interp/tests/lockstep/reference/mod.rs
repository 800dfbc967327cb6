//! A reference interpreter for WebAssembly 2.0 without SIMD, for comparison only.
//!
//! It executes wasmparser's operators one by one, on a stack of typed values, with a stack of labels per frame, as the
//! specification describes it. It shares nothing with the VM's interpreter, keeps nothing it could look up, and shows every state
//! it goes through to a [`Watch`].

mod control;
mod module;
mod number;
mod storage;

pub(crate) use control::{Frame, Machine};
pub(crate) use module::{Function, Module};

use tierup_interp::TrapCode;

/// A value with its type. Floats are kept as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    I32(u32),
    I64(u64),
    F32(u32),
    F64(u64),
    /// A function, by its index, or null.
    Ref(Option<u32>),
}

impl Value {
    /// What a local of this type begins as.
    pub(crate) fn zero(ty: wasmparser::ValType) -> Self {
        match ty {
            wasmparser::ValType::I32 => Self::I32(0),
            wasmparser::ValType::I64 => Self::I64(0),
            wasmparser::ValType::F32 => Self::F32(0),
            wasmparser::ValType::F64 => Self::F64(0),
            _ => Self::Ref(None),
        }
    }
}

/// Sees every state before the operator that is next in it.
pub(crate) trait Watch {
    /// `frames` are those under way, innermost last; `memory` is memory 0.
    fn at(&mut self, frames: &[Frame], memory: &[u8]);
}

/// What ends a run early.
pub(crate) type Trap = TrapCode;
