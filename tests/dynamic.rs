//! The dynamic language of `examples/dynamic`: whatever it speculates on, wherever it leaves, a program means what it means to its
//! interpreter.

#[path = "dynamic/generate.rs"]
mod generate;
#[path = "../examples/dynamic/lang/mod.rs"]
#[allow(dead_code, reason = "shared with the example")]
mod lang;

use std::time::{Duration, Instant};

use generate::generate;
use lang::value::{Value, int, literal};
use lang::{Compiler, Config, Leave, Vm, parse};
use tierup::{Mode, Tiered};

/// Compiled code from the first call and the first turn of a loop on.
fn at_once() -> Config {
    Config { mode: Mode::Sync, policy: Tiered::new(0, 0).osr_work(0, 0), ..Config::default() }
}

/// What a call came to, in words: representations may differ, strings are elsewhere in each heap.
fn outcome(vm: &mut Vm, name: &str, arguments: &[Value]) -> Result<String, u64> {
    vm.run(name, arguments).map(|value| vm.heap.text(value)).map_err(|trap| trap.0)
}

/// How much was checked.
#[derive(Default, Debug)]
struct Checked {
    programs: u64,
    errors: u64,
    installed: u64,
    variants: u64,
    exits: u64,
    deopts: u64,
}

/// The arguments that programs are called with, one after another: types change under way.
fn arguments(seed: u64) -> Vec<[Value; 2]> {
    let some = [
        int(3),
        int(-7),
        int(0),
        int(i32::MAX),
        int(i32::MIN),
        literal(0.5),
        literal(-0.0),
        literal(f64::INFINITY),
        literal(1e10),
    ];
    let pick = |nth: u64| some[(generate::mix(seed ^ nth) % some.len() as u64) as usize];
    // A few times the same, so that something is believed; then others.
    (0..12).map(|turn| [pick(turn / 4 * 2), pick(turn / 4 * 2 + 1)]).collect()
}

/// Compiles after a little work, by the seed's chance.
fn some_time(seed: u64) -> Config {
    let chance = generate::mix(seed);
    let policy = Tiered::new(chance as u32 % 8, 0).osr_work((chance >> 8) as u32 % 200, 0);
    Config { mode: Mode::Sync, policy, ..Config::default() }
}

fn by_cranelift(seed: u64) -> Vec<(&'static str, Config)> {
    let leaving = |leave| Config { leave, ..some_time(seed) };
    vec![
        ("compiled at once", at_once()),
        ("compiled after some work", some_time(seed)),
        ("compiled without speculation", Config { cautious: true, ..at_once() }),
        ("left everywhere", Config { leave: Leave::Every(1), ..at_once() }),
        ("left everywhere, after some work", leaving(Leave::Every(1))),
        ("left at every third operator", leaving(Leave::Every(3))),
        ("left by chance", leaving(Leave::Random(seed))),
        ("left by chance, in the background", Config { mode: Mode::Background, ..leaving(Leave::Random(seed)) }),
    ]
}

#[cfg(feature = "llvm")]
fn by_llvm(seed: u64) -> Vec<(&'static str, Config)> {
    let by_llvm = |config| Config { compiler: Compiler::Llvm, ..config };
    vec![
        ("compiled by LLVM", by_llvm(some_time(seed))),
        ("compiled by LLVM, left by chance", by_llvm(Config { leave: Leave::Random(seed), ..some_time(seed) })),
    ]
}

fn check(seed: u64, configs: Vec<(&'static str, Config)>, checked: &mut Checked) {
    let source = generate(seed);
    let program = || parse(&source).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{source}"));
    let mut interpreter = Vm::new(program(), Config { compiler: Compiler::None, mode: Mode::Sync, ..Config::default() }).unwrap();
    let arguments = arguments(seed);
    let want: Vec<_> = arguments.iter().map(|arguments| outcome(&mut interpreter, "main", arguments)).collect();
    checked.programs += 1;
    checked.errors += want.iter().filter(|outcome| outcome.is_err()).count() as u64;
    for (name, config) in configs {
        let mut vm = Vm::new(program(), config).unwrap();
        for (arguments, want) in arguments.iter().zip(&want) {
            let got = outcome(&mut vm, "main", arguments);
            assert_eq!(
                &got,
                want,
                "seed {seed}, {name}, main{:?}\n{source}",
                arguments.map(|value| interpreter.heap.text(value))
            );
        }
        let tier = &vm.broker.stats().tiers[0];
        assert!(tier.bailouts.is_empty(), "seed {seed}, {name}: {:?}\n{source}", tier.bailouts);
        checked.installed += tier.installed;
        checked.variants += tier.installed_osr;
        checked.exits += vm.exits();
        checked.deopts += tier.deopts;
    }
}

/// Programs to be checked, however slow the machine is.
const LEAST: u64 = 10;

/// As many programs as fit into some seconds; `TIERUP_FUZZ_SECONDS` is for how many, `TIERUP_SEED` repeats one program.
fn check_many(configs: fn(u64) -> Vec<(&'static str, Config)>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut checked = Checked::default();
    if let Some(seed) = number("TIERUP_SEED") {
        return check(seed, configs(seed), &mut checked);
    }
    let long = number("TIERUP_FUZZ_SECONDS");
    let from = long.map_or(0, |_| std::time::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_nanos() as u64));
    let (budget, started) = (Duration::from_secs(long.unwrap_or(8)), Instant::now());
    let mut seed = from;
    while seed - from < LEAST || started.elapsed() < budget && (long.is_some() || seed < 300) {
        check(seed, configs(seed), &mut checked);
        seed += 1;
    }
    println!("seeds {from}..{seed}: {checked:?}");
    assert!(
        checked.programs > 0 && checked.installed > 0 && checked.variants > 0 && checked.exits > 0 && checked.deopts > 0,
        "this checked nothing: {checked:?}"
    );
}

#[test]
fn random_programs_mean_the_same_in_every_configuration() {
    check_many(by_cranelift);
}

#[test]
#[cfg(feature = "llvm")]
fn random_programs_mean_the_same_in_llvms_code() {
    let helper = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("tierup-llvm");
    if !helper.exists() {
        println!("skipped: tierup-llvm was not built");
        return;
    }
    check_many(by_llvm);
}

/// Types change every 1,000 calls, again and again: after the first rounds nothing is compiled any more, and nothing left.
#[test]
fn a_storm_settles() {
    const SOURCE: &str = "
        fn step(x, y, n) {
            let s = x;
            let i = 0;
            while i < n {
                if s < y { s = s + x * 2; } else { s = s - y; }
                i = i + 1;
            }
            return s;
        }
        fn same(a, b) { if a == b { return a; } return b; }";
    // Compiled in the midst of the first phase.
    let config = Config { mode: Mode::Sync, policy: Tiered::new(20, 0), ..Config::default() };
    let mut vm = Vm::new(parse(SOURCE).unwrap(), config).unwrap();
    let text = [vm.heap.string("one".into()), vm.heap.string("other".into())];
    let phases = [[int(3), int(50)], [literal(0.5), literal(8.25)], [int(1 << 30), int(i32::MAX)], text, [int(7), literal(0.5)]];
    let mut settled = None;
    for round in 0..6 {
        for [x, y] in phases {
            for _ in 0..1000 {
                if x != text[0] {
                    vm.run("step", &[x, y, int(20)]).unwrap();
                }
                vm.run("same", &[x, y]).unwrap();
            }
        }
        let tier = &vm.broker.stats().tiers[0];
        let now = (tier.installed, tier.deopts, vm.exits());
        println!("round {round}: {now:?} units, given up, exits");
        if round >= 2 {
            assert_eq!(*settled.get_or_insert(now), now, "round {round}: it goes on");
        }
    }
    let (installed, deopts, exits) = settled.expect("there were rounds");
    assert!(deopts > 1 && installed <= 12 && exits <= 60, "{installed} units, {deopts} given up, {exits} exits");
}
