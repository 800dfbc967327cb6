//! The machine state handlers pass on, and how one handler reaches the next.
//!
//! Everything hot is an argument of every handler and so stays in the registers the calling convention gives it:
//! instruction pointer, frame pointer, memory base and length, context, and three accumulators. A handler ends in an
//! indirect call of the next one. Nothing is alive after that call, so from opt-level 2 on LLVM makes it a jump.
//!
//! Below that the build script chooses the loop: a handler stores the state and returns, [`start`] dispatches again. So
//! do debug assertions, whose pointer checks put locals on the stack and so undo the jump; the workspace therefore
//! builds this crate without them in its development profile.

use std::sync::atomic::{AtomicU64, Ordering};

use super::cx::Cx;

/// How a run of handlers ended: [`FINISHED`], or the number of a [`TrapCode`](crate::trap::TrapCode).
pub(crate) type Status = u64;

/// The outermost frame returned.
pub(crate) const FINISHED: Status = 0;
/// Loop dispatch only: call the handler at the stored state.
#[cfg(any(tierup_loop_dispatch, debug_assertions))]
const CONTINUE: Status = u64::MAX;

/// An instruction's code: the first word of its encoding.
///
/// The arguments are the fields of [`State`], in order.
pub(crate) type Handler = unsafe extern "sysv64" fn(*const u64, *mut u64, *mut u8, u64, *mut Cx, u64, f64, f32) -> Status;

/// What an instruction sees and changes.
#[derive(Clone, Copy)]
pub(crate) struct State {
    /// The instruction under way: its handler, then its operands.
    pub(crate) ip: *const u64,
    /// Slot 0 of the frame.
    pub(crate) fp: *mut u64,
    /// First byte of memory 0.
    pub(crate) mem: *mut u8,
    /// Accessible bytes of memory 0.
    pub(crate) len: u64,
    /// The run's context.
    pub(crate) cx: *mut Cx,
    /// The result of the last integer instruction.
    pub(crate) int: u64,
    /// The result of the last `f64` instruction.
    pub(crate) f64: f64,
    /// The result of the last `f32` instruction.
    pub(crate) f32: f32,
}

/// An instruction: a type, so that operand places and results are chosen at compile time.
pub(crate) trait Op {
    /// Executes the instruction at `state.ip` and whatever follows it.
    ///
    /// # Safety
    ///
    /// - `state.ip` points at an instruction of this kind in prepared code;
    /// - `state.fp` is the base of a frame with the slots its function was prepared for, on the value stack of the
    ///   store `state.cx` belongs to;
    /// - `state.mem` and `state.len` describe memory 0 of the context's instance.
    unsafe fn run(state: State) -> Status;
}

/// The handler of `O`.
pub(crate) const fn handler<O: Op>() -> Handler {
    handle::<O>
}

unsafe extern "sysv64" fn handle<O: Op>(
    ip: *const u64,
    fp: *mut u64,
    mem: *mut u8,
    len: u64,
    cx: *mut Cx,
    int: u64,
    f64: f64,
    f32: f32,
) -> Status {
    // SAFETY: whoever dispatched here read this handler from prepared code, which only the translator writes.
    unsafe { O::run(State { ip, fp, mem, len, cx, int, f64, f32 }) }
}

/// The handler of `O`, to be reached by [`State::jump`] from another instruction: never made part of that, which would
/// otherwise have to save on every path the registers that this one's calls destroy.
pub(crate) const fn out_of_line<O: Op>() -> Handler {
    handle_out_of_line::<O>
}

#[inline(never)]
unsafe extern "sysv64" fn handle_out_of_line<O: Op>(
    ip: *const u64,
    fp: *mut u64,
    mem: *mut u8,
    len: u64,
    cx: *mut Cx,
    int: u64,
    f64: f64,
    f32: f32,
) -> Status {
    // SAFETY: by whoever jumped here.
    unsafe { O::run(State { ip, fp, mem, len, cx, int, f64, f32 }) }
}

/// An instruction's first word.
///
/// # Safety
///
/// `ip` points at an instruction.
#[inline(always)]
unsafe fn load_handler(ip: *const u64) -> u64 {
    // Ordering: Acquire. Pairs with: Release in `MachineCode::of`. Carries: the template.
    // SAFETY: by the caller; whoever changes the word does so atomically.
    unsafe { AtomicU64::from_ptr(ip.cast_mut()) }.load(Ordering::Acquire)
}

impl State {
    /// Goes on with the instruction `words` words further.
    ///
    /// # Safety
    ///
    /// An instruction starts there; the rest of the state is as [`Op::run`] wants it.
    #[inline(always)]
    pub(crate) unsafe fn next(self, words: usize) -> Status {
        // SAFETY: by the caller, within the same code.
        unsafe { State { ip: self.ip.add(words), ..self }.dispatch() }
    }

    /// Goes on with the instruction at `ip`.
    ///
    /// # Safety
    ///
    /// As for [`Op::run`].
    #[inline(always)]
    pub(crate) unsafe fn dispatch(self) -> Status {
        #[cfg(not(any(tierup_loop_dispatch, debug_assertions)))]
        {
            // SAFETY: by the caller, `ip` points at an instruction, whose first word the translator wrote as a handler.
            unsafe {
                let handler = std::mem::transmute::<u64, Handler>(load_handler(self.ip));
                self.jump(handler)
            }
        }
        #[cfg(any(tierup_loop_dispatch, debug_assertions))]
        {
            // SAFETY: the context outlives the run.
            unsafe { (*self.cx).resume = Some(self) };
            CONTINUE
        }
    }

    /// Passes the state to `handler` without reading code: for cold parts of an instruction.
    ///
    /// # Safety
    ///
    /// As for [`Op::run`], with `handler`'s own idea of what `ip` points at.
    #[inline(always)]
    pub(crate) unsafe fn jump(self, handler: Handler) -> Status {
        // SAFETY: by the caller.
        unsafe { handler(self.ip, self.fp, self.mem, self.len, self.cx, self.int, self.f64, self.f32) }
    }

    /// Ends the run with a trap at this instruction.
    ///
    /// # Safety
    ///
    /// As for [`Op::run`].
    #[inline(always)]
    pub(crate) unsafe fn trap(self, code: Status) -> Status {
        // SAFETY: by the caller; `Raise` takes its code from the integer accumulator.
        unsafe { State { int: code, ..self }.jump(out_of_line::<Raise>()) }
    }

    /// The half word at byte `at` of the operand word.
    #[inline(always)]
    unsafe fn half(self, at: usize) -> usize {
        // SAFETY: every instruction that reads operands has an operand word of eight bytes, and `at` is even and < 8.
        unsafe { *self.ip.add(1).cast::<u16>().add(at / 2) as usize }
    }

    /// Slot of the result.
    #[inline(always)]
    pub(crate) unsafe fn dst(self) -> *mut u64 {
        // SAFETY: by the callers; the slot is one of the frame's.
        unsafe { self.fp.add(self.half(0)) }
    }

    /// Slot of operand A.
    #[inline(always)]
    pub(crate) unsafe fn a(self) -> *mut u64 {
        // SAFETY: as `dst`.
        unsafe { self.fp.add(self.half(2)) }
    }

    /// Slot of operand B.
    #[inline(always)]
    pub(crate) unsafe fn b(self) -> *mut u64 {
        // SAFETY: as `dst`.
        unsafe { self.fp.add(self.half(4)) }
    }

    /// Slot of operand C.
    #[inline(always)]
    pub(crate) unsafe fn c(self) -> *mut u64 {
        // SAFETY: as `dst`.
        unsafe { self.fp.add(self.half(6)) }
    }

    /// The 32-bit immediate in the upper half of the operand word.
    #[inline(always)]
    pub(crate) unsafe fn k(self) -> u32 {
        // SAFETY: as `half`.
        unsafe { *self.ip.add(1).cast::<u32>().add(1) }
    }

    /// Operand word `at` (1 is the first).
    #[inline(always)]
    pub(crate) unsafe fn word(self, at: usize) -> u64 {
        // SAFETY: by the callers: the instruction is that long.
        unsafe { *self.ip.add(at) }
    }

    /// The same state with memory 0's base and length read again: after anything that may grow it or change instance.
    #[inline(always)]
    pub(crate) unsafe fn reload(self) -> Self {
        // SAFETY: the context and its instance are alive during the run.
        let (mem, len) = unsafe { (*self.cx).memory() };
        State { mem, len, ..self }
    }
}

/// Ends a run: notes where and returns the code in the integer accumulator.
struct Raise;

impl Op for Raise {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: the context outlives the run.
        unsafe {
            (*state.cx).at = state.ip;
            (*state.cx).fp = state.fp;
        }
        state.int
    }
}

/// Executes from `state` until the outermost frame returns or traps.
///
/// # Safety
///
/// As for [`Op::run`].
pub(crate) unsafe fn start(state: State) -> Status {
    #[cfg(not(any(tierup_loop_dispatch, debug_assertions)))]
    {
        // SAFETY: by the caller.
        unsafe { state.dispatch() }
    }
    #[cfg(any(tierup_loop_dispatch, debug_assertions))]
    {
        let cx = state.cx;
        // SAFETY: by the caller; whatever returns `CONTINUE` has stored the state to go on with.
        unsafe {
            (*cx).resume = Some(state);
            loop {
                let Some(state) = (*cx).resume.take() else { return FINISHED };
                let handler = std::mem::transmute::<u64, Handler>(load_handler(state.ip));
                let status = state.jump(handler);
                if status != CONTINUE {
                    return status;
                }
            }
        }
    }
}
