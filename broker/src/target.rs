//! What a request is for: a tier's code of a function, whole or from a loop header on.
#![forbid(unsafe_code)]

use crate::{Tier, UnitKind, state::Lane};

/// The tier asked for, and the loop site for an OSR variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tier: Tier,
    pub(crate) site: Option<u32>,
}

impl Target {
    pub(crate) fn osr(tier: Tier, site: u32) -> Self {
        Target { tier, site: Some(site) }
    }

    /// Which of the bead's lanes its request takes.
    pub(crate) fn lane(self) -> Lane {
        if self.site.is_some() { Lane::Osr } else { Lane::Body(self.tier) }
    }

    pub(crate) fn kind(self) -> UnitKind {
        self.site.map_or(UnitKind::Body, |site| UnitKind::Osr { site })
    }
}

impl From<Tier> for Target {
    fn from(tier: Tier) -> Self {
        Target { tier, site: None }
    }
}
