//! When a function is hot: the incumbent's policies, which see a number of invocations and nothing else.

/// Says from which invocation on a function is worth compiling.
///
/// It is asked for a few numbers only, not at every call: once it has said no, the bead works out from its answers for
/// higher numbers when it has to be asked again, and looks again by itself after twice as many invocations, or 4,096. So it should be a
/// function of the number, and once it says yes it should go on saying so.
pub trait HotnessPolicy: Send + Sync + 'static {
    /// Whether a function that is being invoked for the `invocations`-th time is to be compiled.
    fn should_promote(&self, invocations: u32) -> bool;
}

/// Compiles at a fixed number of invocations: 1,000 unless told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThresholdPolicy {
    /// The invocation at which code is to be there.
    pub threshold: u32,
    ahead: u32,
}

impl ThresholdPolicy {
    /// Compiles at the `threshold`-th invocation.
    pub fn new(threshold: u32) -> Self {
        ThresholdPolicy { threshold, ahead: 0 }
    }

    /// Asks `offset` invocations before the threshold, because compiling takes time.
    pub fn queue_ahead(self, offset: u32) -> Self {
        ThresholdPolicy { ahead: offset, ..self }
    }

    /// The invocation at which it asks.
    pub fn queue_at(&self) -> u32 {
        self.threshold.saturating_sub(self.ahead)
    }
}

impl Default for ThresholdPolicy {
    fn default() -> Self {
        ThresholdPolicy::new(1_000)
    }
}

impl HotnessPolicy for ThresholdPolicy {
    #[inline]
    fn should_promote(&self, invocations: u32) -> bool {
        invocations >= self.queue_at()
    }
}

/// Compiles at the first of two thresholds; a compile closure may ask which of them was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TieredPolicy {
    /// Invocations that are worth a quick compile.
    pub tier1_threshold: u32,
    /// Invocations that are worth a thorough one.
    pub tier2_threshold: u32,
}

impl Default for TieredPolicy {
    fn default() -> Self {
        TieredPolicy { tier1_threshold: 500, tier2_threshold: 10_000 }
    }
}

impl TieredPolicy {
    /// 2 or 1 for the threshold that so many invocations have reached; `None` below both.
    pub fn tier(&self, invocations: u32) -> Option<u8> {
        match invocations {
            count if count >= self.tier2_threshold => Some(2),
            count if count >= self.tier1_threshold => Some(1),
            _ => None,
        }
    }
}

impl HotnessPolicy for TieredPolicy {
    #[inline]
    fn should_promote(&self, invocations: u32) -> bool {
        invocations >= self.tier1_threshold
    }
}
