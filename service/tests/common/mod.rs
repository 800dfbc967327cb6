//! What the service's tests share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::{
    future::Future,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tierup_broker::{Bead, BeadSpec, Broker, Mode, Threshold, Tier};
use tierup_fake::{FakeCompiler, Guest};
use tierup_service::{
    Builder, Client, ClientError, Service,
    protocol::{BeadKey, Line, Refusal},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time,
};

pub const TIER1: Tier = Tier::new(1);
pub const TIER2: Tier = Tier::new(2);

/// A path that no other test has, of a file that is not there.
pub fn path(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("tierup-service-{}-{name}-{count}", std::process::id()))
}

/// A broker on two fake compilers, whose guests are called `f` and their value.
pub fn broker(mode: Mode) -> (Broker<Guest>, FakeCompiler) {
    let compiler = FakeCompiler::new();
    let broker = Broker::builder()
        .mode(mode)
        .policy(Threshold { calls: 100 })
        .compiler(compiler.clone())
        .compiler(compiler.clone())
        .describe(|guest: &Guest| format!("f{}", guest.value))
        .max_beads(1 << 16)
        .build()
        .expect("the configuration is valid");
    (broker, compiler)
}

pub fn bead(broker: &Broker<Guest>, guest: Guest) -> Bead<Guest> {
    broker.register(guest, BeadSpec { size: 10 }).expect("there is room")
}

/// A service whose guests are also called `number` and their value, and which reloads all but 7.
pub fn builder(broker: &Broker<Guest>) -> Builder<Guest> {
    Service::builder(broker).alias(|guest: &Guest| format!("number {}", guest.value)).on_reload(|_, guest: &Guest| {
        match guest.value {
            7 => Err("seven stays".to_owned()),
            8 => panic!("eight panics"),
            value => Ok(Guest::new(value)),
        }
    })
}

pub fn named(name: &str) -> BeadKey {
    BeadKey::named(name)
}

/// What was refused.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> Refusal {
    match outcome {
        Err(ClientError::Refused { error, message }) => {
            assert_eq!(error.to_string(), message);
            error
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// What `future` comes to within ten seconds.
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let from = std::panic::Location::caller();
    async move {
        match time::timeout(Duration::from_secs(10), future).await {
            Ok(output) => output,
            Err(_) => panic!("waited too long at {from}"),
        }
    }
}

pub async fn connect(service: &Service<Guest>) -> Client {
    soon(Client::connect(service.path())).await.expect("it is served")
}

/// A client that says what it likes.
pub struct Raw(pub BufReader<UnixStream>);

impl Raw {
    pub async fn connect(service: &Service<Guest>) -> Self {
        Raw(BufReader::new(UnixStream::connect(service.path()).await.expect("it is served")))
    }

    /// One that has said hello, and has read the answer.
    pub async fn greeted(service: &Service<Guest>) -> Self {
        let mut raw = Self::connect(service).await;
        raw.say(r#"{"id":0,"ask":{"hello":{"protocol":1}}}"#).await;
        assert!(matches!(raw.hear().await, Some(Line::Answer { id: 0, .. })));
        raw
    }

    /// Says a line.
    pub async fn say(&mut self, line: &str) {
        self.bytes(format!("{line}\n").as_bytes()).await;
    }

    pub async fn bytes(&mut self, bytes: &[u8]) {
        soon(self.0.write_all(bytes)).await.expect("it listens");
    }

    /// The next line, if there is one.
    pub async fn hear(&mut self) -> Option<Line> {
        let mut line = String::new();
        // A connection that is closed with something unread is reset: that is an end as well.
        soon(self.0.read_line(&mut line)).await.ok().filter(|&bytes| bytes > 0)?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// The refusal that comes next, with its id.
    pub async fn refused(&mut self) -> (Option<u64>, Refusal) {
        match self.hear().await {
            Some(Line::Error { id, error, message }) => {
                assert_eq!(error.to_string(), message);
                (id, error)
            }
            other => panic!("no refusal: {other:?}"),
        }
    }
}
