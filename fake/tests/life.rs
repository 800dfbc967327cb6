//! The life of a function, step by step, in every mode.

mod common;

use common::*;
use tierup_broker::{Broker, CALL_WORK, InvalidateReason, LossReason, Mode, Reason, Tier, Tiered, Transition};
use tierup_fake::{Behaviour, FakeCompiler, Guest};

/// The mode under test makes progress.
fn settle(broker: &Broker<Guest>) {
    broker.drain();
}

const MODES: &[Mode] = &[
    Mode::Sync,
    Mode::Pump,
    #[cfg(feature = "threads")]
    Mode::Background,
];

#[test]
fn one_thread_meets_the_threshold_exactly() {
    for calls in [0, 1, 2, 10, 1000, 12_345].into_iter().take(many(6, 5)) {
        let (broker, _) = broker(Mode::Sync, calls);
        let thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(3));
        assert_eq!(calls_until_native(&thread, &bead, 20_000), Some(calls as usize), "threshold {calls}");
    }
}

#[test]
fn loops_count_towards_the_threshold() {
    let (broker, _) = broker(Mode::Sync, 10);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    assert_eq!(invoke(&thread, &bead), None);
    for _ in 0..9 {
        assert!(thread.on_back_edge(bead.as_ref(), 0, CALL_WORK).is_none());
    }
    assert_eq!(invoke(&thread, &bead), Some(3));
}

#[test]
fn all_modes_give_the_same_results() {
    for &mode in MODES {
        let (broker, compiler) = broker(mode, 5);
        let mut thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(6));
        for _ in 0..5 {
            assert_eq!(invoke(&thread, &bead), None, "{mode:?}");
        }
        // The call that spends the budget: native at once only where the caller compiles.
        let native = invoke(&thread, &bead).is_some();
        match mode {
            Mode::Sync => assert!(native),
            Mode::Pump => assert!(!native),
            // A worker may be that quick.
            _ => {}
        }
        settle(&broker);
        assert_eq!(invoke(&thread, &bead), Some(6), "{mode:?}");
        assert_eq!(thread.on_invoke(bead.as_ref()).map(|code| code.tier()), Some(TIER1));
        let stats = broker.stats();
        assert_eq!((stats.tiers[0].requested, stats.tiers[0].installed, stats.code_live), (1, 1, 64), "{mode:?}");
        drop(bead);
        thread.quiescent();
        drop(thread);
        broker.collect();
        wait_for("the code to be freed", || {
            broker.collect();
            compiler.leases().outstanding() == 0
        });
        assert_eq!(broker.stats().code_reclaimed, 64);
    }
}

#[test]
fn two_tiers_are_climbed_one_after_the_other() {
    let compilers = [FakeCompiler::new(), FakeCompiler::new()];
    let broker = Broker::builder()
        .mode(Mode::Sync)
        .policy(Tiered::new(3, 5))
        .compiler(compilers[0].clone())
        .compiler(compilers[1].clone())
        .max_beads(16)
        .build()
        .unwrap();
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    let tiers: Vec<_> = (0..12).map(|_| thread.on_invoke(bead.as_ref()).map_or(0, |code| code.tier().index())).collect();
    assert_eq!(tiers, [0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2], "three calls pay for tier 1, five more for tier 2");
    thread.quiescent();
    assert_eq!(compilers[0].leases().outstanding(), 0, "the replaced unit is freed");
    assert_eq!(compilers[1].leases().outstanding(), 1);
}

#[test]
fn requesting_ahead_spends_less() {
    let compiler = FakeCompiler::new();
    let broker = Broker::builder()
        .mode(Mode::Sync)
        .policy(Tiered::new(100, 100).queue_ahead(25))
        .compiler(compiler)
        .max_beads(16)
        .build()
        .unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    assert_eq!(calls_until_native(&thread, &bead, 200), Some(75));
}

#[test]
fn threads_share_a_threshold() {
    let (broker, _) = broker(Mode::Pump, 10_000);
    let bead = bead(&broker, Guest::new(1));
    let calls = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let thread = broker.register_thread().unwrap();
                while broker.stats().pending == 0 {
                    for _ in 0..10 {
                        assert_eq!(invoke(&thread, &bead), None);
                        calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let calls = calls.into_inner();
    // Never more than once the threshold, plus what is done until everybody has noticed; never less than
    // what idle slices may hold back.
    assert!((5_000..=11_000).contains(&calls), "{calls} calls for a threshold of 10,000");
}

#[test]
fn unused_slices_return_when_a_thread_ends() {
    let (broker, _) = broker(Mode::Sync, 1000);
    let bead = bead(&broker, Guest::new(1));
    let mut calls = 0;
    'threads: loop {
        let thread = broker.register_thread().unwrap();
        for _ in 0..7 {
            if invoke(&thread, &bead).is_some() {
                break 'threads;
            }
            calls += 1;
        }
    }
    assert_eq!(calls, 1000);
}

#[test]
fn invalidated_code_is_not_entered_and_comes_back() {
    let log = Log::default();
    let compiler = FakeCompiler::new();
    let broker = builder(Mode::Sync, 2, &compiler).on_event(log.callback()).build().unwrap();
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(4));
    assert_eq!(calls_until_native(&thread, &bead, 10), Some(2));
    assert!(broker.invalidate(bead.as_ref(), InvalidateReason::Assumption));
    assert!(!broker.invalidate(bead.as_ref(), InvalidateReason::Assumption), "there is nothing left to invalidate");
    assert_eq!(invoke(&thread, &bead), None);
    assert_eq!(compiler.leases().outstanding(), 1, "retired, but this thread may be inside");
    thread.quiescent();
    assert_eq!(compiler.leases().outstanding(), 0);
    assert_eq!(calls_until_native(&thread, &bead, 10), Some(1), "counting started over; one of two calls was made");
    broker.collect();
    assert_eq!(
        log.transitions(),
        [
            Transition::Requested(Reason::Budget),
            Transition::Installed,
            Transition::Invalidated(InvalidateReason::Assumption),
            Transition::Requested(Reason::Budget),
            Transition::Installed,
        ]
    );
}

#[test]
fn reload_replaces_the_body_and_forgets_failures() {
    let (broker, compiler) = broker(Mode::Sync, 0);
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::behaving(4, Behaviour::Terminal));
    assert_eq!(calls_until_native(&thread, &bead, 1000), None);
    assert_eq!(compiler.compiles(), 1, "a terminal bailout is final for this body");
    assert!(broker.reload(bead.as_ref(), Guest::new(5)));
    assert_eq!(invoke(&thread, &bead), Some(5));
    assert_eq!(broker.reload_all(|guest| Some(Guest::new(guest.value + 1))), 1);
    assert_eq!(invoke(&thread, &bead), Some(6));
    thread.quiescent();
    assert_eq!(compiler.leases().outstanding(), 1);
}

#[test]
fn a_new_handle_keeps_the_code() {
    let (broker, compiler) = broker(Mode::Sync, 0);
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(4));
    assert_eq!(invoke(&thread, &bead), Some(4));
    assert!(broker.update_guest(bead.as_ref(), Guest::new(5)));
    assert_eq!(invoke(&thread, &bead), Some(4), "same body, same code");
    thread.quiescent();
    assert_eq!((compiler.compiles(), compiler.leases().outstanding()), (1, 1));
    let mut seen = Vec::new();
    broker.walk(|info| seen.push((info.id, info.guest.value, info.stats.tier)));
    assert_eq!(seen, [(bead.id(), 5, TIER1)]);
    assert!(broker.invalidate(bead.as_ref(), InvalidateReason::Requested));
    assert_eq!(invoke(&thread, &bead), Some(5), "the next compile sees the new handle");
}

#[test]
fn a_disabled_bead_stays_interpreted_until_it_is_reloaded() {
    let (broker, compiler) = broker(Mode::Sync, 0);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(4));
    assert_eq!(invoke(&thread, &bead), Some(4));
    assert!(broker.disable(bead.as_ref()));
    assert_eq!(calls_until_native(&thread, &bead, 10_000), None);
    assert!(broker.compile_now(bead.as_ref(), TIER1).is_err());
    assert_eq!(compiler.compiles(), 1);
    assert!(broker.reload(bead.as_ref(), Guest::new(3)));
    assert_eq!(invoke(&thread, &bead), Some(3));
}

#[test]
fn a_policy_that_says_never_is_not_asked_again_and_is_heard_once() {
    for &mode in MODES {
        let log = Log::default();
        let compiler = FakeCompiler::new();
        let broker =
            Broker::builder().mode(mode).policy(Refuses).compiler(compiler.clone()).on_event(log.callback()).build().unwrap();
        let thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(4));
        assert_eq!(calls_until_native(&thread, &bead, 1000), None);
        settle(&broker);
        wait_for("the event", || {
            broker.collect();
            broker.run_pending(0);
            true
        });
        settle(&broker);
        assert_eq!(log.transitions(), [Transition::Never(tierup_broker::NeverReason::Excluded)], "{mode:?}");
        assert_eq!(compiler.compiles(), 0);
        assert!(broker.bead_stats(bead.as_ref()).unwrap().frozen);
    }
}

#[test]
fn compile_now_and_forced_promotion() {
    for &mode in MODES {
        let (broker, compiler) = broker(mode, 1_000_000);
        let thread = broker.register_thread().unwrap();
        let beads = [1, 2].map(|value| bead(&broker, Guest::new(value)));
        assert_eq!(broker.compile_now(beads[0].as_ref(), TIER1), Ok(()));
        assert_eq!(broker.compile_now(beads[0].as_ref(), TIER1), Ok(()), "already there");
        assert!(broker.compile_now(beads[0].as_ref(), TIER2).is_err());
        assert!(broker.compile_now(beads[0].as_ref(), Tier::new(200)).is_err());
        assert_eq!(invoke(&thread, &beads[0]), Some(1));
        broker.promote(beads[1].as_ref(), TIER1, Reason::Forced);
        broker.promote(beads[1].as_ref(), TIER2, Reason::Forced);
        settle(&broker);
        assert_eq!(invoke(&thread, &beads[1]), Some(2));
        assert_eq!(compiler.compiles(), 2);
    }
}

#[test]
fn a_bead_of_another_broker_is_refused() {
    let (ours, _) = broker(Mode::Sync, 0);
    let (theirs, _) = broker(Mode::Sync, 0);
    let bead = bead(&theirs, Guest::new(1));
    assert!(ours.compile_now(bead.as_ref(), TIER1).is_err());
    assert!(!ours.invalidate(bead.as_ref(), InvalidateReason::Requested));
    assert!(!ours.reload(bead.as_ref(), Guest::new(2)));
    assert!(ours.bead_stats(bead.as_ref()).is_none());
}

#[test]
fn slots_are_reused_with_another_generation() {
    let (broker, _) = broker(Mode::Sync, 3);
    let mut thread = broker.register_thread().unwrap();
    let mut ids = Vec::new();
    for round in 0..10 {
        let bead = bead(&broker, Guest::new(round));
        ids.push(bead.id());
        assert_eq!(calls_until_native(&thread, &bead, 10), Some(3), "a fresh bead counts from the start");
        drop(bead);
        thread.quiescent();
        broker.prune();
    }
    assert!(ids.iter().all(|id| id.id == ids[0].id), "{ids:?}");
    assert_eq!(ids.iter().map(|id| id.generation).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
}

#[test]
fn the_registry_is_bounded_by_its_limit() {
    let broker = Broker::<Guest>::builder().mode(Mode::Pump).max_beads(3).build().unwrap();
    let beads: Vec<_> = (0..3).map(|value| bead(&broker, Guest::new(value))).collect();
    assert!(broker.register(Guest::new(9), Default::default()).is_err());
    drop(beads);
    broker.prune();
    assert!(broker.register(Guest::new(9), Default::default()).is_ok());
}

#[test]
fn a_request_is_dropped_when_the_function_changes_first() {
    let log = Log::default();
    let compiler = FakeCompiler::new();
    let broker = builder(Mode::Pump, 0, &compiler).on_event(log.callback()).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(4));
    invoke(&thread, &bead);
    broker.prune();
    assert!(broker.reload(bead.as_ref(), Guest::new(5)));
    broker.drain();
    assert_eq!(compiler.compiles(), 0);
    assert_eq!(
        log.transitions(),
        [Transition::Requested(Reason::FirstCall), Transition::Dropped(LossReason::Changed), Transition::Reloaded]
    );
    assert_eq!(broker.stats().pending, 0);
}

#[test]
fn offline_threads_are_not_waited_for() {
    let (broker, compiler) = broker(Mode::Sync, 0);
    let mut waiting = broker.register_thread().unwrap();
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(4));
    assert_eq!(invoke(&thread, &bead), Some(4));
    broker.invalidate(bead.as_ref(), InvalidateReason::Requested);
    thread.quiescent();
    assert_eq!(compiler.leases().outstanding(), 1, "the other thread is online");
    waiting.offline(|| {
        broker.collect();
        assert_eq!(compiler.leases().outstanding(), 0);
    });
}
