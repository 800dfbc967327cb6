//! The same CLIF functions through both compilers, callable with [`DataValue`]s, and linked to each other where a test wants
//! calls to cross.

mod baseline;
mod optimized;
mod quick;
mod thunks;
mod trampoline;

use std::collections::HashMap;

use cranelift_codegen::{
    ir::{ExternalName, Function, Signature, UserFuncName},
    isa::CallConv,
};

pub(crate) use baseline::{Baseline, isa};
pub(crate) use optimized::Optimized;
pub(crate) use quick::Quick;
pub(crate) use thunks::Thunks;
pub(crate) use trampoline::{call, trampoline};

/// Where the symbols a compiler imports are.
pub(crate) type Symbols = HashMap<String, usize>;

/// The name of a `%name` function.
pub(crate) fn name(func: &Function) -> String {
    match &func.name {
        UserFuncName::Testcase(name) => String::from_utf8_lossy(name.raw()).into_owned(),
        UserFuncName::User(name) => name.to_string(),
    }
}

/// Names of the `%name` functions `func` refers to.
pub(crate) fn callees(func: &Function) -> Vec<String> {
    let mut names = Vec::new();
    for (_, callee) in func.dfg.ext_funcs.iter() {
        if let ExternalName::TestCase(name) = &callee.name {
            names.push(String::from_utf8_lossy(name.raw()).into_owned());
        }
    }
    names
}

/// `func` with the `%name` functions it refers to renamed.
pub(crate) fn rename_callees(func: &Function, rename: impl Fn(&str) -> String) -> Function {
    let mut func = func.clone();
    for (_, callee) in func.dfg.ext_funcs.iter_mut() {
        if let ExternalName::TestCase(name) = &callee.name {
            callee.name = ExternalName::testcase(rename(&String::from_utf8_lossy(name.raw())));
        }
    }
    func
}

/// Whether the `tail` convention occurs in the function: as its own, or in a call.
pub(crate) fn uses_tail(func: &Function) -> bool {
    let is_tail = |signature: &Signature| signature.call_conv == CallConv::Tail;
    is_tail(&func.signature) || func.dfg.signatures.values().any(is_tail)
}
