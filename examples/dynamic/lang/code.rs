//! What is executed: a register machine's instructions, and beside each the types it has met.

use std::sync::{
    OnceLock,
    atomic::{AtomicU8, Ordering},
};

use super::value::{Heap, Operator, Types, Value};

/// A register's number: a slot of the frame. The parameters come first.
pub(crate) type Reg = usize;
/// An instruction's number.
pub(crate) type Pc = usize;

/// Registers of a frame, all functions'.
pub(crate) const REGISTERS: usize = 32;
/// Parameters of a function: as many as fit into machine registers.
pub(crate) const PARAMETERS: usize = 4;

/// A function's frame. Tiers hand it over as it is.
pub(crate) type Frame = [Value; REGISTERS];

/// `to` is the register an instruction sets, `go` where it jumps. A `Loop` is a loop's header, where every way back leads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Const {
        to: Reg,
        value: Value,
    },
    Copy {
        to: Reg,
        from: Reg,
    },
    Binary {
        op: Operator,
        to: Reg,
        a: Reg,
        b: Reg,
    },
    Loop {
        site: u32,
    },
    Jump {
        go: Pc,
    },
    JumpUnless {
        a: Reg,
        go: Pc,
    },
    /// The arguments are in `first` and the registers after it.
    Call {
        to: Reg,
        function: usize,
        first: Reg,
    },
    Return {
        a: Reg,
    },
}

/// One instruction.
#[derive(Debug)]
pub(crate) struct Instruction {
    pub(crate) op: Op,
    /// Registers below this may be read before they are written again: what a frame state has to mention.
    pub(crate) live: Reg,
    pub(crate) seen: Seen,
}

/// The types that a binary operator has met, on either side, in the interpreter.
///
/// Interpreters write and compilers read it at once. Every access is Relaxed: a compiler that misses a type makes code that
/// leaves where it meets it.
#[derive(Default, Debug)]
pub(crate) struct Seen(AtomicU8);

impl Seen {
    pub(crate) fn note(&self, a: Value, b: Value) {
        let seen = Types::of(a).0 | Types::of(b).0 << 4;
        // A load first: in the long run nothing is new.
        if self.0.load(Ordering::Relaxed) & seen != seen {
            self.0.fetch_or(seen, Ordering::Relaxed);
        }
    }

    /// The left operand's types, and the right one's.
    pub(crate) fn types(&self) -> [Types; 2] {
        let seen = self.0.load(Ordering::Relaxed);
        [Types(seen & 15), Types(seen >> 4)]
    }
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) parameters: usize,
    pub(crate) code: Vec<Instruction>,
}

/// A program. Interpreter and compile workers read it at the same time; but for what was [`Seen`] nothing in it changes.
pub(crate) struct Program {
    pub(crate) functions: Vec<Function>,
    /// The literal strings, which every heap begins with.
    pub(crate) literals: Vec<String>,
    /// Where native code finds each function's code word. Set once, before anything runs.
    pub(crate) code_cells: OnceLock<Vec<usize>>,
}

impl Program {
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.functions.iter().position(|function| function.name == name)
    }

    pub(crate) fn heap(&self) -> Heap {
        let heap = Heap::default();
        for literal in &self.literals {
            heap.string(literal.clone());
        }
        heap
    }
}
