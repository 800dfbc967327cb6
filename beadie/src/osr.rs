//! Entries into the middle of a function, by the runtime's own names of its loops.

/// Code that goes on at a loop of a running function.
#[derive(Debug, Clone, Copy)]
pub struct OsrEntry {
    /// The runtime's name of the loop.
    pub site: u64,
    /// Where to go on. What it expects of the frame is between the runtime and its compiler.
    pub code: *mut (),
}

// SAFETY: an address, which nobody here follows.
unsafe impl Send for OsrEntry {}
// SAFETY: as above.
unsafe impl Sync for OsrEntry {}

/// The entries that belong to one piece of code, in the order of their sites.
#[derive(Debug, Default)]
pub(crate) struct OsrTable(Box<[OsrEntry]>);

impl OsrTable {
    /// Of two entries for one site the first counts.
    pub(crate) fn new(mut entries: Vec<OsrEntry>) -> Self {
        entries.sort_by_key(|entry| entry.site);
        entries.dedup_by_key(|entry| entry.site);
        OsrTable(entries.into())
    }

    pub(crate) fn find(&self, site: u64) -> Option<*mut ()> {
        self.0.binary_search_by_key(&site, |entry| entry.site).ok().map(|index| self.0[index].code)
    }
}
