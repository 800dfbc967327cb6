//! Host symbols generated code may call, by name: the embedder's helpers, the stubs, and what Cranelift itself may need.

use std::collections::HashMap;

use cranelift_codegen::ir::{ExternalName, Function, Signature};
use cranelift_module::default_libcall_names;
use tierup_broker::{Bailout, BailoutReason};

use crate::{
    abi::{COUNT_SYMBOL, FINISH_SYMBOL, POLL_SYMBOL, TRAP_SYMBOL, count_stub, finish_stub, poll_stub, trap_stub},
    clif,
};

/// Name → address and, for what a lowering may call, signature.
#[derive(Debug, Default, Clone)]
pub(crate) struct Symbols {
    by_name: HashMap<String, Symbol>,
}

#[derive(Debug, Clone)]
struct Symbol {
    address: usize,
    signature: Option<Signature>,
}

impl Symbols {
    /// The symbols every backend has.
    pub(crate) fn builtin() -> Self {
        let mut symbols = Symbols::default();
        symbols.insert(TRAP_SYMBOL, trap_stub(), clif::trap_signature());
        symbols.insert(COUNT_SYMBOL, count_stub(), clif::count_signature());
        symbols.insert(POLL_SYMBOL, poll_stub(), clif::poll_signature());
        symbols.insert(FINISH_SYMBOL, finish_stub(), clif::finish_signature());
        for (name, address) in library() {
            symbols.by_name.insert(name.to_owned(), Symbol { address: address as usize, signature: None });
        }
        symbols
    }

    pub(crate) fn insert(&mut self, name: &str, address: *const u8, signature: Signature) {
        self.by_name.insert(name.to_owned(), Symbol { address: address as usize, signature: Some(signature) });
    }

    pub(crate) fn address(&self, name: &str) -> Option<*const u8> {
        Some(self.by_name.get(name)?.address as *const u8)
    }

    /// What an external name of `func` stands for.
    pub(crate) fn resolve(&self, name: &ExternalName, func: &Function) -> Result<(String, *const u8), Bailout> {
        let name = match name {
            ExternalName::TestCase(name) => String::from_utf8_lossy(name.raw()).into_owned(),
            ExternalName::LibCall(call) => default_libcall_names()(*call),
            other => other.display(Some(&func.params)).to_string(),
        };
        match self.address(&name) {
            Some(address) => Ok((name, address)),
            None => Err(Bailout::terminal(BailoutReason::UnknownSymbol { name })),
        }
    }

    /// The signature of a helper; `None` for names a lowering cannot call.
    pub(crate) fn signature(&self, name: &str) -> Option<&Signature> {
        self.by_name.get(name)?.signature.as_ref()
    }
}

/// Targets of Cranelift's library calls, under the names `default_libcall_names` gives them.
fn library() -> [(&'static str, *const u8); 14] {
    macro_rules! float {
        ($name:ident, $ty:ty, $method:ident $(, $arg:ident)*) => {{
            extern "C" fn $name(x: $ty $(, $arg: $ty)*) -> $ty {
                x.$method($($arg),*)
            }
            (stringify!($name), $name as *const () as *const u8)
        }};
    }
    [
        float!(ceilf, f32, ceil),
        float!(ceil, f64, ceil),
        float!(floorf, f32, floor),
        float!(floor, f64, floor),
        float!(truncf, f32, trunc),
        float!(trunc, f64, trunc),
        float!(nearbyintf, f32, round_ties_even),
        float!(nearbyint, f64, round_ties_even),
        float!(fmaf, f32, mul_add, y, z),
        float!(fma, f64, mul_add, y, z),
        ("memcpy", libc::memcpy as *const () as *const u8),
        ("memmove", libc::memmove as *const () as *const u8),
        ("memset", libc::memset as *const () as *const u8),
        ("memcmp", libc::memcmp as *const () as *const u8),
    ]
}
