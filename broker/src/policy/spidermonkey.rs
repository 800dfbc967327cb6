//! SpiderMonkey's cost model for WebAssembly, with its one dial.

use super::{
    Decision, HotnessPolicy, Reason, Sample,
    budget::{budget_of, first, promote_when},
};
use crate::Tier;

/// Promotes when the work done is worth a quarter of what compiling costs, by one dial (`js/src/wasm/WasmHeuristics.h`).
///
/// ```text
/// threshold = clamp(¼ · (30,000 + 4,000 · size) · 3^(5 − level), 10, 2,000,000,000)
/// ```
///
/// with level 1 for never and 9 for the first call. 30,000 + 4,000 a byte is how many instructions Ion takes to compile a function, fitted
/// to about 99,000 functions: the break-even point of a compile in units of its own cost. SpiderMonkey's baseline code counts about
/// instructions, as work units do. Cranelift costs about what Ion does; LLVM ten times as much, so for tiers above the first the
/// threshold is multiplied by `optimizing`. For modules of up to 150 kB SpiderMonkey raises the level by one: that is the embedder's to do.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct SpiderMonkey {
    /// From 1, never, to 9, at once; beyond, as the nearest of these.
    pub level: u8,
    /// How many times as dear tiers above the first are.
    pub optimizing: f64,
}

impl Default for SpiderMonkey {
    fn default() -> Self {
        SpiderMonkey { level: 5, optimizing: 10.0 }
    }
}

impl HotnessPolicy for SpiderMonkey {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        let steps = match self.level {
            0 | 1 => return u32::MAX,
            9.. => return 0,
            level => 5 - i32::from(level),
        };
        let cost = (30_000.0 + 4_000.0 * f64::from(size)) * if tier.index() <= 1 { 1.0 } else { self.optimizing };
        first((0.25 * cost * 3_f64.powi(steps)).clamp(10.0, 2e9))
    }

    fn decide(&self, sample: &Sample) -> Decision {
        let missing = match budget_of(self, sample) {
            u32::MAX => f64::INFINITY,
            budget => f64::from(budget) - sample.spent as f64,
        };
        promote_when(sample, sample.next, missing, if self.level >= 9 { Reason::FirstCall } else { Reason::Budget })
    }
}
