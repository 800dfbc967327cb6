//! Modifiers: what makes any policy more or less eager, by what goes on around the function.
//!
//! A modifier is a pure function from a sample to an [`Effect`]: a factor for the policy's thresholds, and perhaps a reason to hold
//! back. Factors multiply, and one reason to hold back is enough, so the order does not matter.

mod code_pressure;
mod compile_share;
mod efficiency;
mod hysteresis;
mod load;
mod startup;

pub use code_pressure::CodePressure;
pub use compile_share::CompileShare;
pub use efficiency::EfficiencyMode;
pub use hysteresis::Hysteresis;
pub use load::LoadFeedback;
pub use startup::StartupDelay;

use super::{
    Decision, HotnessPolicy, Sample, WaitReason,
    budget::{LATER, budget_of, rest},
};
use crate::{Rules, Tier, tuning::MIN_RECOUNT};

/// Thresholds are never multiplied by less, or by more.
const SCALES: (f64, f64) = (1e-6, 1e6);

/// What a modifier has to say about one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Effect {
    /// What thresholds are multiplied by, and why if it is more than 1.
    scale: f64,
    why: WaitReason,
    /// Why nothing is to be asked for at all.
    hold: Option<WaitReason>,
}

impl Effect {
    const NONE: Effect = Effect { scale: 1.0, why: WaitReason::NotHot, hold: None };

    fn scaled(scale: f64, why: WaitReason) -> Self {
        Effect { scale, why, hold: None }
    }

    fn hold(why: WaitReason) -> Self {
        Effect { hold: Some(why), ..Effect::NONE }
    }

    /// Both at once.
    fn and(self, other: Effect) -> Self {
        let why = if other.scale > self.scale { other.why } else { self.why };
        Effect { scale: self.scale * other.scale, why, hold: self.hold.or(other.hold) }
    }
}

/// Which modifiers there are. None by default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
pub struct Modifiers {
    /// By how many requests wait.
    pub load_feedback: Option<LoadFeedback>,
    /// Not while the compilers are busy, until they are nearly idle.
    pub hysteresis: Option<Hysteresis>,
    /// Not while the program is starting.
    pub startup_delay: Option<StartupDelay>,
    /// Less while energy is to be saved.
    pub efficiency_mode: Option<EfficiencyMode>,
    /// Less the more code there is.
    pub code_pressure: Option<CodePressure>,
    /// Not while the compilers have had more than their share.
    pub compile_share: Option<CompileShare>,
}

impl Modifiers {
    /// Those HotSpot has: load feedback, hysteresis and code pressure.
    pub fn hotspot() -> Self {
        Modifiers {
            load_feedback: Some(LoadFeedback::hotspot()),
            hysteresis: Some(Hysteresis::default()),
            code_pressure: Some(CodePressure::default()),
            ..Modifiers::default()
        }
    }

    fn effect(&self, sample: &Sample) -> Effect {
        let none = Effect::NONE;
        let all = [
            self.load_feedback.map_or(none, |modifier| modifier.effect(sample)),
            self.hysteresis.map_or(none, |modifier| modifier.effect(sample)),
            self.startup_delay.map_or(none, |modifier| modifier.effect(sample)),
            self.efficiency_mode.map_or(none, |modifier| modifier.effect(sample)),
            self.code_pressure.map_or(none, |modifier| modifier.effect(sample)),
            self.compile_share.map_or(none, |modifier| modifier.effect(sample)),
        ];
        all.into_iter().fold(none, Effect::and)
    }

    /// The least factor there can be: a policy has to be asked when that much of its threshold is reached.
    fn least_scale(&self) -> f64 {
        self.load_feedback.map_or(1.0, |modifier| modifier.least_scale())
    }
}

/// Any policy, with modifiers.
///
/// A factor `s` means: decide as the policy would about a function that has done `1/s` of the work, and not before `s` times its budget is
/// spent. So policies that look at nothing but their budget are scaled as well as those that look at more.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Modified<P> {
    /// What decides.
    pub policy: P,
    /// What makes it more or less eager.
    pub modifiers: Modifiers,
}

impl<P> Modified<P> {
    /// A policy with these modifiers.
    pub const fn new(policy: P, modifiers: Modifiers) -> Self {
        Modified { policy, modifiers }
    }

    fn scaled_budget(&self, budget: u32) -> u32 {
        match budget {
            u32::MAX => u32::MAX,
            budget => super::budget::first(f64::from(budget) * self.modifiers.least_scale()),
        }
    }
}

impl<P: HotnessPolicy> HotnessPolicy for Modified<P> {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        self.scaled_budget(self.policy.first_budget(tier, size))
    }

    fn osr_budget(&self, tier: Tier, size: u32) -> u32 {
        self.scaled_budget(self.policy.osr_budget(tier, size))
    }

    fn decide(&self, sample: &Sample) -> Decision {
        let effect = self.modifiers.effect(sample);
        let scale = if effect.scale.is_nan() { 1.0 } else { effect.scale.clamp(SCALES.0, SCALES.1) };
        let decision = self.policy.decide(&sample.shrunk(scale));
        let threshold = f64::from(budget_of(&self.policy, sample));
        match decision {
            Decision::Promote { .. } => {
                if let Some(reason) = effect.hold {
                    // To look again soon, but not at every call.
                    return Decision::Wait { budget: rest(threshold / 4.0).clamp(MIN_RECOUNT, LATER), reason };
                }
                let missing = threshold * scale - sample.spent as f64;
                if missing > 0.0 && threshold < f64::from(u32::MAX) {
                    return Decision::Wait { budget: rest(missing), reason: effect.why };
                }
                decision
            }
            Decision::Wait { budget, reason } if reason != WaitReason::Pending => {
                Decision::Wait { budget: rest(f64::from(budget) * scale), reason }
            }
            decision => decision,
        }
    }

    fn wants_quiet(&self) -> bool {
        self.modifiers.startup_delay.is_some() || self.policy.wants_quiet()
    }

    fn rules(&self) -> Option<&Rules> {
        self.policy.rules()
    }
}
