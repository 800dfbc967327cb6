//! Many functions and more than one thread, beside the incumbent: a million functions, ten thousand that become hot at once, two threads.
//!
//! `cargo bench -p tierup-beadie --bench crowd` takes the times. `-- --requests N` only makes N requests, in `crowd_request`, for callgrind:
//! that the difference between two counts grows with the difference in N, and with nothing else, is the bound on a request's instructions.

use std::{
    hint::black_box,
    ptr,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use incumbent::{Beadie, ThresholdPolicy};
use tierup_broker::{
    Bailout, Bead, BeadRef, BeadSpec, Broker, BrokerBuilder, Charge, CodeUnit, CompileRequest, Compiler, Decision, InterpThread,
    Mode, NativeCode, Reason, Threshold, Tier, Tiered,
};

const MILLION: usize = 1 << 20;
const HOT: usize = 10_000;
/// Calls that are timed between two looks at what the scheduler did.
const WINDOW: usize = 16;

extern "C" fn body() {}

struct OneFunction;

// SAFETY: the entry is a function of this program.
unsafe impl Compiler<u32> for OneFunction {
    fn name(&self) -> &str {
        "one function"
    }

    fn compile(&self, request: &CompileRequest<'_, u32>) -> Result<CodeUnit, Bailout> {
        Ok(request.unit(body as *const u8, 1, Box::new(())))
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--requests", count] => requests(count.parse().expect("a number of requests")),
        [] => {
            two_threads();
            hot_at_once();
            a_million();
        }
        _ => {
            eprintln!("usage: crowd [--requests N]");
            std::process::exit(2);
        }
    }
}

fn broker(mode: Mode, calls: u32) -> Broker<u32> {
    let builder = BrokerBuilder::compiler(BrokerBuilder::compiler(Broker::builder(), OneFunction), OneFunction);
    builder.mode(mode).policy(Tiered::new(calls, calls)).stale_after(None).max_beads(1 << 21).build().expect("it is valid")
}

fn register(broker: &Broker<u32>, count: usize) -> Vec<Bead<u32>> {
    (0..count).map(|number| broker.register(number as u32, BeadSpec { size: 10 }).expect("there is room")).collect()
}

/// What `thread.on_invoke` is for callgrind.
#[unsafe(no_mangle)]
#[inline(never)]
fn crowd_request<'t>(thread: &'t InterpThread<u32>, bead: BeadRef<'_, u32>) -> Option<NativeCode<'t>> {
    thread.on_invoke(bead)
}

fn requests(count: usize) {
    let broker = broker(Mode::Pump, 0);
    let thread = broker.register_thread().expect("there is memory");
    let beads = register(&broker, count);
    beads.iter().for_each(|bead| assert!(crowd_request(&thread, bead.as_ref()).is_none()));
    assert_eq!(broker.pending(), count);
}

/// Calls of this thread that the scheduler, and nobody else, made last: voluntary and involuntary context switches.
#[cfg(target_os = "linux")]
fn switches() -> i64 {
    // SAFETY: all zeroes is a valid `rusage`, which the call fills.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
        usage
    };
    usage.ru_nvcsw + usage.ru_nivcsw
}

#[cfg(not(target_os = "linux"))]
fn switches() -> i64 {
    0
}

/// Resident memory in bytes, where the system tells.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

/// Times in nanoseconds: percentiles of `times`.
fn percentiles(what: &str, times: &mut [u64], left_out: usize) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{what:<44} p50 {:>6} ns  p99 {:>6}  p99.9 {:>6}  max {:>8}  ({} samples; {left_out} with a context switch left out)",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        times.len()
    );
}

/// What `time` says of each of `items`; those are left out in whose window the scheduler stopped the thread. To ask about that at each of them
/// would make them longer: a system call leaves caches and predictors behind.
fn sample<T>(items: &[T], times: &mut Vec<u64>, time: impl Fn(&T) -> Duration) -> usize {
    let mut left_out = 0;
    for items in items.chunks(WINDOW) {
        let (before, kept) = (switches(), times.len());
        times.extend(items.iter().map(|item| time(item).as_nanos() as u64));
        if switches() != before {
            times.truncate(kept);
            left_out += items.len();
        }
    }
    left_out
}

/// The clock's own time is in it.
fn timed(what: impl FnOnce()) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}

fn call_of(thread: &InterpThread<u32>, bead: &Bead<u32>) -> Duration {
    timed(|| _ = black_box(thread.on_invoke(bead.as_ref())))
}

/// A broker, and functions of which each asks when it is called next.
fn about_to_ask(mode: Mode) -> (Broker<u32>, InterpThread<u32>, Vec<Bead<u32>>) {
    let broker = broker(mode, 1);
    let thread = broker.register_thread().expect("there is memory");
    let beads = register(&broker, HOT);
    beads.iter().for_each(|bead| _ = black_box(thread.on_invoke(bead.as_ref())));
    (broker, thread, beads)
}

/// Of a call that asks, the part after the decision: it is noted, the budget is filled, the request is made.
fn submit_of(thread: &InterpThread<u32>, bead: &Bead<u32>) -> Duration {
    assert!(matches!(thread.try_invoke(bead.as_ref()), Charge::Spent));
    let mut decided = None;
    let code = thread.invoke_spent_by(bead.as_ref(), |sample| {
        decided = Some(Instant::now());
        Decision::Promote { tier: sample.next, reason: Reason::Budget }
    });
    let time = decided.expect("it was asked").elapsed();
    assert!(code.is_none());
    time
}

/// What of a call that asks is exchanged with other threads, by itself: the budget is drawn and filled, the state changes, the count of what
/// waits goes up, the function is pushed to the inbox. And one look at the clock, for when that was.
fn floor() {
    #[derive(Default)]
    struct Function {
        budget: AtomicI32,
        state: AtomicU64,
        link: AtomicU32,
        asked: AtomicU64,
    }
    let (start, pending, inbox) = (Instant::now(), AtomicU64::new(0), AtomicU32::new(0));
    let (mut times, mut left_out) = (Vec::new(), 0);
    for _ in 0..20 {
        let functions: Vec<Function> = (0..HOT).map(|_| Function::default()).collect();
        let (relaxed, acq_rel) = (Ordering::Relaxed, Ordering::AcqRel);
        left_out += sample(&functions, &mut times, |function| {
            timed(|| {
                let left = function.budget.load(relaxed);
                _ = black_box(function.budget.compare_exchange(left, i32::MAX, relaxed, relaxed));
                function.asked.store(start.elapsed().as_nanos() as u64, relaxed);
                _ = black_box(function.budget.compare_exchange(i32::MAX, 10, relaxed, relaxed));
                let state = function.state.load(relaxed);
                _ = black_box(function.state.compare_exchange(state, state | 1, acq_rel, relaxed));
                pending.fetch_add(1, Ordering::Release);
                let head = inbox.load(relaxed);
                function.link.store(head, relaxed);
                _ = black_box(inbox.compare_exchange(head, head + 1, acq_rel, relaxed));
            })
        });
    }
    percentiles("five exchanges and a clock, by themselves", &mut times, left_out);
}

fn hot_at_once() {
    println!("\n{HOT} functions hot at once, in 20 rounds: the call that asks");
    let mut clock = Vec::new();
    let left_out = sample(&[(); 20 * HOT], &mut clock, |()| timed(|| ()));
    percentiles("the clock alone", &mut clock, left_out);
    floor();
    for (what, time) in [
        ("for tier 1, with nobody else running", call_of as fn(&InterpThread<u32>, &Bead<u32>) -> Duration),
        ("of that, after the decision", submit_of),
    ] {
        let (mut times, mut left_out) = (Vec::new(), 0);
        for _ in 0..20 {
            let (broker, thread, beads) = about_to_ask(Mode::Pump);
            left_out += sample(&beads, &mut times, |bead| time(&thread, bead));
            assert_eq!(broker.pending(), HOT);
        }
        percentiles(what, &mut times, left_out);
    }
    println!("while workers compile:");
    let (mut first, mut second, mut submits, mut left_out, mut lost) = (Vec::new(), Vec::new(), Vec::new(), [0; 3], 0);
    for _ in 0..20 {
        let (broker, thread, beads) = about_to_ask(Mode::Background);
        left_out[0] += sample(&beads, &mut first, |bead| call_of(&thread, bead));
        broker.drain();
        beads.iter().for_each(|bead| _ = black_box(thread.on_invoke(bead.as_ref())));
        left_out[1] += sample(&beads, &mut second, |bead| call_of(&thread, bead));
        broker.drain();
        let top = |bead: &&Bead<u32>| thread.on_invoke(bead.as_ref()).is_some_and(|code| code.tier() == Tier::new(2));
        lost += HOT - beads.iter().filter(top).count();
        let (_broker, thread, beads) = about_to_ask(Mode::Background);
        left_out[2] += sample(&beads, &mut submits, |bead| submit_of(&thread, bead));
    }
    percentiles("for tier 1", &mut first, left_out[0]);
    percentiles("of that, after the decision", &mut submits, left_out[2]);
    percentiles("for tier 2", &mut second, left_out[1]);
    println!("{:<44} {lost} of {}", "not in tier 2 afterwards", 20 * HOT);

    let (mut times, mut left_out, mut lost) = (Vec::new(), 0, 0);
    for _ in 0..20 {
        let beadie = Beadie::with_policy(ThresholdPolicy::new(1));
        let beads: Vec<_> = (0..HOT).map(|_| beadie.register(ptr::null_mut(), None)).collect();
        left_out += sample(&beads, &mut times, |bead| timed(|| _ = black_box(beadie.on_invoke(bead, |_| body as *mut ()))));
        thread::sleep(Duration::from_millis(200));
        lost += beads.iter().filter(|bead| bead.compiled().is_none()).count();
        // Dropping many of its beads overflows the stack.
        std::mem::forget((beadie, beads));
    }
    percentiles("beadie, for its tier", &mut times, left_out);
    println!("{:<44} {lost} of {}", "beadie, not compiled 200 ms later", 20 * HOT);
}

/// Two threads at once, each with what `begin` makes: nanoseconds per call of the slower one, as the median of some runs.
fn both<S>(begin: impl Fn() -> S + Sync, call: impl Fn(&S, usize) + Sync) -> f64 {
    const CALLS: usize = 400_000;
    let mut runs: Vec<f64> = (0..15)
        .map(|_| {
            let barrier = Barrier::new(2);
            let run = |number: usize| {
                let state = begin();
                (0..1_000).for_each(|_| call(&state, number));
                barrier.wait();
                timed(|| (0..CALLS).for_each(|_| call(&state, number))).as_nanos() as f64 / CALLS as f64
            };
            thread::scope(|scope| {
                let other = scope.spawn(|| run(1));
                run(0).max(other.join().expect("it does not panic"))
            })
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

fn two_threads() {
    println!("two threads at once, ns per call of the slower one, loop included: median of 15 runs");
    let ours = |what: &str, broker: &Broker<u32>, beads: [&Bead<u32>; 2]| {
        let call = |thread: &InterpThread<u32>, number: usize| _ = black_box(thread.on_invoke(black_box(beads[number].as_ref())));
        println!("{what:<44} {:.2}", both(|| broker.register_thread().expect("there is memory"), call));
    };
    let cold = Broker::builder().mode(Mode::Pump).policy(Threshold { calls: u32::MAX }).compiler(OneFunction).max_beads(64);
    let cold = cold.build().expect("it is valid");
    let beads = register(&cold, 2);
    ours("cold, one function", &cold, [&beads[0], &beads[0]]);
    ours("cold, a function each", &cold, [&beads[0], &beads[1]]);
    for bead in &beads {
        cold.compile_now(bead.as_ref(), Tier::new(1)).expect("the compiler works");
    }
    ours("compiled, one function", &cold, [&beads[0], &beads[0]]);
    ours("compiled, a function each", &cold, [&beads[0], &beads[1]]);
    let pending = broker(Mode::Pump, u32::MAX);
    let beads = register(&pending, 2);
    for bead in &beads {
        pending.compile_now(bead.as_ref(), Tier::new(1)).expect("the compiler works");
    }
    ours("next tier pending, one function", &pending, [&beads[0], &beads[0]]);
    let beadie = Beadie::with_policy(ThresholdPolicy::new(u32::MAX));
    let beads = [(); 2].map(|()| beadie.register(ptr::null_mut(), None));
    let theirs = |what: &str, beads: [&Arc<incumbent::Bead>; 2]| {
        let call = |&(): &(), number: usize| _ = black_box(beadie.on_invoke(black_box(beads[number]), |_| body as *mut ()));
        println!("{what:<44} {:.2}", both(|| (), call));
    };
    theirs("beadie, cold, one function", [&beads[0], &beads[0]]);
    theirs("beadie, cold, a function each", [&beads[0], &beads[1]]);
    beads.iter().for_each(|bead| assert!(bead.eager_install(body as *mut ())));
    theirs("beadie, compiled, one function", [&beads[0], &beads[0]]);
    theirs("beadie, compiled, a function each", [&beads[0], &beads[1]]);
}

/// Nanoseconds for each of a million.
fn each(what: &str, start: Instant) {
    println!("{what:<44} {:.1} ns each", start.elapsed().as_nanos() as f64 / MILLION as f64);
}

/// Registers as long as somebody else is at it, and says what the longest took without a context switch, and with.
fn register_meanwhile<B>(register: impl Fn() -> B + Sync, meanwhile: impl FnOnce()) -> [Duration; 2] {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let registrar = scope.spawn(|| {
            let (mut kept, mut longest) = (Vec::with_capacity(MILLION), [Duration::ZERO; 2]);
            while !stop.load(Ordering::Relaxed) {
                let (before, start) = (switches(), Instant::now());
                let bead = register();
                let time = start.elapsed();
                let stopped = usize::from(switches() != before);
                longest[stopped] = longest[stopped].max(time);
                if kept.len() < MILLION / 2 {
                    kept.push(bead);
                }
            }
            std::mem::forget(kept);
            longest
        });
        thread::sleep(Duration::from_millis(20));
        let start = Instant::now();
        meanwhile();
        println!("{:<44} {:.1} ms", "pruning half a million, others registering", start.elapsed().as_secs_f64() * 1e3);
        stop.store(true, Ordering::Relaxed);
        registrar.join().expect("it does not panic")
    })
}

fn a_million() {
    println!("\n{MILLION} functions");
    let broker = broker(Mode::Pump, u32::MAX);
    let before = resident();
    let start = Instant::now();
    let mut beads = register(&broker, MILLION);
    each("register", start);
    let handles = MILLION * size_of::<Bead<u32>>();
    let registered = resident();
    println!(
        "{:<44} {:.1}",
        "bytes each, without the handle",
        (registered - before).saturating_sub(handles) as f64 / MILLION as f64
    );
    println!("{:<44} {}", "bytes of a handle", size_of::<Bead<u32>>());
    let thread = broker.register_thread().expect("there is memory");
    beads.iter().for_each(|bead| _ = black_box(thread.on_invoke(bead.as_ref())));
    println!("{:<44} {:.1}", "bytes each of a thread that called them", (resident() - registered) as f64 / MILLION as f64);
    let (start, mut count) = (Instant::now(), 0);
    broker.walk(|_| count += 1);
    each("walk", start);
    assert_eq!(count, MILLION);
    // What is dropped while a thread is online waits for it.
    beads.truncate(MILLION / 2);
    let longest = register_meanwhile(
        || broker.register(0, BeadSpec { size: 10 }),
        || {
            drop(thread);
            broker.prune();
        },
    );
    println!("{:<44} {longest:?}", "the longest of these, without and with a switch");
    beads = register(&broker, MILLION / 2);
    let start = Instant::now();
    drop(beads);
    each("drop (half as many, so twice that)", start);
    let start = Instant::now();
    broker.prune();
    each("prune", start);

    let beadie = Beadie::new();
    let before = resident();
    let start = Instant::now();
    let mut beads: Vec<_> = (0..MILLION).map(|_| beadie.register(ptr::null_mut(), None)).collect();
    each("beadie, register", start);
    let handles = MILLION * size_of::<Arc<incumbent::Bead>>();
    println!("{:<44} {:.1}", "beadie, bytes each", (resident() - before).saturating_sub(handles) as f64 / MILLION as f64);
    beads.truncate(MILLION / 2);
    let longest = register_meanwhile(|| beadie.register(ptr::null_mut(), None), || beadie.prune());
    println!("{:<44} {longest:?}", "beadie, the longest, without and with");
    // Dropping so many overflows the stack.
    std::mem::forget((beadie, beads));
}
