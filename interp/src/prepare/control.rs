//! Structured control while translating: open blocks, and who branches to their ends.

use super::code::Waiting;

/// What kind of block is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The body: a branch to it returns.
    Function,
    /// `block`, or an `if` past its `else`: a branch to it goes to its end.
    Block,
    /// `loop`: a branch to it goes to its header.
    Loop(Header),
    /// `if` without its `else` so far.
    If(Otherwise),
}

/// A loop's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Where it is in the code.
    pub(super) code: usize,
    /// Its site.
    pub(super) site: u32,
    /// Work on the way to it.
    pub(super) work: u32,
}

/// Where an `if` goes when its condition does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Otherwise {
    /// The branch word taken then.
    pub(super) word: usize,
    /// Work on the way to it.
    pub(super) work: u32,
}

/// An open block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) kind: Kind,
    /// Operands below its parameters.
    pub(super) height: usize,
    pub(super) params: usize,
    pub(super) results: usize,
    /// Branches to its end.
    pub(super) waiting: Waiting,
    /// The most work any of them comes with.
    pub(super) work: u32,
    /// Whether the block itself can be reached. Nothing is kept of a dead one but that it is open.
    pub(super) live: bool,
}

impl Block {
    /// Values a branch to it carries.
    pub(super) fn arity(&self) -> usize {
        if let Kind::Loop(_) = self.kind { self.params } else { self.results }
    }
}
