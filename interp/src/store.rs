//! A store: one logical guest thread with everything its guests may touch.
//!
//! It owns the broker's thread handle, the value stack, and every instance, memory, table and global made in it. All
//! of that lives, at fixed addresses, until the store is dropped; whoever holds the store mutably runs its guests. It
//! may be sent to another thread between calls.

use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use tierup::ThreadCells;

use crate::bridge;
use crate::deopt::Countdown;
use crate::engine::Engine;
use crate::error::Error;
use crate::exec;
use crate::func::{Global, GlobalInner, Memory, Table, Val};
use crate::host::Caller;
use crate::instance::InstanceInner;
use crate::interrupt::{self, InterruptHandle};
use crate::memory::MemoryInner;
use crate::module::{Body, FuncHandle};
use crate::osr::{self, Draws};
use crate::owned::Owned;
use crate::stack::ValueStack;
use crate::table::TableInner;
use crate::trap::{Raised, RaisedFrame};
use crate::types::{GlobalType, MemoryType, TableType};
use crate::unwritten::Watch;
use crate::vmctx::GlobalDef;
use tierup::InterpThread;

/// A logical guest thread and the embedder's data that goes with it.
pub struct Store<T> {
    inner: Owned<StoreInner>,
    /// The box `StoreInner::data` points at.
    data: PhantomData<T>,
}

// SAFETY: everything a store points at belongs to it (see the module comment) and is sent along; the data is `Send`,
// the broker's thread handle is too, and host functions and modules are shared as `Send + Sync`.
unsafe impl<T: Send> Send for Store<T> {}

/// What identifies a store: handles keep a token, and no two live tokens are alike.
#[derive(Clone)]
pub(crate) struct StoreToken(Arc<()>);

impl StoreToken {
    /// Checks that this is the token of `store`, which the caller holds.
    pub(crate) fn check(&self, store: *mut StoreInner) -> Result<(), Error> {
        // SAFETY: the caller holds the store, so it is alive; its token never changes.
        if unsafe { &(*store).token } == self { Ok(()) } else { Err(Error::WrongStore) }
    }
}

impl PartialEq for StoreToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for StoreToken {}

/// A store without its data's type.
pub(crate) struct StoreInner {
    pub(crate) engine: Engine,
    pub(crate) token: StoreToken,
    pub(crate) thread: InterpThread<FuncHandle>,
    /// The thread's cells.
    pub(crate) cells: *mut ThreadCells,
    /// First free slot of the value stack while native code or a host function runs: what a guest function called
    /// from there may use. Interpreter frames keep their own top.
    pub(crate) stack_top: *mut u64,
    /// One past the last slot.
    pub(crate) stack_end: *mut u64,
    /// The innermost run of the interpreter, if there is one.
    pub(crate) run: *const exec::Cx,
    /// The bodies, but for first ones, that the interpreter had frames of when it last told what is on the stack.
    pub(crate) held: Vec<Arc<Body>>,
    /// Calls from outside under way; at rest at 0.
    pub(crate) depth: u32,
    /// How often a frame went on in an OSR variant.
    pub(crate) osr_entries: u64,
    /// Whether it does so, when that is up to chance.
    pub(crate) draws: Draws,
    /// How often compiled code was left through an exit.
    pub(crate) deopts: u64,
    /// When it is, on request.
    pub(crate) exit_countdown: Countdown,
    /// Stops its guests.
    pub(crate) interrupt: InterruptHandle,
    /// A trap under way while native frames are being left.
    pub(crate) raised: Option<Raised>,
    /// Native frames the trap hook found, innermost first.
    pub(crate) native_frames: Vec<RaisedFrame>,
    /// The embedder's data, a leaked box.
    pub(crate) data: *mut (),
    pub(crate) instances: Vec<Owned<InstanceInner>>,
    pub(crate) memories: Vec<Owned<MemoryInner>>,
    pub(crate) tables: Vec<Owned<TableInner>>,
    pub(crate) globals: Vec<Owned<GlobalInner>>,
    /// Cells of globals no instance defines.
    cells_of_globals: Vec<Owned<u64>>,
    _stack: ValueStack,
}

impl<T: 'static> Store<T> {
    /// A store without instances.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] when the broker takes no more threads; [`Error::Memory`].
    pub fn new(engine: &Engine, data: T) -> Result<Self, Error> {
        let config = engine.config();
        let stack = ValueStack::new(config.value_stack)?;
        let mut thread = engine.register_thread()?;
        // SAFETY: whoever calls guests wakes it before (`driver::call`).
        unsafe { thread.rest() };
        let cells = thread.cells();
        let inner = Owned::new(StoreInner {
            engine: engine.clone(),
            token: StoreToken(Arc::new(())),
            thread,
            cells,
            stack_top: stack.base(),
            stack_end: stack.end(),
            run: ptr::null(),
            held: Vec::new(),
            depth: 0,
            osr_entries: 0,
            draws: Draws::new(engine),
            deopts: 0,
            exit_countdown: Countdown::new(engine),
            interrupt: InterruptHandle::new(cells),
            raised: None,
            native_frames: Vec::new(),
            data: Box::into_raw(Box::new(data)).cast(),
            instances: Vec::new(),
            memories: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
            cells_of_globals: Vec::new(),
            _stack: stack,
        });
        // SAFETY: the thread handle was just made and nothing runs on it; its cells live as long as it does.
        let cells = unsafe { &mut *cells };
        cells.host = inner.as_ptr().cast();
        cells.bridge = bridge::bridge;
        cells.on_trap = bridge::on_trap;
        cells.on_count = bridge::on_count;
        cells.on_poll = bridge::on_poll;
        cells.finish = osr::finish;
        Ok(Self { inner, data: PhantomData })
    }

    /// The embedder's data.
    pub fn data(&self) -> &T {
        // SAFETY: `new` leaked a box of `T` there; `&self` keeps guests from running meanwhile.
        unsafe { &*(*self.inner.as_ptr()).data.cast::<T>() }
    }

    /// The embedder's data.
    pub fn data_mut(&mut self) -> &mut T {
        // SAFETY: as in `data`, and `&mut self` is unique.
        unsafe { &mut *(*self.inner.as_ptr()).data.cast::<T>() }
    }

    /// The engine it was made with.
    pub fn engine(&self) -> &Engine {
        // SAFETY: the record is alive and its engine never changes.
        unsafe { &(*self.inner.as_ptr()).engine }
    }

    fn inner(&mut self) -> &mut StoreInner {
        // SAFETY: `&mut self`: no guest runs and no other borrow of the record is handed out.
        unsafe { &mut *self.inner.as_ptr() }
    }

    /// A memory of the host's making, to be given to guests.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`], [`Error::Memory`].
    pub fn new_memory(&mut self, ty: MemoryType) -> Result<Memory, Error> {
        let inner = self.inner();
        let memory = inner.add_memory(ty, 0)?;
        Ok(Memory { token: inner.token.clone(), memory })
    }

    /// A table of the host's making, to be given to guests.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`].
    pub fn new_table(&mut self, ty: TableType) -> Result<Table, Error> {
        let inner = self.inner();
        let table = inner.add_table(ty)?;
        Ok(Table { token: inner.token.clone(), table })
    }

    /// A global of the host's making, to be given to guests.
    ///
    /// # Errors
    ///
    /// [`Error::Type`], [`Error::WrongStore`].
    pub fn new_global(&mut self, ty: GlobalType, value: &Val) -> Result<Global, Error> {
        let slot = value.to_slot(ty.content, self.inner.as_ptr())?;
        let inner = self.inner();
        let cell = Owned::new(slot);
        let global = inner.add_global(ty, cell.as_ptr(), ptr::null());
        inner.cells_of_globals.push(cell);
        Ok(Global { token: inner.token.clone(), global })
    }
}

impl StoreInner {
    /// A memory, and `before` zeroed bytes right before it.
    pub(crate) fn add_memory(&mut self, ty: MemoryType, before: usize) -> Result<*mut MemoryInner, Error> {
        let memory = Owned::new(MemoryInner::new(ty, self.engine.config().max_memory_pages, before)?);
        let address = memory.as_ptr();
        self.memories.push(memory);
        Ok(address)
    }

    pub(crate) fn add_table(&mut self, ty: TableType) -> Result<*mut TableInner, Error> {
        let table = Owned::new(TableInner::new(ty, self.engine.config().max_table_elements)?);
        let address = table.as_ptr();
        self.tables.push(table);
        Ok(address)
    }

    pub(crate) fn add_global(&mut self, ty: GlobalType, cell: *mut u64, watch: Watch) -> *const GlobalInner {
        let global = Owned::new(GlobalInner { ty, def: GlobalDef { cell, watch } });
        let address = global.as_ptr();
        self.globals.push(global);
        address
    }
}

impl<T> Drop for Store<T> {
    fn drop(&mut self) {
        let inner = self.inner.as_ptr();
        // SAFETY: the record is alive. Its thread goes with it.
        unsafe { (*inner).interrupt.close() };
        // SAFETY: `new` leaked a box of `T` there, nothing else frees it, and no guest runs any more.
        let data = unsafe { Box::from_raw((*inner).data.cast::<T>()) };
        // SAFETY: the record itself is dropped after this.
        unsafe { (*inner).data = ptr::null_mut() };
        drop(data);
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("data", self.data()).finish_non_exhaustive()
    }
}

#[allow(private_interfaces, reason = "sealed: nobody outside this crate can name or call it")]
pub(crate) mod sealed {
    use super::{Caller, Store, StoreInner};

    pub trait Sealed {
        fn store_ptr(&self) -> *mut StoreInner;
    }

    impl<T> Sealed for Store<T> {
        fn store_ptr(&self) -> *mut StoreInner {
            self.inner.as_ptr()
        }
    }

    impl<T> Sealed for Caller<'_, T> {
        fn store_ptr(&self) -> *mut StoreInner {
            self.store
        }
    }
}

/// A [`Store`], or the [`Caller`] that stands for one in a host function.
pub trait AsStore: sealed::Sealed {
    /// How often a running loop of the store's guests went on in native code that was made to be entered there.
    fn osr_entries(&self) -> u64 {
        // SAFETY: the record is alive, and only guests change it, who do not run while this borrows what runs them.
        unsafe { (*self.store_ptr()).osr_entries }
    }

    /// What stops the store's guests, from any thread.
    fn interrupt_handle(&self) -> InterruptHandle {
        // SAFETY: as in `osr_entries`; nothing changes the handle.
        unsafe { (*self.store_ptr()).interrupt.clone() }
    }

    /// Runs `wait`, a part of a host function that may take long: nobody waits for this thread meanwhile who wants to change what
    /// guests rely on, or to free code. `wait` cannot call guests, because this borrows what runs them.
    fn parked<R>(&self, wait: impl FnOnce() -> R) -> R
    where
        Self: Sized,
    {
        interrupt::parked(self, wait)
    }

    /// How often native code of the store's guests was left through an exit, for the interpreter to go on.
    fn deopts(&self) -> u64 {
        // SAFETY: as in `osr_entries`.
        unsafe { (*self.store_ptr()).deopts }
    }
}

impl<T> AsStore for Store<T> {}
impl<T> AsStore for Caller<'_, T> {}
