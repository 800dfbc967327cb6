//! The interpreter: executes prepared code (see [`prepare`](crate::prepare) for how it is made).
//!
//! A register machine over 64-bit slots, direct threaded. `state.rs` has the machine state and the dispatch,
//! `operand.rs` the places operands can be in, `op/` the instructions, `cx.rs` what they call out for, `backtrace.rs`
//! what they have to say after a trap, `frames.rs` which frames there are, `rebuild.rs` how frames from elsewhere go on here. README.md has the design's reasons and what was tried.

mod backtrace;
mod cx;
mod frames;
mod instruction;
pub(crate) mod op;
mod operand;
pub(crate) mod rebuild;
mod state;
#[cfg(test)]
mod tests;

use std::ptr;

use crate::module::Function;
use crate::osr::Frame;
use crate::store::StoreInner;
use crate::trap::{HostPayload, Raised, TrapCode};
use crate::vmctx::VmCtx;

pub(crate) use cx::Cx;
pub(crate) use frames::each_body;
pub(crate) use instruction::{Instruction, Kind};
pub(crate) use operand::Form;
pub(crate) use rebuild::{Rebuilt, resume_at};
pub(crate) use state::{FINISHED, State};
#[cfg(test)]
pub(crate) use state::{Handler, Op, Status, handler, start as start_state};

/// Interprets `function` until it returns. Arguments are in the slots at `fp`, results are left there.
///
/// # Errors
///
/// The trap, with the interpreted frames of this run added to its backtrace; a refused body.
///
/// # Safety
///
/// - the calling thread runs `store`, to which `vmctx` belongs, and `function` is one of its module's;
/// - `fp` points into the store's value stack, everything from there on is free, and arguments of the parameters'
///   types are there.
pub(crate) unsafe fn run(store: *mut StoreInner, vmctx: *mut VmCtx, function: &Function, fp: *mut u64) -> Result<(), Raised> {
    // SAFETY: by the caller, the instance is alive; it keeps its module.
    let module = unsafe { &(*(*vmctx).instance).module };
    // SAFETY: by the caller; the frame is made before the next poll.
    let prepared = unsafe { function.enter(module) }.map_err(|error| Raised::host(HostPayload::Body(error)))?;
    // SAFETY: by the caller, the store is alive.
    if fp.wrapping_add(prepared.frame_slots as usize) > unsafe { (*store).stack_end } {
        return Err(Raised::new(TrapCode::StackOverflow));
    }
    let frame = Frame { store, vmctx, prepared, fp };
    // SAFETY: by the caller; the frame fits.
    unsafe { start_outermost(frame, prepared.entry) }
}

/// Interprets a frame that is at the header of loop `site` until it returns. Results are left in its first slots.
///
/// # Errors
///
/// As [`run`].
///
/// # Safety
///
/// The calling thread runs the frame's store; the frame is on its value stack, with nothing in use above it, and its slots are
/// as the site wants them. Its control slots may be anything.
pub(crate) unsafe fn resume(frame: Frame<'_>, site: u32) -> Result<(), Raised> {
    // SAFETY: by the caller.
    unsafe { start_outermost(frame, frame.prepared.header(site)) }
}

/// The control slots of a run's outermost frame: whoever started the run goes on.
pub(crate) fn to_rust() -> [u64; 2] {
    [op::call::EXIT.as_ptr() as u64, 0]
}

/// What the accumulators hold where a frame goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Accumulators {
    int: u64,
    f32: f32,
    f64: f64,
}

impl Accumulators {
    /// What slots hold, by class.
    fn from_slots([int, f32, f64]: [u64; 3]) -> Self {
        Self { int, f32: f32::from_bits(f32 as u32), f64: f64::from_bits(f64) }
    }
}

/// Interprets a frame, which fits on the stack and is the outermost of its run, from the instruction at `ip` of its function.
unsafe fn start_outermost(frame: Frame<'_>, ip: *const u64) -> Result<(), Raised> {
    // SAFETY: the frame fits; its control slots are within it.
    unsafe {
        let control = frame.fp.add(frame.prepared.control as usize);
        control.cast::<[u64; 2]>().write(to_rust());
    }
    // SAFETY: by the caller.
    unsafe { start(frame, ip, Accumulators::default()) }
}

/// Interprets the innermost frame of a run, which fits on the stack and says where it returns to, from the instruction at `ip` of
/// its function, until the outermost one returns.
unsafe fn start(frame: Frame<'_>, ip: *const u64, accumulators: Accumulators) -> Result<(), Raised> {
    let Frame { store, vmctx, fp, .. } = frame;
    // SAFETY: by the caller, the store is alive; only places in it are looked at, no borrow is kept.
    let (stack_end, thread, cells) = unsafe { ((*store).stack_end, &raw const (*store).thread, (*store).cells) };
    let mut cx = Cx {
        vmctx,
        stack_end,
        thread,
        // SAFETY: the cells live as long as the store's thread handle.
        countdown: unsafe { (*cells).countdown },
        store,
        at: ptr::null(),
        fp: ptr::null_mut(),
        body: ptr::null(),
        accumulators,
        callee: ptr::null(),
        told: false,
        raised: None,
        crossings: Vec::new(),
        crossed_to: ptr::null(),
        // SAFETY: by the caller.
        outer: unsafe { (*store).run },
        #[cfg(any(tierup_loop_dispatch, debug_assertions))]
        resume: None,
    };
    // SAFETY: by the caller; it ends before the context does.
    let _run = unsafe { frames::UnderWay::new(store, &raw const cx) };
    // SAFETY: by the caller, the instance is alive.
    let (mem, len) = unsafe { cx.memory() };
    let Accumulators { int, f32, f64 } = accumulators;
    let state = State { ip, fp, mem, len, cx: &raw mut cx, int, f64, f32 };
    // SAFETY: the state describes an instruction of prepared code, a frame of its size, and the memory.
    let status = unsafe { state::start(state) };
    if status == FINISHED {
        return Ok(());
    }
    let mut raised =
        cx.raised.take().unwrap_or_else(|| Raised::new(TrapCode::from_u64(status).expect("handlers end with a trap's number")));
    // SAFETY: the run ended in a trap, which noted instruction and frame; the stack is as it was.
    unsafe { backtrace::collect(&cx, &mut raised) };
    Err(raised)
}
