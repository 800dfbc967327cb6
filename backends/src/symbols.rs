//! Host symbols generated code may call, by name: the embedder's helpers, the stubs, and what Cranelift itself may need.

use std::collections::BTreeMap;

use cranelift_codegen::ir::{ExternalName, Function, Signature};
use cranelift_module::default_libcall_names;
use tierup_broker::{Bailout, BailoutReason};

use crate::{
    abi::{COUNT_SYMBOL, FINISH_SYMBOL, POLL_SYMBOL, TRAP_SYMBOL, count_stub, finish_stub, poll_stub, trap_stub},
    clif,
};

/// A function of the host's, as a table of them says it: a backend that is built before a program has run anything keeps the table's
/// address, and looks into it when code that is compiled names something.
#[derive(Debug, Clone, Copy)]
pub struct HostSymbol {
    /// The name that lowerings call it by.
    pub name: &'static str,
    /// Where it is.
    pub address: fn() -> *const u8,
    /// How it is called.
    pub signature: fn() -> Signature,
}

/// Name → address and, for what a lowering may call, signature.
#[derive(Debug, Default, Clone)]
pub(crate) struct Symbols {
    tables: Vec<&'static [HostSymbol]>,
    by_name: BTreeMap<String, Symbol>,
}

#[derive(Debug, Clone)]
struct Symbol {
    address: usize,
    signature: Signature,
}

impl Symbols {
    /// Adds a symbol; not if there is one of that name.
    pub(crate) fn insert(&mut self, name: &str, address: *const u8, signature: Signature) -> Result<(), Taken> {
        if self.address(name).is_some() {
            return Err(Taken(name.to_owned()));
        }
        self.by_name.insert(name.to_owned(), Symbol { address: address as usize, signature });
        Ok(())
    }

    /// Adds a table; not if there is a symbol of the name of one of them.
    pub(crate) fn insert_table(&mut self, table: &'static [HostSymbol]) -> Result<(), Taken> {
        for (n, symbol) in table.iter().enumerate() {
            if self.address(symbol.name).is_some() || table[..n].iter().any(|other| other.name == symbol.name) {
                return Err(Taken(symbol.name.to_owned()));
            }
        }
        self.tables.push(table);
        Ok(())
    }

    pub(crate) fn address(&self, name: &str) -> Option<*const u8> {
        if let Some(symbol) = self.in_tables(name) {
            return Some((symbol.address)());
        }
        if let Some((_, address)) = LIBRARY.iter().find(|(known, _)| *known == name) {
            return Some(address());
        }
        Some(self.by_name.get(name)?.address as *const u8)
    }

    /// What every backend has, and what it was given a table of.
    fn in_tables(&self, name: &str) -> Option<&'static HostSymbol> {
        self.tables.iter().chain([&STUBS]).copied().flatten().find(|symbol| symbol.name == name)
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
    pub(crate) fn signature(&self, name: &str) -> Option<Signature> {
        match self.in_tables(name) {
            Some(symbol) => Some((symbol.signature)()),
            None => Some(self.by_name.get(name)?.signature.clone()),
        }
    }
}

/// A name that something else has.
#[derive(Debug)]
pub(crate) struct Taken(pub(crate) String);

/// What code asks of the runtime.
static STUBS: &[HostSymbol] = &[
    HostSymbol { name: TRAP_SYMBOL, address: trap_stub, signature: clif::trap_signature },
    HostSymbol { name: COUNT_SYMBOL, address: count_stub, signature: clif::count_signature },
    HostSymbol { name: POLL_SYMBOL, address: poll_stub, signature: clif::poll_signature },
    HostSymbol { name: FINISH_SYMBOL, address: finish_stub, signature: clif::finish_signature },
];

type Address = fn() -> *const u8;

/// Targets of Cranelift's library calls, under the names `default_libcall_names` gives them.
static LIBRARY: [(&str, Address); 14] = {
    macro_rules! float {
        ($name:ident, $ty:ty, $method:ident $(, $arg:ident)*) => {{
            extern "C" fn $name(x: $ty $(, $arg: $ty)*) -> $ty {
                x.$method($($arg),*)
            }
            (stringify!($name), || $name as *const u8)
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
        ("memcpy", || libc::memcpy as *const u8),
        ("memmove", || libc::memmove as *const u8),
        ("memset", || libc::memset as *const u8),
        ("memcmp", || libc::memcmp as *const u8),
    ]
};
