//! What a policy may look at: plain numbers, so that a replay can make them up.

use std::time::Duration;

use crate::{CALL_WORK, Tier, tuning::TYPICAL_TURN_WORK};

/// What a policy may look at when a bead's budget is spent.
///
/// Time is counted in *work units of the tier that runs now*: what its code does in that time. So a cost can be compared with
/// what was spent without knowing how fast the machine is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The tier whose code runs now.
    pub tier: Tier,
    /// The lowest tier above it that is not disabled for this bead.
    pub next: Tier,
    /// The loop that asks, for an OSR variant of `next`; `None` when it is about the body.
    pub site: Option<u32>,
    /// Work units done since registration, in any tier that counts.
    pub work: u64,
    /// Of these, done since the code that runs now was installed, or since counting started over; at a site, by loops only.
    pub spent: u64,
    /// Of what was done since then, about how much by loops: slices of work are put down to where they were drawn.
    pub loop_work: u64,
    /// Work units per millisecond since the policy was last asked about this bead; 0 the first time.
    pub rate: f64,
    /// Size of the guest body in bytes.
    pub size: u32,
    /// Whether `next` has been asked for already and not yet answered.
    pub pending: bool,
    /// Retryable bailouts of `next` on this bead so far; at a site, of all OSR variants.
    pub bailouts: u8,
    /// Units of this bead given up because they were left for the interpreter.
    pub deopts: u32,
    /// Whether the last answer about this bead was that it is [held](super::WaitReason::Held).
    pub held: bool,
    /// Requests waiting or being compiled, broker-wide.
    pub queued: usize,
    /// Requests for `next` that wait, per worker.
    pub load: f64,
    /// How long a request made now is reckoned to wait, in work units.
    pub queue_wait: u64,
    /// What going to each tier would cost and bring: tier 1 first.
    pub outlook: [Outlook; Tier::MAX.index() as usize],
    /// Bytes of native code installed, broker-wide.
    pub code_bytes: u64,
    /// Microseconds since a function was called for the first time; `u64::MAX` unless the policy
    /// [wants to know](super::HotnessPolicy::wants_quiet).
    pub quiet: u64,
    /// Nanoseconds that all compilers have worked so far.
    pub compile_nanos: u64,
    /// Nanoseconds since the broker was built.
    pub age_nanos: u64,
    /// Whether the embedder has asked to [save energy](crate::Broker::set_efficiency_mode).
    pub efficiency: bool,
}

/// What going to one tier would cost and bring.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Outlook {
    /// Whether it can be asked for, and is above the one that runs.
    pub open: bool,
    /// What compiling the function is reckoned to take, in work units.
    pub cost: u64,
    /// How many times as fast its code is reckoned to be as the code that runs now.
    pub speedup: f64,
}

impl Outlook {
    /// A tier that can be asked for.
    pub fn new(cost: u64, speedup: f64) -> Self {
        Outlook { open: true, cost, speedup }
    }

    /// Work after which going there has paid for itself: where `T = C + T/S`, so `T = C · S/(S−1)`. Infinite when it is not faster.
    pub fn break_even(&self) -> f64 {
        if self.speedup > 1.0 { self.cost as f64 * self.speedup / (self.speedup - 1.0) } else { f64::INFINITY }
    }
}

impl Sample {
    /// A sample of a bead of `size` bytes that runs in `tier` and could go to `next`, everything else zero.
    pub fn new(tier: Tier, next: Tier, size: u32) -> Self {
        Sample {
            tier,
            next,
            site: None,
            work: 0,
            spent: 0,
            loop_work: 0,
            rate: 0.0,
            size,
            pending: false,
            bailouts: 0,
            deopts: 0,
            held: false,
            queued: 0,
            load: 0.0,
            queue_wait: 0,
            outlook: [Outlook::default(); Tier::MAX.index() as usize],
            code_bytes: 0,
            quiet: u64::MAX,
            compile_nanos: 0,
            age_nanos: 0,
            efficiency: false,
        }
    }

    /// The tiers that can be asked for, lowest first.
    pub fn outlooks(&self) -> impl Iterator<Item = (Tier, Outlook)> {
        Tier::compiled(self.outlook.len()).zip(self.outlook).filter(|(_, outlook)| outlook.open)
    }

    /// What going to `next` would cost and bring.
    pub fn next_outlook(&self) -> Outlook {
        if self.next.is_interpreter() {
            Outlook::default()
        } else {
            self.outlook.get(self.next.slot()).copied().unwrap_or_default()
        }
    }

    /// About how many calls were made since `spent` was 0: a call charges [`CALL_WORK`], and what loops did not charge calls did.
    pub fn calls(&self) -> f64 {
        self.spent.saturating_sub(self.loop_work) as f64 / f64::from(CALL_WORK)
    }

    /// About how many turns loops made since `spent` was 0, a turn doing [`TYPICAL_TURN_WORK`] units.
    pub fn turns(&self) -> f64 {
        self.loop_work as f64 / f64::from(TYPICAL_TURN_WORK)
    }

    /// When it was taken, since the broker was built.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_nanos(self.age_nanos)
    }

    /// The same bead, had it done `1/scale` of the work.
    pub(crate) fn shrunk(&self, scale: f64) -> Self {
        // So that sums stay sums, however much there is.
        let less = |work: u64| ((work as f64 / scale) as u64).min(1 << 61);
        let loop_work = less(self.loop_work.min(self.spent));
        let spent = loop_work + less(self.spent.saturating_sub(self.loop_work));
        Sample { work: less(self.work), spent, loop_work, ..*self }
    }
}
