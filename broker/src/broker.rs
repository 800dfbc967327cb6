//! The broker: what an embedder creates once and every part of its engine shares.

use std::{
    fmt,
    ops::{ControlFlow, Deref},
};

use crate::{
    Bead, BeadId, BeadRef, BeadSpec, BeadStats, BreakTicket, BrokerBuilder, ClosedBy, CompileNowError, Event, InterpThread,
    InvalidateReason, Mode, Reason, RegisterError, Rule, Rules, Stats, Subscription, Tier, TierStats, Transition,
    event::LossReason,
    mutation::dropped,
    rules::Verdict,
    shared::{Parts, Shared},
    state::Lane,
    sync::{Arc, Ordering, pause},
    target::Target,
    version::CodeVersion,
};

/// Tiering for one set of guest functions whose handles are of type `G`.
///
/// Cheap to clone. When the last clone is dropped the broker shuts down as by [`shutdown`](Self::shutdown); beads and threads
/// go on working with the code they have.
pub struct Broker<G: Send + Sync + 'static> {
    owner: Arc<Owner<G>>,
}

/// The part of a broker whose drop shuts it down: workers share the rest.
struct Owner<G: Send + Sync + 'static>(Arc<Shared<G>>);

impl<G: Send + Sync + 'static> Drop for Owner<G> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl<G: Send + Sync + 'static> Clone for Broker<G> {
    fn clone(&self) -> Self {
        Broker { owner: Arc::clone(&self.owner) }
    }
}

impl<G: Send + Sync + 'static> Broker<G> {
    /// Starts configuring a broker.
    pub fn builder() -> BrokerBuilder<G> {
        BrokerBuilder::default()
    }

    pub(crate) fn new(parts: Parts<G>) -> Self {
        let shared = Arc::new(Shared::new(parts));
        #[cfg(feature = "threads")]
        shared.crew.adopt(&shared);
        Broker { owner: Arc::new(Owner(shared)) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<G>> {
        &self.owner.0
    }

    /// Registers a guest function. Lock-free; about fifty bytes, and a hundred more once it is asked for or about.
    ///
    /// # Errors
    ///
    /// [`RegisterError::BeadsExhausted`] when `max_beads` are in use.
    pub fn register(&self, guest: G, spec: BeadSpec) -> Result<Bead<G>, RegisterError> {
        let id = self.shared().register(guest, spec)?;
        Ok(Bead::new(id, Arc::clone(self.shared())))
    }

    /// Registers an interpreter thread (a logical one: the handle may move between OS threads).
    ///
    /// # Errors
    ///
    /// [`RegisterError::OutOfMemory`] when its countdown table cannot be reserved.
    pub fn register_thread(&self) -> Result<InterpThread<G>, RegisterError> {
        InterpThread::new(Arc::clone(self.shared()))
    }

    /// Has the first worker spawned now, where there are workers, and the compilers that get ready early get ready
    /// ([`WarmUpTime::AtStart`](crate::WarmUpTime::AtStart)). Otherwise that comes with the [first thread or request](crate::FirstWorker): a
    /// host that has much to load first gains what both take.
    pub fn start(&self) {
        #[cfg(feature = "threads")]
        self.shared().crew.ensure_started();
    }

    /// Compiles up to `budget` pending requests on the calling thread, delivers events and frees what may be freed.
    /// Returns how many requests it compiled. This is how [`Mode::Pump`] makes progress; in the other modes it only helps.
    pub fn run_pending(&self, budget: usize) -> usize {
        let shared = self.shared();
        let mut drained = shared.drain_inbox();
        shared.warm_up_compilers();
        let mut ran = 0;
        while ran < budget && !shared.is_stopped() {
            let Some((ask, _large)) = shared.next_ask(None) else { break };
            shared.run(ask, |_, _| {});
            ran += 1;
            drained |= shared.drain_inbox();
        }
        self.leave_to_workers(drained);
        self.collect();
        ran
    }

    /// Requests that wait or are being compiled. One is counted from before it is made until after it is answered, so that zero means
    /// that all that were made before are answered. A sum over tiers, taken without stopping anything: what is asked for, answered or
    /// moved to a lower tier meanwhile may be in it or not, or twice.
    pub fn pending(&self) -> usize {
        self.shared().pending()
    }

    /// Compiles `bead` for `tier` on the calling thread and installs it, waiting if another thread is at it. Returns at once
    /// when the bead runs that tier, or a higher one, already.
    ///
    /// Must not be called for the function and tier that the calling thread is compiling: it would wait for itself.
    ///
    /// # Errors
    ///
    /// A [`CompileNowError`] that says why the tier does not run now.
    pub fn compile_now(&self, bead: BeadRef<'_, G>, tier: Tier) -> Result<(), CompileNowError> {
        if !self.shared().owns(bead) {
            return Err(CompileNowError::ForeignBead);
        }
        self.shared().compile_now(bead.id as u32, tier)
    }

    /// Compiles the OSR variant of a loop site for `tier` on the calling thread and installs it, waiting if another thread is at
    /// one of this bead. Returns at once when the site has a variant of that tier, or of a higher one, already. A variant of
    /// another site that was asked for and not begun is dropped: a bead asks for one at a time.
    ///
    /// Must not be called for a function of which the calling thread is compiling a variant: it would wait for itself.
    ///
    /// # Errors
    ///
    /// A [`CompileNowError`] that says why there is no such variant now.
    pub fn compile_osr_now(&self, bead: BeadRef<'_, G>, tier: Tier, site: u32) -> Result<(), CompileNowError> {
        if !self.shared().owns(bead) {
            return Err(CompileNowError::ForeignBead);
        }
        self.shared().compile_osr_now(bead.id as u32, tier, site)
    }

    /// Asks for an OSR variant without waiting (in [`Mode::Sync`]: compiles it). Nothing happens when the tier has none, when the
    /// site is closed, when a variant of the bead is asked for already, or when the bead is another broker's.
    pub fn promote_osr(&self, bead: BeadRef<'_, G>, tier: Tier, site: u32, reason: Reason) {
        let shared = self.shared();
        if shared.owns(bead) && shared.makes_variants(tier, bead.hot.state.snapshot()) {
            shared.request_now(bead.id as u32, Target::osr(tier, site), reason);
        }
    }

    /// Asks for `tier` without waiting (in [`Mode::Sync`]: compiles it). Nothing happens when the tier has no compiler, is
    /// disabled for the bead, [was asked for already](Self::is_requested), or when the bead is another broker's.
    pub fn promote(&self, bead: BeadRef<'_, G>, tier: Tier, reason: Reason) {
        let shared = self.shared();
        if shared.owns(bead) && shared.is_open(tier) {
            shared.request_now(bead.id as u32, tier, reason);
        }
    }

    /// Whether the body of `tier` was asked for and is not answered yet. A compile that is under way is none until it has returned, were the
    /// bead reloaded meanwhile, so that it comes to nothing: only then the tier can be asked for again.
    pub fn is_requested(&self, bead: BeadRef<'_, G>, tier: Tier) -> bool {
        self.shared().is_open(tier) && self.shared().owns(bead) && bead.hot.state.snapshot().is_pending(Lane::Body(tier))
    }

    /// Stops new entries into the bead's native code, now and from compiles asked for or under way, and into other beads' code that contains
    /// the function; the code is freed when no thread is inside. Frames inside [are told](crate::CompileRequest::validity) to leave.
    /// Counting starts over. Returns whether the bead had native code.
    pub fn invalidate(&self, bead: BeadRef<'_, G>, reason: InvalidateReason) -> bool {
        let shared = self.shared();
        if !shared.owns(bead) {
            return false;
        }
        let id = bead.id as u32;
        shared.note_withdrawn(id, bead.hot.state.cancel(), LossReason::Changed);
        let replaced = self.replace(id, Body::Same);
        let had_code = replaced.as_ref().is_some_and(|replaced| replaced.had_code);
        if had_code {
            self.tell_replaced(id, replaced, Transition::Invalidated(reason));
        }
        shared.withdraw_dependents(id);
        had_code
    }

    /// Returns the bead to the interpreter, running frames included: as [`invalidate`](Self::invalidate) for
    /// [debugging](InvalidateReason::Debugging), with a ticket that says when all threads have polled, and so left code that can be
    /// left. It may tier up again; to keep it from that, [`disable`](Self::disable) it before. `None` when it is another broker's.
    pub fn tier_down(&self, bead: BeadRef<'_, G>) -> Option<BreakTicket<G>> {
        if !self.shared().owns(bead) {
            return None;
        }
        self.invalidate(bead, InvalidateReason::Debugging);
        Some(self.shared().ticket())
    }

    /// Replaces the bead's body: requests and compiles of the old one are dropped, its failures forgotten, counting starts over.
    /// Other beads' code that contains the old body is invalidated. No call that begins after this returns enters the old body; a
    /// frame that is inside code of it goes on with it, in the interpreter where that code [looks](crate::CompileRequest::validity).
    /// False when the bead is another broker's.
    pub fn reload(&self, bead: BeadRef<'_, G>, guest: G) -> bool {
        let shared = self.shared();
        if !shared.owns(bead) {
            return false;
        }
        self.reload_id(bead.id as u32, guest);
        true
    }

    /// As [`reload`](Self::reload), with a body of another size.
    pub fn reload_as(&self, bead: BeadRef<'_, G>, guest: G, spec: BeadSpec) -> bool {
        let shared = self.shared();
        if !shared.owns(bead) {
            return false;
        }
        // Ordering: Relaxed. Policies and the queue weigh it; a compile that is under way loses.
        shared.registry.cold(bead.id as u32).size.store(spec.size, Ordering::Relaxed);
        self.reload(bead, guest)
    }

    fn reload_id(&self, id: u32, guest: G) {
        let shared = self.shared();
        shared.note_withdrawn(id, shared.registry.hot(id).state.reset(), LossReason::Changed);
        shared.registry.warm(id).osr.forgive();
        shared.registry.tally(id).forgive();
        let replaced = self.replace(id, Body::New(Arc::new(guest)));
        // A thread that gave up code of the old body may have disabled its tier since.
        if !dropped!(Forgive) && shared.registry.hot(id).state.forgive() {
            shared.set_counting(shared.registry.hot(id), shared.start_over(id));
        }
        self.tell_replaced(id, replaced, Transition::Reloaded);
        shared.withdraw_dependents(id);
    }

    /// Calls `renew` with the guest handle of every live bead, and reloads those it returns a new one for. No lock is held:
    /// `renew` may call the broker. Returns how many were reloaded.
    pub fn reload_all(&self, mut renew: impl FnMut(&G) -> Option<G>) -> usize {
        let mut reloaded = 0;
        self.each_live(|id, guest| {
            if let Some(guest) = renew(guest) {
                self.reload_id(id, guest);
                reloaded += 1;
            }
        });
        reloaded
    }

    /// Replaces the bead's guest handle. Body and code stay what they are; compiles under way stay valid.
    /// False when the bead is another broker's.
    pub fn update_guest(&self, bead: BeadRef<'_, G>, guest: G) -> bool {
        let shared = self.shared();
        if !shared.owns(bead) {
            return false;
        }
        let guest = Arc::new(guest);
        let pin = shared.reclaimer.pin();
        loop {
            let (word, running) = shared.current(&pin, bead.hot);
            if running.is_gone() {
                break;
            }
            let next = running.with_guest(Arc::clone(&guest));
            if shared.publish(bead.hot, word, &next, CodeVersion::<G>::counting(word)) {
                let tier = running.tier();
                shared.tell(shared.event(bead.id as u32, tier, tier, Transition::GuestUpdated));
                break;
            }
        }
        drop(pin);
        shared.tidy();
        true
    }

    /// Returns the bead to the interpreter and keeps it there until it is reloaded. False when it is another broker's.
    pub fn disable(&self, bead: BeadRef<'_, G>) -> bool {
        let shared = self.shared();
        if !shared.owns(bead) {
            return false;
        }
        let id = bead.id as u32;
        shared.note_withdrawn(id, bead.hot.state.freeze(), LossReason::Disabled);
        let replaced = self.replace(id, Body::Same);
        self.tell_replaced(id, replaced, Transition::Disabled);
        shared.withdraw_dependents(id);
        true
    }

    /// Lets the bead go no higher than `tier` from now on, reloads included: the interpreter for good, if that is it. What it has above
    /// that is [invalidated](Self::invalidate). False when the bead is another broker's.
    pub fn limit_tier(&self, bead: BeadRef<'_, G>, tier: Tier) -> bool {
        let shared = self.shared();
        if !shared.owns(bead) {
            return false;
        }
        let id = bead.id as u32;
        bead.hot.state.limit(tier);
        let pin = shared.reclaimer.pin();
        let is_above = shared.current(&pin, bead.hot).1.units().any(|unit| unit.tier > tier);
        drop(pin);
        if is_above || tier.is_interpreter() || bead.hot.state.snapshot().is_busy_above(tier) {
            self.invalidate(bead, InvalidateReason::Requested);
        } else {
            shared.set_counting(bead.hot, shared.start_over(id));
        }
        true
    }

    /// Looks the policy's rules for the bead up again, as registering it did: for guests whose names are known only later, or have
    /// changed. Counting starts over where there are any. False when the bead is another broker's.
    pub fn apply_rules(&self, bead: BeadRef<'_, G>) -> bool {
        let shared = self.shared();
        if !shared.owns(bead) {
            return false;
        }
        if shared.policy.rules().is_some() {
            let id = bead.id as u32;
            let Verdict { limit, scale } = shared.verdict(&shared.name(id));
            shared.set_scale(id, scale);
            self.limit_tier(bead, limit);
        }
        true
    }

    /// Multiplies the bead's thresholds by `scale`, from the next time on that they are set: below 1 it is compiled sooner. False when that is
    /// not a number above 0, or the bead is another broker's.
    pub fn scale_thresholds(&self, bead: BeadRef<'_, G>, scale: f64) -> bool {
        let shared = self.shared();
        let may = shared.owns(bead) && scale.is_finite() && scale > 0.0;
        if may {
            shared.set_scale(bead.id as u32, scale);
        }
        may
    }

    /// What need not be tried again, as rules for the next run: the functions whose compiles failed for good, or whose code was left too often,
    /// by the names that [`describe`](BrokerBuilder::describe) gives them. Without it there are none.
    pub fn do_not_compile(&self) -> Rules {
        let shared = self.shared();
        let mut rules = Vec::new();
        self.each_live(|id, _| {
            let state = shared.registry.hot(id).state.snapshot();
            let failed = Tier::compiled(shared.tiers.len()).find_map(|tier| match shared.closed_by(id, tier, state) {
                Some(by @ (ClosedBy::Bailout(_) | ClosedBy::Deopts)) => Some((tier, by)),
                _ => None,
            });
            let name = shared.name(id);
            if let Some((tier, by)) = failed.filter(|_| !name.is_empty()) {
                let stop_at_tier = Some(tier.index() - 1);
                rules.push(Rule { function: name, stop_at_tier, scale: None, why: Some(by.to_string()) });
            }
        });
        Rules(rules)
    }

    /// Publishes a version without native code and of a new lineage. `None` when the bead was released meanwhile.
    fn replace(&self, id: u32, body: Body<G>) -> Option<Replaced> {
        let shared = self.shared();
        let hot = shared.registry.hot(id);
        let pin = shared.reclaimer.pin();
        let replaced = loop {
            let (word, running) = shared.current(&pin, hot);
            if running.is_gone() {
                break None;
            }
            let guest = match &body {
                Body::Same => running.guest.clone(),
                Body::New(guest) => Some(Arc::clone(guest)),
            };
            let history = match &body {
                Body::Same => running.history.clone(),
                Body::New(_) => None,
            };
            let next = shared.fresh_version(guest, history);
            let counting = shared.start_over(id);
            if shared.publish(hot, word, &next, counting) {
                let had_code = running.units().next().is_some();
                break Some(Replaced { from: running.tier(), had_code, code_bytes: running.code_bytes() });
            }
        };
        drop(pin);
        shared.tidy();
        replaced
    }

    fn tell_replaced(&self, id: u32, replaced: Option<Replaced>, what: Transition) {
        if let Some(Replaced { from, code_bytes, .. }) = replaced {
            let event = self.shared().event(id, from, Tier::INTERPRETER, what);
            self.shared().tell(Event { code_bytes, ..event });
        }
    }

    /// Calls `visit` for every live bead, in the order of ids. No lock is held: `visit` may call the broker.
    pub fn walk(&self, mut visit: impl FnMut(BeadInfo<'_, G>)) {
        let _: ControlFlow<()> = self.walk_from(0, |info| {
            visit(info);
            ControlFlow::Continue(())
        });
    }

    /// As [`walk`](Self::walk), for beads whose id is `first` or higher, until `visit` breaks off: with what, is returned.
    pub fn walk_from<B>(&self, first: u32, mut visit: impl FnMut(BeadInfo<'_, G>) -> ControlFlow<B>) -> ControlFlow<B> {
        let shared = self.shared();
        self.each_live_from(first, |id, guest| {
            let bead = BeadRef::new(shared.registry.hot(id), id);
            visit(BeadInfo { bead, id: shared.bead_id(id), guest, stats: self.stats_of(id) })
        })
    }

    /// What the [`describe`](BrokerBuilder::describe) function says about a guest handle, as in events; empty without one, or when
    /// it panics.
    pub fn describe(&self, guest: &G) -> String {
        self.shared().describe(guest)
    }

    fn each_live(&self, mut visit: impl FnMut(u32, &G)) {
        let _: ControlFlow<()> = self.each_live_from(0, |id, guest| {
            visit(id, guest);
            ControlFlow::Continue(())
        });
    }

    fn each_live_from<B>(&self, first: u32, mut visit: impl FnMut(u32, &G) -> ControlFlow<B>) -> ControlFlow<B> {
        let shared = self.shared();
        for id in first..shared.registry.high_water() {
            let pin = shared.reclaimer.pin();
            // An id may have been handed out a moment before its chunk exists.
            let Some(hot) = shared.registry.find(id) else { continue };
            if !hot.state.snapshot().is_live() {
                continue;
            }
            let (_, version) = shared.current(&pin, hot);
            // SAFETY: LIVE was seen under the pin, so the slot is not recycled before it ends.
            visit(id, unsafe { shared.guest(version, shared.registry.cold(id)) })?;
        }
        ControlFlow::Continue(())
    }

    /// What the broker has done so far.
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let (contained, assumed) = shared.dependents.counts();
        let mut stats = Stats {
            beads: (0..shared.registry.high_water())
                .filter(|&id| shared.registry.find(id).is_some_and(|hot| hot.state.snapshot().is_live()))
                .count(),
            pending: shared.pending(),
            tiers: (shared.tiers.iter().zip(Tier::compiled(shared.tiers.len())))
                .map(|(slot, tier)| TierStats { pending: shared.queue.front.pending.of(tier).into(), ..slot.snapshot() })
                .collect(),
            waiting: shared.reclaimer.waiting(),
            code_on_stack: shared.reclaimer.on_stack(),
            censuses: shared.reclaimer.censuses(),
            contained,
            assumed,
            ..Stats::default()
        };
        shared.ledger.fill(&mut stats);
        #[cfg(feature = "threads")]
        shared.crew.fill(&mut stats);
        stats
    }

    /// What is known about one bead. `None` when it is another broker's.
    pub fn bead_stats(&self, bead: BeadRef<'_, G>) -> Option<BeadStats> {
        self.shared().owns(bead).then(|| self.stats_of(bead.id as u32))
    }

    fn stats_of(&self, id: u32) -> BeadStats {
        let shared = self.shared();
        let pin = shared.reclaimer.pin();
        let (hot, cold) = (shared.registry.hot(id), shared.registry.cold(id));
        let state = hot.state.snapshot();
        let (_, version) = shared.current(&pin, hot);
        BeadStats {
            tier: version.tier(),
            // Ordering: Relaxed, three times. Approximate.
            size: cold.size.load(Ordering::Relaxed),
            work: cold.work.load(Ordering::Relaxed),
            budget: hot.budget.load(Ordering::Relaxed),
            pending: !state.is_idle(),
            disabled: Tier::compiled(shared.tiers.len()).filter(|&tier| state.is_disabled(tier)).collect(),
            closed: shared.closed(id, state),
            frozen: state.is_frozen(),
            code_bytes: version.code_bytes(),
            variants: version.header.variants.iter().map(|(site, unit)| (site, unit.tier)).collect(),
            resident: version.resident.iter().map(|unit| unit.tier).collect(),
            exits: version.entered_units().map(|(_, unit)| u64::from(unit.exits.all())).sum(),
            deopts: version.history.as_ref().map_or(0, |history| history.total()),
            speedup: shared.registry.tally(id).timings.speedup(),
            suppressed: version.history.as_ref().map_or(Vec::new(), |history| history.suppressed().to_vec()),
        }
    }

    /// Asks the policy to save energy, or not to any more: see [`EfficiencyMode`](crate::EfficiencyMode).
    pub fn set_efficiency_mode(&self, on: bool) {
        self.shared().mood.set_efficiency(on);
    }

    /// Frees what no thread can be using and delivers events that wait (in background mode workers do both by themselves).
    pub fn collect(&self) {
        self.shared().collect();
        if !self.shared().mode.has_workers() {
            self.shared().events.deliver();
        }
    }

    /// Returns the slots of released beads to the registry and says how many: those no thread, visitor or compile still uses.
    pub fn prune(&self) -> usize {
        let drained = self.shared().drain_inbox();
        self.leave_to_workers(drained);
        self.shared().collect()
    }

    /// What was `drained`, and not compiled, is for workers, who may have looked for it in the inbox.
    fn leave_to_workers(&self, drained: bool) {
        #[cfg(feature = "threads")]
        if drained {
            self.shared().crew.hand_over();
        }
        let _ = drained;
    }

    /// Waits until no request is pending and events are delivered. For tests and tools. In pump mode it runs what is pending;
    /// after a shutdown it returns at once.
    pub fn drain(&self) {
        let shared = self.shared();
        if shared.mode == Mode::Pump {
            while self.run_pending(usize::MAX) > 0 {}
        }
        #[cfg(feature = "threads")]
        if shared.crew.is_busy(shared) {
            shared.crew.wake();
        }
        while shared.pending() > 0 && !shared.is_stopped() {
            #[cfg(feature = "threads")]
            shared.crew.look_after_first(|| shared.events.now());
            pause();
        }
        #[cfg(feature = "threads")]
        while shared.mode.has_workers() && !shared.is_stopped() && shared.crew.is_busy(shared) {
            pause();
        }
        self.collect();
    }

    /// Has `callback` told of every transition from now on, as the callback of [`BrokerBuilder::on_event`] is, until what is returned
    /// is dropped. It should be quick and must not wait: workers, in other modes whoever compiles, wait for it.
    pub fn subscribe(&self, callback: impl Fn(&Event) + Send + Sync + 'static) -> Subscription {
        self.shared().events.subscribe(Arc::new(callback))
    }

    /// Refuses further requests, drops those that wait, and lets workers go when they finish what they are compiling. Does not
    /// wait, and may be called from anywhere, a job or a callback included.
    pub fn shutdown(&self) {
        self.shared().stop();
    }

    /// Whether it was [shut down](Self::shutdown): no bead is promoted any more.
    pub fn is_shut_down(&self) -> bool {
        self.shared().is_stopped()
    }
}

impl<G: Send + Sync + 'static> fmt::Debug for Broker<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Broker").field(self.shared().deref()).finish()
    }
}

enum Body<G> {
    Same,
    New(Arc<G>),
}

/// What [`Broker::replace`] took out of use.
struct Replaced {
    from: Tier,
    had_code: bool,
    code_bytes: usize,
}

/// One bead as [`Broker::walk`] shows it.
#[derive(Debug)]
#[non_exhaustive]
pub struct BeadInfo<'a, G> {
    /// The bead itself: to be asked about, or acted on. Its owner may release it meanwhile; then nothing comes of that.
    pub bead: BeadRef<'a, G>,
    /// Which bead.
    pub id: BeadId,
    /// Its guest handle.
    pub guest: &'a G,
    /// What is known about it.
    pub stats: BeadStats,
}

impl<G: Send + Sync + 'static> Shared<G> {
    /// Refuses further requests and drops those that wait. Any number of times.
    fn stop(&self) {
        // Ordering: AcqRel. Pairs with: Acquire in `is_stopped`. A worker that misses it drains an empty queue.
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.drop_waiting();
        #[cfg(feature = "threads")]
        self.crew.dismiss();
        if !self.mode.has_workers() {
            self.events.deliver();
        }
    }

    /// Drops every request that waits.
    pub(crate) fn drop_waiting(&self) {
        self.drain_inbox();
        self.drop_queued();
    }

    /// Drops every request that is queued. Once stopped, whoever queues calls this after: the queue's lock orders the two.
    pub(crate) fn drop_queued(&self) {
        for ask in self.queue.take_all() {
            self.drop_ask(ask, LossReason::ShutDown);
        }
    }
}
