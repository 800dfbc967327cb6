//! Bailouts: a compile given up. (Leaving running code because an assumption failed is a deopt, not a bailout.)

/// A compile that was given up, and whether trying again may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} bailout: {reason}", if *.retryable { "retryable" } else { "terminal" })]
pub struct Bailout {
    retryable: bool,
    reason: BailoutReason,
}

impl Bailout {
    /// The same request will fail again: the tier is disabled for the bead.
    pub fn terminal(reason: BailoutReason) -> Self {
        Bailout { retryable: false, reason }
    }

    /// The request may succeed later: the bead is tried again after more work, with exponential backoff.
    pub fn retryable(reason: BailoutReason) -> Self {
        Bailout { retryable: true, reason }
    }

    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Why the compile was given up.
    pub fn reason(&self) -> &BailoutReason {
        &self.reason
    }
}

/// Why a compile was given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BailoutReason {
    /// The compiler or the lowering does not know how to do something.
    #[error("unsupported: {what}")]
    Unsupported {
        /// What is not supported.
        what: String,
    },
    /// The verifier refused what the lowering produced.
    #[error("the verifier refused the function: {message}")]
    Verifier {
        /// The verifier's words.
        message: String,
    },
    /// The guest function itself is not valid.
    #[error("the guest function is invalid: {message}")]
    InvalidGuest {
        /// What is wrong with it.
        message: String,
    },
    /// The function names a helper that was never registered with the backend.
    #[error("unknown helper `{name}`")]
    UnknownSymbol {
        /// The name asked for.
        name: String,
    },
    /// The compile took longer than it may.
    #[error("the deadline passed")]
    Deadline,
    /// The compiler panicked.
    #[error("the compiler panicked: {message}")]
    Panicked {
        /// The panic's message, or a placeholder when it carried none.
        message: String,
    },
    /// The lowering used up the stack, or a caller that compiles on its own thread had too little.
    #[error("not enough stack to compile")]
    StackExhausted,
    /// The native frame is larger than the stack check covers.
    #[error("native frame of {bytes} bytes, {limit} allowed")]
    FrameTooLarge {
        /// Size of the frame.
        bytes: u64,
        /// Largest size allowed.
        limit: u64,
    },
    /// The function is too large for this tier.
    #[error("function too large: {size}, {limit} allowed")]
    TooLarge {
        /// Its size.
        size: u64,
        /// Largest size allowed, in the same unit.
        limit: u64,
    },
    /// The OSR variant of a loop site is too large for what it is worth: the next loop further out may not be.
    #[error("OSR variant too large: {size}, {limit} allowed")]
    OsrTooLarge {
        /// Its size.
        size: u64,
        /// Largest size allowed, in the same unit.
        limit: u64,
        /// The site of the loop around this one, which is asked for instead; `None` when there is none.
        outer: Option<u32>,
    },
    /// The compiler returned a null entry.
    #[error("the compiler returned a null entry")]
    NullCode,
    /// The compiler returned a unit made for another request.
    #[error("the compiler returned a unit made for another request")]
    ForeignUnit,
    /// Code memory is used up.
    #[error("out of code memory")]
    OutOfCodeMemory,
    /// The request was cancelled while it was compiled.
    #[error("cancelled")]
    Cancelled,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// A [`BailoutReason`] without its details: what statistics are kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the BailoutReason of the same name")]
pub enum BailoutKind {
    #[error("not supported")]
    Unsupported,
    #[error("the verifier refused it")]
    Verifier,
    #[error("the body is invalid")]
    InvalidGuest,
    #[error("unknown symbol")]
    UnknownSymbol,
    #[error("past its deadline")]
    Deadline,
    #[error("the compiler panicked")]
    Panicked,
    #[error("out of stack")]
    StackExhausted,
    #[error("frame too large")]
    FrameTooLarge,
    #[error("too large")]
    TooLarge,
    #[error("variant too large")]
    OsrTooLarge,
    #[error("no code")]
    NullCode,
    #[error("another request's unit")]
    ForeignUnit,
    #[error("out of code memory")]
    OutOfCodeMemory,
    #[error("cancelled")]
    Cancelled,
    #[error("another reason")]
    Other,
}

impl BailoutKind {
    /// Every kind, in declaration order.
    pub const ALL: [BailoutKind; 15] = [
        BailoutKind::Unsupported,
        BailoutKind::Verifier,
        BailoutKind::InvalidGuest,
        BailoutKind::UnknownSymbol,
        BailoutKind::Deadline,
        BailoutKind::Panicked,
        BailoutKind::StackExhausted,
        BailoutKind::FrameTooLarge,
        BailoutKind::TooLarge,
        BailoutKind::OsrTooLarge,
        BailoutKind::NullCode,
        BailoutKind::ForeignUnit,
        BailoutKind::OutOfCodeMemory,
        BailoutKind::Cancelled,
        BailoutKind::Other,
    ];
}

impl BailoutReason {
    /// The reason without its details.
    pub fn kind(&self) -> BailoutKind {
        match self {
            BailoutReason::Unsupported { .. } => BailoutKind::Unsupported,
            BailoutReason::Verifier { .. } => BailoutKind::Verifier,
            BailoutReason::InvalidGuest { .. } => BailoutKind::InvalidGuest,
            BailoutReason::UnknownSymbol { .. } => BailoutKind::UnknownSymbol,
            BailoutReason::Deadline => BailoutKind::Deadline,
            BailoutReason::Panicked { .. } => BailoutKind::Panicked,
            BailoutReason::StackExhausted => BailoutKind::StackExhausted,
            BailoutReason::FrameTooLarge { .. } => BailoutKind::FrameTooLarge,
            BailoutReason::TooLarge { .. } => BailoutKind::TooLarge,
            BailoutReason::OsrTooLarge { .. } => BailoutKind::OsrTooLarge,
            BailoutReason::NullCode => BailoutKind::NullCode,
            BailoutReason::ForeignUnit => BailoutKind::ForeignUnit,
            BailoutReason::OutOfCodeMemory => BailoutKind::OutOfCodeMemory,
            BailoutReason::Cancelled => BailoutKind::Cancelled,
            BailoutReason::Other(_) => BailoutKind::Other,
        }
    }
}
