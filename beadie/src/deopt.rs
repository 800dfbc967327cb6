//! What becomes of code whose speculation failed: the incumbent's bailout policies.
//!
//! (A *bailout* is here what the rest of Tierup calls a deopt: compiled code that leaves for the interpreter.)

use crate::Bead;

/// One failed speculation, in the runtime's own numbers.
#[derive(Debug, Clone)]
pub struct BailoutInfo {
    /// Which guard failed.
    pub guard_id: u32,
    /// Where the interpreter goes on.
    pub pc_offset: u32,
    /// [`Bead::generation`] of the code that left: 0 for what the first tier made, more for what replaced it.
    pub generation: u64,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeoptDecision {
    /// Give the code up; the bead is compiled afresh when it is next invoked.
    Recompile,
    /// Give the code up and never compile the bead again.
    Blacklist,
    /// Go back to the first tier's code and stay there. Of first-tier code: as [`Blacklist`](Self::Blacklist).
    RevertToTier1,
    /// Keep the code, count its calls, and compile it afresh at a later invocation.
    PauseRecompile {
        /// The invocation from which on it may be compiled.
        until_invocations: u32,
    },
}

impl DeoptDecision {
    /// Whether the bead may be compiled again.
    pub fn allows_recompile(&self) -> bool {
        !self.is_terminal()
    }

    /// Whether compiling is over for the bead, or for its higher tiers.
    pub fn is_terminal(&self) -> bool {
        matches!(self, DeoptDecision::Blacklist | DeoptDecision::RevertToTier1)
    }
}

/// Decides what becomes of code that left for the interpreter. Asked at every bailout, on the thread that had it.
pub trait DeoptPolicy: Send + Sync + 'static {
    /// Code of `bead` left, as `info` says, for the `bailout_count`-th time in the bead's life.
    fn on_bailout(&self, bead: &Bead, info: &BailoutInfo, bailout_count: u32) -> DeoptDecision;
}

/// Compiles afresh every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlwaysRecompilePolicy;

impl DeoptPolicy for AlwaysRecompilePolicy {
    fn on_bailout(&self, _: &Bead, _: &BailoutInfo, _: u32) -> DeoptDecision {
        DeoptDecision::Recompile
    }
}

/// Compiles afresh a few times, then never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThresholdDeoptPolicy {
    /// How often it compiles afresh.
    pub recompile_limit: u32,
}

impl ThresholdDeoptPolicy {
    /// Compiles afresh `recompile_limit` times.
    pub fn new(recompile_limit: u32) -> Self {
        ThresholdDeoptPolicy { recompile_limit }
    }
}

impl Default for ThresholdDeoptPolicy {
    fn default() -> Self {
        ThresholdDeoptPolicy::new(3)
    }
}

impl DeoptPolicy for ThresholdDeoptPolicy {
    fn on_bailout(&self, _: &Bead, _: &BailoutInfo, bailout_count: u32) -> DeoptDecision {
        recompile_up_to(self.recompile_limit, bailout_count)
    }
}

fn recompile_up_to(limit: u32, bailouts: u32) -> DeoptDecision {
    if bailouts <= limit { DeoptDecision::Recompile } else { DeoptDecision::Blacklist }
}

/// Compiles afresh after waits of `base_pause · 2^(n-1)` invocations at the n-th bailout, a few times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExponentialBackoffPolicy {
    /// The first wait, in invocations.
    pub base_pause: u32,
    /// Bailouts after which the bead is blacklisted.
    pub max_recompiles: u32,
}

impl ExponentialBackoffPolicy {
    /// First wait and most bailouts.
    pub fn new(base_pause: u32, max_recompiles: u32) -> Self {
        ExponentialBackoffPolicy { base_pause, max_recompiles }
    }
}

impl Default for ExponentialBackoffPolicy {
    fn default() -> Self {
        ExponentialBackoffPolicy::new(1_000, 4)
    }
}

impl DeoptPolicy for ExponentialBackoffPolicy {
    fn on_bailout(&self, bead: &Bead, _: &BailoutInfo, bailout_count: u32) -> DeoptDecision {
        if bailout_count > self.max_recompiles {
            return DeoptDecision::Blacklist;
        }
        let pause = self.base_pause.saturating_mul(1 << bailout_count.saturating_sub(1).min(31));
        DeoptDecision::PauseRecompile { until_invocations: bead.invocation_count().saturating_add(pause) }
    }
}

/// For [`TieredAdapter`](crate::TieredAdapter): code above the first tier is reverted, first-tier code compiled afresh, each a
/// few times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TieredDeoptPolicy {
    /// How often first-tier code is compiled afresh.
    pub tier1_recompile_limit: u32,
    /// Up to which bailout higher code is reverted; after that the bead is blacklisted.
    pub tier2_revert_limit: u32,
}

impl TieredDeoptPolicy {
    /// Limits for the first tier and for those above.
    pub fn new(tier1_recompile_limit: u32, tier2_revert_limit: u32) -> Self {
        TieredDeoptPolicy { tier1_recompile_limit, tier2_revert_limit }
    }
}

impl Default for TieredDeoptPolicy {
    fn default() -> Self {
        TieredDeoptPolicy::new(3, 1)
    }
}

impl DeoptPolicy for TieredDeoptPolicy {
    fn on_bailout(&self, _: &Bead, info: &BailoutInfo, bailout_count: u32) -> DeoptDecision {
        match info.generation {
            0 => recompile_up_to(self.tier1_recompile_limit, bailout_count),
            _ if bailout_count <= self.tier2_revert_limit => DeoptDecision::RevertToTier1,
            _ => DeoptDecision::Blacklist,
        }
    }
}
