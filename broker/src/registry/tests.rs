//! Slots: where they are, and that each id is handed out once.

use super::*;
use crate::tuning::MAX_BEADS;

#[test]
fn every_id_has_a_place_of_its_own() {
    let mut next = (0, 0);
    for id in 0..MAX_BEADS.min(100_000) {
        assert_eq!(locate(id), next, "id {id}");
        next = if next.1 + 1 == (FIRST_CHUNK as usize) << next.0 { (next.0 + 1, 0) } else { (next.0, next.1 + 1) };
    }
    let largest = if cfg!(miri) { MAX_BEADS - 1 } else { u32::MAX };
    assert!(locate(largest).0 < CHUNKS, "the largest id has a chunk");
}

#[test]
fn ids_are_unique_under_contention_and_come_back() {
    const BEADS: u32 = if cfg!(miri) { MAX_BEADS } else { 1000 };
    let registry = Registry::<u32>::new(BEADS);
    for _ in 0..3 {
        let mut ids: Vec<u32> = std::thread::scope(|scope| {
            let takers: Vec<_> =
                (0..4).map(|_| scope.spawn(|| std::iter::from_fn(|| registry.take()).collect::<Vec<_>>())).collect();
            takers.into_iter().flat_map(|taker| taker.join().expect("no panic")).collect()
        });
        ids.sort_unstable();
        assert_eq!(ids, (0..BEADS).collect::<Vec<_>>());
        assert_eq!(registry.take(), None);
        std::thread::scope(|scope| {
            for part in ids.chunks(ids.len() / 4) {
                scope.spawn(|| part.iter().for_each(|&id| registry.give_back(id)));
            }
        });
    }
    assert_eq!(registry.high_water(), BEADS);
}
