//! Interpreter threads: where guest functions are called, work is counted, and native code is borrowed.

pub(crate) mod cells;
mod census;
mod countdown;
mod exit;
mod interrupt;
mod native;
mod poll;
mod sample;
mod spent;
mod timed;
mod watch;

use std::{cell::Cell, fmt, marker::PhantomData, ptr::NonNull};

pub(crate) use countdown::Countdown;

use spent::{At, BackEdge};
use watch::{Behind, Watch};

use crate::{
    BeadRef, CountSlot, Decision, Face, RegisterError, Sample, ThreadCells, Tier,
    loops::NATIVE,
    mutation::ordering,
    retire::Participant,
    shared::Shared,
    sync::{Arc, Ordering},
    tuning::CALL_WORK,
    version::{COUNTED, CodeHeader, CodeVersion, NO_BODY},
};

/// Largest charge at once: keeps a countdown from wrapping.
const MAX_CHARGE: u32 = 1 << 30;

/// An interpreter thread's handle. `Send`, so that a logical guest thread may move between OS threads, but not `Sync`.
///
/// A handle is *online*: the broker frees nothing that was reachable since the handle's last quiescent point.
/// Call [`quiescent`](Self::quiescent) wherever the thread holds no native code, at least whenever an outermost
/// guest call has returned, and wrap long waits in [`offline`](Self::offline).
pub struct InterpThread<G: Send + Sync + 'static> {
    /// The countdown table; also the first word of the cells.
    slots: *mut CountSlot,
    countdown: Countdown,
    participant: NonNull<Participant>,
    shared: Arc<Shared<G>>,
    watch: Cell<Watch>,
    /// It has raised [`POLL_SAMPLE`](crate::POLL_SAMPLE) itself, for the watch.
    looks: Cell<bool>,
    behind: Cell<Behind>,
    /// The thread tells what is on its stack.
    answers: Cell<bool>,
    /// The epoch for which it last did.
    counted: Cell<u64>,
    /// Calls made since one was timed, and before.
    turn: Cell<u64>,
}

// SAFETY: the raw pointers lead to memory this handle owns (`countdown`), or to a participant record that lives as long as
// `shared`, is claimed by this handle alone, and is all atomics. Nothing is tied to the OS thread.
unsafe impl<G: Send + Sync> Send for InterpThread<G> {}

/// What became of charging a countdown.
#[derive(Debug)]
#[must_use = "a spent countdown has to be drawn again"]
pub enum Charge<T> {
    /// There was enough, and this is the answer.
    Paid(T),
    /// The countdown is spent: the slow half has to be called.
    Spent,
}

impl<G: Send + Sync + 'static> InterpThread<G> {
    pub(crate) fn new(shared: Arc<Shared<G>>) -> Result<Self, RegisterError> {
        let countdown = Countdown::new(shared.max_beads)?;
        let participant = shared.reclaimer.join();
        shared.reclaimer.answer_polls(participant);
        #[cfg(feature = "threads")]
        shared.crew.welcome_thread();
        shared.come_online(participant);
        shared.roster.add(countdown.cells());
        let participant = NonNull::from(participant);
        let (watch, looks, behind) = (Cell::new(Watch::OFF), Cell::new(false), Cell::new(Behind::NOWHERE));
        let (answers, counted, turn) = (Cell::new(false), Cell::new(0), Cell::new(0));
        Ok(InterpThread {
            slots: countdown.slots(),
            countdown,
            participant,
            shared,
            watch,
            looks,
            behind,
            answers,
            counted,
            turn,
        })
    }

    /// A guest function is about to be called: native code to run instead of interpreting it, if there is any.
    ///
    /// Charges [`CALL_WORK`] where the caller counts. When the budget is spent this asks the policy and may link a
    /// request: no allocation, no lock, no wait (in [`Mode::Sync`](crate::Mode::Sync) it compiles, here).
    ///
    /// `bead` must belong to this thread's broker; debug builds check.
    #[inline]
    pub fn on_invoke(&self, bead: BeadRef<'_, G>) -> Option<NativeCode<'_>> {
        debug_assert!(self.shared.owns(bead), "a bead of another broker");
        match self.try_invoke(bead) {
            Charge::Paid(code) => code,
            Charge::Spent => self.invoke_spent(bead),
        }
    }

    /// The quick half of [`on_invoke`](Self::on_invoke), which calls nothing. After [`Charge::Spent`] the caller owes a
    /// call of [`invoke_spent`](Self::invoke_spent).
    ///
    /// For interpreters whose instructions are functions that jump to each other: one that calls out on any path has to
    /// save its registers on all of them, so the slow half belongs in a function of its own.
    #[inline(always)]
    pub fn try_invoke(&self, bead: BeadRef<'_, G>) -> Charge<Option<NativeCode<'_>>> {
        // Ordering: Acquire. Pairs with: Release in `Shared::publish`. Carries: the version and its code. Weaker fails: a
        // caller jumps into code whose bytes it does not see. Test: loom install_vs_call.
        let word = bead.hot.code.load(ordering!(Invoke: Acquire));
        if word.addr() & (COUNTED | NO_BODY) == 0 {
            return Charge::Paid(NativeCode::of_word(word));
        }
        if !self.charge(bead, CALL_WORK) {
            return Charge::Spent;
        }
        Charge::Paid(if word.addr() & NO_BODY != 0 { None } else { NativeCode::of_word(word) })
    }

    /// The slow half of [`on_invoke`](Self::on_invoke).
    #[cold]
    pub fn invoke_spent(&self, bead: BeadRef<'_, G>) -> Option<NativeCode<'_>> {
        self.spent(bead, CALL_WORK, At::Call);
        // In sync mode it may have been installed just now.
        self.native_code(bead)
    }

    /// As [`invoke_spent`](Self::invoke_spent), but when the bead's budget is spent `decide` is asked and not the broker's policy: for
    /// embedders who have to prepare a request before it is made. The decision is one about the body, for all threads; the
    /// broker's policy is still asked for the budgets after that.
    #[cold]
    pub fn invoke_spent_by(&self, bead: BeadRef<'_, G>, decide: impl FnOnce(&Sample) -> Decision) -> Option<NativeCode<'_>> {
        if self.spent(bead, CALL_WORK, At::CallOfAsker) {
            self.shared.budget_spent_by(self.shared.registry.slot(bead.id as u32), decide);
        }
        self.native_code(bead)
    }

    /// The bead's native code, if it has any; counts nothing.
    #[inline]
    pub fn native_code(&self, bead: BeadRef<'_, G>) -> Option<NativeCode<'_>> {
        // Ordering: Acquire. As in `try_invoke`.
        let word = bead.hot.code.load(ordering!(Invoke: Acquire));
        if word.addr() & NO_BODY != 0 { None } else { NativeCode::of_word(word) }
    }

    /// A loop of the running function, interpreted, went round once, doing `work` units; `site` numbers its header: densely, per
    /// function, an outer loop before the loops in it.
    ///
    /// Returns the OSR variant to go on in, if there is one. When the loops' budget is spent this may ask for one, as
    /// [`on_invoke`](Self::on_invoke) does for the body.
    #[inline]
    pub fn on_back_edge(&self, bead: BeadRef<'_, G>, site: u32, work: u32) -> Option<OsrEntry<'_>> {
        match self.try_back_edge(bead, work) {
            Charge::Paid(()) => None,
            Charge::Spent => self.back_edge_spent(bead, site, work),
        }
    }

    /// The quick half of [`on_back_edge`](Self::on_back_edge), as [`try_invoke`](Self::try_invoke) is of `on_invoke`.
    ///
    /// It does not look for variants: installing one makes the next charge of every thread a spent one.
    #[inline(always)]
    pub fn try_back_edge(&self, bead: BeadRef<'_, G>, work: u32) -> Charge<()> {
        if self.charge(bead, work.min(MAX_CHARGE)) { Charge::Paid(()) } else { Charge::Spent }
    }

    /// The slow half of [`on_back_edge`](Self::on_back_edge).
    #[cold]
    pub fn back_edge_spent(&self, bead: BeadRef<'_, G>, site: u32, work: u32) -> Option<OsrEntry<'_>> {
        // Nothing is paid while there is a variant: the next look finds it as fast.
        match self.osr_entry(bead, site) {
            None => self.back_edge_unserved(bead, site, work),
            entry => entry,
        }
    }

    #[cold]
    #[inline(never)]
    fn back_edge_unserved(&self, bead: BeadRef<'_, G>, site: u32, work: u32) -> Option<OsrEntry<'_>> {
        self.loop_spent(bead, BackEdge::interpreted(site), work.min(MAX_CHARGE));
        // In sync mode it may have been installed just now.
        self.osr_entry(bead, site)
    }

    /// The OSR variant of a loop site, if there is one: four loads and a test, counting nothing.
    #[inline(always)]
    pub fn osr_entry(&self, bead: BeadRef<'_, G>, site: u32) -> Option<OsrEntry<'_>> {
        // Ordering: Acquire. Pairs with: Release in `Shared::publish`. Carries: the version, its table, the variant's code.
        // Test: loom osr_install_vs_entry.
        let word = bead.hot.code.load(ordering!(OsrLookup: Acquire));
        #[cfg(loom)]
        {
            // SAFETY: as below.
            let header = unsafe { &*CodeHeader::of_word(word) };
            header.built.seen();
        }
        // SAFETY: the word of a bead that has an owner is never null; this thread is online, so the version it led to when it was
        // loaded is not freed before the next quiescent point, until when the entry borrows the thread.
        let entry = unsafe { (*word).variants().entry(site as usize) };
        NonNull::new(entry.cast_mut()).map(|entry| OsrEntry { entry, thread: PhantomData })
    }

    /// As [`osr_entry`](Self::osr_entry), with the guest handle the variant was compiled from: a frame of a function that was
    /// [reloaded](crate::Broker::reload) may only enter code of the body that it runs itself.
    #[inline]
    pub fn osr_entry_of<'t>(&'t self, bead: BeadRef<'t, G>, site: u32) -> Option<(OsrEntry<'t>, &'t G)> {
        // Ordering: Acquire. As in `osr_entry`.
        let word = bead.hot.code.load(ordering!(OsrLookup: Acquire));
        // SAFETY: as in `osr_entry`; entry and handle are of one version.
        let version = unsafe { &*CodeVersion::<G>::of_word(word) };
        version.header.built.seen();
        // SAFETY: the table is the version's own.
        let entry = unsafe { (*word).variants().entry(site as usize) };
        let entry = NonNull::new(entry.cast_mut())?;
        // SAFETY: the bead is borrowed from its owner, so the slot is not recycled.
        let guest = unsafe { self.shared.guest(version, self.shared.registry.cold(bead.id as u32)) };
        Some((OsrEntry { entry, thread: PhantomData }, guest))
    }

    /// Native code that counts for itself ([`CodeUnit::counting`](crate::CodeUnit::counting)) found the bead's countdown on this
    /// thread negative, or has `work` units that it did not take from it yet: what its slow path calls, at the function's entry
    /// (`None`) or at a loop site.
    ///
    /// As [`on_invoke`](Self::on_invoke), or [`on_back_edge`](Self::on_back_edge), when the budget is spent. New bodies show at
    /// the next call. The answer is whether the code should leave its loop at `site`, because a variant that is better than
    /// any code that counts is there to go on in. Who is told so but cannot leave may go on.
    pub fn count_native(&self, bead: BeadRef<'_, G>, work: u32, site: Option<u32>) -> bool {
        self.tell_native(bead, work, site.map(BackEdge::counted))
    }

    /// Native code has done `work` units, and is at its entry or at a back-edge.
    fn tell_native(&self, bead: BeadRef<'_, G>, work: u32, edge: Option<BackEdge>) -> bool {
        debug_assert!(self.shared.owns(bead), "a bead of another broker");
        let work = work.min(MAX_CHARGE);
        let Some(edge) = edge else {
            if !self.charge(bead, work) {
                self.spent(bead, work, At::Call);
            }
            return false;
        };
        if !self.charge(bead, work) && !self.should_leave(bead, edge.site) {
            self.loop_spent(bead, edge, work);
        }
        self.should_leave(bead, edge.site)
    }

    /// Whether counting code should go on in a variant. The broker is not told which code asks: a variant that does not count is
    /// of a tier above all that do, and will not ask to leave in its turn.
    fn should_leave(&self, bead: BeadRef<'_, G>, site: u32) -> bool {
        // SAFETY: this thread is online, and the reference ends here.
        let header = unsafe { self.shared.header(bead.hot) };
        header.variants.at(site).is_some_and(|variant| variant.tier > NATIVE && !variant.counting)
    }

    /// Takes `work` from the bead's countdown on this thread; false when that must go the slow way.
    #[inline(always)]
    fn charge(&self, bead: BeadRef<'_, G>, work: u32) -> bool {
        // SAFETY: ids are below `max_beads`, the table's length; only this handle touches the table from Rust, and it is not
        // Sync. The reference ends with this function.
        let slot = unsafe { &mut *self.slots.add(bead.id as usize) };
        // Ordering: Relaxed. A thread that misses a new stamp spends what it drew before: speed only.
        if slot.generation != bead.hot.stamp.load(Ordering::Relaxed) {
            return false;
        }
        slot.countdown = slot.countdown.wrapping_sub_unsigned(work);
        slot.countdown >= 0
    }

    /// The thread holds no native code and no interpreter frame that does. `&mut self` is the proof: no [`NativeCode`]
    /// borrowed from this handle is alive.
    #[inline]
    pub fn quiescent(&mut self) {
        self.shared.reclaimer.quiesce(self.participant());
        if self.shared.collects_on_quiescence() {
            self.shared.collect();
        }
    }

    /// Runs `wait`, which holds no native code, without making the reclaimer wait for this thread.
    pub fn offline<R>(&mut self, wait: impl FnOnce() -> R) -> R {
        struct Online<'t, G: Send + Sync + 'static>(&'t InterpThread<G>);
        impl<G: Send + Sync> Drop for Online<'_, G> {
            fn drop(&mut self) {
                self.0.shared.come_online(self.0.participant());
            }
        }
        self.shared.reclaimer.go_offline(self.participant());
        let _online = Online(self);
        wait()
    }

    /// As [`offline`](Self::offline), until [`wake`](Self::wake): for embedders whose calls begin and end in different places. A thread that
    /// is between calls and does not rest keeps everything from being freed.
    ///
    /// # Safety
    ///
    /// Until `wake` was called nobody asks this handle for code, counts, or tells it of an exit, and no code that was found through a
    /// bead is run on the thread.
    pub unsafe fn rest(&mut self) {
        self.shared.reclaimer.go_offline(self.participant());
        if self.shared.collects_on_quiescence() {
            self.shared.collect();
        }
    }

    /// The thread may run guests again. Without effect on one that does not [rest](Self::rest), but as a
    /// [quiescent](Self::quiescent) point.
    #[inline]
    pub fn wake(&mut self) {
        self.shared.come_online(self.participant());
    }

    /// The record generated code reaches through the first word of `vmctx`. Valid as long as the handle.
    pub fn cells(&self) -> *mut ThreadCells {
        self.countdown.cells().as_ptr()
    }

    fn participant(&self) -> &Participant {
        // SAFETY: the record lives as long as the reclaimer, which `self.shared` keeps alive.
        unsafe { self.participant.as_ref() }
    }
}

impl<G: Send + Sync + 'static> Drop for InterpThread<G> {
    fn drop(&mut self) {
        self.shared.roster.remove(self.countdown.cells());
        self.countdown.give_back(&self.shared.registry);
        self.shared.reclaimer.leave(self.participant());
    }
}

impl<G: Send + Sync + 'static> fmt::Debug for InterpThread<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterpThread").field("cells", &self.cells()).finish_non_exhaustive()
    }
}

/// Native code of a function, borrowed from the thread that may call it: it cannot outlive the thread's next quiescent
/// point, nor leave the thread.
#[derive(Clone, Copy)]
pub struct NativeCode<'t> {
    face: NonNull<Face>,
    thread: PhantomData<(&'t (), *mut ())>,
}

impl NativeCode<'_> {
    #[inline(always)]
    fn of_word(word: *mut Face) -> Option<Self> {
        NonNull::new(word).map(|face| NativeCode { face, thread: PhantomData })
    }

    /// The address to call.
    // By value and always inlined: an interpreter that jumps from handler to handler must not have it on its stack.
    #[inline(always)]
    pub fn address(self) -> NonNull<u8> {
        // SAFETY: the face belongs to a version that was reachable since the thread's last quiescent point, which cannot
        // have passed while this borrows the thread: the version is not freed.
        let entry = unsafe { self.face.as_ref() }.entry();
        self.header().built.seen();
        // SAFETY: the faces of a version with a body hold the unit's entry, which `InstalledUnit::accept` checked.
        unsafe { NonNull::new_unchecked(entry.cast_mut()) }
    }

    /// The tier the code is of.
    pub fn tier(&self) -> Tier {
        let header = self.header();
        header.built.seen();
        header.tier
    }

    #[inline(always)]
    fn header<'h>(self) -> &'h CodeHeader
    where
        Self: 'h,
    {
        // SAFETY: as in `address`; the header is the leading part of the version the word publishes.
        unsafe { &*CodeHeader::of_word(self.face.as_ptr()) }
    }
}

impl fmt::Debug for NativeCode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeCode").field("address", &self.address()).field("tier", &self.tier()).finish()
    }
}

/// A native entry at a loop header, borrowed like [`NativeCode`]. The code may serve several sites: it has to be told which, in whatever way the
/// compiler that made it says.
#[derive(Debug, Clone, Copy)]
pub struct OsrEntry<'t> {
    entry: NonNull<u8>,
    thread: PhantomData<(&'t (), *mut ())>,
}

impl OsrEntry<'_> {
    /// The address to enter.
    #[inline(always)]
    pub fn address(self) -> NonNull<u8> {
        self.entry
    }
}
