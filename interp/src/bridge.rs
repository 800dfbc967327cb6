//! The way from native code back into Rust: calls of functions that have no native body, traps, counting, polls.

use std::ffi::c_void;

use tierup::POLL_SAMPLE;
use tierup::abi::{NO_SITE, Regs, Segment, ThreadCells};

use crate::backtrace;
use crate::driver;
use crate::interrupt;
use crate::module::Function;
use crate::osr::{self, Asking};
use crate::store::StoreInner;
use crate::trap::{MAX_FRAMES, Raised, RaisedFrame, TrapCode};
use crate::types::FuncType;
use crate::vmctx::VmCtx;

/// Where a call from native code ends whose callee has no native body: a host function, or one not compiled (yet).
///
/// Counts the call, as any other driver does. Returns 0, or 1 after putting what was raised into the store.
///
/// # Safety
///
/// Called by the bridge stub only: `vmctx` and `callee` are those of a [`FuncRef`](crate::vmctx::FuncRef) native code
/// called on this thread, and `regs` holds arguments of its type.
pub(crate) unsafe extern "C" fn bridge(vmctx: *mut c_void, callee: u64, regs: *mut Regs) -> u32 {
    let vmctx = vmctx.cast::<VmCtx>();
    // SAFETY: by the caller, the vmctx is that of a live instance, whose store runs on this thread.
    let (cells, store) = unsafe { ((*vmctx).cells, (*(*vmctx).instance).store) };
    // A callee without native code has no prologue that polls, and may take long.
    // SAFETY: the cells are this thread's, and the stub has recorded where native code was left.
    if unsafe { interrupt::awaits_answer(cells) && answer(cells) != 0 } {
        return 1;
    }
    // The stub recorded where native code was left; calls made from here on will overwrite it.
    // SAFETY: the cells are this thread's.
    let left = unsafe { Segment::innermost(cells) };
    // SAFETY: by the caller.
    match unsafe { call_back(store, vmctx, callee, regs) } {
        Ok(()) => 0,
        Err(mut raised) => {
            if let Some(segment) = left {
                // SAFETY: native code that called waits in this very call.
                unsafe { backtrace::native_frames(store, segment, |function, at| raised.push(function, at)) };
            }
            // SAFETY: the cells are this thread's, whose store runs.
            unsafe { raise(store, cells, raised) };
            1
        }
    }
}

/// The part of [`bridge`] that may fail.
unsafe fn call_back(store: *mut StoreInner, vmctx: *mut VmCtx, callee: u64, regs: *mut Regs) -> Result<(), Raised> {
    // SAFETY: by the caller, the token is an index of the vmctx's functions, and the store is alive.
    let (func, cells, fp, end) =
        unsafe { ((*vmctx).funcs.add(callee as usize), (*vmctx).cells, (*store).stack_top, (*store).stack_end) };
    // SAFETY: the cells are this thread's.
    unsafe { driver::check_machine_stack(cells) }?;
    // SAFETY: the function is alive.
    let ty: &FuncType = unsafe { driver::func_type(func) };
    if fp.wrapping_add(ty.slots()) > end {
        return Err(TrapCode::StackOverflow.into());
    }
    // SAFETY: there is room for the arguments; nothing above `stack_top` is in use while native code runs.
    let args = unsafe { std::slice::from_raw_parts_mut(fp, ty.params().len()) };
    // SAFETY: by the caller, the registers hold arguments of this type.
    unsafe { ty.plan().read(&*regs, args) };
    // SAFETY: the arguments are at `fp`.
    unsafe { driver::dispatch(store, func, fp) }?;
    match ty.results() {
        [] => {}
        // SAFETY: the call left its result at `fp`.
        [_] => unsafe { ty.plan().write_result(&mut *regs, *fp) },
        // SAFETY: as above; the wide buffer has room for any function's results.
        many => unsafe { (*cells).wide.copy_from_nonoverlapping(fp, many.len()) },
    }
    Ok(())
}

/// The count hook: compiled code found its countdown spent, or has work to add. At a loop it learns whether to leave there.
///
/// # Safety
///
/// Called by the count stub only: `vmctx` and `callee` are those of the function that counts, which runs on this thread.
pub(crate) unsafe extern "C" fn on_count(vmctx: *mut c_void, callee: u64, work: u32, site: u32) -> u32 {
    let vmctx = vmctx.cast::<VmCtx>();
    // SAFETY: by the caller, the instance is alive and its store runs on this thread, whose handle is borrowed mutably only when
    // no guest runs; the token is a WebAssembly function's.
    unsafe {
        let cells = (*vmctx).cells;
        if interrupt::awaits_answer(cells) && answer(cells) != 0 {
            return 1;
        }
        let store = (*(*vmctx).instance).store;
        let function = (*(*vmctx).funcs.add(callee as usize)).wasm();
        if site == NO_SITE {
            let _ = tell(store, function, work, None);
            return 0;
        }
        (*cells).leave = 0;
        // The stub recorded where the code was left, which waits, and so its body is there.
        let body = (*store).engine.native_body((*cells).exit_pc).map(|body| &*body);
        let Some(body) = body.filter(|body| function.has(body)) else {
            // The loops of its successor are others.
            (*store).thread.skip_sample();
            return 0;
        };
        let may_leave = osr::provoke(store, function, body, site, Asking::Native);
        let should_leave = tell(store, function, work, Some(site));
        let leaves = may_leave && should_leave && osr::can_finish(store, vmctx, body);
        (*cells).leave = u64::from(leaves);
    }
    0
}

/// Tells the broker of the work of compiled code, which is counted or sampled, and whether the code should leave.
///
/// # Safety
///
/// The calling thread runs `store`.
unsafe fn tell(store: *mut StoreInner, function: &Function, work: u32, site: Option<u32>) -> bool {
    // SAFETY: by the caller; nothing borrows the thread mutably while guests run.
    let (thread, cells) = unsafe { (&(*store).thread, (*store).cells) };
    // SAFETY: they are the thread's.
    match work == 0 && unsafe { interrupt::asked(cells) } & POLL_SAMPLE != 0 {
        true => thread.sample_native(function.bead.as_ref(), site),
        false => thread.count_native(function.bead.as_ref(), work, site),
    }
}

/// The poll hook: compiled code that is not sampled was asked to look.
///
/// # Safety
///
/// Called by the poll stub: the cells are this thread's, and where its code was left is recorded.
pub(crate) unsafe extern "C" fn on_poll(cells: *mut ThreadCells) -> u32 {
    // SAFETY: the store put itself there when it was made, and it runs on this thread.
    let store = unsafe { (*cells).host.cast::<StoreInner>() };
    // SAFETY: nothing borrows the thread mutably while guests run.
    unsafe { (*store).thread.skip_sample() };
    // SAFETY: by the caller.
    unsafe { answer(cells) }
}

/// Answers what native code was asked for. Returns 0, or 1 after putting what was raised into the store.
///
/// # Safety
///
/// The cells are this thread's, and where its native code was left is recorded.
unsafe fn answer(cells: *mut ThreadCells) -> u32 {
    // SAFETY: as in `on_poll`.
    let store = unsafe { (*cells).host.cast::<StoreInner>() };
    // SAFETY: by the caller.
    let Err(code) = (unsafe { interrupt::answer(store) }) else { return 0 };
    let mut raised = Raised::new(code);
    // SAFETY: the cells are this thread's, and the code waits in this very call.
    if let Some(segment) = unsafe { Segment::innermost(cells) } {
        // SAFETY: as above.
        unsafe { backtrace::native_frames(store, segment, |function, at| raised.push(function, at)) };
    }
    // SAFETY: as above.
    unsafe { raise(store, cells, raised) };
    1
}

/// Leaves to the store what cannot travel through native frames, which are to be left now.
///
/// # Safety
///
/// The calling thread runs `store` and has these cells.
pub(crate) unsafe fn raise(store: *mut StoreInner, cells: *mut ThreadCells, raised: Raised) {
    // SAFETY: by the caller.
    unsafe {
        (*store).raised = Some(raised);
        (*cells).trap = TrapCode::Host as u64;
    }
}

/// The trap hook: notes the native frames before the stack is unwound.
///
/// # Safety
///
/// Called by the trap stub only: `cells` are this thread's, and native code has just been left for a trap.
pub(crate) unsafe extern "C" fn on_trap(cells: *mut ThreadCells) {
    // SAFETY: the store put itself there when it was made, and it runs on this thread.
    let store = unsafe { (*cells).host.cast::<StoreInner>() };
    // SAFETY: the cells are this thread's, and the stub has recorded where native code was left.
    let Some(segment) = (unsafe { Segment::innermost(cells) }) else { return };
    let mut frames = Vec::new();
    // SAFETY: the frames are still there: the stub unwinds after this.
    unsafe {
        backtrace::native_frames(store, segment, |function, offset| {
            if frames.len() < MAX_FRAMES {
                frames.push(RaisedFrame { function, offset });
            }
        });
        (*store).native_frames = frames;
    }
}
