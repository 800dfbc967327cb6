//! What is compiled first, and what must not wait for what.
#![cfg(feature = "threads")]

mod common;

use std::time::Duration;

use common::*;
use tierup_broker::{Bead, BeadSpec, Broker, LossReason, Mode, Transition};
use tierup_fake::{Behaviour, FakeCompiler, Guest};

/// So large that every estimate says so, whatever was measured before.
const HUGE: u32 = u32::MAX;

fn sized(broker: &Broker<Guest>, guest: Guest, size: u32) -> Bead<Guest> {
    broker.register(guest, BeadSpec { size }).unwrap()
}

fn small(broker: &Broker<Guest>) -> Vec<Bead<Guest>> {
    (0..100).map(|value| sized(broker, Guest::new(value), 100)).collect()
}

#[test]
fn huge_jobs_under_way_and_queued_do_not_delay_small_ones() {
    for workers in [2, 3] {
        let compiler = FakeCompiler::new();
        let broker = builder(Mode::Background, 0, &compiler).workers(workers).deadline(None).build().unwrap();
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
    let broker = builder(Mode::Background, 0, &compiler).workers(1).deadline(None).on_event(log.callback()).build().unwrap();
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
    assert_eq!((installed.len(), installed.last()), (102, Some(&huge.id())));
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
    invoke(&thread, &gate);
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
