//! What goes over the socket: one JSON value per line, UTF-8, in both directions.
//!
//! A client says [`Request`]s, the service [`Line`]s. Each request is answered by one [`Line::Answer`] or [`Line::Error`] with its
//! id, in the order of requests but for [`Ask::TierReached`], whose answer comes when it comes. Once subscribed, events come in
//! between. Times are nanoseconds, code sizes bytes, tiers numbers: 0 is the interpreter.

mod answer;
mod ask;
mod event;
mod refusal;

use serde::{Deserialize, Serialize};

pub use answer::{Answer, BeadRecord, Hello, Page, StatsRecord, TierRecord, Variant};
pub use ask::{Ask, BeadKey, Filter, Id, Request};
pub use event::{EventRecord, Kind};
pub use refusal::{Never, Refusal};

/// The version of the protocol that is spoken here.
pub const PROTOCOL: u32 = 1;

/// Longest line a client may say, in bytes without the newline.
pub const LONGEST_LINE: usize = 64 * 1024;

/// Most beads on one [`Page`].
pub const LARGEST_PAGE: u32 = 1000;

/// What the service says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Line {
    /// A request was done.
    Answer {
        /// The request's.
        id: u64,
        /// The answer.
        is: Answer,
    },
    /// A request was not done, or what was said was none.
    Error {
        /// The request's, if there was one.
        id: Option<u64>,
        /// What was wrong, and where.
        error: Refusal,
        /// The same for people.
        message: String,
    },
    /// Something happened to a bead, and the client has subscribed to that.
    Event(EventRecord),
    /// The client was too slow, and this many events are lost to it, whether or not its filter would have shown them.
    Missed(u64),
    /// The last line: the connection is closed.
    Bye(Farewell),
}

impl Line {
    pub(crate) fn error(id: Option<u64>, error: Refusal) -> Self {
        Line::Error { id, message: error.to_string(), error }
    }
}

/// Why the service closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Farewell {
    /// A client asked the broker and the service to shut down.
    #[error("shut down")]
    ShutDown,
    /// The program closed the service, or ended.
    #[error("the program closed the service")]
    Closed,
    /// The client did not say hello in time.
    #[error("no hello in time")]
    NoHello,
    /// As many clients as are served at a time are connected.
    #[error("too many clients")]
    Busy,
}
