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
//! calls `[word]` as it is. A face's second word leads to the entries of the version's OSR variants (`variants.rs`). The version is the word without its low six bits. *The version's identity is the bead's epoch*:
//! whoever compares and swaps holds a lease (a strong count) on the expected version, so the address cannot be reused.

use crate::{
    Tier,
    history::DeoptHistory,
    sync::{Arc, AtomicPtr, Built},
    unit::InstalledUnit,
    variants::{Table, Variants},
};

/// One entry cell of a version. Native code loads a face from a bead's code cell and calls the entry it holds.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Face {
    entry: *const u8,
    variants: Table,
}

// SAFETY: a face is two addresses nobody writes after construction; calling one is the caller's unsafe act, and reading the
// table asks for a promise.
unsafe impl Send for Face {}
// SAFETY: as above.
unsafe impl Sync for Face {}

impl Face {
    /// A face of no version, for callees that are not beads (a host function's code cell points at one).
    pub const fn new(entry: *const u8) -> Self {
        Face { entry, variants: Table::EMPTY }
    }

    /// The bit of a code word that [`is_counted`](Self::is_counted) reads, for machine code that calls as interpreters do.
    pub const COUNTED: usize = 1 << 4;
    /// The bit that is set where [`has_body`](Self::has_body) is false.
    pub const NO_BODY: usize = 1 << 5;

    /// The machine code to call: never null in a bead's version.
    #[inline]
    pub const fn entry(&self) -> *const u8 {
        self.entry
    }

    /// Whether a bead's code word, which is the address of a face, leads to native code, and not to what runs the interpreter.
    #[inline(always)]
    pub fn has_body(word: *mut Face) -> bool {
        word.addr() & NO_BODY == 0
    }

    /// Whether callers that read this code word are to count their calls.
    #[inline(always)]
    pub fn is_counted(word: *mut Face) -> bool {
        word.addr() & COUNTED != 0
    }

    #[inline(always)]
    pub(crate) const fn variants(&self) -> Table {
        self.variants
    }
}

/// The word native code loads to call a function: points at a [`Face`].
pub type CodeCell = AtomicPtr<Face>;

pub(crate) const COUNTED: usize = Face::COUNTED;
pub(crate) const NO_BODY: usize = Face::NO_BODY;
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
    /// The body's tier: the interpreter's when there is none.
    pub(crate) tier: Tier,
    /// The body is [sampled](crate::CodeUnit::sampled).
    pub(crate) sampled: bool,
    /// The highest tier of a variant.
    pub(crate) osr_tier: Tier,
    /// Which registered or reloaded body this is a version of: an install made for another lineage loses.
    pub(crate) lineage: u64,
    pub(crate) variants: Variants,
    pub(crate) built: Built,
}

impl CodeHeader {
    /// The highest tier of any code there is.
    pub(crate) fn top(&self) -> Tier {
        self.tier.max(self.osr_tier)
    }

    /// The header of the version a code word publishes.
    pub(crate) fn of_word(word: *mut Face) -> *const CodeHeader {
        word.map_addr(|address| address & VERSION_MASK).cast::<CodeHeader>().cast_const()
    }
}

/// An immutable set of units with the guest handle they were compiled from, and what is known of those before them.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct CodeVersion<G> {
    pub(crate) header: CodeHeader,
    /// `None` while the bead still has the handle it was registered with.
    pub(crate) guest: Option<Arc<G>>,
    pub(crate) body: Option<Arc<InstalledUnit>>,
    /// Bodies of lower tiers, highest first: what takes over when the body is given up. Nobody enters them.
    pub(crate) resident: Box<[Arc<InstalledUnit>]>,
    /// What was learnt from units that were given up.
    pub(crate) history: Option<Arc<DeoptHistory>>,
}

/// What a version consists of.
struct Parts<G> {
    guest: Option<Arc<G>>,
    body: Option<Arc<InstalledUnit>>,
    resident: Box<[Arc<InstalledUnit>]>,
    variants: Variants,
    history: Option<Arc<DeoptHistory>>,
}

impl<G> CodeVersion<G> {
    /// A version without native code: native callers reach the interpreter through `bridge`.
    pub(crate) fn bare(bridge: *const u8, lineage: u64, guest: Option<Arc<G>>, history: Option<Arc<DeoptHistory>>) -> Arc<Self> {
        let parts = Parts { guest, body: None, resident: Box::default(), variants: Variants::NONE, history };
        Self::new(bridge, lineage, parts)
    }

    /// The successor that has this body. What it replaces stays resident if the new one may fail.
    pub(crate) fn with_body(&self, body: Arc<InstalledUnit>) -> Arc<Self> {
        let entry = body.entry.as_ptr();
        let below = if body.speculative { Some(self.body.iter().chain(&self.resident)) } else { None };
        let resident = below.into_iter().flatten().filter(|unit| unit.tier < body.tier).cloned().collect();
        Self::new(entry, self.header.lineage, Parts { body: Some(body), resident, ..self.parts() })
    }

    /// The successor that has only the units `keep` says, and this history: the best body left is the one that is entered.
    pub(crate) fn keeping(
        &self,
        bridge: *const u8,
        history: Option<Arc<DeoptHistory>>,
        keep: impl Fn(&InstalledUnit) -> bool,
    ) -> Arc<Self> {
        let mut bodies = self.body.iter().chain(&self.resident).filter(|unit| keep(unit)).cloned();
        let (body, resident) = (bodies.next(), bodies.collect());
        let entry = body.as_ref().map_or(bridge, |body| body.entry.as_ptr());
        let variants = self.header.variants.keeping(keep);
        Self::new(entry, self.header.lineage, Parts { guest: self.guest.clone(), body, resident, variants, history })
    }

    /// The successor that has this variant.
    pub(crate) fn with_variant(&self, site: u32, unit: &Arc<InstalledUnit>) -> Arc<Self> {
        let variants = self.header.variants.with(site, unit);
        Self::new(self.entry(), self.header.lineage, Parts { variants, ..self.parts() })
    }

    /// The successor that has this guest handle.
    pub(crate) fn with_guest(&self, guest: Arc<G>) -> Arc<Self> {
        Self::new(self.entry(), self.header.lineage, Parts { guest: Some(guest), ..self.parts() })
    }

    /// What a successor shares with this one.
    fn parts(&self) -> Parts<G> {
        Parts {
            guest: self.guest.clone(),
            body: self.body.clone(),
            resident: self.resident.clone(),
            variants: self.header.variants.clone(),
            history: self.history.clone(),
        }
    }

    fn new(entry: *const u8, lineage: u64, parts: Parts<G>) -> Arc<Self> {
        let Parts { guest, body, resident, variants, history } = parts;
        let table = variants.table();
        let header = CodeHeader {
            faces: std::array::from_fn(|_| Face { entry, variants: table }),
            tier: body.as_ref().map_or(Tier::INTERPRETER, |body| body.tier),
            sampled: body.as_ref().is_some_and(|body| body.sampled),
            osr_tier: variants.highest(),
            lineage,
            variants,
            built: Built::new(),
        };
        Arc::new(CodeVersion { header, guest, body, resident, history })
    }

    fn entry(&self) -> *const u8 {
        self.header.faces[0].entry
    }

    /// Everything there is code of.
    pub(crate) fn units(&self) -> impl Iterator<Item = &Arc<InstalledUnit>> {
        self.sited_units().map(|(_, unit)| unit)
    }

    /// As [`Self::units`], with a site of each variant.
    pub(crate) fn sited_units(&self) -> impl Iterator<Item = (Option<u32>, &Arc<InstalledUnit>)> {
        self.entered_units().chain(self.resident.iter().map(|unit| (None, unit)))
    }

    /// What can be entered, with a site of each variant.
    pub(crate) fn entered_units(&self) -> impl Iterator<Item = (Option<u32>, &Arc<InstalledUnit>)> {
        let body = self.body.iter().map(|body| (None, body));
        body.chain(self.header.variants.each().map(|(site, unit)| (Some(site), unit)))
    }

    /// Bytes of machine code of all units.
    pub(crate) fn code_bytes(&self) -> usize {
        self.units().map(|unit| unit.code_bytes).sum()
    }

    /// The tier that runs where `site` says: of the variant there, or of the body.
    pub(crate) fn tier_for(&self, site: Option<u32>) -> Tier {
        site.map_or(self.header.tier, |site| self.header.variants.tier_at(site))
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

#[cfg(not(loom))]
const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Face>() == 16);
    assert!(offset_of!(Face, entry) == 0);
    assert!(align_of::<CodeVersion<u8>>() == 64);
    assert!(offset_of!(CodeHeader, faces) == 0);
    assert!(offset_of!(CodeVersion<u8>, header) == 0);
};
