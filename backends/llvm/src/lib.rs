//! The second compiler: verified CLIF → LLVM IR → object bytes → linked code.
//!
//! It takes the CLIF the Cranelift backend takes and keeps the same ABI (`backends/ABI.md`); the ABI's test runs through both.
//! It knows the instructions that test needs and refuses the others by name, so that a function it does not know costs one
//! promotion. Needs LLVM 19's shared library; nothing else in the workspace depends on this crate.

mod compiler;
mod link;
mod refusal;
mod translate;

pub use compiler::{LlvmCompiler, LlvmError, OptLevel};
pub use link::{Linked, Linker};
