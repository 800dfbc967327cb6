//! On-stack replacement: one frame of a function, run in turns by OSR variants and the interpreter.
//!
//! A frame lies on the value stack, in the interpreter's layout, whoever runs it, and is of one body to its end: where the function has
//! another one by now, the code of that is not for it. At a loop header the interpreter looks
//! whether there is a variant ([`enter`]). If so that runs the rest of the function, or comes back at a loop header where
//! something better is to be had, or at least nothing worse: that is looked for there, and if there is nothing the
//! interpreter goes on. A body of native code that leaves has no such frame: [`finish`] makes one. Code that leaves through an
//! exit says which frames there are; [`deopt`] makes those.
//!
//! However often a frame changes hands, the machine stack beneath it stays as deep as it was.

use std::ffi::c_void;

use tierup::abi::{self, OsrOutcome, Regs, Resume, Segment, ThreadCells, WIDE_SLOTS};

use crate::backtrace;
use crate::bridge;
use crate::config::Osr;
use crate::deopt;
use crate::draws::SplitMix64;
use crate::driver;
use crate::engine::Engine;
use crate::exec::{self, Rebuilt};
use crate::module::{Body, Function};
use crate::prepare::{self, CONTROL_SLOTS, Prepared};
use crate::store::StoreInner;
use crate::transfer::{self, Direction};
use crate::trap::{HostPayload, Raised, TrapCode};
use crate::vmctx::VmCtx;

/// A frame: whose it is, and where.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// The store it is run in.
    pub(crate) store: *mut StoreInner,
    /// Its instance.
    pub(crate) vmctx: *mut VmCtx,
    /// Its body.
    pub(crate) prepared: &'a Prepared,
    /// Slot 0.
    pub(crate) fp: *mut u64,
}

/// What became of a frame that was run in variants.
pub(crate) enum Outcome<'a> {
    /// The function has returned, its results in the frame's first slots.
    Done,
    /// The frame is at the header of this loop, for the interpreter to go on.
    At(u32),
    /// The interpreter is to go on with these frames, of which it is the outermost.
    Rebuilt(Rebuilt<'a>),
}

/// Runs a frame that is at the header of loop `site` in variants, as long as there are any where it gets.
///
/// `None` when there was none: nothing was done. If what left has frames to be rebuilt, `back` is where the outermost, which is this
/// one, returns to.
///
/// # Errors
///
/// What was raised. Its backtrace has the frame itself and all that it called.
///
/// # Safety
///
/// The calling thread runs the store, the frame is one of its value stack with nothing in use above it, and its slots are as
/// the interpreter has them at the site. `back` is as [`rebuild`](exec::rebuild::rebuild) wants it.
pub(crate) unsafe fn enter<'a>(frame: Frame<'_>, site: u32, back: [u64; 2]) -> Result<Option<Outcome<'a>>, Raised> {
    let Frame { store, vmctx, prepared, fp } = frame;
    // SAFETY: by the caller, the store is alive, and nothing borrows its thread mutably while guests run.
    let (cells, thread) = unsafe { ((*store).cells, &(*store).thread) };
    let body = prepared.body();
    // SAFETY: by the caller; the instance keeps its module.
    let function = unsafe { body.function() };
    // SAFETY: the cells are this thread's. With little stack left the interpreter, which needs none, goes on.
    if unsafe { driver::check_machine_stack(cells) }.is_err() {
        return Ok(None);
    }
    let mut outcome = None;
    let mut at = site;
    while let Some((entry, handle)) = thread.osr_entry_of(function.bead.as_ref(), at) {
        if !handle.is_of(body) {
            break;
        }
        // SAFETY: by the caller, or the variant that has just left: the frame is as the site wants it.
        unsafe { transfer::tell(frame, at, Direction::Enter) };
        let mut regs = Regs::default();
        regs.gpr[..4].copy_from_slice(&[vmctx as u64, u64::from(function.index), fp as u64, u64::from(at)]);
        // SAFETY: the frame is that long (caller); guests that the variant calls start above it. Hosts that it calls may look.
        let top = unsafe {
            (*store).osr_entries += 1;
            std::mem::replace(&mut (*store).stack_top, fp.add(prepared.frame_slots as usize))
        };
        // SAFETY: the entry was lent by this thread, which does not rest before it is left; it takes these three arguments,
        // and finds the site's slots in the frame.
        let left = unsafe { abi::enter(cells, entry.address().as_ptr(), &raw mut regs) };
        // SAFETY: by the caller.
        unsafe { (*store).stack_top = top };
        if let Err(code) = left {
            // SAFETY: native code has just ended with this trap.
            return Err(unsafe { backtrace::raised_by_native(store, code) });
        }
        match OsrOutcome::decode(regs.ret_gpr) {
            OsrOutcome::Done => return Ok(Some(Outcome::Done)),
            OsrOutcome::Exit(Resume::Site(site)) => {
                at = site;
                // SAFETY: as above.
                unsafe { transfer::tell(frame, at, Direction::Leave) };
                outcome = Some(Outcome::At(site));
            }
            OsrOutcome::Exit(Resume::Exit(number)) => {
                let left = deopt::Left { pc: entry.address().as_ptr().addr(), number };
                // SAFETY: the variant has just left through its exit, and the frame is where its frames begin; `back` by the caller.
                return unsafe { deopt::leave(store, vmctx, fp, back, left) }.map(|rebuilt| Some(Outcome::Rebuilt(rebuilt)));
            }
        }
    }
    Ok(outcome)
}

/// Before a frame of `body`, of `function`, looks for a variant at a site, in test modes: makes one, if the mode says so. `false`
/// when it is to go on as it is.
///
/// # Safety
///
/// The calling thread runs the store.
pub(crate) unsafe fn provoke(store: *mut StoreInner, function: &Function, body: &Body, site: u32, asking: Asking) -> bool {
    if !function.has(body) {
        return false;
    }
    // SAFETY: by the caller.
    let engine = unsafe { &(*store).engine };
    let draw = match engine.config().osr {
        Osr::Off | Osr::Auto => return true,
        Osr::Always => 0,
        // SAFETY: by the caller.
        Osr::Random(_) => match unsafe { (*store).draws.arrive() } {
            Some(draw) => draw,
            None => return false,
        },
    };
    let tiers = engine.osr_tiers();
    let tier = match asking {
        Asking::Interpreter => tiers.get(draw as usize % tiers.len().max(1)),
        Asking::Native => tiers.last(),
    };
    if let Some(&tier) = tier {
        // A loop for which there can be none goes on as it is; the broker remembers that.
        let _ = engine.broker().compile_osr_now(function.bead.as_ref(), tier, site);
    }
    true
}

/// Who is at a loop header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// The interpreter.
    Interpreter,
    /// Code that counts.
    Native,
}

/// Whether native code of `body` that leaves now can be finished: [`finish`] has what it needs.
///
/// # Safety
///
/// The calling thread runs the store, to whose instance `vmctx` and whose module the body belongs.
pub(crate) unsafe fn can_finish(store: *mut StoreInner, vmctx: *mut VmCtx, body: &Body) -> bool {
    // SAFETY: by the caller; an instance keeps its module.
    let module = unsafe { &(*(*vmctx).instance).module };
    // SAFETY: as above.
    let (cells, fp, end) = unsafe { ((*store).cells, (*store).stack_top, (*store).stack_end) };
    let fits = |prepared: &Prepared| fp.wrapping_add(prepared.frame_slots as usize) <= end;
    // SAFETY: the cells are this thread's.
    prepare::ensure(module, body).is_ok_and(fits) && unsafe { driver::check_machine_stack(cells) }.is_ok()
}

/// The finish hook: a native body has left, and the rest of its call is run here.
///
/// # Safety
///
/// Called by the finish stub only: `vmctx` and `callee` are those of the body, which runs on this thread, `buffer` is the
/// wide buffer with what goes with `resume`.
pub(crate) unsafe extern "C" fn finish(vmctx: *mut c_void, callee: u64, buffer: *mut u64, resume: u64) -> u32 {
    let vmctx = vmctx.cast::<VmCtx>();
    // SAFETY: by the caller, the vmctx is that of a live instance, whose store runs on this thread.
    let (cells, store): (*mut ThreadCells, _) = unsafe { ((*vmctx).cells, (*(*vmctx).instance).store) };
    // SAFETY: the cells are this thread's; the stub recorded where native code was left.
    let left = unsafe { Segment::innermost(cells) };
    let finished = match Resume::decode(resume) {
        // SAFETY: by the caller.
        Resume::Site(site) => unsafe { finish_frame(store, vmctx, buffer, site) },
        Resume::Exit(number) => {
            // SAFETY: as above; the stub recorded where the body was left.
            let left = deopt::Left { pc: unsafe { (*cells).exit_pc }, number };
            // SAFETY: as above: the values are in the wide buffer.
            unsafe { finish_frames(store, vmctx, callee, buffer, left) }
        }
    };
    match finished {
        Ok(()) => 0,
        Err(mut raised) => {
            if let Some(segment) = left {
                // The innermost is the body that left, whose frame was run here and is in the backtrace already.
                let mut is_innermost = true;
                let found = |function, at| {
                    if !std::mem::take(&mut is_innermost) {
                        raised.push(function, at);
                    }
                };
                // SAFETY: the body waits in this very call, and so do its callers.
                unsafe { backtrace::native_frames(store, segment, found) };
            }
            // SAFETY: the cells are this thread's, whose store runs.
            unsafe { bridge::raise(store, cells, raised) };
            1
        }
    }
}

/// Finishes a call that was left at a loop header.
unsafe fn finish_frame(store: *mut StoreInner, vmctx: *mut VmCtx, buffer: *mut u64, site: u32) -> Result<(), Raised> {
    // SAFETY: by the caller, the store is alive, and the instance keeps its module.
    let (module, fp, end) = unsafe { (&(*(*vmctx).instance).module, (*store).stack_top, (*store).stack_end) };
    // SAFETY: the stub recorded where native code was left, which waits, and so its body is there.
    let body = unsafe { &*(*store).engine.native_body((*(*store).cells).exit_pc).expect("native code was left") };
    let prepared = prepare::ensure(module, body).map_err(|error| Raised::host(HostPayload::Body(error)))?;
    if fp.wrapping_add(prepared.frame_slots as usize) > end {
        return Err(TrapCode::StackOverflow.into());
    }
    let height = prepared.sites()[site as usize].height;
    let slots = (prepared.control + CONTROL_SLOTS + height) as usize;
    // SAFETY: just checked to fit, and free; the buffer has so many slots, of which those that are live at the site are set.
    unsafe { fp.copy_from_nonoverlapping(buffer, slots.min(WIDE_SLOTS)) };
    let frame = Frame { store, vmctx, prepared, fp };
    // SAFETY: the frame is as the site wants it, and nothing is above it.
    unsafe { transfer::tell(frame, site, Direction::Leave) };
    // SAFETY: as above.
    match unsafe { enter(frame, site, exec::to_rust()) }? {
        Some(Outcome::Done) => {}
        Some(Outcome::At(site)) => {
            // SAFETY: as above: the variant has left the frame so.
            unsafe { exec::resume(frame, site) }?;
        }
        Some(Outcome::Rebuilt(rebuilt)) => {
            // SAFETY: as above.
            unsafe { exec::resume_at(rebuilt) }?;
        }
        None => {
            // SAFETY: as above.
            unsafe { exec::resume(frame, site) }?;
        }
    }
    // SAFETY: the results are in the frame's first slots; the buffer has room for any function's. The instance keeps its module.
    unsafe { buffer.copy_from_nonoverlapping(fp, body.function().ty.results().len()) };
    Ok(())
}

/// Finishes a call that was left through an exit.
unsafe fn finish_frames(
    store: *mut StoreInner,
    vmctx: *mut VmCtx,
    callee: u64,
    buffer: *mut u64,
    left: deopt::Left,
) -> Result<(), Raised> {
    // SAFETY: by the caller, the token is a WebAssembly function's of the instance, and the store is alive.
    let (function, fp) = unsafe { ((*(*vmctx).funcs.add(callee as usize)).wasm(), (*store).stack_top) };
    // SAFETY: nothing is in use from `stack_top` on while native code runs, which has just left through the exit; then nothing is
    // above the frames.
    unsafe {
        let rebuilt = deopt::leave(store, vmctx, fp, exec::to_rust(), left)?;
        exec::resume_at(rebuilt)?;
    }
    // SAFETY: the results are in the outermost frame's first slots; the buffer has room for any function's.
    unsafe { buffer.copy_from_nonoverlapping(fp, function.ty.results().len()) };
    Ok(())
}

/// Choices of [`Osr::Random`]: the same for the same seed, as long as one thread runs.
pub(crate) struct Draws {
    draws: SplitMix64,
    /// Arrivals to let pass.
    pass: u64,
}

/// Arrivals passed before the next entry are fewer than a power of two, of which each up to this one is as likely: so that loops
/// are entered at their first turn as well as at a late one.
const MOST_PASSED: u64 = 6;

impl Draws {
    /// Those of a store of this engine.
    pub(crate) fn new(engine: &Engine) -> Self {
        let seed = if let Osr::Random(seed) = engine.config().osr { seed } else { 0 };
        let mut draws = SplitMix64::new(seed);
        let pass = draws.distance(MOST_PASSED);
        Self { draws, pass }
    }

    /// A loop header is reached: a number to choose with, if something is to happen there.
    fn arrive(&mut self) -> Option<u64> {
        if self.pass > 0 {
            self.pass -= 1;
            return None;
        }
        self.pass = self.draws.distance(MOST_PASSED);
        Some(self.draws.next())
    }
}
