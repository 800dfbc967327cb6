//! Call-target profiles: which functions an indirect call has called.
//!
//! The interpreter and code that may still be replaced by better code record them; the optimizing tier reads them. A target is a
//! function of the *caller's own* instance, known by where its reference is among the instance's references: the same in all
//! instances of the module, which therefore share one profile. Whatever else is called (another instance's function, the
//! host's) counts as foreign.
//!
//! Recording a call of the target that came first costs the interpreter six instructions: a copy, a subtraction, a load, a
//! compare-and-branch and an addition in memory. Cranelift's code has a few moves more. All others the interpreter counts out of line.
//! Cranelift's code looks all places through at once, and counts out of line only what is in none; of a site that has called too
//! much, whose calls say nothing any more, it counts no others at all (`lower/profile.rs`).
//!
//! # Orderings
//!
//! Every access is Relaxed: numbers that carry nothing and that no result depends on. Counts are read and written back, not added to
//! atomically, so threads that count at once may lose some; of threads that add a target at once one wins the place. Generated code
//! reads the four targets, and reads and writes back the four counts, by one access of 16 bytes each, which are aligned and so never
//! tear a number: what a thread writes back may take any of the counts to where they were when it read them. They are only ever
//! compared with one another, for an order, and with how many there were, for whether it is early: code may try targets in another
//! order then, or speculate too early, and is left where it is wrong.

use std::mem::{align_of, offset_of, size_of};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::vmctx::FuncRef;

/// Targets kept for each site; one that has more is megamorphic. V8's number (`--max-valid-polymorphic-map-count`).
pub(crate) const MAX_TARGETS: usize = 4;

/// Calls without a new target after which a site is stable.
///
/// V8's rule for whole functions: a change of feedback takes a function's ticks back to zero (`IC::OnFeedbackChanged`), so it is
/// optimized only when nothing new was seen for a while. Here it holds for each site by itself: the rest of a function need not wait
/// for a call that is still finding out what it calls.
pub(crate) const STABLE: u32 = 64;

/// No target: no reference is at an odd address.
const NONE: u32 = u32::MAX;

/// An indirect call in one function's code, with what is known of its targets.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct CallSite {
    /// Bytes from the first reference of an instance to that of each target.
    targets: [AtomicU32; MAX_TARGETS],
    /// Calls of each.
    counts: [AtomicU32; MAX_TARGETS],
    /// Calls of others: if there were any, the site is megamorphic for good. Code stops counting at one.
    others: AtomicU32,
    /// Calls there had been when the newest target was met.
    settled: AtomicU32,
    /// The table called through.
    pub(crate) table: u32,
    /// Engine-wide number of the callees' type.
    pub(crate) ty: u32,
    /// Offset of the operator in the module's bytes.
    pub(crate) offset: u32,
    /// Calls of [`note`](Self::note), which is the way out of line.
    #[cfg(test)]
    noted: AtomicU32,
}

/// Where generated code finds the targets, the first one first.
pub(crate) const TARGETS: i32 = offset_of!(CallSite, targets) as i32;
/// Where generated code counts their calls, in the same order.
pub(crate) const COUNTS: i32 = offset_of!(CallSite, counts) as i32;
/// Where generated code sees whether there were others.
pub(crate) const OTHERS: i32 = offset_of!(CallSite, others) as i32;
/// What is no target, nor a free place: an odd number.
pub(crate) const FOREIGN: u32 = NONE - 2;

// Generated code accesses them by 16 aligned bytes.
const _: () = assert!(MAX_TARGETS == 4 && TARGETS % 16 == 0 && COUNTS % 16 == 0 && align_of::<CallSite>() == 16);

/// What a site has called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing.
    Nothing,
    /// It is too early to say.
    Unstable,
    /// These functions of its own instance, by index, and nothing else; the most frequent first.
    Few(Vec<u32>),
    /// More than that, or other instances' functions.
    Many,
}

impl CallSite {
    pub(crate) fn new(table: u32, ty: u32, offset: u32) -> Self {
        Self {
            targets: [const { AtomicU32::new(NONE) }; MAX_TARGETS],
            counts: Default::default(),
            others: AtomicU32::new(0),
            settled: AtomicU32::new(0),
            table,
            ty,
            offset,
            #[cfg(test)]
            noted: AtomicU32::new(0),
        }
    }

    /// Records a call of what is `target` bytes from the first reference of the caller's instance, if it is the first target there was.
    #[inline(always)]
    pub(crate) fn note_first(&self, target: u64) -> bool {
        let is_first = u64::from(self.targets[0].load(Relaxed)) == target;
        if is_first {
            bump(&self.counts[0]);
        }
        is_first
    }

    /// Records a call of any target, in an instance with so many functions.
    pub(crate) fn note(&self, target: u64, functions: usize) {
        #[cfg(test)]
        bump(&self.noted);
        let own =
            u32::try_from(target).ok().filter(|&target| target != NONE && (target as usize) < functions * size_of::<FuncRef>());
        match own.and_then(|target| self.place(target)) {
            Some(place) => bump(&self.counts[place]),
            None => bump(&self.others),
        }
    }

    /// The place of a target, given to it if one is free.
    fn place(&self, target: u32) -> Option<usize> {
        self.targets.iter().position(|place| {
            let mut known = place.load(Relaxed);
            if known == NONE {
                match place.compare_exchange(NONE, target, Relaxed, Relaxed) {
                    Ok(_) => {
                        self.settled.store(self.calls(), Relaxed);
                        return true;
                    }
                    Err(others) => known = others,
                }
            }
            known == target
        })
    }

    fn calls(&self) -> u32 {
        self.counts.iter().map(|count| count.load(Relaxed)).fold(0, u32::wrapping_add)
    }

    /// Calls recorded, of whatever target.
    #[cfg(all(test, feature = "llvm"))]
    pub(crate) fn recorded(&self) -> u32 {
        self.calls().wrapping_add(self.others.load(Relaxed))
    }

    /// Calls recorded out of line.
    #[cfg(all(test, feature = "llvm"))]
    pub(crate) fn noted(&self) -> u32 {
        self.noted.load(Relaxed)
    }

    /// What was recorded so far, of a site that is stable after so many calls.
    pub(crate) fn seen(&self, stable: u32) -> Seen {
        if self.others.load(Relaxed) > 0 {
            return Seen::Many;
        }
        let known = self.targets.iter().zip(&self.counts);
        let known = known.map(|(target, count)| (target.load(Relaxed), count.load(Relaxed)));
        let mut known: Vec<_> = known.filter(|&(target, _)| target != NONE).collect();
        if known.is_empty() {
            return Seen::Nothing;
        }
        if self.calls().wrapping_sub(self.settled.load(Relaxed)) < stable {
            return Seen::Unstable;
        }
        known.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        Seen::Few(known.into_iter().map(|(target, _)| target / size_of::<FuncRef>() as u32).collect())
    }
}

fn bump(count: &AtomicU32) {
    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
}

#[cfg(test)]
mod tests;
