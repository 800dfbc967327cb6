//! Safe-to-name faces of the assembly stubs: entering generated code, and the addresses generated code calls.

use super::{Regs, ThreadCells, TrapCode, stubs};

/// Calls generated code with the arguments in `regs` and waits for it to return or trap. Nests.
///
/// On return the register result is in `regs.ret_gpr` or `regs.ret_xmm`, two or more results in `cells.wide`.
///
/// # Errors
///
/// The trap code in `cells.trap`, when the code was left through the trap stub, a guard fault, or a bridge or hook that returned
/// non-zero.
///
/// # Safety
///
/// - `cells` is this thread's, initialised, and stays at its address during the call; `regs.gpr[0]` points at memory whose
///   first word is `cells`.
/// - `code` is the entry of a live unit (or [`bridge_stub`]) that takes arguments as `regs` has them, and stays alive until
///   this returns.
/// - The [floor](ThreadCells::limit_stack) is above the end of this thread's stack by at least [`RED_ZONE`](super::RED_ZONE), as
///   [`stack_limit`](super::stack_limit) sees to.
/// - No frame with a destructor lies between this call and a trap beneath it: helpers that may trap hold nothing to drop.
#[inline]
pub unsafe fn enter(cells: *mut ThreadCells, code: *const u8, regs: *mut Regs) -> Result<(), TrapCode> {
    // SAFETY: the same preconditions.
    let unwound = unsafe { stubs::enter(cells, code, regs) };
    if unwound == 0 {
        Ok(())
    } else {
        // SAFETY: `cells` is live by the caller.
        Err(TrapCode(unsafe { (*cells).trap }))
    }
}

/// Entry of a function without native code: hands the call to `cells.bridge`. Any signature.
pub fn bridge_stub() -> *const u8 {
    stubs::bridge_stub as *const () as *const u8
}

/// What generated code calls as `fn(vmctx, callee, work, site)`, by Cranelift's convention `preserve_all`, to tell the broker of work.
pub fn count_stub() -> *const u8 {
    stubs::count_stub as *const () as *const u8
}

/// What generated code calls as `fn(cells)`, by the same convention, when it is asked to poll.
pub fn poll_stub() -> *const u8 {
    stubs::poll_stub as *const () as *const u8
}

/// What generated code calls as `fn(vmctx, callee, frame, resume) -> frame` to leave; returns when the call is finished.
pub fn finish_stub() -> *const u8 {
    stubs::finish_stub as *const () as *const u8
}

/// What generated code calls as `fn(cells, code) -> !` to trap.
pub fn trap_stub() -> *const u8 {
    stubs::trap_stub as *const () as *const u8
}
