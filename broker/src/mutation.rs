//! Negative controls for the model checker: every ordering, and every step, that the lock-free protocols rely on has a name,
//! and under `--cfg loom` one of them at a time can be made weaker than it must be. `fake/tests/loom.rs` names, for each, a
//! model that fails then; a model that does not fail proves nothing about that ordering.
//!
//! Outside loom both macros expand to what they stand for: `ordering!(Publish: AcqRel)` to `Ordering::AcqRel`,
//! `dropped!(ParkRecheck)` to `false`. There is no switch in a program that is shipped.
//!
//! Without a control are
//! - the hand-over of a participant record (`claimed`): its Release keeps the old owner's last store to `seen` before the new
//!   owner's first, and loom orders the stores to one location as it executes them anyway;
//! - the load by which a collector sees that a participant is parked: it then takes the report by an exchange, and loom lets
//!   exchanges find what was stored last;
//! - the ticket for which a compile and the watchdog contend: the watchdog goes by time, of which loom has none;
//! - `stopped`, whose late looks cost one compile, and `active`, by which only `drain` waits: no protocol rests on them.

/// The ordering of one access; under loom, Relaxed while its mutation is chosen.
macro_rules! ordering {
    ($name:ident: $ordering:ident) => {{
        #[cfg(loom)]
        {
            $crate::mutation::Mutation::$name.weaken($crate::sync::Ordering::$ordering)
        }
        #[cfg(not(loom))]
        {
            $crate::sync::Ordering::$ordering
        }
    }};
}

/// Whether one step is left out: under loom, while its mutation is chosen.
macro_rules! dropped {
    ($name:ident) => {{
        #[cfg(loom)]
        {
            $crate::mutation::Mutation::$name.is_chosen()
        }
        #[cfg(not(loom))]
        {
            false
        }
    }};
}

pub(crate) use {dropped, ordering};

#[cfg(loom)]
use crate::sync::{OnceLock, Ordering};

#[cfg(loom)]
macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One thing the models must notice the lack of. The process's environment chooses it: `TIERUP_WEAKEN=Publish`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutation { $($(#[$doc])* $name,)* }

        impl Mutation {
            /// Every mutation.
            pub const ALL: &[Mutation] = &[$(Mutation::$name),*];
        }
    };
}

#[cfg(loom)]
mutations! {
    /// The exchange of the code word, which publishes a version.
    Publish,
    /// The load of the code word in `on_invoke`.
    Invoke,
    /// The load of the code word where an OSR variant is looked up.
    OsrLookup,
    /// Who asks for an OSR variant holds the lane's claim.
    OsrClaim,
    /// Who has compiled one gives it back.
    OsrUnclaim,
    /// The budget is for what comes after a variant before that can be seen.
    ArmFirst,
    /// A version is built from the one it replaces, not from the one its unit was compiled from.
    Successor,
    /// The load of the code word by visitors.
    Current,
    /// An install looks whether the bead is still of the lineage it was compiled from.
    Lineage,
    /// An install looks whether the functions a unit contains are still those it was compiled from.
    CalleeCheck,
    /// Who changes a function withdraws the units that contain it.
    CalleeWithdrawal,
    /// An install looks whether the assumptions a unit relies on were broken.
    AssumptionCheck,
    /// Who breaks an assumption withdraws the units that rely on it.
    AssumptionWithdrawal,
    /// Units that are withdrawn are flagged.
    Flag,
    /// The load of the code word where an exit looks for its unit.
    ExitLookup,
    /// An exit counts for the unit that was left, and for no other.
    ExitOfUnit,
    /// A reload forgets what an exit of the old body made disabled.
    Forgive,
    /// What a compile of the old body failed at is not held against the new one.
    FailureOfBody,
    /// The load of the epoch at a poll.
    PollLoad,
    /// The store of the epoch at a poll.
    PollStore,
    /// The store of "parked".
    Park,
    /// The store of "no longer parked".
    Unpark,
    /// The fence between "no longer parked" and the look at a validity cell.
    UnparkFence,
    /// The fence between the flags and the look at who has polled.
    TicketFence,
    /// The loads of what a thread has polled.
    PolledLoad,
    /// The exchange that raises a poll cell.
    Raise,
    /// The exchange that lowers it.
    Lower,
    /// The store that makes a slot live.
    Activate,
    /// The loads of the state word.
    Snapshot,
    /// The exchange behind every other transition of the state word.
    Transition,
    /// That it is an exchange: a store of what follows from what was read.
    StateExchange,
    /// The exchange that links a bead into the inbox.
    InboxPush,
    /// The swap that takes the inbox.
    InboxDrain,
    /// Whoever drains looks again whether the broker was shut down.
    DrainRecheck,
    /// The count of requests goes down with what answered them.
    Answered,
    /// Whoever waits for the count sees that.
    Pending,
    /// The exchange that publishes a chunk of slots.
    ChunkPublish,
    /// The load of a chunk.
    ChunkLoad,
    /// The exchange that gives a slot back.
    SlotGive,
    /// The load that begins taking it again.
    SlotTake,
    /// The exchange that publishes a participant record.
    Join,
    /// The store of "online".
    Online,
    /// The fence between "online" and the first look at a code word.
    OnlineFence,
    /// The fence between unlinking and the look at who is online.
    CollectFence,
    /// The load of the epoch at a quiescent point.
    QuiesceLoad,
    /// The store of the epoch at a quiescent point.
    QuiesceStore,
    /// The store of "offline".
    Offline,
    /// The collector's load of what a participant has seen.
    Horizon,
    /// The collector's load of the list of participants.
    Participants,
    /// A thread that answers a census says which units are on its stack.
    Report,
    /// The swap that publishes a report.
    ReportPut,
    /// The swap that takes it.
    ReportTake,
    /// The increment that stamps a retired thing.
    RetireStamp,
    /// The exchange that puts a retired thing in limbo.
    LimboPush,
    /// The swap that takes the limbo list.
    LimboTake,
    /// The exchange that posts an event.
    EventPost,
    /// The swap that takes the posted events.
    EventTake,
    /// The fence between a request and the look at who is parked.
    WakeFence,
    /// The fence between the announcement and the last look.
    ParkFence,
    /// A worker that announced itself parked looks once more for work.
    ParkRecheck,
    /// A thread that comes online wakes a worker.
    OnlineWake,
    /// Who queues requests that others may have to take wakes them.
    HandOver,
    /// That code is published by an exchange, not by a store.
    PublishExchange,
    /// What was retired is not counted as live again.
    UnitPhase,
    /// A panicking compiler is contained.
    Contain,
}

#[cfg(loom)]
impl Mutation {
    /// Whether this process runs with this mutation.
    pub fn is_chosen(self) -> bool {
        static CHOSEN: OnceLock<Option<Mutation>> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let name = std::env::var("TIERUP_WEAKEN").ok()?;
            let named = Mutation::ALL.iter().find(|mutation| format!("{mutation:?}") == name);
            Some(*named.unwrap_or_else(|| panic!("there is no mutation `{name}`")))
        }) == Some(self)
    }

    pub(crate) fn weaken(self, ordering: Ordering) -> Ordering {
        if self.is_chosen() { Ordering::Relaxed } else { ordering }
    }
}
