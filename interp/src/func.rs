//! What the embedder holds of a store: values, functions, memories, tables, globals, instances.
//!
//! A handle names a record of one store and keeps that store's token; using it with another store is an error, so the
//! address in it is only followed while the record is alive.

use std::fmt;

use crate::driver;
use crate::error::Error;
use crate::memory::MemoryInner;
use crate::store::{AsStore, StoreInner, StoreToken};
use crate::table::TableInner;
use crate::types::{ExternType, FuncType, GlobalType, MemoryType, TableType, ValType};
use crate::unwritten;
use crate::vmctx::{FuncRef, GlobalDef};

pub use crate::instance::Instance;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Val {
    /// An `i32`.
    I32(i32),
    /// An `i64`.
    I64(i64),
    /// An `f32`, as bits.
    F32(u32),
    /// An `f64`, as bits.
    F64(u64),
    /// A function or null.
    FuncRef(Option<Func>),
    /// A number of the host's choice or null.
    ExternRef(Option<u32>),
}

impl Val {
    /// Its type.
    pub fn ty(&self) -> ValType {
        match self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
            Self::FuncRef(_) => ValType::FuncRef,
            Self::ExternRef(_) => ValType::ExternRef,
        }
    }

    /// Zero, or null.
    pub fn zero(ty: ValType) -> Self {
        match ty {
            ValType::I32 => Self::I32(0),
            ValType::I64 => Self::I64(0),
            ValType::F32 => Self::F32(0),
            ValType::F64 => Self::F64(0),
            ValType::FuncRef => Self::FuncRef(None),
            ValType::ExternRef => Self::ExternRef(None),
        }
    }

    /// As a slot of type `ty`.
    ///
    /// # Errors
    ///
    /// [`Error::Type`]; [`Error::WrongStore`] for another store's function.
    pub(crate) fn to_slot(&self, ty: ValType, store: *mut StoreInner) -> Result<u64, Error> {
        if self.ty() != ty {
            return Err(Error::Type { expected: ty, got: self.ty() });
        }
        Ok(match self {
            Self::I32(v) => u64::from(*v as u32),
            Self::I64(v) => *v as u64,
            Self::F32(bits) => u64::from(*bits),
            Self::F64(bits) => *bits,
            Self::FuncRef(None) | Self::ExternRef(None) => 0,
            Self::FuncRef(Some(func)) => {
                func.token.check(store)?;
                func.func as u64
            }
            Self::ExternRef(Some(number)) => u64::from(*number) + 1,
        })
    }

    /// From a slot of type `ty`.
    ///
    /// # Safety
    ///
    /// The slot holds a value of that type of this store, which is alive.
    pub(crate) unsafe fn from_slot(ty: ValType, slot: u64, store: *mut StoreInner) -> Self {
        match ty {
            ValType::I32 => Self::I32(slot as u32 as i32),
            ValType::I64 => Self::I64(slot as i64),
            ValType::F32 => Self::F32(slot as u32),
            ValType::F64 => Self::F64(slot),
            ValType::FuncRef if slot == 0 => Self::FuncRef(None),
            ValType::FuncRef => {
                // SAFETY: by the caller, the store is alive.
                let token = unsafe { (*store).token.clone() };
                Self::FuncRef(Some(Func { token, func: slot as *const FuncRef }))
            }
            ValType::ExternRef => Self::ExternRef(slot.checked_sub(1).map(|number| number as u32)),
        }
    }
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $field:ident: $target:ty) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name {
            pub(crate) token: StoreToken,
            pub(crate) $field: $target,
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:p})"), self.$field)
            }
        }

        // SAFETY: the address is followed only by a thread that has the store whose token this is.
        unsafe impl Send for $name {}
        // SAFETY: as above; the handle itself never changes.
        unsafe impl Sync for $name {}
    };
}

handle! {
    /// A function of a store, the guest's or the host's.
    Func, func: *const FuncRef
}
handle! {
    /// A memory of a store.
    Memory, memory: *mut MemoryInner
}
handle! {
    /// A table of a store.
    Table, table: *mut TableInner
}
handle! {
    /// A global of a store.
    Global, global: *const GlobalInner
}

/// A global's record and type.
pub(crate) struct GlobalInner {
    pub(crate) ty: GlobalType,
    /// Its cell is in a vmctx, or one of the store's.
    pub(crate) def: GlobalDef,
}

// SAFETY: the cell belongs to the same store, which is sent as a whole; the watch is a module's, which any thread may use.
unsafe impl Send for GlobalInner {}

/// Anything that can be imported and exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extern {
    /// A function.
    Func(Func),
    /// A memory.
    Memory(Memory),
    /// A table.
    Table(Table),
    /// A global.
    Global(Global),
}

impl Extern {
    /// Its type.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn ty(&self, store: &impl AsStore) -> Result<ExternType, Error> {
        Ok(match self {
            Self::Func(func) => ExternType::Func(func.ty(store)?),
            Self::Memory(memory) => ExternType::Memory(memory.ty(store)?),
            Self::Table(table) => ExternType::Table(table.ty(store)?),
            Self::Global(global) => ExternType::Global(global.ty(store)?),
        })
    }
}

impl Func {
    /// Its type.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn ty(&self, store: &impl AsStore) -> Result<FuncType, Error> {
        self.token.check(store.store_ptr())?;
        // SAFETY: the token is the store's, so the record is alive.
        Ok(unsafe { driver::func_type(self.func) }.clone())
    }

    /// Calls it.
    ///
    /// # Errors
    ///
    /// [`Error::Arguments`] or [`Error::Type`] for arguments that do not fit; [`Error::Trap`], [`Error::Exit`] or
    /// [`Error::Host`] as the guest ends; [`Error::Invalid`] and its kin if a body that had not been validated yet
    /// turns out wrong; [`Error::WrongStore`].
    ///
    /// # Panics
    ///
    /// A panic of a host function is resumed here.
    pub fn call(&self, store: &mut impl AsStore, args: &[Val]) -> Result<Vec<Val>, Error> {
        let store = store.store_ptr();
        self.token.check(store)?;
        // SAFETY: the token is the store's and `store` is borrowed mutably: it is alive and nobody else uses it.
        let ty = unsafe { driver::func_type(self.func) };
        if args.len() != ty.params().len() {
            return Err(Error::Arguments(format!("{} given, {} wanted", args.len(), ty.params().len())));
        }
        let mut slots = vec![0; ty.slots()];
        for ((slot, value), &ty) in slots.iter_mut().zip(args).zip(ty.params()) {
            *slot = value.to_slot(ty, store)?;
        }
        // SAFETY: as above; the slots hold arguments of the parameters' types.
        unsafe { driver::call(store, self.func, &mut slots) }?;
        // SAFETY: the call left results of these types.
        Ok(ty.results().iter().zip(slots).map(|(&ty, slot)| unsafe { Val::from_slot(ty, slot, store) }).collect())
    }
}

impl Memory {
    fn inner(&self, store: &impl AsStore) -> Result<*mut MemoryInner, Error> {
        self.token.check(store.store_ptr())?;
        Ok(self.memory)
    }

    /// Its type as declared.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn ty(&self, store: &impl AsStore) -> Result<MemoryType, Error> {
        let memory = self.inner(store)?;
        // SAFETY: the token is the store's, so the record is alive, and the store is borrowed.
        Ok(unsafe { (*memory).ty })
    }

    /// Its bytes.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn data<'a>(&self, store: &'a impl AsStore) -> Result<&'a [u8], Error> {
        let memory = self.inner(store)?;
        // SAFETY: as in `ty`; while the store is borrowed no guest runs and nothing grows.
        Ok(unsafe { std::slice::from_raw_parts((*memory).def.base, (*memory).def.len_bytes as usize) })
    }

    /// Its bytes.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn data_mut<'a>(&self, store: &'a mut impl AsStore) -> Result<&'a mut [u8], Error> {
        let memory = self.inner(store)?;
        // SAFETY: as in `data`; the store is borrowed mutably.
        Ok(unsafe { std::slice::from_raw_parts_mut((*memory).def.base, (*memory).def.len_bytes as usize) })
    }

    /// Its size in pages.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn pages(&self, store: &impl AsStore) -> Result<u64, Error> {
        let memory = self.inner(store)?;
        // SAFETY: as in `ty`.
        Ok(unsafe { (*memory).pages() })
    }

    /// Adds `delta` pages and returns the size before.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] when a limit or the system forbids it; [`Error::WrongStore`].
    pub fn grow(&self, store: &mut impl AsStore, delta: u64) -> Result<u64, Error> {
        let memory = self.inner(store)?;
        // SAFETY: as in `ty`; the store is borrowed mutably.
        unsafe { (*memory).grow(delta) }.ok_or(Error::Limit { what: "a memory" })
    }
}

impl Table {
    fn inner(&self, store: &impl AsStore) -> Result<*mut TableInner, Error> {
        self.token.check(store.store_ptr())?;
        Ok(self.table)
    }

    /// Its type as declared.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn ty(&self, store: &impl AsStore) -> Result<TableType, Error> {
        let table = self.inner(store)?;
        // SAFETY: the token is the store's, so the record is alive, and the store is borrowed.
        Ok(unsafe { (*table).ty })
    }

    /// How many elements it has.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn size(&self, store: &impl AsStore) -> Result<u64, Error> {
        let table = self.inner(store)?;
        // SAFETY: as in `ty`.
        Ok(unsafe { (*table).def.len })
    }

    /// Element `at`, or `None` beyond the end.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn get(&self, store: &impl AsStore, at: u64) -> Result<Option<Val>, Error> {
        let table = self.inner(store)?;
        // SAFETY: as in `ty`.
        let (def, ty) = unsafe { (&(*table).def, (*table).ty.element) };
        if at >= def.len {
            return Ok(None);
        }
        // SAFETY: just checked; elements are references of the table's type.
        Ok(Some(unsafe { Val::from_slot(ty, *def.base.add(at as usize), store.store_ptr()) }))
    }

    /// Writes element `at`.
    ///
    /// # Errors
    ///
    /// [`Error::Type`], [`Error::WrongStore`], or [`Error::Limit`] beyond the end.
    pub fn set(&self, store: &mut impl AsStore, at: u64, value: &Val) -> Result<(), Error> {
        let table = self.inner(store)?;
        // SAFETY: as in `ty`.
        let (base, len, ty) = unsafe { ((*table).def.base, (*table).def.len, (*table).ty.element) };
        let slot = value.to_slot(ty, store.store_ptr())?;
        if at >= len {
            return Err(Error::Limit { what: "a table index" });
        }
        // SAFETY: the store is borrowed mutably; it keeps its engine.
        unsafe { unwritten::tell(&raw mut (*table).def.watch, &(*store.store_ptr()).engine) };
        // SAFETY: just checked; the store is borrowed mutably.
        unsafe { *base.add(at as usize) = slot };
        Ok(())
    }
}

impl Global {
    fn inner(&self, store: &impl AsStore) -> Result<*const GlobalInner, Error> {
        self.token.check(store.store_ptr())?;
        Ok(self.global)
    }

    /// Its type.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn ty(&self, store: &impl AsStore) -> Result<GlobalType, Error> {
        let global = self.inner(store)?;
        // SAFETY: the token is the store's, so the record is alive.
        Ok(unsafe { (*global).ty })
    }

    /// Its value.
    ///
    /// # Errors
    ///
    /// [`Error::WrongStore`].
    pub fn get(&self, store: &impl AsStore) -> Result<Val, Error> {
        let global = self.inner(store)?;
        // SAFETY: as in `ty`; no guest runs while the store is borrowed.
        Ok(unsafe { Val::from_slot((*global).ty.content, *(*global).def.cell, store.store_ptr()) })
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// [`Error::ConstantGlobal`], [`Error::Type`], [`Error::WrongStore`].
    pub fn set(&self, store: &mut impl AsStore, value: &Val) -> Result<(), Error> {
        let global = self.inner(store)?;
        // SAFETY: as in `ty`.
        let ty = unsafe { (*global).ty };
        if !ty.mutable {
            return Err(Error::ConstantGlobal);
        }
        let slot = value.to_slot(ty.content, store.store_ptr())?;
        // The record does not change: each instance that names the global has a copy.
        // SAFETY: as in `ty`.
        let mut watch = unsafe { (*global).def.watch };
        // SAFETY: as in `get`; the store keeps its engine.
        unsafe { unwritten::tell(&raw mut watch, &(*store.store_ptr()).engine) };
        // SAFETY: as in `get`; the store is borrowed mutably.
        unsafe { *(*global).def.cell = slot };
        Ok(())
    }
}
