//! What is compiled together, and what its functions and imports are called in the object.
//!
//! | CLIF name | symbol |
//! |---|---|
//! | `%name` ([`TestCase`](ExternalName::TestCase), [`UserFuncName::Testcase`]) | `name` |
//! | `u0:7` ([`User`](ExternalName::User), [`UserFuncName::User`]) | `u0:7` |
//! | `%CeilF32` and other [`LibCall`](ExternalName::LibCall)s | libm's or libc's name: `ceilf` |
//!
//! An object defines its entry's symbol and imports what the unit calls and does not contain. LLVM may add imports of its own:
//! `memcpy`, `memmove`, `memset`, `memcmp`, and libm's functions for the CLIF instructions that need one (`fma` on a processor
//! without it).

use cranelift_codegen::ir::{ExternalName, Function, UserFuncName};
use cranelift_module::default_libcall_names;

use crate::refusal::Refusal;

/// Verified functions that become one object.
///
/// The entry is exported. The callees are private to the object: LLVM may inline them, specialize them, or drop them. All
/// call each other by name (see the table of the symbols above), and names must differ.
///
/// Two promises of CLIF reach further here than in a function of its own. Memory read with the `readonly` flag must not
/// change while the *entry* runs, and alias regions of the same user id must mean the same in all functions.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    /// What the object exports.
    pub entry: &'a Function,
    /// What the entry may call directly.
    pub callees: &'a [&'a Function],
}

impl<'a> Unit<'a> {
    /// One function by itself.
    pub fn single(entry: &'a Function) -> Self {
        Unit { entry, callees: &[] }
    }

    /// The entry, then the callees.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &'a Function> {
        std::iter::once(self.entry).chain(self.callees.iter().copied())
    }
}

/// The symbol a function is defined under.
pub fn function_symbol(func: &Function) -> String {
    match &func.name {
        UserFuncName::User(name) => name.to_string(),
        UserFuncName::Testcase(name) => String::from_utf8_lossy(name.raw()).into_owned(),
    }
}

/// The symbol `func` means by an external name.
///
/// # Errors
///
/// [`Refusal::Construct`] for names with a meaning of their own to Cranelift's back ends.
pub fn external_symbol(name: &ExternalName, func: &Function) -> Result<String, Refusal> {
    Ok(match name {
        ExternalName::TestCase(name) => String::from_utf8_lossy(name.raw()).into_owned(),
        ExternalName::User(reference) => func.params.user_named_funcs()[*reference].to_string(),
        ExternalName::LibCall(call) => default_libcall_names()(*call),
        ExternalName::KnownSymbol(symbol) => return Err(Refusal::Construct(format!("symbol `{symbol}`"))),
    })
}
