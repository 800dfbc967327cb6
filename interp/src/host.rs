//! Host functions: Rust closures the guest may call, and how they fail.

use std::fmt;
use std::marker::PhantomData;

use crate::error::Error;
use crate::func::{Extern, Val};
use crate::instance::InstanceInner;
use crate::interrupt;
use crate::store::StoreInner;
use crate::trap::Trap;
use crate::types::{FuncType, ValType};
use crate::vmctx::VmCtx;

/// Why a host function does not return to the guest.
#[derive(Debug)]
pub struct HostError(pub(crate) HostErrorKind);

#[derive(Debug)]
pub(crate) enum HostErrorKind {
    /// The guest asked to end.
    Exit(i32),
    /// A trap of a guest the host function called.
    Trap(Box<Trap>),
    /// Another failure of a call into the guest.
    Vm(Box<Error>),
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl HostError {
    /// The guest exits: the outermost call returns [`Error::Exit`].
    pub fn exit(code: i32) -> Self {
        Self(HostErrorKind::Exit(code))
    }

    /// The function fails with a message: the outermost call returns [`Error::Host`].
    pub fn trap(message: impl Into<String>) -> Self {
        Self(HostErrorKind::Other(message.into().into()))
    }

    /// The function fails with an error: the outermost call returns [`Error::Host`].
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(HostErrorKind::Other(error.into()))
    }

    pub(crate) fn into_error(self) -> Error {
        match self.0 {
            HostErrorKind::Exit(code) => Error::Exit(code),
            HostErrorKind::Trap(trap) => Error::Trap(trap),
            HostErrorKind::Vm(error) => *error,
            HostErrorKind::Other(error) => Error::Host(error),
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostErrorKind::Exit(code) => write!(f, "exit with code {code}"),
            HostErrorKind::Trap(trap) => trap.fmt(f),
            HostErrorKind::Vm(error) => error.fmt(f),
            HostErrorKind::Other(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HostError {}

/// A failed call into the guest, passed on: an exit stays an exit, a trap a trap.
impl From<Error> for HostError {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::Exit(code) => HostErrorKind::Exit(code),
            Error::Trap(trap) => HostErrorKind::Trap(trap),
            Error::Host(error) => HostErrorKind::Other(error),
            other => HostErrorKind::Vm(Box::new(other)),
        })
    }
}

/// Who called a host function, and what it may touch there.
pub struct Caller<'a, T> {
    pub(crate) store: *mut StoreInner,
    /// The instance that imported the function; null when the host called it itself.
    instance: *mut InstanceInner,
    data: PhantomData<&'a mut T>,
}

impl<T> Caller<'_, T> {
    /// The store's data.
    pub fn data(&self) -> &T {
        // SAFETY: `T` is the store's type: a linker of `T` makes only instances of stores of `T`. The caller holds the
        // store, and hands out its data only borrowed from itself.
        unsafe { &*(*self.store).data.cast::<T>() }
    }

    /// The store's data.
    pub fn data_mut(&mut self) -> &mut T {
        // SAFETY: as in `data`; `&mut self` makes the borrow unique.
        unsafe { &mut *(*self.store).data.cast::<T>() }
    }

    /// The importing instance's first memory, if it has one.
    pub fn memory(&mut self) -> Option<&mut [u8]> {
        self.memory_and_data().map(|(memory, _)| memory)
    }

    /// Runs `wait` on the importing instance's first memory, if it has one, and the store's data, as [`AsStore::parked`](crate::AsStore::parked)
    /// does: nobody waits for this thread meanwhile.
    pub fn parked_with_memory<R>(&mut self, wait: impl FnOnce(Option<&mut [u8]>, &mut T) -> R) -> R {
        let store = self.store;
        let (memory, data) = match self.memory_and_data() {
            Some((memory, data)) => (Some(memory), data),
            None => (None, self.data_mut()),
        };
        // SAFETY: the caller holds the store, and `wait` has bytes and data of it only.
        unsafe { interrupt::parked_in(store, || wait(memory, data)) }
    }

    /// [`Caller::memory`] together with [`Caller::data_mut`].
    pub fn memory_and_data(&mut self) -> Option<(&mut [u8], &mut T)> {
        if self.instance.is_null() {
            return None;
        }
        // SAFETY: the instance lives as long as its store, which the caller holds.
        let memory = unsafe { *(*self.instance).memories.first()? };
        // SAFETY: as above. The guest waits, and growing needs `&mut self`: nobody else touches the bytes meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts_mut((*memory).def.base, (*memory).def.len_bytes as usize) };
        // SAFETY: as in `data_mut`; the data is not in guest memory.
        let data = unsafe { &mut *(*self.store).data.cast::<T>() };
        Some((bytes, data))
    }

    /// What the importing instance exports as `name`.
    pub fn export(&self, name: &str) -> Option<Extern> {
        if self.instance.is_null() {
            return None;
        }
        // SAFETY: the instance lives as long as its store, which the caller holds; nothing changes its exports.
        unsafe { (*self.instance).export(name) }
    }
}

impl<T> fmt::Debug for Caller<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

/// The untyped form of every host function: reads its arguments from the slots at `fp`, leaves its results there.
type RawClosure = dyn Fn(*mut StoreInner, *mut InstanceInner, *mut u64) -> Result<(), HostError> + Send + Sync;

/// A host function: its type and a closure over slots.
pub(crate) struct HostFunc {
    pub(crate) ty: FuncType,
    call: Box<RawClosure>,
}

impl HostFunc {
    /// Calls it with the arguments at `fp`, where the results will be.
    ///
    /// # Safety
    ///
    /// - `vmctx` belongs to a live instance of the store the calling thread runs, and the store's data type is the one
    ///   the function was made for;
    /// - `fp` has room for the larger of parameters and results and holds arguments of the parameters' types.
    pub(crate) unsafe fn call(&self, vmctx: *mut VmCtx, fp: *mut u64) -> Result<(), HostError> {
        // SAFETY: by the caller, the vmctx is live and names its instance.
        let instance = unsafe { (*vmctx).instance };
        // SAFETY: as above; an instance names its store.
        let store = unsafe { (*instance).store };
        (self.call)(store, instance, fp)
    }

    /// From a closure over values.
    pub(crate) fn dynamic<T: 'static>(
        ty: FuncType,
        closure: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<(), HostError> + Send + Sync + 'static,
    ) -> Self {
        let signature = ty.clone();
        let call = move |store, instance, fp: *mut u64| {
            let caller = Caller { store, instance, data: PhantomData };
            let args: Vec<Val> = signature
                .params()
                .iter()
                .enumerate()
                // SAFETY: `HostFunc::call`'s caller promises as many slots.
                .map(|(i, &ty)| unsafe { Val::from_slot(ty, *fp.add(i), store) })
                .collect();
            let mut results: Vec<Val> = signature.results().iter().map(|&ty| Val::zero(ty)).collect();
            closure(caller, &args, &mut results)?;
            for (i, (value, &ty)) in results.iter().zip(signature.results()).enumerate() {
                let slot = value.to_slot(ty, store).map_err(HostError::from)?;
                // SAFETY: as above; the closure has a slice of the results' length and cannot shorten it.
                unsafe { *fp.add(i) = slot };
            }
            Ok(())
        };
        Self { ty, call: Box::new(call) }
    }
}

impl fmt::Debug for HostFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFunc").field("ty", &self.ty).finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is a WebAssembly number.
pub trait WasmNumber: Copy + sealed::Sealed + 'static {
    /// Its WebAssembly type.
    const TYPE: ValType;
    /// From a slot of that type.
    fn from_slot(slot: u64) -> Self;
    /// To a slot of that type.
    fn into_slot(self) -> u64;
}

macro_rules! number {
    ($($rust:ty, $wasm:ident, $slot:ident => $from:expr, $value:ident => $into:expr;)*) => {$(
        impl sealed::Sealed for $rust {}
        impl WasmNumber for $rust {
            const TYPE: ValType = ValType::$wasm;
            fn from_slot($slot: u64) -> Self { $from }
            fn into_slot(self) -> u64 { let $value = self; $into }
        }
    )*};
}

number! {
    i32, I32, s => s as u32 as i32, v => u64::from(v as u32);
    u32, I32, s => s as u32, v => u64::from(v);
    i64, I64, s => s as i64, v => v as u64;
    u64, I64, s => s, v => v;
    f32, F32, s => f32::from_bits(s as u32), v => u64::from(v.to_bits());
    f64, F64, s => f64::from_bits(s), v => v.to_bits();
}

/// What a typed host function may return: nothing, a number, or a [`Result`] of either.
pub trait WasmReturn: sealed::Sealed + 'static {
    #[doc(hidden)]
    const TYPE: Option<ValType>;
    #[doc(hidden)]
    fn into_result(self) -> Result<Option<u64>, HostError>;
}

impl sealed::Sealed for () {}
impl WasmReturn for () {
    const TYPE: Option<ValType> = None;
    fn into_result(self) -> Result<Option<u64>, HostError> {
        Ok(None)
    }
}

impl<N: WasmNumber> WasmReturn for N {
    const TYPE: Option<ValType> = Some(N::TYPE);
    fn into_result(self) -> Result<Option<u64>, HostError> {
        Ok(Some(self.into_slot()))
    }
}

impl<R> sealed::Sealed for Result<R, HostError> {}
impl<R: WasmReturn> WasmReturn for Result<R, HostError> {
    const TYPE: Option<ValType> = R::TYPE;
    fn into_result(self) -> Result<Option<u64>, HostError> {
        self?.into_result()
    }
}

/// A closure that can be a host function: `Fn(Caller<'_, T>, A...) -> R` with up to twelve [`WasmNumber`]s and a
/// [`WasmReturn`].
pub trait HostClosure<T, Args>: Send + Sync + 'static {
    #[doc(hidden)]
    fn signature() -> FuncType;
    #[doc(hidden)]
    fn call(&self, caller: Caller<'_, T>, args: &[u64]) -> Result<Option<u64>, HostError>;
}

/// A host function from a typed closure.
pub(crate) fn typed<T: 'static, Args, F: HostClosure<T, Args>>(closure: F) -> HostFunc {
    let ty = F::signature();
    let params = ty.params().len();
    let call = move |store, instance, fp: *mut u64| {
        let caller = Caller { store, instance, data: PhantomData };
        // SAFETY: `HostFunc::call`'s caller promises as many slots, and nobody writes them during the call: guests the
        // closure calls get slots above these.
        let args = unsafe { std::slice::from_raw_parts(fp.cast_const(), params) };
        if let Some(slot) = closure.call(caller, args)? {
            // SAFETY: a result was declared, so there is room for it; `args` is not used any more.
            unsafe { *fp = slot };
        }
        Ok(())
    };
    HostFunc { ty, call: Box::new(call) }
}

macro_rules! closure {
    ($($arg:ident),*) => {
        impl<T: 'static, F, R, $($arg),*> HostClosure<T, (R, $($arg,)*)> for F
        where
            F: Fn(Caller<'_, T>, $($arg),*) -> R + Send + Sync + 'static,
            R: WasmReturn,
            $($arg: WasmNumber,)*
        {
            fn signature() -> FuncType {
                FuncType::new([$($arg::TYPE),*], R::TYPE)
            }

            #[allow(non_snake_case, reason = "type parameters double as names")]
            fn call(&self, caller: Caller<'_, T>, args: &[u64]) -> Result<Option<u64>, HostError> {
                let [$($arg),*] = args else { unreachable!("as many arguments as the signature has") };
                self(caller, $($arg::from_slot(*$arg)),*).into_result()
            }
        }
    };
}

closure!();
closure!(A);
closure!(A, B);
closure!(A, B, C);
closure!(A, B, C, D);
closure!(A, B, C, D, E);
closure!(A, B, C, D, E, G);
closure!(A, B, C, D, E, G, H);
closure!(A, B, C, D, E, G, H, I);
closure!(A, B, C, D, E, G, H, I, J);
closure!(A, B, C, D, E, G, H, I, J, K);
closure!(A, B, C, D, E, G, H, I, J, K, L);
closure!(A, B, C, D, E, G, H, I, J, K, L, M);
