//! Why a request was not done.

use serde::{Deserialize, Serialize};

use super::{BeadKey, Id};

/// Why a request was not done: what was wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// A line that is not a request.
    #[error("line {line}, column {column}: {problem}")]
    Malformed {
        /// Which line of the connection, counted from 1.
        line: u64,
        /// Which byte of it, counted from 1; 0 for what is missing.
        column: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A line that is too long. The rest of it is skipped.
    #[error("line {line} is longer than {limit} bytes")]
    TooLong {
        /// Which line of the connection, counted from 1.
        line: u64,
        /// Bytes a line may have.
        limit: usize,
    },
    /// The client's last line has no end.
    #[error("line {line} has no end")]
    Unfinished {
        /// Which line of the connection, counted from 1.
        line: u64,
    },
    /// A version that is not spoken here.
    #[error("protocol {asked} is not spoken here, but {spoken} is")]
    Protocol {
        /// The version asked for.
        asked: u32,
        /// The version that is spoken.
        spoken: u32,
    },
    /// The first request is not a hello.
    #[error("the first request of a connection is a hello")]
    HelloFirst,
    /// The program lets clients look on only.
    #[error("this service only shows, and changes nothing")]
    ReadOnly,
    /// Nothing is called so, or the bead has been released.
    #[error("there is no bead {bead}")]
    UnknownBead {
        /// The name.
        bead: BeadKey,
    },
    /// Several beads are called so.
    #[error("{count} beads are called {bead}, {} the first of them: name one by its id", some.first().map_or_else(String::new, ToString::to_string))]
    Ambiguous {
        /// The name.
        bead: BeadKey,
        /// How many.
        count: u64,
        /// The first of them.
        some: Vec<Id>,
    },
    /// The program has no new body for the bead.
    #[error("bead {bead} is not reloaded: {problem}")]
    NotReloaded {
        /// The name.
        bead: BeadKey,
        /// What the program says.
        problem: String,
    },
    /// No bead can ever reach the tier.
    #[error("there is no tier {tier}, the highest is {highest}")]
    NoSuchTier {
        /// The tier asked for.
        tier: u8,
        /// The highest there is.
        highest: u8,
    },
    /// The bead will not reach the tier.
    #[error("bead {bead} does not reach tier {tier}: {never}")]
    NotReached {
        /// The bead.
        bead: Id,
        /// The tier.
        tier: u8,
        /// Why.
        never: Never,
    },
    /// The bead has not reached the tier in the time the client gave it.
    #[error("bead {bead} has not reached tier {tier} within {within_ms} ms")]
    Late {
        /// The bead.
        bead: Id,
        /// The tier.
        tier: u8,
        /// The time, in milliseconds.
        within_ms: u64,
    },
    /// The connection waits for as many tiers as it may.
    #[error("a connection may wait for {limit} tiers at a time")]
    TooManyWaits {
        /// How many.
        limit: usize,
    },
    /// What the program does about such a request has panicked.
    #[error("the program failed: {problem}")]
    Failed {
        /// The panic's message.
        problem: String,
    },
}

/// Why a bead will not reach a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Never {
    /// The bead is gone.
    #[error("it was released")]
    Released,
    /// Its policy, a compiler or the program has ruled that out, until the bead is reloaded.
    #[error("it is disabled until it is reloaded")]
    Disabled,
    /// Too many compiles of the tier, and of those above, were abandoned.
    #[error("the tier is turned off")]
    TierOff,
    /// The broker was shut down.
    #[error("the broker is shut down")]
    ShutDown,
}
