//! A bead's tie to its home: made when it is registered, or first used, and kept for life.

use std::{
    cell::UnsafeCell,
    fmt,
    mem::MaybeUninit,
    ptr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicPtr, Ordering},
    },
};

use tierup_broker::BeadRef;

use crate::{
    Bead,
    home::{Guest, Home},
};

/// Where a bead is registered.
pub(crate) struct Link {
    /// Dropped first: it needs its broker.
    pub(crate) handle: tierup_broker::Bead<Guest>,
    pub(crate) home: Arc<Home>,
}

impl Link {
    /// The bead's number at home.
    pub(crate) fn index(&self) -> u32 {
        self.handle.as_ref().index()
    }

    #[inline(always)]
    pub(crate) fn bead(&self) -> BeadRef<'_, Guest> {
        self.handle.as_ref()
    }
}

/// A link that may not be there yet.
pub(crate) struct Tie {
    /// The home's address, by which the calling thread finds its handle; `NOWHERE` until the link is there.
    home: AtomicPtr<Home>,
    link: UnsafeCell<MaybeUninit<Link>>,
    tying: Mutex<()>,
}

// SAFETY: the link is written once, under the lock, before its home is published; from then on it is only read.
unsafe impl Send for Tie {}
// SAFETY: as above.
unsafe impl Sync for Tie {}

/// No home has this address, and it is not null: a thread without a latest home has null.
const NOWHERE: *mut Home = ptr::without_provenance_mut(1);

impl Tie {
    pub(crate) const fn new() -> Self {
        Tie { home: AtomicPtr::new(NOWHERE), link: UnsafeCell::new(MaybeUninit::uninit()), tying: Mutex::new(()) }
    }

    /// The home's address; of a bead that has none no thread has a handle.
    #[inline(always)]
    pub(crate) fn home(&self) -> *const Home {
        // Ordering: Acquire. Pairs with: Release in `tie`. Carries: the link.
        self.home.load(Ordering::Acquire)
    }

    /// The link of a bead whose home a thread has a handle of.
    ///
    /// # Safety
    ///
    /// [`home`](Self::home) has returned a home's address on this thread.
    #[inline(always)]
    pub(crate) unsafe fn link_unchecked(&self) -> &Link {
        // SAFETY: written before the address was published, which this thread has acquired (caller), and never again.
        unsafe { (*self.link.get()).assume_init_ref() }
    }

    pub(crate) fn link(&self) -> Option<&Link> {
        // SAFETY: the address was looked at just now.
        (!ptr::eq(self.home(), NOWHERE)).then(|| unsafe { self.link_unchecked() })
    }

    /// The link; to the home that `home` says if there is none. `None` when that has no room.
    pub(crate) fn tie(&self, bead: &Weak<Bead>, home: impl FnOnce() -> Arc<Home>) -> Option<&Link> {
        if let Some(link) = self.link() {
            return Some(link);
        }
        let _tying = self.tying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = self.link() {
            return Some(link);
        }
        let home = home();
        let handle = home.register(bead)?;
        let address = Arc::as_ptr(&home).cast_mut();
        // SAFETY: we hold the lock and nobody reads before the address is published.
        unsafe { (*self.link.get()).write(Link { handle, home }) };
        // Ordering: Release. Pairs with: Acquire in `home`. Carries: the link.
        self.home.store(address, Ordering::Release);
        self.link()
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        if self.link().is_some() {
            // SAFETY: initialized, as its home is there; dropped once, here.
            unsafe { self.link.get_mut().assume_init_drop() };
        }
    }
}

impl fmt::Debug for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tie").field(&self.link().map(|link| &link.handle)).finish()
    }
}
