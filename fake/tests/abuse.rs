//! The fourteen ways the incumbent breaks, and every other way a compiler can misbehave: each costs at most one promotion.

mod common;

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::*;
use tierup_broker::{
    Bailout, BailoutKind, Bead, Broker, CALL_WORK, CodeUnit, CompileRequest, Compiler, InvalidateReason, LossReason, Mode,
    Reason, Threshold, Tiered, Transition,
};
use tierup_fake::{Behaviour, FakeCompiler, Guest, call};

const MODES: &[Mode] = &[
    Mode::Sync,
    Mode::Pump,
    #[cfg(feature = "threads")]
    Mode::Background,
];

/// Makes `bead` ask, waits for the answer, and returns the bailout kinds of tier 1.
fn provoke(mode: Mode, behaviour: Behaviour) -> (Vec<BailoutKind>, Option<u64>, Option<u64>) {
    let (broker, compiler) = broker(mode, 0);
    let mut thread = broker.register_thread().unwrap();
    let (bad, good) = (bead(&broker, Guest::behaving(1, behaviour)), bead(&broker, Guest::new(2)));
    for _ in 0..3 {
        invoke(&thread, &bad);
        broker.drain();
    }
    invoke(&thread, &good);
    broker.drain();
    let results = (invoke(&thread, &bad), invoke(&thread, &good));
    let kinds = broker.stats().tiers[0].bailouts.iter().map(|&(kind, _)| kind).collect();
    assert_eq!(broker.stats().pending, 0);
    drop((bad, good));
    thread.quiescent();
    drop(thread);
    wait_for("every lease to be dropped", || {
        broker.collect();
        compiler.leases().outstanding() == 0
    });
    (kinds, results.0, results.1)
}

#[test]
fn a01_a_panicking_compile_costs_only_its_own_promotion() {
    for &mode in MODES {
        for behaviour in [Behaviour::Panics, Behaviour::PanicsOddly] {
            assert_eq!(provoke(mode, behaviour), (vec![BailoutKind::Panicked], None, Some(2)), "{mode:?}");
        }
    }
}

#[test]
fn a_compiler_may_give_up_or_return_null() {
    for &mode in MODES {
        assert_eq!(provoke(mode, Behaviour::Terminal), (vec![BailoutKind::Unsupported], None, Some(2)), "{mode:?}");
        assert_eq!(provoke(mode, Behaviour::Null), (vec![BailoutKind::NullCode], None, Some(2)), "{mode:?}");
    }
}

#[test]
fn a_lease_that_panics_hurts_nobody() {
    for &mode in MODES {
        assert_eq!(provoke(mode, Behaviour::LeasePanics), (vec![], Some(1), Some(2)), "{mode:?}");
    }
}

#[test]
fn a_unit_of_another_request_is_refused() {
    for &mode in MODES {
        let (broker, _) = broker(mode, 0);
        let beads = [1, 2].map(|value| bead(&broker, Guest::behaving(value, Behaviour::Foreign)));
        let first = broker.compile_now(beads[0].as_ref(), TIER1);
        assert!(first.is_err(), "the first has nothing foreign to return: {first:?}");
        let second = broker.compile_now(beads[1].as_ref(), TIER1);
        assert_eq!(second, Err(Bailout::terminal(tierup_broker::BailoutReason::ForeignUnit).into()), "{mode:?}");
    }
}

#[test]
fn a02_a_panic_in_a_higher_tier_is_known_and_leaves_the_lower_one_running() {
    let (low, high) = (FakeCompiler::new(), PanicsAlways);
    let broker =
        Broker::builder().mode(Mode::Sync).policy(Tiered::new(0, 1)).compiler(low).compiler(high).max_beads(16).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    for _ in 0..1000 {
        assert_eq!(invoke(&thread, &bead), Some(3));
    }
    let stats = broker.bead_stats(bead.as_ref()).unwrap();
    assert_eq!((stats.tier, stats.disabled, stats.pending), (TIER1, vec![TIER2], false));
    assert_eq!(broker.stats().tiers[1].bailouts, [(BailoutKind::Panicked, 1)]);
}

struct PanicsAlways;

// SAFETY: it never returns a unit.
unsafe impl Compiler<Guest> for PanicsAlways {
    fn name(&self) -> &str {
        "panics"
    }

    fn compile(&self, _: &CompileRequest<'_, Guest>) -> Result<CodeUnit, Bailout> {
        panic!("always")
    }
}

/// Functions that become hot together.
const HOT: usize = many(10_000, 40);

#[test]
fn a03_ten_thousand_beads_reach_the_next_tier_together() {
    for &mode in MODES {
        let compilers = [FakeCompiler::new(), FakeCompiler::new()];
        let builder = Broker::builder()
            .mode(mode)
            .policy(Tiered::new(0, 1))
            .compiler(compilers[0].clone())
            .compiler(compilers[1].clone())
            .max_beads(1 << 14);
        // On a busy machine the last of ten thousand waits for seconds, and does no work meanwhile.
        #[cfg(feature = "threads")]
        let builder = builder.stale_after(None);
        let broker = builder.build().unwrap();
        let thread = broker.register_thread().unwrap();
        let beads: Vec<_> = (0..HOT as u64).map(|value| bead(&broker, Guest::new(value))).collect();
        for _ in 0..3 {
            for bead in &beads {
                invoke(&thread, bead);
                invoke(&thread, bead);
            }
            broker.drain();
        }
        let stats = broker.stats();
        let behind = beads.iter().filter(|bead| thread.on_invoke(bead.as_ref()).is_none_or(|code| code.tier() != TIER2));
        assert_eq!(behind.count(), 0, "{mode:?}: {stats:?}");
        assert_eq!((stats.tiers[0].installed, stats.tiers[1].installed), (HOT as u64, HOT as u64));
    }
}

#[test]
fn a04_ten_thousand_hot_at_once_are_each_requested_once() {
    let (broker, compiler) = broker(Mode::Pump, 0);
    let thread = broker.register_thread().unwrap();
    let beads: Vec<_> = (0..HOT as u64).map(|value| bead(&broker, Guest::new(value))).collect();
    for _ in 0..5 {
        for bead in &beads {
            assert_eq!(invoke(&thread, bead), None);
        }
    }
    assert_eq!(broker.stats().pending, HOT);
    assert_eq!(broker.run_pending(usize::MAX), HOT);
    assert_eq!(compiler.compiles(), HOT);
    assert!(beads.iter().all(|bead| invoke(&thread, bead).is_some()));
    assert_eq!(broker.stats().tiers[0].requested, HOT as u64);
}

/// What a hook needs to find once everything is built.
#[derive(Default)]
struct Later {
    broker: Mutex<Option<Broker<Guest>>>,
    bead: OnceLock<Bead<Guest>>,
}

#[test]
fn a05_a_reload_during_a_compile_wins() {
    let later = Arc::new(Later::default());
    let (inner, seen) = (FakeCompiler::new(), Arc::clone(&later));
    let log = Log::default();
    let broker = Broker::builder()
        .mode(Mode::Pump)
        .policy(Threshold { calls: 0 })
        .compiler(Hooked(inner.clone(), move |request: &CompileRequest<'_, Guest>| {
            if request.guest().value == 1 {
                let broker = seen.broker.lock().unwrap().clone().unwrap();
                assert!(!request.is_cancelled());
                let bead = seen.bead.get().unwrap().as_ref();
                assert!(broker.reload(bead, Guest::new(2)));
                assert!(request.is_cancelled(), "the result is no longer wanted");
                assert!(broker.is_requested(bead, TIER1), "nor is it asked for again before this has returned");
            }
        }))
        .on_event(log.callback())
        .build()
        .unwrap();
    let _ = later.bead.set(bead(&broker, Guest::new(1)));
    *later.broker.lock().unwrap() = Some(broker.clone());
    let bead = later.bead.get().unwrap();
    let thread = broker.register_thread().unwrap();
    assert_eq!(invoke(&thread, bead), None);
    assert!(broker.is_requested(bead.as_ref(), TIER1));
    assert_eq!(broker.run_pending(1), 1);
    assert!(!broker.is_requested(bead.as_ref(), TIER1));
    assert_eq!(invoke(&thread, bead), None, "the old body's code must not be installed; the new body's is asked for");
    assert!(log.transitions().contains(&Transition::Lost(LossReason::Changed)));
    assert_eq!(inner.leases().outstanding(), 0, "and it is freed");
    broker.drain();
    assert_eq!(invoke(&thread, bead), Some(2));
    *later.broker.lock().unwrap() = None;
}

/// A compile of the old body fails after the reload: neither the tier nor the site is lost to the new one.
#[test]
fn what_the_old_body_failed_at_is_not_held_against_the_new_one() {
    for &mode in MODES {
        for behaviour in [Behaviour::Terminal, Behaviour::Null, Behaviour::Retryable(u32::MAX)] {
            for site in [None, Some(2)] {
                let later = Arc::new(Later::default());
                let seen = Arc::clone(&later);
                let hook = move |request: &CompileRequest<'_, Guest>| {
                    if request.guest().value == 1 {
                        let broker = seen.broker.lock().unwrap().clone().unwrap();
                        assert!(broker.reload(seen.bead.get().unwrap().as_ref(), Guest::new(2)));
                    }
                };
                let compiler = Hooked(FakeCompiler::with_osr(), hook);
                let builder = Broker::builder().mode(mode).policy(Threshold { calls: 1_000 }).compiler(compiler).max_beads(8);
                let broker = builder.build().unwrap();
                let guest = Guest { osr: behaviour, ..Guest::behaving(1, behaviour) };
                let _ = later.bead.set(bead(&broker, guest));
                *later.broker.lock().unwrap() = Some(broker.clone());
                let bead = later.bead.get().unwrap();
                match site {
                    None => broker.promote(bead.as_ref(), TIER1, Reason::Forced),
                    Some(site) => broker.promote_osr(bead.as_ref(), TIER1, site, Reason::Forced),
                }
                broker.drain();
                let stats = broker.bead_stats(bead.as_ref()).unwrap();
                assert_eq!((stats.tier.index(), stats.disabled), (0, vec![]), "{mode:?} {behaviour:?}");
                let compiled = match site {
                    None => broker.compile_now(bead.as_ref(), TIER1),
                    Some(site) => broker.compile_osr_now(bead.as_ref(), TIER1, site),
                };
                assert_eq!(compiled, Ok(()), "{mode:?} {behaviour:?} {site:?}");
                *later.broker.lock().unwrap() = None;
            }
        }
    }
}

/// The watchdog gives a compile up whose function was reloaded long ago.
#[test]
#[cfg(feature = "threads")]
fn a_hung_compile_of_the_old_body_costs_the_new_one_nothing() {
    let compiler = FakeCompiler::new();
    let broker = builder(Mode::Background, 1_000, &compiler).deadline(millis(100)).workers(1).build().unwrap();
    let bead = bead(&broker, Guest::behaving(1, Behaviour::Hangs));
    broker.promote(bead.as_ref(), TIER1, Reason::Forced);
    wait_for("the compile to begin", || compiler.compiles() == 1);
    assert!(broker.reload(bead.as_ref(), Guest::new(2)));
    wait_for("it to be given up", || broker.stats().tiers[0].abandoned == 1);
    assert_eq!(broker.bead_stats(bead.as_ref()).unwrap().disabled, []);
    compiler.release_hung();
    assert_eq!(broker.compile_now(bead.as_ref(), TIER1), Ok(()));
}

#[test]
#[cfg(feature = "threads")]
fn a06_reload_racing_install_never_leaves_stale_code() {
    let (broker, compiler) = broker(Mode::Background, 0);
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(0));
    for round in 1..many(3_000, 30) as u64 {
        invoke(&thread, &bead);
        if round % 3 == 0 {
            std::thread::yield_now();
        }
        assert!(broker.reload(bead.as_ref(), Guest::new(round)));
        if let Some(value) = invoke(&thread, &bead) {
            assert_eq!(value, round % tierup_fake::BODIES, "stale code in round {round}");
        }
        thread.quiescent();
    }
    broker.drain();
    thread.quiescent();
    broker.collect();
    drop((bead, thread));
    wait_for("every unit to be freed", || {
        broker.collect();
        compiler.leases().outstanding() == 0
    });
}

#[test]
fn a07_a_bailout_does_not_change_what_the_tiers_are_called() {
    let (broker, _) = broker(Mode::Sync, 0);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::behaving(4, Behaviour::Retryable(1)));
    assert_eq!(invoke(&thread, &bead), None);
    assert!(calls_until_native(&thread, &bead, 1000).is_some());
    assert_eq!(thread.on_invoke(bead.as_ref()).map(|code| code.tier()), Some(TIER1));
    broker.invalidate(bead.as_ref(), InvalidateReason::Requested);
    assert_eq!(thread.on_invoke(bead.as_ref()).map(|code| code.tier()), Some(TIER1));
}

#[test]
fn a08_after_a_reload_neither_calls_nor_loops_reach_discarded_code() {
    for &mode in MODES {
        let (broker, compiler) = broker(mode, 0);
        let mut thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(1));
        invoke(&thread, &bead);
        broker.drain();
        let old = thread.on_invoke(bead.as_ref()).expect("it is compiled").address();
        assert!(broker.reload(bead.as_ref(), Guest::new(2)));
        assert!(thread.on_back_edge(bead.as_ref(), 0, 1).is_none());
        // SAFETY: a fake unit's entry; this thread has not been quiescent since it was lent.
        assert_eq!(unsafe { call(old.as_ptr()) }, 1, "who was inside may finish");
        assert!(compiler.leases().outstanding() >= 1);
        assert_ne!(invoke(&thread, &bead), Some(1), "{mode:?}");
        broker.drain();
        for _ in 0..3 {
            assert_eq!(invoke(&thread, &bead), Some(2), "{mode:?}");
            assert!(thread.on_back_edge(bead.as_ref(), 0, 1).is_none());
        }
        thread.quiescent();
        wait_for("the old code to be freed", || {
            broker.collect();
            compiler.leases().outstanding() == 1
        });
    }
}

#[test]
fn a09_retryable_bailouts_back_off_exponentially_and_then_stop() {
    let (broker, compiler) = broker(Mode::Sync, 0);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::behaving(4, Behaviour::Retryable(u32::MAX)));
    let mut at = Vec::new();
    for call in 0..many(50_000, 20_000) as u32 {
        let before = compiler.compiles();
        assert_eq!(invoke(&thread, &bead), None);
        if compiler.compiles() > before {
            at.push(call);
        }
    }
    let waits: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(at.len(), 6, "compiles at calls {at:?}");
    assert!(waits.windows(2).all(|pair| (pair[0] * 2).abs_diff(pair[1]) <= 2), "each wait is twice the last: {waits:?}");
    assert_eq!(broker.bead_stats(bead.as_ref()).unwrap().disabled, [TIER1]);
}

#[test]
fn a10_a_failed_compile_is_told_apart_from_a_disabled_and_a_released_bead() {
    let log = Log::default();
    let compiler = FakeCompiler::new();
    let broker = builder(Mode::Sync, 0, &compiler).on_event(log.callback()).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let failing = bead(&broker, Guest::behaving(1, Behaviour::Terminal));
    let disabled = bead(&broker, Guest::new(2));
    invoke(&thread, &failing);
    broker.disable(disabled.as_ref());
    invoke(&thread, &disabled);
    broker.collect();
    let transitions = log.transitions();
    assert!(matches!(transitions[1], Transition::BailedOut { disabled: true, .. }), "{transitions:?}");
    assert_eq!(transitions[2..], [Transition::Disabled]);
    let [failing, disabled] = [&failing, &disabled].map(|bead| broker.bead_stats(bead.as_ref()).unwrap());
    assert_eq!((failing.disabled.len(), failing.frozen), (1, false));
    assert_eq!((disabled.disabled.len(), disabled.frozen), (0, true));

    let log = Log::default();
    let broker = builder(Mode::Pump, 0, &compiler).on_event(log.callback()).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let released = bead(&broker, Guest::new(3));
    invoke(&thread, &released);
    drop(released);
    broker.drain();
    broker.collect();
    let transitions = log.transitions();
    assert_eq!(transitions.last(), Some(&Transition::Dropped(LossReason::Released)), "{transitions:?}");
}

#[test]
fn a11_every_unit_ever_compiled_is_freed() {
    const BEADS: usize = many(100, 10);
    let (broker, compiler) = broker(Mode::Sync, 0);
    let mut thread = broker.register_thread().unwrap();
    let beads: Vec<_> = (0..BEADS as u64).map(|value| bead(&broker, Guest::new(value))).collect();
    for round in 0..20 {
        for bead in &beads {
            assert!(invoke(&thread, bead).is_some());
            match round % 3 {
                0 => assert!(broker.invalidate(bead.as_ref(), InvalidateReason::Requested)),
                1 => assert!(broker.reload(bead.as_ref(), Guest::new(round))),
                _ => assert!(broker.update_guest(bead.as_ref(), Guest::new(round))),
            }
        }
        thread.quiescent();
        assert!(compiler.leases().outstanding() <= BEADS, "round {round}: {}", compiler.leases().outstanding());
    }
    drop(beads);
    thread.quiescent();
    assert_eq!(compiler.leases().outstanding(), 0);
    assert!(compiler.leases().granted() > 10 * BEADS);
    let stats = broker.stats();
    assert_eq!((stats.code_live, stats.code_retired, stats.beads), (0, 0, 0));
}

#[test]
fn units_are_freed_when_broker_threads_and_beads_go_in_any_order() {
    for order in 0..6 {
        let (broker, compiler) = broker(Mode::Sync, 0);
        let thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(1));
        assert_eq!(invoke(&thread, &bead), Some(1));
        match order {
            0 => drop((broker, thread, bead)),
            1 => drop((broker, bead, thread)),
            2 => drop((thread, broker, bead)),
            3 => drop((thread, bead, broker)),
            4 => drop((bead, broker, thread)),
            _ => drop((bead, thread, broker)),
        }
        assert_eq!(compiler.leases().outstanding(), 0, "order {order}");
    }
}

#[test]
fn a12_a_million_beads_come_and_go() {
    const BEADS: usize = many(1 << 20, 1 << 8);
    let broker = Broker::<Guest>::builder().mode(Mode::Pump).max_beads(1 << 20).build().unwrap();
    let beads: Vec<_> = (0..BEADS as u64).map(|value| bead(&broker, Guest::new(value))).collect();
    assert_eq!(broker.stats().beads, BEADS);
    drop(beads);
    broker.prune();
    assert_eq!(broker.stats().beads, 0);
    let again = bead(&broker, Guest::new(1));
    assert_eq!(again.id().generation, 2, "slots are reused");
}

#[test]
fn a13a_callbacks_may_call_the_broker() {
    for &mode in MODES {
        let later = Arc::new(Later::default());
        let calls = Arc::new(AtomicUsize::new(0));
        let (seen, counted) = (Arc::clone(&later), Arc::clone(&calls));
        let compiler = FakeCompiler::new();
        let broker = builder(mode, 0, &compiler)
            .on_event(Arc::new(move |event| {
                let Some(broker) = seen.broker.lock().unwrap().clone() else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                broker.walk(|info| assert!(!info.stats.frozen));
                broker.stats();
                broker.collect();
                if event.what == Transition::Installed && event.bead.id == 0 {
                    let bead = seen.bead.get().unwrap();
                    broker.invalidate(bead.as_ref(), InvalidateReason::Requested);
                }
                broker.run_pending(0);
            }))
            .build()
            .unwrap();
        *later.broker.lock().unwrap() = Some(broker.clone());
        let _ = later.bead.set(bead(&broker, Guest::new(1)));
        let thread = broker.register_thread().unwrap();
        invoke(&thread, later.bead.get().unwrap());
        broker.drain();
        wait_for("the events", || {
            broker.collect();
            calls.load(Ordering::SeqCst) >= 3
        });
        *later.broker.lock().unwrap() = None;
    }
}

#[test]
fn a_panicking_callback_hurts_nobody() {
    for &mode in MODES {
        let compiler = FakeCompiler::new();
        let broker = builder(mode, 0, &compiler).on_event(Arc::new(|_| panic!("subscriber"))).build().unwrap();
        let thread = broker.register_thread().unwrap();
        for value in 1..4 {
            let bead = bead(&broker, Guest::new(value));
            invoke(&thread, &bead);
            broker.drain();
            assert_eq!(invoke(&thread, &bead), Some(value), "{mode:?}");
        }
    }
}

#[test]
#[cfg(feature = "threads")]
fn a13b_the_last_handle_may_be_dropped_inside_a_job() {
    let later = Arc::new(Later::default());
    let (seen, inner) = (Arc::clone(&later), FakeCompiler::new());
    let broker = Broker::builder()
        .mode(Mode::Background)
        .policy(Threshold { calls: 0 })
        .compiler(Hooked(inner.clone(), move |_: &CompileRequest<'_, Guest>| {
            while seen.broker.lock().unwrap().is_none() {
                std::thread::yield_now();
            }
            drop(seen.broker.lock().unwrap().take());
        }))
        .build()
        .unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    invoke(&thread, &bead);
    *later.broker.lock().unwrap() = Some(broker);
    wait_for("the job to drop the last handle", || later.broker.lock().unwrap().is_none());
    drop((thread, bead));
    wait_for("the code to be freed", || inner.leases().outstanding() == 0);
}

#[test]
#[cfg(feature = "threads")]
fn a13c_shutdown_does_not_wait_for_the_queue() {
    let log = Log::default();
    let compiler = FakeCompiler::new();
    let broker = builder(Mode::Background, 0, &compiler).on_event(log.callback()).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let slow = Behaviour::Slowly(Duration::from_millis(20));
    let beads: Vec<_> = (0..200).map(|value| bead(&broker, Guest::behaving(value, slow))).collect();
    for bead in &beads {
        invoke(&thread, bead);
    }
    wait_for("the first compile", || compiler.compiles() > 0);
    let start = std::time::Instant::now();
    broker.shutdown();
    // The queue would take four seconds. Miri's clock goes by the operations it has interpreted.
    let limit = Duration::from_millis(if cfg!(miri) { 2_000 } else { 500 });
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    wait_for("the requests to be dropped", || broker.stats().pending == 0);
    assert!(compiler.compiles() < 200);
    for bead in &beads {
        invoke(&thread, bead);
    }
    assert_eq!(broker.stats().pending, 0, "nothing is asked for any more");
    assert!(broker.compile_now(beads[199].as_ref(), TIER1).is_err());
}

#[test]
fn a14_counting_for_ever_never_wraps() {
    let broker =
        Broker::<Guest>::builder().mode(Mode::Sync).policy(Refuses).compiler(FakeCompiler::new()).max_beads(4).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    for _ in 0..many(200_000, 200) {
        assert!(thread.on_back_edge(bead.as_ref(), 0, u32::MAX).is_none());
        assert!(thread.on_back_edge(bead.as_ref(), 0, 1 << 30).is_none());
    }
    let (broker, _) = common::broker(Mode::Sync, u32::MAX);
    let thread = broker.register_thread().unwrap();
    let bead = common::bead(&broker, Guest::new(1));
    let before = broker.bead_stats(bead.as_ref()).unwrap().budget;
    assert!(before > 0);
    for _ in 0..3 {
        thread.on_back_edge(bead.as_ref(), 0, CALL_WORK);
    }
    assert_eq!(invoke(&thread, &bead), None);
}

#[test]
fn a_compile_that_hangs_until_cancelled_meets_its_deadline() {
    for &mode in MODES {
        let compiler = FakeCompiler::new();
        let broker = builder(mode, 0, &compiler).deadline(millis(30)).build().unwrap();
        let thread = broker.register_thread().unwrap();
        let (bad, good) = (bead(&broker, Guest::behaving(1, Behaviour::HangsUntilCancelled)), bead(&broker, Guest::new(2)));
        invoke(&thread, &bad);
        invoke(&thread, &good);
        broker.drain();
        assert_eq!(broker.stats().tiers[0].bailouts, [(BailoutKind::Deadline, 1)], "{mode:?}");
        assert_eq!((invoke(&thread, &bad), invoke(&thread, &good)), (None, Some(2)), "{mode:?}");
    }
}

#[test]
#[cfg(feature = "threads")]
fn a_worker_that_hangs_is_replaced_and_its_late_result_dropped() {
    let log = Log::default();
    let compiler = FakeCompiler::new();
    let broker = builder(Mode::Background, 0, &compiler).deadline(millis(20)).on_event(log.callback()).build().unwrap();
    let mut thread = broker.register_thread().unwrap();
    let (bad, good) = (bead(&broker, Guest::behaving(1, Behaviour::Hangs)), bead(&broker, Guest::new(2)));
    invoke(&thread, &bad);
    wait_for("the compile to begin", || compiler.compiles() == 1);
    invoke(&thread, &good);
    wait_for("the replacement to compile", || invoke(&thread, &good) == Some(2));
    broker.drain();
    let stats = broker.stats();
    assert_eq!((stats.tiers[0].abandoned, stats.tiers[0].off, stats.pending), (1, false, 0));
    assert!(log.transitions().contains(&Transition::Abandoned));
    let id = bad.id().id;
    drop(bad);
    thread.quiescent();
    broker.prune();
    let other = bead(&broker, Guest::new(3));
    assert_ne!(other.id().id, id, "a slot is not reused while a lost compile still reads it");
    compiler.release_hung();
    wait_for("the late result to be dropped", || compiler.leases().granted() == 2 && compiler.leases().outstanding() == 1);
    assert_eq!(broker.stats().pending, 0);
}

#[test]
#[cfg(feature = "threads")]
fn a_tier_whose_compiles_keep_hanging_is_turned_off() {
    let compiler = FakeCompiler::new();
    // One worker, so that no further compile hangs while the limit is being reached.
    let background = builder(Mode::Background, 0, &compiler).workers(1);
    let broker = background.deadline(millis(5)).max_abandoned(2).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let beads: Vec<_> = (0..4).map(|value| bead(&broker, Guest::behaving(value, Behaviour::Hangs))).collect();
    for bead in &beads {
        invoke(&thread, bead);
    }
    wait_for("the tier to be turned off", || broker.stats().tiers[0].off);
    broker.drain();
    assert_eq!((compiler.compiles(), broker.stats().tiers[0].abandoned), (2, 2));
    assert!(matches!(broker.compile_now(beads[3].as_ref(), TIER1), Err(tierup_broker::CompileNowError::NoSuchTier(TIER1))));
    compiler.release_hung();
}

#[test]
#[cfg(feature = "threads")]
fn many_threads_many_beads_and_every_operation_at_once() {
    let compiler = FakeCompiler::new();
    let broker = builder(Mode::Background, 3, &compiler).workers(2).build().unwrap();
    let beads: Vec<_> = (0..64).map(|value| bead(&broker, Guest::new(value))).collect();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut thread = broker.register_thread().unwrap();
                while !stop.load(Ordering::Relaxed) {
                    for bead in &beads {
                        invoke(&thread, bead);
                    }
                    thread.quiescent();
                }
            });
        }
        for round in 0..many(2_000, 100) as u64 {
            let bead = &beads[(round * 7 % 64) as usize];
            match round % 6 {
                0 => drop(broker.reload(bead.as_ref(), Guest::new(round))),
                1 => drop(broker.invalidate(bead.as_ref(), InvalidateReason::Requested)),
                2 => drop(broker.update_guest(bead.as_ref(), Guest::new(round))),
                3 => drop(broker.compile_now(bead.as_ref(), TIER1)),
                4 => drop(broker.register(Guest::new(round), Default::default())),
                _ => broker.walk(|info| assert!(info.guest.value < 3_000)),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    broker.drain();
    drop(beads);
    wait_for("every unit to be freed", || {
        broker.collect();
        compiler.leases().outstanding() == 0
    });
    let stats = broker.stats();
    assert_eq!((stats.beads, stats.pending, stats.code_live), (0, 0, 0));
}
