//! What generated code asks the host to do: grow memories and tables, the bulk operators, say that something is written for the first
//! time, and what a profile has no room for in line.
//!
//! A helper is a plain `extern "C"` function that always returns an `i32`. One that can fail tells so by its result,
//! and the generated code raises the trap: nothing of the host's is on the stack when guest frames are left.

use tierup::HostSymbol;

use super::clif::{AbiParam, CallConv, Signature, Type, types};
use crate::bulk;
use crate::profile::CallSite;
use crate::trap::TrapCode;
use crate::vmctx::VmCtx;

macro_rules! helpers {
    ($($(#[$doc:meta])* $helper:ident = $name:literal, $function:ident($($param:ident),*);)*) => {
        /// A helper, as the lowering names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Helper {
            $($(#[$doc])* $helper,)*
        }

        /// All, as a backend is told of them, in their order.
        pub(super) static HELPERS: &[HostSymbol] = &[$(HostSymbol {
            name: $name,
            address: || $function as *const u8,
            signature: || signature(&[$(types::$param),*]),
        }),*];
    };
}

// After the vmctx.
helpers! {
    /// Pages to add → pages before, or -1.
    MemoryGrow = "wasm_memory_grow", memory_grow(I32);
    /// Target, byte, length → nonzero when out of bounds. So are the results of all bulk helpers.
    MemoryFill = "wasm_memory_fill", memory_fill(I32, I32, I32);
    /// Target, source, length.
    MemoryCopy = "wasm_memory_copy", memory_copy(I32, I32, I32);
    /// Segment, target, source, length.
    MemoryInit = "wasm_memory_init", memory_init(I32, I32, I32, I32);
    /// Segment → zero.
    DataDrop = "wasm_data_drop", data_drop(I32);
    /// Table, value of the new elements, elements to add → elements before, or -1.
    TableGrow = "wasm_table_grow", table_grow(I32, I64, I32);
    /// Table, target, value, length.
    TableFill = "wasm_table_fill", table_fill(I32, I32, I64, I32);
    /// Target table, source table, target, source, length.
    TableCopy = "wasm_table_copy", table_copy(I32, I32, I32, I32, I32);
    /// Segment, table, target, source, length.
    TableInit = "wasm_table_init", table_init(I32, I32, I32, I32, I32);
    /// Segment → zero.
    ElemDrop = "wasm_elem_drop", elem_drop(I32);
    /// Table that is about to be written to → zero.
    TableWritten = "wasm_table_written", table_written(I32);
    /// Global → zero.
    GlobalWritten = "wasm_global_written", global_written(I32);
    /// Address of a call site, bytes from the instance's first function reference to what it calls → zero.
    NoteTarget = "wasm_note_target", note_target(I64, I64);
}

impl Helper {
    /// The name it is registered under.
    pub(super) fn name(self) -> &'static str {
        HELPERS[self as usize].name
    }
}

/// A helper's signature: `vmctx`, parameters, an `i32` result.
fn signature(params: &[Type]) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.push(AbiParam::new(types::I64));
    signature.params.extend(params.iter().map(|&ty| AbiParam::new(ty)));
    signature.returns.push(AbiParam::new(types::I32));
    signature
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
