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
    #[inline]
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
    #[inline]
    pub(crate) fn contains(self, tier: Tier) -> bool {
        // The interpreter is in none.
        tier <= Tier::MAX && u32::from(self.0) << 1 >> tier.0 & 1 != 0
    }

    /// Those of these that are above `tier`.
    #[inline]
    pub(crate) fn above(self, tier: Tier) -> Self {
        TierSet((u32::from(self.0) >> tier.0.min(Tier::MAX.0) << tier.0.min(Tier::MAX.0)) as u8)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The tiers, lowest first.
    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = Tier> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let tier = (left != 0).then(|| Tier(left.trailing_zeros() as u8 + 1));
            left &= left.wrapping_sub(1);
            tier
        })
    }
}

#[cfg(all(test, not(loom)))]
#[test]
fn sets_of_tiers() {
    let all = TierSet(0x7F);
    let tiers = |set: TierSet| set.iter().map(Tier::index).collect::<Vec<_>>();
    assert_eq!(tiers(all), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(tiers(TierSet(0b101_0010)), [2, 5, 7]);
    assert_eq!(tiers(TierSet(0)), [0; 0]);
    for tier in 0..=9 {
        assert_eq!(tiers(all.above(Tier(tier))), (tier + 1..=7).collect::<Vec<_>>(), "above {tier}");
        assert_eq!(all.contains(Tier(tier)), (1..=7).contains(&tier));
        assert!(!TierSet(0).contains(Tier(tier)));
    }
}
