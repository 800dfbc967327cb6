//! The incumbent's failures: every test of `programs/failures.rs` finds its failure in the incumbent and not here, but for those that
//! end the process, take a race, or billions of calls. Those are at the end, for this crate alone.

use std::{
    ptr::null_mut,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use beadie::{Beadie, ThresholdPolicy};

mod ours {
    use beadie as api;
    const FIXED: bool = true;
    include!("programs/failures.rs");
}

mod theirs {
    use incumbent as api;
    const FIXED: bool = false;
    include!("programs/failures.rs");
}

fn code(number: usize) -> *mut () {
    std::ptr::without_provenance_mut(number)
}

fn within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    false
}

/// Waits until something is so.
fn when(what: &str, is_so: impl FnMut() -> bool) {
    assert!(within(Duration::from_secs(20), is_so), "never {what}");
}

/// Whether something comes to be so before long.
fn happens(is_so: impl FnMut() -> bool) -> bool {
    within(Duration::from_secs(2), is_so)
}

#[test]
fn a06_what_was_compiled_before_a_reload_is_not_installed_after() {
    let beadie = Beadie::with_policy(ThresholdPolicy::new(1));
    let bead = beadie.register(null_mut(), None);
    for round in 1..2_000 {
        beadie.on_invoke(&bead, move |_| code(round));
        if round % 3 == 0 {
            std::thread::yield_now();
        }
        bead.reload();
        let found = beadie.on_invoke(&bead, move |_| code(round + 1_000_000));
        assert!(found.is_none_or(|found| found == code(round + 1_000_000)), "round {round}: {found:?}");
    }
}

#[test]
fn a11_all_code_is_accounted_for() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let beadie = Beadie::with_policy(ThresholdPolicy::new(1));
    beadie.reclaim_with(move |code| seen.lock().unwrap().push(code.addr()));
    let bead = beadie.register(null_mut(), None);
    assert!(bead.eager_install(code(1)));
    bead.reload();
    assert!(bead.eager_install(code(2)));
    assert_eq!(bead.swap_compiled(code(3)).unwrap().old_code, code(2));
    bead.invalidate();
    beadie.prune();
    assert_eq!(*told.lock().unwrap(), [0; 0], "while there is the bead");
    drop(bead);
    assert_eq!(*told.lock().unwrap(), [1, 3], "but for what was handed back");
}

#[test]
fn a12_a_great_many_beads_are_dropped() {
    let beadie = Beadie::new();
    (0..200_000).for_each(|_| drop(beadie.register(null_mut(), None)));
    assert_eq!(beadie.chain_len(), 200_000);
}

#[test]
fn a13_the_last_handle_may_go_inside_a_job() {
    let beadie = Arc::new(Beadie::new());
    let bead = beadie.register(null_mut(), None);
    let slot = Arc::new(Mutex::new(Some(Arc::clone(&beadie))));
    let (taken, owner) = (Arc::clone(&slot), Arc::downgrade(&beadie));
    beadie.submit(&bead, move |_| {
        drop(taken.lock().unwrap().take());
        code(1)
    });
    drop(beadie);
    when("dropped", || owner.strong_count() == 0 || slot.lock().unwrap().is_none());
}
