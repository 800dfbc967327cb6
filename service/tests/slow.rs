//! Clients that do not read cost the broker nothing, keep no memory, and learn exactly what they missed.

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use common::*;
use tierup_broker::{Bead, Broker, Mode};
use tierup_fake::Guest;
use tierup_service::{Events, Streamed, protocol::Filter};

/// Counts the bytes that are allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does everything; the count is beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// One test at a time: what is allocated is counted for the whole process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Has `count` events happen, delivered on this thread, and says how long that took.
fn happen(broker: &Broker<Guest>, bead: &Bead<Guest>, count: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..count / 100 {
        for _ in 0..100 {
            broker.update_guest(bead.as_ref(), Guest::new(1));
        }
        broker.collect();
    }
    start.elapsed()
}

/// Reads until events and misses make up `total`; returns how many of each there were.
async fn read(events: &mut Events, total: u64) -> (u64, u64) {
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < total {
        match soon(events.next()).await.unwrap() {
            Streamed::Event(event) => {
                assert_eq!(event.what, "guest handle updated");
                seen += 1;
            }
            Streamed::Missed(count) => missed += count,
            Streamed::End(farewell) => panic!("{farewell} after {seen} and {missed}"),
        }
    }
    (seen, missed)
}

const EVENTS: usize = 100_000;
const WARM: usize = 20_000;
const READERS: usize = 4;

#[tokio::test]
async fn clients_that_never_read_cost_nothing_and_learn_what_they_missed() {
    let _alone = ALONE.lock().await;
    let (broker, _) = broker(Mode::Pump);
    let bead = bead(&broker, Guest::new(1));
    happen(&broker, &bead, WARM);
    let alone = happen(&broker, &bead, EVENTS);

    let service = builder(&broker).serve(path("slow")).unwrap();
    let mut streams = Vec::new();
    for _ in 0..READERS {
        streams.push(connect(&service).await.subscribe(Filter::default()).await.unwrap());
    }
    // The ring and the sockets fill.
    happen(&broker, &bead, WARM);
    let before = LIVE.load(Ordering::Relaxed);
    let watched = happen(&broker, &bead, EVENTS);
    let grown = LIVE.load(Ordering::Relaxed).saturating_sub(before);
    println!("{EVENTS} events: {alone:?} without a client, {watched:?} with {READERS} that do not read; {grown} bytes more");
    assert!(watched < alone * 5 + Duration::from_secs(1), "delivery waited: {watched:?}, {alone:?} without a client");
    assert!(grown < 256 * 1024, "{grown} bytes more");

    let total = (WARM + EVENTS) as u64;
    for events in &mut streams {
        let (seen, missed) = read(events, total).await;
        println!("{seen} events seen, {missed} missed");
        assert!(missed > 0 && seen >= 4096, "what the ring keeps is not missed");
    }
    // From here on they keep up.
    happen(&broker, &bead, 100);
    for events in &mut streams {
        assert_eq!(read(events, 100).await, (100, 0));
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let _alone = ALONE.lock().await;
    let (broker, _) = broker(Mode::Pump);
    let bead = bead(&broker, Guest::new(1));
    let service = builder(&broker).clients(1).patience(Duration::from_millis(200)).serve(path("stuck")).unwrap();
    let stuck = connect(&service).await.subscribe(Filter::default()).await.unwrap();
    let place = async {
        loop {
            happen(&broker, &bead, 5_000);
            tokio::time::sleep(Duration::from_millis(50)).await;
            if let Ok(client) = tierup_service::Client::connect(service.path()).await {
                return client;
            }
        }
    };
    // Its place is another's.
    assert_eq!(soon(soon(place).await.stats()).await.unwrap().beads, 1);
    drop(stuck);
}

/// A client that says much and reads nothing is not read from any more, and its answers are not kept.
#[tokio::test]
async fn requests_are_not_taken_from_a_client_that_does_not_read_answers() {
    let _alone = ALONE.lock().await;
    let (broker, _) = broker(Mode::Pump);
    let _beads: Vec<_> = (0..1000).map(|value| bead(&broker, Guest::new(value))).collect();
    let service = builder(&broker).serve(path("flood")).unwrap();
    let mut raw = Raw::greeted(&service).await;
    let flood = async {
        for id in 1_u64.. {
            use tokio::io::AsyncWriteExt;
            // A page of all beads, a third of a megabyte.
            raw.0.write_all(format!("{{\"id\":{id},\"ask\":{{\"beads\":{{}}}}}}\n").as_bytes()).await.unwrap();
        }
    };
    // It comes to a standstill: nobody reads.
    assert!(tokio::time::timeout(Duration::from_millis(500), flood).await.is_err());
    let before = LIVE.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let grown = LIVE.load(Ordering::Relaxed).saturating_sub(before);
    assert!(grown < 256 * 1024, "{grown} bytes more");
    assert_eq!(soon(connect(&service).await.stats()).await.unwrap().beads, 1000, "others are served");
}
