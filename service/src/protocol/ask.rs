//! What a client says.

use std::fmt;

use serde::{Deserialize, Serialize};
use tierup_broker::{BeadId, Event};

use super::Kind;

/// A request: `{"id":1,"ask":"stats"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by the client; its answer has the same.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Ask {
    /// The first request of every connection.
    Hello {
        /// The version the client speaks.
        protocol: u32,
    },
    /// To be told of events from now on. Another one replaces the filter.
    Subscribe(Filter),
    /// What is known about a bead, and what is missing for its next promotion.
    Why {
        /// Which.
        bead: BeadKey,
    },
    /// A page of beads, in the order of ids.
    Beads {
        /// The lowest id to be shown: that of the page before, [`Page::next`](super::Page::next).
        #[serde(default)]
        from: u32,
        /// How many; at most [`LARGEST_PAGE`](super::LARGEST_PAGE), which is also what 0 means.
        #[serde(default)]
        limit: u32,
        /// Only beads whose name contains this.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        containing: String,
    },
    /// What the broker has done so far.
    Stats,
    /// Stops new entries into the bead's code.
    Invalidate {
        /// Which.
        bead: BeadKey,
    },
    /// Replaces the bead's body by what the program says is the new one.
    Reload {
        /// Which.
        bead: BeadKey,
    },
    /// Returns the bead to the interpreter and keeps it there until it is reloaded.
    Disable {
        /// Which.
        bead: BeadKey,
    },
    /// Answered when the bead runs code of the tier or of a higher one. Other requests may be made meanwhile.
    TierReached {
        /// Which.
        bead: BeadKey,
        /// The tier.
        tier: u8,
        /// Milliseconds to wait; without it, until the connection is closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within_ms: Option<u64>,
    },
    /// Shuts the broker down, answers, and then closes the service: no new promotions, what is queued is dropped, code stays.
    Shutdown,
}

impl Ask {
    /// Whether it changes what the program does: how fast, never what comes of it, unless a reload has another body.
    pub(crate) fn changes(&self) -> bool {
        matches!(self, Ask::Invalidate { .. } | Ask::Reload { .. } | Ask::Disable { .. } | Ask::Shutdown)
    }
}

/// Identity of a bead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Id {
    /// Dense and reused.
    pub id: u32,
    /// Which bead had this id, counted from 1.
    pub generation: u32,
}

impl From<BeadId> for Id {
    fn from(BeadId { id, generation }: BeadId) -> Self {
        Id { id, generation }
    }
}

impl From<Id> for BeadId {
    fn from(Id { id, generation }: Id) -> Self {
        BeadId { id, generation }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BeadId::from(*self).fmt(f)
    }
}

/// How a client names a bead.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a bead is {\"name\":NAME}, {\"id\":ID} or {\"id\":ID,\"generation\":GENERATION}"
)]
pub enum BeadKey {
    /// By what the embedder calls it.
    Name {
        /// The name, or the alias.
        name: String,
    },
    /// By its id.
    Id {
        /// The id.
        id: u32,
        /// Without it, whichever bead has the id now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<u32>,
    },
}

impl BeadKey {
    /// The bead that is called so.
    pub fn named(name: impl Into<String>) -> Self {
        BeadKey::Name { name: name.into() }
    }

    /// Whether `id` is this key's.
    pub(crate) fn is_id(&self, of: BeadId) -> bool {
        matches!(*self, BeadKey::Id { id, generation } if id == of.id && generation.is_none_or(|one| one == of.generation))
    }
}

impl From<Id> for BeadKey {
    fn from(Id { id, generation }: Id) -> Self {
        BeadKey::Id { id, generation: Some(generation) }
    }
}

impl fmt::Display for BeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BeadKey::Name { name } => write!(f, "{name:?}"),
            BeadKey::Id { id, generation: Some(generation) } => write!(f, "#{id}.{generation}"),
            BeadKey::Id { id, generation: None } => write!(f, "#{id}"),
        }
    }
}

/// Which events a client wants to see. What is empty filters nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Of these beads only. Names are those of events: an alias is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beads: Vec<BeadKey>,
    /// Of these kinds only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
}

impl Filter {
    pub(crate) fn shows(&self, event: &Event) -> bool {
        let is = |key: &BeadKey| matches!(key, BeadKey::Name { name } if *name == event.name) || key.is_id(event.bead);
        (self.kinds.is_empty() || self.kinds.contains(&Kind::of(&event.what)))
            && (self.beads.is_empty() || self.beads.iter().any(is))
    }
}
