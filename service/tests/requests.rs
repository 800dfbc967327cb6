//! Every request, and its answer.

mod common;

use common::*;
use tierup_broker::{Mode, Reason};
use tierup_fake::{Behaviour, Guest};
use tierup_service::{
    Streamed,
    protocol::{Answer, Ask, BeadKey, Filter, Kind, Line, PROTOCOL, Refusal},
};

#[tokio::test]
async fn a_hello_says_who_is_there() {
    let (broker, _) = broker(Mode::Pump);
    let service = builder(&broker).serve(path("hello")).unwrap();
    let client = connect(&service).await;
    let hello = client.hello();
    assert_eq!((hello.protocol, hello.pid), (PROTOCOL, std::process::id()));
    assert_eq!(hello.tiers, ["fake", "fake"]);
    assert!(hello.server.starts_with("tierup-service "));
}

#[tokio::test]
async fn why_says_what_is_missing() {
    let (broker, _) = broker(Mode::Sync);
    let (cold, hot) = (bead(&broker, Guest::new(1)), bead(&broker, Guest::new(2)));
    let refused = bead(&broker, Guest::behaving(3, Behaviour::Terminal));
    broker.compile_now(hot.as_ref(), TIER2).unwrap();
    for tier in [TIER1, TIER2] {
        broker.compile_now(refused.as_ref(), tier).unwrap_err();
    }
    let service = builder(&broker).serve(path("why")).unwrap();
    let mut client = connect(&service).await;

    let (record, missing) = client.why(named("f1")).await.unwrap();
    assert_eq!((record.bead, record.tier, record.size, record.name.as_str()), (cold.id().into(), 0, 10, "f1"));
    assert!(missing.ends_with("more units until the policy is asked about tier 1"), "{missing}");
    let (record, missing) = client.why(BeadKey::from(tierup_service::protocol::Id::from(hot.id()))).await.unwrap();
    assert_eq!((record.tier, record.code_bytes, missing.as_str()), (2, 64, "stays: there is no higher tier for it"));
    let (record, missing) = client.why(named("number 3")).await.unwrap();
    assert_eq!((record.disabled.as_slice(), record.name.as_str()), ([1, 2].as_slice(), "f3"));
    assert!(missing.contains("not tier 1: compiling failed: ") && missing.contains("not tier 2: "), "{missing}");
    broker.disable(cold.as_ref());
    assert!(client.why(named("f1")).await.unwrap().1.contains("stays: the embedder disabled it"));
    broker.shutdown();
    assert!(client.why(named("f1")).await.unwrap().1.contains("shut down"));
}

#[tokio::test]
async fn beads_are_named_by_name_alias_and_id() {
    let (broker, _) = broker(Mode::Pump);
    let mut beads: Vec<_> = [1, 2, 2, 3].into_iter().map(|value| Some(bead(&broker, Guest::new(value)))).collect();
    let service = builder(&broker).serve(path("names")).unwrap();
    let mut client = connect(&service).await;
    let id = |id, generation| BeadKey::Id { id, generation };

    for key in [named("f3"), named("number 3"), id(3, None), id(3, Some(1))] {
        assert_eq!(client.why(key).await.unwrap().0.name, "f3");
    }
    for key in [named("f4"), named(""), id(4, None), id(u32::MAX, None), id(3, Some(2)), id(3, Some(0))] {
        assert_eq!(refusal(client.why(key.clone()).await), Refusal::UnknownBead { bead: key });
    }
    let Refusal::Ambiguous { count, some, .. } = refusal(client.disable(named("f2")).await) else { panic!("it is ambiguous") };
    assert_eq!((count, some.len()), (2, 2));
    assert_eq!(client.disable(some[1].into()).await.unwrap(), some[1]);
    // Its owner lets go of it: then the other is the only one, and the id is nobody's.
    beads[2] = None;
    assert_eq!(client.why(named("f2")).await.unwrap().0.bead, some[0]);
    assert_eq!(refusal(client.why(some[1].into()).await), Refusal::UnknownBead { bead: some[1].into() });
}

#[tokio::test]
async fn beads_come_in_pages() {
    let (broker, _) = broker(Mode::Pump);
    let mut beads: Vec<_> = (0..25).map(|value| Some(bead(&broker, Guest::new(value)))).collect();
    let service = builder(&broker).serve(path("pages")).unwrap();
    let mut client = connect(&service).await;
    beads[4] = None;
    let (mut names, mut from, mut pages) = (Vec::new(), Some(0), Vec::new());
    while let Some(first) = from {
        let page = client.beads(first, 10, "").await.unwrap();
        pages.push(page.beads.len());
        names.extend(page.beads.into_iter().map(|bead| bead.name));
        from = page.next;
    }
    assert_eq!(pages, [10, 10, 4]);
    assert_eq!(names, (0..25).filter(|&value| value != 4).map(|value| format!("f{value}")).collect::<Vec<_>>());
    let page = client.beads(0, 0, "f2").await.unwrap();
    assert_eq!((page.beads.len(), page.next), (6, None));
    assert_eq!(client.beads(1000, 5, "").await.unwrap().beads.len(), 0);
}

#[tokio::test]
async fn beads_are_invalidated_reloaded_and_disabled() {
    let (broker, _) = broker(Mode::Sync);
    let beads: Vec<_> = [1, 7, 8].into_iter().map(|value| bead(&broker, Guest::new(value))).collect();
    let service = builder(&broker).serve(path("acts")).unwrap();
    let mut client = connect(&service).await;
    let installed = || broker.compile_now(beads[0].as_ref(), TIER1);

    installed().unwrap();
    assert!(client.invalidate(named("f1")).await.unwrap());
    assert!(!client.invalidate(named("f1")).await.unwrap());
    client.disable(named("f1")).await.unwrap();
    assert!(installed().is_err());
    client.reload(named("f1")).await.unwrap();
    installed().unwrap();

    let Refusal::NotReloaded { problem, .. } = refusal(client.reload(named("f7")).await) else { panic!("seven stays") };
    assert_eq!(problem, "seven stays");
    assert_eq!(refusal(client.reload(named("f8")).await), Refusal::Failed { problem: "eight panics".to_owned() });
    let stats = client.stats().await.unwrap();
    assert_eq!((stats.beads, stats.tiers.len(), stats.tiers[0].installed, stats.shut_down), (3, 2, 2, false));
    assert_eq!((stats.code_live, broker.stats().code_live), (64, 64));

    let plain = tierup_service::Service::builder(&broker).serve(path("plain")).unwrap();
    let refused = refusal(connect(&plain).await.reload(named("f1")).await);
    assert_eq!(refused.to_string(), "bead \"f1\" is not reloaded: this program reloads nothing");
}

#[tokio::test]
async fn events_come_live_and_filtered() {
    let (broker, _) = broker(Mode::Sync);
    let (one, two) = (bead(&broker, Guest::new(1)), bead(&broker, Guest::new(2)));
    let service = builder(&broker).serve(path("events")).unwrap();
    let all = connect(&service).await.subscribe(Filter::default()).await.unwrap();
    let filter = Filter { beads: vec![named("f2")], kinds: vec![Kind::Installed, Kind::Invalidated] };
    let some = connect(&service).await.subscribe(filter).await.unwrap();
    for bead in [&one, &two] {
        broker.promote(bead.as_ref(), TIER1, Reason::Forced);
        broker.invalidate(bead.as_ref(), tierup_broker::InvalidateReason::Requested);
    }
    broker.collect();
    for (mut events, expected) in [
        (
            all,
            [
                "f1 requested: forced",
                "f1 installed",
                "f1 invalidated: requested",
                "f2 requested: forced",
                "f2 installed",
                "f2 invalidated: requested",
            ]
            .as_slice(),
        ),
        (some, &["f2 installed", "f2 invalidated: requested"]),
    ] {
        for expected in expected {
            let Streamed::Event(event) = soon(events.next()).await.unwrap() else { panic!("an event") };
            assert_eq!(format!("{} {}", event.name, event.what), *expected);
        }
    }
}

/// Requests that are said at once are answered in order, and a wait does not keep the others waiting.
#[tokio::test]
async fn requests_may_be_said_ahead() {
    let (broker, _) = broker(Mode::Sync);
    let bead = bead(&broker, Guest::new(1));
    let service = builder(&broker).serve(path("ahead")).unwrap();
    let mut raw = Raw::greeted(&service).await;
    raw.say(
        r#"{"id":1,"ask":{"tier_reached":{"bead":{"name":"f1"},"tier":1}}}
           {"id":2,"ask":{"subscribe":{"kinds":["installed"]}}}
           {"id":3,"ask":{"beads":{"limit":1}}}
           {"id":4,"ask":"stats"}"#,
    )
    .await;
    assert!(matches!(raw.hear().await, Some(Line::Answer { id: 2, is: Answer::Subscribed })));
    assert!(matches!(raw.hear().await, Some(Line::Answer { id: 3, is: Answer::Beads(page) }) if page.beads.len() == 1));
    assert!(matches!(raw.hear().await, Some(Line::Answer { id: 4, is: Answer::Stats(_) })));
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    let (mut event, mut reached) = (false, false);
    for _ in 0..2 {
        match raw.hear().await {
            Some(Line::Event(record)) => event = record.kind == Kind::Installed && record.name == "f1",
            Some(Line::Answer { id: 1, is: Answer::TierReached { tier: 1, .. } }) => reached = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(event && reached);
}

/// A client whose request was given up passes its answer over.
#[tokio::test]
async fn a_request_can_be_given_up() {
    let (broker, _) = broker(Mode::Pump);
    let bead = bead(&broker, Guest::new(1));
    let service = builder(&broker).serve(path("given-up")).unwrap();
    let mut client = connect(&service).await;
    for _ in 0..3 {
        let wait = client.tier_reached(named("f1"), 1, None);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), wait).await.is_err());
    }
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    broker.collect();
    for _ in 0..3 {
        assert_eq!(soon(client.stats()).await.unwrap().beads, 1);
    }
    assert!(matches!(soon(client.ask(Ask::Stats)).await, Ok(Answer::Stats(_))));
}

#[tokio::test]
async fn a_service_may_be_read_only() {
    let (broker, _) = broker(Mode::Sync);
    let bead = bead(&broker, Guest::new(1));
    let service = builder(&broker).read_only().serve(path("read-only")).unwrap();
    let mut client = connect(&service).await;
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    assert_eq!(refusal(client.invalidate(named("f1")).await), Refusal::ReadOnly);
    assert_eq!(refusal(client.reload(named("f1")).await), Refusal::ReadOnly);
    assert_eq!(refusal(client.disable(named("f1")).await), Refusal::ReadOnly);
    assert_eq!(refusal(client.ask(Ask::Shutdown).await), Refusal::ReadOnly);
    assert_eq!(client.why(named("f1")).await.unwrap().0.tier, 1);
    assert_eq!(client.tier_reached(named("f1"), 1, None).await.unwrap(), 1);
    assert!(!broker.is_shut_down());
}
