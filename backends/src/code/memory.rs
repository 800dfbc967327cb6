//! The arena: one reservation, pages handed out inaccessible, filled, sealed executable, returned inaccessible. Never both writable and
//! executable; where the system allows it (`own.rs`) never writable, but for what Cranelift's linker fills in place.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    CodeMap,
    own::OwnMemory,
    pages::{FreePages, PageSpan},
    protect::protect,
};
use crate::trap::{self, RegisteredRange};

/// Address space a [`CodeMemory`] reserves unless told otherwise. Uncommitted until used.
pub const DEFAULT_CODE_BYTES: usize = 512 << 20;

/// Units begin so far apart in their pages, or further: a line of the instruction cache.
const LINE: usize = 64;

/// Where a unit begins in its pages, which begin with page `first` and have `room` bytes to spare. Each has pages of its own: if all began at the start of
/// one, the small ones would share a few sets of the instruction cache, and the rest of it would be for nobody.
fn place(first: u32, room: usize, align: usize) -> usize {
    let step = align.max(LINE);
    // The golden ratio's multiples spread neighbours, however many places there are (Knuth's multiplicative hashing).
    let spread = first.wrapping_mul(0x9e37_79b1) >> 16;
    spread as usize % (room / step + 1) * step
}

/// Memory for generated code, shared by the backends of a broker.
///
/// Compile workers and whoever drops the last lease of a unit take its lock for a few instructions; interpreter threads look
/// pcs up in [`map`](Self::map), which has none.
#[derive(Debug)]
pub struct CodeMemory {
    base: *mut u8,
    page: usize,
    pages: u32,
    free: Mutex<FreePages>,
    map: CodeMap,
    own: OwnMemory,
    _registered: RegisteredRange,
}

// SAFETY: `base` is an address range; each page of it belongs to one `CodePages` or to nobody.
unsafe impl Send for CodeMemory {}
// SAFETY: as above; the free list is locked, the map is lock-free and Sync.
unsafe impl Sync for CodeMemory {}

impl CodeMemory {
    /// Reserves `bytes` of address space, rounded up to pages, and registers it as code with the fault handler.
    ///
    /// # Errors
    ///
    /// What the system says when it refuses; `InvalidInput` for sizes beyond 16 TiB.
    pub fn reserve(bytes: usize) -> io::Result<Arc<Self>> {
        let page = trap::page_size();
        let pages = u32::try_from(bytes.div_ceil(page).max(1)).map_err(|_| io::ErrorKind::InvalidInput)?;
        let bytes = pages as usize * page;
        let base = trap::map_reserved(bytes)?;
        // SAFETY: backends put only their own output here, compiled with frame pointers.
        let registered = unsafe { trap::register_code(base as usize, bytes) };
        let map = CodeMap::new(base as usize, page, pages);
        let (free, own) = (Mutex::new(FreePages::new(pages)), OwnMemory::default());
        Ok(Arc::new(CodeMemory { base, page, pages, free, map, own, _registered: registered }))
    }

    /// From pcs to guest functions.
    pub fn map(&self) -> &CodeMap {
        &self.map
    }

    /// Bytes of pages that are handed out now.
    pub fn used_bytes(&self) -> usize {
        (self.pages - self.lock().free()) as usize * self.page
    }

    /// Bytes reserved.
    pub fn reserved_bytes(&self) -> usize {
        self.pages as usize * self.page
    }

    /// Takes pages for at least `bytes`, writable and not executable.
    pub(crate) fn take_writable(self: &Arc<Self>, bytes: usize) -> io::Result<CodePages> {
        let mut pages = self.take(bytes, 1)?;
        pages.begin = 0;
        pages.protect(libc::PROT_READ | libc::PROT_WRITE)?;
        Ok(pages)
    }

    /// Takes pages for `bytes` that are aligned so, inaccessible until they are [filled](CodePages::seal_with).
    pub(crate) fn take(self: &Arc<Self>, bytes: usize, align: usize) -> io::Result<CodePages> {
        let count = u32::try_from(bytes.div_ceil(self.page).max(1)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let span = self.lock().take(count).ok_or(io::ErrorKind::OutOfMemory)?;
        let begin = place(span.first, count as usize * self.page - bytes, align);
        Ok(CodePages { memory: Arc::clone(self), span, begin })
    }

    fn lock(&self) -> MutexGuard<'_, FreePages> {
        // The list is consistent between any two calls, so a panic elsewhere does not spoil it.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        // SAFETY: every `CodePages` holds the Arc, so no page is in use.
        unsafe { libc::munmap(self.base.cast(), self.reserved_bytes()) };
    }
}

/// Pages of one unit. Dropping them makes them inaccessible and gives them back.
#[derive(Debug)]
pub(crate) struct CodePages {
    memory: Arc<CodeMemory>,
    span: PageSpan,
    /// Where in them the unit begins.
    begin: usize,
}

impl CodePages {
    /// Where the unit begins.
    pub(crate) fn start(&self) -> *mut u8 {
        // SAFETY: less than what the pages have to spare.
        unsafe { self.first().add(self.begin) }
    }

    fn first(&self) -> *mut u8 {
        // SAFETY: the span lies in the reservation.
        unsafe { self.memory.base.add(self.span.first as usize * self.memory.page) }
    }

    /// From the first to the last, whatever of them the unit takes.
    pub(super) fn bytes(&self) -> usize {
        self.span.count as usize * self.memory.page
    }

    /// Copies `image` to where it is to begin in pages fresh from `take`, and makes them readable and executable and no longer writable.
    ///
    /// # Panics
    ///
    /// If it is longer than what they were taken for.
    pub(crate) fn seal_with(&mut self, image: &[u8]) -> io::Result<()> {
        assert!(self.begin + image.len() <= self.bytes(), "an image larger than its pages");
        // x86-64 keeps instruction fetch coherent with stores; elsewhere there are no stubs and so no backend.
        self.protect(libc::PROT_READ | libc::PROT_EXEC)?;
        // SAFETY: the pages are ours, as long as asserted, and nobody else knows of them yet.
        if unsafe { self.memory.own.write(self.start(), image) }.is_ok() {
            return Ok(());
        }
        self.protect(libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: as above, and they are writable.
        unsafe { self.start().copy_from_nonoverlapping(image.as_ptr(), image.len()) };
        self.protect(libc::PROT_READ | libc::PROT_EXEC)
    }

    pub(super) fn protect(&self, protection: libc::c_int) -> io::Result<()> {
        debug_assert!(protection & (libc::PROT_WRITE | libc::PROT_EXEC) != libc::PROT_WRITE | libc::PROT_EXEC);
        // SAFETY: whole pages that belong to this span; its owner decides when code in them may run.
        unsafe { protect(self.first(), self.bytes(), protection) }
    }
}

impl Drop for CodePages {
    fn drop(&mut self) {
        // Inaccessible first: a stray jump into freed code faults instead of running what comes next.
        let sealed = self.protect(libc::PROT_NONE);
        // SAFETY: the pages are ours and nobody can be inside them: their lease is being dropped.
        let returned = unsafe { libc::madvise(self.first().cast(), self.bytes(), libc::MADV_DONTNEED) };
        if sealed.is_ok() && returned == 0 {
            self.memory.lock().release(self.span);
        } else {
            // Out of map entries: the pages stay taken rather than being handed out while executable.
            tracing::warn!(bytes = self.bytes(), "code pages could not be returned");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{CodeMemory, LINE};

    #[test]
    fn pages_are_counted_and_come_back_zeroed() {
        let memory = CodeMemory::reserve(1 << 20).unwrap();
        let pages = memory.take_writable(5000).unwrap();
        assert_eq!(memory.used_bytes(), 8192);
        // SAFETY: the pages are writable and ours.
        unsafe { pages.start().write_bytes(0xc3, pages.bytes()) };
        let first = pages.start();
        drop(pages);
        assert_eq!(memory.used_bytes(), 0);
        let again = memory.take_writable(8192).unwrap();
        assert_eq!(again.start(), first);
        // SAFETY: readable and ours.
        assert_eq!(unsafe { again.start().add(8191).read() }, 0);
    }

    /// A forked child must not write to its parent's, and some systems refuse to.
    #[test]
    fn pages_are_filled_with_and_without_the_process_s_own_memory() {
        let image: Vec<u8> = (0..9000).map(|n| n as u8).collect();
        for own in [None, Some(("/dev/null", u32::MAX)), Some(("/dev/full", std::process::id()))] {
            let memory = CodeMemory::reserve(1 << 20).unwrap();
            if let Some((file, process)) = own {
                memory.own.pretend(file, process);
            }
            let mut pages = memory.take(9000, 16).unwrap();
            pages.seal_with(&image).unwrap();
            // SAFETY: sealed pages are readable, and ours.
            let found = unsafe { std::slice::from_raw_parts(pages.first(), pages.bytes()) };
            let (before, found) = found.split_at(pages.begin);
            let (found, behind) = found.split_at(image.len());
            assert!(found == image && before.iter().chain(behind).all(|&byte| byte == 0), "{own:?}");
        }
    }

    /// Nothing else would tell, but that it takes longer.
    #[test]
    fn where_the_system_allows_it_pages_are_never_writable() {
        let is_hardened = std::fs::read_to_string("/proc/cmdline").is_ok_and(|options| options.contains("proc_mem"));
        if is_hardened || std::fs::OpenOptions::new().write(true).open("/proc/self/mem").is_err() {
            println!("skipped: /proc/self/mem is not for writing here");
            return;
        }
        let memory = CodeMemory::reserve(1 << 20).unwrap();
        let mut pages = memory.take(16, 16).unwrap();
        pages.seal_with(&[]).unwrap();
        // SAFETY: the pages are the test's, and nobody else uses them.
        unsafe { memory.own.write(pages.start(), &[0xc3; 16]) }.unwrap();
        // SAFETY: as above; pages are readable.
        assert_eq!(unsafe { pages.start().add(15).read() }, 0xc3);
    }

    #[test]
    fn units_begin_at_different_places_of_their_pages() {
        let memory = CodeMemory::reserve(1 << 20).unwrap();
        for bytes in [100, 800, 2_000] {
            let all: Vec<_> = (0..64).map(|_| memory.take(bytes, 16).unwrap()).collect();
            let places: BTreeSet<usize> = all.iter().map(|pages| pages.start().addr() % memory.page).collect();
            let there_are = (memory.page - bytes) / LINE + 1;
            assert!(places.len() > there_are.min(64) / 2, "{} of {there_are}: {places:?}", places.len());
            assert!(places.iter().all(|place| place % LINE == 0 && place + bytes <= memory.page), "{places:?}");
        }
        let aligned: Vec<_> = (0..8).map(|_| memory.take(5000, 256).unwrap()).collect();
        assert!(aligned.iter().all(|pages| pages.start().addr() % 256 == 0 && pages.begin + 5000 <= pages.bytes()));
        let full = memory.take(2 * memory.page, 16).unwrap();
        assert_eq!(full.start(), full.first());
    }

    #[test]
    fn an_exhausted_arena_says_so() {
        let memory = CodeMemory::reserve(1 << 16).unwrap();
        let error = memory.take(1 << 17, 16).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
        assert_eq!(memory.used_bytes(), 0);
    }
}
