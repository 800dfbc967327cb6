//! The two stacks wasm is written against, as the lowering sees them: operand values and open blocks.

use super::clif::{Block, Value};
use super::count::LoopCount;
use wasmparser::BlockType;

/// The operand stack. Validation has already proved every height and type, so a pop cannot fail on a body
/// that reaches the lowering; an unbalanced pop is a bug of the lowering and panics.
#[derive(Debug, Default)]
pub(super) struct Operands(Vec<Value>);

impl Operands {
    pub(super) fn push(&mut self, value: Value) {
        self.0.push(value);
    }

    pub(super) fn push_all(&mut self, values: &[Value]) {
        self.0.extend_from_slice(values);
    }

    pub(super) fn pop(&mut self) -> Value {
        self.0.pop().expect("validated: the operand stack is not empty")
    }

    /// The two topmost values in the order they were pushed.
    pub(super) fn pop2(&mut self) -> (Value, Value) {
        let second = self.pop();
        (self.pop(), second)
    }

    /// The three topmost values in the order they were pushed.
    pub(super) fn pop3(&mut self) -> (Value, Value, Value) {
        let third = self.pop();
        let (first, second) = self.pop2();
        (first, second, third)
    }

    /// The `n` topmost values, deepest first.
    pub(super) fn top(&self, n: usize) -> &[Value] {
        &self.0[self.0.len() - n..]
    }

    /// Pushes the `n` topmost values a second time.
    pub(super) fn repeat_top(&mut self, n: usize) {
        let from = self.0.len() - n;
        self.0.extend_from_within(from..);
    }

    /// All of them, deepest first.
    pub(super) fn all(&self) -> &[Value] {
        &self.0
    }

    /// Puts another value at a place, counted from the deepest.
    pub(super) fn replace(&mut self, at: usize, value: Value) {
        self.0[at] = value;
    }

    pub(super) fn height(&self) -> usize {
        self.0.len()
    }

    pub(super) fn truncate(&mut self, height: usize) {
        self.0.truncate(height);
    }
}

/// One open `block`, `loop`, `if` or the function body itself.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: FrameKind,
    pub(super) ty: BlockType,
    /// How many operands the block takes and leaves.
    pub(super) params: usize,
    pub(super) results: usize,
    /// Operand stack height beneath the parameters.
    pub(super) height: usize,
    /// The CLIF block after `end`, with the results as parameters. Made by the first branch to it: most wasm
    /// blocks are left by falling through, and then straight-line code stays one CLIF block.
    pub(super) end: Option<Block>,
    /// The most operators on any way that branches there.
    pub(super) work: u32,
}

/// What a frame is, and the CLIF block particular to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum FrameKind {
    /// A `block`, or the function's body.
    Block,
    /// A `loop`; branches go to its header, which is sealed when the loop ends.
    Loop {
        header: Block,
        /// Its turns, where they are counted.
        count: Option<LoopCount>,
    },
    /// An `if` whose `else` has not been seen. While it is open, the operand stack holds its parameters twice:
    /// the `then` part consumes the upper copy, the `else` part (or its absence) the lower one.
    Then {
        otherwise: Block,
        /// Operators on the way to the branch.
        work: u32,
    },
    /// The `else` part of an `if`.
    Else,
}
