//! Putting guest frames together anew, from plain descriptions of them, for the interpreter to go on in the innermost.
//!
//! Outer frames wait in a call: their next instruction is the one behind it, and the next frame's locals begin where the call's
//! arguments were. Which slots a description leaves out does not matter; nobody will read them.

use super::{Accumulators, start};
use crate::module::Body;
use crate::osr::Frame;
use crate::prepare::{self, Call, Elsewhere, Place, Point, Prepared};
use crate::store::StoreInner;
use crate::trap::{HostPayload, Raised, TrapCode};
use crate::vmctx::VmCtx;

#[cfg(test)]
mod tests;

/// A guest frame, described.
#[derive(Clone)]
pub(crate) struct FrameState<'a, S> {
    /// Whose it is.
    pub(crate) body: &'a Body,
    /// Offset, in the bytes the body came with, of the operator that is next: a resume point. Of a frame that waits: of the call.
    pub(crate) offset: u32,
    /// Slots with their values: live locals, and the operand stack, of a frame that waits without the call's own operands.
    pub(crate) slots: S,
}

/// Frames on the value stack that are ready to go on.
pub(crate) struct Rebuilt<'a> {
    innermost: Frame<'a>,
    point: &'a Point,
}

/// Puts `frames`, outermost first, on the value stack from `fp` on. All are of the instance of `vmctx`. The outermost returns to
/// `back`: its control slots.
///
/// # Errors
///
/// [`TrapCode::StackOverflow`] if they do not fit; a refused body.
///
/// # Panics
///
/// If there is no frame, if the offset of one is no resume point, or if one that is to wait is not at a call: whoever describes
/// frames knows that from the same code.
///
/// # Safety
///
/// - The calling thread runs `store`, to whose instance `vmctx` belongs, and the bodies are of that instance's module;
/// - nothing is in use on the value stack from `fp` on;
/// - the slots that are live at each frame's offset are in its description, and are of that frame.
pub(crate) unsafe fn rebuild<'a, S: IntoIterator<Item = (u32, u64)>>(
    store: *mut StoreInner,
    vmctx: *mut VmCtx,
    fp: *mut u64,
    back: [u64; 2],
    frames: impl IntoIterator<Item = FrameState<'a, S>>,
) -> Result<Rebuilt<'a>, Raised> {
    // SAFETY: by the caller; the instance keeps its module for as long as anybody runs in it.
    let (module, end) = unsafe { (&(*(*vmctx).instance).module, (*store).stack_end) };
    let mut caller: Option<(Frame<'a>, Call)> = None;
    let mut frames = frames.into_iter().peekable();
    loop {
        let state = frames.next().expect("there is a frame");
        let prepared = prepare::ensure(module, state.body).map_err(|error| Raised::host(HostPayload::Body(error)))?;
        let points = prepared.points(module);
        let point = points.at(state.offset).expect("frames are at resume points");
        let (fp, control) = match caller {
            None => (fp, back),
            Some((frame, call)) => {
                // SAFETY: the slot is one of the caller's frame, which fits.
                let fp = unsafe { frame.fp.add(call.base as usize) };
                (fp, [frame.prepared.word(call.back) as u64, frame.fp as u64])
            }
        };
        if fp.wrapping_add(prepared.frame_slots as usize) > end {
            return Err(Raised::new(TrapCode::StackOverflow));
        }
        let frame = Frame { store, vmctx, prepared, fp };
        let waits = frames.peek().is_some().then(|| point.call.expect("a frame that waits is at a call"));
        // What a call that is waited in takes has gone.
        let places = points.places(point).iter().filter(|place| waits.is_none_or(|call| u32::from(place.slot) < call.base));
        // SAFETY: the frame fits, and what is written is in it.
        unsafe { fill(frame, state.slots, places, control) };
        match waits {
            Some(call) => caller = Some((frame, call)),
            None => return Ok(Rebuilt { innermost: frame, point }),
        }
    }
}

/// Writes a frame: what it is described to have, and what its code relies on besides.
///
/// # Safety
///
/// The frame fits, and the slots and places are its own.
unsafe fn fill<'p>(
    frame: Frame<'_>,
    slots: impl IntoIterator<Item = (u32, u64)>,
    places: impl Iterator<Item = &'p Place>,
    control: [u64; 2],
) {
    let Frame { prepared, fp, .. } = frame;
    for (slot, value) in slots {
        debug_assert!(slot < prepared.frame_slots, "slot {slot} of {}", prepared.frame_slots);
        // SAFETY: by the caller.
        unsafe { *fp.add(slot as usize) = value };
    }
    for place in places {
        if let Elsewhere::Local(local) = place.value {
            // The operand is what the local holds, which nobody else may read any more, and so be described.
            // SAFETY: by the caller.
            unsafe { *fp.add(local.into()) = *fp.add(place.slot.into()) };
        }
    }
    // SAFETY: by the caller: the control slots are in the frame.
    unsafe { fp.add(prepared.control as usize).cast::<[u64; 2]>().write(control) };
}

/// Interprets frames until the outermost of them, made to return [`to_rust`](super::to_rust), does. Results are left in its first slots.
///
/// # Errors
///
/// As [`run`](super::run).
///
/// # Safety
///
/// The calling thread runs the store, and the frames are as [`rebuild`] has left them, with nothing in use above.
pub(crate) unsafe fn resume_at(rebuilt: Rebuilt<'_>) -> Result<(), Raised> {
    // SAFETY: by the caller.
    unsafe {
        let (ip, accumulators) = rebuilt.next();
        start(rebuilt.innermost, ip, accumulators)
    }
}

impl Rebuilt<'_> {
    /// Where the innermost frame is.
    pub(super) fn fp(&self) -> *mut u64 {
        self.innermost.fp
    }

    /// Its next instruction, and what that finds in the accumulators.
    ///
    /// # Safety
    ///
    /// The frames are as [`rebuild`] has left them.
    pub(super) unsafe fn next(&self) -> (*const u64, Accumulators) {
        let Self { innermost, point } = self;
        // SAFETY: the slots are the frame's.
        let of = |class: usize| point.accumulators[class].map_or(0, |slot| unsafe { *innermost.fp.add(slot.into()) });
        (innermost.prepared.word(point.code), Accumulators::from_slots([0, 1, 2].map(of)))
    }
}

impl Prepared {
    /// The address of a word of the code.
    fn word(&self, at: u32) -> *const u64 {
        self.entry.wrapping_add(at as usize)
    }
}
