//! The small answers of the API: what a state is, what became of a submission, a swap, a reload.

/// How far a bead's compiled form has got. Worked out from the broker's own words whenever it is asked for, never kept beside them.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeadState {
    /// No code; none is being made.
    Interpreted = 0,
    /// Asked for.
    Queued = 1,
    /// Being compiled for the first time, or afresh.
    Compiling = 2,
    /// There is code. (A higher tier may be on its way.)
    Compiled = 3,
    /// Invalidated: the function is gone.
    Deopt = 4,
}

impl TryFrom<u8> for BeadState {
    type Error = ();

    fn try_from(value: u8) -> Result<Self, ()> {
        use BeadState::{Compiled, Compiling, Deopt, Interpreted, Queued};
        [Interpreted, Queued, Compiling, Compiled, Deopt].get(usize::from(value)).copied().ok_or(())
    }
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitResult {
    /// It will be compiled.
    Accepted,
    /// The bead is being compiled already, has code, is gone, blacklisted, or paused.
    AlreadyQueued,
    /// Never said: the queue has room for every bead there is.
    QueueFull,
    /// The broker was dropped.
    BrokerShutDown,
}

impl SubmitResult {
    /// Whether it was accepted.
    pub fn is_accepted(self) -> bool {
        self == SubmitResult::Accepted
    }
}

/// What a swap replaced.
#[derive(Debug)]
pub struct SwapResult {
    /// The code that is entered no more: the caller's again, to be freed when no thread is inside.
    pub old_code: *mut (),
    /// The bead's generation after the swap.
    pub new_generation: u64,
}

// SAFETY: an address, which nobody here follows.
unsafe impl Send for SwapResult {}
// SAFETY: as above.
unsafe impl Sync for SwapResult {}

/// What a reload found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// There was code; it is entered no more, and the next invocation of a hot bead asks for new.
    WillRecompile,
    /// It was being compiled: the result will be discarded, and it is asked for again.
    PendingCurrentCompile,
    /// It had been asked for; the next invocation asks again.
    Reverted,
    /// There was nothing to do.
    AlreadyInterpreting,
    /// The bead was invalidated.
    Dead,
}

impl ReloadOutcome {
    /// Whether something will be compiled afresh.
    pub fn will_recompile(self) -> bool {
        matches!(self, ReloadOutcome::WillRecompile | ReloadOutcome::PendingCurrentCompile | ReloadOutcome::Reverted)
    }
}
