//! Many functions and more than one thread, beside the incumbent: a million functions, ten thousand that become hot at once, two threads.
//!
//! `cargo bench -p tierup-beadie --bench crowd` takes the times. `-- --requests N` only makes N requests, in `crowd_request`, for callgrind:
//! that the difference between two counts grows with the difference in N, and with nothing else, is the bound on a request's instructions.

use std::{
    hint::black_box,
    ptr,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use incumbent::{Beadie, ThresholdPolicy};
use tierup_broker::{
    Bailout, Bead, BeadRef, BeadSpec, Broker, BrokerBuilder, CodeUnit, CompileRequest, Compiler, InterpThread, Mode, NativeCode,
    Threshold, Tier, Tiered,
};

const MILLION: usize = 1 << 20;
const HOT: usize = 10_000;

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

/// Samples of `what`, for each of `items`, but for those in which the scheduler stopped the thread. The clock's own time is in them.
fn sample<T>(items: &[T], times: &mut Vec<u64>, what: impl Fn(&T)) -> usize {
    let mut left_out = 0;
    for item in items {
        let before = switches();
        let start = Instant::now();
        what(item);
        let time = start.elapsed();
        if switches() == before { times.push(time.as_nanos() as u64) } else { left_out += 1 }
    }
    left_out
}

fn hot_at_once() {
    println!("\n{HOT} functions hot at once, in 20 rounds: the call that asks");
    let mut clock = Vec::new();
    let left_out = sample(&[(); 20 * HOT], &mut clock, |()| ());
    percentiles("the clock alone", &mut clock, left_out);
    let (mut times, mut left_out) = (Vec::new(), 0);
    for _ in 0..20 {
        let broker = broker(Mode::Pump, 1);
        let thread = broker.register_thread().expect("there is memory");
        let beads = register(&broker, HOT);
        beads.iter().for_each(|bead| _ = black_box(thread.on_invoke(bead.as_ref())));
        left_out += sample(&beads, &mut times, |bead| _ = black_box(thread.on_invoke(bead.as_ref())));
        assert_eq!(broker.pending(), HOT);
    }
    percentiles("for tier 1, with nobody else running", &mut times, left_out);
    println!("while workers compile:");
    let (mut first, mut second, mut left_out, mut lost) = (Vec::new(), Vec::new(), [0, 0], 0);
    for _ in 0..20 {
        let broker = broker(Mode::Background, 1);
        let thread = broker.register_thread().expect("there is memory");
        let beads = register(&broker, HOT);
        for (times, left_out) in [&mut first, &mut second].into_iter().zip(&mut left_out) {
            beads.iter().for_each(|bead| _ = black_box(thread.on_invoke(bead.as_ref())));
            *left_out += sample(&beads, times, |bead| _ = black_box(thread.on_invoke(bead.as_ref())));
            broker.drain();
        }
        let top = |bead: &&Bead<u32>| thread.on_invoke(bead.as_ref()).is_some_and(|code| code.tier() == Tier::new(2));
        lost += HOT - beads.iter().filter(top).count();
    }
    percentiles("for tier 1", &mut first, left_out[0]);
    percentiles("for tier 2", &mut second, left_out[1]);
    println!("{:<44} {lost} of {}", "not in tier 2 afterwards", 20 * HOT);

    let (mut times, mut left_out, mut lost) = (Vec::new(), 0, 0);
    for _ in 0..20 {
        let beadie = Beadie::with_policy(ThresholdPolicy::new(1));
        let beads: Vec<_> = (0..HOT).map(|_| beadie.register(ptr::null_mut(), None)).collect();
        left_out += sample(&beads, &mut times, |bead| _ = black_box(beadie.on_invoke(bead, |_| body as *mut ())));
        thread::sleep(Duration::from_millis(200));
        lost += beads.iter().filter(|bead| bead.compiled().is_none()).count();
        // Dropping many of its beads overflows the stack.
        std::mem::forget((beadie, beads));
    }
    percentiles("beadie, for its tier", &mut times, left_out);
    println!("{:<44} {lost} of {}", "beadie, not compiled 200 ms later", 20 * HOT);
}

/// The better of some runs of two threads at once: nanoseconds per call of the slower one, as the median of the runs.
fn both(call: impl Fn(usize) + Sync) -> f64 {
    const CALLS: usize = 400_000;
    let mut runs: Vec<f64> = (0..15)
        .map(|_| {
            let barrier = Barrier::new(2);
            let run = |number: usize| {
                barrier.wait();
                let start = Instant::now();
                (0..CALLS).for_each(|_| call(number));
                start.elapsed().as_nanos() as f64 / CALLS as f64
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

/// As [`both`], each thread with a handle of its own.
fn both_with_handles(broker: &Broker<u32>, beads: [&Bead<u32>; 2]) -> f64 {
    thread_local! {
        static THREAD: std::cell::RefCell<Option<InterpThread<u32>>> = const { std::cell::RefCell::new(None) };
    }
    const BATCH: usize = 1_000;
    let per_batch = |number: usize| {
        THREAD.with_borrow_mut(|thread| {
            let thread = thread.get_or_insert_with(|| broker.register_thread().expect("there is memory"));
            (0..BATCH).for_each(|_| _ = black_box(thread.on_invoke(black_box(beads[number].as_ref()))));
        });
    };
    const BATCHES: usize = 400;
    let mut runs: Vec<f64> = (0..15)
        .map(|_| {
            let barrier = Barrier::new(2);
            let run = |number: usize| {
                per_batch(number);
                barrier.wait();
                let start = Instant::now();
                (0..BATCHES).for_each(|_| per_batch(number));
                let time = start.elapsed().as_nanos() as f64 / (BATCH * BATCHES) as f64;
                THREAD.take();
                time
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
    let cold = Broker::builder().mode(Mode::Pump).policy(Threshold { calls: u32::MAX }).compiler(OneFunction).max_beads(64);
    let cold = cold.build().expect("it is valid");
    let beads = register(&cold, 2);
    println!("{:<44} {:.2}", "cold, one function", both_with_handles(&cold, [&beads[0], &beads[0]]));
    println!("{:<44} {:.2}", "cold, a function each", both_with_handles(&cold, [&beads[0], &beads[1]]));
    for bead in &beads {
        cold.compile_now(bead.as_ref(), Tier::new(1)).expect("the compiler works");
    }
    println!("{:<44} {:.2}", "compiled, one function", both_with_handles(&cold, [&beads[0], &beads[0]]));
    println!("{:<44} {:.2}", "compiled, a function each", both_with_handles(&cold, [&beads[0], &beads[1]]));
    let pending = broker(Mode::Pump, u32::MAX);
    let beads = register(&pending, 2);
    for bead in &beads {
        pending.compile_now(bead.as_ref(), Tier::new(1)).expect("the compiler works");
    }
    println!("{:<44} {:.2}", "next tier pending, one function", both_with_handles(&pending, [&beads[0], &beads[0]]));
    let beadie = Beadie::with_policy(ThresholdPolicy::new(u32::MAX));
    let beads = [(); 2].map(|()| beadie.register(ptr::null_mut(), None));
    let invoke = |bead: &Arc<incumbent::Bead>| _ = black_box(beadie.on_invoke(black_box(bead), |_| body as *mut ()));
    println!("{:<44} {:.2}", "beadie, cold, one function", both(|_| invoke(&beads[0])));
    println!("{:<44} {:.2}", "beadie, cold, a function each", both(|number| invoke(&beads[number])));
    beads.iter().for_each(|bead| assert!(bead.eager_install(body as *mut ())));
    println!("{:<44} {:.2}", "beadie, compiled, one function", both(|_| invoke(&beads[0])));
    println!("{:<44} {:.2}", "beadie, compiled, a function each", both(|number| invoke(&beads[number])));
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
