//! Crossings between the host, the interpreter and native code.
//!
//! A guest call is run by a *driver*: a Rust activation of this file or of the interpreter that owns the callee's
//! slots. Arguments and results travel in slots at `fp`, arguments first, results in their place.

use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{self, AssertUnwindSafe};

use crate::error::Error;
use crate::host::HostFunc;
use crate::pending::{Regs, ThreadCells};
use crate::store::StoreInner;
use crate::trap::{Frame, HostPayload, Raised, Trap, TrapCode};
use crate::types::FuncType;
use crate::vmctx::{FuncRef, KIND_HOST};

/// The type of a function.
///
/// # Safety
///
/// `func` belongs to a live store.
pub(crate) unsafe fn func_type<'a>(func: *const FuncRef) -> &'a FuncType {
    // SAFETY: by the caller.
    let func = unsafe { &*func };
    if func.kind == KIND_HOST {
        // SAFETY: the kind was just checked.
        &unsafe { func.host() }.ty
    } else {
        // SAFETY: any other kind is a WebAssembly function.
        &unsafe { func.wasm() }.ty
    }
}

/// Calls a function from outside: the host's outermost call, or one made by a host function.
///
/// # Errors
///
/// [`Error::Trap`], [`Error::Exit`], [`Error::Host`], or a validation error of a body met for the first time.
///
/// # Panics
///
/// Resumes the panic of a host function.
///
/// # Safety
///
/// - the calling thread holds `store` mutably, and `func` is of that store;
/// - `slots` are as many as the function's type has, and begin with arguments of its parameters' types.
pub(crate) unsafe fn call(store: *mut StoreInner, func: *const FuncRef, slots: &mut [u64]) -> Result<(), Error> {
    let _ = (store, func, slots);
    todo!()
}

/// A raised trap as the embedder sees it.
///
/// # Panics
///
/// Resumes the panic of a host function.
///
/// # Safety
///
/// The calling thread holds `store`, in which the trap was raised.
pub(crate) unsafe fn to_error(store: *mut StoreInner, raised: Raised) -> Error {
    let code = raised.code();
    let mut backtrace = Vec::with_capacity(raised.frames().len());
    for frame in raised.frames() {
        // SAFETY: the function belongs to a module some instance of the store keeps.
        let index = unsafe { (*frame.function).index };
        // SAFETY: the caller holds the store.
        let instances = unsafe { &(*store).instances };
        let name = instances.iter().find_map(|instance| {
            // SAFETY: the store's instances are alive; nothing changes their module.
            let module = unsafe { &(*instance.as_ptr()).module };
            module.functions.as_ptr_range().contains(&frame.function).then(|| module.function_name(index))?
        });
        backtrace.push(Frame { function: index, name: name.map(str::to_owned), offset: u64::from(frame.offset) });
    }
    match raised.into_host() {
        Some(HostPayload::Error(error)) => error.into_error(),
        Some(HostPayload::Panic(payload)) => panic::resume_unwind(payload),
        None => Trap::new(code, backtrace).into(),
    }
}

/// Calls a host function with the arguments at `fp`, from whichever tier.
///
/// # Errors
///
/// What the function raised: its error, its exit, or its panic to be resumed at the outermost call.
///
/// # Safety
///
/// - `func` is a host function of `store`, which the calling thread runs;
/// - `fp` points into the store's value stack, with room for the function's slots, and holds its arguments.
pub(crate) unsafe fn call_host(store: *mut StoreInner, func: *const FuncRef, fp: *mut u64) -> Result<(), Raised> {
    // SAFETY: by the caller.
    let func = unsafe { &*func };
    // SAFETY: by the caller, it is a host function.
    let host: &HostFunc = unsafe { func.host() };
    let vmctx = func.vmctx;
    // SAFETY: by the caller.
    let saved = unsafe { (*store).stack_top };
    // SAFETY: by the caller; guests the function calls start above its slots.
    unsafe { (*store).stack_top = fp.add(host.ty.slots()) };
    // SAFETY: by the caller.
    let result = panic::catch_unwind(AssertUnwindSafe(|| unsafe { host.call(vmctx, fp) }));
    // SAFETY: by the caller.
    unsafe { (*store).stack_top = saved };
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Raised::host(HostPayload::Error(error))),
        Err(panic) => Err(Raised::host(HostPayload::Panic(panic))),
    }
}

pub(crate) unsafe extern "C" fn bridge(vmctx: *mut c_void, callee: u64, regs: *mut Regs) -> u32 {
    let _ = (vmctx, callee, regs, TrapCode::Host, Cell::new(0));
    todo!()
}

pub(crate) unsafe extern "C" fn on_trap(cells: *mut ThreadCells) {
    let _ = cells;
    todo!()
}
