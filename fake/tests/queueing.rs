//! What happens to requests while they wait, and what making one costs.

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use common::*;
use tierup_broker::{Broker, BrokerBuilder, InvalidateReason, LossReason, Mode, Reason, Threshold, Transition};
use tierup_fake::{FakeCompiler, Guest};

thread_local! {
    /// Allocations of this thread.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes on to the system's; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn two_tiers(mode: Mode, log: &Log) -> BrokerBuilder<Guest> {
    let builder = Broker::builder().mode(mode).policy(Threshold { calls: 1 }).max_beads(1 << 21).on_event(log.callback());
    builder.compiler(FakeCompiler::new()).compiler(FakeCompiler::new())
}

/// Ten thousand functions become hot in one turn: none is lost, each transition is told once, and no request allocates.
#[test]
fn ten_thousand_hot_at_once_cost_the_interpreter_no_allocation() {
    let log = Log::default();
    let broker = two_tiers(Mode::Pump, &log).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let beads: Vec<_> = (0..10_000).map(|value| bead(&broker, Guest::new(value))).collect();
    let before = ALLOCATIONS.get();
    for _ in 0..4 {
        for bead in &beads {
            assert!(thread.on_invoke(bead.as_ref()).is_none());
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "asking takes no memory");
    broker.drain();
    for _ in 0..4 {
        beads.iter().for_each(|bead| assert!(thread.on_invoke(bead.as_ref()).is_some()));
    }
    broker.drain();
    let events = log.take();
    for (tier, installed) in [(TIER1, 10_000), (TIER2, 10_000)] {
        let of = |what: fn(&Transition) -> bool| events.iter().filter(|event| event.to == tier && what(&event.what)).count();
        assert_eq!(of(|what| matches!(what, Transition::Requested(Reason::Budget))), installed);
        assert_eq!(of(|what| *what == Transition::Installed), installed);
    }
    assert_eq!(events.len(), 40_000, "nothing else happened");
    assert_eq!(broker.stats().pending, 0);
}

#[test]
#[cfg(feature = "threads")]
fn a_burst_of_requests_wakes_next_to_nobody() {
    let broker = two_tiers(Mode::Background, &Log::default()).workers(1).stale_after(None).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let beads: Vec<_> = (0..10_000).map(|value| bead(&broker, Guest::new(value))).collect();
    for bead in &beads {
        times(2, || invoke(&thread, bead));
    }
    broker.drain();
    let stats = broker.stats();
    assert_eq!(stats.tiers[0].installed, 10_000);
    assert!(stats.wakes < 500, "a worker that has just worked looks by itself: {} wakes", stats.wakes);
}

#[test]
#[cfg(feature = "threads")]
fn an_idle_worker_is_woken() {
    let broker = two_tiers(Mode::Background, &Log::default()).workers(1).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let [first, second] = [1, 2].map(|value| bead(&broker, Guest::new(value)));
    times(2, || invoke(&thread, &first));
    broker.drain();
    let before = broker.stats().wakes;
    // Longer than it looks by itself.
    std::thread::sleep(Duration::from_millis(500));
    times(2, || invoke(&thread, &second));
    wait_for("it to be compiled", || invoke(&thread, &second).is_some());
    assert!(broker.stats().wakes > before);
}

#[test]
fn while_many_wait_for_a_high_tier_the_lowest_will_do() {
    let log = Log::default();
    let broker = two_tiers(Mode::Pump, &log).build().unwrap();
    let beads: Vec<_> = (0..8).map(|value| bead(&broker, Guest::new(value))).collect();
    for bead in &beads[..7] {
        broker.promote(bead.as_ref(), TIER2, Reason::Pays);
    }
    broker.promote(beads[7].as_ref(), TIER2, Reason::Forced);
    broker.drain();
    let tiers: Vec<_> = beads.iter().map(|bead| broker.bead_stats(bead.as_ref()).unwrap().tier.index()).collect();
    // Eight wait when the forced one is taken, which gets what it asked for; seven and six when the next two are.
    assert_eq!(tiers, [1, 1, 2, 2, 2, 2, 2, 2]);
    let changed = log.take().into_iter().filter(|event| event.what == Transition::LevelChanged { asked: TIER2 });
    assert_eq!(changed.map(|event| event.to).collect::<Vec<_>>(), [TIER1, TIER1]);
    let stats = broker.stats();
    assert_eq!((stats.pending, stats.tiers[0].pending, stats.tiers[1].pending), (0, 0, 0));
}

type Cancel = fn(&Broker<Guest>, &tierup_broker::Bead<Guest>);

#[test]
fn waiting_requests_are_cancelled() {
    let cancel: [(&str, Cancel, LossReason); 5] = [
        ("reload", |broker, bead| assert!(broker.reload(bead.as_ref(), Guest::new(2))), LossReason::Changed),
        (
            "invalidate",
            |broker, bead| assert!(!broker.invalidate(bead.as_ref(), InvalidateReason::Requested)),
            LossReason::Changed,
        ),
        ("disable", |broker, bead| assert!(broker.disable(bead.as_ref())), LossReason::Disabled),
        (
            "limit",
            |broker, bead| assert!(broker.limit_tier(bead.as_ref(), tierup_broker::Tier::INTERPRETER)),
            LossReason::Changed,
        ),
        ("shut down", |broker, _| broker.shutdown(), LossReason::ShutDown),
    ];
    for (how, cancel, reason) in cancel {
        for queued in [false, true] {
            let log = Log::default();
            let broker = two_tiers(Mode::Pump, &log).build().unwrap();
            let bead = bead(&broker, Guest::new(1));
            broker.promote(bead.as_ref(), TIER1, Reason::Budget);
            if queued {
                // Seen by a worker, and in the queue.
                broker.run_pending(0);
            }
            cancel(&broker, &bead);
            broker.drain();
            broker.collect();
            assert_eq!((broker.stats().tiers[0].compiled, broker.stats().pending), (0, 0), "{how}");
            assert!(log.transitions().contains(&Transition::Dropped(reason)), "{how}");
        }
    }
}

/// Registering, dropping, walking and pruning a million at the same time.
#[test]
#[cfg(feature = "threads")]
fn a_million_beads_come_and_go_while_they_are_walked_and_pruned() {
    const PER_THREAD: u64 = 1 << 19;
    let broker = two_tiers(Mode::Pump, &Log::default()).build().unwrap();
    std::thread::scope(|scope| {
        let registrars: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let beads: Vec<_> = (0..PER_THREAD).map(|value| bead(&broker, Guest::new(value))).collect();
                    beads.into_iter().step_by(2).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut walked = 0;
        while registrars.iter().any(|registrar| !registrar.is_finished()) {
            broker.walk(|info| walked += u64::from(info.guest.value < PER_THREAD));
            broker.prune();
        }
        let kept: usize = registrars.into_iter().map(|registrar| registrar.join().unwrap()).map(|beads| beads.len()).sum();
        assert_eq!(kept as u64, PER_THREAD);
        assert!(walked > 0);
    });
    broker.prune();
    assert_eq!(broker.stats().beads, 0, "all are dropped with the registrars' results");
}
