//! Everything at once, at random: compiles that panic, give up, hang, lie, or call the broker; functions that are reloaded, invalidated,
//! updated, disabled, released and registered again; threads that come and go with work unspent; brokers that are shut down in the
//! midst of it. After each of many short lives of a broker nothing may be lost, left behind, or have been freed too early.
//!
//! `TIERUP_CHAOS_SECONDS` says how long (2 by default), `TIERUP_CHAOS_SEED` repeats what the threads of a run tried, though not how they met.

mod compiler;
#[path = "../../../osr/tests/property/random.rs"]
mod random;
mod world;

use std::time::{Duration, Instant, SystemTime};

use random::Random;
use world::{Totals, World};

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn nothing_is_lost_left_behind_or_freed_too_early() {
    let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let seed = setting("TIERUP_CHAOS_SEED").unwrap_or_else(|| if cfg!(miri) { 1 } else { now() });
    let time = Duration::from_secs(setting("TIERUP_CHAOS_SECONDS").unwrap_or(2));
    println!("TIERUP_CHAOS_SEED={seed}");
    let (start, mut random, mut totals) = (Instant::now(), Random::new(seed), Totals::default());
    loop {
        World::live_and_die(random.next(), &mut totals);
        if cfg!(miri) || start.elapsed() >= time {
            break;
        }
    }
    println!("{totals:?}");
    assert!(cfg!(miri) || totals.installed > 0);
}
