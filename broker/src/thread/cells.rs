//! The per-thread record that generated code addresses directly. Its layout is part of the machine-code ABI.
//!
//! The first word of every `vmctx` points here. Fields that only the owning thread touches are plain; the poll cell and
//! the stack limit are atomic because other threads raise them (`interrupt.rs`).

use std::{ffi::c_void, ptr};

use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// Slots of the wide-result buffer every thread provides.
pub const WIDE_SLOTS: usize = 1024;

/// One bead's private countdown on one thread: work this thread may still do before it asks the bead's shared budget.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct CountSlot {
    /// Work units left; a charge that makes it negative must take the slow path.
    pub countdown: i32,
    /// The bead's count stamp when this was drawn (see `CompileRequest::count_stamp`); any other value means "not drawn yet".
    pub generation: u32,
}

/// Register image of one crossing between Rust and generated code, used in both directions.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Regs {
    /// Integer argument registers in SystemV order; 0 is `vmctx`, 1 is `callee`.
    pub gpr: [u64; 6],
    /// Floating-point argument registers (low 64 bits).
    pub xmm: [u64; 8],
    /// Stack arguments, lowest address first.
    pub stack: *mut u64,
    /// How many stack arguments there are, in 8-byte slots.
    pub stack_len: usize,
    /// Integer result.
    pub ret_gpr: u64,
    /// Floating-point result.
    pub ret_xmm: u64,
}

impl Default for Regs {
    fn default() -> Self {
        Regs { gpr: [0; 6], xmm: [0; 8], stack: ptr::null_mut(), stack_len: 0, ret_gpr: 0, ret_xmm: 0 }
    }
}

/// Called by the bridge stub when native code calls a function that has no native body.
///
/// Returns 0 when the results are in `regs` (or the wide buffer), anything else to unwind to the innermost entry.
pub type BridgeFn = unsafe extern "C" fn(vmctx: *mut c_void, callee: u64, regs: *mut Regs) -> u32;

/// Called on a trap before the stack is unwound to the innermost entry; `trap`, `exit_fp` and `exit_pc` are set.
pub type OnTrapFn = unsafe extern "C" fn(cells: *mut ThreadCells);

/// Called by the poll stub when code finds its poll cell raised, or the stack limit because of that: answers the requests that
/// are in the cell, and takes them back. `exit_fp` and `exit_pc` are set. Returns 0 for the code to go on, anything else to unwind
/// to the innermost entry.
pub type OnPollFn = unsafe extern "C" fn(cells: *mut ThreadCells) -> u32;

/// Called by the count stub when code that counts for itself finds its countdown spent, or has `work` units to add to it: tells
/// the broker ([`InterpThread::count_native`](crate::InterpThread::count_native)).
///
/// `site` is the loop site it is at, [`NO_SITE`] at its entry. Sets [`ThreadCells::leave`] at a site. `exit_fp` and `exit_pc` are
/// set. It is a poll, too: returns as [`OnPollFn`] does.
pub type OnCountFn = unsafe extern "C" fn(vmctx: *mut c_void, callee: u64, work: u32, site: u32) -> u32;

/// The site of code that is at no loop.
pub const NO_SITE: u32 = u32::MAX;

/// Called by the finish stub when a body leaves, at a loop site or through an exit: the rest of the call is to be run, in whichever tiers.
///
/// `resume` says where, as the code's maker encodes it. `frame` is the thread's wide-result buffer, with the live slots;
/// whatever is called next may overwrite it. Returns 0
/// when the results are in `frame[0…]`, anything else to unwind to the innermost entry.
pub type FinishFn = unsafe extern "C" fn(vmctx: *mut c_void, callee: u64, frame: *mut u64, resume: u64) -> u32;

/// What generated code and the entry, bridge and trap stubs read and write through the first word of `vmctx`.
#[derive(Debug)]
#[repr(C)]
pub struct ThreadCells {
    /// This thread's countdowns, indexed by bead id.
    pub countdown: *mut CountSlot,
    /// What prologues compare the stack pointer with: the lowest address generated code may use, or the highest there is while the
    /// poll cell is raised. Set by [`limit_stack`](Self::limit_stack).
    pub stack_limit: AtomicUsize,
    /// Poll cell: non-zero asks the thread to look. Set by [`raise`](Self::raise).
    pub interrupt: AtomicU64,
    /// Stack pointer saved by the innermost entry trampoline; 0 outside native code.
    pub entry_sp: usize,
    /// Frame pointer at the last exit from native code.
    pub exit_fp: usize,
    /// Program counter at the last exit from native code.
    pub exit_pc: usize,
    /// Fuel left.
    pub fuel: i64,
    /// Code of the trap being delivered; 0 when there is none.
    pub trap: u64,
    /// The embedder's own pointer.
    pub host: *mut c_void,
    /// Results of functions that return two or more values; at least [`WIDE_SLOTS`] slots.
    pub wide: *mut u64,
    /// Native code calling a function without a native body ends here.
    pub bridge: BridgeFn,
    /// Trap hook.
    pub on_trap: OnTrapFn,
    /// Count hook.
    pub on_count: OnCountFn,
    /// Whether the code that told the count hook of a site had better leave there: 0 means no.
    pub leave: u64,
    /// Bodies that leave end here.
    pub finish: FinishFn,
    /// What the stack limit is while the poll cell is not raised.
    pub stack_floor: AtomicUsize,
    /// Poll hook.
    pub on_poll: OnPollFn,
}

impl ThreadCells {
    /// Cells over the given countdown table and wide-result buffer, outside native code, with no stack limit, a bridge
    /// that unwinds, and hooks that do nothing.
    pub fn new(countdown: *mut CountSlot, wide: *mut u64) -> Self {
        ThreadCells {
            countdown,
            stack_limit: AtomicUsize::new(0),
            interrupt: AtomicU64::new(0),
            entry_sp: 0,
            exit_fp: 0,
            exit_pc: 0,
            fuel: 0,
            trap: 0,
            host: ptr::null_mut(),
            wide,
            bridge: unset_bridge,
            on_trap: unset_on_trap,
            on_count: unset_on_count,
            leave: 0,
            finish: unset_finish,
            stack_floor: AtomicUsize::new(0),
            on_poll: unset_on_poll,
        }
    }
}

/// The bridge of a thread whose embedder set none: there is no interpreter to run, so the caller is unwound.
unsafe extern "C" fn unset_bridge(_: *mut c_void, _: u64, _: *mut Regs) -> u32 {
    1
}

unsafe extern "C" fn unset_on_trap(_: *mut ThreadCells) {}

unsafe extern "C" fn unset_on_count(_: *mut c_void, _: u64, _: u32, _: u32) -> u32 {
    0
}

/// Nobody answers: prologues at least are not to ask again and again.
unsafe extern "C" fn unset_on_poll(cells: *mut ThreadCells) -> u32 {
    // SAFETY: a thread's cells live as long as code runs on it, and only it changes what is not atomic.
    let cells = unsafe { &*cells };
    // Ordering: Relaxed. Only this thread's prologues look.
    cells.stack_limit.store(cells.stack_floor(), Ordering::Relaxed);
    0
}

/// As [`unset_bridge`].
unsafe extern "C" fn unset_finish(_: *mut c_void, _: u64, _: *mut u64, _: u64) -> u32 {
    1
}

// The offsets generated code uses; backends/ABI.md lists the same numbers.
#[cfg(not(loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<CountSlot>() == 8);
    assert!(offset_of!(CountSlot, countdown) == 0);
    assert!(offset_of!(CountSlot, generation) == 4);
    assert!(offset_of!(ThreadCells, countdown) == 0);
    assert!(offset_of!(ThreadCells, stack_limit) == 8);
    assert!(offset_of!(ThreadCells, interrupt) == 16);
    assert!(offset_of!(ThreadCells, entry_sp) == 24);
    assert!(offset_of!(ThreadCells, exit_fp) == 32);
    assert!(offset_of!(ThreadCells, exit_pc) == 40);
    assert!(offset_of!(ThreadCells, fuel) == 48);
    assert!(offset_of!(ThreadCells, trap) == 56);
    assert!(offset_of!(ThreadCells, host) == 64);
    assert!(offset_of!(ThreadCells, wide) == 72);
    assert!(offset_of!(ThreadCells, bridge) == 80);
    assert!(offset_of!(ThreadCells, on_trap) == 88);
    assert!(offset_of!(ThreadCells, on_count) == 96);
    assert!(offset_of!(ThreadCells, leave) == 104);
    assert!(offset_of!(ThreadCells, finish) == 112);
    assert!(offset_of!(ThreadCells, stack_floor) == 120);
    assert!(offset_of!(ThreadCells, on_poll) == 128);
    assert!(offset_of!(Regs, gpr) == 0);
    assert!(offset_of!(Regs, xmm) == 48);
    assert!(offset_of!(Regs, stack) == 112);
    assert!(offset_of!(Regs, stack_len) == 120);
    assert!(offset_of!(Regs, ret_gpr) == 128);
    assert!(offset_of!(Regs, ret_xmm) == 136);
};
