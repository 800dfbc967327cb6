//! A program run in one tier, and where its time went.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tierup::{
    BeadId, CountedBy, Decision, Event, HotnessPolicy, Mode, NeverReason, Reason, Rule, Rules, Sample, Tier, Tiered, Transition,
    WaitReason,
};
use tierup_interp::{Config, Engine, SelfTime, TierMode};
use tierup_lab::Recorded;
use tierup_lab::facts::TierRun;

use super::subject::{Subject, counted};
use crate::error::CliError;

/// How often the program is looked at.
const PERIOD: Duration = Duration::from_micros(200);
/// Looks that found a function of the program: with so many one that takes a tenth of the time has an error of 6 %.
const ENOUGH: u64 = 2_500;
/// A program is not run again after so much time, or so often.
const LONG: Duration = Duration::from_secs(2);
const MOST_RUNS: u32 = 12;
/// What takes less to compile takes noticeably less the second time.
const BRIEF: Duration = Duration::from_millis(200);

/// What was seen of one tier, besides what functions' facts depend on.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) run: TierRun,
    pub(crate) runs: u32,
    /// Looks that found a function, in the tier's code; in other code; and that found none.
    pub(crate) here: u64,
    pub(crate) below: u64,
    pub(crate) elsewhere: u64,
    /// Nanoseconds in functions, of one run.
    pub(crate) nanos: f64,
}

/// What is known of compiles: nanoseconds and bytes of code, by bead and tier.
type Compiles = Arc<Mutex<HashMap<(BeadId, u8), (u64, u32)>>>;

/// What is wanted of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'f> {
    /// Everything interpreted.
    Interpreted,
    /// Everything in the first compiled tier.
    Baseline,
    /// The same, in code that may go higher, and is sampled.
    Sampled,
    /// The same, in code that may go higher, and counts what it does.
    Counting,
    /// These functions in the highest tier, the others in the first.
    Optimized(&'f [u32]),
    /// The same, with no callee's body in another's code.
    Apart(&'f [u32]),
}

impl<'f> Wanted<'f> {
    /// Who is in the highest tier.
    fn optimized(self) -> Option<&'f [u32]> {
        match self {
            Wanted::Optimized(some) | Wanted::Apart(some) => Some(some),
            _ => None,
        }
    }
}

/// Runs the program with its functions in one tier, often enough to see where its time goes. They are compiled when they are called first, in
/// a run that is not looked at; what compilers take is in their events. After each run that is looked at comes one that is not, which says how long
/// it takes: a thread that is interrupted five thousand times a second is a sixth slower. In the interpreter calls and turns are counted, as they are
/// when a policy may ask for more.
///
/// # Errors
///
/// As `tierup run`, or when nothing interrupts a thread on this system.
pub(crate) fn tier_run(subject: &Subject<'_>, wanted: Wanted<'_>, functions: &[Recorded]) -> Result<Seen, CliError> {
    let compiles = Compiles::default();
    let tier = match wanted {
        Wanted::Interpreted => 0,
        Wanted::Baseline | Wanted::Sampled | Wanted::Counting => 1,
        Wanted::Optimized(_) | Wanted::Apart(_) => 2,
    };
    let engine = Engine::new(config(subject, wanted, functions, &compiles)).map_err(CliError::Engine)?;
    let module = subject.load(&engine)?;
    if tier > 0 {
        subject.run(&engine, &module)?;
        engine.broker().drain();
    }
    if let Some(some) = wanted.optimized() {
        // Who was always inlined was not called, and so not compiled: what that costs is to be known nevertheless. Who refuses has said so in
        // an event.
        let tier_up = |&index: &u32| _ = module.tier_up(index, Tier::new(tier));
        some.iter().for_each(tier_up);
        // The first compiles were by a helper that had just begun. A program has one of these, and all others by one that is warm.
        let known = compiles.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for index in some {
            let took = module.bead_id(*index).and_then(|bead| known.get(&(bead, tier)));
            if took.is_some_and(|(nanos, _)| Duration::from_nanos(*nanos) < BRIEF) {
                let _all_are_done = module.tier_down(*index);
                tier_up(index);
            }
        }
    }
    let mut met = HashMap::<u32, SelfTime>::new();
    let (mut inside, mut outside, mut time, mut runs) = (0, 0, Duration::ZERO, 0);
    let started = Instant::now();
    while runs == 0 || (runs < MOST_RUNS && inside < ENOUGH && started.elapsed() < LONG) {
        let (result, times) = module.self_times(PERIOD, || subject.run(&engine, &module)).map_err(CliError::Engine)?;
        result?;
        // What is looked at is slower by that.
        let begun = Instant::now();
        subject.run(&engine, &module)?;
        time += begun.elapsed();
        for (&index, times) in &times.functions {
            let met = met.entry(index).or_default();
            met.interpreted += times.interpreted;
            met.native += times.native;
            inside += times.interpreted + times.native;
        }
        (outside, runs) = (outside + times.elsewhere + times.lost, runs + 1);
    }
    let look = time.as_nanos() as f64 / (inside + outside).max(1) as f64 / f64::from(runs);
    let of = |met: &SelfTime| if tier == 0 { met.interpreted } else { met.native };
    let compiles = compiles.lock().unwrap_or_else(PoisonError::into_inner);
    let compile = |index| compiles.get(&(module.bead_id(index)?, tier)).copied();
    let here = |function: &Recorded| match wanted {
        Wanted::Optimized(some) | Wanted::Apart(some) if !some.contains(&function.id) => None,
        // What does little stays interpreted.
        Wanted::Sampled | Wanted::Counting if compile(function.id).is_none() => None,
        _ => Some(met.get(&function.id).map_or(0, of)),
    };
    let is_silent = |index| {
        let why = module.bead_id(index).and_then(|bead| engine.broker().why(bead));
        why.is_some_and(|why| !why.tier.is_interpreter() && why.counted == CountedBy::Interpreters)
    };
    let run = TierRun {
        met: functions.iter().map(here).collect(),
        silent: match wanted {
            Wanted::Sampled => (0..functions.len()).filter(|&at| is_silent(functions[at].id)).collect(),
            _ => Vec::new(),
        },
        look,
        compiles: functions.iter().map(|function| compile(function.id)).collect(),
    };
    let met_here = run.met.iter().flatten().sum();
    Ok(Seen { runs, here: met_here, below: inside - met_here, elsewhere: outside, nanos: inside as f64 * look, run })
}

fn config(subject: &Subject<'_>, wanted: Wanted<'_>, functions: &[Recorded], compiles: &Compiles) -> Config {
    let noted = Arc::clone(compiles);
    let on_event = move |event: &Event| {
        if event.what == Transition::Installed && event.site.is_none() {
            let cost = (event.cost.as_nanos() as u64, event.code_bytes as u32);
            noted.lock().unwrap_or_else(PoisonError::into_inner).insert((event.bead, event.to.index()), cost);
        }
    };
    #[cfg_attr(not(feature = "llvm"), expect(unused_mut))]
    let mut config = Config { on_event: Some(Arc::new(on_event)), ..subject.config() };
    #[cfg(feature = "llvm")]
    if let (Wanted::Apart(_), Some(llvm)) = (wanted, &mut config.llvm) {
        llvm.apart = true;
    }
    match wanted {
        Wanted::Interpreted => counted(config),
        Wanted::Baseline => Config { tier: TierMode::Baseline, ..config },
        Wanted::Sampled => Config { tier: TierMode::Auto, policy: Some(Arc::new(StaysInBaseline)), ..config },
        // Where the caller compiles nobody samples.
        Wanted::Counting => {
            Config { tier: TierMode::Auto, mode: Some(Mode::Sync), policy: Some(Arc::new(StaysInBaseline)), ..config }
        }
        Wanted::Optimized(some) | Wanted::Apart(some) => {
            let stop = |name: &str, tier| Rule { function: name.to_owned(), stop_at_tier: Some(tier), ..Rule::default() };
            let named = functions.iter().filter(|function| some.contains(&function.id)).map(|function| stop(&function.name, 2));
            let rules = Rules([stop("*", 1)].into_iter().chain(named).collect());
            Config { tier: TierMode::Auto, mode: Some(Mode::Sync), policy: Some(Arc::new(AtOnce { rules })), ..config }
        }
    }
}

/// What the default policy has in the first tier goes there when it does, so that it is known by then what indirect calls call, and tells of its work
/// without end.
struct StaysInBaseline;

impl HotnessPolicy for StaysInBaseline {
    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        if tier.index() <= 1 { Tiered::default().first_budget(tier, size) } else { i32::MAX as u32 }
    }

    fn osr_budget(&self, _: Tier, _: u32) -> u32 {
        u32::MAX
    }

    fn decide(&self, sample: &Sample) -> Decision {
        match sample.tier.is_interpreter() {
            true if sample.bailouts == 0 => Decision::Promote { tier: Tier::new(1), reason: Reason::Budget },
            true => Decision::Never { reason: NeverReason::Excluded },
            false => Decision::Wait { budget: i32::MAX as u32, reason: WaitReason::NotHot },
        }
    }
}

/// Everything goes at its first call as high as the rules let it, and stays there.
struct AtOnce {
    rules: Rules,
}

impl HotnessPolicy for AtOnce {
    fn first_budget(&self, _: Tier, _: u32) -> u32 {
        0
    }

    fn osr_budget(&self, _: Tier, _: u32) -> u32 {
        u32::MAX
    }

    fn decide(&self, sample: &Sample) -> Decision {
        if sample.tier.is_interpreter() && sample.bailouts == 0 {
            // Where the rules say otherwise, the next one there is.
            Decision::Promote { tier: Tier::new(2), reason: Reason::FirstCall }
        } else {
            Decision::Never { reason: NeverReason::Excluded }
        }
    }

    fn rules(&self) -> Option<&Rules> {
        Some(&self.rules)
    }
}
