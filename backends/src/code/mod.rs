//! Where generated code lives: one arena of pages, the map from pcs back to guest functions, and perf's map file.

mod map;
mod memory;
mod pages;
mod perf;
mod unit;

pub use map::{CodeMap, Position};
pub(crate) use map::{MappedUnit, UnitMap};
pub(crate) use memory::CodePages;
pub use memory::{CodeMemory, DEFAULT_CODE_BYTES};
pub(crate) use perf::PerfMap;
pub(crate) use unit::UnitMemory;
