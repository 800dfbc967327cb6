//! What an instruction is: its handler, and its name for whoever makes machine code of it.

use super::op::binary::BinaryOp;
use super::op::branch::CompareOp;
use super::op::data::{Class, ReturnPlace};
use super::op::memory::{LoadOp, Place, StoreOp, ValuePlace};
use super::op::unary::UnaryOp;
use super::operand::Form;
use super::state::Handler;

/// An instruction to be written, without its operands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction {
    pub(crate) handler: Handler,
    pub(crate) kind: Kind,
}

/// Which instruction it is. What ends in a flag `stored` has its result in slot DST as well as in the accumulator if that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Binary {
        op: BinaryOp,
        form: Form,
        stored: bool,
    },
    Unary {
        op: UnaryOp,
        accumulator: bool,
        stored: bool,
    },
    Test {
        op: CompareOp,
        form: Form,
        stored: bool,
    },
    Branch {
        op: CompareOp,
        form: Form,
        back: bool,
    },
    Jump {
        back: bool,
    },
    Load {
        op: LoadOp,
        place: Place,
        stored: bool,
    },
    Store {
        op: StoreOp,
        place: Place,
        value: ValuePlace,
    },
    Select {
        class: Class,
        accumulator: bool,
        stored: bool,
    },
    /// Of a global the module defines.
    GlobalGet {
        class: Class,
        stored: bool,
    },
    /// The same from an accumulator; `None`: from slot A.
    GlobalSet {
        from: Option<Class>,
    },
    Copy,
    CopyTwo,
    Narrow,
    Wide,
    Keep {
        class: Class,
    },
    Clear,
    Return {
        class: Class,
        place: ReturnPlace,
    },
    ReturnNone,
    /// `br_table`.
    Switch {
        accumulator: bool,
    },
    /// Of a function the module defines.
    Call,
    CallIndirect {
        accumulator: bool,
        profiled: bool,
    },
    /// One that nothing is to be known of.
    Other,
}

impl Instruction {
    pub(crate) fn new(handler: Handler, kind: Kind) -> Self {
        Self { handler, kind }
    }

    /// Two that differ in one flag.
    pub(crate) fn pair(handlers: [Handler; 2], kind: impl Fn(bool) -> Kind) -> [Self; 2] {
        let [clear, set] = handlers;
        [Self::new(clear, kind(false)), Self::new(set, kind(true))]
    }
}

impl From<Handler> for Instruction {
    fn from(handler: Handler) -> Self {
        Self::new(handler, Kind::Other)
    }
}
