//! Code that polls and counts nothing: its work is found out by sampling, where there is a thread to do it.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::*;
use tierup_broker::{Bailout, Bead, Broker, CodeUnit, CompileRequest, Compiler, InterpThread, Mode, POLL_SAMPLE, Tiered};
use tierup_fake::{FakeCompiler, Guest};

/// Its code polls, if that will do.
#[derive(Clone)]
struct Polls {
    fake: FakeCompiler,
    /// Units that are sampled.
    sampled: Arc<AtomicUsize>,
}

impl Polls {
    fn new() -> Self {
        Polls { fake: FakeCompiler::with_osr(), sampled: Arc::default() }
    }
}

// SAFETY: the units are the fake compiler's.
unsafe impl Compiler<Guest> for Polls {
    fn name(&self) -> &str {
        "polls"
    }

    fn compiles_osr(&self) -> bool {
        true
    }

    fn compile(&self, request: &CompileRequest<'_, Guest>) -> Result<CodeUnit, Bailout> {
        let unit = self.fake.compile(request)?;
        if !request.samples() {
            return Ok(unit);
        }
        assert!(request.counts(), "only where somebody wants to know");
        self.sampled.fetch_add(1, Ordering::SeqCst);
        Ok(unit.sampled())
    }
}

/// Two tiers of code that polls; a promotion to the second takes so much work.
fn broker(mode: Mode, work: u32) -> (Broker<Guest>, Polls) {
    let polls = Polls::new();
    let policy = Tiered::new(0, work).call_worth(1);
    let builder = Broker::builder().mode(mode).policy(policy).max_beads(1 << 10);
    (builder.compiler(polls.clone()).compiler(polls.clone()).build().unwrap(), polls)
}

fn is_sampled(thread: &InterpThread<Guest>) -> bool {
    // SAFETY: the cells live as long as the handle, and the poll cell is atomic.
    let interrupt = unsafe { &(*thread.cells()).interrupt };
    interrupt.load(Ordering::SeqCst) & POLL_SAMPLE != 0
}

/// Runs native code that polls, at its entry or at a loop, until it is `done`. Says how often it was sampled.
fn run(thread: &InterpThread<Guest>, bead: &Bead<Guest>, site: Option<u32>, done: impl Fn(bool) -> bool) -> usize {
    let (start, mut samples) = (Instant::now(), 0);
    loop {
        assert!(start.elapsed() < Duration::from_secs(10), "sampled {samples} times, to no effect");
        if is_sampled(thread) {
            samples += 1;
            if done(thread.sample_native(bead.as_ref(), site)) {
                return samples;
            }
        }
        thread::yield_now();
    }
}

/// What sampled code is charged with a second, roughly.
const A_SECOND: u32 = 4_000_000_000;

#[test]
#[cfg_attr(miri, ignore = "by Miri's clock every answer is late")]
fn code_that_is_sampled_is_promoted_for_the_time_it_takes() {
    let (broker, polls) = broker(Mode::Background, A_SECOND / 25);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    assert_eq!(polls.sampled.load(Ordering::SeqCst), 1);
    for _ in 0..1000 {
        assert_eq!(thread.on_invoke(bead.as_ref()).unwrap().tier(), TIER1, "callers do not count for it");
    }
    let start = Instant::now();
    let samples = run(&thread, &bead, None, |leaves| {
        assert!(!leaves, "at the entry there is nothing to leave");
        broker.bead_stats(bead.as_ref()).unwrap().tier == TIER2
    });
    assert!(start.elapsed() >= Duration::from_millis(20), "after {samples} samples in {:?}", start.elapsed());
    assert_eq!(polls.sampled.load(Ordering::SeqCst), 1, "in the highest tier nobody asks");
}

#[test]
#[cfg_attr(miri, ignore = "by Miri's clock every answer is late")]
fn a_sampled_loop_leaves_for_the_next_tier() {
    let (broker, _) = broker(Mode::Background, A_SECOND / 100);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    broker.compile_osr_now(bead.as_ref(), TIER1, 4).unwrap();
    // Once the loops have earned a variant, every back-edge is looked at until one is chosen.
    let samples = run(&thread, &bead, Some(4), |leaves| leaves);
    assert!(samples > 64, "{samples}");
    assert_eq!(broker.bead_stats(bead.as_ref()).unwrap().variants, [(4, TIER2)]);
}

#[test]
fn nobody_is_sampled_for_code_that_counts_and_where_there_is_no_thread_to_do_it() {
    let counting = FakeCompiler::new();
    let background = builder(Mode::Background, 0, &counting).build().unwrap();
    let thread = background.register_thread().unwrap();
    let counted = bead(&background, Guest::new(3));
    background.compile_now(counted.as_ref(), TIER1).unwrap();
    thread::sleep(Duration::from_millis(50));
    assert!(!is_sampled(&thread));
    for mode in [Mode::Sync, Mode::Pump] {
        let (broker, polls) = broker(mode, 1);
        let bead = bead(&broker, Guest::new(3));
        broker.compile_now(bead.as_ref(), TIER1).unwrap();
        assert_eq!((polls.fake.compiles(), polls.sampled.load(Ordering::SeqCst)), (1, 0), "{mode:?}");
    }
}

#[test]
fn a_sample_is_answered_where_nothing_is_sampled() {
    let (broker, _) = broker(Mode::Background, A_SECOND / 100);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    for _ in 0..10 {
        wait_for("a sample", || is_sampled(&thread));
        thread.skip_sample();
    }
    assert_eq!(broker.bead_stats(bead.as_ref()).unwrap().work, 0, "nothing was charged");
}

#[test]
fn what_answers_late_has_not_spent_the_time() {
    let (broker, _) = broker(Mode::Background, A_SECOND);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    for _ in 0..20 {
        wait_for("a sample", || is_sampled(&thread));
        // In code that never polls, or in the host.
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(500) {}
        let _ = thread.sample_native(bead.as_ref(), None);
    }
    // But for samples that came just before they were answered, where this thread was kept from running in between.
    let work = broker.bead_stats(bead.as_ref()).unwrap().work;
    assert!(work < u64::from(A_SECOND) / 1000 * 2 * 8, "{work}");
}

#[test]
#[cfg_attr(miri, ignore = "by Miri's clock every answer is late")]
fn what_is_called_from_a_watched_loop_is_not_charged_for_the_watch() {
    let (broker, _) = broker(Mode::Background, A_SECOND / 100);
    let thread = broker.register_thread().unwrap();
    let (around, callee) = (bead(&broker, Guest::new(3)), bead(&broker, Guest::new(4)));
    for bead in [&around, &callee] {
        broker.compile_now(bead.as_ref(), TIER1).unwrap();
    }
    // One back-edge after the other, with a call in between that finds the cell raised whenever the loop raised it.
    run(&thread, &around, Some(0), |leaves| {
        if is_sampled(&thread) {
            let _ = thread.sample_native(callee.as_ref(), None);
        }
        leaves
    });
    assert_eq!(broker.bead_stats(around.as_ref()).unwrap().variants, [(0, TIER2)]);
    assert!(broker.bead_stats(callee.as_ref()).unwrap().work < u64::from(A_SECOND) / 1000 * 2 * 4, "next to nothing");
}

#[test]
fn code_that_is_promoted_for_less_than_a_few_samples_counts() {
    let few = A_SECOND / 1000;
    for (work, osr) in [(few, A_SECOND), (A_SECOND, few)] {
        let polls = Polls::new();
        let policy = Tiered::new(0, work).call_worth(1).osr_work(0, osr);
        let builder = Broker::builder().mode(Mode::Background).policy(policy).max_beads(1 << 10);
        let broker = builder.compiler(polls.clone()).compiler(polls.clone()).build().unwrap();
        let bead = bead(&broker, Guest::new(3));
        broker.compile_now(bead.as_ref(), TIER1).unwrap();
        assert_eq!((polls.fake.compiles(), polls.sampled.load(Ordering::SeqCst)), (1, 0));
    }
}

#[test]
fn a_watch_of_the_interpreter_is_none_of_native_code() {
    let polls = Polls::new();
    let policy = Tiered::new(1_000_000, 1_000_000).call_worth(1).osr_work(1000, 1_000_000);
    let builder = Broker::builder().mode(Mode::Pump).policy(policy).max_beads(1 << 10);
    let broker = builder.compiler(polls.clone()).compiler(polls).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    // The loop has earned a variant and is watched when somebody else's request brings it.
    for _ in 0..12 {
        assert!(thread.on_back_edge(bead.as_ref(), 0, 100).is_none());
    }
    broker.compile_osr_now(bead.as_ref(), TIER1, 0).unwrap();
    assert!(thread.on_back_edge(bead.as_ref(), 0, 100).is_some());
    for _ in 0..100 {
        assert!(!thread.count_native(bead.as_ref(), 10, Some(0)));
    }
    assert!(!broker.bead_stats(bead.as_ref()).unwrap().pending, "a thousandth of the work");
}
