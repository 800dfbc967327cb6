//! Typed errors.

use std::{io, path::PathBuf};

use tierup_broker::{BeadId, Tier};

use crate::protocol::{Farewell, Never, Refusal};

/// Why a service cannot be reached at its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is something else.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error("{} is in use by a program that runs", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Others are about to listen in the same directory, and do not come to an end.
    #[error("{} is locked by another program", path.display())]
    DirectoryLocked {
        /// The directory.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot listen at {}: {source}", path.display())]
    Listen {
        /// The path.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// There is no thread, or no runtime for it.
    #[error("cannot start a thread to serve: {0}")]
    Thread(io::Error),
}

/// Why a bead will not reach a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The bead is another broker's.
    #[error("the bead belongs to another broker")]
    ForeignBead,
    /// No bead can ever reach the tier.
    #[error("there is no {tier}, the highest is {highest}")]
    NoSuchTier {
        /// The tier asked for.
        tier: Tier,
        /// The highest there is.
        highest: Tier,
    },
    /// The bead will not reach it.
    #[error("bead {bead} does not reach {tier}: {never}")]
    NotReached {
        /// The bead.
        bead: BeadId,
        /// The tier.
        tier: Tier,
        /// Why.
        never: Never,
    },
}

/// Why a client did not get an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there.
    #[error("nobody serves at {}: {source}", path.display())]
    Connect {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The service did not answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(std::time::Duration),
    /// The service said something that is not of this protocol.
    #[error("not understood: {0}")]
    Protocol(String),
    /// The service closed the connection.
    #[error("the service closed the connection: {0}")]
    Bye(Farewell),
    /// The service closed the connection without a word.
    #[error("the service closed the connection")]
    Closed,
    /// The service did not do what it was asked.
    #[error("{message}")]
    Refused {
        /// What was wrong, and where.
        error: Refusal,
        /// The same for people.
        message: String,
    },
    /// An earlier request was given up in the midst of its line: make a new connection.
    #[error("an earlier request was given up half said")]
    HalfSaid,
}
