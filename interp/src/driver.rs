//! Calls, from the side of whoever owns the slots: Rust → host function, interpreter or native code.
//!
//! A guest call is run by a *driver*: a Rust activation, of this file or of the interpreter, that owns the callee's
//! slots. Arguments and results travel in slots at `fp`: arguments go in, results are left in their place. The way back,
//! from native code into Rust, is [`bridge`](crate::bridge).
//!
//! Panics of host functions stop here, become traps under way, cross guest frames like any trap, and go on where a Rust
//! caller is reached: nothing unwinds through generated code or handlers.

use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;

use tierup::abi::{self, Regs, ThreadCells, enter};

use crate::backtrace;
use crate::error::Error;
use crate::exec;
use crate::interrupt;
use crate::store::StoreInner;
use crate::trap::{HostPayload, Raised, TrapCode};
use crate::types::FuncType;
use crate::vmctx::{FuncRef, KIND_HOST};

/// Arguments on the machine stack that need no allocation.
const STACK_ARGS: usize = 16;

/// Machine stack that stays free beneath guests, for host functions.
const HOST_STACK: usize = 128 << 10;

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

/// Calls a function from Rust: the embedder's outermost call, or one made by a host function.
///
/// # Errors
///
/// [`Error::Trap`], [`Error::Exit`], [`Error::Host`], or the validation error of a body met for the first time.
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
    // SAFETY: by the caller; `Entered` leaves when this function does.
    let entered = unsafe { Entered::new(store) };
    // SAFETY: by the caller, the store is alive.
    let (fp, end) = unsafe { ((*store).stack_top, (*store).stack_end) };
    // SAFETY: as above; its cells are its thread's, and `entered` has set the limit.
    let room = unsafe { check_machine_stack((*store).cells) };
    // SAFETY: as above; no native frame was left without a record.
    let asked = unsafe { if interrupt::awaits_answer((*store).cells) { interrupt::answer(store) } else { Ok(()) } };
    let result = if let Err(code) = asked {
        Err(code.into())
    } else if room.is_err() || fp.wrapping_add(slots.len()) > end {
        Err(TrapCode::StackOverflow.into())
    } else {
        // SAFETY: just checked to fit, and free: every driver moves `stack_top` past the slots it owns.
        unsafe { fp.copy_from_nonoverlapping(slots.as_ptr(), slots.len()) };
        // SAFETY: the arguments are there.
        unsafe { dispatch(store, func, fp) }
    };
    match result {
        Ok(()) => {
            // SAFETY: the results are where the arguments were.
            unsafe { fp.copy_to_nonoverlapping(slots.as_mut_ptr(), slots.len()) };
            Ok(())
        }
        Err(raised) => {
            drop(entered);
            // SAFETY: by the caller.
            Err(unsafe { backtrace::to_error(store, raised) })
        }
    }
}

/// A call from Rust under way. The outermost one fixes how much machine stack guests may use; when it ends, the thread
/// is inside no guest code and tells the broker so, which then does not wait for it.
struct Entered(*mut StoreInner);

impl Entered {
    /// # Safety
    ///
    /// The calling thread holds `store` mutably, for longer than this value.
    unsafe fn new(store: *mut StoreInner) -> Self {
        // SAFETY: by the caller.
        unsafe {
            if (*store).depth == 0 {
                (*store).thread.wake();
                let budget = (*store).engine.config().max_native_stack;
                (*(*store).cells).limit_stack(abi::stack_limit(budget, HOST_STACK));
            }
            (*store).depth += 1;
        }
        Self(store)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // SAFETY: `new`'s caller keeps the store.
        unsafe {
            (*self.0).depth -= 1;
            if (*self.0).depth == 0 {
                (*self.0).held.clear();
                (*self.0).thread.rest();
            }
        }
    }
}

/// Calls whatever `func` is, in the tier it is in.
///
/// # Errors
///
/// What was raised.
///
/// # Safety
///
/// - `func` belongs to `store`, which the calling thread runs;
/// - `fp` points into the store's value stack, with room for the function's slots and nothing in use beyond, and holds
///   its arguments.
pub(crate) unsafe fn dispatch(store: *mut StoreInner, func: *const FuncRef, fp: *mut u64) -> Result<(), Raised> {
    // SAFETY: by the caller.
    let callee = unsafe { &*func };
    if callee.kind == KIND_HOST {
        // SAFETY: by the caller; the kind was just checked.
        return unsafe { call_host(store, func, fp) };
    }
    // SAFETY: any other kind is a WebAssembly function of a live instance.
    let function = unsafe { callee.wasm() };
    // SAFETY: by the caller. Only `wake` and `rest` borrow the handle mutably, when no call is under way.
    let thread = unsafe { &(*store).thread };
    match thread.on_invoke(function.bead.as_ref()) {
        // SAFETY: the code was lent by this thread for this call, which ends before the thread rests.
        Some(code) => unsafe { call_native(store, func, code.address(), fp) },
        // SAFETY: by the caller.
        None => unsafe { exec::run(store, callee.vmctx, function, fp) },
    }
}

/// Calls native code.
///
/// # Errors
///
/// The trap it ended in, with the native frames it went through and what was raised beneath them.
///
/// # Safety
///
/// As [`dispatch`]; `code` is `func`'s body, lent by the store's thread and not given back before the call ends.
pub(crate) unsafe fn call_native(
    store: *mut StoreInner,
    func: *const FuncRef,
    code: NonNull<u8>,
    fp: *mut u64,
) -> Result<(), Raised> {
    // SAFETY: by the caller.
    let (ty, vmctx, callee) = unsafe { (func_type(func), (*func).vmctx, (*func).callee) };
    // SAFETY: by the caller, the store is alive; its cells are its thread's.
    let cells = unsafe { (*store).cells };
    // SAFETY: as above.
    unsafe { check_machine_stack(cells) }?;

    let plan = ty.plan();
    let mut few = [0; STACK_ARGS];
    let mut many = Vec::new();
    let stack: &mut [u64] = if plan.stack_slots() <= STACK_ARGS {
        &mut few
    } else {
        many.resize(plan.stack_slots(), 0);
        &mut many
    };
    let mut regs = Regs::default();
    // SAFETY: by the caller, there are as many slots as parameters.
    let args = unsafe { std::slice::from_raw_parts(fp, ty.params().len()) };
    plan.write(&mut regs, stack, args);
    (regs.gpr[0], regs.gpr[1]) = (vmctx as u64, callee);

    // SAFETY: by the caller.
    let top = unsafe { std::mem::replace(&mut (*store).stack_top, fp.add(ty.slots())) };
    // SAFETY: by the caller, `code` is a body of the function's signature, and the registers hold its arguments.
    let result = unsafe { enter(cells, code.as_ptr(), &raw mut regs) };
    // SAFETY: by the caller.
    unsafe { (*store).stack_top = top };
    match result {
        Ok(()) => {
            // SAFETY: by the caller, there is room for the results; native code has just left them.
            unsafe { keep_results(cells, &regs, ty, fp) };
            Ok(())
        }
        // SAFETY: by the caller.
        Err(code) => Err(unsafe { backtrace::raised_by_native(store, code) }),
    }
}

/// Copies what native code returned into slots.
///
/// # Safety
///
/// `cells` are the running thread's, native code of type `ty` has just returned into `regs`, and `fp` has room.
unsafe fn keep_results(cells: *mut ThreadCells, regs: &Regs, ty: &FuncType, fp: *mut u64) {
    match ty.results() {
        [] => {}
        // SAFETY: by the caller.
        [_] => unsafe { *fp = ty.plan().read_result(regs) },
        many => {
            for (i, &ty) in many.iter().enumerate() {
                // SAFETY: by the caller; two or more results are in the wide buffer, which has room for any function's.
                unsafe { *fp.add(i) = ty.canonical(*(*cells).wide.add(i)) };
            }
        }
    }
}

/// Calls a host function with the arguments at `fp`, from whichever tier.
///
/// # Errors
///
/// What the function raised: its error, its exit, or its panic to be resumed where a Rust caller is reached.
///
/// # Safety
///
/// As [`dispatch`], and `func` is a host function.
pub(crate) unsafe fn call_host(store: *mut StoreInner, func: *const FuncRef, fp: *mut u64) -> Result<(), Raised> {
    // SAFETY: by the caller.
    let (host, vmctx, cells) = unsafe { ((*func).host(), (*func).vmctx, (*store).cells) };
    // SAFETY: the cells are the store's thread's.
    unsafe { check_machine_stack(cells) }?;
    // SAFETY: by the caller; guests the function calls start above its slots.
    let top = unsafe { std::mem::replace(&mut (*store).stack_top, fp.add(host.ty.slots())) };
    // SAFETY: by the caller. What a panic leaves half done in the guest is what a trap there would leave.
    let result = panic::catch_unwind(AssertUnwindSafe(|| unsafe { host.call(vmctx, fp) }));
    // SAFETY: by the caller.
    unsafe { (*store).stack_top = top };
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Raised::host(HostPayload::Error(error))),
        Err(panic) => Err(Raised::host(HostPayload::Panic(panic))),
    }
}

/// Refuses to go deeper when guests have used up their part of the machine stack.
///
/// # Errors
///
/// [`TrapCode::StackOverflow`].
///
/// # Safety
///
/// `cells` are the running thread's.
pub(crate) unsafe fn check_machine_stack(cells: *const ThreadCells) -> Result<(), TrapCode> {
    // SAFETY: by the caller.
    if stack_pointer() < unsafe { (*cells).stack_floor() } { Err(TrapCode::StackOverflow) } else { Ok(()) }
}

/// About where the machine stack ends now.
#[inline(always)]
fn stack_pointer() -> usize {
    let here = 0_u8;
    (&raw const here).addr()
}
