//! The reclaimer: frees what was retired when no thread can be inside it. Quiescent-state based.
//!
//! Every retired thing was first made unreachable (its code word swapped, its slot released) and then stamped with a fresh
//! epoch. A participant is *online* from epoch `e` on: it may hold anything reachable at `e` or later. Something stamped `s` is
//! free when every participant is offline or has seen an epoch ≥ `s`.
//!
//! Why that is enough, in two cases.
//! - *The participant saw `e ≥ s`*: it read `e` from the chain of increments that starts at the stamp, so the unlinking that
//!   precedes the stamp happens before everything it does from then on.
//! - *The collector saw it offline* although it is just coming online (store buffering): both sides have a SeqCst fence between
//!   their store and their load, so either the collector sees the participant online, at an epoch below `s`, or the participant
//!   sees the unlinking.
//!
//! ThreadSanitizer does not understand the fences: run it on the rest, loom on this.

use std::{collections::BTreeMap, fmt, iter, ptr};

use crate::{
    mutation::{dropped, ordering},
    sync::{Arc, AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Built, Mutex, Ordering, fence, lock},
    version::CodeVersion,
};

/// Epochs start above this value, which means "offline".
const OFFLINE: u64 = 0;

/// Polled for ever: the participant runs no native code.
const NO_NATIVE_CODE: u64 = u64::MAX;

/// One thread, or one short visit, that the reclaimer must wait for while it is online.
pub(crate) struct Participant {
    /// The epoch seen at the last quiescent point, or `OFFLINE`.
    seen: AtomicU64,
    /// The epoch seen at the last poll, or `NO_NATIVE_CODE`.
    polled: AtomicU64,
    claimed: AtomicBool,
    next: *const Participant,
    built: Built,
}

// SAFETY: `next` is written before the record is published and never again; everything else is atomic.
unsafe impl Send for Participant {}
// SAFETY: as above.
unsafe impl Sync for Participant {}

/// Something that waits for its grace period.
pub(crate) enum Retired<G> {
    Version(Arc<CodeVersion<G>>),
    Slot(u32),
}

struct Node<G> {
    stamp: u64,
    item: Retired<G>,
    next: *mut Node<G>,
    built: Built,
}

/// The limbo list and the participants of one broker.
pub(crate) struct Reclaimer<G> {
    epoch: AtomicU64,
    /// Grow-only list; records are reused.
    participants: AtomicPtr<Participant>,
    limbo: AtomicPtr<Node<G>>,
    waiting: AtomicUsize,
    /// What collectors took from `limbo` and could not free yet, by stamp. Only ever tried, never waited for.
    aging: Mutex<BTreeMap<u64, Retired<G>>>,
}

impl<G> Reclaimer<G> {
    pub(crate) fn new() -> Self {
        Reclaimer {
            epoch: AtomicU64::new(OFFLINE + 1),
            participants: AtomicPtr::new(ptr::null_mut()),
            limbo: AtomicPtr::new(ptr::null_mut()),
            waiting: AtomicUsize::new(0),
            aging: Mutex::new(BTreeMap::new()),
        }
    }

    /// A participant of the caller's own, offline. Give it back with [`Self::leave`].
    pub(crate) fn join(&self) -> &Participant {
        for record in self.participants() {
            // Ordering: Acquire. Pairs with: Release in `leave`: the previous owner is done. The first look spares the line.
            if !record.claimed.load(Ordering::Relaxed) && !record.claimed.swap(true, Ordering::Acquire) {
                return record;
            }
        }
        let record = Box::into_raw(Box::new(Participant {
            seen: AtomicU64::new(OFFLINE),
            polled: AtomicU64::new(NO_NATIVE_CODE),
            claimed: AtomicBool::new(true),
            next: ptr::null(),
            built: Built::new(),
        }));
        // Ordering: Relaxed. Only the exchange below decides.
        let mut head = self.participants.load(Ordering::Relaxed);
        loop {
            // SAFETY: not published yet, so ours.
            unsafe { (*record).next = head };
            // Ordering: AcqRel. Publishes the record and keeps the release sequence of earlier ones whole.
            match self.participants.compare_exchange_weak(head, record, ordering!(Join: AcqRel), Ordering::Relaxed) {
                // SAFETY: published, lives as long as the reclaimer.
                Ok(_) => return unsafe { &*record },
                Err(actual) => head = actual,
            }
        }
    }

    /// Gives a participant back, offline.
    pub(crate) fn leave(&self, participant: &Participant) {
        self.go_offline(participant);
        // Ordering: Relaxed. Of an offline participant nobody asks; published by the store below.
        participant.polled.store(NO_NATIVE_CODE, Ordering::Relaxed);
        // Ordering: Release. Pairs with: Acquire in `join`.
        participant.claimed.store(false, Ordering::Release);
    }

    /// From here on the participant may hold whatever it can reach.
    pub(crate) fn go_online(&self, participant: &Participant) {
        // Ordering: Relaxed. The fence below also acquires what was unlinked before that epoch.
        let epoch = self.epoch.load(Ordering::Relaxed);
        // Ordering: Release. Pairs with: Acquire in `horizon`. Carries, again, the end of every use before it was offline: who reads
        // this did not read "offline". Test: loom retire_vs_offline_and_back.
        participant.seen.store(epoch, ordering!(Online: Release));
        // Ordering: SeqCst fence between "I am online" and the first load of a code word. Pairs with: the fence in `collect`,
        // between the unlinking and the look at `seen`. Weaker fails: the collector reads OFFLINE while this thread reads the
        // word from before the unlinking. Test: loom retire_vs_coming_online.
        if !dropped!(OnlineFence) {
            fence(Ordering::SeqCst);
        }
    }

    /// The participant holds nothing any more.
    pub(crate) fn go_offline(&self, participant: &Participant) {
        // Ordering: Release. Pairs with: Acquire in `horizon`. Carries: the end of every use.
        participant.seen.store(OFFLINE, ordering!(Offline: Release));
    }

    /// The participant holds nothing from before now. Online before and after.
    pub(crate) fn quiesce(&self, participant: &Participant) {
        // Ordering: Acquire. Pairs with: the increment in `retire`. Carries: unlinkings before that epoch. Weaker fails: this
        // thread says it has passed the epoch, and then enters code unlinked before it. Test: loom free_vs_call_after_quiescent.
        let epoch = self.epoch.load(ordering!(QuiesceLoad: Acquire));
        // Ordering: Relaxed. Our own store.
        if participant.seen.load(Ordering::Relaxed) != epoch {
            // Ordering: Release. Pairs with: Acquire in `horizon`. Carries: the end of every use before this point.
            participant.seen.store(epoch, ordering!(QuiesceStore: Release));
        }
    }

    /// From here on the participant may run native code, and answers for it by [`Self::poll`]. Offline; it comes online next.
    pub(crate) fn answer_polls(&self, participant: &Participant) {
        // Ordering: Relaxed. Published by coming online.
        participant.polled.store(OFFLINE, Ordering::Relaxed);
    }

    /// The participant looks at everything that was published before now, from now on.
    pub(crate) fn poll(&self, participant: &Participant) {
        // Ordering: Acquire. Pairs with: the increment in `stamp`. Carries: the flags of code that was withdrawn before. Weaker fails:
        // this thread says it has looked, and then goes on in code it does not know to be invalid. Test: loom break_vs_poll.
        let epoch = self.epoch.load(ordering!(PollLoad: Acquire));
        // Ordering: Release. Pairs with: Acquire in `all_have_polled`. Carries: the end of every use of what was assumed before this.
        participant.polled.store(epoch, ordering!(PollStore: Release));
    }

    /// The participant runs no native code until [`Self::unpark`].
    pub(crate) fn park(&self, participant: &Participant) {
        // Ordering: Release. As in `poll`.
        participant.polled.store(NO_NATIVE_CODE, ordering!(Park: Release));
    }

    /// The participant is going to run native code again.
    pub(crate) fn unpark(&self, participant: &Participant) {
        // Ordering: Relaxed. The fence below also acquires what was flagged before that epoch.
        let epoch = self.epoch.load(Ordering::Relaxed);
        // Ordering: Release. Pairs with: Acquire in `all_have_polled`. Carries, again, the end of every use before it was parked: who
        // reads this did not read "parked".
        participant.polled.store(epoch, ordering!(Unpark: Release));
        // Ordering: SeqCst fence between "I run native code" and the look at a validity cell. Pairs with: the fence in
        // `all_have_polled`, between the flags and the look at `polled`. Weaker fails: the mutator sees the thread parked while the
        // thread does not see the flag. Test: loom break_vs_unpark.
        if !dropped!(UnparkFence) {
            fence(Ordering::SeqCst);
        }
    }

    /// Stamps what was published before now with a fresh epoch.
    pub(crate) fn stamp(&self) -> u64 {
        // Ordering: AcqRel. Pairs with: the Acquire loads of `epoch`. Carries: the unlinking, or flagging, that came before.
        self.epoch.fetch_add(1, ordering!(RetireStamp: AcqRel)) + 1
    }

    /// Whether every participant that may run native code has looked since `stamp`.
    pub(crate) fn all_have_polled(&self, stamp: u64) -> bool {
        // Ordering: SeqCst fence between the flags (before the stamp) and the look at the participants. Pairs with: the fences in
        // `unpark` and `go_online`.
        if !dropped!(TicketFence) {
            fence(Ordering::SeqCst);
        }
        self.participants().all(|record| {
            // Ordering: Acquire, twice. Pairs with: Release in `quiesce`, `go_offline`, `poll` and `park`. Carries: the end of the
            // thread's uses.
            let seen = record.seen.load(ordering!(PolledLoad: Acquire));
            seen == OFFLINE || seen >= stamp || record.polled.load(ordering!(PolledLoad: Acquire)) >= stamp
        })
    }

    /// A short visit: what is reachable during it stays allocated until the guard is dropped.
    pub(crate) fn pin(&self) -> Pin<'_, G> {
        let participant = self.join();
        self.go_online(participant);
        Pin { reclaimer: self, participant }
    }

    /// Hands over something that new visitors can no longer reach. Any thread, no lock.
    pub(crate) fn retire(&self, item: Retired<G>) {
        let stamp = self.stamp();
        // Ordering: Relaxed. A count for heuristics and statistics.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.push(Box::into_raw(Box::new(Node { stamp, item, next: ptr::null_mut(), built: Built::new() })));
    }

    fn push(&self, node: *mut Node<G>) {
        // Ordering: Relaxed. Only the exchange decides.
        let mut head = self.limbo.load(Ordering::Relaxed);
        loop {
            // SAFETY: not in the list, so the caller's own.
            unsafe { (*node).next = head };
            // Ordering: AcqRel. Pairs with: the swap in `collect`. Carries: the node, and through it the unlinking.
            match self.limbo.compare_exchange_weak(head, node, ordering!(LimboPush: AcqRel), Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) => head = actual,
            }
        }
    }

    /// How many things wait.
    pub(crate) fn waiting(&self) -> usize {
        // Ordering: Relaxed. A heuristic.
        self.waiting.load(Ordering::Relaxed)
    }

    /// Everything whose grace period is over; nothing when another thread is collecting right now.
    pub(crate) fn collect(&self) -> Vec<Retired<G>> {
        let Ok(mut aging) = self.aging.try_lock() else { return Vec::new() };
        aging.extend(self.take_fresh());
        // Ordering: SeqCst fence between the unlinkings (before the pushes we took) and the look at the participants.
        // Pairs with: the fence in `go_online`.
        if !dropped!(CollectFence) {
            fence(Ordering::SeqCst);
        }
        let horizon = self.horizon();
        let kept = match horizon.checked_add(1) {
            Some(first_kept) => aging.split_off(&first_kept),
            None => BTreeMap::new(),
        };
        let free: Vec<_> = std::mem::replace(&mut *aging, kept).into_values().collect();
        // Ordering: Relaxed. As in `retire`.
        self.waiting.fetch_sub(free.len(), Ordering::Relaxed);
        free
    }

    /// What was pushed since the last look, with its stamps.
    fn take_fresh(&self) -> Vec<(u64, Retired<G>)> {
        // Ordering: AcqRel. Pairs with: `push`. Takes the whole list, so there is no ABA.
        let mut cursor = self.limbo.swap(ptr::null_mut(), ordering!(LimboTake: AcqRel));
        let mut fresh = Vec::new();
        while !cursor.is_null() {
            // SAFETY: in the list we took, so made by `Box::into_raw` in `retire` and ours now.
            let node = unsafe { Box::from_raw(cursor) };
            node.built.seen();
            cursor = node.next;
            fresh.push((node.stamp, node.item));
        }
        fresh
    }

    /// Everything, whether or not its grace period is over: for the owner's teardown.
    pub(crate) fn take_all(&mut self) -> Vec<Retired<G>> {
        let fresh = self.take_fresh();
        let aged = std::mem::take(&mut *lock(&self.aging));
        aged.into_values().chain(fresh.into_iter().map(|(_, item)| item)).collect()
    }

    /// The epoch every online participant has seen.
    fn horizon(&self) -> u64 {
        // Ordering: Acquire. Pairs with: Release in `quiesce` and `go_offline`. Carries: the end of the thread's uses.
        let seen = self.participants().map(|record| record.seen.load(ordering!(Horizon: Acquire)));
        seen.filter(|&seen| seen != OFFLINE).min().unwrap_or(u64::MAX)
    }

    /// Everybody there is. A record that is missed is one that comes online after the caller's fence.
    fn participants(&self) -> impl Iterator<Item = &Participant> {
        // Ordering: Acquire. Pairs with: the push in `join`. Carries: the record.
        let mut cursor = self.participants.load(ordering!(Participants: Acquire)).cast_const();
        iter::from_fn(move || {
            // SAFETY: records live as long as the reclaimer.
            let record = unsafe { cursor.as_ref() }?;
            record.built.seen();
            cursor = record.next;
            Some(record)
        })
    }
}

impl<G> Drop for Reclaimer<G> {
    fn drop(&mut self) {
        drop(self.take_all());
        // Ordering: Relaxed. `&mut self`: no participant is left.
        let mut record = self.participants.load(Ordering::Relaxed);
        while !record.is_null() {
            // SAFETY: in the list, so made by `Box::into_raw` in `join` and not freed.
            let owned = unsafe { Box::from_raw(record) };
            record = owned.next.cast_mut();
        }
    }
}

impl<G> fmt::Debug for Reclaimer<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reclaimer").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// A visit; see [`Reclaimer::pin`].
pub(crate) struct Pin<'r, G> {
    reclaimer: &'r Reclaimer<G>,
    participant: &'r Participant,
}

impl<G> Drop for Pin<'_, G> {
    fn drop(&mut self) {
        self.reclaimer.leave(self.participant);
    }
}
