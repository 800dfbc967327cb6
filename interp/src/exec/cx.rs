//! The context of one run of the interpreter, and everything handlers call out for.
//!
//! Functions here are never inlined into handlers: a handler that calls nothing needs no frame of its own.

use std::ptr::NonNull;

use super::Accumulators;
use super::op::call::CALL_WORDS;
use super::state::{FINISHED, Status};
use crate::driver;
use crate::interrupt;
use crate::module::{Body, FuncHandle, Function};
use crate::osr::{self, Asking, Outcome};
use crate::prepare::Prepared;
use crate::store::StoreInner;
use crate::trap::{HostPayload, Raised, TrapCode};
use crate::vmctx::{FuncRef, VmCtx};
use tierup::{CountSlot, InterpThread};

/// What one activation of [`run`](super::run) shares between its handlers.
pub(crate) struct Cx {
    /// The instance of the innermost frame.
    pub(crate) vmctx: *mut VmCtx,
    /// One past the last slot of the value stack.
    pub(crate) stack_end: *mut u64,
    /// The broker's handle of this thread.
    pub(crate) thread: *const InterpThread<FuncHandle>,
    /// The thread's countdowns by bead, which back-edges spend as native code does.
    pub(crate) countdown: *mut CountSlot,
    /// The store.
    pub(crate) store: *mut StoreInner,
    /// After a trap: the instruction.
    pub(crate) at: *const u64,
    /// After a trap, and wherever handlers have called what may poll: the innermost frame.
    pub(crate) fp: *mut u64,
    /// In the second case: whose it is.
    pub(crate) body: *const Body,
    /// What the accumulators hold where a frame that others ran goes on.
    pub(crate) accumulators: Accumulators,
    /// The callee of a native call being made.
    pub(crate) callee: *const FuncRef,
    /// After a trap: that frame ran in native code and is in the backtrace already.
    pub(crate) told: bool,
    /// A trap that came from elsewhere, with what it carries.
    pub(crate) raised: Option<Raised>,
    /// Calls between instances under way, innermost last.
    pub(crate) crossings: Vec<Crossing>,
    /// What is entered by the one that is being made.
    pub(crate) crossed_to: *const Prepared,
    /// The run of the same store that waits for this one, if there is one.
    pub(crate) outer: *const Cx,
    /// Loop dispatch only: where to go on.
    #[cfg(any(tierup_loop_dispatch, debug_assertions))]
    pub(crate) resume: Option<super::state::State>,
}

/// A call from one interpreted instance into another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crossing {
    /// The caller's instance.
    pub(crate) vmctx: *mut VmCtx,
    /// Where the caller goes on.
    pub(crate) ip: *const u64,
}

impl Cx {
    /// One for instructions that need no more than an instance's record and countdowns.
    #[cfg(all(test, tierup_templates))]
    pub(crate) fn for_test(vmctx: *mut VmCtx, countdown: *mut CountSlot) -> Self {
        Self {
            vmctx,
            stack_end: std::ptr::null_mut(),
            thread: std::ptr::null(),
            countdown,
            store: std::ptr::null_mut(),
            at: std::ptr::null(),
            fp: std::ptr::null_mut(),
            body: std::ptr::null(),
            accumulators: Accumulators::default(),
            callee: std::ptr::null(),
            told: false,
            raised: None,
            crossings: Vec::new(),
            crossed_to: std::ptr::null(),
            outer: std::ptr::null(),
            #[cfg(any(tierup_loop_dispatch, debug_assertions))]
            resume: None,
        }
    }

    /// Base and accessible length of memory 0 of the current instance; null and 0 if it has none.
    #[inline(always)]
    pub(crate) unsafe fn memory(&self) -> (*mut u8, u64) {
        // SAFETY: by the callers the instance is alive, and so is its memory.
        unsafe {
            let memory = (*self.vmctx).memory;
            if memory.is_null() { (std::ptr::null_mut(), 0) } else { ((*memory).base, (*memory).len_bytes) }
        }
    }

    /// Keeps what a trap carries and says its code.
    fn raise(&mut self, raised: Raised) -> Status {
        let code = raised.code() as Status;
        self.raised = Some(raised);
        code
    }

    fn finish(&mut self, result: Result<(), Raised>) -> Status {
        match result {
            Ok(()) => FINISHED,
            Err(raised) => self.raise(raised),
        }
    }
}

/// Work units a frame of a body that was replaced does between two looks at what the thread is asked for.
const STALE_SLICE: i32 = 4096;

/// Notes where the innermost frame of a run is, before what may poll.
///
/// # Safety
///
/// The context is the running one's.
#[inline(always)]
pub(super) unsafe fn leave(cx: *mut Cx, body: *const Body, fp: *mut u64) {
    // SAFETY: by the caller.
    unsafe {
        (*cx).body = body;
        (*cx).fp = fp;
    }
}

/// Calls native code at `address`: the function `cx.callee`, its slots at `base`.
///
/// # Safety
///
/// The code was lent by the context's thread for this call, and the arguments are at `base`.
#[inline(never)]
pub(super) unsafe fn call_native(cx: *mut Cx, address: u64, base: *mut u64) -> Status {
    // SAFETY: by the caller; code addresses are not null.
    unsafe {
        let callee = (*cx).callee;
        let code = NonNull::new_unchecked(address as *mut u8);
        let result = driver::call_native((*cx).store, callee, code, base);
        (*cx).finish(result)
    }
}

/// Calls a host function with its slots at `base`.
///
/// # Safety
///
/// `callee` is a host function of the context's store, and the arguments are at `base`.
#[inline(never)]
pub(super) unsafe fn call_host(cx: *mut Cx, callee: *const FuncRef, base: *mut u64) -> Status {
    // SAFETY: by the caller; the room is checked before the function may write its results.
    unsafe {
        let slots = driver::func_type(callee).slots();
        if base.wrapping_add(slots) > (*cx).stack_end {
            return TrapCode::StackOverflow as Status;
        }
        let result = driver::call_host((*cx).store, callee, base);
        (*cx).finish(result)
    }
}

/// Looks whether the thread is asked for anything: where a countdown is spent, which it is at least every 100 us.
///
/// # Safety
///
/// The context's store runs on this thread.
#[inline(never)]
pub(super) unsafe fn poll(cx: *mut Cx) -> Status {
    // SAFETY: by the caller.
    let answered = unsafe {
        let store = (*cx).store;
        if interrupt::is_asked((*store).cells) {
            (*store).thread.skip_sample();
            interrupt::answer(store)
        } else {
            Ok(())
        }
    };
    answered.map_or_else(|code| code as Status, |()| FINISHED)
}

/// A call of `function` is about to be paid for.
///
/// # Safety
///
/// The function belongs to the module of the context's instance; its thread has not polled since it was found.
#[inline(never)]
pub(super) unsafe fn note_paid(cx: *mut Cx, function: *const Function) {
    // SAFETY: by the caller.
    unsafe {
        if let Some(prepared) = (*function).entered.get() {
            prepared.note_paid(&(*(*(*cx).vmctx).instance).module);
        }
    }
}

/// Prepares a body at its first call.
///
/// # Safety
///
/// The function belongs to a module of the context's store.
#[cold]
#[inline(never)]
pub(super) unsafe fn prepare(cx: *mut Cx, function: *const Function) -> Status {
    // SAFETY: by the caller; some instance keeps the module.
    unsafe {
        match (*function).enter(&(*(*(*cx).vmctx).instance).module) {
            Ok(_) => FINISHED,
            Err(error) => (*cx).raise(Raised::host(HostPayload::Body(error))),
        }
    }
}

/// Gets ready to interpret a function of another instance: body, stack, context.
///
/// # Safety
///
/// `callee` is a WebAssembly function of the context's store, its arguments are at `base`.
#[inline(never)]
pub(super) unsafe fn cross(cx: *mut Cx, callee: *const FuncRef, base: *mut u64, ip: *const u64) -> Status {
    // SAFETY: by the caller.
    unsafe {
        let status = poll(cx);
        if status != FINISHED {
            return status;
        }
        let prepared = match (*(*callee).func).enter(&(*(*(*callee).vmctx).instance).module) {
            Ok(prepared) => prepared,
            Err(error) => return (*cx).raise(Raised::host(HostPayload::Body(error))),
        };
        if base.wrapping_add(prepared.frame_slots as usize) > (*cx).stack_end {
            return TrapCode::StackOverflow as Status;
        }
        (*cx).crossings.push(Crossing { vmctx: (*cx).vmctx, ip });
        (*cx).vmctx = (*callee).vmctx;
        (*cx).crossed_to = prepared;
    }
    FINISHED
}

/// Returns into the instance the innermost crossing came from, and says where.
///
/// # Safety
///
/// A crossing is under way.
#[inline(never)]
pub(super) unsafe fn cross_back(cx: *mut Cx) -> *const u64 {
    // SAFETY: by the caller; handlers reach this only through the return address a crossing left.
    unsafe {
        let crossing = (*cx).crossings.pop().unwrap_unchecked();
        (*cx).vmctx = crossing.vmctx;
        crossing.ip
    }
}

/// The slow half of a back-edge of `body`: `work` operators of loop `site`, for which the countdown did not reach.
///
/// # Safety
///
/// The context's thread is running; `fp` is the innermost frame, of this body, whose module is alive.
#[inline(never)]
pub(super) unsafe fn back_edge_spent(cx: *mut Cx, body: *const Body, site: u32, work: u32, fp: *mut u64) -> Packed {
    // SAFETY: by the caller.
    let status = unsafe {
        leave(cx, body, fp);
        poll(cx)
    };
    if status != FINISHED {
        return Step::Trapped(status).pack();
    }
    // SAFETY: by the caller: the body has a frame, so it is alive.
    let (body, function, module) = unsafe { (&*body, (*body).function(), (*body).module()) };
    body.running().note_paid(module);
    if !function.has(body) {
        // The loops of its successor are others: they are neither counted here nor entered.
        // SAFETY: as in the handler, which found the countdown.
        unsafe { (*(*cx).countdown.add(function.bead.as_ref().index() as usize)).countdown = STALE_SLICE };
        return Step::Stay.pack();
    }
    // SAFETY: by the caller.
    let step = match unsafe { (*(*cx).thread).back_edge_spent(function.bead.as_ref(), site, work) } {
        None => Step::Stay,
        // There the mode says which arrivals enter.
        // SAFETY: by the caller.
        Some(_) if unsafe { (*(*cx).store).engine.config().osr.is_forced() } => Step::Stay,
        // SAFETY: by the caller; `enter` looks the entry up again, as it does wherever it gets.
        Some(_) => unsafe { replace(cx, body, site, fp) },
    };
    step.pack()
}

/// A frame of `body` is at the header of loop `site`, in a mode that enters variants out of order.
///
/// # Safety
///
/// As [`back_edge_spent`].
#[inline(never)]
pub(super) unsafe fn arrive(cx: *mut Cx, body: *const Body, site: u32, fp: *mut u64) -> Packed {
    // SAFETY: by the caller: the body has a frame, so it is alive.
    let step = unsafe {
        leave(cx, body, fp);
        let (body, function) = (&*body, (*body).function());
        if osr::provoke((*cx).store, function, body, site, Asking::Interpreter) {
            replace(cx, body, site, fp)
        } else {
            Step::Stay
        }
    };
    step.pack()
}

/// What became of a frame at a loop header.
pub(super) enum Step {
    /// Nothing.
    Stay,
    /// It goes on at this instruction, interpreted, with the frame at `fp` innermost and the context's accumulators.
    At { ip: *const u64, fp: *mut u64 },
    /// It returned, its results in its first slots, to this instruction of the frame at `fp`.
    Returned { ip: *const u64, fp: *mut u64 },
    /// It ended in a trap.
    Trapped(Status),
}

/// A [`Step`] in two registers. Returned through memory, it would keep the handler's frame on the machine stack: the next handler
/// is a sibling call only if no address of that frame is known to anybody.
#[derive(Clone, Copy)]
#[must_use]
pub(super) struct Packed(u64, u64);

const AT: u64 = 1;
const RETURNED: u64 = 2;
const TRAPPED: u64 = 3;
const KIND: u64 = 3;

impl Step {
    fn pack(self) -> Packed {
        match self {
            Step::Stay => Packed(0, 0),
            Step::At { ip, fp } => Packed(ip as u64 | AT, fp as u64),
            Step::Returned { ip, fp } => Packed(ip as u64 | RETURNED, fp as u64),
            Step::Trapped(status) => Packed(TRAPPED, status),
        }
    }
}

impl Packed {
    #[inline(always)]
    pub(super) fn unpack(self) -> Step {
        let ip = (self.0 & !KIND) as *const u64;
        match self.0 & KIND {
            AT => Step::At { ip, fp: self.1 as *mut u64 },
            RETURNED => Step::Returned { ip, fp: self.1 as *mut u64 },
            TRAPPED => Step::Trapped(self.1),
            _ => Step::Stay,
        }
    }
}

/// Runs a frame in OSR variants, if there are any.
///
/// # Safety
///
/// As [`back_edge_spent`].
unsafe fn replace(cx: *mut Cx, body: &Body, site: u32, fp: *mut u64) -> Step {
    let prepared = body.running();
    // SAFETY: by the caller; a variant changes the control slots only to leave results there.
    let (ip, caller) = unsafe {
        let control = fp.add(prepared.control as usize);
        (*control as *const u64, *control.add(1) as *mut u64)
    };
    // SAFETY: by the caller.
    let frame = unsafe { osr::Frame { store: (*cx).store, vmctx: (*cx).vmctx, prepared, fp } };
    // SAFETY: by the caller: at a header all operands are in their slots.
    match unsafe { osr::enter(frame, site, [ip as u64, caller as u64]) } {
        Ok(None) => Step::Stay,
        Ok(Some(Outcome::Done)) => Step::Returned { ip, fp: caller },
        Ok(Some(Outcome::At(site))) => Step::At { ip: prepared.header(site), fp },
        Ok(Some(Outcome::Rebuilt(rebuilt))) => {
            // SAFETY: they were just rebuilt, of this run's instance.
            let (ip, accumulators) = unsafe { rebuilt.next() };
            // SAFETY: by the caller.
            unsafe { (*cx).accumulators = accumulators };
            Step::At { ip, fp: rebuilt.fp() }
        }
        Err(raised) => {
            // SAFETY: by the caller.
            unsafe {
                (*cx).told = true;
                Step::Trapped((*cx).raise(raised))
            }
        }
    }
}

/// Where the call instruction that returns to `ip` starts.
pub(super) fn call_before(ip: *const u64) -> *const u64 {
    ip.wrapping_sub(CALL_WORDS)
}
