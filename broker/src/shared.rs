//! What all handles of one broker share, and the operations on a single bead that every part uses.

use std::{fmt, time::Duration};

use crate::{
    BeadId, BeadRef, BeadSpec, Compiler, DeoptPolicy, Event, Face, GuardId, HotnessPolicy, Mode, RegisterError, Tier, Transition,
    aging::{Collected, Free, Retired},
    asking::Mood,
    clock::{Clock, ManualClock},
    contain::contained,
    event::{Cause, Events, LossReason, Stamp},
    history::DeoptHistory,
    mutation::{dropped, ordering},
    pace::Pace,
    placement::Bridges,
    premise::Dependents,
    queue::Queue,
    registry::{Cold, Hot, Registry, Slot},
    retire::{Participant, Pin, Reclaimer},
    roster::Roster,
    rules::Verdict,
    speed::Speed,
    state::{Snapshot, Withdrawn},
    stats::{CodeLedger, TierCounters, TierStats},
    sync::{Arc, AtomicBool, AtomicU64, Ordering},
    target::Target,
    tuning::{CENSUS_SHARE, LIMBO_EAGER, SAMPLE_WORK, UNIT_WEIGHT, VERSION_WEIGHT},
    unit::InstalledUnit,
    version::{CodeHeader, CodeVersion, Counting, FIRST_LINEAGE, NO_LINEAGE},
    warm_up::WarmUp,
};

pub(crate) type Describe<G> = Arc<dyn Fn(&G) -> String + Send + Sync>;
pub(crate) type DescribeGuards = Arc<dyn Fn(&[GuardId]) -> String + Send + Sync>;
pub(crate) type OnWork<G> = Arc<dyn Fn(&G, Work) + Send + Sync>;

/// Work that a thread has done in a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Work {
    /// The loop that came round; `None` for a call.
    pub site: Option<u32>,
    /// Work units.
    pub units: u32,
}

impl Work {
    /// So many units, in a loop or by a call.
    pub fn new(site: Option<u32>, units: u32) -> Self {
        Work { site, units }
    }
}

/// One configured compiler.
pub(crate) struct TierSlot<G> {
    pub(crate) compiler: Box<dyn Compiler<G>>,
    pub(crate) counters: TierCounters,
    pub(crate) pace: Pace,
    pub(crate) speed: Speed,
    /// It compiles OSR variants.
    pub(crate) osr: bool,
    /// Too many of its compiles were abandoned.
    pub(crate) off: AtomicBool,
}

impl<G> TierSlot<G> {
    fn new(compiler: Box<dyn Compiler<G>>, tier: Tier) -> Self {
        TierSlot {
            osr: compiler.compiles_osr(),
            compiler,
            counters: TierCounters::default(),
            pace: Pace::of(tier),
            speed: Speed::of(tier),
            off: AtomicBool::new(false),
        }
    }

    pub(crate) fn snapshot(&self) -> TierStats {
        TierStats {
            name: self.compiler.name().to_owned(),
            // Ordering: Relaxed. Approximate.
            off: self.off.load(Ordering::Relaxed),
            nanos_per_unit: self.pace.nanos_per_unit(),
            speedup: self.speed.over_interpreter(),
            timed_functions: self.speed.beads(),
            ..self.counters.snapshot()
        }
    }
}

/// One broker.
pub(crate) struct Shared<G> {
    pub(crate) registry: Registry<G>,
    pub(crate) reclaimer: Reclaimer<G>,
    pub(crate) queue: Queue,
    pub(crate) events: Events,
    pub(crate) tiers: Box<[TierSlot<G>]>,
    pub(crate) policy: Box<dyn HotnessPolicy>,
    pub(crate) deopt_policy: Box<dyn DeoptPolicy>,
    pub(crate) roster: Roster,
    pub(crate) mode: Mode,
    pub(crate) max_beads: u32,
    pub(crate) deadline: Option<Duration>,
    census_after: Option<u64>,
    pub(crate) ledger: Arc<CodeLedger>,
    pub(crate) dependents: Arc<Dependents>,
    pub(crate) describe: Option<Describe<G>>,
    pub(crate) describe_guards: Option<DescribeGuards>,
    pub(crate) on_work: Option<OnWork<G>>,
    pub(crate) stopped: AtomicBool,
    pub(crate) mood: Mood,
    pub(crate) warm_up: WarmUp,
    #[cfg(feature = "threads")]
    pub(crate) crew: crate::worker::Crew<G>,
    pub(crate) bridges: Bridges,
    bridge: Bridge,
    lineages: AtomicU64,
    /// The version of every bead that was never compiled.
    cold_start: Arc<CodeVersion<G>>,
    /// The version of every released bead.
    gone: Arc<CodeVersion<G>>,
}

/// What native code reaches when it calls a function without native code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bridge(pub(crate) *const u8);

// SAFETY: an address; calling it is up to native code.
unsafe impl Send for Bridge {}
// SAFETY: as above.
unsafe impl Sync for Bridge {}

/// Where native calls end when the embedder configured no bridge: there is nothing sensible to return.
pub(crate) extern "C" fn no_bridge() {
    eprintln!("tierup: native code called a function without native code, and the broker has no bridge");
    std::process::abort();
}

/// The parts of a broker its builder settles.
pub(crate) struct Parts<G> {
    pub(crate) mode: Mode,
    pub(crate) policy: Box<dyn HotnessPolicy>,
    pub(crate) deopt_policy: Box<dyn DeoptPolicy>,
    pub(crate) compilers: Vec<Box<dyn Compiler<G>>>,
    pub(crate) bridge: Bridge,
    pub(crate) max_beads: u32,
    pub(crate) deadline: Option<Duration>,
    pub(crate) census_after: Option<u64>,
    /// How long a function may do nothing before its request is dropped.
    pub(crate) patience: Option<Duration>,
    /// Large jobs that may be compiled at one time.
    pub(crate) large_jobs: usize,
    pub(crate) clock: Option<ManualClock>,
    pub(crate) on_event: Option<crate::event::OnEvent>,
    pub(crate) describe: Option<Describe<G>>,
    pub(crate) describe_guards: Option<DescribeGuards>,
    pub(crate) on_work: Option<OnWork<G>>,
    #[cfg(feature = "threads")]
    pub(crate) crew: crate::worker::Crew<G>,
}

impl<G: Send + Sync + 'static> Shared<G> {
    pub(crate) fn new(parts: Parts<G>) -> Self {
        let tiers: Box<[_]> =
            parts.compilers.into_iter().zip(Tier::compiled(7)).map(|(compiler, tier)| TierSlot::new(compiler, tier)).collect();
        let warm_up = WarmUp::new(parts.mode, &tiers);
        Shared {
            registry: Registry::new(parts.max_beads),
            reclaimer: Reclaimer::new(),
            queue: Queue::new(parts.patience, parts.large_jobs, tiers.len()),
            events: Events::new(Clock::of(parts.clock), parts.on_event),
            tiers,
            mood: Mood::new(parts.policy.wants_quiet()),
            policy: parts.policy,
            deopt_policy: parts.deopt_policy,
            roster: Roster::default(),
            mode: parts.mode,
            max_beads: parts.max_beads,
            deadline: parts.deadline,
            census_after: parts.census_after,
            ledger: Arc::new(CodeLedger::default()),
            dependents: Arc::default(),
            describe: parts.describe,
            describe_guards: parts.describe_guards,
            on_work: parts.on_work,
            stopped: AtomicBool::new(false),
            warm_up,
            #[cfg(feature = "threads")]
            crew: parts.crew,
            bridges: Bridges::default(),
            bridge: parts.bridge,
            lineages: AtomicU64::new(FIRST_LINEAGE + 1),
            cold_start: CodeVersion::bare(parts.bridge.0, FIRST_LINEAGE, None, None),
            gone: CodeVersion::bare(parts.bridge.0, NO_LINEAGE, None, None),
        }
    }

    /// Takes a slot for a new bead.
    pub(crate) fn register(&self, guest: G, spec: BeadSpec) -> Result<u32, RegisterError> {
        let id = self.registry.take().ok_or(RegisterError::BeadsExhausted { limit: self.max_beads })?;
        let Slot { hot, cold, warm, .. } = self.registry.slot(id);
        let Verdict { limit, scale } = self.verdict_on(&guest);
        // SAFETY: the slot is vacant and ours until `activate`; nobody reads the cell before.
        cold.guest.with_mut(|cell| unsafe { (*cell).write(guest) });
        // Ordering: Relaxed up to `activate`, whose Release publishes all of it.
        cold.size.store(spec.size, Ordering::Relaxed);
        cold.work.store(0, Ordering::Relaxed);
        // No exchanges: nobody else writes what is vacant.
        let generation = cold.generation.load(Ordering::Relaxed);
        cold.generation.store(generation + 1, Ordering::Relaxed);
        if generation > 0 {
            warm.clear();
        }
        self.set_scale(id, scale);
        self.arm(id, Tier::INTERPRETER);
        hot.stamp.store(hot.stamp.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let counting = if self.tiers.is_empty() || limit.is_interpreter() { Counting::Final } else { Counting::Counted };
        hot.code.store(self.cold_start.word(counting), Ordering::Relaxed);
        hot.state.activate(limit);
        Ok(id)
    }

    /// What the rules say about a function.
    fn verdict_on(&self, guest: &G) -> Verdict {
        match (self.policy.rules(), &self.describe) {
            (Some(_), Some(describe)) => contained(|| describe(guest)).map_or(Verdict::NONE, |name| self.verdict(&name)),
            _ => Verdict::NONE,
        }
    }

    /// What the rules say about functions of this name.
    pub(crate) fn verdict(&self, name: &str) -> Verdict {
        self.policy.rules().map_or(Verdict::NONE, |rules| rules.of(name))
    }

    /// The owner dropped its bead.
    pub(crate) fn release(&self, id: u32) {
        // Keeps the slot from being recycled by whoever else has it, until this is done with it.
        let pin = self.reclaimer.pin();
        let hot = self.registry.hot(id);
        // Ordering: AcqRel. Pairs with: `publish`. After this swap no install succeeds: `gone` has no lineage to match.
        let word = hot.code.swap(self.gone.word(Counting::Final), Ordering::AcqRel);
        self.retire_word(word, None);
        self.note_withdrawn(id, hot.state.release(), LossReason::Released);
        self.withdraw_dependents(id);
        drop(pin);
        self.tidy();
    }

    /// Whether `bead` is of this broker.
    pub(crate) fn owns(&self, bead: BeadRef<'_, G>) -> bool {
        u32::try_from(bead.id).ok().and_then(|id| self.registry.find(id)).is_some_and(|hot| std::ptr::eq(hot, bead.hot))
    }

    pub(crate) fn bead_id(&self, id: u32) -> BeadId {
        // Ordering: Relaxed. The caller holds the slot, so the generation does not change.
        BeadId { id, generation: self.registry.cold(id).generation.load(Ordering::Relaxed) }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        // Ordering: Acquire. Pairs with: Release in `stop`. A late look costs one more compile, whose install is harmless.
        self.stopped.load(Ordering::Acquire)
    }

    /// The version a bead publishes now. The pin keeps it allocated.
    pub(crate) fn current<'p>(&self, _pin: &'p Pin<'_, G>, hot: &Hot) -> (*mut Face, &'p CodeVersion<G>) {
        // Ordering: Acquire. Pairs with: Release in `publish`. Carries: the version.
        let word = hot.code.load(ordering!(Current: Acquire));
        // SAFETY: reachable while pinned, so not freed before the pin ends; an occupied slot's word is never null.
        let version: &CodeVersion<G> = unsafe { &*CodeVersion::of_word(word) };
        version.header.built.seen();
        (word, version)
    }

    /// A strong count on the version that `word`, as [`Self::current`] gave it, publishes. It takes the word, because a
    /// reference to a version may not reach the counts in front of it.
    pub(crate) fn lease(&self, _pin: &Pin<'_, G>, word: *mut Face) -> Arc<CodeVersion<G>> {
        let version = CodeVersion::<G>::of_word(word);
        // SAFETY: every version is made by `Arc::new`; the pin keeps its count at one at least.
        unsafe {
            Arc::increment_strong_count(version);
            Arc::from_raw(version)
        }
    }

    /// The guest handle a version was made from.
    ///
    /// # Safety
    ///
    /// As for [`Cold::guest`]: the slot is not recycled while the reference lives.
    pub(crate) unsafe fn guest<'a>(&self, version: &'a CodeVersion<G>, cold: &'a Cold<G>) -> &'a G {
        match &version.guest {
            Some(guest) => guest,
            // SAFETY: passed on.
            None => unsafe { cold.guest() },
        }
    }

    /// A version without native code and of a new lineage: whatever is being compiled loses.
    pub(crate) fn fresh_version(&self, guest: Option<Arc<G>>, history: Option<Arc<DeoptHistory>>) -> Arc<CodeVersion<G>> {
        // Ordering: Relaxed. Only uniqueness matters.
        let lineage = self.lineages.fetch_add(1, Ordering::Relaxed);
        CodeVersion::bare(self.bridge.0, lineage, guest, history)
    }

    /// The successor that has only the units `keep` says, and this history.
    pub(crate) fn version_keeping(
        &self,
        version: &CodeVersion<G>,
        history: Option<Arc<DeoptHistory>>,
        keep: impl Fn(&InstalledUnit) -> bool,
    ) -> Arc<CodeVersion<G>> {
        version.keeping(self.bridge.0, history, keep)
    }

    /// Starts counting over for a successor that has less than the version `word` publishes, and says who counts.
    pub(crate) fn count_for(&self, id: u32, word: *mut Face, running: &CodeVersion<G>, next: &CodeVersion<G>) -> Counting {
        let body = |version: &CodeVersion<G>| version.body.as_ref().map(Arc::as_ptr);
        if body(running) == body(next) {
            let _ = self.start_over_from(id, next.header.top());
            return CodeVersion::<G>::counting(word);
        }
        let armed = self.start_over_from(id, next.tier());
        if next.body.as_ref().is_some_and(|body| body.counting) { Counting::Final } else { armed }
    }

    /// Replaces the version under `expected` by `next`: the one way code is published. False when somebody was faster.
    ///
    /// The caller is pinned, or holds a lease on the expected version: its address cannot have been reused.
    pub(crate) fn publish(&self, hot: &Hot, expected: *mut Face, next: &Arc<CodeVersion<G>>, counting: Counting) -> bool {
        // Ordering: AcqRel. Pairs with: Acquire in `on_invoke`, `osr_entry` and `current`. Carries: the version, its units, and
        // what the compiler did to make the code executable. Test: loom install_vs_call, osr_install_vs_entry.
        if dropped!(PublishExchange) {
            // Ordering: as the exchange's.
            hot.code.store(next.word(counting), Ordering::Release);
        } else if hot.code.compare_exchange(expected, next.word(counting), ordering!(Publish: AcqRel), Ordering::Relaxed).is_err()
        {
            return false;
        }
        next.entered_units().for_each(|(_, unit)| unit.note_live(false));
        next.resident.iter().for_each(|unit| unit.note_live(true));
        // The word owns one strong count.
        std::mem::forget(Arc::clone(next));
        self.retire_word(expected, Some(next));
        true
    }

    /// The word no longer publishes this version; its successor may share units with it.
    fn retire_word(&self, word: *mut Face, successor: Option<&Arc<CodeVersion<G>>>) {
        let version = CodeVersion::<G>::of_word(word);
        if version == Arc::as_ptr(&self.cold_start) || version == Arc::as_ptr(&self.gone) {
            return;
        }
        // SAFETY: this is the strong count `publish` gave to the word; whoever swapped the word out got it.
        let version = unsafe { Arc::from_raw(version) };
        let mut weight = VERSION_WEIGHT;
        for unit in version.units() {
            if !successor.is_some_and(|successor| successor.units().any(|kept| Arc::ptr_eq(kept, unit))) {
                unit.note_retired();
                weight += UNIT_WEIGHT + unit.code_bytes as u64;
            }
        }
        self.reclaimer.retire(Retired::Version(version), weight);
        #[cfg(feature = "threads")]
        self.crew.notice_limbo();
    }

    /// The header of the version a bead publishes now.
    ///
    /// # Safety
    ///
    /// The calling thread is online, and has no quiescent point while the reference lives.
    pub(crate) unsafe fn header<'h>(&self, hot: &Hot) -> &'h CodeHeader {
        // Ordering: Acquire. Pairs with: Release in `publish`. Carries: the version.
        let word = hot.code.load(Ordering::Acquire);
        // SAFETY: not freed before the thread's next quiescent point (caller).
        let header = unsafe { &*CodeHeader::of_word(word) };
        header.built.seen();
        header
    }

    /// The lowest tier above `tier` this bead may still go to.
    pub(crate) fn next_tier(&self, tier: Tier, state: Snapshot) -> Option<Tier> {
        if state.is_frozen() {
            return None;
        }
        state.open().above(tier).iter().find(|&next| self.is_open(next))
    }

    /// Whether code of a bead of that size is to be sampled until it is promoted to `next`: not where there is no thread to do it, nor
    /// where a sample would tell of more than a quarter of the work.
    pub(crate) fn samples(&self, next: Tier, size: u32) -> bool {
        let budget = self.policy.first_budget(next, size).min(self.policy.osr_budget(next, size));
        self.mode.has_workers() && budget / 4 >= SAMPLE_WORK
    }

    /// Work units to charge for a sample.
    pub(crate) fn sampled_work(&self) -> u32 {
        #[cfg(feature = "threads")]
        return self.crew.sampler.charge();
        #[cfg(not(feature = "threads"))]
        return 0;
    }

    /// Whether the tier has a compiler that was not turned off.
    pub(crate) fn is_open(&self, tier: Tier) -> bool {
        // Ordering: Relaxed. A compile too many is all a late look costs.
        !tier.is_interpreter() && self.tiers.get(tier.slot()).is_some_and(|slot| !slot.off.load(Ordering::Relaxed))
    }

    /// Sets the budgets for the tiers after `tier`, and says whether there is one for calls to count for.
    pub(crate) fn arm(&self, id: u32, tier: Tier) -> Counting {
        let slot = self.registry.slot(id);
        let Slot { hot, cold, warm, .. } = slot;
        self.set_loops(slot.cold, self.loops_budget(slot, tier));
        // Ordering: Relaxed. A count.
        let work = cold.work.load(Ordering::Relaxed);
        if work > 0 {
            warm.tally.begin(work);
        }
        match self.next_tier(tier, hot.state.snapshot()) {
            Some(next) => {
                self.set_budget(hot, self.first_budget(slot, next));
                Counting::Counted
            }
            None => {
                self.set_budget(hot, u32::MAX);
                Counting::Final
            }
        }
    }

    /// As [`Self::arm`] for an uncompiled body; what threads have drawn for the old one is void.
    pub(crate) fn start_over(&self, id: u32) -> Counting {
        self.start_over_from(id, Tier::INTERPRETER)
    }

    /// As [`Self::arm`]; what threads have drawn is void.
    pub(crate) fn start_over_from(&self, id: u32, tier: Tier) -> Counting {
        let counting = self.arm(id, tier);
        self.void_drawn(id);
        counting
    }

    /// Each thread takes the slow way at its next charge.
    pub(crate) fn void_drawn(&self, id: u32) {
        // Ordering: Relaxed. A thread that sees the old stamp spends what it drew: speed only.
        self.registry.hot(id).stamp.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_budget(&self, hot: &Hot, work: u32) {
        // Ordering: Relaxed. A count; publishes nothing. A swap for loom's sake, which may take a draw that came before a store for one after
        // it. Test: loom osr_install_vs_look_ahead.
        hot.budget.swap(i32::try_from(work).unwrap_or(i32::MAX), Ordering::Relaxed);
    }

    /// As [`Self::set_budget`], by a thread that found it spent and has asked the policy: code that came meanwhile has armed it
    /// for the next tier, and that stays.
    pub(crate) fn refill_budget(&self, hot: &Hot, work: u32) {
        let work = i32::try_from(work).unwrap_or(i32::MAX);
        let refill = |left: i32| (left <= 0 || left == i32::MAX).then_some(work);
        // Ordering: Relaxed, twice. As above.
        let _ = hot.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refill);
    }

    /// Accounts for requests that were taken back, and for the slot if that was the last use of it.
    pub(crate) fn note_withdrawn(&self, id: u32, withdrawn: Withdrawn, reason: LossReason) {
        for tier in withdrawn.dropped.iter() {
            self.note_dropped(id, tier.into(), reason);
        }
        if withdrawn.osr {
            self.note_osr_withdrawn(id, reason);
        }
        if withdrawn.vacated {
            self.retire_slot(id);
        }
    }

    /// The OSR lane's request was withdrawn by the caller, who so became the holder of its claim.
    pub(crate) fn note_osr_withdrawn(&self, id: u32, reason: LossReason) {
        let record = &self.registry.warm(id).osr;
        if let Some(target) = record.claimed() {
            record.unclaim();
            self.note_dropped(id, target, reason);
        }
    }

    pub(crate) fn note_dropped(&self, id: u32, target: Target, reason: LossReason) {
        self.answered(target.tier);
        self.tiers[target.tier.slot()].counters.note_dropped(reason);
        self.post(id, target, Transition::Dropped(reason));
    }

    /// Nobody uses the slot any more, except visitors that are pinned.
    pub(crate) fn retire_slot(&self, id: u32) {
        self.reclaimer.retire(Retired::Slot(id), 0);
    }

    /// An interpreter thread comes online. Its requests wake nobody, so somebody has to be awake from now on.
    #[inline]
    pub(crate) fn come_online(&self, participant: &Participant) {
        self.reclaimer.go_online(participant);
        #[cfg(feature = "threads")]
        self.crew.notice_thread();
    }

    /// Frees what no thread can be using, and says how many slots became available.
    pub(crate) fn collect(&self) -> usize {
        let mut slots = 0;
        let Collected { free, asks } = self.reclaimer.collect(self.census_budget());
        if asks {
            // After the stamp, as in `ticket`.
            self.roster.raise(crate::POLL_BROKER);
        }
        for item in free {
            match item {
                // Guest handles are foreign code: one that panics must not take the rest with it.
                Free::Version(version) => drop(contained(|| drop(version))),
                Free::Unit(unit) => drop(unit),
                Free::Slot(id) => {
                    self.vacate(id);
                    slots += 1;
                }
            }
        }
        slots
    }

    /// Bytes that may wait for quiescent points before a census is asked for.
    fn census_budget(&self) -> u64 {
        self.census_after.map_or(u64::MAX, |bytes| bytes + self.ledger.live() / CENSUS_SHARE)
    }

    /// A thread has told what is on its stack: somebody should look.
    pub(crate) fn census_answered(&self) {
        if self.mode == Mode::Sync {
            self.collect();
        }
        #[cfg(feature = "threads")]
        self.crew.notice_limbo();
    }

    fn vacate(&self, id: u32) {
        let (hot, cold) = (self.registry.hot(id), self.registry.cold(id));
        // SAFETY: RELEASED, vacated, and past its grace period: no reader is left, and none can come.
        drop(contained(|| cold.guest.with_mut(|cell| unsafe { (*cell).assume_init_drop() })));
        hot.state.vacate();
        // Ordering: Relaxed. The slot is ours; the free list publishes it.
        if cold.generation.load(Ordering::Relaxed) != u32::MAX {
            self.registry.give_back(id);
        }
    }

    /// Collects when nobody else will and enough is waiting.
    pub(crate) fn tidy(&self) {
        if self.reclaimer.waiting() >= LIMBO_EAGER {
            self.collect();
        }
    }

    /// In sync mode there is nobody else to collect.
    #[inline]
    pub(crate) fn collects_on_quiescence(&self) -> bool {
        self.mode == Mode::Sync && self.reclaimer.waiting() > 0
    }

    /// Posts an event, and sees to it that somebody delivers it.
    pub(crate) fn tell(&self, event: Event) {
        self.events.post(event);
        #[cfg(feature = "threads")]
        self.crew.notice_events();
    }

    /// Posts an event without times or sizes.
    pub(crate) fn post(&self, id: u32, to: impl Into<Target>, what: Transition) {
        self.post_from(id, Tier::INTERPRETER, to, what);
    }

    pub(crate) fn post_from(&self, id: u32, from: Tier, to: impl Into<Target>, what: Transition) {
        let event = self.event(id, from, to, what);
        self.events.post(event);
    }

    pub(crate) fn event(&self, id: u32, from: Tier, to: impl Into<Target>, what: Transition) -> Event {
        let to = to.into();
        Event {
            time: self.events.now(),
            bead: self.bead_id(id),
            name: self.name(id),
            from,
            to: to.tier,
            site: to.site,
            what,
            queue_wait: Duration::ZERO,
            cost: Duration::ZERO,
            code_bytes: 0,
            guards: String::new(),
        }
    }

    pub(crate) fn name(&self, id: u32) -> String {
        if self.describe.is_none() {
            return String::new();
        }
        let pin = self.reclaimer.pin();
        let (hot, cold) = (self.registry.hot(id), self.registry.cold(id));
        if !hot.state.snapshot().is_live() {
            return String::new();
        }
        let (_, version) = self.current(&pin, hot);
        // SAFETY: LIVE was seen under the pin, so the slot is not recycled before it ends.
        self.describe(unsafe { self.guest(version, cold) })
    }

    pub(crate) fn describe(&self, guest: &G) -> String {
        let describe = self.describe.as_ref();
        describe.and_then(|describe| contained(|| describe(guest)).ok()).unwrap_or_default()
    }

    /// These guards in words; nothing about none.
    pub(crate) fn describe_guards(&self, guards: &[GuardId]) -> String {
        let said = self.describe_guards.as_ref().map(|describe| contained(|| describe(guards)).unwrap_or_default());
        match guards {
            [] => String::new(),
            [guard] => said.unwrap_or_else(|| guard.to_string()),
            _ => said.unwrap_or_else(|| format!("{} guards", guards.len())),
        }
    }

    /// The stamp of a bead's latest request.
    pub(crate) fn stamp(&self, id: u32) -> Stamp {
        // Ordering: Relaxed. Ordered by the inbox; a mix-up of two requests of one bead only blurs a statistic.
        Stamp::unpack(self.registry.warm(id).requested.load(Ordering::Relaxed))
    }

    pub(crate) fn set_stamp(&self, slot: Slot<'_, G>, cause: Cause, time: Duration) {
        // Ordering: Relaxed. As in `stamp`.
        slot.warm.requested.store(Stamp { time, cause }.pack(), Ordering::Relaxed);
    }
}

impl<G> Drop for Shared<G> {
    fn drop(&mut self) {
        #[cfg(all(loom, feature = "threads"))]
        self.crew.let_go();
        // No handle is left, so no reader either: everything still registered or in limbo goes now.
        for item in self.reclaimer.take_all() {
            match item {
                Free::Version(version) => drop(contained(|| drop(version))),
                Free::Unit(unit) => drop(unit),
                Free::Slot(_) => {}
            }
        }
        for id in 0..self.registry.high_water() {
            let Some(hot) = self.registry.find(id) else { continue };
            if !hot.state.snapshot().is_occupied() {
                continue;
            }
            // Ordering: Relaxed. `&mut self`.
            let version = CodeVersion::<G>::of_word(hot.code.load(Ordering::Relaxed));
            if version != Arc::as_ptr(&self.cold_start) && version != Arc::as_ptr(&self.gone) {
                // SAFETY: the strong count of the word, which nobody will use again.
                drop(contained(|| drop(unsafe { Arc::from_raw(version) })));
            }
            // SAFETY: occupied, so initialised; no reader is left.
            drop(contained(|| self.registry.cold(id).guest.with_mut(|cell| unsafe { (*cell).assume_init_drop() })));
        }
    }
}

impl<G> fmt::Debug for Shared<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("mode", &self.mode).field("registry", &self.registry).finish_non_exhaustive()
    }
}
