//! What is compiled first, and what must not wait for what.
#![cfg(feature = "threads")]

mod common;

use std::time::Duration;

use common::*;
use tierup_broker::{Bead, BeadSpec, Broker, BrokerBuilder, ConfigError, LossReason, Mode, Reason, Threshold, Tier, Transition};
use tierup_fake::{Behaviour, FakeCompiler, Guest};

/// So large that every estimate says so, whatever was measured before.
const HUGE: u32 = u32::MAX;

fn sized(broker: &Broker<Guest>, guest: Guest, size: u32) -> Bead<Guest> {
    broker.register(guest, BeadSpec { size }).unwrap()
}

fn small(broker: &Broker<Guest>) -> Vec<Bead<Guest>> {
    (0..many(100, 20) as u64).map(|value| sized(broker, Guest::new(value), 100)).collect()
}

#[test]
fn huge_jobs_under_way_and_queued_do_not_delay_small_ones() {
    for workers in [2, 3] {
        let compiler = FakeCompiler::new();
        let broker = builder(Mode::Background, 0, &compiler).workers(workers).deadline(None).stale_after(None).build().unwrap();
        let thread = broker.register_thread().unwrap();
        let huge: Vec<_> = (0..4).map(|value| sized(&broker, Guest::behaving(value, Behaviour::Hangs), HUGE)).collect();
        for bead in &huge {
            invoke(&thread, bead);
        }
        wait_for("the huge ones to begin", || compiler.compiles() == workers - 1);
        let small = small(&broker);
        for bead in &small {
            invoke(&thread, bead);
        }
        wait_for("the small ones", || small.iter().all(|bead| invoke(&thread, bead).is_some()));
        assert_eq!(compiler.compiles(), workers - 1 + small.len(), "no worker that is kept for small jobs began a huge one");
        compiler.release_hung();
        wait_for("the huge ones", || huge.iter().all(|bead| invoke(&thread, bead).is_some()));
    }
}

#[test]
fn with_one_worker_small_jobs_go_before_a_huge_one() {
    let (log, compiler) = (Log::default(), FakeCompiler::new());
    let builder = builder(Mode::Background, 0, &compiler).workers(1).deadline(None).stale_after(None);
    let broker = builder.on_event(log.callback()).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let gate = sized(&broker, Guest::behaving(0, Behaviour::Hangs), 100);
    invoke(&thread, &gate);
    wait_for("the worker to be busy", || compiler.compiles() == 1);
    let huge = sized(&broker, Guest::new(1), HUGE);
    invoke(&thread, &huge);
    let small = small(&broker);
    for bead in &small {
        invoke(&thread, bead);
    }
    compiler.release_hung();
    broker.drain();
    let installed: Vec<_> =
        log.take().into_iter().filter(|event| event.what == Transition::Installed).map(|event| event.bead).collect();
    assert_eq!((installed.len(), installed.last()), (small.len() + 2, Some(&huge.id())));
}

#[test]
fn a_request_of_a_function_that_went_cold_is_dropped_and_may_be_made_again() {
    let (log, compiler) = (Log::default(), FakeCompiler::new());
    let limit = Duration::from_millis(20);
    let builder = builder(Mode::Background, 0, &compiler).workers(1).deadline(None).stale_after(limit);
    let broker = builder.on_event(log.callback()).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let gate = sized(&broker, Guest::behaving(0, Behaviour::Hangs), 100);
    let cold = sized(&broker, Guest::new(1), 100);
    // Never stale itself.
    broker.promote(gate.as_ref(), TIER1, Reason::Forced);
    wait_for("the worker to be busy", || compiler.compiles() == 1);
    invoke(&thread, &cold);
    std::thread::sleep(limit * 4);
    compiler.release_hung();
    broker.drain();
    assert!(log.transitions().contains(&Transition::Dropped(LossReason::Stale)));
    assert_eq!((compiler.compiles(), broker.stats().tiers[0].dropped), (1, 1));
    wait_for("it to be hot again", || invoke(&thread, &cold).is_some());
}

#[test]
fn the_pace_of_a_tier_is_learned() {
    let (broker, _) = broker(Mode::Sync, 0);
    let thread = broker.register_thread().unwrap();
    let before = broker.stats().tiers[0].nanos_per_unit;
    let slow = Behaviour::Slowly(Duration::from_millis(20));
    invoke(&thread, &sized(&broker, Guest::behaving(1, slow), 100));
    let after = broker.stats().tiers[0].nanos_per_unit;
    assert!(after > before + 10_000.0, "{before} ns per unit, {after} after a compile at 120,000");
}

/// Two tiers, the upper of which hangs.
fn hogged(workers: usize, dedicated: &[Tier]) -> (Broker<Guest>, [FakeCompiler; 2]) {
    let compilers = [FakeCompiler::new(), FakeCompiler::new()];
    let builder = compilers.iter().cloned().fold(Broker::builder(), BrokerBuilder::compiler);
    let builder = builder.mode(Mode::Background).policy(Threshold { calls: u32::MAX }).deadline(None).max_beads(256);
    let builder = dedicated.iter().fold(builder.workers(workers), |builder, &tier| builder.workers_for(tier, 1));
    (builder.build().unwrap(), compilers)
}

#[test]
fn who_hogs_a_tier_delays_none_that_has_workers_of_its_own() {
    for (workers, dedicated) in [(0, &[TIER1, TIER2][..]), (0, &[TIER2, TIER1]), (1, &[TIER1]), (2, &[TIER1, TIER1])] {
        for online in [true, false] {
            let (broker, [low, high]) = hogged(workers, dedicated);
            let thread = online.then(|| broker.register_thread().unwrap());
            // More than there are workers that could take them.
            // None of them is large, even before the tier's pace is known.
            let hogs: Vec<_> = (0..4).map(|value| sized(&broker, Guest::behaving(value, Behaviour::Hangs), 10)).collect();
            hogs.iter().for_each(|bead| broker.promote(bead.as_ref(), TIER2, Reason::Forced));
            let taken = if workers == 0 { 1 } else { workers };
            wait_for("the hogs to begin", || high.compiles() == taken);
            let small = small(&broker);
            small.iter().for_each(|bead| broker.promote(bead.as_ref(), TIER1, Reason::Forced));
            wait_for("the small ones", || broker.stats().tiers[0].installed == small.len() as u64);
            assert_eq!((low.compiles(), high.compiles()), (small.len(), taken), "who compiles for one tier takes nothing else");
            high.release_hung();
            wait_for("the hogs", || broker.stats().tiers[1].installed == hogs.len() as u64);
            drop(thread);
        }
    }
}

/// A worker that is given up is replaced by one of its kind.
#[test]
fn a_dedicated_worker_that_hangs_is_replaced_by_another() {
    let compilers = [FakeCompiler::new(), FakeCompiler::new()];
    let builder = compilers.iter().cloned().fold(Broker::builder(), BrokerBuilder::compiler).mode(Mode::Background).workers(0);
    let builder = builder.workers_for(TIER1, 1).workers_for(TIER2, 1).deadline(millis(20)).max_beads(16);
    let broker = builder.policy(Threshold { calls: u32::MAX }).build().unwrap();
    let (bad, good) = (bead(&broker, Guest::behaving(1, Behaviour::Hangs)), bead(&broker, Guest::new(2)));
    for tier in [TIER2, TIER1] {
        broker.promote(bad.as_ref(), tier, Reason::Forced);
        wait_for("it to be given up", || broker.stats().tiers[tier.index() as usize - 1].abandoned == 1);
    }
    for tier in [TIER1, TIER2] {
        broker.promote(good.as_ref(), tier, Reason::Forced);
        wait_for("the replacement", || broker.bead_stats(good.as_ref()).unwrap().tier == tier);
    }
    compilers.iter().for_each(FakeCompiler::release_hung);
}

/// While many wait for the upper tier, those that are interpreted get the lower one, from whose worker is for that.
#[test]
fn a_request_that_changes_its_tier_goes_to_that_tiers_worker() {
    let compilers = [FakeCompiler::new(), FakeCompiler::new()];
    let builder = compilers.iter().cloned().fold(Broker::builder(), BrokerBuilder::compiler).mode(Mode::Background).workers(0);
    let builder = builder.workers_for(TIER1, 1).workers_for(TIER2, 1).deadline(None).stale_after(None).max_beads(64);
    let broker = builder.policy(Threshold { calls: u32::MAX }).build().unwrap();
    let gate = bead(&broker, Guest::behaving(0, Behaviour::Hangs));
    broker.promote(gate.as_ref(), TIER2, Reason::Forced);
    wait_for("the worker to be busy", || compilers[1].compiles() == 1);
    let beads: Vec<_> = (0..30).map(|value| bead(&broker, Guest::new(value))).collect();
    beads.iter().for_each(|bead| broker.promote(bead.as_ref(), TIER2, Reason::Budget));
    compilers[1].release_hung();
    broker.drain();
    let tiers: Vec<_> = beads.iter().map(|bead| broker.bead_stats(bead.as_ref()).unwrap().tier).collect();
    assert!(tiers.iter().all(|tier| !tier.is_interpreter()), "none is lost: {tiers:?}");
    assert!(tiers.contains(&TIER1) && compilers[0].compiles() >= 20, "{tiers:?}");
}

#[test]
fn impossible_crews_are_refused() {
    let build = |workers: usize, dedicated: &[(Tier, usize)]| {
        let builder = [FakeCompiler::new(), FakeCompiler::new()].into_iter().fold(Broker::builder(), BrokerBuilder::compiler);
        let builder = dedicated.iter().fold(builder, |builder, &(tier, workers)| builder.workers_for(tier, workers));
        builder.workers(workers).build().err()
    };
    assert_eq!(build(0, &[]), Some(ConfigError::Workers { given: 0, limit: 32 }));
    assert_eq!(build(33, &[]), Some(ConfigError::Workers { given: 33, limit: 32 }));
    assert_eq!(build(30, &[(TIER1, 1), (TIER2, 2)]), Some(ConfigError::Workers { given: 33, limit: 32 }));
    assert_eq!(build(1, &[(TIER1, usize::MAX), (TIER2, 2)]), Some(ConfigError::Workers { given: usize::MAX, limit: 32 }));
    assert_eq!(build(1, &[(Tier::new(3), 1)]), Some(ConfigError::NoCompiler(Tier::new(3))));
    assert_eq!(build(0, &[(TIER1, 1), (TIER2, 0)]), Some(ConfigError::NoWorker(TIER2)));
    assert_eq!(build(0, &[(TIER1, 1), (TIER2, 1)]), None);
}
