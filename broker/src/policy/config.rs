//! A policy, its modifiers and what is said about single functions, as data: what a configuration file holds.
//!
//! ```toml
//! policy.hotspot.baseline = { invocations = 400, min-invocations = 200, compile = 4000, back-edges = 60000 }
//! stop-at-tier = 1
//! modifiers.load-feedback = "hotspot"
//! modifiers.compile-share.percent = 10
//!
//! [[rules]]
//! function = "parse_*"
//! scale = 0.5
//! ```
#![forbid(unsafe_code)]

use super::{
    CostBenefit, Decision, HazardRate, HotSpot, HotnessPolicy, Hysteresis, Jsc, LoadFeedback, Modified, Modifiers, OsrAfter,
    Sample, SkiRental, SpiderMonkey, Threshold, Tiered, Truffle, V8,
};
use crate::{Rule, Rules, Tier};

/// Which policy, with its numbers.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the policy of that name")]
pub enum PolicyChoice {
    Threshold(Threshold),
    Tiered(Tiered),
    #[cfg_attr(feature = "serde", serde(rename = "hotspot"))]
    HotSpot(HotSpot),
    Truffle(Truffle),
    V8(V8),
    Jsc(Jsc),
    #[cfg_attr(feature = "serde", serde(rename = "spidermonkey"))]
    SpiderMonkey(SpiderMonkey),
    CostBenefit(CostBenefit),
    SkiRental(SkiRental),
    HazardRate(HazardRate),
}

impl Default for PolicyChoice {
    fn default() -> Self {
        PolicyChoice::Tiered(Tiered::default())
    }
}

/// A policy with everything around it. The default is [`Tiered::default`] and nothing else.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct PolicyConfig {
    /// What decides.
    pub policy: PolicyChoice,
    /// Work units of a loop that asks for an OSR variant, in place of what the policy says.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub osr_after: Option<u32>,
    /// The highest tier any function may go to.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub stop_at_tier: Option<u8>,
    /// What makes the policy more or less eager.
    pub modifiers: Modifiers,
    /// What is said about single functions.
    pub rules: Rules,
}

/// What is wrong with a [`PolicyConfig`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {value}, must be {must}")]
#[non_exhaustive]
pub struct PolicyConfigError {
    /// Which field, from the top: `modifiers.load-feedback.low`.
    pub field: String,
    /// What it is.
    pub value: String,
    /// What it has to be.
    pub must: &'static str,
}

/// The policy that a [`PolicyConfig`] describes.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfiguredPolicy {
    policy: Modified<LoopsToo>,
    rules: Rules,
}

impl PolicyConfig {
    /// A policy alone.
    pub fn new(policy: PolicyChoice) -> Self {
        PolicyConfig { policy, ..PolicyConfig::default() }
    }

    /// The configuration of this name: `development`, `default`, `production`, `production-llvm` are [`Tiered`]'s; `hotspot` and `truffle` come with
    /// the load feedback, and what else belongs to it, of the engine they are named after; `v8`, `jsc`, `spidermonkey`, `cost-benefit`, `ski-rental` and `hazard-rate`
    /// are alone.
    pub fn named(name: &str) -> Option<Self> {
        let modified = |policy, modifiers| PolicyConfig { modifiers, ..PolicyConfig::new(policy) };
        Some(match name {
            "development" => PolicyConfig::new(PolicyChoice::Tiered(Tiered::development())),
            "default" => PolicyConfig::default(),
            "production" => PolicyConfig::new(PolicyChoice::Tiered(Tiered::production())),
            "production-llvm" => PolicyConfig::new(PolicyChoice::Tiered(Tiered::production_llvm())),
            "hotspot" => modified(PolicyChoice::HotSpot(HotSpot::default()), Modifiers::hotspot()),
            "truffle" => modified(
                PolicyChoice::Truffle(Truffle::default()),
                Modifiers { load_feedback: Some(LoadFeedback::truffle()), ..Modifiers::default() },
            ),
            "v8" => PolicyConfig::new(PolicyChoice::V8(V8::default())),
            "jsc" => PolicyConfig::new(PolicyChoice::Jsc(Jsc::default())),
            "spidermonkey" => PolicyConfig::new(PolicyChoice::SpiderMonkey(SpiderMonkey::default())),
            "cost-benefit" => PolicyConfig::new(PolicyChoice::CostBenefit(CostBenefit::default())),
            "ski-rental" => PolicyConfig::new(PolicyChoice::SkiRental(SkiRental::default())),
            "hazard-rate" => PolicyConfig::new(PolicyChoice::HazardRate(HazardRate::default())),
            _ => return None,
        })
    }

    /// The names there are.
    pub const NAMES: [&'static str; 12] = [
        "development",
        "default",
        "production",
        "production-llvm",
        "hotspot",
        "truffle",
        "v8",
        "jsc",
        "spidermonkey",
        "cost-benefit",
        "ski-rental",
        "hazard-rate",
    ];

    /// The policy.
    ///
    /// # Errors
    ///
    /// A [`PolicyConfigError`] that names the first field out of range.
    pub fn build(self) -> Result<ConfiguredPolicy, PolicyConfigError> {
        self.check()?;
        let mut rules = self.rules;
        if let Some(tier) = self.stop_at_tier {
            // Before all others, which may say otherwise.
            rules.0.insert(0, Rule { function: "*".to_owned(), stop_at_tier: Some(tier), ..Rule::default() });
        }
        let policy = LoopsToo { policy: self.policy, osr_after: self.osr_after };
        Ok(ConfiguredPolicy { policy: Modified::new(policy, self.modifiers), rules })
    }

    fn check(&self) -> Result<(), PolicyConfigError> {
        match &self.policy {
            PolicyChoice::SpiderMonkey(policy) => {
                within("policy.spidermonkey.level", policy.level, 1..=9, "between 1 and 9")?;
                positive("policy.spidermonkey.optimizing", policy.optimizing)?;
            }
            PolicyChoice::Jsc(policy) => {
                positive("policy.jsc.baseline", policy.baseline)?;
                positive("policy.jsc.optimizing", policy.optimizing)?;
            }
            PolicyChoice::SkiRental(policy) => not_negative("policy.ski-rental.patience", policy.patience)?,
            PolicyChoice::HazardRate(policy) => not_negative("policy.hazard-rate.prior", policy.prior)?,
            _ => {}
        }
        let modifiers = &self.modifiers;
        match modifiers.load_feedback {
            Some(LoadFeedback::HotSpot { feedback }) => {
                for (at, feedback) in feedback.into_iter().enumerate() {
                    positive(&format!("modifiers.load-feedback.hotspot.feedback[{at}]"), feedback)?;
                }
            }
            Some(LoadFeedback::Truffle { min_scale, low, high }) => {
                within("modifiers.load-feedback.truffle.min-scale", min_scale, 0.0..=1.0, "between 0 and 1")?;
                positive("modifiers.load-feedback.truffle.low", low)?;
                within("modifiers.load-feedback.truffle.high", high, low..=f64::MAX, "at least low")?;
            }
            None => {}
        }
        if let Some(Hysteresis { on, off, .. }) = modifiers.hysteresis {
            not_negative("modifiers.hysteresis.off", off)?;
            within("modifiers.hysteresis.on", on, off..=f64::MAX, "at least off")?;
        }
        if let Some(efficiency) = modifiers.efficiency_mode {
            within("modifiers.efficiency-mode.scale", efficiency.scale, 1.0..=f64::MAX, "at least 1")?;
        }
        if let Some(pressure) = modifiers.code_pressure {
            within("modifiers.code-pressure.limit", pressure.limit, 1..=u64::MAX, "above 0")?;
            within("modifiers.code-pressure.from-percent", pressure.from_percent, 0..=99, "below 100")?;
        }
        let most = Tier::MAX.index();
        if let Some(tier) = self.stop_at_tier {
            within("stop-at-tier", tier, 0..=most, "at most 7")?;
        }
        for (at, rule) in self.rules.0.iter().enumerate() {
            if let Some(tier) = rule.stop_at_tier {
                within(&format!("rules[{at}].stop-at-tier"), tier, 0..=most, "at most 7")?;
            }
            if let Some(scale) = rule.scale {
                positive(&format!("rules[{at}].scale"), scale)?;
            }
        }
        Ok(())
    }
}

fn within<T: PartialOrd + std::fmt::Display>(
    field: &str,
    value: T,
    range: std::ops::RangeInclusive<T>,
    must: &'static str,
) -> Result<(), PolicyConfigError> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(PolicyConfigError { field: field.to_owned(), value: value.to_string(), must })
    }
}

fn positive(field: &str, value: f64) -> Result<(), PolicyConfigError> {
    within(field, value, f64::MIN_POSITIVE..=f64::MAX, "a number above 0")
}

fn not_negative(field: &str, value: f64) -> Result<(), PolicyConfigError> {
    within(field, value, 0.0..=f64::MAX, "a number from 0 on")
}

impl PolicyChoice {
    fn get(&self) -> &dyn HotnessPolicy {
        match self {
            PolicyChoice::Threshold(policy) => policy,
            PolicyChoice::Tiered(policy) => policy,
            PolicyChoice::HotSpot(policy) => policy,
            PolicyChoice::Truffle(policy) => policy,
            PolicyChoice::V8(policy) => policy,
            PolicyChoice::Jsc(policy) => policy,
            PolicyChoice::SpiderMonkey(policy) => policy,
            PolicyChoice::CostBenefit(policy) => policy,
            PolicyChoice::SkiRental(policy) => policy,
            PolicyChoice::HazardRate(policy) => policy,
        }
    }
}

/// The policy, with another budget for loops if there is one.
#[derive(Debug, Clone, PartialEq)]
struct LoopsToo {
    policy: PolicyChoice,
    osr_after: Option<u32>,
}

impl HotnessPolicy for LoopsToo {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        self.policy.get().first_budget(tier, size)
    }

    fn osr_budget(&self, tier: Tier, size: u32) -> u32 {
        self.osr_after.unwrap_or_else(|| self.policy.get().osr_budget(tier, size))
    }

    fn decide(&self, sample: &Sample) -> Decision {
        match (self.osr_after, sample.site) {
            (Some(work), Some(_)) => OsrAfter { policy: self.policy.get(), work }.decide(sample),
            _ => self.policy.get().decide(sample),
        }
    }
}

impl HotnessPolicy for ConfiguredPolicy {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        self.policy.first_budget(tier, size)
    }

    fn osr_budget(&self, tier: Tier, size: u32) -> u32 {
        self.policy.osr_budget(tier, size)
    }

    fn decide(&self, sample: &Sample) -> Decision {
        self.policy.decide(sample)
    }

    fn wants_quiet(&self) -> bool {
        self.policy.wants_quiet()
    }

    fn rules(&self) -> Option<&Rules> {
        (!self.rules.0.is_empty()).then_some(&self.rules)
    }
}
