//! What stands beside a bead's state word about on-stack replacement: which variant its OSR lane is about, and what failed.
//!
//! ```text
//!  63                  39 38     35 34  32 31            0
//! ┌──────────────────────┬─────────┬──────┬───────────────┐
//! │ closed sites, 25 bits│ retries │ tier │ site          │
//! └──────────────────────┴─────────┴──────┴───────────────┘
//! ```
//!
//! Tier and site are the *claim*: tier 0 means that there is none. A claim is taken before the lane's request is made and
//! given back by whoever ends it (who refuses it, withdraws it, or has compiled it), so that while the lane is anything but
//! idle the claim says what it is about, and its holder is one. A site is *closed* when a compile for it failed for good:
//! nobody asks for it again until the body is reloaded. Sites from 24 on share one bit, which costs functions with that many
//! loops some speed.
//!
//! Nothing here is published or ordered: the state word's transitions do that.
#![forbid(unsafe_code)]

use crate::{
    Tier,
    mutation::dropped,
    sync::{AtomicU64, Ordering},
    target::Target,
    tuning::{MAX_RETRIES, MOST_SITES},
};

const TIER: u32 = 32;
const CLAIM: u64 = (1 << 35) - 1;
const RETRIES: u32 = 35;
const RETRY_MASK: u64 = 0xF;
const CLOSED: u32 = 39;
const CLOSED_BITS: u32 = 25;

/// What [`OsrRecord::claim`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum OsrClaim {
    /// The lane is the caller's to ask for.
    Won,
    /// Somebody asks for this.
    Held(Target),
    /// The site is closed.
    Closed,
}

/// The record of one bead.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct OsrRecord(AtomicU64);

// Ordering: Relaxed throughout. The word says what the lane is about; the state word's exchanges, before and after which it is
// read and written, order it, and exchanges of this word itself see its latest value.
impl OsrRecord {
    /// A new bead has the slot.
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The body was replaced: what failed is forgotten. A claim stays its holder's.
    pub(crate) fn forgive(&self) {
        self.update(|word| word & CLAIM);
    }

    /// Takes the claim, so that the lane may be asked for.
    pub(crate) fn claim(&self, tier: Tier, site: u32) -> OsrClaim {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if let Some(target) = claimed(word)
                && !dropped!(OsrClaim)
            {
                return OsrClaim::Held(target);
            }
            if is_closed(word, site) {
                return OsrClaim::Closed;
            }
            let next = word & !CLAIM | u64::from(tier.index()) << TIER | u64::from(site);
            match self.0.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return OsrClaim::Won,
                Err(actual) => word = actual,
            }
        }
    }

    /// What the lane is about. There is an answer while it is not idle.
    pub(crate) fn claimed(&self) -> Option<Target> {
        claimed(self.0.load(Ordering::Relaxed))
    }

    /// Gives the claim back. Only its holder calls this.
    pub(crate) fn unclaim(&self) {
        self.update(|word| word & !CLAIM);
    }

    /// Whether a site is closed, or not numbered for OSR at all.
    pub(crate) fn is_closed(&self, site: u32) -> bool {
        is_closed(self.0.load(Ordering::Relaxed), site)
    }

    /// Closes a site for good.
    pub(crate) fn close(&self, site: u32) {
        self.update(|word| word | closed_bit(site));
    }

    /// A compile gave up and may be tried again. Says how often one has, this time included; the last time closes all sites.
    pub(crate) fn note_retry(&self) -> u8 {
        let before = self.update(|word| {
            let retries = (retries(word) + 1).min(MAX_RETRIES);
            let word = word & !(RETRY_MASK << RETRIES) | u64::from(retries) << RETRIES;
            if retries == MAX_RETRIES { word | !0 << CLOSED } else { word }
        });
        (retries(before) + 1).min(MAX_RETRIES)
    }

    /// How often compiles gave up that may be tried again.
    pub(crate) fn retries(&self) -> u8 {
        retries(self.0.load(Ordering::Relaxed))
    }

    fn update(&self, change: impl Fn(u64) -> u64) -> u64 {
        let updated = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| Some(change(word)));
        updated.unwrap_or_else(|word| word)
    }
}

fn claimed(word: u64) -> Option<Target> {
    let tier = Tier::new((word >> TIER & 7) as u8);
    (!tier.is_interpreter()).then(|| Target::osr(tier, word as u32))
}

fn retries(word: u64) -> u8 {
    (word >> RETRIES & RETRY_MASK) as u8
}

fn closed_bit(site: u32) -> u64 {
    1 << (CLOSED + site.min(CLOSED_BITS - 1))
}

fn is_closed(word: u64, site: u32) -> bool {
    site >= MOST_SITES || word & closed_bit(site) != 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const TIER1: Tier = Tier::new(1);
    const TIER7: Tier = Tier::MAX;

    #[test]
    fn one_claim_at_a_time() {
        let record = OsrRecord::default();
        assert_eq!(record.claim(TIER7, 65_535), OsrClaim::Won);
        assert_eq!(record.claim(TIER1, 0), OsrClaim::Held(Target::osr(TIER7, 65_535)));
        record.close(3);
        record.unclaim();
        assert_eq!(record.claimed(), None);
        assert_eq!(record.claim(TIER1, 3), OsrClaim::Closed);
        assert_eq!(record.claim(TIER1, MOST_SITES), OsrClaim::Closed, "no table has room for it");
        assert_eq!(record.claim(TIER1, 0), OsrClaim::Won);
        record.forgive();
        assert_eq!(record.claimed(), Some(Target::osr(TIER1, 0)));
        assert!(!record.is_closed(3));
    }

    #[test]
    fn many_sites_share_the_last_bit() {
        let record = OsrRecord::default();
        record.close(23);
        assert!(!record.is_closed(24) && !record.is_closed(22));
        record.close(1000);
        assert!(record.is_closed(24) && record.is_closed(65_000) && !record.is_closed(22));
    }

    #[test]
    fn the_last_retry_closes_everything() {
        let record = OsrRecord::default();
        assert_eq!(record.claim(TIER1, 7), OsrClaim::Won);
        for time in 1..=MAX_RETRIES {
            assert!(!record.is_closed(0));
            assert_eq!(record.note_retry(), time);
            assert_eq!(record.retries(), time);
        }
        assert!(record.is_closed(0) && record.is_closed(100));
        assert_eq!(record.note_retry(), MAX_RETRIES);
        assert_eq!(record.claimed(), Some(Target::osr(TIER1, 7)), "the claim is not touched");
    }
}
