//! How large a variant may be. No effect on what it computes.

use crate::{OsrError, Site};

/// How large a variant may be, in CLIF instructions copied; the prologue is not counted.
///
/// A variant for a loop at depth *n* is at most *n* times its function, and less unless all of it is in the innermost loop. An
/// outermost loop's is no larger than the function, however large that is: an interpreter's only loop can always be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At most so many times the instructions of the function.
    pub growth: usize,
    /// And at most so many, or a quarter more than the function has.
    pub instructions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { growth: 3, instructions: 20_000 }
    }
}

impl Limits {
    pub(crate) fn check(&self, site: &Site, instructions: usize, of_body: usize) -> Result<(), OsrError> {
        let limit = of_body.saturating_mul(self.growth).min(self.instructions.max(of_body + of_body / 4));
        match instructions <= limit {
            true => Ok(()),
            false => Err(OsrError::TooLarge { site: site.id, instructions, limit }),
        }
    }
}
