//! The state word against a plain model of it: random walks over all transitions, every answer compared.

use std::collections::BTreeMap;

use super::*;

/// What the word means, written down naively.
#[derive(Debug, Clone, Default)]
struct Model {
    live: bool,
    released: bool,
    linked: bool,
    frozen: bool,
    notice: bool,
    phase: BTreeMap<Lane, Phase>,
    disabled: Vec<Tier>,
    retries: BTreeMap<Tier, u8>,
}

impl Model {
    fn refuses(&self, lane: Lane) -> bool {
        let disabled = self.disabled.iter().any(|&tier| lane == Lane::Body(tier));
        !self.live || self.released || self.frozen || disabled
    }

    fn vacant(&self) -> bool {
        self.released && !self.linked && !self.phase.values().any(|&phase| phase == Phase::Compiling)
    }

    fn request(&mut self, lane: Lane) -> Request {
        if self.refuses(lane) {
            return Request::Refused;
        }
        if self.phase.contains_key(&lane) {
            return Request::Pending;
        }
        self.phase.insert(lane, Phase::Wanted);
        if std::mem::replace(&mut self.linked, true) { Request::Joined } else { Request::Link }
    }

    fn unlink(&mut self) -> Unlinked {
        let (mut queued, mut osr) = (0, false);
        for (lane, phase) in &mut self.phase {
            if *phase == Phase::Wanted {
                *phase = Phase::Queued;
                note(*lane, &mut queued, &mut osr);
            }
        }
        self.linked = false;
        let notice = std::mem::take(&mut self.notice);
        Unlinked { queued: TierSet(queued), osr, notice, vacated: self.vacant() }
    }

    fn withdraw(&mut self, then: impl FnOnce(&mut Self)) -> Withdrawn {
        let before = self.vacant();
        let (mut dropped, mut osr) = (0, false);
        self.phase.retain(|lane, phase| {
            if *phase != Phase::Compiling {
                note(*lane, &mut dropped, &mut osr);
            }
            *phase == Phase::Compiling
        });
        then(self);
        Withdrawn { dropped: TierSet(dropped), osr, vacated: self.vacant() && !before }
    }

    fn finish(&mut self, lane: Lane, ending: Ending) -> Finished {
        self.phase.remove(&lane);
        if let Lane::Body(tier) = lane {
            let retries = self.retries.entry(tier).or_default();
            if ending == Ending::Retry {
                *retries = (*retries + 1).min(MAX_RETRIES);
            }
            let last = ending == Ending::Retry && *retries == MAX_RETRIES;
            if (ending == Ending::Disable || last) && !self.disabled.contains(&tier) {
                self.disabled.push(tier);
            }
        }
        Finished { vacated: self.vacant() }
    }
}

/// Puts a lane into a set of tiers and a flag.
fn note(lane: Lane, tiers: &mut u8, osr: &mut bool) {
    match lane {
        Lane::Body(tier) => *tiers |= 1 << tier.slot(),
        Lane::Osr => *osr = true,
    }
}

/// A generator that is good enough to choose steps, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[test]
fn random_walks_agree_with_the_model() {
    for seed in 1..if cfg!(miri) { 5 } else { 400_u64 } {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let (state, mut model) = (State::default(), Model { live: true, ..Model::default() });
        state.activate(Tier::MAX);
        let mut vacations = 0;
        for _ in 0..200 {
            let tier = Tier::new(1 + dice.roll(7) as u8);
            let lane = if dice.roll(4) == 0 { Lane::Osr } else { Lane::Body(tier) };
            match dice.roll(25) {
                0..7 => assert_eq!(state.request(lane), model.request(lane), "seed {seed}"),
                7..11 if model.linked => {
                    let unlinked = state.unlink();
                    assert_eq!(unlinked, model.unlink(), "seed {seed}");
                    vacations += u32::from(unlinked.vacated);
                }
                11..15 => {
                    let begun = model.phase.get(&lane) == Some(&Phase::Queued);
                    if begun {
                        model.phase.insert(lane, Phase::Compiling);
                    }
                    assert_eq!(state.begin(lane), begun, "seed {seed}");
                }
                15..19 if model.phase.get(&lane) == Some(&Phase::Compiling) => {
                    let ending = [Ending::Settled, Ending::Retry, Ending::Disable][dice.roll(3) as usize];
                    let finished = state.finish(lane, ending);
                    assert_eq!(finished, model.finish(lane, ending), "seed {seed}");
                    vacations += u32::from(finished.vacated);
                }
                19 => {
                    let expected = if model.refuses(lane) {
                        Seize::Refused
                    } else if model.phase.get(&lane) == Some(&Phase::Compiling) {
                        Seize::Busy
                    } else {
                        Seize::Won { was_pending: model.phase.insert(lane, Phase::Compiling).is_some() }
                    };
                    assert_eq!(state.seize(lane), expected, "seed {seed}");
                }
                20 if dice.roll(4) == 0 => assert_eq!(state.freeze(), model.withdraw(|model| model.frozen = true), "seed {seed}"),
                21 => {
                    let expected = model.withdraw(|model| {
                        model.frozen = false;
                        model.notice = false;
                        model.disabled.clear();
                        model.retries.clear();
                    });
                    assert_eq!(state.reset(), expected, "seed {seed}");
                }
                22 if dice.roll(4) == 0 => {
                    let links = model.live && !model.released && !model.frozen && !model.linked;
                    if model.live && !model.released && !model.frozen {
                        (model.frozen, model.notice, model.linked) = (true, true, true);
                    }
                    assert_eq!(state.freeze_with_notice(), links, "seed {seed}");
                }
                23 if !model.released && dice.roll(8) == 0 => {
                    let withdrawn = state.release();
                    assert_eq!(withdrawn, model.withdraw(|model| model.released = true), "seed {seed}");
                    vacations += u32::from(withdrawn.vacated);
                }
                24 => {
                    let waits = matches!(model.phase.get(&lane), Some(Phase::Wanted | Phase::Queued));
                    if waits {
                        model.phase.remove(&lane);
                    }
                    assert_eq!(state.withdraw(lane), waits, "seed {seed}");
                }
                _ => {}
            }
            let now = state.snapshot();
            assert_eq!(now.is_live(), !model.released, "seed {seed}");
            assert_eq!(now.is_frozen(), model.frozen, "seed {seed}");
            assert_eq!(now.is_pending(lane), model.phase.contains_key(&lane), "seed {seed}");
            assert_eq!(now.is_idle(), model.phase.is_empty(), "seed {seed}");
            assert_eq!(now.is_disabled(tier), model.disabled.contains(&tier), "seed {seed}");
            assert_eq!(now.retries(tier), model.retries.get(&tier).copied().unwrap_or(0), "seed {seed}");
        }
        assert_eq!(vacations, u32::from(model.vacant()), "seed {seed}: the slot is given up once, when the last one leaves");
    }
}
