//! What becomes of code that was left because it had taken too much for granted: the VM's own policy.

use tierup::deopt::policy::{ExponentialBackoff, RetryThreshold};
use tierup::{DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample};

/// Keeps code that is left now and then. What is left more often is compiled again when the profile has been recorded anew for a while,
/// each time for longer; a guard that fails all the same is left out.
///
/// It is put together from three rules, each with its own numbers:
///
/// | when | what | rule |
/// |---|---|---|
/// | fewer than `100 · 2^n` exits, `5 · 2^n` of a loop's code, at the `n`th retry | keep | [`RetryThreshold`], JavaScriptCore's |
/// | then, `retries` units having been given up for the same guard | compile without it | HotSpot's `PerBytecodeTrapLimit` |
/// | else | back off for `20,000 · 2^n` units of work | [`ExponentialBackoff`] |
///
/// While it is backed off the function runs in the code below, which records; a site whose profile has become stable, with the new
/// target, is speculated on again, one that has met more targets than are kept is not. So with guards for `g` calls a function is
/// compiled `g · (retries + 1)` times at most, whatever the program does, and in practice as often as its phases bring new targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Exits a unit may have.
    pub exits: RetryThreshold,
    /// Units given up at one guard, after which it is left out.
    pub retries: u32,
    /// How long the profile is recorded anew.
    pub wait: ExponentialBackoff,
}

impl Default for Recovery {
    /// 100 exits, 5 of a loop's code; 4 retries, as many as there can be targets; from 20,000 units of work (about as many operators) to
    /// 2^30.
    fn default() -> Self {
        Self { exits: RetryThreshold::default(), retries: 4, wait: ExponentialBackoff { exits: 1, first: 20_000, most: 1 << 30 } }
    }
}

impl DeoptPolicy for Recovery {
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision {
        let keeps = self.exits.decide(sample);
        if keeps.action == DeoptAction::Keep {
            return keeps;
        }
        if sample.guard_deopts >= self.retries && !sample.suppressed {
            return DeoptDecision { action: DeoptAction::Suppress, reason: DeoptReason::BadGuard };
        }
        self.wait.decide(sample)
    }
}

#[cfg(test)]
mod tests {
    use tierup::{GuardId, Tier};

    use super::*;

    fn sample(unit_exits: u32, deopts: u32, guard_deopts: u32) -> DeoptSample {
        let mut sample = DeoptSample::new(Tier::new(2), GuardId(1));
        (sample.unit_exits, sample.guard_exits) = (unit_exits, unit_exits);
        (sample.deopts, sample.guard_deopts) = (deopts, guard_deopts);
        sample
    }

    #[test]
    fn table() {
        let back_off = |work| DeoptAction::BackOff { work };
        let body = [
            (sample(1, 0, 0), DeoptAction::Keep),
            (sample(99, 0, 0), DeoptAction::Keep),
            (sample(100, 0, 0), back_off(20_000)),
            (sample(100, 1, 1), DeoptAction::Keep),
            (sample(200, 1, 1), back_off(40_000)),
            (sample(800, 3, 3), back_off(160_000)),
            (sample(1600, 4, 4), DeoptAction::Suppress),
            (sample(1600, 4, 3), back_off(320_000)),
            (sample(u32::MAX, 30, 3), DeoptAction::Keep),
        ];
        for (sample, action) in body {
            assert_eq!(Recovery::default().decide(&sample).action, action, "{sample:?}");
        }
        let in_loop = |exits, deopts| {
            let mut sample = sample(exits, deopts, deopts);
            sample.site = Some(0);
            sample
        };
        for (sample, action) in [
            (in_loop(4, 0), DeoptAction::Keep),
            (in_loop(5, 0), back_off(20_000)),
            (in_loop(10, 1), back_off(40_000)),
            (in_loop(80, 4), DeoptAction::Suppress),
        ] {
            assert_eq!(Recovery::default().decide(&sample).action, action, "{sample:?}");
        }
    }

    /// However a guard fails, only so many units have it.
    #[test]
    fn a_storm_ends() {
        let (mut deopts, mut exits) = (0, 0);
        let units = loop {
            exits += 1;
            match Recovery::default().decide(&sample(exits, deopts, deopts)).action {
                DeoptAction::Keep => {}
                DeoptAction::Suppress => break deopts + 1,
                _ => (deopts, exits) = (deopts + 1, 0),
            }
        };
        assert_eq!(units, 5);
    }
}
