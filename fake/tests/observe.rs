//! Looking on from outside: subscribers that come and go, and beads found by id and name.

mod common;

use std::ops::ControlFlow;

use common::*;
use tierup_broker::{BeadId, Broker, InvalidateReason, Mode, Reason};
use tierup_fake::{FakeCompiler, Guest};

#[test]
fn subscribers_are_told_from_when_they_come_until_they_go() {
    let (built, early, late) = (Log::default(), Log::default(), Log::default());
    let broker = builder(Mode::Pump, 10, &FakeCompiler::new()).on_event(built.callback()).build().unwrap();
    let bead = bead(&broker, Guest::new(1));
    let happens = || {
        broker.disable(bead.as_ref());
        broker.collect();
    };
    let subscribe = |log: &Log| {
        let tell = log.callback();
        broker.subscribe(move |event| tell(event))
    };
    let first = subscribe(&early);
    happens();
    let second = subscribe(&late);
    happens();
    drop(first);
    happens();
    drop(second);
    happens();
    assert_eq!([&built, &early, &late].map(|log| log.take().len()), [4, 2, 2]);
}

#[test]
fn a_subscriber_may_panic_subscribe_and_unsubscribe() {
    let log = Log::default();
    let broker = builder(Mode::Pump, 10, &FakeCompiler::new()).build().unwrap();
    let _panics = broker.subscribe(|_| panic!("this subscriber was told to panic"));
    let tell = log.callback();
    let inner = std::sync::Mutex::new(None);
    let other = broker.clone();
    let outer = broker.subscribe(move |_| {
        let tell = std::sync::Arc::clone(&tell);
        // Replaces, and so drops, the subscription of the event before.
        *inner.lock().unwrap() = Some(other.subscribe(move |event| tell(event)));
    });
    let bead = bead(&broker, Guest::new(1));
    for _ in 0..3 {
        broker.disable(bead.as_ref());
        broker.collect();
    }
    assert_eq!(log.take().len(), 2, "each but the last is told of by the subscriber that its predecessor made");
    drop(outer);
    broker.disable(bead.as_ref());
    broker.collect();
    assert_eq!(log.take().len(), 0, "and that one went with it");
}

/// The bead that has this id now.
fn id_of(broker: &Broker<Guest>, id: u32) -> Option<BeadId> {
    broker.walk_from(id, |info| ControlFlow::Break((info.id.id == id).then_some(info.id))).break_value().flatten()
}

#[test]
fn a_walk_begins_and_ends_where_it_is_told_to() {
    let compiler = FakeCompiler::new();
    let broker = builder(Mode::Sync, 10, &compiler).describe(|guest: &Guest| format!("guest {}", guest.value)).build().unwrap();
    let mut beads: Vec<_> = (0..6).map(|value| Some(bead(&broker, Guest::new(value)))).collect();
    beads[3] = None;
    let mut seen = Vec::new();
    let end = broker.walk_from(2, |info| {
        seen.push(broker.describe(info.guest));
        if info.guest.value == 4 { ControlFlow::Break(info.id.id) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((seen, end), (vec!["guest 2".to_owned(), "guest 4".to_owned()], ControlFlow::Break(4)));
    assert_eq!(id_of(&broker, 5), beads[5].as_ref().map(|bead| bead.id()));
    assert_eq!((id_of(&broker, 3), id_of(&broker, 6), id_of(&broker, u32::MAX)), (None, None, None));
}

#[test]
fn a_bead_that_is_looked_at_can_be_acted_on_and_released() {
    let (broker, compiler) = broker(Mode::Sync, u32::MAX);
    let mut owned = Some(bead(&broker, Guest::new(1)));
    let outcome = broker.walk_from(0, |info| {
        broker.promote(info.bead, TIER1, Reason::Forced);
        let installed = broker.bead_stats(info.bead).is_some_and(|stats| stats.tier == TIER1);
        let had_code = broker.invalidate(info.bead, InvalidateReason::Requested);
        // Its owner lets go of it while it is looked at: nothing comes of what is asked for now.
        owned = None;
        broker.promote(info.bead, TIER1, Reason::Forced);
        broker.update_guest(info.bead, Guest::new(2));
        broker.reload(info.bead, Guest::new(3));
        broker.disable(info.bead);
        let after = broker.invalidate(info.bead, InvalidateReason::Requested);
        ControlFlow::Break((installed, had_code, after, broker.compile_now(info.bead, TIER1).is_err()))
    });
    assert_eq!(outcome, ControlFlow::Break((true, true, false, true)));
    assert!(owned.is_none());
    broker.prune();
    assert_eq!((compiler.compiles(), compiler.leases().outstanding()), (1, 0));
    let next = bead(&broker, Guest::new(4));
    assert_eq!((next.id().id, next.id().generation), (0, 2), "the slot is as good as new");
    assert_eq!(broker.compile_now(next.as_ref(), TIER1), Ok(()));
}

#[test]
fn shutting_down_shows() {
    let (broker, _) = broker(Mode::Pump, 10);
    assert!(!broker.is_shut_down());
    broker.clone().shutdown();
    assert!(broker.is_shut_down());
}
