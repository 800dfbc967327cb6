//! Beads: the embedder's handles of its functions' tiering records.

use std::{fmt, marker::PhantomData, ptr::NonNull};

use crate::{registry::Hot, shared::Shared, sync::Arc, version::CodeCell};

/// What a bead is registered with besides its guest handle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BeadSpec {
    /// Size of the guest body in bytes: policies weigh it.
    pub size: u32,
}

/// Identity of a bead: ids are dense and reused, a generation never is for the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BeadId {
    /// Dense index, the bead's place in every countdown table.
    pub id: u32,
    /// Which bead had this id, counted from 1.
    pub generation: u32,
}

impl fmt::Display for BeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.id, self.generation)
    }
}

/// One guest function's tiering record, owned. Dropping it releases the record: its code is retired, and freed when no
/// thread can be inside it.
///
/// A bead keeps its broker's tables alive, and those keep the guest handle. A handle that owns the bead would be a cycle:
/// use a weak reference.
pub struct Bead<G: Send + Sync + 'static> {
    hot: NonNull<Hot>,
    id: u32,
    shared: Arc<Shared<G>>,
}

// SAFETY: `hot` points into the registry that `shared` keeps alive and is only used through shared references to atomics.
unsafe impl<G: Send + Sync> Send for Bead<G> {}
// SAFETY: as above.
unsafe impl<G: Send + Sync> Sync for Bead<G> {}

impl<G: Send + Sync + 'static> Bead<G> {
    pub(crate) fn new(id: u32, shared: Arc<Shared<G>>) -> Self {
        Bead { hot: NonNull::from(shared.registry.hot(id)), id, shared }
    }

    /// The two-register reference every call takes.
    #[inline]
    pub fn as_ref(&self) -> BeadRef<'_, G> {
        // SAFETY: points into the registry, which `self.shared` keeps alive and which never moves a slot.
        BeadRef::new(unsafe { self.hot.as_ref() }, self.id)
    }

    /// The address from which generated code loads what to call; stable for the bead's life.
    #[inline]
    pub fn code_cell(&self) -> *const CodeCell {
        &raw const self.as_ref().hot.code
    }

    /// The bead's identity.
    pub fn id(&self) -> BeadId {
        self.shared.bead_id(self.id)
    }
}

impl<G: Send + Sync + 'static> Drop for Bead<G> {
    fn drop(&mut self) {
        self.shared.release(self.id);
    }
}

impl<G: Send + Sync + 'static> fmt::Debug for Bead<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bead({})", self.id())
    }
}

/// A borrowed bead: `Copy`, two registers.
pub struct BeadRef<'b, G> {
    pub(crate) hot: &'b Hot,
    pub(crate) id: u64,
    guest: PhantomData<fn(&G)>,
}

impl<G> Clone for BeadRef<'_, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<G> Copy for BeadRef<'_, G> {}

impl<'b, G> BeadRef<'b, G> {
    pub(crate) fn new(hot: &'b Hot, id: u32) -> Self {
        BeadRef { hot, id: u64::from(id), guest: PhantomData }
    }

    /// The dense half of the bead's identity: its place in every countdown table.
    pub fn index(&self) -> u32 {
        self.id as u32
    }

    /// As [`Bead::code_cell`].
    pub fn code_cell(&self) -> *const CodeCell {
        &raw const self.hot.code
    }
}

impl<G> fmt::Debug for BeadRef<'_, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BeadRef(#{})", self.id)
    }
}
