//! The socket's life: for its owner only, never over what is not a dead socket, gone in the end, and clients are told.

mod common;

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
    time::{Duration, Instant},
};

use common::*;
use tierup_broker::{LossReason, Mode, Reason, Transition};
use tierup_fake::{Behaviour, Guest};
use tierup_service::{
    ClientError, ServeError, Service, Streamed,
    protocol::{Answer, Farewell, Filter, Line},
};

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[tokio::test]
async fn the_socket_is_its_owners_and_goes_with_the_service() {
    let (broker, _) = broker(Mode::Pump);
    let service = builder(&broker).serve(path("owner")).unwrap();
    let at = service.path().to_owned();
    let metadata = fs::symlink_metadata(&at).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let mut events = connect(&service).await.subscribe(Filter::default()).await.unwrap();
    drop(service);
    assert!(!is_there(&at));
    assert_eq!(soon(events.next()).await.unwrap(), Streamed::End(Farewell::Closed));
    assert!(matches!(soon(events.next()).await, Err(ClientError::Closed)));
    assert!(matches!(tierup_service::Client::connect(&at).await, Err(ClientError::Connect { .. })));
    assert!(!broker.is_shut_down(), "the broker goes on");
}

#[test]
fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let (broker, _) = broker(Mode::Pump);
    let at = path("dead");
    drop(UnixListener::bind(&at).unwrap());
    assert!(is_there(&at));
    let service = builder(&broker).serve(&at).unwrap();
    assert!(matches!(builder(&broker).serve(&at), Err(ServeError::InUse { path }) if path == at));
    drop(service);
    assert!(!is_there(&at));

    let other = UnixListener::bind(&at).unwrap();
    assert!(matches!(builder(&broker).serve(&at), Err(ServeError::InUse { .. })));
    drop(other);
    fs::remove_file(&at).unwrap();
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let (broker, _) = broker(Mode::Pump);
    let (file, folder, link) = (path("file"), path("folder"), path("link"));
    fs::write(&file, "precious").unwrap();
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for at in [&file, &folder, &link] {
        let refused = builder(&broker).serve(at).unwrap_err();
        assert!(matches!(&refused, ServeError::NotASocket { path } if path == at), "{refused}");
        assert_eq!(refused.to_string(), format!("{} exists and is not a socket", at.display()));
    }
    assert_eq!(fs::read_to_string(&link).unwrap(), "precious");
    for at in [folder.join("no").join("socket"), folder.join("x".repeat(200)), file.join("socket")] {
        assert!(matches!(builder(&broker).serve(&at), Err(ServeError::Listen { .. })), "{}", at.display());
    }
    fs::remove_file(link).unwrap();
    fs::remove_file(file).unwrap();
    fs::remove_dir(folder).unwrap();
}

#[test]
fn of_many_that_find_a_dead_socket_one_replaces_it() {
    let (broker, _) = broker(Mode::Pump);
    let at = path("race");
    drop(UnixListener::bind(&at).unwrap());
    let served: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| builder(&broker).serve(&at))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (ok, refused): (Vec<_>, Vec<_>) = served.into_iter().partition(Result::is_ok);
    assert_eq!(ok.len(), 1, "{refused:?}");
    assert!(refused.iter().all(|refused| matches!(refused, Err(ServeError::InUse { .. }))), "{refused:?}");
    drop(ok);
    assert!(!is_there(&at));
}

#[test]
fn another_file_at_its_place_is_not_removed() {
    let (broker, _) = broker(Mode::Pump);
    let service = builder(&broker).serve(path("moved")).unwrap();
    let at = service.path().to_owned();
    fs::remove_file(&at).unwrap();
    fs::write(&at, "another's").unwrap();
    drop(service);
    assert_eq!(fs::read_to_string(&at).unwrap(), "another's");
    fs::remove_file(at).unwrap();
}

#[tokio::test]
async fn shutdown_drops_what_waits_answers_and_closes() {
    let (broker, compiler) = broker(Mode::Pump);
    let bead = bead(&broker, Guest::new(1));
    broker.promote(bead.as_ref(), TIER1, Reason::Forced);
    assert_eq!(broker.stats().pending, 1);
    let service = builder(&broker).serve(path("shutdown")).unwrap();
    let mut events = connect(&service).await.subscribe(Filter::default()).await.unwrap();
    let mut other = connect(&service).await;
    let waits = tokio::spawn(async move { other.tier_reached(named("f1"), 1, None).await });
    let mut raw = Raw::greeted(&service).await;
    raw.say(r#"{"id":7,"ask":"shutdown"}"#).await;
    assert_eq!(raw.hear().await, Some(Line::Answer { id: 7, is: Answer::ShutDown }));
    assert_eq!(raw.hear().await, Some(Line::Bye(Farewell::ShutDown)));
    assert_eq!(raw.hear().await, None);
    soon(service.closed()).await;
    assert!(!is_there(service.path()));

    let mut told = Vec::new();
    let end = loop {
        match soon(events.next()).await.unwrap() {
            Streamed::Event(event) => told.push(event.what),
            other => break other,
        }
    };
    assert_eq!(end, Streamed::End(Farewell::ShutDown));
    assert!(told.contains(&Transition::Dropped(LossReason::ShutDown).to_string()), "{told:?}");
    assert!(matches!(soon(waits).await.unwrap(), Err(ClientError::Bye(Farewell::ShutDown) | ClientError::Refused { .. })));
    assert!(broker.is_shut_down());
    broker.promote(bead.as_ref(), TIER1, Reason::Forced);
    broker.drain();
    assert_eq!((compiler.compiles(), broker.stats().pending), (0, 0));
}

#[tokio::test]
async fn closing_waits_for_nobody() {
    let (broker, compiler) = broker(Mode::Background);
    let hangs = bead(&broker, Guest::behaving(1, Behaviour::HangsUntilCancelled));
    broker.promote(hangs.as_ref(), TIER1, Reason::Forced);
    let service = builder(&broker).serve(path("stuck-close")).unwrap();
    // One that never reads, and is being written to; one that has said nothing; one that waits.
    let stuck = connect(&service).await.subscribe(Filter::default()).await.unwrap();
    for _ in 0..20_000 {
        broker.update_guest(hangs.as_ref(), Guest::new(1));
    }
    let _silent = Raw::connect(&service).await;
    let mut waiting = Raw::greeted(&service).await;
    waiting.say(r#"{"id":1,"ask":{"tier_reached":{"bead":{"name":"f1"},"tier":2}}}"#).await;
    let start = Instant::now();
    tokio::task::spawn_blocking(move || drop(service)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert_eq!(waiting.hear().await, Some(Line::Bye(Farewell::Closed)));
    drop((stuck, compiler));
}

#[test]
fn it_runs_on_a_runtime_that_is_given_and_goes_with_it() {
    let (broker, _) = broker(Mode::Pump);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bead = bead(&broker, Guest::new(1));
    let service = runtime.block_on(async {
        let service = builder(&broker).serve_here(path("here")).await.unwrap();
        assert_eq!(connect(&service).await.stats().await.unwrap().beads, 1);
        let again = Service::builder(&broker).serve_here(path("here")).await.unwrap();
        connect(&again).await.shutdown().await.unwrap();
        soon(again.closed()).await;
        assert!(!is_there(again.path()));
        service
    });
    assert!(is_there(service.path()));
    drop(runtime);
    let after = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    after.block_on(async { soon(service.closed()).await });
    assert!(!is_there(service.path()), "nobody serves any more");
    drop((service, bead));
}
