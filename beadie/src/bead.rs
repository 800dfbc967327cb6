//! The bead: what the runtime keeps beside a function.

use std::{
    fmt,
    ptr::NonNull,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering},
    },
};

use tierup_broker::{CALL_WORK, Charge, Decision, Face, InterpThread};

use crate::{
    BeadState,
    count::{self, Count},
    decide::{Ladder, decide},
    here,
    home::{Guest, Home, MOST_TIERS, tier_of},
    image::{Archive, Artifact, Image},
    jobs::Job,
    link::{Link, Tie},
    progress::Progress,
};

/// The runtime's own pointer to a function. Stored, never followed.
pub type CoreHandle = *mut ();

/// What a bead calls when it is invalidated.
pub(crate) type OnInvalidate = Box<dyn Fn() + Send + Sync>;

/// One function's way from interpreter to native code.
///
/// Code it was given is not freed before the bead is dropped, so keep the bead while any thread may run its code. See
/// [`Beadie::reclaim_with`](crate::Beadie::reclaim_with) for what may be freed then.
pub struct Bead {
    me: Weak<Bead>,
    pub(crate) tie: Tie,
    pub(crate) count: Count,
    pub(crate) progress: Progress,
    core: AtomicPtr<()>,
    valid: AtomicBool,
    blacklisted: AtomicBool,
    bailouts: AtomicU32,
    recompile_after: AtomicU32,
    archive: Mutex<Archive>,
    on_invalidate: Option<OnInvalidate>,
}

/// What the quick half of an invocation found.
pub(crate) enum Quick {
    Code(NonNull<()>),
    Interpret,
    /// There is code whose calls are counted: `quick_counted` is to be called.
    Counted,
    /// The countdown is spent, and charged.
    Spent,
    /// This thread used another home last, or the bead has none yet.
    Elsewhere,
}

/// The image that native code stands for.
///
/// # Safety
///
/// `entry` is that of a unit of this bead.
#[inline(always)]
unsafe fn image(_: &Bead, entry: *const u8) -> &Image {
    // SAFETY: the entries of this crate's units are images (`runner.rs`), which live as long as their bead.
    unsafe { &*entry.cast::<Image>() }
}

impl Bead {
    /// A bead of no chain. It finds its home with the [`Beadie`](crate::Beadie) or [`Broker`](crate::Broker) it is first used with.
    pub fn new(core: CoreHandle, on_invalidate: Option<Box<dyn Fn() + Send + Sync>>) -> Arc<Self> {
        Arc::new_cyclic(|me| Bead {
            me: Weak::clone(me),
            tie: Tie::new(),
            count: Count::default(),
            progress: Progress::default(),
            core: AtomicPtr::new(core),
            valid: AtomicBool::new(true),
            blacklisted: AtomicBool::new(false),
            bailouts: AtomicU32::new(0),
            recompile_after: AtomicU32::new(0),
            archive: Mutex::default(),
            on_invalidate,
        })
    }

    /// The quick half of an invocation: charges for it, and calls nothing. It is what `InterpThread::try_invoke` is, but looks for the
    /// thread's handle only where the call is counted.
    #[inline(always)]
    pub(crate) fn quick(&self) -> Quick {
        if !here::is_nearest(self.tie.home()) {
            return Quick::Elsewhere;
        }
        // SAFETY: the thread has a handle of the bead's home, so it has one.
        let link = unsafe { self.tie.link_unchecked() };
        // SAFETY: the cell lives as long as the broker's bead.
        // Ordering: Acquire. Pairs with: the broker's Release when it publishes code. Carries: the version, and our image.
        let word = unsafe { &*link.handle.code_cell() }.load(Ordering::Acquire);
        if Face::is_counted(word) || !Face::has_body(word) {
            if !Face::has_body(word) {
                // SAFETY: it is the nearest, as was just asked.
                let charge = unsafe { here::with_nearest(|thread| thread.try_back_edge(link.bead(), CALL_WORK)) };
                return if let Charge::Spent = charge { Quick::Spent } else { Quick::Interpret };
            }
            return Quick::Counted;
        }
        // SAFETY: this thread is online, so the version of the word it has just loaded is there until its next quiescent point; faces of
        // versions with a body hold its entry.
        Quick::Code(unsafe { image(self, (*word).entry()) }.now().code)
    }

    /// The rest of [`quick`](Self::quick) for code that a higher tier may follow.
    ///
    /// Apart from the other because, put together, they are longer for either.
    #[inline(always)]
    pub(crate) fn quick_counted(&self) -> Quick {
        let look = |thread: &InterpThread<Guest>| {
            // SAFETY: `quick` found a thread that has a handle of the bead's home, so it has one.
            match thread.try_invoke(unsafe { self.tie.link_unchecked() }.bead()) {
                // SAFETY: this bead's.
                Charge::Paid(Some(native)) => Quick::Code(unsafe { image(self, native.address().as_ptr()) }.now().code),
                Charge::Paid(None) => Quick::Interpret,
                Charge::Spent => Quick::Spent,
            }
        };
        // SAFETY: it is the nearest, as `quick` asked.
        unsafe { here::with_nearest(look) }
    }

    /// The slow half, of an invocation that was charged for or not: `job` makes the compile closure for a tier if one is asked for.
    pub(crate) fn slow(
        &self,
        is_charged: bool,
        home: &Arc<Home>,
        ladder: &dyn Ladder,
        job: impl FnOnce(usize) -> Job,
    ) -> Option<*mut ()> {
        let link = self.link_to(|| Arc::clone(home))?;
        self.progress.note_charged();
        let native = here::visit(&link.home, |thread| {
            let bead = link.bead();
            let paid = if is_charged { Charge::Spent } else { thread.try_invoke(bead) };
            let native = match paid {
                Charge::Paid(native) => native,
                Charge::Spent => {
                    let mut asks = false;
                    let native = thread.invoke_spent_by(bead, |sample| {
                        let decision = decide(self, link, sample, ladder, job);
                        asks = sample.tier.is_interpreter() && matches!(decision, Decision::Promote { .. });
                        decision
                    });
                    // The invocation that asks is interpreted, however fast the compiler is.
                    native.filter(|_| !asks)
                }
            };
            // SAFETY: this bead's.
            native.map(|native| unsafe { image(self, native.address().as_ptr()) }.now().code.as_ptr())
        });
        native.flatten()
    }

    /// Counts an invocation for a runtime that does so itself: its number, and the bead's state.
    #[inline]
    pub fn tick(&self) -> (u32, BeadState) {
        let ticks = self.count.tick();
        let number = if self.progress.was_charged() { self.invocation_count() } else { u32::try_from(ticks).unwrap_or(u32::MAX) };
        (number, self.state())
    }

    /// The code to run, if there is any.
    #[inline]
    pub fn compiled(&self) -> Option<*mut ()> {
        self.look(|artifact| artifact.code.as_ptr())
    }

    /// Where to go on in native code at a loop of the running function, if the code that is there now has such an entry.
    #[inline]
    pub fn osr_entry(&self, site: u64) -> Option<*mut ()> {
        self.look(|artifact| artifact.osr.find(site)).flatten()
    }

    /// Looks at what runs now.
    #[inline]
    pub(crate) fn look<R>(&self, at: impl FnOnce(&Artifact) -> R) -> Option<R> {
        self.published().map(|image| at(image.now()))
    }

    /// The image that is published; counts nothing.
    #[inline]
    pub(crate) fn published(&self) -> Option<&Image> {
        let look = |thread: &InterpThread<Guest>| {
            // SAFETY: whoever has a handle for us has it of our home.
            let native = thread.native_code(unsafe { self.tie.link_unchecked() }.bead())?;
            // SAFETY: this bead's.
            Some(unsafe { image(self, native.address().as_ptr()) })
        };
        if here::is_nearest(self.tie.home()) {
            // SAFETY: as was just asked.
            return unsafe { here::with_nearest(look) };
        }
        here::visit(&self.link()?.home, look).flatten()
    }

    pub(crate) fn weak(&self) -> Weak<Bead> {
        Weak::clone(&self.me)
    }

    /// The link; to `home` if there is none yet. `None` when that has no room.
    pub(crate) fn link_to(&self, home: impl FnOnce() -> Arc<Home>) -> Option<&Link> {
        self.tie.tie(&self.me, home)
    }

    pub(crate) fn link(&self) -> Option<&Link> {
        self.tie.link()
    }

    pub(crate) fn archive(&self) -> MutexGuard<'_, Archive> {
        self.archive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runtime's pointer, as it is now.
    pub fn core_handle(&self) -> CoreHandle {
        // Ordering: Acquire. Pairs with: Release in `update_core`. Carries: what the runtime wrote at the new place.
        self.core.load(Ordering::Acquire)
    }

    /// The function has moved.
    pub fn update_core(&self, new_ptr: CoreHandle) {
        // Ordering: Release. Pairs with: Acquire in `core_handle`.
        self.core.store(new_ptr, Ordering::Release);
    }

    /// How far the bead has got.
    pub fn state(&self) -> BeadState {
        if !self.is_valid() {
            return BeadState::Deopt;
        }
        if self.published().is_some() {
            return BeadState::Compiled;
        }
        match self.link() {
            Some(link) if self.is_pending(link, 0) && self.progress.has_begun() => BeadState::Compiling,
            Some(link) if self.is_pending(link, 0) => BeadState::Queued,
            _ => BeadState::Interpreted,
        }
    }

    /// Whether a tier was asked for and has not been answered.
    pub(crate) fn is_pending(&self, link: &Link, tier: usize) -> bool {
        link.home.broker.is_requested(link.bead(), tier_of(tier))
    }

    /// False once [invalidated](Self::invalidate).
    pub fn is_valid(&self) -> bool {
        // Ordering: Acquire. Pairs with: AcqRel in `invalidate`. Who sees it knows that the function is gone.
        self.valid.load(Ordering::Acquire)
    }

    pub(crate) fn take_validity(&self) -> bool {
        // Ordering: AcqRel. One winner; pairs with: Acquire in `is_valid`.
        self.valid.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn tell_invalidated(&self) {
        if let Some(callback) = &self.on_invalidate {
            callback();
        }
    }

    /// Whether it was [blacklisted](Self::blacklist).
    pub fn is_blacklisted(&self) -> bool {
        // Ordering: Acquire. Pairs with: Release in `mark_blacklisted`.
        self.blacklisted.load(Ordering::Acquire)
    }

    pub(crate) fn mark_blacklisted(&self) {
        // Ordering: Release. Pairs with: Acquire in `is_blacklisted`.
        self.blacklisted.store(true, Ordering::Release);
    }

    /// Invocations so far, of code that counts too; never wraps. Exact for a bead that one thread invokes, if that one asks. With
    /// several it may run ahead: by at most 512 invocations, and an eighth of those that were left to go, for each other thread. Calls of
    /// code that has no higher tier to go to are not counted.
    pub fn invocation_count(&self) -> u32 {
        let Some(link) = self.link() else { return self.count.calls(0, 0) };
        let work = link.home.broker.bead_stats(link.bead()).map_or(0, |stats| stats.work);
        let in_hand = here::visit(&link.home, |thread| count::in_hand(thread, link.bead()));
        self.count.calls(work, in_hand.unwrap_or(0))
    }

    /// Bailouts so far.
    pub fn bailout_count(&self) -> u32 {
        // Ordering: Relaxed. A count.
        self.bailouts.load(Ordering::Relaxed)
    }

    pub(crate) fn note_bailout(&self) -> u32 {
        // Ordering: Relaxed. A count.
        self.bailouts.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// How often the code that runs has been replaced, by swaps and higher tiers, since it was compiled from the interpreter; 0 while
    /// there is none. So the first tier's code is of generation 0 however often it was compiled afresh.
    pub fn generation(&self) -> u64 {
        self.look(|artifact| artifact.generation).unwrap_or(0)
    }

    /// Whether a compile that is under way will be discarded because of a [reload](Self::reload).
    pub fn reload_pending(&self) -> bool {
        self.progress.is_reload_pending()
    }

    /// The invocation before which a [paused](crate::DeoptDecision::PauseRecompile) bead is not compiled; 0 if it never was.
    pub fn recompile_after(&self) -> u32 {
        // Ordering: Relaxed. A number.
        self.recompile_after.load(Ordering::Relaxed)
    }

    pub(crate) fn set_recompile_after(&self, invocations: u32) {
        // Ordering: Relaxed. A number.
        self.recompile_after.store(invocations, Ordering::Relaxed);
    }
}

impl Drop for Bead {
    fn drop(&mut self) {
        let Some(link) = self.tie.link() else { return };
        drop(link.home.jobs.forget(link.index(), MOST_TIERS));
        // The word still leads to our images, but whoever could look has no reference to us.
        let archive = self.archive.get_mut().unwrap_or_else(PoisonError::into_inner);
        link.home.reclaim(archive.codes());
    }
}

impl fmt::Debug for Bead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bead").field("core", &self.core_handle()).field("state", &self.state()).finish_non_exhaustive()
    }
}
