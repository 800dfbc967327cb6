//! What is told about a bead, in each state it can be in.

mod common;

use common::*;
use tierup_broker::{Broker, ClosedBy, Decision, FrozenBy, Mode, Progress, Reason, Threshold, Tiered, WaitReason, Why};
use tierup_fake::{Behaviour, FakeCompiler, Guest};

fn pump() -> Broker<Guest> {
    let builder = Broker::builder().mode(Mode::Pump).policy(Tiered::new(10, 100)).max_beads(64);
    let builder = builder.compiler(FakeCompiler::new()).compiler(FakeCompiler::new());
    builder.describe(|guest| format!("f{}", guest.value)).build().unwrap()
}

#[track_caller]
fn says(why: &Why, lines: &[&str]) {
    let text = why.to_string();
    for line in lines {
        assert!(text.lines().any(|told| told.trim() == *line), "no line {line:?} in\n{text}");
    }
}

#[test]
fn what_is_missing_in_each_state() {
    let broker = pump();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    let why = || broker.why(bead.id()).unwrap();

    assert_eq!((why().answer, why().missing, why().next), (None, Some(640), Some(TIER1)));
    says(&why(), &["f3 (#0.1): interpreter", "640 more units until the policy is asked about tier 1"]);

    times(11, || invoke(&thread, &bead));
    assert_eq!(why().requests[0].progress, Progress::Requested);
    assert!(matches!(why().answer.unwrap().decision, Decision::Promote { tier: TIER1, reason: Reason::Budget }));
    says(&why(), &["tier 1: asked for"]);

    // A worker has seen it; others wait before and behind it.
    broker.run_pending(0);
    assert!(matches!(why().requests[0].progress, Progress::Queued { ahead: 0, of: 1, .. }), "{:?}", why().requests);

    broker.drain();
    assert_eq!((why().tier, why().requests.len(), why().next), (TIER1, 0, Some(TIER2)));
    says(&why(), &["f3 (#0.1): tier 1", "6400 more units until the policy is asked about tier 2"]);
    assert_eq!(why().spent, 0, "none of it since then");

    broker.compile_now(bead.as_ref(), TIER2).unwrap();
    says(&why(), &["stays: there is no higher tier for it"]);
    assert_eq!(why().missing, None);
}

#[test]
fn who_waits_is_told_its_place() {
    let broker = pump();
    let beads: Vec<_> = (0..5).map(|value| bead(&broker, Guest::new(value))).collect();
    for bead in &beads[..4] {
        broker.promote(bead.as_ref(), TIER1, Reason::Budget);
    }
    broker.promote(beads[4].as_ref(), TIER1, Reason::Forced);
    broker.run_pending(0);
    let places: Vec<_> = beads.iter().map(|bead| broker.why(bead.id()).unwrap().requests[0].progress).collect();
    let ahead: Vec<_> = places
        .iter()
        .map(|progress| match progress {
            Progress::Queued { ahead, of: 5, .. } => *ahead,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ahead, [1, 2, 3, 4, 0], "equals in the order they came, the forced one before them");
    assert!(matches!(places[4], Progress::Queued { priority, .. } if priority.is_infinite()));
    broker.shutdown();
    assert!(broker.why(beads[0].id()).unwrap().requests.is_empty());
}

#[test]
fn who_closed_what_is_told() {
    let broker = pump();
    let [failed, limited, disabled] =
        [Guest::behaving(1, Behaviour::Panics), Guest::new(2), Guest::new(3)].map(|guest| bead(&broker, guest));
    assert!(broker.compile_now(failed.as_ref(), TIER1).is_err());
    broker.limit_tier(limited.as_ref(), TIER1);
    broker.disable(disabled.as_ref());
    let why = |bead: &tierup_broker::Bead<Guest>| broker.why(bead.id()).unwrap();
    assert_eq!(why(&failed).closed, [(TIER1, ClosedBy::Bailout(tierup_broker::BailoutKind::Panicked))]);
    says(&why(&failed), &["not tier 1: compiling failed: the compiler panicked"]);
    assert_eq!(why(&limited).closed, [(TIER2, ClosedBy::Limit)]);
    says(&why(&limited), &["not tier 2: above the highest tier it may go to"]);
    assert_eq!((why(&disabled).frozen, why(&disabled).next), (Some(FrozenBy::Embedder), None));
    says(&why(&disabled), &["stays: the embedder disabled it"]);
    broker.reload(failed.as_ref(), Guest::new(1));
    assert_eq!(why(&failed).closed, []);
}

#[test]
fn a_policy_that_says_never_is_named() {
    let broker = Broker::builder().mode(Mode::Sync).policy(Refuses).compiler(FakeCompiler::new()).max_beads(4).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    invoke(&thread, &bead);
    let why = broker.why(bead.id()).unwrap();
    assert_eq!(why.frozen, Some(FrozenBy::Policy));
    assert!(why.to_string().contains("never, excluded by the policy"), "{why}");
}

#[test]
fn who_is_gone_is_not_explained() {
    let broker = pump();
    let first = bead(&broker, Guest::new(1));
    let id = first.id();
    assert!(broker.why(tierup_broker::BeadId { id: 1 << 20, ..id }).is_none());
    drop(first);
    assert!(broker.why(id).is_none());
    broker.prune();
    let second = bead(&broker, Guest::new(2));
    assert_eq!((second.id().id, broker.why(id).is_none()), (id.id, true), "the slot is another's now");
    assert!(broker.why(second.id()).unwrap().answer.is_none());
}

#[test]
fn waits_are_told_with_their_reason() {
    let compile_share = Some(tierup_broker::CompileShare { percent: 0, burst_ms: 0 });
    let modifiers = tierup_broker::Modifiers { compile_share, ..Default::default() };
    let policy = tierup_broker::Modified::new(Threshold { calls: 10 }, modifiers);
    let broker = Broker::builder().mode(Mode::Sync).policy(policy).compiler(FakeCompiler::new()).max_beads(4).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let [first, second] = [1, 2].map(|value| bead(&broker, Guest::new(value)));
    assert!(calls_until_native(&thread, &first, 20).is_some(), "nothing has been compiled yet");
    assert_eq!(calls_until_native(&thread, &second, 1_000), None);
    let why = broker.why(second.id()).unwrap();
    assert!(matches!(why.answer.unwrap().decision, Decision::Wait { reason: WaitReason::CompileShare, .. }), "{why}");
    assert!(why.to_string().contains("compilers have used their share"), "{why}");
}

#[test]
fn waits_in_the_queue_and_for_freeing_are_measured() {
    let (broker, _) = broker(Mode::Pump, 0);
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    invoke(&thread, &bead);
    std::thread::sleep(std::time::Duration::from_millis(20));
    broker.drain();
    let stats = broker.stats();
    let tier = &stats.tiers[0];
    for wait in [tier.wait_p50, tier.wait_p95, tier.wait_p99] {
        assert!(wait >= tier.wait_max && wait < tier.wait_max * 3 / 2, "{wait:?} of one wait of {:?}", tier.wait_max);
    }
    broker.reload(bead.as_ref(), Guest::new(2));
    std::thread::sleep(std::time::Duration::from_millis(20));
    thread.quiescent();
    broker.collect();
    let stats = broker.stats();
    assert!(stats.code_reclaimed > 0 && stats.reclaim_latency >= std::time::Duration::from_millis(20), "{stats:?}");
    assert!(stats.reclaim_latency_max >= stats.reclaim_latency);
}
