//! Tables of references.

use crate::error::Error;
use crate::types::TableType;
use crate::vmctx::TableDef;

/// A table. Starts with the record generated code reads, so that a pointer to either is a pointer to both.
#[repr(C)]
pub(crate) struct TableInner {
    pub(crate) def: TableDef,
    pub(crate) ty: TableType,
    /// Elements it may grow to.
    cap: u64,
    /// Where `def` points. Only ever read and written through `def`, so that nothing else claims the elements.
    elements: Vec<u64>,
}

impl TableInner {
    /// A table of the type's minimum size, all null, that never grows past `cap` elements.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if the minimum passes `cap` or the memory cannot be had.
    pub(crate) fn new(ty: TableType, cap: u64) -> Result<Self, Error> {
        let cap = cap.min(ty.limits.maximum.unwrap_or(u64::from(u32::MAX)));
        let mut table =
            Self { def: TableDef { base: std::ptr::null_mut(), len: 0, watch: std::ptr::null() }, ty, cap, elements: Vec::new() };
        match table.grow(ty.limits.minimum, 0) {
            Some(_) => Ok(table),
            None => Err(Error::Limit { what: "a table" }),
        }
    }

    /// Adds `delta` elements holding `value` and returns the size before, or `None` if a limit forbids it.
    pub(crate) fn grow(&mut self, delta: u64, value: u64) -> Option<u64> {
        let old = self.def.len;
        let new = old.checked_add(delta).filter(|&new| new <= self.cap)?;
        self.elements.try_reserve(usize::try_from(delta).ok()?).ok()?;
        self.elements.resize(new as usize, value);
        (self.def.base, self.def.len) = (self.elements.as_mut_ptr(), new);
        Some(old)
    }
}

// SAFETY: `def.base` points into `elements`, which moves with the table; what the elements refer to belongs to the
// same store, which is sent as a whole, and `def.watch` is a module's, which any thread may use.
unsafe impl Send for TableInner {}
