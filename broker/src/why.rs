//! Why a function runs where it runs: what the broker knows about one bead, in words.
//!
//! Nothing here changes anything or is needed by anything else.

use std::{cmp::Reverse, fmt, time::Duration};

use crate::{
    BailoutKind, BeadId, Broker, Decision, Placement, Speedup, Tier,
    queue::Standing,
    shared::Shared,
    state::{Lane, Phase, Snapshot},
    sync::Ordering,
    target::Target,
    unit::InstalledUnit,
};

/// What is known about why a bead runs what it runs, as [`Broker::why`] tells it. Displayed as some lines of text.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Why {
    /// Which bead.
    pub bead: BeadId,
    /// What the `describe` function says about it; empty without one.
    pub name: String,
    /// The tier whose code runs when it is called.
    pub tier: Tier,
    /// Code that is entered at loops: sites and tiers.
    pub variants: Vec<(u32, Tier)>,
    /// Work units done, as far as they were counted.
    pub work: u64,
    /// Of these, done since the code that runs was installed, or counting started over.
    pub spent: u64,
    /// Of `spent`, about how much in loops.
    pub loop_work: u64,
    /// Who counts what it does in the code that runs.
    pub counted: CountedBy,
    /// How much faster the code is than what ran before, if enough calls were [timed](crate::InterpThread::timed).
    pub speedup: Option<Speedup>,
    /// What the bead's thresholds are multiplied by.
    pub scale: f64,
    /// Where it may run.
    pub placement: Placement,
    /// What the policy said last.
    pub answer: Option<LastAnswer>,
    /// What was asked for and is not there yet.
    pub requests: Vec<PendingRequest>,
    /// The tier it may go to next.
    pub next: Option<Tier>,
    /// Work units until the policy is asked about that; threads have drawn some of them already. `None` when nobody counts for it.
    pub missing: Option<u32>,
    /// Where the code that can be entered may be left for the interpreter, of each unit that may be left.
    pub exits: Vec<UnitExits>,
    /// What code is not to depend on any more, because code was left for it too often, in words.
    pub suppressed: String,
    /// Tiers it does not go to, and why.
    pub closed: Vec<(Tier, ClosedBy)>,
    /// Why it does not go anywhere any more.
    pub frozen: Option<FrozenBy>,
}

/// Who counts what a body does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CountedBy {
    /// Interpreters that call it. What native code calls is not counted.
    Interpreters,
    /// [The code itself](crate::CodeUnit::counting).
    Itself,
    /// Nobody: it is [sampled](crate::CodeUnit::sampled).
    Samples,
}

/// What the policy said about a bead when it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastAnswer {
    /// When that was, since the broker was built.
    pub time: Duration,
    /// Work units the bead had done.
    pub work: u64,
    /// The tier that was in question.
    pub tier: Tier,
    /// Whether it was about an OSR variant.
    pub at_loop: bool,
    /// What it said.
    pub decision: Decision,
}

/// A request that has not been answered.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PendingRequest {
    /// The tier asked for.
    pub tier: Tier,
    /// The loop site, of an OSR variant.
    pub site: Option<u32>,
    /// How far it has got.
    pub progress: Progress,
}

/// Where one unit may be left, and was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitExits {
    /// Its tier.
    pub tier: Tier,
    /// The loop it is entered at, of an OSR variant.
    pub site: Option<u32>,
    /// All its guards, [in words](crate::BrokerBuilder::describe_guards).
    pub guards: String,
    /// How often it was left.
    pub times: u32,
    /// The guards it was left at, in words, and how often; those where that happened most come first.
    pub left: Vec<(String, u32)>,
}

/// How far a request has got.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// No worker has seen it yet.
    Requested,
    /// It waits.
    Queued {
        /// How many go before it, as things are now.
        ahead: usize,
        /// How many wait, this one included.
        of: usize,
        /// What it is worth: see `broker/src/priority.rs`. Infinite for those that go first.
        priority: f64,
    },
    /// It is being compiled.
    Compiling,
}

/// Why a bead does not go to a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClosedBy {
    /// The tier is above the highest one that the bead was given, by a rule or by [`Broker::limit_tier`].
    #[error("above the highest tier it may go to")]
    Limit,
    /// A compile failed, for good or too often.
    #[error("compiling failed: {0}")]
    Bailout(BailoutKind),
    /// The deopt policy forbids it.
    #[error("its code was left too often")]
    Deopts,
    /// The tier was turned off for all.
    #[error("the tier was turned off")]
    TierOff,
}

/// Why a bead is not asked about any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrozenBy {
    /// The policy said never.
    #[error("the policy does not want to hear of it again")]
    Policy,
    /// [`Broker::disable`].
    #[error("the embedder disabled it")]
    Embedder,
}

impl<G: Send + Sync + 'static> Broker<G> {
    /// Why the bead runs what it runs, and what is missing for more. `None` when it is gone, or never was this broker's.
    ///
    /// For people and tools: it takes the queue's lock, and time by the length of the queue.
    pub fn why(&self, bead: BeadId) -> Option<Why> {
        let shared = self.shared();
        shared.registry.find(bead.id)?;
        let pin = shared.reclaimer.pin();
        let state = shared.registry.hot(bead.id).state.snapshot();
        (state.is_live() && shared.bead_id(bead.id) == bead).then(|| {
            let why = shared.why(bead, state);
            drop(pin);
            why
        })
    }
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// The caller is pinned, and has seen the bead live.
    fn why(&self, bead: BeadId, state: Snapshot) -> Why {
        let id = bead.id;
        let pin = self.reclaimer.pin();
        let (hot, cold, tally) = (self.registry.hot(id), self.registry.cold(id), self.registry.tally(id));
        let (_, version) = self.current(&pin, hot);
        // Ordering: Relaxed, twice. Approximate.
        let (work, budget) = (cold.work.load(Ordering::Relaxed), hot.budget.load(Ordering::Relaxed));
        let (spent, loop_work) = tally.spent(work);
        let answer = tally.answer().map(|(answer, time, work)| LastAnswer {
            time,
            work,
            tier: answer.tier,
            at_loop: answer.at_loop,
            decision: answer.decision,
        });
        let said_never = matches!(answer, Some(LastAnswer { decision: Decision::Never { .. }, .. }));
        Why {
            bead,
            name: self.name(id),
            tier: version.tier(),
            variants: version.header.variants.iter().map(|(site, unit)| (site, unit.tier)).collect(),
            work,
            spent,
            loop_work,
            counted: match version.body.as_deref() {
                Some(body) if body.sampled => CountedBy::Samples,
                Some(body) if body.counting => CountedBy::Itself,
                _ => CountedBy::Interpreters,
            },
            speedup: tally.timings.speedup(),
            scale: tally.scale(),
            placement: tally.placement(),
            answer,
            requests: self.pending_of(id, state),
            next: self.next_tier(version.tier(), state),
            missing: u32::try_from(budget).ok().filter(|_| budget != i32::MAX),
            exits: version.entered_units().filter_map(|(site, unit)| self.exits_of(site, unit)).collect(),
            suppressed: self.describe_guards(version.history.as_ref().map_or(&[], |history| history.suppressed())),
            closed: self.closed(id, state),
            frozen: state.is_frozen().then_some(if said_never { FrozenBy::Policy } else { FrozenBy::Embedder }),
        }
    }

    fn exits_of(&self, site: Option<u32>, unit: &InstalledUnit) -> Option<UnitExits> {
        let guards = unit.exits.guards();
        let mut left: Vec<_> = unit.exits.by_guard().filter(|&(_, times)| times > 0).collect();
        left.sort_by_key(|&(_, times)| Reverse(times));
        let left = left.into_iter().map(|(guard, times)| (self.describe_guards(&[guard]), times)).collect();
        (!guards.is_empty()).then(|| UnitExits {
            tier: unit.tier,
            site,
            guards: self.describe_guards(&guards),
            times: unit.exits.all(),
            left,
        })
    }

    fn pending_of(&self, id: u32, state: Snapshot) -> Vec<PendingRequest> {
        let bodies = Tier::compiled(self.tiers.len()).map(Target::from);
        let osr = self.registry.warm(id).osr.claimed();
        let pending = bodies.chain(osr).filter_map(|target| {
            let progress = match state.phase(target.lane()) {
                Phase::Idle => return None,
                Phase::Wanted => Progress::Requested,
                Phase::Queued => self.queue_standing(id, target.lane()),
                Phase::Compiling => Progress::Compiling,
            };
            Some(PendingRequest { tier: target.tier, site: target.site, progress })
        });
        pending.collect()
    }

    fn queue_standing(&self, id: u32, lane: Lane) -> Progress {
        match self.queue.standing(self.events.now(), |ask| ask.id == id && ask.target.lane() == lane, |ask| self.look(ask)) {
            Some(Standing { ahead, of, priority }) => Progress::Queued { ahead, of, priority },
            // Taken just now.
            None => Progress::Compiling,
        }
    }

    /// The tiers a bead does not go to, and why.
    pub(crate) fn closed(&self, id: u32, state: Snapshot) -> Vec<(Tier, ClosedBy)> {
        let tiers = Tier::compiled(self.tiers.len());
        tiers.filter_map(|tier| self.closed_by(id, tier, state).map(|by| (tier, by))).collect()
    }

    /// Why a bead does not go to a tier; `None` when it may.
    pub(crate) fn closed_by(&self, id: u32, tier: Tier, state: Snapshot) -> Option<ClosedBy> {
        if tier > state.limit() {
            Some(ClosedBy::Limit)
        } else if !self.is_open(tier) {
            Some(ClosedBy::TierOff)
        } else if state.is_disabled(tier) {
            Some(self.registry.tally(id).blame(tier).map_or(ClosedBy::Deopts, ClosedBy::Bailout))
        } else {
            None
        }
    }
}

impl Why {
    /// Where the code may be left, what the policy said last, what was asked for, which tiers are closed, and what is missing for the next
    /// promotion: some lines of text.
    pub fn outlook(&self) -> impl fmt::Display + '_ {
        Outlook(self)
    }
}

struct Outlook<'w>(&'w Why);

impl fmt::Display for Outlook<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Why { tier, counted, exits, suppressed, answer, requests, closed, frozen, next, missing, .. } = self.0;
        if next.is_some() && !tier.is_interpreter() && *counted == CountedBy::Interpreters {
            writeln!(f, "native code that calls it does not count that: it may become part of its callers' code")?;
        }
        for exits in exits {
            writeln!(f, "{exits}")?;
        }
        if !suppressed.is_empty() {
            writeln!(f, "left too often to be left there again: {suppressed}")?;
        }
        if let Some(answer) = answer {
            writeln!(f, "{answer}")?;
        }
        for request in requests {
            writeln!(f, "{request}")?;
        }
        for (tier, by) in closed {
            writeln!(f, "not {tier}: {by}")?;
        }
        match (frozen, next, missing) {
            (Some(by), ..) => write!(f, "stays: {by}"),
            (None, None, _) => write!(f, "stays: there is no higher tier for it"),
            (None, Some(next), Some(missing)) => write!(f, "{missing} more units until the policy is asked about {next}"),
            (None, Some(next), None) => write!(f, "nobody counts for {next}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Why { bead, name, tier, .. } = self;
        if name.is_empty() {
            writeln!(f, "{bead}: {tier}")?;
        } else {
            writeln!(f, "{name} ({bead}): {tier}")?;
        }
        for (site, tier) in &self.variants {
            writeln!(f, "  from loop {site} on: {tier}")?;
        }
        if let Some(Speedup { from, to, factor }) = self.speedup {
            writeln!(f, "  {to} is {factor:.2} times as fast as {from}, by timed calls")?;
        }
        writeln!(
            f,
            "  work: {} units, {} of them since it runs this code, about {} in loops",
            self.work, self.spent, self.loop_work
        )?;
        if self.placement != Placement::Anywhere {
            writeln!(f, "  placed: {}", self.placement)?;
        }
        if self.scale != 1.0 {
            writeln!(f, "  its thresholds are multiplied by {}", self.scale)?;
        }
        self.outlook().to_string().lines().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl fmt::Display for LastAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.at_loop { "a loop in " } else { "" };
        write!(f, "last asked after {:.1?}, {} units, about {what}{}: ", self.time, self.work, self.tier)?;
        match self.decision {
            Decision::Promote { reason, .. } => write!(f, "promote, {reason}"),
            Decision::Wait { budget, reason } => write!(f, "wait for {budget} more units, {reason}"),
            Decision::Never { reason } => write!(f, "never, {reason}"),
        }
    }
}

/// Guards a unit was left at that are told one by one.
const MOST_TOLD: usize = 5;

impl fmt::Display for UnitExits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tier, site, guards, times, left } = self;
        write!(f, "{tier}")?;
        if let Some(site) = site {
            write!(f, " from loop {site} on")?;
        }
        write!(f, " may be left at {guards}")?;
        if *times > 0 {
            write!(f, "; was left {}", Times(*times))?;
        }
        for (nth, (guard, times)) in left.iter().take(MOST_TOLD).enumerate() {
            write!(f, "{} {} at {guard}", if nth == 0 { ":" } else { "," }, Times(*times))?;
        }
        match left.len().saturating_sub(MOST_TOLD) {
            0 => Ok(()),
            more => write!(f, ", and at {more} others"),
        }
    }
}

struct Times(u32);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("once"),
            times => write!(f, "{times} times"),
        }
    }
}

impl fmt::Display for PendingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tier)?;
        if let Some(site) = self.site {
            write!(f, " from loop {site} on")?;
        }
        match self.progress {
            Progress::Requested => f.write_str(": asked for"),
            Progress::Queued { ahead, of, priority } => {
                write!(f, ": in the queue, {ahead} of {of} go before it (priority {priority:.3e})")
            }
            Progress::Compiling => f.write_str(": being compiled"),
        }
    }
}
