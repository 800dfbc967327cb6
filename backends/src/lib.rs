//! CLIF in, installed code out: the machine-code ABI, guard faults as traps, code memory, the backend of the quick compiler and Cranelift.
//!
//! `ABI.md` in this folder is the contract between drivers, generated code and the runtime; [`abi`] and [`trap`] implement it
//! and [`clif`] is how a lowering keeps it.

pub mod abi;
mod backend;
pub mod census;
pub mod clif;
mod code;
mod exits;
mod frontend;
mod inlined;
#[cfg(feature = "llvm")]
pub mod llvm;
mod lower;
#[cfg(feature = "llvm")]
pub mod object;
mod quick;
mod sites;
mod speculation;
mod stack;
mod stats;
mod symbols;
pub mod trap;

pub use backend::{BackendError, CraneliftBackend, CraneliftBackendBuilder, FunctionReport, OptLevel};
pub use clif::MemoryStyle;
pub use code::{CodeMap, CodeMemory, CompiledFunction, DEFAULT_CODE_BYTES, Position};
pub use inlined::Inlined;
#[cfg(feature = "llvm")]
pub use llvm::{LlvmBackend, LlvmBackendBuilder, LlvmPipeline};
pub use lower::{Builder, Lower, LowerCx};
pub use stats::CompileTotals;
pub use symbols::HostSymbol;
pub use tierup_deopt as deopt;
pub use tierup_osr::Site;
pub use trap::GuardedRegion;

/// The Cranelift crates lowerings are written against, in the one version that fits.
pub mod cranelift {
    pub use cranelift_codegen as codegen;
    pub use cranelift_frontend as frontend;
}
