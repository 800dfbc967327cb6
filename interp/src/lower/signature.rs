//! Wasm types as CLIF types, and function types as signatures of bodies.

use super::clif::{AbiParam, CallConv, Signature, Type, types};
use crate::types::{FuncType, ValType};

/// The CLIF type of a wasm value. References are the addresses or handles their slots hold.
pub(super) fn clif_type(ty: ValType) -> Type {
    match ty {
        ValType::I32 => types::I32,
        ValType::I64 | ValType::FuncRef | ValType::ExternRef => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
    }
}

/// Parameters of a body before the function's own: vmctx and token.
pub(super) const BODY_PREFIX: usize = 2;

/// The signature of a body: vmctx, token, parameters; one result, or none when there are no results or several
/// (those travel in the thread's wide buffer).
pub(super) fn body(ty: &FuncType, call_conv: CallConv) -> Signature {
    let mut signature = Signature::new(call_conv);
    signature.params.push(AbiParam::new(types::I64));
    signature.params.push(AbiParam::new(types::I64));
    signature.params.extend(ty.params().iter().map(|&ty| AbiParam::new(clif_type(ty))));
    if let &[result] = ty.results() {
        signature.returns.push(AbiParam::new(clif_type(result)));
    }
    signature
}
