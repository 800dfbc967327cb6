//! Awaiting a tier: it comes, it cannot come any more, and no install is missed.

mod common;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use common::*;
use tierup_broker::{Broker, InvalidateReason, Mode, Reason, Threshold, Tier};
use tierup_fake::{Behaviour, FakeCompiler, Guest};
use tierup_service::{
    Feed, WaitError,
    protocol::{Never, Refusal},
};

fn feed(broker: &Broker<Guest>) -> Arc<Feed<Guest>> {
    Arc::new(Feed::attach(broker))
}

fn never(outcome: Result<Tier, WaitError>) -> Never {
    match outcome {
        Err(WaitError::NotReached { never, .. }) => never,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_is_reached_at_once_or_when_it_is_installed() {
    let (broker, _) = broker(Mode::Background);
    let bead = bead(&broker, Guest::new(1));
    let feed = feed(&broker);
    assert_eq!(soon(feed.tier_reached(&bead, Tier::INTERPRETER)).await, Ok(Tier::INTERPRETER));
    let first = tokio::spawn(feed.tier_reached(&bead, TIER1));
    tokio::task::yield_now().await;
    broker.promote(bead.as_ref(), TIER1, Reason::Forced);
    assert_eq!(soon(first).await.unwrap(), Ok(TIER1));
    assert_eq!(soon(feed.tier_reached(&bead, TIER1)).await, Ok(TIER1));
    // A higher one will do.
    broker.invalidate(bead.as_ref(), InvalidateReason::Requested);
    let again = tokio::spawn(feed.tier_reached(&bead, TIER1));
    broker.promote(bead.as_ref(), TIER2, Reason::Forced);
    assert_eq!(soon(again).await.unwrap(), Ok(TIER2));
}

#[tokio::test]
async fn it_ends_when_it_cannot_come_any_more() {
    let (broker, _) = broker(Mode::Sync);
    let (other, _) = common::broker(Mode::Sync);
    let feed = feed(&broker);
    let bead = |guest| common::bead(&broker, guest);
    let foreign = common::bead(&other, Guest::new(1));
    assert_eq!(soon(feed.tier_reached(&foreign, TIER1)).await, Err(WaitError::ForeignBead));

    let (released, disabled, refused) = (bead(Guest::new(1)), bead(Guest::new(2)), bead(Guest::behaving(3, Behaviour::Terminal)));
    let too_high = feed.tier_reached(&released, Tier::new(3));
    assert_eq!(soon(too_high).await, Err(WaitError::NoSuchTier { tier: Tier::new(3), highest: TIER2 }));
    assert!(matches!(soon(feed.tier_reached(&released, Tier::new(255))).await, Err(WaitError::NoSuchTier { .. })));

    let waits = [&released, &disabled, &refused].map(|bead| tokio::spawn(feed.tier_reached(bead, TIER1)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(released);
    broker.disable(disabled.as_ref());
    broker.promote(refused.as_ref(), TIER1, Reason::Forced);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waits[2].is_finished(), "the other tier may come yet");
    broker.promote(refused.as_ref(), TIER2, Reason::Forced);
    for (wait, expected) in waits.into_iter().zip([Never::Released, Never::Disabled, Never::Disabled]) {
        assert_eq!(never(soon(wait).await.unwrap()), expected);
    }
    // What is reloaded has another chance.
    broker.reload(refused.as_ref(), Guest::new(3));
    let wait = tokio::spawn(feed.tier_reached(&refused, TIER1));
    broker.promote(refused.as_ref(), TIER1, Reason::Forced);
    assert_eq!(soon(wait).await.unwrap(), Ok(TIER1));

    let last = bead(Guest::new(4));
    let wait = tokio::spawn(feed.tier_reached(&last, TIER1));
    tokio::task::yield_now().await;
    broker.shutdown();
    assert_eq!(never(soon(wait).await.unwrap()), Never::ShutDown);
    assert_eq!(soon(feed.tier_reached(&refused, TIER1)).await, Ok(TIER1), "what is there, is there");
}

#[tokio::test]
async fn it_ends_when_the_tier_is_turned_off() {
    let compiler = FakeCompiler::new();
    let broker = Broker::builder()
        .mode(Mode::Background)
        .policy(Threshold { calls: 100 })
        .compiler(compiler.clone())
        .deadline(Duration::from_millis(20))
        .max_abandoned(0)
        .build()
        .unwrap();
    let (hangs, other) = (bead(&broker, Guest::behaving(1, Behaviour::Hangs)), bead(&broker, Guest::new(2)));
    let feed = feed(&broker);
    let wait = tokio::spawn(feed.tier_reached(&other, TIER1));
    tokio::task::yield_now().await;
    broker.promote(hangs.as_ref(), TIER1, Reason::Forced);
    assert_eq!(never(soon(wait).await.unwrap()), Never::TierOff);
    assert_eq!(never(soon(Arc::new(Feed::attach(&broker)).tier_reached(&other, TIER1)).await), Never::TierOff);
    compiler.release_hung();
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Wherever between the steps of a wait a tier is installed and told of, the wait ends there, or is woken.
#[tokio::test]
async fn an_install_is_seen_wherever_it_falls() {
    for install_at in 0..4 {
        for tell_at in install_at..4 {
            let (broker, _) = broker(Mode::Pump);
            let bead = bead(&broker, Guest::new(1));
            let feed = feed(&broker);
            let step = |at: usize| {
                if at == install_at {
                    // Publishes the code and posts the event, which nobody delivers yet.
                    broker.compile_now(bead.as_ref(), TIER1).unwrap();
                }
                if at == tell_at {
                    broker.collect();
                }
            };
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            let mut context = Context::from_waker(&waker);
            step(0);
            let mut wait = pin!(feed.tier_reached(&bead, TIER1));
            step(1);
            let early = wait.as_mut().poll(&mut context);
            assert_eq!(early.is_ready(), install_at < 2, "installed at {install_at}, told at {tell_at}");
            if early.is_ready() {
                continue;
            }
            step(2);
            step(3);
            // Not by the clock: it has not been let on.
            assert!(woken.0.load(Ordering::SeqCst) > 0, "installed at {install_at}, told at {tell_at}: not woken");
            assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(Ok(TIER1)));
        }
    }
}

/// Many waits, many of which are given up, race with installs and invalidations by workers.
#[tokio::test]
async fn waits_race_with_installs() {
    let (broker, _) = broker(Mode::Background);
    let bead = bead(&broker, Guest::new(1));
    let service = builder(&broker).serve(path("races")).unwrap();
    let mut late = 0;
    const ROUNDS: u32 = 300;
    for round in 0..ROUNDS {
        broker.invalidate(bead.as_ref(), InvalidateReason::Requested);
        let given_up = tokio::spawn(service.tier_reached(&bead, TIER1));
        let waits: Vec<_> = (0..4).map(|_| tokio::spawn(service.tier_reached(&bead, TIER1))).collect();
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        let promoter = {
            let broker = broker.clone();
            let (id, hurry) = (bead.id(), round % 2 == 0);
            std::thread::spawn(move || {
                let _ = broker.walk_from(id.id, |info| {
                    broker.promote(info.bead, if hurry { TIER2 } else { TIER1 }, Reason::Forced);
                    std::ops::ControlFlow::Break(())
                });
            })
        };
        given_up.abort();
        for wait in waits {
            assert!(soon(wait).await.unwrap().is_ok());
        }
        late += u32::from(start.elapsed() > Duration::from_millis(190));
        promoter.join().unwrap();
    }
    // A waiter that is not woken looks again after 200 ms.
    assert!(late * 10 < ROUNDS, "{late} of {ROUNDS} waits took as long as if nobody had woken them");
}

#[tokio::test]
async fn over_the_socket() {
    let (broker, _) = broker(Mode::Sync);
    let mut beads: Vec<_> = (1..4).map(|value| Some(bead(&broker, Guest::new(value)))).collect();
    let service = builder(&broker).serve(path("tiers")).unwrap();
    let mut client = connect(&service).await;
    let none = client.tier_reached(named("f1"), 1, Some(Duration::from_millis(30)));
    assert!(matches!(refusal(none.await), Refusal::Late { tier: 1, within_ms: 30, .. }));
    assert_eq!(refusal(client.tier_reached(named("f1"), 9, None).await), Refusal::NoSuchTier { tier: 9, highest: 2 });
    assert!(matches!(refusal(client.tier_reached(named("f9"), 1, None).await), Refusal::UnknownBead { .. }));

    let path = service.path().to_owned();
    let wait = |name: &'static str| {
        let path = path.clone();
        tokio::spawn(async move {
            let mut client = tierup_service::Client::connect(path).await.unwrap();
            client.tier_reached(named(name), 1, None).await
        })
    };
    let waits = ["f1", "f2", "f3"].map(wait);
    tokio::time::sleep(Duration::from_millis(50)).await;
    broker.promote(beads[0].as_ref().unwrap().as_ref(), TIER2, Reason::Forced);
    broker.disable(beads[1].as_ref().unwrap().as_ref());
    broker.collect();
    let id = beads[2].take().unwrap().id().into();
    let [one, two, three] = waits;
    assert_eq!(soon(one).await.unwrap().unwrap(), 2);
    assert!(matches!(refusal(soon(two).await.unwrap()), Refusal::NotReached { never: Never::Disabled, .. }));
    assert_eq!(refusal(soon(three).await.unwrap()), Refusal::NotReached { bead: id, tier: 1, never: Never::Released });
}
