//! The VM's speculation on what never ran: LLVM's code leaves out what Cranelift's has never come to, is left where a program comes there
//! after all, and the program cannot tell.

mod program;

use std::sync::{Arc, Mutex};

use program::{Program, WARM};
use tierup::{Threshold, Transition};
use tierup_interp::{AsStore, Config, Deopt, OnEvent, Osr, Speculate, TrapCode};

/// `run(which, x)` has an arm for each `which`; 3 divides by `x`, 4 is what is in none of the others. `outer` calls it. `loop(from, turns)`
/// does what `run` does in each turn, for the word `from / 100000` of the memory, with an operand beneath the loop; `nest` has a loop around
/// that. `guarded(which, x)` has two arms, one within the other.
const FUNCTIONS: &str = r#"
    (memory (export "m") 1)
    (global $g (mut i32) (i32.const 0))
    (func $run (export "run") (param $which i32) (param $x i32) (result i32) (local $kept i32) (local $n i32)
        (local.set $kept (i32.mul (local.get $x) (i32.const 5)))
        (i32.add (local.get $kept)
            (block $end (result i32)
                (block $e (block $d (block $c (block $b (block $a
                    (br_table $a $b $c $d $e (local.get $which)))
                    (br $end (i32.add (local.get $x) (i32.const 1))))
                    (local.set $n (i32.and (local.get $x) (i32.const 15)))
                    (loop $again
                        (local.set $kept (i32.add (local.get $kept) (local.get $n)))
                        (br_if $again (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 0))))
                    (br $end (local.get $kept)))
                    (global.set $g (i32.add (global.get $g) (local.get $x)))
                    (br $end (i32.sub (local.get $x) (i32.const 7))))
                    (i32.store (i32.const 64) (local.get $x))
                    (br $end (i32.div_u (i32.const 1000) (local.get $x))))
                (i32.xor (local.get $x) (local.get $kept)))))
    (func (export "outer") (param $which i32) (param $x i32) (result i32)
        (i32.sub (call $run (local.get $which) (local.get $x)) (i32.const 1)))
    (func $loop (export "loop") (param $from i32) (param $turns i32) (result i32) (local $sum i32) (local $step i32)
        (local.set $step (i32.const 3))
        (i32.add (i32.const 11)
            (block $out (result i32)
                (i32.mul (i32.const 7)
                    (block (result i32)
                        (loop $again
                            (if (i32.load (i32.shl (i32.div_u (local.get $from) (i32.const 100000)) (i32.const 2)))
                                (then
                                    (local.set $step (i32.add (local.get $step) (i32.const 1)))
                                    (local.set $sum (i32.xor (local.get $sum) (local.get $from)))))
                            (br_if $out (i32.const 5) (i32.eq (local.get $sum) (i32.const 123456789)))
                            (drop)
                            (local.set $sum (i32.add (local.get $sum) (local.get $step)))
                            (local.set $from (i32.add (local.get $from) (i32.const 1)))
                            (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
                        (local.get $sum))))))
    (func (export "nest") (param $from i32) (param $turns i32) (result i32) (local $sum i32)
        (loop $again
            (local.set $sum (i32.add (local.get $sum) (call $loop (local.get $from) (i32.const 100000))))
            (local.set $from (i32.add (local.get $from) (i32.const 100000)))
            (br_if $again (i32.gt_s (local.tee $turns (i32.sub (local.get $turns) (i32.const 100000))) (i32.const 0))))
        (local.get $sum))
    (func (export "guarded") (param $which i32) (param $x i32) (result i32) (local $sum i32)
        (local.set $sum (local.get $x))
        (if (i32.and (local.get $which) (i32.const 1))
            (then
                (local.set $sum (i32.mul (local.get $sum) (i32.const 3)))
                (if (i32.and (local.get $which) (i32.const 2))
                    (then (local.set $sum (i32.add (local.get $sum) (i32.const 1000)))))
                (local.set $sum (i32.rotl (local.get $sum) (i32.const 5)))))
        (i32.add (local.get $sum) (i32.const 1)))"#;

fn config(speculate: Speculate) -> Config {
    Config { speculate, ..program::config() }
}

fn expected(which: i32, x: i32) -> i32 {
    let kept = x.wrapping_mul(5);
    let value = match which {
        0 => x.wrapping_add(1),
        1 => (1..=(x & 15)).sum::<i32>().wrapping_add(kept),
        2 => x.wrapping_sub(7),
        3 => 1000_u32.checked_div(x as u32).expect("divided by 0") as i32,
        _ => x ^ kept,
    };
    value.wrapping_add(kept)
}

fn guarded(which: i32, x: i32) -> i32 {
    let more = if which & 2 != 0 { 1000 } else { 0 };
    let sum = if which & 1 != 0 { x.wrapping_mul(3).wrapping_add(more).rotate_left(5) } else { x };
    sum.wrapping_add(1)
}

/// What `loop` returns, if the words are those of the memory.
fn turned(words: &[i32], from: i32, turns: i32) -> i32 {
    let (mut sum, mut step) = (0_i32, 3);
    for at in from..from + turns {
        if words[at as usize / 100_000] != 0 {
            (step, sum) = (step + 1, sum ^ at);
        }
        if sum == 123_456_789 {
            return 16;
        }
        sum = sum.wrapping_add(step);
    }
    sum.wrapping_mul(7).wrapping_add(11)
}

impl Program {
    fn new(config: Config) -> Self {
        Self::of(FUNCTIONS, config)
    }

    fn call(&mut self, name: &str, first: i32, second: i32) -> Result<i32, TrapCode> {
        self.try_call(name, first, second).map_err(|trap| {
            assert_eq!(trap.backtrace().len(), if name == "outer" { 2 } else { 1 }, "{trap:?}");
            trap.code()
        })
    }

    #[track_caller]
    fn check(&mut self, which: i32, x: i32) {
        assert_eq!(self.call("run", which, x), Ok(expected(which, x)), "arm {which} of {x}");
    }

    /// Calls these arms in turn until LLVM has compiled `run`.
    #[track_caller]
    fn warm(&mut self, arms: &[i32]) {
        let before = self.units();
        for n in 0..WARM as usize {
            self.check(arms[n % arms.len()], n as i32 + 1);
        }
        assert!(self.units() > before, "{:?}", self.engine.broker().stats());
    }

    /// Exits that calls of these arms take.
    #[track_caller]
    fn exits(&mut self, calls: &[i32]) -> u64 {
        let before = self.store.deopts();
        for &which in calls {
            self.check(which, 12_345);
        }
        self.store.deopts() - before
    }
}

/// An arm that was never reached is an exit, once per call; those that were are not.
#[test]
fn what_was_never_reached_is_an_exit() {
    let mut program = Program::new(config(Speculate::Always));
    program.warm(&[0]);
    assert_eq!((program.exits(&[0; 10]), program.exits(&[1, 0, 2, 0, 3, 4, 99, 1])), (0, 6));
    let mut program = Program::new(config(Speculate::Always));
    program.warm(&[0, 3]);
    assert_eq!((program.exits(&[0, 3]), program.exits(&[1, 2, 4])), (0, 3));
    assert!(program.engine.left_out() >= 3, "{}", program.engine.left_out());
    for speculate in [Speculate::Off, Speculate::Auto, Speculate::Arms] {
        let mut program = Program::new(config(speculate));
        program.warm(&[0]);
        assert_eq!((program.exits(&[0, 1, 2, 3, 4]), program.engine.left_out()), (0, 0), "{speculate:?}: nothing of it is large");
    }
}

/// Events and what is told of a function say so.
#[test]
fn what_is_left_out_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&told);
    let on_event: OnEvent = Arc::new(move |event| {
        let mut events = events.lock().unwrap();
        events.extend(event.name.contains("run").then(|| (event.what.clone(), event.guards.clone())));
    });
    let mut program = Program::new(Config { on_event: Some(on_event), ..config(Speculate::Always) });
    let why = |program: &Program| program.why("run");
    program.warm(&[0]);
    assert!(why(&program).contains("\n  tier 2 may be left at 4 parts that had never run\n"), "{}", why(&program));
    let installed = told.lock().unwrap().last().cloned();
    assert_eq!(installed, Some((Transition::Installed, "4 parts that had never run".to_owned())));
    program.exits(&[2, 2, 2, 1]);
    let line = why(&program).lines().find(|line| line.contains("may be left")).unwrap().to_owned();
    assert!(line.contains("; was left 4 times: 3 times at the part that had never run, at 0x"), "{line}");
    assert!(line.contains(", once at the part that had never run, at 0x"), "{line}");
    while program.exits(&[2]) > 0 {}
    let told = told.lock().unwrap();
    let left = told.iter().find(|(what, _)| matches!(what, Transition::Deoptimized { .. }));
    assert!(left.is_some_and(|(_, guards)| guards.starts_with("the part that had never run, at 0x")), "{told:?}");
}

/// Code that is left too often is made anew, with the arm that it was left for, and without the others.
#[test]
fn an_arm_that_is_reached_is_compiled_next_time() {
    for name in ["run", "outer"] {
        let mut program = Program::new(config(Speculate::Always));
        let value = |which, x| expected(which, x) - i32::from(name == "outer");
        let call =
            |program: &mut Program, which, x| assert_eq!(program.call(name, which, x), Ok(value(which, x)), "{which} of {x}");
        (0..WARM as i32).for_each(|x| call(&mut program, 0, x));
        let (before, units) = (program.store.deopts(), program.units());
        (0..20_000).for_each(|x| call(&mut program, 1 + x % 2, x));
        let exits = program.store.deopts() - before;
        assert!((100..=500).contains(&exits), "{exits}");
        assert!(program.units() > units);
        let settled = program.store.deopts();
        (0..100).for_each(|x| call(&mut program, x % 3, x));
        assert_eq!(program.store.deopts(), settled, "they are compiled");
        call(&mut program, 4, 5);
        assert_eq!(program.store.deopts(), settled + 1, "this one is not");
    }
}

/// What happens in an arm that is left out happens behind the exit, as it does without.
#[test]
fn traps_are_the_same() {
    for name in ["run", "outer"] {
        let mut program = Program::new(config(Speculate::Always));
        for x in 0..WARM as i32 {
            program.call(name, 2, x).unwrap();
        }
        let before = program.store.deopts();
        assert_eq!(program.call(name, 3, 0), Err(TrapCode::IntegerDivideByZero));
        assert_eq!(program.store.deopts(), before + 1);
        program.check(3, 8);
    }
}

/// Nested arms: the outer one goes, or the inner one only.
#[test]
fn arms_within_arms() {
    for (warm, none, some) in [(0, [0, 2], [1, 3]), (1, [0, 1], [3, 3])] {
        let mut program = Program::new(config(Speculate::Always));
        let call = |program: &mut Program, which| assert_eq!(program.call("guarded", which, 77), Ok(guarded(which, 77)));
        (0..WARM).for_each(|_| call(&mut program, warm));
        let before = program.store.deopts();
        none.into_iter().for_each(|which| call(&mut program, which));
        assert_eq!(program.store.deopts(), before);
        some.into_iter().for_each(|which| call(&mut program, which));
        assert_eq!(program.store.deopts(), before + 2);
    }
}

/// Phases of other arms end sooner or later in code that has them all.
#[test]
fn a_storm_settles() {
    for name in ["run", "outer"] {
        let mut program = Program::new(config(Speculate::Always));
        let mut exits_of_phase = Vec::new();
        for phase in 0..60 {
            let before = program.store.deopts();
            for x in 1..1000 {
                let which = phase % 5;
                assert_eq!(program.call(name, which, x), Ok(expected(which, x) - i32::from(name == "outer")));
            }
            exits_of_phase.push(program.store.deopts() - before);
        }
        let stats = program.engine.broker().stats();
        println!("{name}: {exits_of_phase:?}, {:?}", stats.tiers[1]);
        assert!(exits_of_phase.iter().any(|&exits| exits > 0), "nothing was left out");
        assert_eq!(exits_of_phase[30..].iter().sum::<u64>(), 0, "it has settled: {exits_of_phase:?}");
        assert!(stats.tiers[1].installed <= 12, "{:?}", stats.tiers[1]);
    }
}

/// A loop whose arm comes and goes, in one call and in several, entered and left again and again: a local that the code takes for unchanged
/// is changed behind an exit, and so is one beneath operands.
#[test]
fn loops_are_entered_with_what_the_arm_did() {
    const TURNS: i32 = 1_200_000;
    let patterns: [[i32; 12]; 4] = [
        [0; 12],
        [0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ];
    for name in ["loop", "nest"] {
        for osr in [Osr::Auto, Osr::Always] {
            let mut program = Program::new(Config { osr, ..config(Speculate::Always) });
            for words in patterns.into_iter().chain(patterns) {
                let memory = match program.instance.export(&program.store, "m").unwrap() {
                    Some(tierup_interp::Extern::Memory(memory)) => memory,
                    _ => panic!("it has one"),
                };
                let data = memory.data_mut(&mut program.store).unwrap();
                data.as_chunks_mut::<4>().0.iter_mut().zip(words).for_each(|(word, value)| *word = value.to_le_bytes());
                let expected = match name {
                    "loop" => turned(&words, 0, TURNS),
                    _ => (0..12).fold(0_i32, |sum, at| sum.wrapping_add(turned(&words, at * 100_000, 100_000))),
                };
                assert_eq!(program.call(name, 0, TURNS), Ok(expected), "{name}, {osr:?}, {words:?}");
            }
            let stats = program.engine.broker().stats();
            println!("{name}, {osr:?}: {} exits, {:?}", program.store.deopts(), stats.tiers[1]);
            assert!(program.store.deopts() > 0 || osr == Osr::Always);
            assert!(program.store.deopts() < 5_000, "{}", program.store.deopts());
        }
    }
}

/// Threads that run the same code in stores of their own come to other arms.
#[test]
fn threads_go_different_ways() {
    let policy = Some(Arc::new(Threshold { calls: 50 }) as _);
    let program = Program::new(Config { mode: None, policy, ..config(Speculate::Always) });
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let module = &program.module;
            scope.spawn(move || {
                let mut program = Program::another(module);
                for x in 1..30_000 {
                    let which = if x < 10_000 { 0 } else { (x / 100 + thread) % 5 };
                    program.check(which, x);
                }
            });
        }
    });
}

/// Exits on request change nothing, wherever they are.
#[test]
fn exits_on_request_besides() {
    let every = |n| Deopt::Every(std::num::NonZeroU32::new(n).unwrap());
    for deopt in [every(1), every(3), Deopt::Random(7)] {
        for osr in [Osr::Off, Osr::Always] {
            let mut program = Program::new(Config { deopt, osr, ..config(Speculate::Always) });
            for x in 1..1500 {
                program.check(if x < 1200 { 0 } else { x % 5 }, x);
            }
        }
    }
}

/// A function with so many cases of `weight` additions each, and what it returns.
fn large(cases: usize, weight: usize) -> String {
    let open: String = (0..=cases).rev().map(|n| format!("(block $b{n} ")).collect();
    let table: String = (0..=cases).map(|n| format!("$b{n} ")).collect();
    let add = |n: usize| format!("(local.set 1 (i32.add (i32.mul (local.get 1) (i32.const {})) (i32.const 1)))", 2 * n + 3);
    let arms: String = (0..cases).map(|n| format!(") {} (br $b{cases})", add(n).repeat(weight))).collect();
    format!(r#"(func (export "run") (param i32 i32) (result i32) {open} (br_table {table} (local.get 0)) {arms}) (local.get 1))"#)
}

/// By itself only what is large is left out, and only when nothing new was met for a while.
#[test]
fn large_arms_of_large_functions() {
    let value = |which: usize, weight, x: i32| (0..weight).fold(x, |x, _| x.wrapping_mul(2 * which as i32 + 3).wrapping_add(1));
    let exits = |cases: usize, weight: usize, warm: &dyn Fn(u32) -> usize, then: usize| {
        let mut program = Program::of(&large(cases, weight), config(Speculate::Arms));
        for n in 0..WARM {
            let which = warm(n);
            assert_eq!(program.call("run", which as i32, n as i32), Ok(value(which, weight, n as i32)));
        }
        assert!(program.units() > 0);
        let before = program.store.deopts();
        assert_eq!(program.call("run", then as i32, 5), Ok(value(then, weight, 5)));
        program.store.deopts() - before
    };
    assert_eq!((exits(30, 20, &|_| 0, 1), exits(30, 20, &|_| 0, 0), exits(30, 20, &|n| n as usize % 2, 1)), (1, 0, 0));
    assert_eq!(exits(3, 20, &|_| 0, 1), 0, "the function is small");
    assert_eq!(exits(300, 3, &|_| 0, 1), 0, "the arms are");
    assert_eq!(exits(30, 20, &|n| if n % 20 == 0 { n as usize / 20 % 29 } else { 0 }, 29), 0, "it is still doing something new");
}
