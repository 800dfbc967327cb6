//! An instance: a module's functions with the memories, tables and globals they use.
//!
//! Instantiation follows the specification's order: everything is allocated and initial values are computed, then
//! active element segments are written, then active data segments, then the start function runs. What was written
//! before a trap stays written, and the instance lives on in its store: its functions may be in a shared table.

use std::alloc::{self, Layout};
use std::ptr;
use std::sync::Arc;

use crate::backtrace;
use crate::bulk;
use crate::driver;
use crate::error::Error;
use crate::func::{Extern, Func, Global, GlobalInner, Memory, Table};
use crate::host::HostFunc;
use crate::memory::MemoryInner;
use crate::module::{ConstExpr, Export, ExportKind, Module, ModuleInner, SegmentMode};
use crate::owned::Owned;
use crate::store::{AsStore, StoreInner, StoreToken};
use crate::table::TableInner;
use crate::trap::Raised;
use crate::types::ExternType;
use crate::unwritten;
use crate::vmctx::{FuncRef, GLOBAL_CELLS, GlobalDef, KIND_HOST, KIND_WASM, MemoryDef, TableDef, VmCtx};

/// An instance of a store.
#[derive(Clone, PartialEq, Eq)]
pub struct Instance {
    token: StoreToken,
    instance: *mut InstanceInner,
}

// SAFETY: the address is followed only by a thread that has the store whose token this is.
unsafe impl Send for Instance {}
// SAFETY: as above; the handle itself never changes.
unsafe impl Sync for Instance {}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Instance({:p})", self.instance)
    }
}

impl Instance {
    fn inner<'a>(&self, store: &'a impl AsStore) -> Result<&'a InstanceInner, Error> {
        self.token.check(store.store_ptr())?;
        // SAFETY: the token is the store's, so the record is alive; while the store is borrowed nothing changes it.
        Ok(unsafe { &*self.instance })
    }

    /// What it exports as `name`.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn export(&self, store: &impl AsStore, name: &str) -> Result<Option<Extern>, Error> {
        Ok(self.inner(store)?.export(name))
    }

    /// Everything it exports, in order.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn exports(&self, store: &impl AsStore) -> Result<Vec<(String, Extern)>, Error> {
        let inner = self.inner(store)?;
        Ok(inner.module.exports.iter().map(|e| (e.name.to_string(), inner.extern_of(e))).collect())
    }

    /// The function it exports as `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NoExport`], [`Error::WrongStore`].
    pub fn func(&self, store: &impl AsStore, name: &str) -> Result<Func, Error> {
        match self.export(store, name)? {
            Some(Extern::Func(func)) => Ok(func),
            _ => Err(Error::NoExport { kind: "function", name: name.to_owned() }),
        }
    }

    /// The memory it exports as `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NoExport`], [`Error::WrongStore`].
    pub fn memory(&self, store: &impl AsStore, name: &str) -> Result<Memory, Error> {
        match self.export(store, name)? {
            Some(Extern::Memory(memory)) => Ok(memory),
            _ => Err(Error::NoExport { kind: "memory", name: name.to_owned() }),
        }
    }

    /// The table it exports as `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NoExport`], [`Error::WrongStore`].
    pub fn table(&self, store: &impl AsStore, name: &str) -> Result<Table, Error> {
        match self.export(store, name)? {
            Some(Extern::Table(table)) => Ok(table),
            _ => Err(Error::NoExport { kind: "table", name: name.to_owned() }),
        }
    }

    /// The global it exports as `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NoExport`], [`Error::WrongStore`].
    pub fn global(&self, store: &impl AsStore, name: &str) -> Result<Global, Error> {
        match self.export(store, name)? {
            Some(Extern::Global(global)) => Ok(global),
            _ => Err(Error::NoExport { kind: "global", name: name.to_owned() }),
        }
    }

    /// Its module.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn module(&self, store: &impl AsStore) -> Result<Module, Error> {
        Ok(Module(self.inner(store)?.module.clone()))
    }
}

/// An instance's contents. Owned by its store until the store is dropped, failed instantiations included.
pub(crate) struct InstanceInner {
    pub(crate) module: Arc<ModuleInner>,
    pub(crate) store: *mut StoreInner,
    /// The vmctx and its global cells: before memory 0 ([`ModuleInner::distance_to_memory`]), or an allocation of their own.
    pub(crate) vmctx: *mut VmCtx,
    funcs: Box<[FuncRef]>,
    tables: Box<[*mut TableDef]>,
    global_defs: Box<[GlobalDef]>,
    globals: Box<[*const GlobalInner]>,
    pub(crate) memories: Box<[*mut MemoryInner]>,
    /// Element segments as references; dropped ones are empty.
    elements: Box<[Box<[u64]>]>,
    dropped_data: Box<[bool]>,
    /// Keeps what `funcs` points at.
    _hosts: Vec<Arc<HostFunc>>,
}

/// What an import is satisfied with.
pub(crate) enum Import {
    Host(Arc<HostFunc>),
    Extern(Extern),
}

/// Makes an instance of `module` in `store`, with imports whose types have been checked, and runs its start function.
///
/// # Errors
///
/// [`Error::Limit`] and [`Error::Memory`] before anything was written; [`Error::Trap`], [`Error::Exit`] or
/// [`Error::Host`] from segments or the start function.
///
/// # Safety
///
/// - the calling thread holds `store` mutably, and `module` is of its engine;
/// - `imports` are of `store` and satisfy the module's imports one by one.
pub(crate) unsafe fn instantiate(
    store: *mut StoreInner,
    module: &Arc<ModuleInner>,
    imports: Vec<Import>,
) -> Result<Instance, Error> {
    // SAFETY: by the caller.
    let instance = unsafe { allocate(store, module, imports) }?;
    // SAFETY: by the caller, and the instance was just made.
    let written = unsafe { write_segments(instance) };
    // Also where that failed: functions may have escaped into others' tables.
    // SAFETY: as above.
    unsafe { watch_tables(instance) };
    if let Err(raised) = written {
        // SAFETY: the store is held by the caller.
        return Err(unsafe { backtrace::to_error(store, raised) });
    }
    if let Some(start) = module.start {
        // SAFETY: the index is valid for the instance's functions.
        let func = unsafe { (*(*instance).vmctx).funcs.add(start as usize) };
        // SAFETY: the function takes and returns nothing.
        unsafe { driver::call(store, func, &mut []) }?;
    }
    // SAFETY: the store is alive.
    let token = unsafe { (*store).token.clone() };
    Ok(Instance { token, instance })
}

/// Allocates the instance and everything it defines.
///
/// # Safety
///
/// As [`instantiate`].
unsafe fn allocate(store: *mut StoreInner, module: &Arc<ModuleInner>, imports: Vec<Import>) -> Result<*mut InstanceInner, Error> {
    let mut memories: Vec<*mut MemoryInner> = Vec::with_capacity(module.memories.len());
    let vmctx = match module.distance_to_memory() {
        Some(distance) => {
            // SAFETY: by the caller, the store is ours; no other borrow of it exists.
            let memory = unsafe { &mut *store }.add_memory(module.memories[0], distance)?;
            memories.push(memory);
            // SAFETY: the memory was just made, with so many bytes before it.
            unsafe { (*memory).def.base.sub(distance) }.cast::<VmCtx>()
        }
        None => allocate_vmctx(module),
    };
    let record = Owned::new(InstanceInner {
        module: module.clone(),
        store,
        vmctx,
        funcs: Box::default(),
        tables: Box::default(),
        global_defs: Box::default(),
        globals: Box::default(),
        memories: Box::default(),
        elements: Box::default(),
        dropped_data: Box::default(),
        _hosts: Vec::new(),
    });
    let instance = record.as_ptr();
    // From here on the store owns it: whatever fails, the vmctx is freed with it.
    // SAFETY: by the caller, the store is ours; no other borrow of it exists.
    let store = unsafe { &mut *store };
    store.instances.push(record);
    // SAFETY: just made; only this function knows it.
    let inner = unsafe { &mut *instance };

    let mut hosts = Vec::new();
    let mut funcs = Vec::with_capacity(module.function_types.len());
    let mut tables: Vec<*mut TableDef> = Vec::with_capacity(module.tables.len());
    let mut globals: Vec<*const GlobalInner> = Vec::with_capacity(module.globals.len());
    for import in imports {
        match import {
            Import::Host(host) => {
                funcs.push(FuncRef {
                    code: store.engine.host_code(),
                    vmctx,
                    callee: funcs.len() as u64,
                    ty: store.engine.intern(host.ty.clone()).0,
                    kind: KIND_HOST,
                    func: Arc::as_ptr(&host).cast(),
                });
                hosts.push(host);
            }
            // SAFETY: the handle is of this store, so its record is alive.
            Import::Extern(Extern::Func(func)) => funcs.push(unsafe { *func.func }),
            Import::Extern(Extern::Table(table)) => tables.push(table.table.cast()),
            Import::Extern(Extern::Memory(memory)) => memories.push(memory.memory),
            Import::Extern(Extern::Global(global)) => globals.push(global.global),
        }
    }
    for function in &module.functions {
        funcs.push(FuncRef {
            code: function.bead.code_cell(),
            vmctx,
            callee: u64::from(function.index),
            ty: function.canonical,
            kind: KIND_WASM,
            func: function,
        });
    }
    for &ty in &module.tables[module.imported_tables as usize..] {
        tables.push(store.add_table(ty)?.cast());
    }
    inner.funcs = funcs.into();
    let funcs = inner.funcs.as_mut_ptr();

    let evaluate = |expr: ConstExpr, globals: &[*const GlobalInner]| -> u64 {
        match expr {
            ConstExpr::Value(slot) => slot,
            // SAFETY: validation allows only imported globals here, and their records are alive.
            ConstExpr::Global(index) => unsafe { *(*globals[index as usize]).def.cell },
            ConstExpr::Func(index) => funcs.wrapping_add(index as usize) as u64,
        }
    };
    let defined = &module.globals[module.imported_globals as usize..];
    for (i, (&ty, &init)) in defined.iter().zip(&module.global_inits).enumerate() {
        // SAFETY: the layout has this many cells after the head.
        let cell = unsafe { vmctx.byte_add(GLOBAL_CELLS).cast::<u64>().add(i) };
        // SAFETY: as above; nothing else knows the cell yet.
        unsafe { *cell = evaluate(init, &globals) };
        let watch = unwritten::watch(module.unwritten.global(module.imported_globals + i as u32));
        globals.push(store.add_global(ty, cell, watch));
    }
    inner.elements = (module.elements.iter())
        .map(|segment| match segment.mode {
            SegmentMode::Declared => Box::default(),
            _ => segment.items.iter().map(|&item| evaluate(item, &globals)).collect(),
        })
        .collect();
    inner.dropped_data = vec![false; module.data.len()].into();
    inner.tables = tables.into();
    inner.memories = memories.into();
    // SAFETY: the records are alive, imported or just made.
    inner.global_defs = globals.iter().map(|&global| unsafe { (*global).def }).collect();
    inner.globals = globals.into();
    inner._hosts = hosts;

    let memory = inner.memories.first().copied().unwrap_or(ptr::null_mut()).cast::<MemoryDef>();
    let head = VmCtx {
        cells: store.cells,
        // SAFETY: a memory's record is alive as long as the store.
        memory_base: if memory.is_null() { ptr::null_mut() } else { unsafe { (*memory).base } },
        memory,
        instance,
        funcs,
        tables: inner.tables.as_mut_ptr(),
        globals: inner.global_defs.as_mut_ptr(),
        exit_countdown: store.exit_countdown.cell(),
    };
    // SAFETY: the allocation begins with room for the head; the cells after it are left alone.
    unsafe { vmctx.write(head) };
    Ok(instance)
}

/// Writes active segments and drops them.
///
/// # Safety
///
/// `instance` was just allocated by [`allocate`], and the calling thread holds its store.
unsafe fn write_segments(instance: *mut InstanceInner) -> Result<(), Raised> {
    // SAFETY: by the caller; the module is shared and never changes, and the clone keeps it from being borrowed.
    let (module, vmctx) = unsafe { ((*instance).module.clone(), (*instance).vmctx) };
    let evaluate = |expr: ConstExpr| -> u32 {
        match expr {
            ConstExpr::Value(slot) => slot as u32,
            // SAFETY: the vmctx lists every global.
            ConstExpr::Global(index) => unsafe { *(*(*vmctx).globals.add(index as usize)).cell as u32 },
            ConstExpr::Func(_) => unreachable!("validation wants a number"),
        }
    };
    for (segment, element) in (0..).zip(&module.elements) {
        if let SegmentMode::Active { index, offset } = element.mode {
            let len = element.items.len() as u32;
            // SAFETY: the instance is live and the indices are its module's.
            unsafe { bulk::table_init(vmctx, index, segment, evaluate(offset), 0, len) }?;
            // SAFETY: as above.
            unsafe { bulk::elem_drop(vmctx, segment) };
        }
    }
    for (segment, data) in (0..).zip(&module.data) {
        if let SegmentMode::Active { offset, .. } = data.mode {
            let len = data.bytes.len() as u32;
            // SAFETY: the instance is live, the segment its module's, and it has a memory 0.
            unsafe { bulk::memory_init(vmctx, segment, evaluate(offset), 0, len) }?;
            // SAFETY: as above.
            unsafe { bulk::data_drop(vmctx, segment) };
        }
    }
    Ok(())
}

/// The instance's own tables are what their segments made of them: who writes from now on says so.
///
/// # Safety
///
/// As [`write_segments`].
unsafe fn watch_tables(instance: *mut InstanceInner) {
    // SAFETY: by the caller, nothing else uses the instance.
    let instance = unsafe { &*instance };
    let module = &instance.module;
    for (index, &table) in (0..).zip(&instance.tables).skip(module.imported_tables as usize) {
        // SAFETY: the tables it defines are its store's, which the caller holds.
        unsafe { (*table).watch = unwritten::watch(module.unwritten.table(index)) };
    }
}

/// A zeroed vmctx that is not before a memory.
fn allocate_vmctx(module: &ModuleInner) -> *mut VmCtx {
    let layout = vmctx_layout(module);
    // SAFETY: the layout is not empty.
    let vmctx = unsafe { alloc::alloc_zeroed(layout) }.cast::<VmCtx>();
    if vmctx.is_null() {
        alloc::handle_alloc_error(layout);
    }
    vmctx
}

fn vmctx_layout(module: &ModuleInner) -> Layout {
    let defined_globals = module.globals.len() - module.imported_globals as usize;
    Layout::from_size_align(GLOBAL_CELLS + 8 * defined_globals, 16).expect("the number of globals is limited")
}

impl InstanceInner {
    /// The bytes of data segment `index`; none if it was dropped.
    pub(crate) fn data_segment(&self, index: u32) -> &[u8] {
        if self.dropped_data[index as usize] { &[] } else { self.module.data_bytes(index) }
    }

    pub(crate) fn drop_data(&mut self, index: u32) {
        self.dropped_data[index as usize] = true;
    }

    /// The references of element segment `index`; none if it was dropped.
    pub(crate) fn element_segment(&self, index: u32) -> &[u64] {
        &self.elements[index as usize]
    }

    pub(crate) fn drop_elements(&mut self, index: u32) {
        self.elements[index as usize] = Box::default();
    }

    /// What it exports as `name`.
    pub(crate) fn export(&self, name: &str) -> Option<Extern> {
        self.module.export(name).map(|export| self.extern_of(export))
    }

    fn extern_of(&self, export: &Export) -> Extern {
        // SAFETY: an instance lives no longer than its store.
        let token = unsafe { (*self.store).token.clone() };
        let index = export.index as usize;
        match export.kind {
            ExportKind::Func => Extern::Func(Func { token, func: &raw const self.funcs[index] }),
            ExportKind::Table => Extern::Table(Table { token, table: self.tables[index].cast::<TableInner>() }),
            ExportKind::Memory => Extern::Memory(Memory { token, memory: self.memories[index] }),
            ExportKind::Global => Extern::Global(Global { token, global: self.globals[index] }),
        }
    }
}

impl Drop for InstanceInner {
    fn drop(&mut self) {
        if self.module.distance_to_memory().is_none() {
            // SAFETY: `allocate_vmctx` made it with this layout, and the store drops its instances when no guest runs.
            unsafe { alloc::dealloc(self.vmctx.cast(), vmctx_layout(&self.module)) };
        }
    }
}

/// Whether something of type `have` (with its current size, where it has one) may be imported as `want`.
pub(crate) fn compatible(have: &ExternType, current: u64, want: &ExternType) -> bool {
    match (have, want) {
        (ExternType::Func(have), ExternType::Func(want)) => have == want,
        (ExternType::Global(have), ExternType::Global(want)) => have == want,
        (ExternType::Table(have), ExternType::Table(want)) => {
            have.element == want.element && have.limits.satisfies(current, &want.limits)
        }
        (ExternType::Memory(have), ExternType::Memory(want)) => have.limits.satisfies(current, &want.limits),
        _ => false,
    }
}
