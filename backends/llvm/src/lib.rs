//! The second compiler: verified CLIF → LLVM IR → object bytes.
//!
//! It takes the CLIF the Cranelift backend takes and keeps the same ABI (`backends/ABI.md`); the ABI's test runs through both.
//! What it does not know it refuses by name ([`Refusal`]), so that such a function costs one promotion. Needs LLVM 19, its
//! archives or its shared library; nothing else in the workspace depends on this crate.
//!
//! [`ObjectCompiler`] makes objects; [`Linker`] links them through LLVM's own JIT linker. The executable `tierup-llvm` is the
//! helper process of an [`LlvmBackend`](tierup_backends::LlvmBackend); [`InProcess`] does the same without a process.

mod diagnostics;
mod emit;
mod host;
mod in_process;
mod lines;
mod link;
mod options;
mod polls;
mod refusal;
pub mod text;
mod translate;
mod unit;

pub use emit::{Object, ObjectCompiler, Timing};
pub use in_process::InProcess;
pub use link::{Linked, Linker};
pub use options::{Cpu, LlvmError, Options, Pipeline};
pub use refusal::Refusal;
pub use unit::{Unit, external_symbol, function_symbol};
