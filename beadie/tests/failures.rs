//! The incumbent's failures: every test of `programs/failures.rs` finds its failure in the incumbent and not here. The eleventh is at the
//! end, for this crate alone: the incumbent tells nobody of code that was replaced, so nothing of its API can show what becomes of it.

use std::{
    process::Command,
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

/// Whether a process gets to the end of `what`. It is the one in which only the calling test runs, whose path is `test`.
fn survives(test: &str, what: impl FnOnce()) -> bool {
    const HERE: &str = "TIERUP_ALONE";
    if std::env::var_os(HERE).is_some() {
        what();
        std::process::exit(0);
    }
    let (_, test) = test.split_once("::").expect("the crate's name comes first");
    let alone = Command::new(std::env::current_exe().unwrap()).args(["--exact", test]).env(HERE, "").output().unwrap();
    assert!(String::from_utf8_lossy(&alone.stdout).contains("running 1 test"), "{alone:?}");
    alone.status.success()
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
