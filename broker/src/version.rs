//! Code versions and the code word: the one pointer everybody calls through.
//!
//! A version is immutable and 64-byte aligned, and begins with four *faces*, 16 bytes apart, each holding the same entry:
//!
//! ```text
//! version + 0    native body, final          bit 5 bit 4
//! version + 16   native body, caller counts     0     1
//! version + 32   no body, not counted           1     0
//! version + 48   no body, caller counts         1     1
//! ```
//!
//! A bead's code word points at a face: its bits say what an interpreter must do, and a native caller, who does not care,
//! calls `[word]` as it is. The version is the word without its low six bits. *The version's identity is the bead's epoch*:
//! whoever compares and swaps holds a lease (a strong count) on the expected version, so the address cannot be reused.

use crate::{
    Tier,
    sync::{Arc, AtomicPtr, Built},
    unit::InstalledUnit,
};

/// One entry cell of a version. Native code loads a face from a bead's code cell and calls the entry it holds.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Face {
    entry: *const u8,
}

// SAFETY: a face is an address nobody writes after construction; calling it is the caller's unsafe act.
unsafe impl Send for Face {}
// SAFETY: as above.
unsafe impl Sync for Face {}

impl Face {
    /// A face of no version, for callees that are not beads (a host function's code cell points at one).
    pub const fn new(entry: *const u8) -> Self {
        Face { entry }
    }

    /// The machine code to call: never null in a bead's version.
    #[inline]
    pub const fn entry(&self) -> *const u8 {
        self.entry
    }
}

/// The word native code loads to call a function: points at a [`Face`].
pub type CodeCell = AtomicPtr<Face>;

pub(crate) const COUNTED: usize = 1 << 4;
pub(crate) const NO_BODY: usize = 1 << 5;
const VERSION_MASK: usize = !63;

/// The lineage of every bead that was never compiled, reloaded or invalidated.
pub(crate) const FIRST_LINEAGE: u64 = 0;
/// The lineage of released beads: no install is for it.
pub(crate) const NO_LINEAGE: u64 = u64::MAX;

/// Whether callers spend the countdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    Counted,
    Final,
}

/// The leading part of every version, whatever its guest handle is.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct CodeHeader {
    faces: [Face; 4],
    pub(crate) tier: Tier,
    /// Which registered or reloaded body this is a version of: an install made for another lineage loses.
    pub(crate) lineage: u64,
    pub(crate) built: Built,
}

impl CodeHeader {
    /// The header of the version a code word publishes.
    pub(crate) fn of_word(word: *mut Face) -> *const CodeHeader {
        word.map_addr(|address| address & VERSION_MASK).cast::<CodeHeader>().cast_const()
    }
}

/// An immutable set of units with the guest handle they were compiled from.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct CodeVersion<G> {
    pub(crate) header: CodeHeader,
    /// `None` while the bead still has the handle it was registered with.
    pub(crate) guest: Option<Arc<G>>,
    pub(crate) body: Option<Arc<InstalledUnit>>,
}

impl<G> CodeVersion<G> {
    /// A version without native code: native callers reach the interpreter through `bridge`.
    pub(crate) fn without_body(bridge: *const u8, lineage: u64, guest: Option<Arc<G>>) -> Arc<Self> {
        let header = CodeHeader { faces: faces(bridge), tier: Tier::INTERPRETER, lineage, built: Built::new() };
        Arc::new(CodeVersion { header, guest, body: None })
    }

    /// A version whose faces hold the entry of `body`.
    pub(crate) fn with_body(body: Arc<InstalledUnit>, lineage: u64, guest: Option<Arc<G>>) -> Arc<Self> {
        let header = CodeHeader { faces: faces(body.entry.as_ptr()), tier: body.tier, lineage, built: Built::new() };
        Arc::new(CodeVersion { header, guest, body: Some(body) })
    }

    pub(crate) fn tier(&self) -> Tier {
        self.header.tier
    }

    pub(crate) fn lineage(&self) -> u64 {
        self.header.lineage
    }

    /// Whether this is the version of released beads, which nothing may replace.
    pub(crate) fn is_gone(&self) -> bool {
        self.header.lineage == NO_LINEAGE
    }

    /// The code word that publishes this version.
    pub(crate) fn word(self: &Arc<Self>, counting: Counting) -> *mut Face {
        let counted = if counting == Counting::Counted { COUNTED } else { 0 };
        let bodiless = if self.body.is_none() { NO_BODY } else { 0 };
        Arc::as_ptr(self).cast::<Face>().cast_mut().map_addr(|address| address | counted | bodiless)
    }

    /// Whether callers of this code word count.
    pub(crate) fn counting(word: *mut Face) -> Counting {
        if word.addr() & COUNTED != 0 { Counting::Counted } else { Counting::Final }
    }

    /// The word for the same version with other counting.
    pub(crate) fn with_counting(word: *mut Face, counting: Counting) -> *mut Face {
        word.map_addr(|address| match counting {
            Counting::Counted => address | COUNTED,
            Counting::Final => address & !COUNTED,
        })
    }

    /// The version a code word publishes.
    pub(crate) fn of_word(word: *mut Face) -> *const Self {
        word.map_addr(|address| address & VERSION_MASK).cast::<Self>().cast_const()
    }
}

fn faces(entry: *const u8) -> [Face; 4] {
    std::array::from_fn(|_| Face::new(entry))
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Face>() == 16);
    assert!(align_of::<CodeVersion<u8>>() == 64);
    assert!(offset_of!(CodeHeader, faces) == 0);
    assert!(offset_of!(CodeVersion<u8>, header) == 0);
};
