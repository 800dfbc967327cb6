//! What code there is under a policy: its pace, what its compile takes, and how its work becomes known.
//!
//! Code that may go to a higher tier is sampled, which costs it nothing, or counts, which does. Which of both, the broker says by how much
//! work the policy waits for: what is wanted after less than four samples is counted. Silent code does neither: the sample that finds it is the next one's.

use tierup_broker::{HotnessPolicy, SAMPLE_PERIOD, SAMPLED_FROM, Tier};

use crate::Program;

/// Nanoseconds between samples.
pub(super) const PERIOD: f64 = SAMPLE_PERIOD.as_nanos() as f64;

/// The code of all functions.
#[derive(Debug)]
pub(super) struct Codes<'p> {
    program: &'p Program,
    /// By function and tier, whether its code is sampled.
    sampled: Vec<Vec<bool>>,
}

impl<'p> Codes<'p> {
    pub(super) fn new(program: &'p Program, policy: &dyn HotnessPolicy) -> Self {
        let top = program.tiers.len() - 1;
        let sampled = |size: u32| {
            let of = |tier: usize| {
                let next = Tier::new(tier as u8 + 1);
                // As `CompileRequest::samples` has it.
                tier > 0 && tier < top && policy.first_budget(next, size).min(policy.osr_budget(next, size)) >= SAMPLED_FROM
            };
            (0..=top).map(of).collect()
        };
        Codes { program, sampled: program.functions.iter().map(|function| sampled(function.size)).collect() }
    }

    pub(super) fn program(&self) -> &'p Program {
        self.program
    }

    pub(super) fn top(&self) -> usize {
        self.program.tiers.len() - 1
    }

    pub(super) fn is_sampled(&self, function: usize, tier: usize) -> bool {
        self.sampled[function][tier]
    }

    /// Whether nobody knows of what its code does: where others are sampled.
    pub(super) fn is_silent(&self, function: usize, tier: usize) -> bool {
        self.is_sampled(function, tier) && self.program.functions[function].tiers[tier].silent
    }

    /// Nanoseconds a work unit takes.
    pub(super) fn pace(&self, function: usize, tier: usize) -> f64 {
        let facts = &self.program.functions[function].tiers[tier];
        if self.counts(function, tier) { facts.counting.pace } else { facts.pace }
    }

    /// Nanoseconds the compile takes.
    pub(super) fn compile(&self, function: usize, tier: usize) -> u64 {
        let facts = &self.program.functions[function].tiers[tier];
        if self.counts(function, tier) { facts.counting.compile } else { facts.compile }
    }

    /// Whether it is compiled code that counts.
    fn counts(&self, function: usize, tier: usize) -> bool {
        tier > 0 && tier < self.top() && !self.is_sampled(function, tier)
    }
}
