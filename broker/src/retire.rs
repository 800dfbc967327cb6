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
//! A thread that has no quiescent point for long can instead say what it holds: `census.rs`.
//!
//! ThreadSanitizer does not understand the fences: run it on the rest, loom on this.

use std::{fmt, iter, ptr};

use crate::{
    StackReport,
    aging::{Aging, Collected, Free, Retired},
    census::{Counted, Mailbox, Stacks, Standing},
    listed::{listed, unlisted},
    mutation::{dropped, ordering},
    sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Built, Mutex, Ordering, fence, lock},
};

/// Epochs start above this value, which means "offline".
const OFFLINE: u64 = 0;

/// Polled for ever: the participant runs no native code.
const NO_NATIVE_CODE: u64 = u64::MAX;

/// The same, and its report stands meanwhile: the participant is parked.
const PARKED: u64 = u64::MAX - 1;

/// One thread, or one short visit, that the reclaimer must wait for while it is online.
pub(crate) struct Participant {
    /// The epoch seen at the last quiescent point, or `OFFLINE`.
    seen: AtomicU64,
    /// The epoch seen at the last poll, `NO_NATIVE_CODE`, or `PARKED`.
    polled: AtomicU64,
    report: Mailbox,
    claimed: AtomicBool,
    next: *const Participant,
    built: Built,
}

// SAFETY: `next` is written before the record is published and never again; everything else is atomic.
unsafe impl Send for Participant {}
// SAFETY: as above.
unsafe impl Sync for Participant {}

struct Node<G> {
    stamp: u64,
    weight: u64,
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
    /// Only ever tried, never waited for.
    aging: Mutex<Aging<G>>,
    /// The epoch of the latest census that was asked for.
    asked: AtomicU64,
    censuses: AtomicU64,
    /// Bytes of retired code that are on stacks.
    on_stack: AtomicU64,
}

impl<G> Reclaimer<G> {
    pub(crate) fn new() -> Self {
        Reclaimer {
            epoch: AtomicU64::new(OFFLINE + 1),
            participants: AtomicPtr::new(ptr::null_mut()),
            limbo: AtomicPtr::new(ptr::null_mut()),
            waiting: AtomicUsize::new(0),
            aging: Mutex::new(Aging::new()),
            asked: AtomicU64::new(OFFLINE),
            censuses: AtomicU64::new(0),
            on_stack: AtomicU64::new(0),
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
            report: Mailbox::new(),
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

    /// Whether an interpreter thread, or a visit, is online. Exact for who has announced itself in `Parking::nap` before.
    #[cfg(feature = "threads")]
    pub(crate) fn is_anyone_online(&self) -> bool {
        // Ordering: Relaxed. Ordered by the fence of `Parking::nap`, which pairs with that in `go_online`.
        self.participants().any(|record| record.seen.load(Ordering::Relaxed) != OFFLINE)
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

    /// Whether a census was asked for since a participant of which the last one was at `counted`.
    pub(crate) fn asks_for_census(&self, counted: u64) -> bool {
        // Ordering: Relaxed. Who was told by the poll cell has acquired it there (`roster.rs`). Test: loom ask_vs_answer.
        self.asked.load(Ordering::Relaxed) > counted
    }

    /// The participant looks at everything that was published before now, from now on; what it holds from before is what it
    /// reports, if it does. Returns the epoch that it has seen.
    pub(crate) fn poll(&self, participant: &Participant, report: Option<StackReport>) -> u64 {
        // Ordering: Acquire. Pairs with: the increment in `stamp`. Carries: the flags of code that was withdrawn before. Weaker fails:
        // this thread says it has looked, and then goes on in code it does not know to be invalid. Test: loom break_vs_poll.
        let epoch = self.epoch.load(ordering!(PollLoad: Acquire));
        // Ordering: Release. Pairs with: Acquire in `all_have_polled`. Carries: the end of every use of what was assumed before this.
        participant.polled.store(epoch, ordering!(PollStore: Release));
        if let Some(report) = report {
            self.publish(participant, epoch, report);
        }
        epoch
    }

    /// The participant runs no native code until [`Self::unpark`], and holds what it reports, if it does.
    /// Returns the epoch for which that speaks when it is back.
    pub(crate) fn park(&self, participant: &Participant, report: Option<StackReport>) -> u64 {
        let state = if report.is_some() { PARKED } else { NO_NATIVE_CODE };
        // Ordering: Acquire. As in `poll`.
        let epoch = self.epoch.load(Ordering::Acquire);
        if let Some(report) = report {
            self.publish(participant, epoch, report);
        }
        // Ordering: Release. As in `poll`. Pairs also with: Acquire in `standings`. Carries: that the report is there.
        participant.polled.store(state, ordering!(Park: Release));
        epoch
    }

    fn publish(&self, participant: &Participant, epoch: u64, report: StackReport) {
        let report = if dropped!(Report) { StackReport::default() } else { report };
        participant.report.put(Counted { epoch, report, built: Built::new() });
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
    ///
    /// `weight` is what it costs to keep it, in bytes.
    pub(crate) fn retire(&self, item: Retired<G>, weight: u64) {
        let stamp = self.stamp();
        // Ordering: Relaxed. A count for heuristics and statistics.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.push(listed(Box::new(Node { stamp, weight, item, next: ptr::null_mut(), built: Built::new() })));
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

    /// Everything whose grace period is over; nothing when another thread is collecting right now. Asks for a census when what
    /// is left, and was retired since the last one, weighs more than `budget`.
    pub(crate) fn collect(&self, budget: u64) -> Collected<G> {
        let Ok(mut aging) = self.aging.try_lock() else { return Collected { free: Vec::new(), asks: false } };
        let aging = &mut *aging;
        // Ordering: Relaxed. Only written with the lock.
        let asked = self.asked.load(Ordering::Relaxed);
        for (stamp, weight, item) in self.take_fresh() {
            aging.add(stamp, if stamp > asked { weight } else { 0 }, item);
        }
        // Ordering: SeqCst fence between the unlinkings (before the pushes we took) and the look at the participants.
        // Pairs with: the fences in `go_online` and `unpark`.
        if !dropped!(CollectFence) {
            fence(Ordering::SeqCst);
        }
        let standings = self.standings(&mut aging.stacks);
        let (free, held) = aging.free(&standings, asked);
        // Ordering: Relaxed, twice. As in `retire`.
        self.waiting.fetch_add(held, Ordering::Relaxed);
        self.waiting.fetch_sub(free.len(), Ordering::Relaxed);
        // Ordering: Relaxed, to the end. Statistics, and an epoch which raising the poll cells publishes.
        self.on_stack.store(aging.stacks.bytes(), Ordering::Relaxed);
        let asks = aging.weight > budget;
        if asks {
            aging.weight = 0;
            self.asked.store(self.stamp(), Ordering::Relaxed);
            self.censuses.fetch_add(1, Ordering::Relaxed);
        }
        Collected { free, asks }
    }

    /// How many censuses were asked for.
    pub(crate) fn censuses(&self) -> u64 {
        // Ordering: Relaxed. Statistics.
        self.censuses.load(Ordering::Relaxed)
    }

    /// Bytes of retired code that the latest reports found on stacks.
    pub(crate) fn on_stack(&self) -> u64 {
        // Ordering: Relaxed. Statistics.
        self.on_stack.load(Ordering::Relaxed)
    }

    /// What was pushed since the last look, with its stamps and weights.
    fn take_fresh(&self) -> Vec<(u64, u64, Retired<G>)> {
        // Ordering: AcqRel. Pairs with: `push`. Takes the whole list, so there is no ABA.
        let mut cursor = self.limbo.swap(ptr::null_mut(), ordering!(LimboTake: AcqRel));
        let mut fresh = Vec::new();
        while !cursor.is_null() {
            // SAFETY: in the list we took, so put there by `retire` and ours now.
            let node = unsafe { unlisted(cursor) };
            node.built.seen();
            cursor = node.next;
            fresh.push((node.stamp, node.weight, node.item));
        }
        fresh
    }

    /// Everything, whether or not its grace period is over: for the owner's teardown.
    pub(crate) fn take_all(&mut self) -> Vec<Free<G>> {
        let fresh = self.take_fresh();
        let aged = lock(&self.aging).take_all();
        aged.into_iter().chain(fresh.into_iter().map(|(.., item)| item.into())).collect()
    }

    /// How far everybody who is online has come.
    fn standings(&self, stacks: &mut Stacks) -> Vec<Standing> {
        let standings = self.participants().filter_map(|record| {
            // Ordering: Acquire. Pairs with: Release in `quiesce` and `go_offline`. Carries: the end of the thread's uses.
            let seen = record.seen.load(ordering!(Horizon: Acquire));
            // Ordering: Acquire. Pairs with: Release in `park`. Carries: the report that stands meanwhile.
            let is_parked = record.polled.load(Ordering::Acquire) == PARKED;
            let who = ptr::from_ref(record).addr();
            let counted = stacks.update(who, &record.report);
            let counted = if is_parked { u64::MAX } else { counted };
            (seen != OFFLINE).then_some(Standing { who, seen, counted })
        });
        standings.collect()
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
