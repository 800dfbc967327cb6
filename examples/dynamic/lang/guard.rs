//! Guards by name: what was learnt of one must be found again when the function is compiled again.

use std::fmt;

use tierup::{GuardId, deopt::ExitReason};

use super::code::Pc;
use super::value::Types;

/// What a guard tests, at an instruction: the same whenever the function is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Guard {
    /// That no test wants the code to leave.
    Test,
    /// That the instruction is never reached.
    Unreached,
    /// That a result fits into an integer.
    Overflow,
    /// That the left operand is of these types.
    Left(Types),
    /// That the right one is.
    Right(Types),
}

impl Guard {
    pub(crate) fn at(self, pc: Pc) -> GuardId {
        let kind = match self {
            Guard::Test => 0,
            Guard::Unreached => 1,
            Guard::Overflow => 2,
            Guard::Left(types) => 16 | types.0,
            Guard::Right(types) => 32 | types.0,
        };
        GuardId((pc as u64) << 8 | u64::from(kind))
    }

    pub(crate) fn of(id: GuardId) -> Guard {
        let kind = id.0 as u8;
        match kind {
            0 => Guard::Test,
            1 => Guard::Unreached,
            2 => Guard::Overflow,
            3..32 => Guard::Left(Types(kind & 15)),
            _ => Guard::Right(Types(kind & 15)),
        }
    }

    pub(crate) fn reason(self) -> ExitReason {
        match self {
            Guard::Test => ExitReason::Requested,
            Guard::Unreached => ExitReason::Unreached,
            Guard::Overflow => ExitReason::Overflow,
            Guard::Left(_) | Guard::Right(_) => ExitReason::WrongType,
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Test => f.write_str("a test wants nothing"),
            Guard::Unreached => f.write_str("it is never reached"),
            Guard::Overflow => f.write_str("the result fits"),
            Guard::Left(types) => write!(f, "the left operand is {}", types.name()),
            Guard::Right(types) => write!(f, "the right operand is {}", types.name()),
        }
    }
}
