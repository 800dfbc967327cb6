//! Linear memories.
//!
//! Each is a reservation of 8 GiB and one page, inaccessible beyond the current size: any 32-bit address plus any
//! 32-bit offset lands inside it, so native code may access it without a check, and growing never moves it.

use tierup::GuardedRegion;

use crate::error::Error;
use crate::trap::TrapCode;
use crate::types::MemoryType;
use crate::vmctx::MemoryDef;

/// Bytes of a WebAssembly page.
pub const PAGE: u64 = 64 << 10;
/// Pages a memory can have: one short of 4 GiB, so that a size fits into 32 bits and an address inside can be added to a little
/// without wrapping around. (The specification lets an implementation refuse to grow.)
pub const MAX_PAGES: u64 = (1 << 16) - 1;
/// What each memory reserves.
const RESERVATION: usize = (8 << 30) + (64 << 10);

/// A memory. Starts with the record generated code reads, so that a pointer to either is a pointer to both.
#[repr(C)]
pub(crate) struct MemoryInner {
    pub(crate) def: MemoryDef,
    pub(crate) ty: MemoryType,
    /// Pages it may grow to: the least of the type's maximum, the configuration's and [`MAX_PAGES`].
    cap: u64,
    /// Bytes of the region before its own.
    before: usize,
    region: GuardedRegion,
}

impl MemoryInner {
    /// A zeroed memory of the type's minimum size that never grows past `cap` pages, and `before` zeroed bytes that end where it begins.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if the minimum passes `cap`; [`Error::Memory`] when the system refuses.
    pub(crate) fn new(ty: MemoryType, cap: u64, before: usize) -> Result<Self, Error> {
        let cap = cap.min(MAX_PAGES).min(ty.limits.maximum.unwrap_or(MAX_PAGES));
        if ty.limits.minimum > cap {
            return Err(Error::Limit { what: "a memory" });
        }
        let refused = |source| Error::Memory { what: "a memory", source };
        // Whole pages of whatever system.
        let before = before.next_multiple_of(PAGE as usize);
        let region = GuardedRegion::reserve(before + RESERVATION, TrapCode::MemoryOutOfBounds as u64).map_err(refused)?;
        let len_bytes = ty.limits.minimum * PAGE;
        region.make_accessible(0, before + len_bytes as usize).map_err(refused)?;
        // SAFETY: inside the region.
        let base = unsafe { region.base().add(before) };
        Ok(Self { def: MemoryDef { base, len_bytes }, ty, cap, before, region })
    }

    /// Current size in pages.
    pub(crate) fn pages(&self) -> u64 {
        self.def.len_bytes / PAGE
    }

    /// Adds `delta` zeroed pages and returns the size before, or `None` if a limit or the system forbids it.
    pub(crate) fn grow(&mut self, delta: u64) -> Option<u64> {
        let old = self.pages();
        let new = old.checked_add(delta).filter(|&new| new <= self.cap)?;
        if delta > 0 {
            self.region.make_accessible(self.before + (old * PAGE) as usize, (delta * PAGE) as usize).ok()?;
        }
        self.def.len_bytes = new * PAGE;
        Some(old)
    }
}
