//! Interpreted frames of a trap.
//!
//! Frames do not say whose they are: the code a return address points into does. Prepared bodies of the instance's
//! module are looked through for it, which only a trap pays for.

use super::cx::{self, Cx};
use super::op::call::{EXIT, RETURN_ACROSS};
use crate::module::{Function, ModuleInner};
use crate::prepare::Prepared;
use crate::trap::{MAX_FRAMES, Raised};

/// Adds the frames of the run of `cx`, innermost first.
///
/// # Safety
///
/// The run just ended in a trap, and nothing has used its part of the value stack since.
pub(super) unsafe fn collect(cx: &Cx, raised: &mut Raised) {
    let mut crossings = cx.crossings.iter().rev();
    let (mut vmctx, mut ip, mut fp) = (cx.vmctx, cx.at, cx.fp);
    let mut told = cx.told;
    for _ in 0..MAX_FRAMES {
        // SAFETY: by the caller; the instance is that of the frame, and keeps its module.
        let module = unsafe { &(*(*vmctx).instance).module };
        let Some((function, prepared)) = owner(module, ip) else {
            debug_assert!(false, "a frame of no prepared body");
            return;
        };
        if !std::mem::take(&mut told) {
            raised.push(function, prepared.offset_of(module, function, ip));
        }
        // SAFETY: the frame's control slots hold what its call stored.
        let (back, caller) = unsafe {
            let control = fp.add(prepared.control as usize);
            (*control as *const u64, *control.add(1) as *mut u64)
        };
        if back == EXIT.as_ptr().cast() {
            return;
        }
        ip = if back == RETURN_ACROSS.as_ptr().cast() {
            let Some(crossing) = crossings.next() else { return };
            vmctx = crossing.vmctx;
            cx::call_before(crossing.ip)
        } else {
            cx::call_before(back)
        };
        fp = caller;
    }
}

/// The function of `module` whose prepared code `ip` is in.
pub(super) fn owner(module: &ModuleInner, ip: *const u64) -> Option<(&Function, &Prepared)> {
    module.functions.iter().find_map(|function| {
        let prepared = function.prepared.get().filter(|prepared| prepared.contains(ip))?;
        Some((function, prepared))
    })
}
