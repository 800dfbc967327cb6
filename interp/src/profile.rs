//! Call-target profiles: which functions an indirect call has called.
//!
//! The interpreter and code that may still be replaced by better code record them; the optimizing tier reads them. A target is a
//! function of the *caller's own* instance, known by where its reference is among the instance's references: the same in all
//! instances of the module, which therefore share one profile. Whatever else is called (another instance's function, the
//! host's) counts as foreign.
//!
//! Recording a call of the target that came first costs the interpreter six instructions: a copy, a subtraction, a load, a
//! compare-and-branch and an addition in memory. Cranelift's code has a few moves more. All others are counted out of line.
//!
//! # Orderings
//!
//! Every access is Relaxed: numbers that carry nothing and that no result depends on. Counts are read and written back, not added to
//! atomically, so threads that count at once may lose some; of threads that add a target at once one wins the place.

use std::mem::{offset_of, size_of};
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
#[repr(C)]
pub(crate) struct CallSite {
    /// Bytes from the first reference of an instance to that of each target.
    targets: [AtomicU32; MAX_TARGETS],
    /// Calls of each.
    counts: [AtomicU32; MAX_TARGETS],
    /// Calls of others.
    others: AtomicU32,
    /// Calls there had been when the newest target was met.
    settled: AtomicU32,
    /// The table called through.
    pub(crate) table: u32,
    /// Engine-wide number of the callees' type.
    pub(crate) ty: u32,
    /// Offset of the operator in the module's bytes.
    pub(crate) offset: u32,
}

/// Where generated code finds the first target.
pub(crate) const FIRST_TARGET: i32 = offset_of!(CallSite, targets) as i32;
/// Where generated code counts its calls.
pub(crate) const FIRST_COUNT: i32 = offset_of!(CallSite, counts) as i32;

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
        let own =
            u32::try_from(target).ok().filter(|&target| target != NONE && (target as usize) < functions * size_of::<FuncRef>());
        match own.and_then(|target| self.place(target)) {
            Some(place) => bump(&self.counts[place]),
            None => bump(&self.others),
        }
    }

    /// The place of a target, given to it if one is free.
    fn place(&self, target: u32) -> Option<usize> {
        self.targets.iter().position(|place| match place.compare_exchange(NONE, target, Relaxed, Relaxed) {
            Ok(_) => {
                self.settled.store(self.calls(), Relaxed);
                true
            }
            Err(known) => known == target,
        })
    }

    fn calls(&self) -> u32 {
        self.counts.iter().map(|count| count.load(Relaxed)).fold(0, u32::wrapping_add)
    }

    /// Calls recorded, of whatever target.
    #[cfg(test)]
    pub(crate) fn recorded(&self) -> u32 {
        self.calls().wrapping_add(self.others.load(Relaxed))
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
