//! Several policies on one program, side by side with the oracle.

use std::fmt;

use tierup_broker::{HotnessPolicy, Tier, Tiered};

use crate::{
    Machine, Program,
    metrics::Outcome,
    oracle::{self, Best},
    plan,
    replay::{ReplayError, replay},
};

/// What each policy made of a program.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The program's name.
    pub program: String,
    /// The names of its tiers.
    pub tiers: Vec<String>,
    /// Nanoseconds that no plan can be better than.
    pub bound: f64,
    /// The best plan found, and what becomes of the program under it.
    pub best: (Best, Outcome),
    /// Nanoseconds of the best plans found that compile nothing before it was called, and nothing before it has done the work after which the
    /// default policy asks.
    pub seen: [f64; 2],
    /// The policies, by name.
    pub policies: Vec<(String, Outcome)>,
}

impl Comparison {
    /// Looks for the best plan, at `looks` of them, and replays each policy.
    ///
    /// # Errors
    ///
    /// As [`replay`].
    pub fn new<P: HotnessPolicy + 'static>(
        program: &Program,
        machine: Machine,
        policies: impl IntoIterator<Item = (String, P)>,
        seed: u64,
        looks: u32,
    ) -> Result<Self, ReplayError> {
        let best = oracle::search(program, machine, seed, looks);
        let outcome = plan::outcome(program, Machine { workers: best.workers, ..machine }, &best.plan);
        // What waits for the default's thresholds has waited for the first call.
        let asks = [1, 2].map(|tier| Tiered::default().first_budget(Tier::new(tier), 0).into());
        let late = oracle::search_seen(program, machine, &asks, seed, looks).time;
        let called = oracle::search_seen(program, machine, &[], seed, looks).time;
        let replayed = policies.into_iter().map(|(name, policy)| Ok((name, replay(program, machine, policy)?)));
        Ok(Comparison {
            program: program.name.clone(),
            tiers: program.tiers.clone(),
            bound: oracle::lower_bound(program, machine),
            best: (best, outcome),
            seen: [called.min(late), late],
            policies: replayed.collect::<Result<_, ReplayError>>()?,
        })
    }

    /// How much better than the best plan a plan might be at most: 0.1 is ten percent of the bound.
    pub fn gap(&self) -> f64 {
        // Where both are the same, rounding may say otherwise.
        (self.best.0.time / self.bound - 1.0).max(0.0)
    }

    /// By how much more than the best plan those take that know only [what was called](Self::seen).
    pub fn not_known(&self) -> [f64; 2] {
        self.seen.map(|time| (time / self.best.0.time - 1.0).max(0.0))
    }

    /// A policy's time over the best plan's, less one. It is below zero where a policy was better than the plan that was found.
    pub fn regret(&self, outcome: &Outcome) -> f64 {
        outcome.regret(self.best.0.time)
    }
}

/// A Markdown table.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MS: f64 = 1e6;
        writeln!(f, "### {}\n", self.program)?;
        writeln!(
            f,
            "No plan takes less than {:.2} ms; the best found takes {:.2} ms ({:.1} % more).\n",
            self.bound / MS,
            self.best.0.time / MS,
            self.gap() * 100.0
        )?;
        let [called, late] = self.not_known();
        writeln!(
            f,
            "A plan that compiles nothing before it was called takes {:.1} % more than that, one that waits for the default's thresholds {:.1} %.\n",
            called * 100.0,
            late * 100.0
        )?;
        write!(
            f,
            "| policy | time, ms | regret | excess, ms | warm (90 %), ms | compiles | compiling, ms | wasted | late work | wait, median and 99 %, ms |"
        )?;
        self.tiers.iter().try_for_each(|tier| write!(f, " {tier} |"))?;
        writeln!(f, "\n|---|{}", "---|".repeat(9 + self.tiers.len()))?;
        let rows = self.policies.iter().map(|(name, outcome)| (&name[..], outcome));
        for (name, outcome) in rows.chain([("*best plan*", &self.best.1)]) {
            let wasted = if outcome.compile_time > 0.0 { outcome.wasted / outcome.compile_time } else { 0.0 };
            write!(
                f,
                "| {name} | {:.2} | {:.1} % | {:.2} | {:.2} | {} | {:.2} | {:.0} % | {:.1} M | {:.2}, {:.2} |",
                outcome.total / MS,
                self.regret(outcome) * 100.0,
                outcome.excess / MS,
                outcome.warm[1] / MS,
                outcome.compiles,
                outcome.compile_time / MS,
                wasted * 100.0,
                outcome.late_work / 1e6,
                outcome.wait(0.5) / MS,
                outcome.wait(0.99) / MS
            )?;
            let total: f64 = outcome.residency.iter().sum();
            outcome.residency.iter().try_for_each(|time| write!(f, " {:.0} % |", time / total.max(1.0) * 100.0))?;
            writeln!(f)?;
        }
        Ok(())
    }
}
