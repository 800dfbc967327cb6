//! Two compiled tiers: who counts for the second, and when its compiler is told that it will be needed.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
#[cfg(feature = "threads")]
use std::time::{Duration, Instant};

use common::*;
#[cfg(feature = "threads")]
use tierup_broker::FirstWorker;
use tierup_broker::{Bailout, Broker, BrokerBuilder, CALL_WORK, CodeUnit, CompileRequest, Compiler, Mode, Tiered, WarmUpTime};
use tierup_fake::{Behaviour, FakeCompiler, Guest};

/// A compiler whose code says that it counts where it may, and that wants to be warmed up.
#[derive(Clone, Default)]
struct Counts {
    fake: FakeCompiler,
    warm: Arc<AtomicUsize>,
    /// Units that count.
    counting: Arc<AtomicUsize>,
}

// SAFETY: the units are the fake compiler's.
unsafe impl Compiler<Guest> for Counts {
    fn name(&self) -> &str {
        "counts"
    }

    fn compile(&self, request: &CompileRequest<'_, Guest>) -> Result<CodeUnit, Bailout> {
        let unit = self.fake.compile(request)?;
        if !request.counts() {
            return Ok(unit);
        }
        self.counting.fetch_add(1, Ordering::SeqCst);
        Ok(unit.counting())
    }

    fn wants_warm_up(&self) -> WarmUpTime {
        WarmUpTime::WhenNear
    }

    fn warm_up(&self) {
        self.warm.fetch_add(1, Ordering::SeqCst);
    }
}

/// Tier 1 at the first call, tier 2 after 100 more.
fn tiers(mode: Mode, first: impl Compiler<Guest> + 'static, second: &Counts) -> Broker<Guest> {
    let builder: BrokerBuilder<Guest> = Broker::builder().mode(mode).policy(Tiered::new(0, 100)).max_beads(1 << 10);
    builder.compiler(first).compiler(second.clone()).build().unwrap()
}

#[test]
fn callers_count_for_code_that_does_not() {
    let broker = tiers(Mode::Sync, FakeCompiler::new(), &Counts::default());
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    let tiers: Vec<_> = (0..102).map(|_| thread.on_invoke(bead.as_ref()).unwrap().tier()).collect();
    assert_eq!((tiers[99], tiers[101]), (TIER1, TIER2));
}

#[test]
fn code_that_counts_is_not_counted_by_its_callers() {
    let broker = tiers(Mode::Sync, Counts::default(), &Counts::default());
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    for _ in 0..1000 {
        assert_eq!(thread.on_invoke(bead.as_ref()).unwrap().tier(), TIER1);
    }
    // What the code's slow path does; it has charged nothing itself.
    thread.count_native(bead.as_ref(), 99 * CALL_WORK, None);
    assert_eq!(thread.on_invoke(bead.as_ref()).unwrap().tier(), TIER1);
    thread.count_native(bead.as_ref(), 2 * CALL_WORK, None);
    assert_eq!(thread.on_invoke(bead.as_ref()).unwrap().tier(), TIER2);
    thread.count_native(bead.as_ref(), u32::MAX, None);
}

/// What native code did to its slot itself is paid from the shared budget when it asks.
#[test]
fn what_the_code_took_is_paid() {
    let broker = tiers(Mode::Sync, Counts::default(), &Counts::default());
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    assert_eq!(invoke(&thread, &bead), Some(3));
    thread.count_native(bead.as_ref(), 1, None);
    let mut id = 0;
    broker.walk(|bead| id = bead.id.id as usize);
    // SAFETY: generated code does the same, on this thread.
    let slot = unsafe { &mut *(*thread.cells()).countdown.add(id) };
    slot.countdown -= 200 * CALL_WORK as i32;
    thread.count_native(bead.as_ref(), 0, None);
    assert_eq!(thread.on_invoke(bead.as_ref()).unwrap().tier(), TIER2);
}

#[test]
fn the_highest_tier_does_not_count() {
    let second = Counts::default();
    let broker = tiers(Mode::Sync, Counts::default(), &second);
    let bead = bead(&broker, Guest::new(1));
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    assert_eq!(second.counting.load(Ordering::SeqCst), 0);
    broker.compile_now(bead.as_ref(), TIER2).unwrap();
    assert_eq!((second.fake.compiles(), second.counting.load(Ordering::SeqCst)), (1, 0));
    assert_eq!(broker.bead_stats(bead.as_ref()).unwrap().budget, i32::MAX);
}

#[test]
fn a_compiler_is_told_once_at_three_quarters() {
    let second = Counts::default();
    let broker = tiers(Mode::Pump, Counts::default(), &second);
    let thread = broker.register_thread().unwrap();
    let (bead, another) = (bead(&broker, Guest::new(3)), bead(&broker, Guest::new(4)));
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    broker.compile_now(another.as_ref(), TIER1).unwrap();
    let mut told_after = None;
    for call in 1..=99 {
        thread.count_native(bead.as_ref(), CALL_WORK, None);
        thread.count_native(another.as_ref(), CALL_WORK, None);
        broker.run_pending(0);
        if second.warm.load(Ordering::SeqCst) > 0 {
            told_after.get_or_insert(call);
        }
    }
    // Threads draw slices of an eighth, so it is not told to the call.
    assert!(matches!(told_after, Some(63..=87)), "{told_after:?}");
    assert_eq!(second.warm.load(Ordering::SeqCst), 1);
    assert_eq!(second.fake.compiles(), 0);
}

#[cfg(feature = "threads")]
#[test]
fn a_worker_tells() {
    let second = Counts::default();
    let broker = tiers(Mode::Background, Counts::default(), &second);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    thread.count_native(bead.as_ref(), 90 * CALL_WORK, None);
    wait_for("the compiler to be told", || second.warm.load(Ordering::SeqCst) == 1);
    assert_eq!(second.fake.compiles(), 0);
}

/// Gets ready as soon as there is a worker.
#[cfg(feature = "threads")]
struct Early(Counts);

// SAFETY: returns the fake compiler's units.
#[cfg(feature = "threads")]
unsafe impl Compiler<Guest> for Early {
    fn name(&self) -> &str {
        "early"
    }

    fn compile(&self, request: &CompileRequest<'_, Guest>) -> Result<CodeUnit, Bailout> {
        self.0.compile(request)
    }

    fn wants_warm_up(&self) -> WarmUpTime {
        WarmUpTime::AtStart
    }

    fn warm_up(&self) {
        self.0.warm_up();
    }
}

#[cfg(feature = "threads")]
#[test]
fn a_worker_begins_before_there_is_a_thread() {
    let (first, second) = (Counts::default(), Counts::default());
    let broker = tiers(Mode::Background, Early(first.clone()), &second);
    assert_eq!(first.warm.load(Ordering::SeqCst), 0);
    broker.start();
    wait_for("the compiler to be told", || first.warm.load(Ordering::SeqCst) == 1);
    broker.start();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    wait_for("the function to be compiled", || thread.on_invoke(bead.as_ref()).is_some());
    assert_eq!((first.warm.load(Ordering::SeqCst), second.warm.load(Ordering::SeqCst)), (1, 0));
}

/// A broker that waits with its first worker has none until a function is hot; the compiler then has better things to do than to get ready.
#[cfg(feature = "threads")]
#[test]
fn no_worker_begins_before_there_is_a_request() {
    let first = Counts::default();
    let builder = Broker::builder().mode(Mode::Background).policy(Tiered::new(2, 100)).max_beads(1 << 10);
    let builder: BrokerBuilder<Guest> = builder.first_worker(FirstWorker::WithRequest);
    let broker = builder.compiler(Early(first.clone())).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    assert!(thread.on_invoke(bead.as_ref()).is_none());
    assert_eq!(broker.stats().workers, 0);
    wait_for("the function to be compiled", || thread.on_invoke(bead.as_ref()).is_some());
    assert!(broker.stats().workers > 0);
    // A compiler that has compiled something is ready: a worker that finds nothing to do does not tell it.
    broker.drain();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(first.warm.load(Ordering::SeqCst), 0);
}

/// What is asked for while the broker is young waits; whoever goes on, or waits for it, has it compiled when it is time.
#[cfg(feature = "threads")]
#[test]
fn a_first_worker_waits_until_the_broker_is_old_enough() {
    let age = Duration::from_millis(100);
    for waits in [false, true] {
        let young = Instant::now();
        let compiler = FakeCompiler::new();
        let builder: BrokerBuilder<Guest> =
            Broker::builder().mode(Mode::Background).policy(Tiered::new(2, 100)).max_beads(1 << 10);
        let broker = builder.first_worker(FirstWorker::WithRequestAfter(age)).compiler(compiler.clone()).build().unwrap();
        let thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(3));
        let asked = (0..100).any(|_| thread.on_invoke(bead.as_ref()).is_some() || broker.stats().pending > 0);
        assert!(asked && (broker.stats().workers == 0 || young.elapsed() >= age));
        if waits {
            broker.drain();
            assert_eq!(compiler.compiles(), 1);
        } else {
            wait_for("the function to be compiled", || thread.on_invoke(bead.as_ref()).is_some());
            assert!(young.elapsed() >= age);
        }
        assert!(broker.stats().workers > 0);
    }
}

/// Where the first worker begins with a request, nobody watches its first compile at first; but whoever goes on, or waits, sees to it.
#[cfg(feature = "threads")]
#[test]
fn a_first_compile_that_hangs_is_given_up() {
    for waits in [false, true] {
        let compiler = FakeCompiler::new();
        let builder: BrokerBuilder<Guest> =
            Broker::builder().mode(Mode::Background).policy(Tiered::new(0, 100)).max_beads(1 << 10);
        let builder = builder.first_worker(FirstWorker::WithRequest).deadline(Duration::from_millis(30));
        let broker = builder.compiler(compiler.clone()).workers(1).build().unwrap();
        let thread = broker.register_thread().unwrap();
        let (stuck, other) = (bead(&broker, Guest::behaving(1, Behaviour::Hangs)), bead(&broker, Guest::new(2)));
        let _ = thread.on_invoke(stuck.as_ref());
        wait_for("the compile to begin", || compiler.compiles() == 1);
        if waits {
            broker.drain();
            assert_eq!(broker.stats().tiers[0].abandoned, 1);
        } else {
            wait_for("it to be given up", || {
                thread.on_invoke(stuck.as_ref()).is_none() && broker.stats().tiers[0].abandoned == 1
            });
        }
        wait_for("the other to be compiled", || thread.on_invoke(other.as_ref()).is_some());
        compiler.release_hung();
    }
}

/// The second worker comes though the first, which never returns, had nobody else to compile for.
#[cfg(feature = "threads")]
#[test]
fn the_first_worker_does_not_stay_alone() {
    let compiler = FakeCompiler::new();
    let builder: BrokerBuilder<Guest> = Broker::builder().mode(Mode::Background).policy(Tiered::new(0, 100)).max_beads(1 << 10);
    let broker = builder.compiler(compiler.clone()).workers(2).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let (stuck, other) = (bead(&broker, Guest::behaving(1, Behaviour::Hangs)), bead(&broker, Guest::new(2)));
    let _ = thread.on_invoke(stuck.as_ref());
    wait_for("the compile to begin", || compiler.compiles() == 1);
    wait_for("the other to be compiled", || thread.on_invoke(other.as_ref()).is_some());
    compiler.release_hung();
}
