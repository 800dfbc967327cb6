//! Calls.
//!
//! Arguments lie in the caller's operand slots from A on, which become the callee's slots 0 and up: nothing is copied.
//! The callee's two control slots, after its locals, take the return address and the caller's frame pointer. An
//! interpreted callee of the same instance is entered by these handlers alone; everything else (native code, another
//! instance, the host, a body not prepared yet) goes through [`Other`], which may call out.
//!
//! All calls are four words long, so that a return address says where its call started. The last word is the body whose code this
//! is: so a return address says, too, whose frame it returns to.

use std::marker::PhantomData;

use tierup::{Charge, NativeCode};

use crate::exec::cx::{self, Cx};
use crate::exec::instruction::{Instruction, Kind};
use crate::exec::operand::{Acc, B, Source};
use crate::exec::state::{FINISHED, Handler, Op, State, Status, handler, out_of_line};
use crate::module::{Body, Function};
use crate::prepare::Prepared;
use crate::profile::CallSite;
use crate::trap::TrapCode;
use crate::vmctx::{FuncRef, KIND_WASM, VmCtx};

/// Length of every call instruction in words.
pub(crate) const CALL_WORDS: usize = 4;

/// The body whose code the call is in that returns to `ip`.
///
/// # Safety
///
/// `ip` is a return address in prepared code, which is there.
pub(crate) unsafe fn caller_of<'a>(ip: *const u64) -> &'a Body {
    // SAFETY: by the caller: the word before is the last of a call, and the code's body is there with it.
    unsafe { &*(*ip.sub(1) as *const Body) }
}

/// Notes where the run is, at a call that leaves its handlers.
#[inline(always)]
unsafe fn leave(state: State) {
    // SAFETY: by the callers, `ip` is at a call; the context outlives the run.
    unsafe { cx::leave(state.cx, state.word(CALL_WORDS - 1) as *const Body, state.fp) }
}

/// Goes into `function`, interpreted, in the instance of the context. `ip` is where it returns to.
#[inline(always)]
unsafe fn enter(state: State, function: *const Function, base: *mut u64, ip: *const u64) -> Status {
    // SAFETY: by the caller, `function` is alive and its arguments are at `base`; the stack was checked for the frame.
    unsafe {
        let Some(prepared) = (*function).entered.get() else {
            return State { int: function as u64, ..state }.jump(out_of_line::<Prepare>());
        };
        enter_body(state, prepared, base, ip)
    }
}

/// The same with the body that was found.
#[inline(always)]
unsafe fn enter_body(state: State, prepared: &Prepared, base: *mut u64, ip: *const u64) -> Status {
    // SAFETY: by the caller, as `enter`.
    unsafe {
        if base.wrapping_add(prepared.frame_slots as usize) > (*state.cx).stack_end {
            return state.trap(TrapCode::StackOverflow as Status);
        }
        let control = base.add(prepared.control as usize);
        *control = ip as u64;
        *control.add(1) = state.fp as u64;
        State { ip: prepared.entry, fp: base, ..state }.dispatch()
    }
}

/// Calls a function of the same instance: native if there is code, else interpreted.
#[inline(always)]
unsafe fn call(state: State, function: *const Function) -> Status {
    // SAFETY: by the caller, as `enter`; the thread outlives the run.
    unsafe {
        match (*(*state.cx).thread).try_invoke((*function).bead.as_ref()) {
            Charge::Paid(None) => enter(state, function, state.a(), state.ip.add(CALL_WORDS)),
            Charge::Paid(Some(code)) => native(state, function, code),
            Charge::Spent => State { int: function as u64, ..state }.jump(out_of_line::<Spent>()),
        }
    }
}

/// Calls native code of a function of the same instance.
#[inline(always)]
unsafe fn native(state: State, function: *const Function, code: NativeCode<'_>) -> Status {
    // SAFETY: by the caller; the vmctx has a reference for every function.
    unsafe {
        (*state.cx).callee = (*(*state.cx).vmctx).funcs.add((*function).index as usize);
        State { int: code.address().as_ptr() as u64, ..state }.jump(out_of_line::<Native>())
    }
}

/// A call of the function in the accumulator, of the same instance, whose countdown is spent. Polls.
struct Spent;

impl Op for Spent {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            leave(state);
            let status = cx::poll(state.cx);
            if status != FINISHED {
                return state.trap(status);
            }
            let function = state.int as *const Function;
            cx::note_paid(state.cx, function);
            match (*(*state.cx).thread).invoke_spent((*function).bead.as_ref()) {
                None => enter(state, function, state.a(), state.ip.add(CALL_WORDS)),
                Some(code) => native(state, function, code),
            }
        }
    }
}

/// A call of a function of the module: base A, then the function.
struct Direct;

impl Op for Direct {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; the module owns the function and outlives the run.
        unsafe { call(state, state.word(2) as *const Function) }
    }
}

/// A call of an import: base A, then its index.
struct Import;

impl Op for Import {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; the vmctx has a reference for every function.
        unsafe {
            let callee = (*(*state.cx).vmctx).funcs.add(state.word(2) as usize);
            State { int: callee as u64, ..state }.jump(out_of_line::<Other>())
        }
    }
}

/// An indirect call: base A, element index (slot B or the accumulator), then table index and type.
struct Indirect<S>(PhantomData<S>);

impl<S: Source> Op for Indirect<S> {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; the table is one of the module's.
        unsafe {
            let word = state.word(2);
            with_element(state, S::get::<u32>(&state), word as u32, (word >> 32) as u32, |callee| call_reference(state, callee))
        }
    }
}

/// The same with a profile: its site in place of table index and type.
struct Profiled<S>(PhantomData<S>);

impl<S: Source> Op for Profiled<S> {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; the site is the code's own, and the table is one of the module's.
        unsafe {
            let site = &*(state.word(2) as *const CallSite);
            with_element(state, S::get::<u32>(&state), site.table, site.ty, |callee| {
                if site.note_first(distance(state, callee)) {
                    call_reference(state, callee)
                } else {
                    State { int: callee as u64, ..state }.jump(out_of_line::<Note>())
                }
            })
        }
    }
}

/// A call of the reference in the accumulator that is not the first target of its site.
struct Note;

impl Op for Note {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller, as for `Profiled`; the instance runs.
        unsafe {
            let site = &*(state.word(2) as *const CallSite);
            let callee = state.int as *const FuncRef;
            site.note(distance(state, callee), VmCtx::functions((*state.cx).vmctx));
            call_reference(state, callee)
        }
    }
}

/// Bytes from the instance's first function reference to `callee`, which need not be one of them.
#[inline(always)]
unsafe fn distance(state: State, callee: *const FuncRef) -> u64 {
    // SAFETY: by the callers, the context's instance is alive.
    let first = unsafe { (*(*state.cx).vmctx).funcs };
    (callee as u64).wrapping_sub(first as u64)
}

/// Passes the element of a table that is to be called on to `then`, if it is of the type, and traps if not.
#[inline(always)]
unsafe fn with_element(state: State, index: u32, table: u32, ty: u32, then: impl FnOnce(*const FuncRef) -> Status) -> Status {
    // SAFETY: by the callers, the table is one of the module's; its elements are null or references of this store, which are
    // alive as long as it is.
    unsafe {
        let table = *(*(*state.cx).vmctx).tables.add(table as usize);
        if u64::from(index) >= (*table).len {
            return state.trap(TrapCode::TableOutOfBounds as Status);
        }
        let callee = *(*table).base.add(index as usize) as *const FuncRef;
        if callee.is_null() {
            return state.trap(TrapCode::IndirectCallToNull as Status);
        }
        if (*callee).ty != ty {
            return state.trap(TrapCode::BadSignature as Status);
        }
        then(callee)
    }
}

/// Calls what an element refers to.
#[inline(always)]
unsafe fn call_reference(state: State, callee: *const FuncRef) -> Status {
    // SAFETY: by the callers, the reference is alive.
    unsafe {
        if (*callee).vmctx == (*state.cx).vmctx && (*callee).kind == KIND_WASM {
            return call(state, (*callee).func);
        }
        State { int: callee as u64, ..state }.jump(out_of_line::<Other>())
    }
}

/// After a call that ran elsewhere: goes on behind the call instruction, or traps.
#[inline(always)]
unsafe fn resume(state: State, status: Status) -> Status {
    // SAFETY: by the caller: the call left its results at the base, whose first slot exists even if there is none
    // (the control slots of any frame follow).
    unsafe {
        if status != FINISHED {
            return state.trap(status);
        }
        let first = *state.a();
        let state = State { int: first, f64: f64::from_bits(first), f32: f32::from_bits(first as u32), ..state };
        state.reload().next(CALL_WORDS)
    }
}

/// A call of native code at the address in the accumulator, of the function in `cx.callee`.
struct Native;

impl Op for Native {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; the code was borrowed from the thread in this very call instruction.
        unsafe {
            leave(state);
            resume(state, cx::call_native(state.cx, state.int, state.a()))
        }
    }
}

/// A call of the reference in the accumulator: a host function or another instance's function.
struct Other;

impl Op for Other {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            leave(state);
            let callee = state.int as *const FuncRef;
            if (*callee).kind != KIND_WASM {
                return resume(state, cx::call_host(state.cx, callee, state.a()));
            }
            let function = (*callee).func;
            if let Some(code) = (*(*state.cx).thread).on_invoke((*function).bead.as_ref()) {
                (*state.cx).callee = callee;
                return State { int: code.address().as_ptr() as u64, ..state }.jump(out_of_line::<Native>());
            }
            let status = cx::cross(state.cx, callee, state.a(), state.ip.add(CALL_WORDS));
            if status != FINISHED {
                return state.trap(status);
            }
            // `cross` found the body, checked the stack and changed the context's instance.
            enter_body(state.reload(), &*(*state.cx).crossed_to, state.a(), RETURN_ACROSS.as_ptr().cast())
        }
    }
}

/// First call of the body in the accumulator, of the same instance: prepares it, then enters.
struct Prepare;

impl Op for Prepare {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; `prepare` leaves the prepared body in the function.
        unsafe {
            let function = state.int as *const Function;
            let status = cx::prepare(state.cx, function);
            if status != FINISHED {
                return state.trap(status);
            }
            enter(state, function, state.a(), state.ip.add(CALL_WORDS))
        }
    }
}

/// Returned to by the outermost frame.
struct Exit;

impl Op for Exit {
    #[inline(always)]
    unsafe fn run(_: State) -> Status {
        FINISHED
    }
}

/// Returned to by a frame that another instance called.
struct ReturnAcross;

impl Op for ReturnAcross {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; the call pushed a crossing.
        unsafe {
            let ip = cx::cross_back(state.cx);
            State { ip, ..state }.reload().dispatch()
        }
    }
}

/// The return address of the outermost frame of a run.
pub(crate) static EXIT: [Handler; 1] = [handler::<Exit>()];
/// The return address of a frame called from another instance.
pub(crate) static RETURN_ACROSS: [Handler; 1] = [handler::<ReturnAcross>()];

/// The handler of a call of a function the module defines.
pub(crate) fn direct() -> Instruction {
    Instruction::new(handler::<Direct>(), Kind::Call)
}

/// The handler of a call of an import.
pub(crate) fn import() -> Handler {
    handler::<Import>()
}

/// The handler of an indirect call with the element index in slot B or in the accumulator.
pub(crate) fn indirect(accumulator: bool, profiled: bool) -> Instruction {
    let handler = match (accumulator, profiled) {
        (false, false) => handler::<Indirect<B>>(),
        (true, false) => handler::<Indirect<Acc>>(),
        (false, true) => handler::<Profiled<B>>(),
        (true, true) => handler::<Profiled<Acc>>(),
    };
    Instruction::new(handler, Kind::CallIndirect { accumulator, profiled })
}

const _: () = assert!(size_of::<*mut Cx>() == 8, "slots hold addresses");
