//! Instructions that call out: whole ranges of memories and tables, table elements, growing.
//!
//! One handler serves them all: operands lie in the slots from A on, a result replaces the first of them; then come the
//! function to call and its two indices.

use crate::exec::cx::Cx;
use crate::exec::state::{FINISHED, Handler, Op, State, Status, handler};
use crate::{bulk, trap::TrapCode};

/// What such an instruction calls: context, operand slots, two indices.
pub(crate) type RangeFn = unsafe fn(*mut Cx, *mut u64, u32, u32) -> Status;

struct Range;

impl Op for Range {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; the translator wrote a `RangeFn` into the word after the operands.
        unsafe {
            let function = std::mem::transmute::<u64, RangeFn>(state.word(2));
            let indices = state.word(3);
            let status = function(state.cx, state.a(), indices as u32, (indices >> 32) as u32);
            if status == FINISHED { state.reload().next(4) } else { state.trap(status) }
        }
    }
}

/// The handler of them all.
pub(crate) fn range() -> Handler {
    handler::<Range>()
}

/// A range instruction, as the translator names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeOp {
    /// `memory.grow`.
    MemoryGrow,
    /// `memory.fill`.
    MemoryFill,
    /// `memory.copy`.
    MemoryCopy,
    /// `memory.init`.
    MemoryInit,
    /// `data.drop`.
    DataDrop,
    /// `table.get`.
    TableGet,
    /// `table.set`.
    TableSet,
    /// `table.size`.
    TableSize,
    /// `table.grow`.
    TableGrow,
    /// `table.fill`.
    TableFill,
    /// `table.copy`.
    TableCopy,
    /// `table.init`.
    TableInit,
    /// `elem.drop`.
    ElemDrop,
}

impl RangeOp {
    /// What it calls.
    pub(crate) fn function(self) -> RangeFn {
        match self {
            Self::MemoryGrow => memory_grow,
            Self::MemoryFill => memory_fill,
            Self::MemoryCopy => memory_copy,
            Self::MemoryInit => memory_init,
            Self::DataDrop => data_drop,
            Self::TableGet => table_get,
            Self::TableSet => table_set,
            Self::TableSize => table_size,
            Self::TableGrow => table_grow,
            Self::TableFill => table_fill,
            Self::TableCopy => table_copy,
            Self::TableInit => table_init,
            Self::ElemDrop => elem_drop,
        }
    }

    /// Operands it takes.
    pub(crate) fn operands(self) -> usize {
        match self {
            Self::DataDrop | Self::ElemDrop | Self::TableSize => 0,
            Self::MemoryGrow | Self::TableGet => 1,
            Self::TableSet | Self::TableGrow => 2,
            _ => 3,
        }
    }

    /// Whether it has a result.
    pub(crate) fn has_result(self) -> bool {
        matches!(self, Self::MemoryGrow | Self::TableGet | Self::TableSize | Self::TableGrow)
    }
}

fn status(result: Result<(), TrapCode>) -> Status {
    result.map_or_else(|code| code as Status, |()| FINISHED)
}

/// The operand slots of a range instruction.
struct Operands(*mut u64);

impl Operands {
    /// Operand `at`, as its low half.
    unsafe fn u32(&self, at: usize) -> u32 {
        // SAFETY: by the caller, the instruction has that operand.
        unsafe { *self.0.add(at) as u32 }
    }

    /// Operand `at`.
    unsafe fn u64(&self, at: usize) -> u64 {
        // SAFETY: by the caller, the instruction has that operand.
        unsafe { *self.0.add(at) }
    }

    /// Leaves the result.
    unsafe fn give(&self, value: u64) -> Status {
        // SAFETY: by the caller, the instruction has a result, whose slot exists.
        unsafe { *self.0 = value };
        FINISHED
    }
}

macro_rules! range_functions {
    ($($name:ident |$vmctx:ident, $args:ident, $a:ident, $b:ident| $body:expr;)*) => {
        $(
            unsafe fn $name(cx: *mut Cx, args: *mut u64, $a: u32, $b: u32) -> Status {
                let $args = Operands(args);
                // SAFETY: by the handler: the context's instance runs on this thread, validation checked indices and
                // operands.
                unsafe {
                    let $vmctx = (*cx).vmctx;
                    $body
                }
            }
        )*
    };
}

range_functions! {
    memory_grow |vmctx, args, _a, _b| args.give(u64::from(bulk::memory_grow((*vmctx).memory, args.u32(0))));
    memory_fill |vmctx, args, _a, _b| status(bulk::memory_fill(vmctx, args.u32(0), args.u32(1), args.u32(2)));
    memory_copy |vmctx, args, _a, _b| status(bulk::memory_copy(vmctx, args.u32(0), args.u32(1), args.u32(2)));
    memory_init |vmctx, args, segment, _b| {
        status(bulk::memory_init(vmctx, segment, args.u32(0), args.u32(1), args.u32(2)))
    };
    data_drop |vmctx, _args, segment, _b| {
        bulk::data_drop(vmctx, segment);
        FINISHED
    };
    table_get |vmctx, args, table, _b| match bulk::table_get(vmctx, table, args.u32(0)) {
        Ok(value) => args.give(value),
        Err(code) => code as Status,
    };
    table_set |vmctx, args, table, _b| status(bulk::table_set(vmctx, table, args.u32(0), args.u64(1)));
    table_size |vmctx, args, table, _b| args.give(u64::from(bulk::table_size(vmctx, table)));
    table_grow |vmctx, args, table, _b| {
        args.give(u64::from(bulk::table_grow(vmctx, table, args.u64(0), args.u32(1))))
    };
    table_fill |vmctx, args, table, _b| {
        status(bulk::table_fill(vmctx, table, args.u32(0), args.u64(1), args.u32(2)))
    };
    table_copy |vmctx, args, to, from| {
        status(bulk::table_copy(vmctx, to, from, args.u32(0), args.u32(1), args.u32(2)))
    };
    table_init |vmctx, args, table, segment| {
        status(bulk::table_init(vmctx, table, segment, args.u32(0), args.u32(1), args.u32(2)))
    };
    elem_drop |vmctx, _args, segment, _b| {
        bulk::elem_drop(vmctx, segment);
        FINISHED
    };
}
