//! Events: one per transition, each with its reason, told by workers and never by interpreter threads.
//!
//! Whoever makes a transition posts its event on a lock-free list; workers (in pump and sync mode: `run_pending` and the
//! compiling call) deliver what is posted to the `on_event` callback, to subscribers and to `tracing`, target `tierup`.

use std::{fmt, ptr, time::Duration};

use crate::{
    Bailout, BeadId, DeoptDecision, GuardId, NeverReason, Reason, Tier,
    clock::Clock,
    contain::contained,
    listed::{listed, unlisted},
    mutation::ordering,
    subscribers::{Subscribers, Subscription},
    sync::{Arc, AtomicPtr, Built, Ordering},
};

/// One transition of one bead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When it happened, since the broker was built.
    pub time: Duration,
    /// Which bead.
    pub bead: BeadId,
    /// What the `describe` function says about the bead's guest handle; empty without one.
    pub name: String,
    /// The tier that ran before.
    pub from: Tier,
    /// The tier that runs, or would have run, after.
    pub to: Tier,
    /// The loop site, when it is about an OSR variant.
    pub site: Option<u32>,
    /// What happened, and why.
    pub what: Transition,
    /// Time from the request to the start of the compile.
    pub queue_wait: Duration,
    /// Time the compiler took.
    pub cost: Duration,
    /// Bytes of machine code installed, or no longer reachable.
    pub code_bytes: usize,
    /// Where code that was installed may be left for the interpreter, and where code that was given up was left last, as the
    /// [`describe_guards`](crate::BrokerBuilder::describe_guards) function says it; empty otherwise.
    pub guards: String,
}

/// What happened to a bead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Transition {
    /// A tier was asked for.
    #[error("requested: {0}")]
    Requested(Reason),
    /// A request waited while many did, and is for a lower tier now.
    #[error("instead of {asked}: compilers are busy")]
    LevelChanged {
        /// The tier that was asked for.
        asked: Tier,
    },
    /// Code was published.
    #[error("installed")]
    Installed,
    /// A compile was given up.
    #[error("{bailout}{}", if *.disabled { "; disabled for this function" } else { "" })]
    BailedOut {
        /// Why.
        bailout: Bailout,
        /// Whether the tier is disabled for the bead now; for an OSR variant, whether its site is closed.
        disabled: bool,
    },
    /// Finished code lost against something newer and was dropped.
    #[error("lost: {0}")]
    Lost(LossReason),
    /// A request was dropped before it was compiled.
    #[error("dropped: {0}")]
    Dropped(LossReason),
    /// The compile overstayed; its worker was given up and replaced.
    #[error("abandoned past its deadline")]
    Abandoned,
    /// A tier was turned off for all beads: too many of its compiles were abandoned.
    #[error("tier turned off")]
    TierOff,
    /// Code is no longer entered.
    #[error("invalidated: {0}")]
    Invalidated(InvalidateReason),
    /// Code was given up because it was left for the interpreter.
    #[error("deopt at {guard}: {decision}")]
    Deoptimized {
        /// Where it was left last.
        guard: GuardId,
        /// What was done, and why.
        decision: DeoptDecision,
    },
    /// The body was replaced.
    #[error("reloaded")]
    Reloaded,
    /// The guest handle was replaced; body and code stay.
    #[error("guest handle updated")]
    GuestUpdated,
    /// The policy will not be asked about the bead again.
    #[error("never: {0}")]
    Never(NeverReason),
    /// The embedder disabled the bead.
    #[error("disabled")]
    Disabled,
    /// The function calls one that may not run where it runs, and no [bridge](crate::Broker::declare_bridge) was declared. Told once.
    #[error("calls {name} across placements, which nobody declared")]
    Crossed {
        /// Who is called.
        callee: BeadId,
        /// What the `describe` function says about it.
        name: String,
    },
}

/// Why a request or finished code was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LossReason {
    /// The body was reloaded, or its code invalidated, meanwhile.
    #[error("the function changed")]
    Changed,
    /// The bead already runs this tier or a higher one.
    #[error("superseded by a higher tier")]
    Superseded,
    /// The bead was released.
    #[error("the function is gone")]
    Released,
    /// The bead, or the tier, is disabled.
    #[error("disabled")]
    Disabled,
    /// The function did no work for so long that it is no longer hot.
    #[error("no longer hot")]
    Stale,
    /// The broker was shut down.
    #[error("shut down")]
    ShutDown,
    /// A function compiled into the unit was reloaded, invalidated or released meanwhile.
    #[error("a function compiled into it changed")]
    CalleeChanged,
    /// An assumption the unit relies on was broken meanwhile.
    #[error("an assumption broke")]
    AssumptionBroken,
}

/// Why code was invalidated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidateReason {
    /// The embedder asked.
    #[error("requested")]
    Requested,
    /// Something the code relied on is no longer so.
    #[error("an assumption broke")]
    Assumption,
    /// A debugger or profiler wants the interpreter.
    #[error("debugging")]
    Debugging,
    /// A function compiled into the code was reloaded, invalidated or released.
    #[error("a function compiled into it changed")]
    CalleeChanged,
}

/// When and why a bead was linked into the inbox, in one word: an interpreter thread writes it without allocating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) time: Duration,
    pub(crate) cause: Cause,
}

/// Why an interpreter thread linked a bead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Promote(Reason),
    Never(NeverReason),
}

const CAUSES: [Cause; 11] = [
    Cause::Promote(Reason::Budget),
    Cause::Promote(Reason::FirstCall),
    Cause::Promote(Reason::QueueAhead),
    Cause::Promote(Reason::Retry),
    Cause::Promote(Reason::Forced),
    Cause::Promote(Reason::CalledAgain),
    Cause::Promote(Reason::OuterLoop),
    Cause::Promote(Reason::Deopt),
    Cause::Promote(Reason::Pays),
    Cause::Never(NeverReason::TooLarge),
    Cause::Never(NeverReason::Excluded),
];

impl Stamp {
    /// 56 bits of nanoseconds (two years), 8 bits of cause.
    pub(crate) fn pack(self) -> u64 {
        let cause = CAUSES.iter().position(|&cause| cause == self.cause).unwrap_or(0);
        (self.time.as_nanos() as u64) << 8 | cause as u64
    }

    pub(crate) fn unpack(word: u64) -> Self {
        let cause = CAUSES.get((word & 0xFF) as usize).copied().unwrap_or(CAUSES[0]);
        Stamp { time: Duration::from_nanos(word >> 8), cause }
    }
}

struct Node {
    event: Event,
    next: *mut Node,
    built: Built,
}

pub(crate) type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;

/// Where events are posted and delivered.
pub(crate) struct Events {
    clock: Clock,
    posted: AtomicPtr<Node>,
    subscribers: Arc<Subscribers>,
}

impl Events {
    pub(crate) fn new(clock: Clock, callback: Option<OnEvent>) -> Self {
        Events { clock, posted: AtomicPtr::new(ptr::null_mut()), subscribers: Subscribers::new(callback) }
    }

    /// Tells `callback` as well from now on.
    pub(crate) fn subscribe(&self, callback: OnEvent) -> Subscription {
        self.subscribers.add(callback)
    }

    /// Time since the broker was built.
    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Posts an event for the next delivery. Any thread, no lock.
    pub(crate) fn post(&self, event: Event) {
        let node = listed(Box::new(Node { event, next: ptr::null_mut(), built: Built::new() }));
        // Ordering: Relaxed. Only the exchange decides.
        let mut head = self.posted.load(Ordering::Relaxed);
        loop {
            // SAFETY: not published yet, so ours.
            unsafe { (*node).next = head };
            // Ordering: AcqRel. Pairs with: the swap in `deliver`. Carries: the node.
            match self.posted.compare_exchange_weak(head, node, ordering!(EventPost: AcqRel), Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) => head = actual,
            }
        }
    }

    fn take(&self) -> Vec<Event> {
        // Ordering: AcqRel. Pairs with: `post`. Takes the whole list, so there is no ABA.
        let mut cursor = self.posted.swap(ptr::null_mut(), ordering!(EventTake: AcqRel));
        let mut events = Vec::new();
        while !cursor.is_null() {
            // SAFETY: taken from the list, put there by `post`.
            let node = unsafe { unlisted(cursor) };
            node.built.seen();
            cursor = node.next;
            events.push(node.event);
        }
        events.reverse();
        events
    }

    /// Whether anything is posted.
    #[cfg(feature = "threads")]
    pub(crate) fn is_empty(&self) -> bool {
        // Ordering: Relaxed. A hint: a worker looks again.
        self.posted.load(Ordering::Relaxed).is_null()
    }

    /// Delivers what is posted, oldest first. No lock is held: the callback may call the broker.
    pub(crate) fn deliver(&self) {
        let events = self.take();
        if events.is_empty() {
            return;
        }
        let subscribers = self.subscribers.all();
        for event in events {
            trace(&event);
            for (_, callback) in subscribers.iter() {
                // A panicking subscriber must not take a worker, or the caller of an unrelated method, with it.
                if let Err(message) = contained(|| callback(&event)) {
                    tracing::error!(target: "tierup", %message, "the event callback panicked");
                }
            }
        }
    }
}

fn trace(event: &Event) {
    let Event { time, bead, name, from, to, site, what, queue_wait, cost, code_bytes, guards } = event;
    tracing::debug!(target: "tierup", ?time, %bead, name, %from, %to, site, ?queue_wait, ?cost, code_bytes, guards, "{what}");
}

impl Drop for Events {
    fn drop(&mut self) {
        // What nobody delivered is dropped: the callback may refer to what is being torn down.
        drop(self.take());
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("subscribers", &self.subscribers.all().len()).finish_non_exhaustive()
    }
}
