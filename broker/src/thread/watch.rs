//! What one thread remembers about the loops it runs: the one it watches, and the one it was left behind in.
#![forbid(unsafe_code)]

use crate::Tier;

/// The next few back-edges of one bead's code of one tier, looked at one by one. Copied in and out of a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    id: u32,
    tier: Tier,
    left: u32,
    /// Sites seen, and seen twice: one bit each, the last for all that have none of their own.
    seen: u64,
    twice: u64,
}

/// Sites with a bit of their own.
const TOLD_APART: u32 = 63;

impl Watch {
    /// Nothing is watched.
    pub(crate) const OFF: Watch = Watch { id: 0, tier: Tier::INTERPRETER, left: 0, seen: 0, twice: 0 };

    pub(crate) fn new(id: u32, tier: Tier, back_edges: u32) -> Self {
        Watch { id, tier, left: back_edges, seen: 0, twice: 0 }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.left > 0
    }

    pub(crate) fn is_of(&self, id: u32) -> bool {
        self.is_on() && self.id == id
    }

    /// Whether it is of code of this tier: who has left for better code since has not earned what comes after that.
    pub(crate) fn is_of_tier(&self, id: u32, tier: Tier) -> bool {
        self.is_of(id) && self.tier == tier
    }

    /// One back-edge more.
    pub(crate) fn note(&mut self, site: u32) {
        let bit = 1 << site.min(TOLD_APART);
        self.twice |= self.seen & bit;
        self.seen |= bit;
        self.left = self.left.saturating_sub(1);
    }

    /// Back-edges may have gone unseen: `most` more will do.
    pub(crate) fn interrupt(&mut self, most: u32) {
        self.left = self.left.min(most);
    }

    /// The site to enter at: the lowest seen twice that is not closed, or else `last`, where the thread is now.
    pub(crate) fn choose(&self, last: u32, is_closed: impl Fn(u32) -> bool) -> Option<u32> {
        let recurring = (0..TOLD_APART).filter(|site| self.twice >> site & 1 != 0);
        recurring.chain([last]).find(|&site| !is_closed(site))
    }
}

/// Work done in loops of one bead below the best code there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    id: u32,
    work: u32,
}

impl Behind {
    /// Nothing yet.
    pub(crate) const NOWHERE: Behind = Behind { id: u32::MAX, work: 0 };

    /// The same bead's after `work` more, or another's.
    pub(crate) fn after(self, id: u32, work: i32) -> Self {
        Behind { id, work: self.work(id).saturating_add(work.unsigned_abs()) }
    }

    pub(crate) fn work(self, id: u32) -> u32 {
        if self.id == id { self.work } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(sites: &[u32]) -> Watch {
        let mut watch = Watch::new(7, Tier::new(1), sites.len() as u32);
        for &site in sites {
            assert!(watch.is_of(7) && !watch.is_of(8));
            assert!(watch.is_of_tier(7, Tier::new(1)) && !watch.is_of_tier(7, Tier::INTERPRETER));
            watch.note(site);
        }
        assert!(!watch.is_on());
        watch
    }

    #[test]
    fn the_outermost_loop_that_comes_round_twice() {
        let open = |_| false;
        assert_eq!(watched(&[2, 2, 1, 2, 2, 1, 2]).choose(2, open), Some(1));
        assert_eq!(watched(&[2, 2, 1, 2, 2]).choose(2, open), Some(2), "once may be the last time");
        assert_eq!(watched(&[5]).choose(5, open), Some(5));
        assert_eq!(watched(&[1, 1, 2, 2]).choose(2, |site| site == 1), Some(2));
        assert_eq!(watched(&[1, 1, 2, 2]).choose(2, |_| true), None);
        assert_eq!(watched(&[900, 64, 900]).choose(900, open), Some(900), "sites without a bit are not told apart");
    }

    #[test]
    fn who_is_left_behind_counts_one_bead_at_a_time() {
        let behind = Behind::NOWHERE.after(3, 10).after(3, 5);
        assert_eq!((behind.work(3), behind.work(4), behind.after(4, 2).work(4)), (15, 0, 2));
    }
}
