//! Why code leaves at an exit.

/// What did not hold. Fixed when the code is compiled; why the *code* is kept or given up afterwards is a policy's
/// [`DeoptReason`](tierup_broker::DeoptReason).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ExitReason {
    /// An indirect call had another target than those that were seen.
    ///
    /// What the code has behind the call is right for any target: of the callee's results it knows nothing. A lowering that puts a callee's
    /// body there passes them on as parameters of a block (`osr/README.md` has the reason).
    #[error("another call target")]
    WrongTarget,
    /// A value was of another type than those that were seen.
    #[error("another type")]
    WrongType,
    /// Arithmetic left the range of its operands' representation.
    #[error("overflow")]
    Overflow,
    /// Code that had never run was reached.
    #[error("code that had never run")]
    Unreached,
    /// The code itself was withdrawn while it ran.
    #[error("the code was withdrawn")]
    Invalid,
    /// A test mode or a debugger asked.
    #[error("on request")]
    Requested,
    /// The embedder's own.
    #[error("{0}")]
    Other(&'static str),
}
