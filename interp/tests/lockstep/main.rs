//! Frames that change tier are what they should be: every entry and every exit the VM tells of is compared with a reference
//! interpreter that runs the same program in lockstep, live slots only.
//!
//! `TIERUP_FUZZ_SECONDS=600` checks for so long, from `TIERUP_FUZZ_FROM` on; `TIERUP_SEED` checks one seed.

#![cfg_attr(not(feature = "llvm"), allow(unused_mut, reason = "LLVM's configurations are added to lists"))]

mod check;
mod live;
mod program;
#[allow(dead_code, reason = "shared with the differential test")]
#[path = "../differential/random.rs"]
mod random;
mod reference;
mod vm;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use check::{Compared, Oracle};
use random::Random;
use reference::Value;
#[cfg(feature = "llvm")]
use tierup_interp::Speculate;
use tierup_interp::{Config, Deopt, Direction, Osr, TierMode, TrapCode, Val};
use vm::{Run, Vm};

/// What a plain `cargo test` checks: as many seeds as fit.
const BUDGET: Duration = Duration::from_secs(6);

/// Where programs begin, and where their loops go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Through {
    Interpreter,
    /// All calls begin in Cranelift's code, which is left through exits.
    Baseline,
    InterpToBaseline,
    /// All calls begin in LLVM's code.
    #[cfg(feature = "llvm")]
    Opt,
    #[cfg(feature = "llvm")]
    BaselineToOpt,
    #[cfg(feature = "llvm")]
    InterpToOpt,
    /// Calls go up tier by tier, after few calls, and LLVM's code speculates on whatever those did.
    #[cfg(feature = "llvm")]
    Speculating,
}

/// When frames change tier.
#[derive(Debug, Clone, Copy)]
struct When {
    osr: Osr,
    deopt: Deopt,
}

impl When {
    const fn loops(osr: Osr) -> Self {
        Self { osr, deopt: Deopt::Off }
    }

    const fn every(self, n: u32) -> Self {
        Self { deopt: Deopt::Every(NonZeroU32::new(n).expect("not 0")), ..self }
    }
}

fn config(through: Through, When { osr, deopt }: When) -> Config {
    let config = Config { osr, deopt, ..Config::default() };
    match through {
        Through::Baseline => Config { tier: TierMode::Baseline, ..config },
        Through::Interpreter => Config { tier: TierMode::Interp, osr: Osr::Off, ..config },
        Through::InterpToBaseline => Config { tier: TierMode::Baseline, ..config },
        #[cfg(feature = "llvm")]
        Through::Opt | Through::InterpToOpt => {
            Config { tier: TierMode::Opt, llvm: Some(optimizing::llvm()), deadline: Some(optimizing::PATIENCE), ..config }
        }
        #[cfg(feature = "llvm")]
        Through::Speculating => Config {
            mode: Some(tierup::Mode::Sync),
            policy: Some(std::sync::Arc::new(tierup::Threshold { calls: 1 })),
            llvm: Some(optimizing::llvm()),
            deadline: Some(optimizing::PATIENCE),
            speculate: Speculate::Always,
            ..config
        },
        #[cfg(feature = "llvm")]
        Through::BaselineToOpt => Config {
            mode: Some(tierup::Mode::Sync),
            policy: Some(std::sync::Arc::new(optimizing::BaselineFirst)),
            llvm: Some(optimizing::llvm()),
            deadline: Some(optimizing::PATIENCE),
            ..config
        },
    }
}

/// How to get to LLVM's code by way of Cranelift's.
#[cfg(feature = "llvm")]
mod optimizing {
    use std::sync::OnceLock;
    use std::time::Duration;

    use tierup::{Decision, HotnessPolicy, Reason, Sample, Tier};

    /// How long one compile may take on a busy machine.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

    pub(crate) fn llvm() -> tierup_interp::Llvm {
        tierup_interp::Llvm { answer_limit: Some(PATIENCE), ..Default::default() }
    }

    /// Whether there is a helper; says so once if not.
    pub(crate) fn is_there() -> bool {
        static ASKED: OnceLock<bool> = OnceLock::new();
        *ASKED.get_or_init(|| llvm().version().map_err(|error| println!("skipped: LLVM, {error}")).is_ok())
    }

    /// Everything in Cranelift's code before its first call, nothing by itself in LLVM's.
    pub(crate) struct BaselineFirst;

    impl HotnessPolicy for BaselineFirst {
        fn first_budget(&self, tier: Tier, _: u32) -> u32 {
            if tier == Tier::new(1) { 0 } else { u32::MAX }
        }

        fn decide(&self, sample: &Sample) -> Decision {
            Decision::Promote { tier: sample.next, reason: Reason::Budget }
        }
    }
}

/// Where a plain run begins: among the first programs are some that trap.
const FIRST_SEED: u64 = 37;

/// How often each program is called.
const CALLS: usize = 12;

/// Arguments of a call, for the VM and for the reference.
type Arguments = ([Val; 3], [Value; 3]);

/// A program of this seed, and what it is called with.
fn program(seed: u64) -> (Vec<u8>, [Arguments; CALLS]) {
    let mut random = Random::new(seed);
    let wasm = program::program(&mut random);
    let arguments = std::array::from_fn(|_| {
        let (a, b) = (random.next() as i32 >> random.below(32), random.next() as i64 >> random.below(64));
        let c = (random.below(100) as f64).to_bits();
        ([Val::I32(a), Val::I64(b), Val::F64(c)], [Value::I32(a as u32), Value::I64(b as u64), Value::F64(c)])
    });
    (wasm, arguments)
}

#[derive(Debug, Default)]
struct Summary {
    programs: u64,
    traps: u64,
    entered: u64,
    left: u64,
    /// Exits among what was left.
    exits: u64,
    /// Exits that nobody asked for.
    wrong: u64,
    compared: Compared,
    runs: BTreeMap<String, u64>,
}

impl Summary {
    fn add(&mut self, through: Through, when: When, run: &Run, compared: Compared) {
        let count = |direction| run.events.iter().filter(|event| event.direction == direction).count() as u64;
        self.entered += count(Direction::Enter);
        self.left += count(Direction::Leave);
        self.exits += run.deopts;
        self.wrong += if when.deopt == Deopt::Off { run.deopts } else { 0 };
        self.traps += u64::from(run.outcome.is_err());
        self.compared.events += compared.events;
        self.compared.locals += compared.locals;
        self.compared.operands += compared.operands;
        *self.runs.entry(format!("{through:?}")).or_default() += 1;
    }
}

/// Engines that run the programs, each with how many programs it takes part in one of.
fn engines() -> Vec<(Through, When, Vm, u64)> {
    const ALWAYS: When = When::loops(Osr::Always);
    const AUTO: When = When::loops(Osr::Auto);
    let engine = |through, when, of| (through, when, Vm::new(config(through, when)), of);
    let by_chance = |osr, seed| When { osr, deopt: Deopt::Random(seed) };
    let mut engines = vec![
        engine(Through::Interpreter, When::loops(Osr::Off), 1),
        engine(Through::InterpToBaseline, ALWAYS, 3),
        engine(Through::InterpToBaseline, When::loops(Osr::Random(1)), 3),
        engine(Through::Baseline, AUTO.every(1), 6),
        engine(Through::Baseline, AUTO.every(2), 3),
        engine(Through::Baseline, AUTO.every(7), 2),
        engine(Through::Baseline, AUTO.every(1000), 6),
        engine(Through::Baseline, by_chance(Osr::Auto, 4), 2),
        engine(Through::InterpToBaseline, ALWAYS.every(2), 3),
        engine(Through::InterpToBaseline, by_chance(Osr::Random(5), 6), 3),
    ];
    #[cfg(feature = "llvm")]
    if optimizing::is_there() {
        engines.extend([
            engine(Through::BaselineToOpt, ALWAYS, 12),
            engine(Through::BaselineToOpt, When::loops(Osr::Random(2)), 12),
            engine(Through::InterpToOpt, When::loops(Osr::Random(3)), 24),
            engine(Through::Opt, AUTO.every(7), 12),
            engine(Through::Opt, by_chance(Osr::Auto, 7), 12),
            engine(Through::BaselineToOpt, by_chance(Osr::Always, 8), 12),
            engine(Through::Speculating, When::loops(Osr::Off), 3),
            engine(Through::Speculating, When::loops(Osr::Random(9)), 6),
            engine(Through::Speculating, AUTO.every(1), 12),
            engine(Through::Speculating, AUTO.every(50), 12),
        ]);
    }
    engines
}

fn one(seed: u64, engines: &[(Through, When, Vm, u64)], summary: &mut Summary) {
    let (wasm, arguments) = program(seed);
    let oracle = Oracle::new(&wasm);
    for (nth, (through, when, vm, _)) in (0..).zip(engines).filter(|(nth, engine)| (seed + nth).is_multiple_of(engine.3)) {
        let module = vm.load(&wasm);
        for (arguments, values) in &arguments {
            let run = vm.run(&module, arguments);
            if run.outcome == Err(TrapCode::StackOverflow) {
                // Where the stack ends depends on the tier.
                continue;
            }
            match oracle.check(&run, values) {
                Ok(compared) => summary.add(*through, *when, &run, compared),
                Err(difference) => {
                    panic!("seed {seed}, engine {nth} ({through:?}, {when:?}): {difference}\nreproduce with TIERUP_SEED={seed}")
                }
            }
        }
    }
    summary.programs += 1;
}

#[test]
fn frames_are_what_the_reference_has() {
    let variable = |name| std::env::var(name).ok().map(|value: String| value.parse().expect("a number"));
    let (engines, mut summary) = (engines(), Summary::default());
    if let Some(seed) = variable("TIERUP_SEED") {
        return one(seed, &engines, &mut summary);
    }
    let budget = variable("TIERUP_FUZZ_SECONDS").map_or(BUDGET, Duration::from_secs);
    let from = variable("TIERUP_FUZZ_FROM").unwrap_or(FIRST_SEED);
    let start = Instant::now();
    let mut seed = from;
    while start.elapsed() < budget {
        one(seed, &engines, &mut summary);
        seed += 1;
    }
    println!("seeds {from}..{seed}: {summary:?}");
    assert!(summary.exits > 0, "nothing left through an exit");
    assert!(summary.entered > 0 && summary.compared.locals > 0 && summary.compared.operands > 0 && summary.traps > 0);
    #[cfg(feature = "llvm")]
    assert!(summary.left > 0 || !optimizing::is_there(), "nothing left native code");
}

/// Changes a slot; of no NaN it makes another one.
const WRONG: u64 = 1 << 62 | 1 << 30 | 1;

/// The check can fail: each slot of each frame is planted wrong in turn, and found wherever it is live.
#[test]
fn a_wrong_slot_is_found() {
    wrong_slots_are_found(Through::InterpToBaseline, When::loops(Osr::Always), 1);
}

/// As for frames at loops, for those of exits.
#[test]
fn a_wrong_slot_of_an_exit_is_found() {
    wrong_slots_are_found(Through::Baseline, When::loops(Osr::Off).every(7), 1);
}

/// And for those of exits that nobody asked for: arms that were never reached.
#[cfg(feature = "llvm")]
#[test]
fn a_wrong_slot_of_an_exit_from_speculating_code_is_found() {
    if optimizing::is_there() {
        wrong_slots_are_found(Through::Speculating, When::loops(Osr::Off), CALLS);
    }
}

/// Plants wrong slots in what so many calls of each program tell of.
fn wrong_slots_are_found(through: Through, when: When, calls: usize) {
    let (mut found, mut dead) = (0, 0);
    let vm = Vm::new(config(through, when));
    for seed in 0..40 {
        let (wasm, arguments) = program(seed);
        let (oracle, module) = (Oracle::new(&wasm), vm.load(&wasm));
        for (arguments, values) in &arguments[..calls] {
            let mut run = vm.run(&module, arguments);
            if run.outcome == Err(TrapCode::StackOverflow) {
                // Where the stack ends depends on the tier.
                continue;
            }
            assert_eq!(oracle.check(&run, values).map(|compared| compared.events), Ok(run.events.len() as u64));
            for at in (0..run.events.len()).step_by(1 + run.events.len() / 4) {
                let frame = run.events[at].frames[0].clone();
                let mut plant = |change: &mut dyn FnMut(&mut tierup_interp::LiveFrame)| {
                    change(&mut run.events[at].frames[0]);
                    let difference = oracle.check(&run, values).err();
                    run.events[at].frames[0] = frame.clone();
                    difference
                };
                for (nth, &(local, _)) in frame.locals.iter().enumerate() {
                    let difference = plant(&mut |frame| frame.locals[nth].1 ^= WRONG);
                    let is_live = oracle.is_live(frame.function, frame.offset, local);
                    assert_eq!(difference.is_some(), is_live, "seed {seed}, local {local} of {frame:?}");
                    *if is_live { &mut found } else { &mut dead } += 1;
                }
                for nth in 0..frame.operands.len() {
                    let difference = plant(&mut |frame| frame.operands[nth] ^= WRONG);
                    assert!(difference.is_some(), "seed {seed}, operand {nth} of {frame:?}");
                    found += 1;
                }
                if !frame.locals.is_empty() {
                    assert!(plant(&mut |frame| _ = frame.locals.remove(0)).is_some(), "a live local is missing");
                }
                assert!(plant(&mut |frame| frame.operands.push(0)).is_some(), "an operand too many");
                assert!(plant(&mut |frame| frame.offset ^= 1 << 20).is_some(), "another place");
            }
        }
    }
    println!("{found} planted slots were found, {dead} were of dead locals");
    assert!(found > 100, "only {found}");
}
