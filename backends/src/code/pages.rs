//! Which pages of the arena are free: spans by position, best fit, coalesced on release. Pure bookkeeping.

use std::collections::{BTreeMap, BTreeSet};

/// A run of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageSpan {
    /// First page.
    pub(crate) first: u32,
    /// How many; never 0.
    pub(crate) count: u32,
}

/// Free runs, by position and by (length, position).
#[derive(Debug)]
pub(crate) struct FreePages {
    by_first: BTreeMap<u32, u32>,
    by_count: BTreeSet<(u32, u32)>,
    free: u32,
}

impl FreePages {
    /// Pages `0..count`, all free.
    pub(crate) fn new(count: u32) -> Self {
        let mut pages = FreePages { by_first: BTreeMap::new(), by_count: BTreeSet::new(), free: 0 };
        if count > 0 {
            pages.insert(0, count);
        }
        pages
    }

    /// Pages that are free.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// Free runs; 1 when nothing is allocated.
    #[cfg(test)]
    pub(crate) fn runs(&self) -> usize {
        self.by_first.len()
    }

    /// Takes `count` pages from the smallest run that has them, the lowest among equals.
    pub(crate) fn take(&mut self, count: u32) -> Option<PageSpan> {
        debug_assert!(count > 0);
        let &(length, first) = self.by_count.range((count, 0)..).next()?;
        self.remove(first, length);
        if length > count {
            self.insert(first + count, length - count);
        }
        Some(PageSpan { first, count })
    }

    /// Returns a span that [`take`](Self::take) gave out.
    pub(crate) fn release(&mut self, span: PageSpan) {
        let PageSpan { mut first, mut count } = span;
        if let Some((&before, &length)) = self.by_first.range(..first).next_back() {
            debug_assert!(before + length <= first, "released pages are not free");
            if before + length == first {
                self.remove(before, length);
                (first, count) = (before, length + count);
            }
        }
        if let Some(&length) = self.by_first.get(&(first + count)) {
            self.remove(first + count, length);
            count += length;
        }
        self.insert(first, count);
    }

    fn insert(&mut self, first: u32, count: u32) {
        self.by_first.insert(first, count);
        self.by_count.insert((count, first));
        self.free += count;
    }

    fn remove(&mut self, first: u32, count: u32) {
        self.by_first.remove(&first);
        self.by_count.remove(&(count, first));
        self.free -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::{FreePages, PageSpan};

    #[test]
    fn the_smallest_run_that_fits_is_taken() {
        let mut pages = FreePages::new(16);
        let spans: Vec<PageSpan> = (0..5).map(|_| pages.take(3).unwrap()).collect();
        pages.release(spans[1]);
        pages.release(spans[3]);
        assert_eq!(pages.take(1), Some(PageSpan { first: 15, count: 1 }));
        assert_eq!(pages.take(3), Some(PageSpan { first: 3, count: 3 }));
        assert_eq!(pages.take(4), None);
    }

    #[test]
    fn released_neighbours_coalesce() {
        let mut pages = FreePages::new(12);
        let spans: Vec<PageSpan> = (0..4).map(|_| pages.take(3).unwrap()).collect();
        for i in [0, 2, 3, 1] {
            pages.release(spans[i]);
        }
        assert_eq!((pages.runs(), pages.free()), (1, 12));
        assert_eq!(pages.take(12), Some(PageSpan { first: 0, count: 12 }));
        assert_eq!(pages.take(1), None);
    }

    /// Against a plain array of booleans, with a fixed generator.
    #[test]
    fn random_histories_agree_with_a_bitmap() {
        let mut pages = FreePages::new(64);
        let (mut taken, mut map, mut seed) = (Vec::new(), [false; 64], 0x9e37_79b9u32);
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let random = seed >> 16;
            if random & 1 == 0 {
                if let Some(span) = pages.take(1 + (random >> 1) % 6) {
                    for page in span.first..span.first + span.count {
                        assert!(!std::mem::replace(&mut map[page as usize], true), "page {page} given out twice");
                    }
                    taken.push(span);
                }
            } else if !taken.is_empty() {
                let span: PageSpan = taken.swap_remove((random >> 1) as usize % taken.len());
                map[span.first as usize..(span.first + span.count) as usize].fill(false);
                pages.release(span);
            }
            assert_eq!(pages.free() as usize, map.iter().filter(|&&used| !used).count());
        }
    }
}
