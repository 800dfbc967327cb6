//! Events as a client sees them.

use serde::{Deserialize, Serialize};
use tierup_broker::{Event, Transition};

use super::Id;

/// One transition of one bead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventRecord {
    /// When it happened: nanoseconds since the broker was built.
    pub at_ns: u64,
    /// Which bead.
    pub bead: Id,
    /// What the embedder calls it.
    pub name: String,
    /// The tier that ran before.
    pub from: u8,
    /// The tier that runs, or would have run, after.
    pub to: u8,
    /// The loop site, when it is about an OSR variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<u32>,
    /// What happened.
    pub kind: Kind,
    /// What happened and why, in words.
    pub what: String,
    /// Time from the request to the start of the compile, in nanoseconds.
    pub queue_wait_ns: u64,
    /// Time the compiler took, in nanoseconds.
    pub cost_ns: u64,
    /// Bytes of machine code installed, or no longer reachable.
    pub code_bytes: u64,
    /// Where the code that it is about may be left, or was, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub guards: String,
}

impl From<&Event> for EventRecord {
    fn from(event: &Event) -> Self {
        EventRecord {
            at_ns: super::answer::nanos(event.time),
            bead: event.bead.into(),
            name: event.name.clone(),
            from: event.from.index(),
            to: event.to.index(),
            site: event.site,
            kind: Kind::of(&event.what),
            what: event.what.to_string(),
            queue_wait_ns: super::answer::nanos(event.queue_wait),
            cost_ns: super::answer::nanos(event.cost),
            code_bytes: event.code_bytes as u64,
            guards: event.guards.clone(),
        }
    }
}

/// A [`Transition`] without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the transition of the same name")]
pub enum Kind {
    Requested,
    Installed,
    BailedOut,
    Lost,
    Dropped,
    Abandoned,
    TierOff,
    Invalidated,
    Deoptimized,
    Reloaded,
    GuestUpdated,
    Never,
    Disabled,
    /// One that the service does not know.
    Other,
}

impl Kind {
    /// The kind of a transition.
    pub fn of(what: &Transition) -> Self {
        match what {
            Transition::Requested(_) => Kind::Requested,
            Transition::Installed => Kind::Installed,
            Transition::BailedOut { .. } => Kind::BailedOut,
            Transition::Lost(_) => Kind::Lost,
            Transition::Dropped(_) => Kind::Dropped,
            Transition::Abandoned => Kind::Abandoned,
            Transition::TierOff => Kind::TierOff,
            Transition::Invalidated(_) => Kind::Invalidated,
            Transition::Deoptimized { .. } => Kind::Deoptimized,
            Transition::Reloaded => Kind::Reloaded,
            Transition::GuestUpdated => Kind::GuestUpdated,
            Transition::Never(_) => Kind::Never,
            Transition::Disabled => Kind::Disabled,
            _ => Kind::Other,
        }
    }
}
