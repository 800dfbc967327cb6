//! The whole, for several compilers: a policy for each tier.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    BailoutInfo, Bead, Broker, Chain, CoreHandle, DeoptDecision, DeoptPolicy, HotnessPolicy, TieredDeoptPolicy,
    bead::{OnInvalidate, Quick},
    decide::Ladder,
    home::MOST_TIERS,
    jobs,
};

/// A bead of a [`TieredAdapter`].
#[derive(Debug, Clone)]
pub struct TieredBound {
    bead: Arc<Bead>,
    /// Shared by clones.
    max_tier: Arc<AtomicUsize>,
    num_tiers: usize,
}

impl TieredBound {
    /// The bead.
    pub fn bead(&self) -> &Arc<Bead> {
        &self.bead
    }

    /// The tier of the code that runs, from 0; `None` while there is none.
    pub fn current_tier(&self) -> Option<usize> {
        self.bead.look(|artifact| artifact.tier)
    }

    /// As [`Bead::generation`].
    pub fn generation(&self) -> u64 {
        self.bead.generation()
    }

    /// Whether code of a tier above `tier` runs.
    pub fn is_promoted_beyond(&self, tier: usize) -> bool {
        self.current_tier().is_some_and(|running| running > tier)
    }

    /// Whether a tier above the first was asked for, and has not failed.
    pub fn is_queued_for(&self, tier: usize) -> bool {
        tier > 0 && self.bead.progress.is_queued(tier)
    }

    /// The highest tier the bead may have.
    pub fn max_tier(&self) -> usize {
        // Ordering: Relaxed, throughout. A number.
        self.max_tier.load(Ordering::Relaxed)
    }

    /// [Reloads](Bead::reload) the bead and lets it have all tiers again.
    pub fn reset_to_interpreter(&self) {
        self.max_tier.store(self.num_tiers - 1, Ordering::Relaxed);
        self.bead.reload();
        self.bead.progress.forget_queued();
    }
}

/// Counts invocations, compiles what is hot for one tier after the other, and says what code there is.
pub struct TieredAdapter {
    chain: Arc<Chain>,
    broker: Broker,
    policies: Vec<Box<dyn HotnessPolicy>>,
    deopt_policy: Arc<dyn DeoptPolicy>,
}

impl TieredAdapter {
    /// One tier for each policy, which are asked about invocations since the bead was registered.
    ///
    /// # Panics
    ///
    /// Without policies, and with more than six.
    pub fn new(policies: Vec<Box<dyn HotnessPolicy>>) -> Self {
        Self::with_deopt_policy(policies, TieredDeoptPolicy::default())
    }

    /// The same, with a policy for bailouts.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn with_deopt_policy(policies: Vec<Box<dyn HotnessPolicy>>, deopt: impl DeoptPolicy) -> Self {
        let tiers = policies.len();
        assert!((1..=MOST_TIERS).contains(&tiers), "{tiers} tiers, must be between 1 and {MOST_TIERS}");
        TieredAdapter { chain: Arc::default(), broker: Broker::with_tiers(tiers), policies, deopt_policy: Arc::new(deopt) }
    }

    /// How many tiers there are.
    pub fn num_tiers(&self) -> usize {
        self.policies.len()
    }

    /// As [`Beadie::register`](crate::Beadie::register).
    pub fn register(&self, core: CoreHandle, on_invalidate: Option<OnInvalidate>) -> TieredBound {
        let bead = Bead::new(core, on_invalidate);
        let _ = bead.link_to(|| Arc::clone(self.broker.home()));
        self.chain.add(Arc::clone(&bead));
        let num_tiers = self.num_tiers();
        TieredBound { bead, max_tier: Arc::new(AtomicUsize::new(num_tiers - 1)), num_tiers }
    }

    /// The function is being invoked: the code to run, if there is any.
    ///
    /// If the next tier's policy finds it hot, a clone of `compile` is called with that tier and the bead, later and on another thread, perhaps
    /// while it is called for other beads. It returns the code, or null if the function cannot be compiled for that tier: then
    /// what runs goes on running, and the tier after that is the next.
    #[inline]
    pub fn on_invoke<F>(&self, bound: &TieredBound, compile: F) -> Option<*mut ()>
    where
        F: Fn(usize, &Arc<Bead>) -> *mut () + Send + Sync + Clone + 'static,
    {
        match bound.bead.quick() {
            Quick::Code(code) => Some(code.as_ptr()),
            Quick::Interpret => None,
            Quick::Counted => self.invoke_counted(bound, compile),
            Quick::Spent => self.invoke_slowly(true, bound, compile),
            Quick::Elsewhere => self.invoke_slowly(false, bound, compile),
        }
    }

    #[inline(never)]
    fn invoke_counted<F>(&self, bound: &TieredBound, compile: F) -> Option<*mut ()>
    where
        F: Fn(usize, &Arc<Bead>) -> *mut () + Send + Sync + Clone + 'static,
    {
        match bound.bead.quick_counted() {
            Quick::Code(code) => Some(code.as_ptr()),
            Quick::Spent => self.invoke_slowly(true, bound, compile),
            _ => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn invoke_slowly<F>(&self, is_charged: bool, bound: &TieredBound, compile: F) -> Option<*mut ()>
    where
        F: Fn(usize, &Arc<Bead>) -> *mut () + Send + Sync + Clone + 'static,
    {
        let ladder = Rungs { policies: &self.policies, top: bound.max_tier() };
        let job = |tier| jobs::simple(move |bead| compile(tier, bead));
        bound.bead.slow(is_charged, self.broker.home(), &ladder, job)
    }

    /// Asks for a tier now, whatever its policy says. False when the bead has no code, or code of that tier or a higher one, when there is no
    /// such tier above the first, or when it was asked for before.
    pub fn force_promote(
        &self,
        bound: &TieredBound,
        target_tier: usize,
        compile: impl FnOnce(&Arc<Bead>) -> *mut () + Send + 'static,
    ) -> bool {
        (1..self.num_tiers()).contains(&target_tier) && bound.bead.force(target_tier, jobs::simple(compile))
    }

    /// As [`Bead::on_bailout`], with the adapter's policy. A reverted bead stays with the first tier.
    pub fn on_bailout(&self, bound: &TieredBound, info: BailoutInfo) -> DeoptDecision {
        let decision = bound.bead.on_bailout(info, &*self.deopt_policy);
        if decision == DeoptDecision::RevertToTier1 {
            bound.max_tier.store(0, Ordering::Relaxed);
            bound.bead.progress.forget_queued();
        }
        decision
    }

    /// As [`Beadie::prune`](crate::Beadie::prune).
    pub fn prune(&self) {
        self.chain.prune();
        self.broker.home().broker.prune();
    }

    /// How many beads the chain has, about.
    pub fn chain_len(&self) -> usize {
        self.chain.len()
    }

    /// Calls `f` with every bead; it may call anything.
    pub fn walk(&self, f: impl FnMut(&Arc<Bead>)) {
        self.chain.walk(f);
    }

    /// The policy for bailouts.
    pub fn deopt_policy(&self) -> &Arc<dyn DeoptPolicy> {
        &self.deopt_policy
    }

    /// As [`Beadie::reload_all`](crate::Beadie::reload_all).
    pub fn reload_all(&self) -> usize {
        self.chain.reload(|_| true)
    }

    /// As [`Beadie::reclaim_with`](crate::Beadie::reclaim_with).
    pub fn reclaim_with(&self, reclaim: impl Fn(*mut ()) + Send + Sync + 'static) {
        self.broker.home().reclaim_with(Box::new(reclaim));
    }
}

impl fmt::Debug for TieredAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredAdapter").field("tiers", &self.num_tiers()).field("broker", &self.broker).finish_non_exhaustive()
    }
}

/// The adapter's policies, up to the highest tier the bead may have.
struct Rungs<'a> {
    policies: &'a [Box<dyn HotnessPolicy>],
    top: usize,
}

impl Ladder for Rungs<'_> {
    fn wants(&self, tier: usize, invocations: u32) -> bool {
        self.policies.get(tier).is_some_and(|policy| policy.should_promote(invocations))
    }

    fn top(&self) -> usize {
        self.top
    }
}
