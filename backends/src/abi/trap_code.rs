//! Trap codes: why generated code was left. The numbers are the embedder's.

use std::fmt;

/// An embedder's trap number, as it travels through `ThreadCells::trap`. 0 is never a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrapCode(pub u64);

impl From<u64> for TrapCode {
    fn from(code: u64) -> Self {
        TrapCode(code)
    }
}

impl fmt::Display for TrapCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trap {}", self.0)
    }
}

impl std::error::Error for TrapCode {}
