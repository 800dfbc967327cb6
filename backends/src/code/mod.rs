//! Where generated code lives: one arena of pages, the map from pcs back to guest functions, and perf's map file.

mod map;
mod memory;
mod own;
mod pages;
mod perf;
mod protect;
mod publish;
mod unit;

pub(crate) use map::{AllKept, Chain, FunctionMap, MappedUnit};
pub use map::{CodeMap, Position};
pub(crate) use memory::CodePages;
pub use memory::{CodeMemory, DEFAULT_CODE_BYTES};
pub(crate) use perf::PerfMap;
pub use publish::CompiledFunction;
pub(crate) use publish::{LinkedCode, Publisher};
pub(crate) use unit::UnitMemory;
