//! Interpreted frames of a trap.
//!
//! The innermost may have trapped at any instruction, which does not say whose it is: all bodies of its instance's module are looked
//! through for the code it is in, which only a trap pays for. The others are at calls.

use std::sync::Arc;

use super::cx::Cx;
use super::frames::{Frames, Position};
use crate::module::ModuleInner;
use crate::trap::{MAX_FRAMES, Raised};

/// Adds the frames of the run of `cx`, innermost first.
///
/// # Safety
///
/// The run just ended in a trap, and nothing has used its part of the value stack since.
pub(super) unsafe fn collect(cx: &Cx, raised: &mut Raised) {
    // SAFETY: by the caller; the instance is that of the frame, and keeps its module.
    let module: &Arc<ModuleInner> = unsafe { &(*(*cx.vmctx).instance).module };
    // SAFETY: the code of a frame is there, and so is its body.
    let Some(body) = module.body_at(cx.at).map(|body| unsafe { &*body }) else {
        debug_assert!(false, "a frame of no prepared body");
        return;
    };
    // SAFETY: by the caller.
    let frames = unsafe { Frames::new(cx, Position { body, ip: cx.at, fp: cx.fp }) };
    let told = usize::from(cx.told);
    for Position { body, ip, .. } in frames.take(MAX_FRAMES).skip(told) {
        // SAFETY: frames are of instances of the store, which keep their modules.
        let (module, function) = unsafe { (body.module(), body.function()) };
        raised.push(function, body.running().offset_of(module, ip));
    }
}
