//! What happens to requests while they wait. (What making one costs: `request_path.rs`.)

mod common;

use std::time::Duration;

use common::*;
use tierup_broker::{Broker, BrokerBuilder, InvalidateReason, LossReason, Mode, Reason, Threshold, Transition};
use tierup_fake::{FakeCompiler, Guest};

fn two_tiers(mode: Mode, log: &Log) -> BrokerBuilder<Guest> {
    let builder = Broker::builder()
        .mode(mode)
        .policy(Threshold { calls: 1 })
        .max_beads(many(1 << 21, 1 << 11) as u32)
        .on_event(log.callback());
    builder.compiler(FakeCompiler::new()).compiler(FakeCompiler::new())
}

/// Functions that become hot together.
const HOT: usize = many(10_000, 100);

/// Ten thousand functions become hot in one turn: none is lost, and each transition is told once.
#[test]
fn ten_thousand_hot_at_once_are_each_told_once() {
    let log = Log::default();
    let broker = two_tiers(Mode::Pump, &log).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let beads: Vec<_> = (0..HOT as u64).map(|value| bead(&broker, Guest::new(value))).collect();
    for _ in 0..4 {
        for bead in &beads {
            assert!(thread.on_invoke(bead.as_ref()).is_none());
        }
    }
    broker.drain();
    for _ in 0..4 {
        beads.iter().for_each(|bead| assert!(thread.on_invoke(bead.as_ref()).is_some()));
    }
    broker.drain();
    let events = log.take();
    for (tier, installed) in [(TIER1, HOT), (TIER2, HOT)] {
        let of = |what: fn(&Transition) -> bool| events.iter().filter(|event| event.to == tier && what(&event.what)).count();
        assert_eq!(of(|what| matches!(what, Transition::Requested(Reason::Budget))), installed);
        assert_eq!(of(|what| *what == Transition::Installed), installed);
    }
    assert_eq!(events.len(), 4 * HOT, "nothing else happened");
    assert_eq!(broker.stats().pending, 0);
}

#[test]
#[cfg(feature = "threads")]
fn a_burst_of_requests_wakes_next_to_nobody() {
    let broker = two_tiers(Mode::Background, &Log::default()).workers(1).stale_after(None).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let beads: Vec<_> = (0..HOT as u64).map(|value| bead(&broker, Guest::new(value))).collect();
    for bead in &beads {
        times(2, || invoke(&thread, bead));
    }
    broker.drain();
    let stats = broker.stats();
    assert_eq!(stats.tiers[0].installed, HOT as u64);
    assert!(stats.wakes < 500, "a worker that has just worked looks by itself: {} wakes", stats.wakes);
}

/// Longer than a worker polls.
#[cfg(feature = "threads")]
const IDLE: Duration = Duration::from_millis(many(500, 5_000) as u64);

#[test]
#[cfg(feature = "threads")]
fn who_asks_for_code_wakes_nobody() {
    let broker = two_tiers(Mode::Background, &Log::default()).workers(2).build().unwrap();
    let thread = broker.register_thread().unwrap();
    std::thread::sleep(IDLE);
    // One, if the worker was asleep already when the thread came online.
    let before = broker.stats().wakes;
    for value in 0..3 {
        let bead = bead(&broker, Guest::new(value));
        times(2, || invoke(&thread, &bead));
        // The worker looks for itself.
        wait_for("it to be compiled", || invoke(&thread, &bead).is_some());
        std::thread::sleep(IDLE / 5);
    }
    assert_eq!(broker.stats().wakes, before);
}

#[test]
#[cfg(feature = "threads")]
fn a_worker_sleeps_while_no_thread_is_online_and_is_woken_by_who_is_next() {
    let broker = two_tiers(Mode::Background, &Log::default()).workers(1).build().unwrap();
    let mut thread = broker.register_thread().unwrap();
    let [first, second] = [1, 2].map(|value| bead(&broker, Guest::new(value)));
    thread.offline(|| std::thread::sleep(IDLE));
    assert_eq!(broker.stats().wakes, 1, "coming online wakes it");
    times(2, || invoke(&thread, &first));
    wait_for("it to be compiled", || invoke(&thread, &first).is_some());
    assert_eq!(broker.stats().wakes, 1);
    thread.offline(|| {
        std::thread::sleep(IDLE);
        broker.promote(second.as_ref(), TIER1, Reason::Forced);
        wait_for("it to be compiled", || broker.bead_stats(second.as_ref()).unwrap().tier == TIER1);
    });
    assert_eq!(broker.stats().wakes, 2, "so does a host that asks");
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
    const PER_THREAD: u64 = many(1 << 19, 1 << 7) as u64;
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
