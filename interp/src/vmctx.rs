//! What an instance looks like to interpreter handlers and generated code: the records behind the vmctx pointer.
//!
//! | record | size | offsets |
//! |---|---|---|
//! | [`VmCtx`] | 64 + 8 per defined global | `cells` 0, `memory_base` 8, `memory` 16, `instance` 24, `funcs` 32, `tables` 40, `globals` 48, `exit_countdown` 56, inline global cells from 64 |
//! | [`FuncRef`] | 40 | `code` 0, `vmctx` 8, `callee` 16, `ty` 24, `kind` 28, `func` 32 |
//! | [`MemoryDef`] | 16 | `base` 0, `len_bytes` 8 |
//! | [`TableDef`] | 24 | `base` 0, `len` 8, `watch` 16 |
//! | [`GlobalDef`] | 16 | `cell` 0, `watch` 8 |
//!
//! A guest value is a *slot*, a `u64`: `i32` and `f32` bits zero-extended, a function reference the address of its
//! [`FuncRef`] or 0, an external reference its number plus one or 0.
//!
//! An instance that defines memory 0 has its vmctx right before that memory, [`distance`] below its base: code then knows the base as soon as it
//! knows the vmctx. If it had to load it, what a callee stores would have no address until that is done, and the processor would have to guess
//! whether loads behind it may go ahead (`benches/record/cold-2026-11-23.md`). Guests do not get there: their addresses are unsigned.
//!
//! All of these belong to one store and are touched only by the thread that runs it. None moves while the store lives,
//! so their addresses may be kept in tables, globals and on stacks.

use std::mem::{offset_of, size_of};
use std::sync::atomic::AtomicPtr;

use tierup::ThreadCells;

use tierup::Face;

use crate::host::HostFunc;
use crate::instance::InstanceInner;
use crate::module::Function;
use crate::unwritten::Watch;

/// The word generated code loads to call a function: a bead's code word, or a host function's.
pub(crate) type CodeCell = AtomicPtr<Face>;

/// An instance as code sees it. Cells of its defined globals follow it in the same allocation.
#[repr(C)]
pub(crate) struct VmCtx {
    /// The running thread's cells.
    pub(crate) cells: *mut ThreadCells,
    /// Base of memory 0; null if there is none. Never changes: memories do not move.
    pub(crate) memory_base: *mut u8,
    /// Memory 0's record; null if there is none.
    pub(crate) memory: *mut MemoryDef,
    /// The instance itself.
    pub(crate) instance: *mut InstanceInner,
    /// Every function of the module's index space, imports first.
    pub(crate) funcs: *mut FuncRef,
    /// Every table's record, imports first.
    pub(crate) tables: *mut *mut TableDef,
    /// Every global, imports first.
    pub(crate) globals: *mut GlobalDef,
    /// Resume points that code passes before it leaves, in [`Deopt`](crate::Deopt)'s modes; the store's.
    pub(crate) exit_countdown: *mut i64,
}

impl VmCtx {
    /// How many function references [`VmCtx::funcs`] has.
    ///
    /// # Safety
    ///
    /// The instance is alive.
    pub(crate) unsafe fn functions(vmctx: *const Self) -> usize {
        // SAFETY: by the caller; the instance keeps its module.
        let instance = unsafe { &*(*vmctx).instance };
        instance.module.function_types.len()
    }
}

/// Offset of the first defined global's cell in a [`VmCtx`].
pub(crate) const GLOBAL_CELLS: usize = 64;

/// Bytes from the vmctx of an instance with so many globals of its own to memory 0, if it defines that, too. A multiple of a cache line.
pub(crate) fn distance(defined_globals: usize) -> usize {
    (GLOBAL_CELLS + 8 * defined_globals).next_multiple_of(64)
}

const _: () = {
    assert!(offset_of!(VmCtx, cells) == 0);
    assert!(offset_of!(VmCtx, memory_base) == 8);
    assert!(offset_of!(VmCtx, memory) == 16);
    assert!(offset_of!(VmCtx, instance) == 24);
    assert!(offset_of!(VmCtx, funcs) == 32);
    assert!(offset_of!(VmCtx, tables) == 40);
    assert!(offset_of!(VmCtx, globals) == 48);
    assert!(offset_of!(VmCtx, exit_countdown) == 56);
    assert!(size_of::<VmCtx>() == GLOBAL_CELLS);
};

/// [`FuncRef::kind`] of a WebAssembly function.
pub(crate) const KIND_WASM: u32 = 0;
/// [`FuncRef::kind`] of a host function.
pub(crate) const KIND_HOST: u32 = 1;

/// A function as a value: code *and* instance.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FuncRef {
    /// Where its code word is.
    pub(crate) code: *const CodeCell,
    /// The vmctx it runs with. A host function's is that of the instance that imported it.
    pub(crate) vmctx: *mut VmCtx,
    /// Its token: the index in that vmctx's `funcs`.
    pub(crate) callee: u64,
    /// Engine-wide number of its type: equal numbers, equal types.
    pub(crate) ty: u32,
    /// [`KIND_WASM`] or [`KIND_HOST`].
    pub(crate) kind: u32,
    /// A [`Function`], or a [`HostFunc`] if `kind` says so.
    pub(crate) func: *const Function,
}

const _: () = {
    assert!(offset_of!(FuncRef, code) == 0);
    assert!(offset_of!(FuncRef, vmctx) == 8);
    assert!(offset_of!(FuncRef, callee) == 16);
    assert!(offset_of!(FuncRef, ty) == 24);
    assert!(offset_of!(FuncRef, kind) == 28);
    assert!(offset_of!(FuncRef, func) == 32);
    assert!(size_of::<FuncRef>() == 40);
};

impl FuncRef {
    /// The host function behind it.
    ///
    /// # Safety
    ///
    /// `kind` is [`KIND_HOST`] and the instance that imported the function is alive.
    pub(crate) unsafe fn host<'a>(&self) -> &'a HostFunc {
        debug_assert_eq!(self.kind, KIND_HOST);
        // SAFETY: by the caller; instantiation stored a `HostFunc` here, which the instance keeps.
        unsafe { &*self.func.cast::<HostFunc>() }
    }

    /// The WebAssembly function behind it.
    ///
    /// # Safety
    ///
    /// `kind` is [`KIND_WASM`] and the instance is alive.
    pub(crate) unsafe fn wasm<'a>(&self) -> &'a Function {
        debug_assert_eq!(self.kind, KIND_WASM);
        // SAFETY: by the caller; the instance keeps its module, which owns the function.
        unsafe { &*self.func }
    }
}

/// A memory as code sees it.
#[repr(C)]
pub(crate) struct MemoryDef {
    /// First byte; never moves.
    pub(crate) base: *mut u8,
    /// Bytes that may be accessed.
    pub(crate) len_bytes: u64,
}

const _: () = {
    assert!(offset_of!(MemoryDef, base) == 0);
    assert!(offset_of!(MemoryDef, len_bytes) == 8);
};

/// A table as code sees it.
#[repr(C)]
pub(crate) struct TableDef {
    /// First element; moves when the table grows.
    pub(crate) base: *mut u64,
    /// Elements.
    pub(crate) len: u64,
    /// Who is to be told before a write.
    pub(crate) watch: Watch,
}

const _: () = {
    assert!(offset_of!(TableDef, base) == 0);
    assert!(offset_of!(TableDef, len) == 8);
    assert!(offset_of!(TableDef, watch) == 16);
};

/// A global as code of one instance sees it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct GlobalDef {
    /// Where its value is.
    pub(crate) cell: *mut u64,
    /// Who is to be told before a write.
    pub(crate) watch: Watch,
}

const _: () = {
    assert!(offset_of!(GlobalDef, cell) == 0);
    assert!(offset_of!(GlobalDef, watch) == 8);
    assert!(size_of::<GlobalDef>() == 16);
};
