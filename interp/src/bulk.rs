//! Operations on whole ranges of memories and tables, one implementation for every tier.
//!
//! Interpreter handlers and the helpers native code calls are thin wrappers of these. Bounds are checked first and as
//! the specification says: nothing is written when a range does not fit.
//!
//! Every function here takes a vmctx and requires, beyond what it says itself:
//!
//! - the vmctx belongs to a live instance, and the calling thread is the one running its store;
//! - indices (of tables, memories, segments) are valid for the instance's module, which validation established.

use std::{ptr, slice};

use crate::memory::MemoryInner;
use crate::table::TableInner;
use crate::trap::TrapCode;
use crate::unwritten;
use crate::vmctx::{MemoryDef, TableDef, VmCtx};

/// What `memory.grow` and `table.grow` return when they cannot.
const CANNOT_GROW: u32 = u32::MAX;

/// Checks that `at..at + len` lies within `bound` and returns its start.
fn within(at: u32, len: u32, bound: u64, otherwise: TrapCode) -> Result<usize, TrapCode> {
    if u64::from(at) + u64::from(len) > bound { Err(otherwise) } else { Ok(at as usize) }
}

/// `memory.grow`: the old size in pages, or -1.
///
/// # Safety
///
/// `memory` is a live memory of the store the calling thread runs.
pub(crate) unsafe fn memory_grow(memory: *mut MemoryDef, delta: u32) -> u32 {
    // SAFETY: every record generated code sees is the head of a `MemoryInner`, and nothing else uses it now.
    let memory = unsafe { &mut *memory.cast::<MemoryInner>() };
    memory.grow(u64::from(delta)).map_or(CANNOT_GROW, |old| old as u32)
}

/// `memory.fill` of memory 0.
///
/// # Errors
///
/// [`TrapCode::MemoryOutOfBounds`].
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn memory_fill(vmctx: *mut VmCtx, dst: u32, byte: u32, len: u32) -> Result<(), TrapCode> {
    // SAFETY: the module has a memory, so the vmctx names one.
    let memory = unsafe { &*(*vmctx).memory };
    let dst = within(dst, len, memory.len_bytes, TrapCode::MemoryOutOfBounds)?;
    // SAFETY: the range was just checked against the accessible length.
    unsafe { ptr::write_bytes(memory.base.add(dst), byte as u8, len as usize) };
    Ok(())
}

/// `memory.copy` within memory 0.
///
/// # Errors
///
/// [`TrapCode::MemoryOutOfBounds`].
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn memory_copy(vmctx: *mut VmCtx, dst: u32, src: u32, len: u32) -> Result<(), TrapCode> {
    // SAFETY: the module has a memory, so the vmctx names one.
    let memory = unsafe { &*(*vmctx).memory };
    let src = within(src, len, memory.len_bytes, TrapCode::MemoryOutOfBounds)?;
    let dst = within(dst, len, memory.len_bytes, TrapCode::MemoryOutOfBounds)?;
    // SAFETY: both ranges were just checked; they may overlap.
    unsafe { ptr::copy(memory.base.add(src), memory.base.add(dst), len as usize) };
    Ok(())
}

/// `memory.init` of memory 0 from data segment `segment`.
///
/// # Errors
///
/// [`TrapCode::MemoryOutOfBounds`], for the segment too.
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn memory_init(vmctx: *mut VmCtx, segment: u32, dst: u32, src: u32, len: u32) -> Result<(), TrapCode> {
    // SAFETY: the module has a memory, so the vmctx names one.
    let memory = unsafe { &*(*vmctx).memory };
    // SAFETY: the vmctx names its live instance, which nothing borrows mutably now.
    let instance = unsafe { &*(*vmctx).instance };
    let data = instance.data_segment(segment);
    let src = within(src, len, data.len() as u64, TrapCode::MemoryOutOfBounds)?;
    let dst = within(dst, len, memory.len_bytes, TrapCode::MemoryOutOfBounds)?;
    // SAFETY: both ranges were just checked; the module's bytes are no guest memory.
    unsafe { ptr::copy_nonoverlapping(data.as_ptr().add(src), memory.base.add(dst), len as usize) };
    Ok(())
}

/// `data.drop`.
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn data_drop(vmctx: *mut VmCtx, segment: u32) {
    // SAFETY: the vmctx names its live instance, which nothing else uses now.
    unsafe { &mut *(*vmctx).instance }.drop_data(segment);
}

/// Table `index`'s record.
unsafe fn table<'a>(vmctx: *mut VmCtx, index: u32) -> &'a mut TableInner {
    // SAFETY: by the callers; every record generated code sees is the head of a `TableInner`.
    unsafe { &mut *(*(*vmctx).tables.add(index as usize)).cast::<TableInner>() }
}

/// A table's elements.
unsafe fn elements<'a>(table: &TableDef) -> &'a mut [u64] {
    if table.len == 0 {
        return &mut [];
    }
    // SAFETY: by the callers; base and length are set together, and nobody else has the elements now.
    unsafe { slice::from_raw_parts_mut(table.base, table.len as usize) }
}

/// To be called before table `index` is written to: whoever relies on its being as it was made is told.
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn table_written(vmctx: *mut VmCtx, index: u32) {
    // SAFETY: by the caller; the borrow of the engine is of a store that outlives this.
    unsafe {
        let watch = &raw mut (**(*vmctx).tables.add(index as usize)).watch;
        unwritten::tell(watch, &(*(*(*vmctx).instance).store).engine);
    }
}

/// To be called before global `index` is written to, as [`table_written`].
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn global_written(vmctx: *mut VmCtx, index: u32) {
    // SAFETY: as above.
    unsafe {
        let watch = &raw mut (*(*vmctx).globals.add(index as usize)).watch;
        unwritten::tell(watch, &(*(*(*vmctx).instance).store).engine);
    }
}

/// `table.get`.
///
/// # Errors
///
/// [`TrapCode::TableOutOfBounds`].
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn table_get(vmctx: *mut VmCtx, index: u32, at: u32) -> Result<u64, TrapCode> {
    // SAFETY: by the caller.
    let elements = unsafe { elements(&table(vmctx, index).def) };
    elements.get(at as usize).copied().ok_or(TrapCode::TableOutOfBounds)
}

/// `table.set`.
///
/// # Errors
///
/// [`TrapCode::TableOutOfBounds`].
///
/// # Safety
///
/// As the module says; `value` is a reference of the table's type.
pub(crate) unsafe fn table_set(vmctx: *mut VmCtx, index: u32, at: u32, value: u64) -> Result<(), TrapCode> {
    // SAFETY: by the caller.
    let elements = unsafe { elements(&table(vmctx, index).def) };
    let element = elements.get_mut(at as usize).ok_or(TrapCode::TableOutOfBounds)?;
    // SAFETY: by the caller; it leaves the elements alone.
    unsafe { table_written(vmctx, index) };
    *element = value;
    Ok(())
}

/// `table.size`.
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn table_size(vmctx: *mut VmCtx, index: u32) -> u32 {
    // SAFETY: by the caller.
    unsafe { table(vmctx, index) }.def.len as u32
}

/// `table.grow`: the old size, or -1.
///
/// # Safety
///
/// As the module says; `value` is a reference of the table's type.
pub(crate) unsafe fn table_grow(vmctx: *mut VmCtx, index: u32, value: u64, delta: u32) -> u32 {
    // SAFETY: by the caller.
    unsafe { table_written(vmctx, index) };
    // SAFETY: by the caller.
    let table = unsafe { table(vmctx, index) };
    table.grow(u64::from(delta), value).map_or(CANNOT_GROW, |old| old as u32)
}

/// `table.fill`.
///
/// # Errors
///
/// [`TrapCode::TableOutOfBounds`].
///
/// # Safety
///
/// As the module says; `value` is a reference of the table's type.
pub(crate) unsafe fn table_fill(vmctx: *mut VmCtx, index: u32, at: u32, value: u64, len: u32) -> Result<(), TrapCode> {
    // SAFETY: by the caller.
    let elements = unsafe { elements(&table(vmctx, index).def) };
    let at = within(at, len, elements.len() as u64, TrapCode::TableOutOfBounds)?;
    // SAFETY: by the caller; it leaves the elements alone.
    unsafe { table_written(vmctx, index) };
    elements[at..at + len as usize].fill(value);
    Ok(())
}

/// `table.copy` from table `from` to table `to`, which may be one.
///
/// # Errors
///
/// [`TrapCode::TableOutOfBounds`].
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn table_copy(vmctx: *mut VmCtx, to: u32, from: u32, dst: u32, src: u32, len: u32) -> Result<(), TrapCode> {
    // SAFETY: by the caller; each borrow ends with its statement.
    let (from_base, from_len) = unsafe { (table(vmctx, from).def.base, table(vmctx, from).def.len) };
    // SAFETY: as above.
    let (to_base, to_len) = unsafe { (table(vmctx, to).def.base, table(vmctx, to).def.len) };
    let src = within(src, len, from_len, TrapCode::TableOutOfBounds)?;
    let dst = within(dst, len, to_len, TrapCode::TableOutOfBounds)?;
    if len > 0 {
        // SAFETY: by the caller.
        unsafe { table_written(vmctx, to) };
        // SAFETY: both ranges were just checked and are not empty; they may overlap.
        unsafe { ptr::copy(from_base.add(src), to_base.add(dst), len as usize) };
    }
    Ok(())
}

/// `table.init` from element segment `segment`.
///
/// # Errors
///
/// [`TrapCode::TableOutOfBounds`], for the segment too.
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn table_init(
    vmctx: *mut VmCtx,
    index: u32,
    segment: u32,
    dst: u32,
    src: u32,
    len: u32,
) -> Result<(), TrapCode> {
    // SAFETY: by the caller.
    let elements = unsafe { elements(&table(vmctx, index).def) };
    // SAFETY: the vmctx names its live instance, which nothing borrows mutably now.
    let segment = unsafe { &*(*vmctx).instance }.element_segment(segment);
    let src = within(src, len, segment.len() as u64, TrapCode::TableOutOfBounds)?;
    let dst = within(dst, len, elements.len() as u64, TrapCode::TableOutOfBounds)?;
    // SAFETY: by the caller; it leaves the elements alone.
    unsafe { table_written(vmctx, index) };
    elements[dst..dst + len as usize].copy_from_slice(&segment[src..src + len as usize]);
    Ok(())
}

/// `elem.drop`.
///
/// # Safety
///
/// As the module says.
pub(crate) unsafe fn elem_drop(vmctx: *mut VmCtx, segment: u32) {
    // SAFETY: the vmctx names its live instance, which nothing else uses now.
    unsafe { &mut *(*vmctx).instance }.drop_elements(segment);
}
