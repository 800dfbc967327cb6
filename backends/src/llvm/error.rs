//! What goes wrong between the backend and its helper, and what it costs: this promotion, or the tier.

use std::{ffi::OsStr, io, path::PathBuf, time::Duration};

use tierup_broker::{Bailout, BailoutReason};

use super::{
    connection::Status,
    protocol::{BadBody, VERSION},
};

/// Why a helper gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// There is no such executable, or it may not be run. Trying again would not help.
    #[error("LLVM helper `{}` cannot be run: {source}", program.display())]
    Missing {
        /// What was tried.
        program: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It speaks another version of the protocol.
    #[error("the LLVM helper speaks protocol version {found}, not {VERSION}")]
    Version {
        /// The helper's version.
        found: u32,
    },
    /// It does not say hello as a helper does.
    #[error("the LLVM helper is none: {0}")]
    NotAHelper(#[source] BadBody),
    /// It lost the thread.
    #[error("the LLVM helper is confused: {0}")]
    Confused(#[from] BadBody),
    /// The system has no room for another process now.
    #[error("the LLVM helper cannot be started: {0}")]
    Spawn(#[source] io::Error),
    /// A pipe broke.
    #[error("talking to the LLVM helper: {0}")]
    Pipe(#[source] io::Error),
    /// It ended in the middle of a compile.
    #[error(
        "the LLVM helper died ({}){}{last_words}",
        status.map_or_else(|| "still running".to_owned(), |status| status.to_string()),
        if last_words.is_empty() { "" } else { ": " },
    )]
    Died {
        /// How it ended, if it did.
        status: Option<Status>,
        /// The end of what it wrote to its standard error.
        last_words: String,
    },
    /// It did not answer in time and was killed.
    #[error("the LLVM helper was silent for {limit:?} and was killed{}{last_words}", if last_words.is_empty() { "" } else { ": " })]
    Silent {
        /// The time it was given.
        limit: Duration,
        /// The end of what it wrote to its standard error.
        last_words: String,
    },
    /// The result is no longer wanted; the helper was killed.
    #[error("cancelled")]
    Cancelled,
}

impl HelperError {
    pub(super) fn from_spawn(program: &OsStr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted => HelperError::Spawn(source),
            // No file handles left.
            _ if matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => HelperError::Spawn(source),
            _ => HelperError::Missing { program: program.into(), source },
        }
    }
}

impl From<HelperError> for Bailout {
    fn from(error: HelperError) -> Self {
        let reason = BailoutReason::Other(error.to_string());
        match error {
            HelperError::Cancelled => Bailout::retryable(BailoutReason::Cancelled),
            HelperError::Missing { .. } | HelperError::Version { .. } | HelperError::NotAHelper(_) => Bailout::terminal(reason),
            _ => Bailout::retryable(reason),
        }
    }
}
