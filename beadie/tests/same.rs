//! The incumbent's documented patterns run unchanged: every test of `programs/documented.rs`, with this crate and with the
//! incumbent.

use std::time::{Duration, Instant};

mod ours {
    use beadie as api;
    include!("programs/documented.rs");
}

mod incumbent_too {
    use incumbent as api;
    include!("programs/documented.rs");
}

/// Waits until something is so.
fn when(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "never {what}");
        std::thread::yield_now();
    }
}

/// The tier whose code the `call`-th invocation finds, if each is there at once when its threshold is reached.
fn compiled_tier(call: usize, thresholds: &[u32]) -> Option<usize> {
    thresholds.iter().filter(|&&threshold| call > threshold as usize).count().checked_sub(1)
}
