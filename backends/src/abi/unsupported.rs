//! Stand-ins where there are no stubs. Backends refuse to be built there, so nothing generated ever reaches them.

use super::{Regs, ThreadCells};

/// Whether this target has stubs.
pub const SUPPORTED: bool = false;

pub(super) unsafe extern "C" fn enter(_: *mut ThreadCells, _: *const u8, _: *mut Regs) -> u32 {
    unreachable!("no backend can be built for this target, so there is no code to enter")
}

pub(super) fn return_address() -> usize {
    0
}

pub(super) unsafe extern "C" fn trap_stub(_: *mut ThreadCells, _: u64) -> ! {
    unreachable!("no backend can be built for this target, so nothing traps")
}

pub(super) unsafe extern "C" fn count_stub() {
    unreachable!("no backend can be built for this target, so nothing counts")
}

pub(super) unsafe extern "C" fn poll_stub() {
    unreachable!("no backend can be built for this target, so nothing polls")
}

pub(super) unsafe extern "C" fn finish_stub() {
    unreachable!("no backend can be built for this target, so nothing leaves")
}

pub(super) unsafe extern "C" fn bridge_stub() {
    unreachable!("no backend can be built for this target, so nothing calls the bridge")
}
