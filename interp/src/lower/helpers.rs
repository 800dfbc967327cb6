//! What generated code asks the host to do: grow memories and tables, the bulk operators, say that something is written for the first
//! time, and what a profile has no room for in line.
//!
//! A helper is a plain `extern "C"` function that always returns an `i32`. One that can fail tells so by its result,
//! and the generated code raises the trap: nothing of the host's is on the stack when guest frames are left.

use super::clif::{AbiParam, CallConv, Signature, Type, types};
use crate::bulk;
use crate::profile::CallSite;
use crate::trap::TrapCode;
use crate::vmctx::VmCtx;

/// A helper, as the lowering names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Helper {
    /// Pages to add → pages before, or -1.
    MemoryGrow,
    /// Target, byte, length → nonzero when out of bounds. So are the results of all bulk helpers.
    MemoryFill,
    /// Target, source, length.
    MemoryCopy,
    /// Segment, target, source, length.
    MemoryInit,
    /// Segment → zero.
    DataDrop,
    /// Table, value of the new elements, elements to add → elements before, or -1.
    TableGrow,
    /// Table, target, value, length.
    TableFill,
    /// Target table, source table, target, source, length.
    TableCopy,
    /// Segment, table, target, source, length.
    TableInit,
    /// Segment → zero.
    ElemDrop,
    /// Table that is about to be written to → zero.
    TableWritten,
    /// Global → zero.
    GlobalWritten,
    /// Address of a call site, bytes from the instance's first function reference to what it calls → zero.
    NoteTarget,
}

impl Helper {
    pub(super) const ALL: [Self; 13] = [
        Self::MemoryGrow,
        Self::MemoryFill,
        Self::MemoryCopy,
        Self::MemoryInit,
        Self::DataDrop,
        Self::TableGrow,
        Self::TableFill,
        Self::TableCopy,
        Self::TableInit,
        Self::ElemDrop,
        Self::TableWritten,
        Self::GlobalWritten,
        Self::NoteTarget,
    ];

    /// The name it is registered under.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MemoryGrow => "wasm_memory_grow",
            Self::MemoryFill => "wasm_memory_fill",
            Self::MemoryCopy => "wasm_memory_copy",
            Self::MemoryInit => "wasm_memory_init",
            Self::DataDrop => "wasm_data_drop",
            Self::TableGrow => "wasm_table_grow",
            Self::TableFill => "wasm_table_fill",
            Self::TableCopy => "wasm_table_copy",
            Self::TableInit => "wasm_table_init",
            Self::ElemDrop => "wasm_elem_drop",
            Self::TableWritten => "wasm_table_written",
            Self::GlobalWritten => "wasm_global_written",
            Self::NoteTarget => "wasm_note_target",
        }
    }

    /// Where it is.
    pub(super) fn address(self) -> *const u8 {
        match self {
            Self::MemoryGrow => memory_grow as *const u8,
            Self::MemoryFill => memory_fill as *const u8,
            Self::MemoryCopy => memory_copy as *const u8,
            Self::MemoryInit => memory_init as *const u8,
            Self::DataDrop => data_drop as *const u8,
            Self::TableGrow => table_grow as *const u8,
            Self::TableFill => table_fill as *const u8,
            Self::TableCopy => table_copy as *const u8,
            Self::TableInit => table_init as *const u8,
            Self::ElemDrop => elem_drop as *const u8,
            Self::TableWritten => table_written as *const u8,
            Self::GlobalWritten => global_written as *const u8,
            Self::NoteTarget => note_target as *const u8,
        }
    }

    /// Parameters after the vmctx.
    fn params(self) -> &'static [Type] {
        use types::{I32, I64};
        match self {
            Self::NoteTarget => &[I64, I64],
            Self::MemoryGrow | Self::DataDrop | Self::ElemDrop | Self::TableWritten | Self::GlobalWritten => &[I32],
            Self::MemoryFill | Self::MemoryCopy => &[I32, I32, I32],
            Self::MemoryInit => &[I32, I32, I32, I32],
            Self::TableGrow => &[I32, I64, I32],
            Self::TableFill => &[I32, I32, I64, I32],
            Self::TableCopy | Self::TableInit => &[I32, I32, I32, I32, I32],
        }
    }

    /// Its signature: `vmctx`, [`Helper::params`], an `i32` result.
    pub(super) fn signature(self) -> Signature {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.push(AbiParam::new(types::I64));
        signature.params.extend(self.params().iter().map(|&ty| AbiParam::new(ty)));
        signature.returns.push(AbiParam::new(types::I32));
        signature
    }
}

// All helpers are called by generated code only, with the vmctx of the function that calls and with indices that
// validation checked: that is what `bulk` requires. The signatures above and below must agree.

unsafe extern "C" fn memory_grow(vmctx: *mut VmCtx, delta: u32) -> u32 {
    // SAFETY: a module that grows its memory has one, and the instance runs on this thread.
    unsafe { bulk::memory_grow((*vmctx).memory, delta) }
}

unsafe extern "C" fn memory_fill(vmctx: *mut VmCtx, to: u32, byte: u32, len: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx.
    failed(unsafe { bulk::memory_fill(vmctx, to, byte, len) })
}

unsafe extern "C" fn memory_copy(vmctx: *mut VmCtx, to: u32, from: u32, len: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx.
    failed(unsafe { bulk::memory_copy(vmctx, to, from, len) })
}

unsafe extern "C" fn memory_init(vmctx: *mut VmCtx, segment: u32, to: u32, from: u32, len: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx and an index of its module.
    failed(unsafe { bulk::memory_init(vmctx, segment, to, from, len) })
}

unsafe extern "C" fn data_drop(vmctx: *mut VmCtx, segment: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx and an index of its module.
    unsafe { bulk::data_drop(vmctx, segment) };
    0
}

unsafe extern "C" fn table_grow(vmctx: *mut VmCtx, table: u32, value: u64, delta: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx, an index of its module and a reference of the table's type.
    unsafe { bulk::table_grow(vmctx, table, value, delta) }
}

unsafe extern "C" fn table_fill(vmctx: *mut VmCtx, table: u32, to: u32, value: u64, len: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx, an index of its module and a reference of the table's type.
    failed(unsafe { bulk::table_fill(vmctx, table, to, value, len) })
}

unsafe extern "C" fn table_copy(vmctx: *mut VmCtx, target: u32, source: u32, to: u32, from: u32, len: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx and indices of its module.
    failed(unsafe { bulk::table_copy(vmctx, target, source, to, from, len) })
}

unsafe extern "C" fn table_init(vmctx: *mut VmCtx, segment: u32, table: u32, to: u32, from: u32, len: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx and indices of its module.
    failed(unsafe { bulk::table_init(vmctx, table, segment, to, from, len) })
}

unsafe extern "C" fn elem_drop(vmctx: *mut VmCtx, segment: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx and an index of its module.
    unsafe { bulk::elem_drop(vmctx, segment) };
    0
}

unsafe extern "C" fn table_written(vmctx: *mut VmCtx, table: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx and an index of its module.
    unsafe { bulk::table_written(vmctx, table) };
    0
}

unsafe extern "C" fn global_written(vmctx: *mut VmCtx, global: u32) -> u32 {
    // SAFETY: generated code passes its own live vmctx and an index of its module.
    unsafe { bulk::global_written(vmctx, global) };
    0
}

unsafe extern "C" fn note_target(vmctx: *mut VmCtx, site: *const CallSite, target: u64) -> u32 {
    // SAFETY: generated code passes its own live vmctx, whose instance keeps the module, and a site of that.
    unsafe { (*site).note(target, VmCtx::functions(vmctx)) };
    0
}

/// What generated code branches on; it knows the code of the one trap each helper can raise.
fn failed(result: Result<(), TrapCode>) -> u32 {
    u32::from(result.is_err())
}
