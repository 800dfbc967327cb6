//! The exits of one unit, as drivers see them: where the words that an exit stored belong.
//!
//! Plain data, made once by a compile, read by any thread for as long as the code lives. The only thing in it that changes is
//! how often each exit was taken.

use std::sync::atomic::{AtomicU64, Ordering};

use tierup_broker::{GuardId, UnitId};

use crate::ExitReason;

/// The exits of a unit, by number.
#[derive(Debug, Default)]
pub struct ExitTable {
    unit: Option<UnitId>,
    exits: Box<[Exit]>,
}

/// One exit: a place where code may leave for the interpreter.
#[derive(Debug)]
pub struct Exit {
    pub(crate) guard: GuardId,
    pub(crate) reason: ExitReason,
    pub(crate) frames: Box<[FrameLayout]>,
    pub(crate) words: u32,
    pub(crate) taken: AtomicU64,
}

/// Where the slots of one frame are among the words that an exit stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameLayout {
    /// The function, in the embedder's numbering.
    pub function: u64,
    /// Where in it the interpreter goes on.
    pub pc: u32,
    /// (slot, index of its word).
    pub slots: Box<[(u32, u32)]>,
}

/// A frame as the interpreter has it.
#[derive(Debug, Clone, Copy)]
pub struct RebuiltFrame<'a> {
    layout: &'a FrameLayout,
    words: &'a [u64],
}

impl ExitTable {
    pub(crate) fn new(unit: Option<UnitId>, exits: Vec<Exit>) -> Self {
        ExitTable { unit, exits: exits.into() }
    }

    /// The unit, as [`InterpThread::on_exit`](tierup_broker::InterpThread::on_exit) wants to be told. `None` if it was compiled
    /// without a broker.
    pub fn unit(&self) -> Option<UnitId> {
        self.unit
    }

    /// The exit of that number. `None` if the unit has none: then somebody made the number up.
    pub fn exit(&self, number: u32) -> Option<&Exit> {
        self.exits.get(number as usize)
    }

    /// All exits, in the order of their numbers.
    pub fn exits(&self) -> &[Exit] {
        &self.exits
    }

    /// Whether the unit never leaves through an exit.
    pub fn is_empty(&self) -> bool {
        self.exits.is_empty()
    }
}

impl Exit {
    /// What the code speculated on.
    pub fn guard(&self) -> GuardId {
        self.guard
    }

    /// Why it leaves.
    pub fn reason(&self) -> ExitReason {
        self.reason
    }

    /// The frames, outermost first. At least one.
    pub fn frames(&self) -> &[FrameLayout] {
        &self.frames
    }

    /// How many words it stores.
    pub fn words(&self) -> usize {
        self.words as usize
    }

    /// Counts that it was taken; says how often that was before. Drivers do so once per exit.
    pub fn take(&self) -> u64 {
        // Ordering: Relaxed. A counter; it publishes nothing.
        self.taken.fetch_add(1, Ordering::Relaxed)
    }

    /// How often it was taken, in this code.
    pub fn taken(&self) -> u64 {
        // Ordering: Relaxed. As above.
        self.taken.load(Ordering::Relaxed)
    }

    /// The frames, outermost first, from the words the exit stored.
    ///
    /// # Panics
    ///
    /// If there are fewer than [`words`](Self::words).
    pub fn rebuild<'a>(&'a self, words: &'a [u64]) -> impl ExactSizeIterator<Item = RebuiltFrame<'a>> + DoubleEndedIterator {
        let words = &words[..self.words()];
        self.frames.iter().map(move |layout| RebuiltFrame { layout, words })
    }
}

impl<'a> RebuiltFrame<'a> {
    /// The function, in the embedder's numbering.
    pub fn function(&self) -> u64 {
        self.layout.function
    }

    /// Where in it the interpreter goes on.
    pub fn pc(&self) -> u32 {
        self.layout.pc
    }

    /// The live slots: number and content, narrow values below zeros.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = (u32, u64)> + use<'a> {
        let words = self.words;
        self.layout.slots.iter().map(move |&(slot, word)| (slot, words[word as usize]))
    }
}
