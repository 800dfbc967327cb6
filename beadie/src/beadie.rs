//! The whole, for one compiler: a chain, a policy, a broker.

use std::{fmt, sync::Arc};

use crate::{
    Bead, Broker, Chain, CoreHandle, HotnessPolicy, OsrCompileResult, SubmitResult, SwapResult, ThresholdPolicy,
    bead::{OnInvalidate, Quick},
    decide::Ladder,
    jobs::{self, Job},
};

/// Counts invocations, compiles what is hot in the background, and says what code there is.
pub struct Beadie<P: HotnessPolicy = ThresholdPolicy> {
    chain: Arc<Chain>,
    broker: Broker,
    policy: P,
}

impl Beadie {
    /// Compiles at the 1,000th invocation.
    pub fn new() -> Self {
        Self::with_policy(ThresholdPolicy::default())
    }
}

impl Default for Beadie {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: HotnessPolicy> Beadie<P> {
    /// Compiles when `policy` says.
    pub fn with_policy(policy: P) -> Self {
        Beadie { chain: Arc::default(), broker: Broker::default(), policy }
    }

    /// As [`with_policy`](Self::with_policy): the queue has room for every bead, the `capacity` is not used.
    pub fn with_policy_and_capacity(policy: P, capacity: usize) -> Self {
        Beadie { chain: Arc::default(), broker: Broker::with_capacity(capacity), policy }
    }

    /// Registers a function. Keep what it returns beside it; the chain keeps it, too, until it is invalidated and
    /// [pruned](Self::prune).
    ///
    /// `on_invalidate` is called when the bead is invalidated. It must not own the bead.
    pub fn register(&self, core: CoreHandle, on_invalidate: Option<OnInvalidate>) -> Arc<Bead> {
        let bead = Bead::new(core, on_invalidate);
        // If there is no room now, the bead tries again when it is used.
        let _ = bead.link_to(|| Arc::clone(self.broker.home()));
        self.chain.add(Arc::clone(&bead));
        bead
    }

    /// The function is being invoked: the code to run, if there is any.
    ///
    /// If the policy finds it hot, `compile` is called with the bead, later and on another thread; see [`Broker::submit`]. No lock is taken
    /// and nothing is shared with other threads until then, but for drawing on the bead's budget now and then.
    #[inline]
    pub fn on_invoke<F>(&self, bead: &Arc<Bead>, compile: F) -> Option<*mut ()>
    where
        F: FnOnce(&Arc<Bead>) -> *mut () + Send + 'static,
    {
        self.invoke(bead, move || jobs::simple(compile))
    }

    /// As [`on_invoke`](Self::on_invoke), for code with [OSR entries](Bead::osr_entry).
    #[inline]
    pub fn on_invoke_osr<F>(&self, bead: &Arc<Bead>, compile: F) -> Option<*mut ()>
    where
        F: FnOnce(&Arc<Bead>) -> OsrCompileResult + Send + 'static,
    {
        self.invoke(bead, move || Box::new(compile))
    }

    #[inline(always)]
    pub(crate) fn invoke(&self, bead: &Arc<Bead>, job: impl FnOnce() -> Job) -> Option<*mut ()> {
        match bead.quick() {
            Quick::Code(code) => Some(code.as_ptr()),
            Quick::Interpret => None,
            Quick::Counted => self.invoke_counted(bead, job),
            Quick::Spent => self.invoke_slowly(true, bead, job),
            Quick::Elsewhere => self.invoke_slowly(false, bead, job),
        }
    }

    #[inline(never)]
    fn invoke_counted(&self, bead: &Bead, job: impl FnOnce() -> Job) -> Option<*mut ()> {
        match bead.quick_counted() {
            Quick::Code(code) => Some(code.as_ptr()),
            Quick::Spent => self.invoke_slowly(true, bead, job),
            _ => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn invoke_slowly(&self, is_charged: bool, bead: &Bead, job: impl FnOnce() -> Job) -> Option<*mut ()> {
        bead.slow(is_charged, self.broker.home(), &OneTier(&self.policy), |_| job())
    }

    /// Lets go of the beads that were invalidated.
    pub fn prune(&self) {
        self.chain.prune();
        self.broker.home().broker.prune();
    }

    /// Calls `f` with every bead; it may call anything.
    pub fn walk(&self, f: impl FnMut(&Arc<Bead>)) {
        self.chain.walk(f);
    }

    /// How many beads the chain has, about.
    pub fn chain_len(&self) -> usize {
        self.chain.len()
    }

    /// The chain.
    pub fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// [Reloads](Bead::reload) every bead, and returns how many will be compiled afresh.
    pub fn reload_all(&self) -> usize {
        self.chain.reload(|_| true)
    }

    /// Reloads the beads that `predicate` says.
    pub fn reload_matching(&self, predicate: impl Fn(&Arc<Bead>) -> bool) -> usize {
        self.chain.reload(predicate)
    }

    /// [Swaps](Bead::swap_compiled) the code of every compiled bead for which `new_code_for` returns other code, and not null.
    pub fn swap_matching(&self, new_code_for: impl Fn(&Arc<Bead>) -> *mut ()) -> Vec<SwapResult> {
        let mut swapped = Vec::new();
        self.chain.walk(|bead| swapped.extend(bead.swap_compiled(new_code_for(bead))));
        swapped
    }

    /// As [`Broker::submit`].
    pub fn submit(&self, bead: &Arc<Bead>, compile: impl FnOnce(&Arc<Bead>) -> *mut () + Send + 'static) -> SubmitResult {
        self.broker.submit(Arc::clone(bead), compile)
    }

    /// As [`Broker::submit_osr`].
    pub fn submit_osr(
        &self,
        bead: &Arc<Bead>,
        compile: impl FnOnce(&Arc<Bead>) -> OsrCompileResult + Send + 'static,
    ) -> SubmitResult {
        self.broker.submit_osr(Arc::clone(bead), compile)
    }

    /// Has `reclaim` called with each piece of code that a bead was given and has not handed back in a [`SwapResult`], once, when the bead is
    /// dropped: results that were discarded and code that was replaced included. Only the first call of this counts.
    ///
    /// Not part of the incumbent's API, where such code is lost.
    pub fn reclaim_with(&self, reclaim: impl Fn(*mut ()) + Send + Sync + 'static) {
        self.broker.home().reclaim_with(Box::new(reclaim));
    }
}

impl<P: HotnessPolicy> fmt::Debug for Beadie<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beadie").field("beads", &self.chain_len()).field("broker", &self.broker).finish_non_exhaustive()
    }
}

/// The policy of the only tier.
struct OneTier<'p, P>(&'p P);

impl<P: HotnessPolicy> Ladder for OneTier<'_, P> {
    fn wants(&self, _: usize, invocations: u32) -> bool {
        self.0.should_promote(invocations)
    }

    fn top(&self) -> usize {
        0
    }
}
