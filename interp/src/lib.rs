//! Tierup's reference guest: a WebAssembly 2.0 virtual machine (without SIMD) that tiers through the public API.
//!
//! [`Engine`] → [`Module`] → [`Linker::instantiate`] in a [`Store`] → [`Func::call`]. Functions start in the
//! interpreter, are counted, and move to native code while they run.

#[cfg(test)]
extern crate self as tierup_interp;

mod arms;
mod backtrace;
mod bridge;
mod bulk;
mod compilers;
mod config;
mod deopt;
mod draws;
mod driver;
mod engine;
mod error;
mod exec;
mod func;
mod host;
mod instance;
mod interrupt;
mod linker;
mod liveness;
#[cfg(feature = "llvm")]
mod llvm;
mod lower;
mod memory;
mod module;
mod osr;
mod owned;
mod prepare;
mod profile;
mod recovery;
mod self_time;
mod stack;
mod store;
mod table;
#[cfg(tierup_templates)]
mod template;
mod transfer;
mod trap;
mod types;
mod unwritten;
mod vmctx;

#[cfg(feature = "llvm")]
pub use config::Llvm;
pub use config::{Baseline, Config, Deopt, OnEvent, OnWork, Osr, Speculate, Templates, TierMode};
pub use engine::{Engine, TemplateStats};
pub use error::Error;
pub use func::{Extern, Func, Global, Instance, Memory, Table, Val};
pub use host::{Caller, HostClosure, HostError, WasmNumber, WasmReturn};
pub use interrupt::InterruptHandle;
pub use linker::Linker;
pub use lower::Checker;
pub use memory::{MAX_PAGES, PAGE};
pub use module::{FuncHandle, Module, Part, ReloadError, Reloaded};
pub use recovery::Recovery;
pub use self_time::{SelfTime, SelfTimes};
pub use store::{AsStore, Store};
pub use transfer::{Direction, LiveFrame, OnTransfer, Transfer};
pub use trap::{Frame, MAX_FRAMES, Trap, TrapCode};
pub use types::{ExternType, FuncType, GlobalType, Limits, MemoryType, TableType, ValType};
