//! Tiers: 0 is the interpreter, 1 and up are the configured compilers in order. An identity, never a count of compiles.

use std::fmt;

/// One way to run a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Tier(u8);

impl Tier {
    /// Tier 0.
    pub const INTERPRETER: Tier = Tier(0);

    /// The highest tier a broker can have: seven compilers.
    pub const MAX: Tier = Tier(7);

    /// Tier `index`. A tier without a compiler is refused where it is used, not here.
    pub const fn new(index: u8) -> Self {
        Tier(index)
    }

    /// 0 for the interpreter, `n` for the n-th compiler.
    pub const fn index(self) -> u8 {
        self.0
    }

    /// Whether this is tier 0.
    pub const fn is_interpreter(self) -> bool {
        self.0 == 0
    }

    /// All tiers of a broker with `compilers` compilers, lowest compiled tier first.
    pub(crate) fn compiled(compilers: usize) -> impl Iterator<Item = Tier> {
        (1..=compilers.min(usize::from(Tier::MAX.0)) as u8).map(Tier)
    }

    /// Position of this tier's compiler. Only for tiers above 0.
    pub(crate) fn slot(self) -> usize {
        debug_assert!(self.0 > 0, "the interpreter has no compiler");
        usize::from(self.0) - 1
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_interpreter() { f.write_str("interpreter") } else { write!(f, "tier {}", self.0) }
    }
}

/// A set of compiled tiers, one bit each, tier 1 lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TierSet(pub(crate) u8);

impl TierSet {
    pub(crate) fn contains(self, tier: Tier) -> bool {
        tier.0 > 0 && tier <= Tier::MAX && self.0 & (1 << tier.slot()) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Tier> {
        Tier::compiled(7).filter(move |&tier| self.contains(tier))
    }
}
