//! Telling the embedder of frames that change hands: the observer of [`Config::on_transfer`](crate::Config::on_transfer).
//!
//! What it is told is what the side that goes on will read: the live slots, as plain numbers.

use std::fmt;
use std::sync::Arc;

use crate::exec::rebuild::FrameState;
use crate::osr::Frame;
use crate::store::StoreInner;
use crate::vmctx::VmCtx;

/// Who is told of frames that change hands.
///
/// Called on the guest's thread, which waits, between two tiers: for traces and tests, not for programs in a hurry. It must not
/// panic: native frames may be beneath, and the process is aborted.
pub type OnTransfer = Arc<dyn Fn(&Transfer<'_>) + Send + Sync>;

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Into native code that was made to be entered there.
    Enter,
    /// Out of native code.
    Leave,
}

/// Frames that change hands.
pub struct Transfer<'a> {
    /// Which way.
    pub direction: Direction,
    /// The frames, outermost first: the last is where execution goes on, each other one waits for the next to return.
    pub frames: &'a [LiveFrame],
    /// The bytes of memory 0 of their instance, if it has one.
    pub memory: Option<&'a [u8]>,
}

impl fmt::Debug for Transfer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer").field("direction", &self.direction).field("frames", &self.frames).finish_non_exhaustive()
    }
}

/// What is live of a guest frame. Values are slots: 64 bits, an `i32` or `f32` in the low half, the upper half zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFrame {
    /// The function's index in its module, imports counted.
    pub function: u32,
    /// Offset, in the module's bytes, of the operator that is next.
    pub offset: u32,
    /// The locals that may still be read, with their values, ascending.
    pub locals: Vec<(u32, u64)>,
    /// The operand stack, the topmost last.
    pub operands: Vec<u64>,
}

/// Tells the engine's observer, if it has one, that a frame changes hands at the header of loop `site`.
///
/// # Safety
///
/// The calling thread runs the frame's store, and the slots that are live at the site are set.
pub(crate) unsafe fn tell(frame: Frame<'_>, site: u32, direction: Direction) {
    // SAFETY: by the caller, the store is alive.
    let engine = unsafe { &(*frame.store).engine };
    if let Some(observer) = &engine.config().on_transfer {
        // SAFETY: by the caller.
        unsafe { tell_observer(frame, site, direction, observer) };
    }
}

/// The part of [`tell`] that nobody waits for.
///
/// # Safety
///
/// As [`tell`].
#[cold]
unsafe fn tell_observer(frame: Frame<'_>, site: u32, direction: Direction, observer: &OnTransfer) {
    let Frame { vmctx, prepared, fp, .. } = frame;
    // SAFETY: by the caller; an instance keeps its module.
    let module = unsafe { &(*(*vmctx).instance).module };
    let at = prepared.sites()[site as usize];
    // SAFETY: the slots are the frame's own.
    let slot = |slot: u32| unsafe { *fp.add(slot as usize) };
    let locals = prepared.live_locals(module, at.offset).map(|local| (local, slot(local))).collect();
    let first = prepared.first_operand();
    let operands = (first..first + at.height).map(slot).collect();
    let frames = [LiveFrame { function: prepared.body().index, offset: at.offset, locals, operands }];
    // SAFETY: by the caller.
    unsafe { observe(vmctx, &frames, direction, observer) };
}

/// Tells the engine's observer, if it has one, that code of the instance of `vmctx` was left through an exit, with these frames.
///
/// # Safety
///
/// The calling thread runs `store`, to which the instance belongs; the frames are of functions that were prepared.
pub(crate) unsafe fn tell_exit<'a, S: IntoIterator<Item = (u32, u64)>>(
    store: *mut StoreInner,
    vmctx: *mut VmCtx,
    frames: impl Iterator<Item = FrameState<'a, S>>,
) {
    // SAFETY: by the caller, the store is alive.
    let Some(observer) = (unsafe { &(*store).engine.config().on_transfer }) else { return };
    let frames: Vec<LiveFrame> = frames
        .map(|state| {
            let prepared = state.body.running();
            let (locals, operands): (Vec<_>, Vec<_>) = state.slots.into_iter().partition(|&(slot, _)| slot < prepared.control);
            let operands = operands.into_iter().map(|(_, value)| value).collect();
            LiveFrame { function: state.body.index, offset: state.offset, locals, operands }
        })
        .collect();
    // SAFETY: by the caller.
    unsafe { observe(vmctx, &frames, Direction::Leave, observer) };
}

/// # Safety
///
/// The calling thread runs the store of the instance of `vmctx`.
unsafe fn observe(vmctx: *mut VmCtx, frames: &[LiveFrame], direction: Direction, observer: &OnTransfer) {
    // SAFETY: the instance and its memory are alive; no guest runs, and so nobody changes it, while the observer looks.
    let memory = unsafe {
        (*vmctx).memory.as_ref().map(|memory| std::slice::from_raw_parts(memory.base.cast_const(), memory.len_bytes as usize))
    };
    observer(&Transfer { direction, frames, memory });
}
