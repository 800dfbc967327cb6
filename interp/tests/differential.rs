//! Random modules give the same results, traps, memory and globals in every configuration, bit for bit.
//!
//! Modules come from `wasm-smith`, made to end and with NaNs canonicalised. `TIERUP_SEED=n` repeats a run,
//! `TIERUP_CASES=n` sets how many modules it has.

#[path = "spec/config.rs"]
mod config;

use std::env;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use arbitrary::Unstructured;
use config::Configuration;
use tierup_interp::{Engine, Error, Extern, ExternType, Linker, Module, Store, Val, ValType};

/// Instances that are made and run one after another: their functions are compiled in between.
const ROUNDS: usize = 4;
/// Calls and loop iterations an instance may make before it traps.
const FUEL: u32 = 1000;

/// A generator good enough to vary tests with (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn random_modules_agree_in_every_configuration() {
    let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |now| now.as_nanos() as u64);
    let seed = number("TIERUP_SEED").unwrap_or_else(clock);
    let cases = number("TIERUP_CASES").unwrap_or(200) as usize;
    println!("TIERUP_SEED={seed} TIERUP_CASES={cases}");
    let (next, ran, compiled) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let worker = || loop {
                // Ordering: Relaxed. Hands out numbers, carries nothing.
                let case = next.fetch_add(1, Ordering::Relaxed);
                if case >= cases {
                    return;
                }
                let (anything, installed) = agree(seed, case);
                // Ordering: Relaxed. A count, read after the threads are joined.
                compiled.fetch_add(installed, Ordering::Relaxed);
                if anything {
                    // Ordering: Relaxed. A count, read after the threads are joined.
                    ran.fetch_add(1, Ordering::Relaxed);
                }
            };
            thread::Builder::new().stack_size(16 << 20).spawn_scoped(scope, worker).expect("threads can be started");
        }
    });
    let ran = ran.into_inner();
    let compiled = compiled.into_inner();
    println!("{ran} of {cases} modules ran, or trapped while they were instantiated; {compiled} functions were compiled");
    assert!(compiled as usize * 4 > cases, "next to nothing is compiled: the configurations are set up wrongly");
    assert!(ran * 2 >= cases, "most modules have nothing to run: the generator is set up wrongly");
}

/// Runs case `case` in every configuration and compares; whether there was anything to run, and how many functions were
/// compiled.
fn agree(seed: u64, case: usize) -> (bool, u64) {
    let module = generate(seed, case);
    let seed = seed ^ case as u64;
    let (reference, none) = run(&module, Configuration::Interp, seed);
    assert_eq!(none, 0, "the interpreter compiles nothing");
    let mut compiled = 0;
    for configuration in [Configuration::Baseline, Configuration::Mixed { seed }, Configuration::Background] {
        let (other, installed) = run(&module, configuration, seed);
        compiled += installed;
        if reference != other {
            let at = reference.lines().zip(other.lines()).position(|(a, b)| a != b).unwrap_or_default();
            panic!(
                "case {case}: interpreter and {configuration} differ in line {at}:\n{:?}\n{:?}",
                reference.lines().nth(at),
                other.lines().nth(at)
            );
        }
    }
    (reference.lines().count() > ROUNDS, compiled)
}

fn generate(seed: u64, case: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (case as u64 + 1));
    let bytes: Vec<u8> = (0..1024).flat_map(|_| random.next().to_le_bytes()).collect();
    let config = wasm_smith::Config {
        canonicalize_nans: true,
        export_everything: true,
        max_imports: 0,
        min_funcs: 1,
        max_funcs: 12,
        max_memory32_bytes: 4 << 20,
        max_table_elements: 1000,
        bulk_memory_enabled: true,
        multi_value_enabled: true,
        reference_types_enabled: true,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        custom_page_sizes_enabled: false,
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        max_memories: 1,
        relaxed_simd_enabled: false,
        simd_enabled: false,
        shared_everything_threads_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..wasm_smith::Config::default()
    };
    let mut module = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)).expect("enough bytes for a module");
    module.ensure_termination(FUEL).expect("every function has a body");
    module.to_bytes()
}

/// Everything one can see of a run, one line each, and how many functions were compiled.
fn run(bytes: &[u8], configuration: Configuration, seed: u64) -> (String, u64) {
    let engine = configuration.engine().expect("the machine has this configuration");
    let module = Module::new(&engine, bytes).unwrap_or_else(|e| panic!("the generator's module is refused: {e}"));
    let mut random = Random(seed | 1);
    let mut seen = String::new();
    for round in 0..ROUNDS {
        writeln!(seen, "round {round}").expect("strings take everything");
        run_instance(&engine, &module, &mut random, &mut seen);
    }
    (seen, engine.broker().stats().tiers.iter().map(|tier| tier.installed).sum())
}

/// Calls every exported function of a fresh instance, then looks at everything else it exports.
fn run_instance(engine: &Engine, module: &Module, random: &mut Random, seen: &mut String) {
    let mut store = Store::new(engine, ()).expect("there is room for a store");
    let mut say = |name: &str, what: String| writeln!(seen, "{name}: {what}").expect("strings take everything");
    let instance = match Linker::new().instantiate(&mut store, module) {
        Ok(instance) => instance,
        Err(error) => return say("instantiation", describe(&error)),
    };
    for (name, ty) in module.exports() {
        let ExternType::Func(ty) = ty else { continue };
        let args: Vec<Val> = ty.params().iter().map(|&ty| argument(ty, random)).collect();
        let func = instance.func(&store, name).expect("it is exported");
        match func.call(&mut store, &args) {
            Ok(values) => say(name, values.iter().map(show).collect::<Vec<_>>().join(" ")),
            Err(error) => say(name, describe(&error)),
        }
    }
    for (name, item) in instance.exports(&store).expect("it is this store's") {
        match item {
            Extern::Global(global) => say(&name, show(&global.get(&store).expect("it is this store's"))),
            Extern::Memory(memory) => {
                let data = memory.data(&store).expect("it is this store's");
                say(&name, format!("{} bytes, {:x}", data.len(), hash(data)));
            }
            Extern::Table(table) => say(&name, format!("{} elements", table.size(&store).expect("it is this store's"))),
            Extern::Func(_) => {}
        }
    }
}

/// FNV over 8 bytes at a time; memories are whole pages.
fn hash(data: &[u8]) -> u64 {
    data.chunks(8).fold(0xcbf2_9ce4_8422_2325, |hash, chunk| {
        let word = chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        (hash ^ word).wrapping_mul(0x100_0000_01b3)
    })
}

fn argument(ty: ValType, random: &mut Random) -> Val {
    let small = random.next() % 2 == 0;
    let bits = if small { random.next() % 16 } else { random.next() };
    match ty {
        ValType::I32 => Val::I32(bits as i32),
        ValType::I64 => Val::I64(bits as i64),
        ValType::F32 => Val::F32((bits as i32 as f32).to_bits()),
        ValType::F64 => Val::F64((bits as i64 as f64).to_bits()),
        ValType::FuncRef => Val::FuncRef(None),
        ValType::ExternRef => Val::ExternRef(small.then_some(bits as u32)),
    }
}

/// A value without addresses.
fn show(value: &Val) -> String {
    match value {
        Val::FuncRef(func) => format!("func {}", func.is_some()),
        other => format!("{other:x?}"),
    }
}

/// An error without what may differ by tier: how deep the stack was.
fn describe(error: &Error) -> String {
    match error {
        Error::Trap(trap) => trap.code().to_string(),
        other => other.to_string(),
    }
}
