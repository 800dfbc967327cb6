//! Whatever a client says, it is answered, and nobody else is disturbed.

mod common;

use std::time::Duration;

use common::*;
use tierup_broker::Mode;
use tierup_fake::Guest;
use tierup_service::{
    Service,
    protocol::{Answer, Farewell, LONGEST_LINE, Line, Refusal},
};
use tokio::io::AsyncWriteExt;

fn service(name: &str) -> (tierup_broker::Broker<Guest>, Service<Guest>) {
    let (broker, _) = broker(Mode::Pump);
    let service = builder(&broker).serve(path(name)).unwrap();
    (broker, service)
}

/// That a connection is as good as new.
async fn works(raw: &mut Raw) {
    raw.say(r#"{"id":99,"ask":"stats"}"#).await;
    assert!(matches!(raw.hear().await, Some(Line::Answer { id: 99, is: Answer::Stats(_) })));
}

#[tokio::test]
async fn what_is_no_request_is_refused_by_line_and_column() {
    let (_broker, service) = service("garbage");
    let mut raw = Raw::greeted(&service).await;
    let deep = format!(r#"{{"id":5,"ask":{}"#, "[".repeat(60_000));
    let deeper = r#"{"a":"#.repeat(10_000);
    for (line, id, problem) in [
        ("hello", None, "expected value"),
        ("\u{1F600}\0\u{7}", None, "expected value"),
        ("null", None, "invalid type: null"),
        ("[]", None, "invalid length 0"),
        ("{}", None, "missing field `id`"),
        (r#"{"id":5}"#, Some(5), "missing field `ask`"),
        (r#"{"id":-1,"ask":"stats"}"#, None, "invalid value: integer `-1`"),
        (r#"{"id":5,"ask":"explode"}"#, Some(5), "unknown variant `explode`"),
        (r#"{"id":5,"ask":"why"}"#, Some(5), "invalid type: unit variant"),
        (r#"{"id":5,"ask":{"why":{}}}"#, Some(5), "missing field `bead`"),
        (r#"{"id":5,"ask":{"why":{"bead":"f1"}}}"#, Some(5), "a bead is {\"name\":NAME}"),
        (r#"{"id":5,"ask":{"why":{"bead":{"name":"f1","x":1}}}}"#, Some(5), "a bead is"),
        (r#"{"id":5,"ask":{"why":{"bead":{"id":4294967296}}}}"#, Some(5), "a bead is"),
        (r#"{"id":5,"ask":{"subscribe":{"kinds":["quick"]}}}"#, Some(5), "unknown variant `quick`"),
        (r#"{"id":5,"ask":"stats","also":1}"#, Some(5), "unknown field `also`"),
        (r#"{"id":5,"ask":"stats"} {}"#, None, "trailing characters"),
        (r#"{"id":5,"ask":"stats""#, None, "EOF while parsing"),
        (&deep, None, "expected"),
        (&deeper, None, "unknown field"),
    ] {
        raw.say(line).await;
        let (refused, error) = raw.refused().await;
        let Refusal::Malformed { line: number, problem: found, .. } = &error else { panic!("{line}: {error}") };
        assert!(*number > 1 && found.contains(problem) && !found.contains(" at line "), "{line:.100}: {error:.200}");
        assert_eq!(refused, id, "{line:.100}");
        assert!(error.to_string().starts_with(&format!("line {number}, column ")));
    }
    works(&mut raw).await;
}

#[tokio::test]
async fn deep_nesting_is_refused() {
    let (_broker, service) = service("deep");
    let mut raw = Raw::greeted(&service).await;
    // Where any value may stand: the id of what is no request is found beside whatever else is there.
    raw.say(&format!(r#"{{"x":{}1{},"id":5,"ask":"stats"}}"#, "[".repeat(20_000), "]".repeat(20_000))).await;
    let (id, error) = raw.refused().await;
    assert!(id == Some(5) && matches!(error, Refusal::Malformed { .. }), "{error}");
    works(&mut raw).await;
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused() {
    let (_broker, service) = service("bytes");
    let mut raw = Raw::greeted(&service).await;
    let all: Vec<u8> = (0..=255).filter(|&byte| byte != b'\n').chain([b'\n']).collect();
    raw.bytes(&all).await;
    assert!(matches!(raw.refused().await, (None, Refusal::Malformed { line: 2, .. })));
    raw.bytes(b"{\"id\":1,\"ask\":{\"beads\":{\"containing\":\"\xff\xfe\"}}}\n\n\n").await;
    assert!(matches!(raw.refused().await, (Some(1), Refusal::Malformed { line: 3, .. })));
    works(&mut raw).await;
}

#[tokio::test]
async fn a_huge_line_is_refused_at_once_and_skipped() {
    let (_broker, service) = service("huge");
    let mut raw = Raw::greeted(&service).await;
    let longest = format!(r#"{{"id":1,"ask":{{"beads":{{"containing":"{}"}}}}}}"#, "x".repeat(LONGEST_LINE - 42));
    assert_eq!(longest.len(), LONGEST_LINE);
    raw.say(&longest).await;
    assert!(matches!(raw.hear().await, Some(Line::Answer { id: 1, .. })));
    raw.say(&format!("{longest} ")).await;
    assert_eq!(raw.refused().await, (None, Refusal::TooLong { line: 3, limit: LONGEST_LINE }));
    // Without an end: said once, however much more comes.
    let chunk = vec![b'x'; 1 << 16];
    for _ in 0..100 {
        raw.bytes(&chunk).await;
    }
    assert_eq!(raw.refused().await, (None, Refusal::TooLong { line: 4, limit: LONGEST_LINE }));
    raw.bytes(b"\n").await;
    works(&mut raw).await;
}

#[tokio::test]
async fn half_a_line_is_refused_when_the_client_ends_it() {
    let (_broker, service) = service("half");
    let mut raw = Raw::greeted(&service).await;
    raw.bytes(br#"{"id":1,"ask":"st"#).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    raw.bytes(b"ats\"}\n{\"id\":2,").await;
    assert!(matches!(raw.hear().await, Some(Line::Answer { id: 1, .. })), "in pieces it is a line as well");
    raw.0.shutdown().await.unwrap();
    assert_eq!(raw.refused().await, (None, Refusal::Unfinished { line: 3 }));
    assert_eq!(raw.hear().await, None);
}

#[tokio::test]
async fn the_first_request_is_a_hello_of_this_version() {
    let (_broker, service) = service("first");
    let mut raw = Raw::connect(&service).await;
    raw.say(r#"{"id":1,"ask":"shutdown"}"#).await;
    assert_eq!(raw.refused().await, (Some(1), Refusal::HelloFirst));
    raw.say(r#"{"id":2,"ask":{"hello":{"protocol":2}}}"#).await;
    assert_eq!(raw.refused().await, (Some(2), Refusal::Protocol { asked: 2, spoken: 1 }));
    raw.say(r#"{"id":3,"ask":"stats"}"#).await;
    assert_eq!(raw.refused().await, (Some(3), Refusal::HelloFirst));
    raw.say(r#"{"id":4,"ask":{"hello":{"protocol":1}}}"#).await;
    assert!(matches!(raw.hear().await, Some(Line::Answer { id: 4, is: Answer::Hello(_) })));
    works(&mut raw).await;
}

#[tokio::test]
async fn who_does_not_say_hello_is_given_up() {
    let (broker, _) = broker(Mode::Pump);
    let service = builder(&broker).patience(Duration::from_millis(100)).serve(path("silent")).unwrap();
    let mut raw = Raw::connect(&service).await;
    assert_eq!(raw.hear().await, Some(Line::Bye(Farewell::NoHello)));
    assert_eq!(raw.hear().await, None);
}

#[tokio::test]
async fn a_client_more_than_there_may_be_is_turned_away() {
    let (broker, _) = broker(Mode::Pump);
    let service = builder(&broker).clients(2).serve(path("busy")).unwrap();
    let (one, mut two) = (Raw::greeted(&service).await, Raw::greeted(&service).await);
    assert_eq!(Raw::connect(&service).await.hear().await, Some(Line::Bye(Farewell::Busy)));
    works(&mut two).await;
    drop(one);
    // Its place is free once the service has seen that it is gone.
    let place = async {
        loop {
            let mut raw = Raw::connect(&service).await;
            if raw.0.write_all(b"{\"id\":1,\"ask\":{\"hello\":{\"protocol\":1}}}\n").await.is_ok()
                && matches!(raw.hear().await, Some(Line::Answer { id: 1, .. }))
            {
                return raw;
            }
        }
    };
    works(&mut soon(place).await).await;
}

#[tokio::test]
async fn a_connection_waits_for_a_bounded_number_of_tiers() {
    let (broker, service) = service("waits");
    let _bead = bead(&broker, Guest::new(1));
    let mut raw = Raw::greeted(&service).await;
    for id in 0..65 {
        raw.say(&format!(r#"{{"id":{id},"ask":{{"tier_reached":{{"bead":{{"name":"f1"}},"tier":1}}}}}}"#)).await;
    }
    assert_eq!(raw.refused().await, (Some(64), Refusal::TooManyWaits { limit: 64 }));
    works(&mut raw).await;
}
