//! The code being written: words, the last instruction, branch words waiting for their target.
//!
//! A branch word ends up as its target's address. Until the code has its final place it is the target's number; until
//! that is known, the number of the next branch word waiting for the same place.

use std::sync::atomic::AtomicU64;

use super::Origin;
use super::notes::Notes;
use crate::exec::{Instruction, Kind};

/// No instruction, no branch word.
pub(super) const NONE: u32 = u32::MAX;

/// Code under construction.
#[derive(Default)]
pub(super) struct Code {
    words: Vec<u64>,
    /// First word of the last instruction, if control cannot arrive between it and what is written next.
    last: Option<usize>,
    /// Branch words whose target is known.
    branches: Vec<u32>,
    /// If wanted: where each instruction came from.
    origins: Option<Vec<Origin>>,
    /// If wanted: what each instruction is.
    kinds: Option<Vec<(u32, Kind)>>,
    /// Offset of the operator being translated.
    pub(super) offset: u32,
}

/// Forward branches to one place, as a list threaded through their branch words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting(u32);

impl Waiting {
    /// Nobody waits.
    pub(super) const NOBODY: Self = Self(NONE);
}

/// The code in its final place and, if that was wanted, where its instructions came from, or what they are.
pub(super) struct Finished {
    pub(super) words: Box<[AtomicU64]>,
    pub(super) origins: Vec<Origin>,
    pub(super) kinds: Vec<(u32, Kind)>,
}

impl Code {
    pub(super) fn new(capacity: usize, notes: Notes) -> Self {
        let origins = (notes == Notes::Origins).then(Vec::new);
        let kinds = (notes == Notes::Kinds).then(|| Vec::with_capacity(capacity / 3));
        Self { words: Vec::with_capacity(capacity), last: None, branches: Vec::new(), origins, kinds, offset: 0 }
    }

    /// Starts an instruction: its handler. Operands follow by [`Code::word`].
    pub(super) fn begin(&mut self, instruction: impl Into<Instruction>) -> usize {
        let Instruction { handler, kind } = instruction.into();
        let at = self.words.len();
        self.words.push(handler as usize as u64);
        self.last = Some(at);
        if let Some(kinds) = &mut self.kinds {
            kinds.push((at as u32, kind));
        }
        if let Some(origins) = &mut self.origins {
            origins.push(Origin { code: at as u32, offset: self.offset });
        }
        at
    }

    /// Writes an operand word.
    pub(super) fn word(&mut self, word: u64) {
        self.words.push(word);
    }

    /// The next word's number.
    pub(super) fn here(&self) -> usize {
        self.words.len()
    }

    /// Whether the instruction at `at` is the last, with nothing able to arrive after it.
    pub(super) fn is_last(&self, at: usize) -> bool {
        self.last == Some(at)
    }

    /// The last instruction's first word, under the same condition.
    pub(super) fn last(&self) -> Option<usize> {
        self.last
    }

    /// Takes back the last instruction, which starts at `at`.
    pub(super) fn take_back(&mut self, at: usize) {
        debug_assert!(self.is_last(at));
        self.words.truncate(at);
        self.last = None;
        if let Some(origins) = &mut self.origins {
            while origins.last().is_some_and(|origin| origin.code as usize >= at) {
                origins.pop();
            }
        }
        if let Some(kinds) = &mut self.kinds {
            while kinds.last().is_some_and(|&(start, _)| start as usize >= at) {
                kinds.pop();
            }
        }
    }

    /// Makes the instruction at `at` another, with the same operands.
    pub(super) fn change(&mut self, at: usize, instruction: Instruction) {
        self.words[at] = instruction.handler as usize as u64;
        if let Some(kinds) = &mut self.kinds {
            let of = kinds.binary_search_by_key(&(at as u32), |&(start, _)| start);
            kinds[of.expect("an instruction starts there")].1 = instruction.kind;
        }
    }

    /// Whether the instruction at `at` is this one.
    pub(super) fn is(&self, at: usize, instruction: Instruction) -> bool {
        self.words[at] == instruction.handler as usize as u64
    }

    /// The operand word of the instruction at `at`.
    pub(super) fn operands(&mut self, at: usize) -> &mut u64 {
        &mut self.words[at + 1]
    }

    /// Notes that control may arrive here from elsewhere.
    pub(super) fn label(&mut self) -> usize {
        self.last = None;
        self.words.len()
    }

    /// Writes a branch word to a place that is known.
    pub(super) fn branch_to(&mut self, target: usize) {
        self.branches.push(self.words.len() as u32);
        self.words.push(target as u64);
    }

    /// Writes a branch word to a place still to come.
    pub(super) fn branch_later(&mut self, waiting: &mut Waiting) {
        let at = self.words.len();
        self.words.push(u64::from(waiting.0));
        *waiting = Waiting(at as u32);
    }

    /// Directs everybody waiting here.
    pub(super) fn arrive(&mut self, waiting: Waiting) {
        let here = self.label();
        let mut at = waiting.0;
        while at != NONE {
            let next = self.words[at as usize] as u32;
            self.words[at as usize] = here as u64;
            self.branches.push(at);
            at = next;
        }
    }

    /// Directs the branch word at `at` here.
    pub(super) fn arrive_from(&mut self, at: usize) {
        let here = self.label();
        self.words[at] = here as u64;
        self.branches.push(at as u32);
    }

    /// Ends it.
    pub(super) fn finish(self) -> Finished {
        // As many words at the same place: no copy.
        let mut words: Box<[AtomicU64]> = self.words.into_iter().map(AtomicU64::new).collect();
        let start = words.as_ptr();
        for at in self.branches {
            let target = words[at as usize].get_mut();
            *target = start.wrapping_add(*target as usize) as u64;
        }
        Finished { words, origins: self.origins.unwrap_or_default(), kinds: self.kinds.unwrap_or_default() }
    }
}
