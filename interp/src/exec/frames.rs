//! The interpreter's frames: those of a run, and the bodies of all of a store's.
//!
//! Frames do not say whose they are. The code that they return to does: the last word of a call is the body it is in.

use std::slice;

use super::cx::{self, Crossing, Cx};
use super::op::call::{EXIT, RETURN_ACROSS, caller_of};
use crate::module::Body;
use crate::store::StoreInner;

/// A frame of a run.
pub(super) struct Position<'a> {
    pub(super) body: &'a Body,
    /// The instruction it is at; of one that waits, the call.
    pub(super) ip: *const u64,
    pub(super) fp: *mut u64,
}

/// The frames of a run from one on, innermost first.
pub(super) struct Frames<'a> {
    next: Option<Position<'a>>,
    crossings: std::iter::Rev<slice::Iter<'a, Crossing>>,
}

impl<'a> Frames<'a> {
    /// Those of the run of `cx`, of which `innermost` is the innermost.
    ///
    /// # Safety
    ///
    /// The frames are on the value stack, and stay there.
    pub(super) unsafe fn new(cx: &'a Cx, innermost: Position<'a>) -> Self {
        Self { next: Some(innermost), crossings: cx.crossings.iter().rev() }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Position<'a>;

    fn next(&mut self) -> Option<Position<'a>> {
        let frame = self.next.take()?;
        // SAFETY: by `new`, the frame's control slots hold what its call stored.
        let (back, fp) = unsafe {
            let control = frame.fp.add(frame.body.running().control as usize);
            (*control as *const u64, *control.add(1) as *mut u64)
        };
        let back =
            if back == RETURN_ACROSS.as_ptr().cast() { self.crossings.next().map(|crossing| crossing.ip) } else { Some(back) };
        self.next = back.filter(|&back| back != EXIT.as_ptr().cast()).map(|back| {
            // SAFETY: any other is in the code of the caller, which has a frame.
            let body = unsafe { caller_of(back) };
            Position { body, ip: cx::call_before(back), fp }
        });
        Some(frame)
    }
}

/// A run, among those of its store.
pub(super) struct UnderWay(*mut StoreInner);

impl UnderWay {
    /// A run begins in the store.
    ///
    /// # Safety
    ///
    /// The calling thread runs `store`; `cx`, whose `outer` is the store's innermost run, outlives this and does not move.
    pub(super) unsafe fn new(store: *mut StoreInner, cx: *const Cx) -> Self {
        // SAFETY: by the caller.
        unsafe { (*store).run = cx };
        Self(store)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // SAFETY: by `new`'s caller; runs end in the opposite order.
        unsafe { (*self.0).run = (*(*self.0).run).outer };
    }
}

/// Tells the body of each frame that the interpreter has in `store`; one after the other may be the same.
///
/// # Safety
///
/// The calling thread runs `store`, and has left all handlers where they say so.
pub(crate) unsafe fn each_body(store: *const StoreInner, mut found: impl FnMut(&Body)) {
    // SAFETY: by the caller; runs are in the list while they are under way.
    let mut run = unsafe { (*store).run };
    // SAFETY: as above.
    while let Some(cx) = unsafe { run.as_ref() } {
        run = cx.outer;
        // SAFETY: where its handlers were left, the run has noted its innermost frame, whose body is alive.
        let Some(body) = (unsafe { cx.body.as_ref() }) else { continue };
        let innermost = Position { body, ip: std::ptr::null(), fp: cx.fp };
        // SAFETY: by the caller, nobody changes frames meanwhile.
        unsafe { Frames::new(cx, innermost) }.for_each(|frame| found(frame.body));
    }
}
