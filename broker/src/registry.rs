//! Where beads live: slots in chunks that never move, found by a dense id, registered and released without a lock.
//!
//! Each slot is split in three, which lie in parallel arrays. The *hot* part, 24 bytes, is what running code touches; the *cold*
//! part, 24 bytes if the guest handle has four, is what every bead needs besides. The *warm* part, 104 bytes, only those need that
//! are asked for or about: it is zero until it is written, and committed then, so that the others take no memory for it.
//!
//! Who may touch the non-atomic parts of a cold entry:
//!
//! | slot | `guest` |
//! |---|---|
//! | vacant (state 0) | the registrar that took the id writes it |
//! | LIVE | anyone who owns the bead, holds a COMPILING bit, or is pinned reads it |
//! | RELEASED and vacated, grace period over | the reclaimer drops it |

use std::{fmt, mem::MaybeUninit, ptr};

use crate::{
    mutation::ordering,
    osr::OsrRecord,
    state::State,
    sync::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Built, Ordering, UnsafeCell},
    tally::Tally,
    tuning::FIRST_CHUNK,
    version::CodeCell,
};

/// What running code touches of a bead.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Hot {
    /// What to call; see `version.rs`. Generated code loads this.
    pub(crate) code: CodeCell,
    pub(crate) state: State,
    /// Work units until the policy is asked, shared by all threads, which draw slices of it.
    pub(crate) budget: AtomicI32,
    /// Stamps the threads' countdowns: changes with the bead and with its body, so that counting starts over. 0 before the
    /// first bead.
    pub(crate) stamp: AtomicU32,
}

/// Bytes from a bead's [code cell](crate::Bead::code_cell) to its count stamp, the `u32` that the [`generation`](crate::CountSlot) of a thread's
/// countdown has where that is the bead's: for machine code that calls as interpreters do.
pub const STAMP_FROM_CODE_CELL: usize = std::mem::offset_of!(Hot, stamp) - std::mem::offset_of!(Hot, code);

#[cfg(not(loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<Hot>() == 24);
    assert!(offset_of!(Hot, code) == 0);
    assert!(size_of::<Cold<u32>>() == 24);
    assert!(size_of::<Cold<&()>>() == 32);
};

/// The rest of what every bead needs.
pub(crate) struct Cold<G> {
    pub(crate) guest: UnsafeCell<MaybeUninit<G>>,
    /// Work drawn from the budget so far.
    pub(crate) work: AtomicU64,
    /// Work units in loops until OSR is thought of, shared as the budget is.
    pub(crate) loops: AtomicI32,
    /// How many beads have had this slot.
    pub(crate) generation: AtomicU32,
    /// Size of the guest body in bytes, for policies, the queue and deadlines; of a vacant slot, the next on the free list: id + 1, 0
    /// ends it.
    pub(crate) size: AtomicU32,
}

/// What a bead needs that is asked for, or about.
#[derive(Default)]
pub(crate) struct Warm {
    /// Next slot of the inbox while LINKED: id + 1, 0 ends the list.
    pub(crate) link: AtomicU32,
    /// When and why the bead was last linked into the inbox; see `Stamp`.
    pub(crate) requested: AtomicU64,
    /// What the OSR lane is about, and what failed there.
    pub(crate) osr: OsrRecord,
    pub(crate) tally: Tally,
}

impl Warm {
    /// Another bead has the slot.
    pub(crate) fn clear(&self) {
        self.osr.clear();
        self.tally.clear();
    }
}

impl<G> Default for Cold<G> {
    fn default() -> Self {
        Cold {
            guest: UnsafeCell::new(MaybeUninit::uninit()),
            work: AtomicU64::new(0),
            loops: AtomicI32::new(0),
            generation: AtomicU32::new(0),
            size: AtomicU32::new(0),
        }
    }
}

impl<G> Cold<G> {
    /// The handle the bead was registered with.
    ///
    /// # Safety
    ///
    /// The slot is LIVE and the caller one of those the table above lets read, for as long as the reference lives.
    pub(crate) unsafe fn guest(&self) -> &G {
        // SAFETY: written before LIVE was published, dropped only when no reader is left (caller).
        self.guest.with(|guest| unsafe { (*guest).assume_init_ref() })
    }
}

// SAFETY: `guest` is handed between threads under the table above; everything else is atomic.
unsafe impl<G: Send> Send for Cold<G> {}
// SAFETY: shared readers get `&G` only (G: Sync), the exclusive phases are ordered by the state word and the reclaimer.
unsafe impl<G: Send + Sync> Sync for Cold<G> {}

/// A slot, found once: its parts.
pub(crate) struct Slot<'r, G> {
    pub(crate) id: u32,
    pub(crate) hot: &'r Hot,
    pub(crate) cold: &'r Cold<G>,
    pub(crate) warm: &'r Warm,
}

impl<G> Clone for Slot<'_, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<G> Copy for Slot<'_, G> {}

struct Chunk<G> {
    hot: Box<[Hot]>,
    cold: Box<[Cold<G>]>,
    warm: Box<[Warm]>,
    built: Built,
}

impl<G> Chunk<G> {
    fn new(len: usize) -> Box<Self> {
        Box::new(Chunk { hot: vacant(len), cold: vacant(len), warm: vacant(len), built: Built::new() })
    }
}

/// `len` default entries. On real hardware that is zeroed memory the kernel commits when it is touched.
#[cfg(not(loom))]
fn vacant<T: Default>(len: usize) -> Box<[T]> {
    // SAFETY: called for `Hot`, `Cold<G>` and `Warm` only, made of integers, pointers and `MaybeUninit`: zero is their default value.
    unsafe { Box::new_zeroed_slice(len).assume_init() }
}

#[cfg(loom)]
fn vacant<T: Default>(len: usize) -> Box<[T]> {
    (0..len).map(|_| T::default()).collect()
}

const CHUNKS: usize = if cfg!(loom) {
    6
} else if cfg!(miri) {
    20
} else {
    30
};

/// All slots of one broker.
pub(crate) struct Registry<G> {
    chunks: [AtomicPtr<Chunk<G>>; CHUNKS],
    /// Ids handed out so far, ever.
    next: AtomicU32,
    /// Vacated slots: tag in the high half, against ABA, id + 1 in the low half.
    free: AtomicU64,
    limit: u32,
}

impl<G> Registry<G> {
    pub(crate) fn new(limit: u32) -> Self {
        Registry {
            chunks: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            next: AtomicU32::new(0),
            free: AtomicU64::new(0),
            limit,
        }
    }

    /// Ids below this have been handed out at some time.
    pub(crate) fn high_water(&self) -> u32 {
        // Ordering: Acquire. Pairs with: the AcqRel increment in `take`; a lower answer only hides beads registered meanwhile.
        self.next.load(Ordering::Acquire).min(self.limit)
    }

    /// A vacant slot, the caller's alone until it activates it. `None` when all are in use.
    pub(crate) fn take(&self) -> Option<u32> {
        if let Some(id) = self.pop_free() {
            return Some(id);
        }
        // Ordering: AcqRel / Acquire. Hands out each id once; publishes nothing but the count.
        let id = self
            .next
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |next| (next < self.limit).then_some(next + 1))
            .ok()
            // Slots may have been vacated between the two looks.
            .or_else(|| self.pop_free())?;
        self.ensure_chunk(id);
        Some(id)
    }

    fn pop_free(&self) -> Option<u32> {
        // Ordering: Acquire. Pairs with: Release in `give_back`. Carries: the slot's vacated fields and its link.
        let mut head = self.free.load(ordering!(SlotTake: Acquire));
        loop {
            let id = (head as u32).checked_sub(1)?;
            // Ordering: Relaxed. Published by the head we acquired; what is no link any more fails the tagged exchange.
            let next = self.cold(id).size.load(Ordering::Relaxed);
            let tag = (head >> 32).wrapping_add(1);
            match self.free.compare_exchange_weak(
                head,
                tag << 32 | u64::from(next),
                ordering!(SlotTake: AcqRel),
                ordering!(SlotTake: Acquire),
            ) {
                Ok(_) => return Some(id),
                Err(actual) => head = actual,
            }
        }
    }

    /// Puts a vacated slot on the free list.
    pub(crate) fn give_back(&self, id: u32) {
        // Ordering: Relaxed. Only the exchange below decides.
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            // Ordering: Relaxed. Published by the exchange.
            self.cold(id).size.store(head as u32, Ordering::Relaxed);
            let tag = (head >> 32).wrapping_add(1);
            // Ordering: Release. Pairs with: Acquire in `pop_free`. Carries: the vacated slot. AcqRel keeps the release
            // sequence of earlier pushes whole.
            match self.free.compare_exchange_weak(
                head,
                tag << 32 | u64::from(id + 1),
                ordering!(SlotGive: AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(actual) => head = actual,
            }
        }
    }

    fn ensure_chunk(&self, id: u32) {
        let (index, _) = locate(id);
        let chunk = &self.chunks[index];
        // Ordering: Acquire. Pairs with: Release of the exchange below. Carries: the chunk's contents.
        if !chunk.load(Ordering::Acquire).is_null() {
            return;
        }
        let fresh = Box::into_raw(Chunk::new((FIRST_CHUNK as usize) << index));
        // Ordering: AcqRel. Release publishes the chunk; Acquire on failure sees the winner's.
        if chunk.compare_exchange(ptr::null_mut(), fresh, ordering!(ChunkPublish: AcqRel), Ordering::Relaxed).is_err() {
            // SAFETY: the loser's chunk, made above and never published.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }

    fn chunk(&self, id: u32) -> Option<(&Chunk<G>, usize)> {
        let (index, offset) = locate(id);
        // Ordering: Acquire. Pairs with: Release in `ensure_chunk`. Carries: the chunk's contents.
        let chunk = self.chunks.get(index)?.load(ordering!(ChunkLoad: Acquire));
        // SAFETY: a published chunk lives, unmoved, as long as the registry.
        let chunk = unsafe { chunk.as_ref() }?;
        chunk.built.seen();
        Some((chunk, offset))
    }

    /// The hot part of a slot, if its chunk exists.
    pub(crate) fn find(&self, id: u32) -> Option<&Hot> {
        self.chunk(id).map(|(chunk, offset)| &chunk.hot[offset])
    }

    /// The hot part of a slot. Only for ids that `take` has returned.
    pub(crate) fn hot(&self, id: u32) -> &Hot {
        self.find(id).expect("ids come from `take`, which made the chunk")
    }

    /// All parts of a slot. Only for ids that `take` has returned.
    #[inline]
    pub(crate) fn slot(&self, id: u32) -> Slot<'_, G> {
        let (chunk, offset) = self.chunk(id).expect("ids come from `take`, which made the chunk");
        Slot { id, hot: &chunk.hot[offset], cold: &chunk.cold[offset], warm: &chunk.warm[offset] }
    }

    /// The cold part of a slot. Only for ids that `take` has returned.
    pub(crate) fn cold(&self, id: u32) -> &Cold<G> {
        let (chunk, offset) = self.chunk(id).expect("ids come from `take`, which made the chunk");
        &chunk.cold[offset]
    }

    /// The warm part of a slot. Only for ids that `take` has returned.
    pub(crate) fn warm(&self, id: u32) -> &Warm {
        let (chunk, offset) = self.chunk(id).expect("ids come from `take`, which made the chunk");
        &chunk.warm[offset]
    }

    /// What is noted about a slot's bead. Only for ids that `take` has returned.
    pub(crate) fn tally(&self, id: u32) -> &Tally {
        &self.warm(id).tally
    }
}

impl<G> Drop for Registry<G> {
    fn drop(&mut self) {
        for chunk in &self.chunks {
            // Ordering: Relaxed. `&mut self`.
            let chunk = chunk.load(Ordering::Relaxed);
            if !chunk.is_null() {
                // SAFETY: published once by `ensure_chunk`, freed once, here.
                drop(unsafe { Box::from_raw(chunk) });
            }
        }
    }
}

impl<G> fmt::Debug for Registry<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("high_water", &self.high_water()).field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The chunk of an id, and the offset within it: chunk `k` holds `FIRST_CHUNK << k` slots.
#[inline]
fn locate(id: u32) -> (usize, usize) {
    let position = u64::from(id) + u64::from(FIRST_CHUNK);
    let index = position.ilog2() - FIRST_CHUNK.ilog2();
    (index as usize, (position - (u64::from(FIRST_CHUNK) << index)) as usize)
}

#[cfg(all(test, not(loom)))]
mod tests;
