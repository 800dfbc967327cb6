//! The machine-code ABI between drivers, generated code and the runtime. `backends/ABI.md` is the normative text.
//!
//! Everything here is embedder-independent: entering generated code, leaving it through a trap, being called back by it,
//! walking its frames.

mod args;
mod enter;
mod outcome;
mod resume;
mod segment;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "unsupported.rs"]
mod stubs;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "x86_64.rs"]
mod stubs;
mod trap_code;

pub use args::{AbiType, ArgPlan, Loc};
pub use enter::{bridge_stub, count_stub, enter, finish_stub, poll_stub, trap_stub};
pub use outcome::OsrOutcome;
pub use resume::Resume;
pub use segment::{Frames, Segment};
pub(crate) use segment::{MAX_STEP, entry_frame_of};
pub use stubs::SUPPORTED;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use stubs::fault_stub;
pub use trap_code::TrapCode;

pub use crate::stack::limit as stack_limit;

pub use tierup_broker::{BridgeFn, CountSlot, FinishFn, NO_SITE, OnCountFn, OnPollFn, OnTrapFn, Regs, ThreadCells, WIDE_SLOTS};

/// Bytes below `ThreadCells::stack_limit` that whoever sets the limit keeps mapped and free: for the one frame that may
/// reach below it before its check, and for the host code (helpers, bridge, trap hook) generated code calls.
pub const RED_ZONE: usize = 64 << 10;

/// Largest frame of a generated function, in bytes; larger ones are refused when they are compiled. Half the red zone.
pub const MAX_FRAME: usize = RED_ZONE / 2;

/// The name under which generated code calls [`trap_stub`].
pub const TRAP_SYMBOL: &str = "tierup_trap";

/// The name under which generated code calls the count stub.
pub const COUNT_SYMBOL: &str = "tierup_count";

/// The name under which generated code calls the poll stub.
pub const POLL_SYMBOL: &str = "tierup_poll";

/// The name under which generated code calls the finish stub.
pub const FINISH_SYMBOL: &str = "tierup_finish";

/// Offsets of [`ThreadCells`] fields, as generated code uses them.
pub mod offset {
    use super::{CountSlot, Regs, ThreadCells};
    use std::mem::offset_of;

    /// `ThreadCells::countdown`.
    pub const COUNTDOWN: i32 = offset_of!(ThreadCells, countdown) as i32;
    /// `ThreadCells::stack_limit`.
    pub const STACK_LIMIT: i32 = offset_of!(ThreadCells, stack_limit) as i32;
    /// `ThreadCells::interrupt`, the poll cell.
    pub const INTERRUPT: i32 = offset_of!(ThreadCells, interrupt) as i32;
    /// `ThreadCells::entry_sp`.
    pub const ENTRY_SP: i32 = offset_of!(ThreadCells, entry_sp) as i32;
    /// `ThreadCells::exit_fp`.
    pub const EXIT_FP: i32 = offset_of!(ThreadCells, exit_fp) as i32;
    /// `ThreadCells::exit_pc`.
    pub const EXIT_PC: i32 = offset_of!(ThreadCells, exit_pc) as i32;
    /// `ThreadCells::fuel`.
    pub const FUEL: i32 = offset_of!(ThreadCells, fuel) as i32;
    /// `ThreadCells::trap`.
    pub const TRAP: i32 = offset_of!(ThreadCells, trap) as i32;
    /// `ThreadCells::host`.
    pub const HOST: i32 = offset_of!(ThreadCells, host) as i32;
    /// `ThreadCells::wide`.
    pub const WIDE: i32 = offset_of!(ThreadCells, wide) as i32;
    /// `ThreadCells::bridge`.
    pub const BRIDGE: i32 = offset_of!(ThreadCells, bridge) as i32;
    /// `ThreadCells::on_trap`.
    pub const ON_TRAP: i32 = offset_of!(ThreadCells, on_trap) as i32;
    /// `ThreadCells::on_count`.
    pub const ON_COUNT: i32 = offset_of!(ThreadCells, on_count) as i32;
    /// `ThreadCells::leave`.
    pub const LEAVE: i32 = offset_of!(ThreadCells, leave) as i32;
    /// `ThreadCells::finish`.
    pub const FINISH: i32 = offset_of!(ThreadCells, finish) as i32;
    /// `ThreadCells::stack_floor`.
    pub const STACK_FLOOR: i32 = offset_of!(ThreadCells, stack_floor) as i32;
    /// `ThreadCells::on_poll`.
    pub const ON_POLL: i32 = offset_of!(ThreadCells, on_poll) as i32;

    /// `CountSlot::countdown`.
    pub const SLOT_COUNTDOWN: i32 = offset_of!(CountSlot, countdown) as i32;
    /// `CountSlot::generation`.
    pub const SLOT_GENERATION: i32 = offset_of!(CountSlot, generation) as i32;

    // The numbers ABI.md and the stubs' assembly spell out.
    const _: () = {
        assert!(COUNTDOWN == 0 && STACK_LIMIT == 8 && INTERRUPT == 16 && ENTRY_SP == 24);
        assert!(EXIT_FP == 32 && EXIT_PC == 40 && FUEL == 48 && TRAP == 56);
        assert!(HOST == 64 && WIDE == 72 && BRIDGE == 80 && ON_TRAP == 88 && ON_COUNT == 96);
        assert!(LEAVE == 104 && FINISH == 112 && STACK_FLOOR == 120 && ON_POLL == 128);
        assert!(SLOT_COUNTDOWN == 0 && SLOT_GENERATION == 4 && size_of::<CountSlot>() == 8);
        assert!(offset_of!(Regs, gpr) == 0 && offset_of!(Regs, xmm) == 48);
        assert!(offset_of!(Regs, stack) == 112 && offset_of!(Regs, stack_len) == 120);
        assert!(offset_of!(Regs, ret_gpr) == 128 && offset_of!(Regs, ret_xmm) == 136);
        assert!(size_of::<Regs>() == 144);
    };
}
