//! The state word: everything about a bead that more than one thread changes, and the only transitions there are.
//!
//! ```text
//!  63   60 59 56 55 53 52                              32 31   28 27       21 20        14 13     7 6      0
//! ┌───────┬─────┬─────┬──────────────────────────────────┬───────┬───────────┬────────────┬────────┬────────┐
//! │ flags │  0  │ CUT │ retries, 3 bits per tier, 7 tiers│ flags │ DISABLED  │ COMPILING  │ QUEUED │ WANTED │
//! └───────┴─────┴─────┴──────────────────────────────────┴───────┴───────────┴────────────┴────────┴────────┘
//!  60 NOTICE: a worker has yet to tell                    28 LIVE: registered      one bit per tier, tier 1 lowest
//!  61 OSR: the phase of the OSR lane, 2 bits              29 RELEASED: owner is gone
//!  53 CUT: how many tiers, from the top, the bead         30 LINKED: in the inbox
//!     is not to go to, whatever happens                   31 FROZEN: never ask again
//! ```
//!
//! Life of one *lane* of one bead. A bead has a lane for the body of each tier, and one for an OSR variant: of which site and
//! tier stands beside the word (`osr.rs`).
//!
//! ```text
//!            request            unlink            begin              finish
//!   (idle) ──────────► WANTED ──────────► QUEUED ─────────► COMPILING ──────► (idle), or DISABLED
//!      ▲                  │ withdraw         │ withdraw         ▲
//!      └──────────────────┴──────────────────┘                  │ seize: compile_now and sync mode
//!      └────────────────────────────────────────────────────────┘
//! ```
//!
//! What is installed is not here: the code word says that, and its version says which tier it is.
//!
//! A slot may be recycled once it is RELEASED and nobody holds it: not LINKED, nothing COMPILING. (A queue entry is only a
//! hint, checked by `begin`.) Whoever makes that true is told so by the transition, exactly once, and retires the slot.
//! An abandoned compile keeps its COMPILING bit, and so the slot, until it really returns.

use crate::{
    mutation::{dropped, ordering},
    sync::{AtomicU64, Ordering},
    tier::{Tier, TierSet},
    tuning::MAX_RETRIES,
};

const TIERS: u32 = 7;
const TIER_MASK: u64 = (1 << TIERS) - 1;
const WANTED: u32 = 0;
const QUEUED: u32 = 7;
const COMPILING: u32 = 14;
const DISABLED: u32 = 21;
const LIVE: u64 = 1 << 28;
const RELEASED: u64 = 1 << 29;
const LINKED: u64 = 1 << 30;
const FROZEN: u64 = 1 << 31;
const RETRIES: u32 = 32;
const RETRY_BITS: u32 = 3;
const RETRY_MASK: u64 = (1 << RETRY_BITS) - 1;
const CUT: u32 = 53;
const CUT_MASK: u64 = 7;

const _: () = assert!(MAX_RETRIES as u64 <= RETRY_MASK);
const NOTICE: u64 = 1 << 60;
const OSR: u32 = 61;

/// What a bead can have one request for at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// The body of a tier.
    Body(Tier),
    /// An OSR variant.
    Osr,
}

/// How far the request of a lane has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    /// Asked for; the bead is in the inbox.
    Wanted,
    /// In the queue.
    Queued,
    Compiling,
}

impl Phase {
    const ALL: [Phase; 4] = [Phase::Idle, Phase::Wanted, Phase::Queued, Phase::Compiling];

    /// Whether the request can still be taken back.
    fn is_waiting(self) -> bool {
        matches!(self, Phase::Wanted | Phase::Queued)
    }
}

/// One value of the state word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot(u64);

impl Snapshot {
    fn set(self, field: u32) -> TierSet {
        TierSet((self.0 >> field & TIER_MASK) as u8)
    }

    fn with(self, field: u32, tier: Tier) -> Self {
        Snapshot(self.0 | 1 << (field + tier.slot() as u32))
    }

    /// How far the request of a lane has got.
    pub(crate) fn phase(self, lane: Lane) -> Phase {
        match lane {
            Lane::Osr => Phase::ALL[(self.0 >> OSR & 3) as usize],
            Lane::Body(tier) if self.set(COMPILING).contains(tier) => Phase::Compiling,
            Lane::Body(tier) if self.set(QUEUED).contains(tier) => Phase::Queued,
            Lane::Body(tier) if self.set(WANTED).contains(tier) => Phase::Wanted,
            Lane::Body(_) => Phase::Idle,
        }
    }

    fn with_phase(self, lane: Lane, phase: Phase) -> Self {
        match lane {
            Lane::Osr => Snapshot(self.0 & !(3 << OSR) | (phase as u64) << OSR),
            Lane::Body(tier) => {
                let bit = 1 << tier.slot();
                let idle = Snapshot(self.0 & !(bit << WANTED | bit << QUEUED | bit << COMPILING));
                match phase {
                    Phase::Idle => idle,
                    Phase::Wanted => idle.with(WANTED, tier),
                    Phase::Queued => idle.with(QUEUED, tier),
                    Phase::Compiling => idle.with(COMPILING, tier),
                }
            }
        }
    }

    fn plus(self, flags: u64) -> Self {
        Snapshot(self.0 | flags)
    }

    fn minus(self, flags: u64) -> Self {
        Snapshot(self.0 & !flags)
    }

    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    pub(crate) fn is_live(self) -> bool {
        self.has(LIVE) && !self.has(RELEASED)
    }

    /// Registered and not yet recycled, whether or not its owner is gone.
    pub(crate) fn is_occupied(self) -> bool {
        self.has(LIVE)
    }

    pub(crate) fn is_frozen(self) -> bool {
        self.has(FROZEN)
    }

    /// Tiers the bead may go to: those that did not fail, and are not above the highest.
    #[inline]
    pub(crate) fn open(self) -> TierSet {
        let allowed = TIER_MASK >> (self.0 >> CUT & CUT_MASK);
        TierSet((!(self.0 >> DISABLED) & allowed) as u8)
    }

    /// Whether the bead does not go to the tier: because that failed, or because it is above the highest.
    #[inline]
    pub(crate) fn is_disabled(self, tier: Tier) -> bool {
        !tier.is_interpreter() && !self.open().contains(tier)
    }

    /// The highest tier the bead may go to.
    pub(crate) fn limit(self) -> Tier {
        Tier::new(Tier::MAX.index() - (self.0 >> CUT & CUT_MASK) as u8)
    }

    /// Whether anything above `tier` is being compiled.
    pub(crate) fn is_busy_above(self, tier: Tier) -> bool {
        self.set(COMPILING).iter().any(|compiling| compiling > tier) || self.phase(Lane::Osr) == Phase::Compiling
    }

    fn with_limit(self, limit: Tier) -> Self {
        let cut = u64::from(Tier::MAX.index() - limit.min(Tier::MAX).index());
        Snapshot(self.0 & !(CUT_MASK << CUT) | cut << CUT)
    }

    pub(crate) fn is_queued(self, lane: Lane) -> bool {
        self.phase(lane) == Phase::Queued
    }

    /// Asked for and not yet answered.
    #[inline]
    pub(crate) fn is_pending(self, lane: Lane) -> bool {
        match lane {
            Lane::Osr => self.phase(lane) != Phase::Idle,
            Lane::Body(tier) => TierSet((self.0 >> WANTED | self.0 >> QUEUED | self.0 >> COMPILING) as u8).contains(tier),
        }
    }

    pub(crate) fn is_idle(self) -> bool {
        self.0 & (TIER_MASK << WANTED | TIER_MASK << QUEUED | TIER_MASK << COMPILING | 3 << OSR) == 0
    }

    /// Whether the lane takes no requests.
    fn refuses(self, lane: Lane) -> bool {
        let disabled = matches!(lane, Lane::Body(tier) if self.is_disabled(tier));
        !self.is_live() || self.is_frozen() || disabled
    }

    pub(crate) fn retries(self, tier: Tier) -> u8 {
        (self.0 >> (RETRIES + RETRY_BITS * tier.slot() as u32) & RETRY_MASK) as u8
    }

    fn with_retries(self, tier: Tier, retries: u8) -> Self {
        let shift = RETRIES + RETRY_BITS * tier.slot() as u32;
        Snapshot(self.0 & !(RETRY_MASK << shift) | u64::from(retries) << shift)
    }

    fn without_failures(self) -> Self {
        self.minus(TIER_MASK << DISABLED | ((1 << (RETRY_BITS * TIERS)) - 1) << RETRIES)
    }

    /// After a compile of `tier` that ended so.
    fn remember(self, tier: Tier, ending: Ending) -> Self {
        let retries = (self.retries(tier) + 1).min(MAX_RETRIES);
        match ending {
            Ending::Settled => self,
            Ending::Retry if retries == MAX_RETRIES => self.with_retries(tier, retries).with(DISABLED, tier),
            Ending::Retry => self.with_retries(tier, retries),
            Ending::Disable => self.with(DISABLED, tier),
        }
    }

    /// The owner is gone and so is everybody else.
    fn is_vacant(self) -> bool {
        let compiling = !self.set(COMPILING).is_empty() || self.phase(Lane::Osr) == Phase::Compiling;
        self.has(RELEASED) && !self.has(LINKED) && !compiling
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("wanted", &self.set(WANTED))
            .field("queued", &self.set(QUEUED))
            .field("compiling", &self.set(COMPILING))
            .field("osr", &self.phase(Lane::Osr))
            .field("disabled", &self.set(DISABLED))
            .field("linked", &self.has(LINKED))
            .field("released", &self.has(RELEASED))
            .field("frozen", &self.has(FROZEN))
            .finish_non_exhaustive()
    }
}

/// What [`State::request`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Request {
    /// The lane's code is wanted now, and the caller must link the bead into the inbox.
    Link,
    /// It is wanted now; the bead is in the inbox already.
    Joined,
    /// It was wanted, queued or compiling already.
    Pending,
    /// The tier or the bead is disabled, or the bead is gone.
    Refused,
}

/// What a worker found when it unlinked a bead from the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Unlinked {
    /// Tiers that moved from wanted to queued.
    pub(crate) queued: TierSet,
    /// So did the OSR lane.
    pub(crate) osr: bool,
    /// The bead was frozen by an interpreter thread and nobody has told yet.
    pub(crate) notice: bool,
    /// The caller retires the slot.
    pub(crate) vacated: bool,
}

/// What [`State::seize`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Seize {
    /// The lane is compiling now, by the caller.
    Won {
        /// It had been asked for before: that request is answered by this compile.
        was_pending: bool,
    },
    /// Somebody else is compiling it.
    Busy,
    /// The tier or the bead is disabled, or the bead is gone.
    Refused,
}

/// How a compile ended, as far as the state word is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Installed, or lost a race: nothing to remember.
    Settled,
    /// A retryable bailout.
    Retry,
    /// A terminal bailout.
    Disable,
}

/// What [`State::finish`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Finished {
    /// The caller retires the slot.
    pub(crate) vacated: bool,
}

/// Requests taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Withdrawn {
    /// Tiers that were wanted or queued.
    pub(crate) dropped: TierSet,
    /// So was an OSR variant: the caller owns its claim now.
    pub(crate) osr: bool,
    /// The caller retires the slot.
    pub(crate) vacated: bool,
}

/// The state word of one bead.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct State(AtomicU64);

impl Default for State {
    fn default() -> Self {
        State(AtomicU64::new(0))
    }
}

impl State {
    pub(crate) fn snapshot(&self) -> Snapshot {
        // Ordering: Acquire. Pairs with: Release in `update` and `activate`. Carries: the cold entry written before
        // `activate`, so that whoever sees LIVE may read the guest handle.
        Snapshot(self.0.load(ordering!(Snapshot: Acquire)))
    }

    /// Every change goes through here: `change` maps a snapshot to its successor and a result, or refuses.
    fn update<R>(&self, mut change: impl FnMut(Snapshot) -> (Option<Snapshot>, R)) -> R {
        let mut now = self.snapshot();
        loop {
            let (next, result) = change(now);
            let Some(next) = next else { return result };
            if dropped!(StateExchange) {
                // Ordering: Relaxed, as weak as it gets.
                self.0.store(next.0, Ordering::Relaxed);
                return result;
            }
            // Ordering: AcqRel. Pairs with itself: each transition sees everything done under the one it builds on (a
            // worker that begins a job sees what the requester wrote; the last one out sees all uses of the slot as over).
            // Failure Acquire: the closure decides again on what it reads.
            match self.0.compare_exchange_weak(now.0, next.0, ordering!(Transition: AcqRel), ordering!(Transition: Acquire)) {
                Ok(_) => return result,
                Err(actual) => now = Snapshot(actual),
            }
        }
    }

    /// vacant → live, to go no higher than `limit`. Only the registrar, who owns the vacant slot, calls this.
    pub(crate) fn activate(&self, limit: Tier) {
        // Ordering: Release. Pairs with: Acquire in `snapshot`. Carries: guest, size, code word, generation.
        self.0.store(Snapshot(LIVE).with_limit(limit).0, ordering!(Activate: Release));
    }

    /// From now on the bead goes no higher than `limit`. A compile under way still uses the slot.
    pub(crate) fn limit(&self, limit: Tier) {
        self.update(|now| (Some(now.with_limit(limit)), ()));
    }

    /// released → vacant, after the grace period. Only the reclaimer, who owns the retired slot, calls this.
    pub(crate) fn vacate(&self) {
        // Ordering: Relaxed. The free list's Release push publishes the slot.
        self.0.store(0, Ordering::Relaxed);
    }

    /// Asks for a lane's code. For the OSR lane the caller holds the claim on it.
    pub(crate) fn request(&self, lane: Lane) -> Request {
        self.update(|now| {
            if now.refuses(lane) {
                (None, Request::Refused)
            } else if now.is_pending(lane) {
                (None, Request::Pending)
            } else if now.has(LINKED) {
                (Some(now.with_phase(lane, Phase::Wanted)), Request::Joined)
            } else {
                (Some(now.with_phase(lane, Phase::Wanted).plus(LINKED)), Request::Link)
            }
        })
    }

    /// Stops the policy from being asked; true when the caller must link the bead, so that a worker can tell.
    #[must_use]
    pub(crate) fn freeze_with_notice(&self) -> bool {
        self.update(|now| {
            if !now.is_live() || now.is_frozen() {
                (None, false)
            } else {
                (Some(now.plus(FROZEN | NOTICE | LINKED)), !now.has(LINKED))
            }
        })
    }

    /// Takes the bead out of the inbox and queues what is wanted. The caller has read the inbox link before.
    pub(crate) fn unlink(&self) -> Unlinked {
        self.update(|now| {
            let queued = now.set(WANTED);
            let osr = now.phase(Lane::Osr) == Phase::Wanted;
            let mut next = Snapshot(now.0 & !(TIER_MASK << WANTED) | u64::from(queued.0) << QUEUED).minus(LINKED | NOTICE);
            if osr {
                next = next.with_phase(Lane::Osr, Phase::Queued);
            }
            (Some(next), Unlinked { queued, osr, notice: now.has(NOTICE), vacated: next.is_vacant() })
        })
    }

    /// queued → compiling; false when the request was withdrawn or answered otherwise.
    #[must_use]
    pub(crate) fn begin(&self, lane: Lane) -> bool {
        self.update(|now| if now.is_queued(lane) { (Some(now.with_phase(lane, Phase::Compiling)), true) } else { (None, false) })
    }

    /// anything but compiling → compiling, for a compile on the calling thread.
    pub(crate) fn seize(&self, lane: Lane) -> Seize {
        self.update(|now| {
            if now.refuses(lane) {
                (None, Seize::Refused)
            } else if now.phase(lane) == Phase::Compiling {
                (None, Seize::Busy)
            } else {
                (Some(now.with_phase(lane, Phase::Compiling)), Seize::Won { was_pending: now.is_pending(lane) })
            }
        })
    }

    /// compiling → idle or disabled. Only the thread that compiled calls this. What an OSR variant's failure means is
    /// remembered elsewhere: for that lane the ending does not matter.
    pub(crate) fn finish(&self, lane: Lane, ending: Ending) -> Finished {
        self.update(|now| {
            debug_assert!(now.phase(lane) == Phase::Compiling, "finished what nobody began: {now:?}");
            let next = now.with_phase(lane, Phase::Idle);
            let next = if let Lane::Body(tier) = lane { next.remember(tier, ending) } else { next };
            (Some(next), Finished { vacated: next.is_vacant() })
        })
    }

    /// Nobody asks for the tier any more. A compile of it that is under way still uses the slot.
    pub(crate) fn disable(&self, tier: Tier) {
        self.update(|now| (Some(now.with(DISABLED, tier)), ()));
    }

    /// The tier may be asked for after all.
    pub(crate) fn enable(&self, tier: Tier) {
        self.update(|now| (Some(now.minus(1 << (DISABLED + tier.slot() as u32))), ()));
    }

    /// Forgets every failure; true if there was one. An exchange also when there was none: then whoever disables a tier later sees
    /// what came before this (`Shared::never_again`). Test: loom deopt_vs_reload.
    pub(crate) fn forgive(&self) -> bool {
        self.update(|now| (Some(now.without_failures()), now != now.without_failures()))
    }

    /// Takes a request back that is queued.
    #[must_use]
    pub(crate) fn withdraw_queued(&self, lane: Lane) -> bool {
        self.update(|now| if now.is_queued(lane) { (Some(now.with_phase(lane, Phase::Idle)), true) } else { (None, false) })
    }

    /// Takes a request back that nobody has begun.
    #[must_use]
    pub(crate) fn withdraw(&self, lane: Lane) -> bool {
        self.update(
            |now| {
                if now.phase(lane).is_waiting() { (Some(now.with_phase(lane, Phase::Idle)), true) } else { (None, false) }
            },
        )
    }

    /// Takes all requests back.
    pub(crate) fn cancel(&self) -> Withdrawn {
        self.withdraw_and(|next| next)
    }

    /// queued → queued for another tier, unless that is asked for already.
    #[must_use]
    pub(crate) fn change_level(&self, from: Tier, to: Tier) -> bool {
        let [from, to] = [from, to].map(Lane::Body);
        self.update(|now| {
            if now.is_queued(from) && !now.is_pending(to) && !now.refuses(to) {
                (Some(now.with_phase(from, Phase::Idle).with_phase(to, Phase::Queued)), true)
            } else {
                (None, false)
            }
        })
    }

    /// Takes all requests back and forgets every failure: the body is another one now.
    pub(crate) fn reset(&self) -> Withdrawn {
        self.withdraw_and(|next| next.minus(FROZEN | NOTICE).without_failures())
    }

    /// Takes all requests back and refuses new ones.
    pub(crate) fn freeze(&self) -> Withdrawn {
        self.withdraw_and(|next| next.plus(FROZEN))
    }

    /// live → released. Only the owner calls this, once.
    pub(crate) fn release(&self) -> Withdrawn {
        self.withdraw_and(|next| next.plus(RELEASED))
    }

    fn withdraw_and(&self, then: impl Fn(Snapshot) -> Snapshot) -> Withdrawn {
        self.update(|now| {
            let dropped = TierSet(now.set(WANTED).0 | now.set(QUEUED).0);
            let osr = now.phase(Lane::Osr).is_waiting();
            let mut next = Snapshot(now.0 & !(TIER_MASK << WANTED | TIER_MASK << QUEUED));
            if osr {
                next = next.with_phase(Lane::Osr, Phase::Idle);
            }
            let next = then(next);
            (Some(next), Withdrawn { dropped, osr, vacated: next.is_vacant() && !now.is_vacant() })
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
