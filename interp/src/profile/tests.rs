//! What a site says of its calls, by what was recorded.

use super::{CallSite, MAX_TARGETS, STABLE, Seen};
use crate::vmctx::FuncRef;

const FUNCTIONS: usize = 10;

/// A site that called each of these functions so many times, in order.
fn after(calls: &[(u64, u32)]) -> CallSite {
    let site = CallSite::new(0, 0, 0);
    for &(function, times) in calls {
        for _ in 0..times {
            call(&site, function);
        }
    }
    site
}

fn call(site: &CallSite, function: u64) {
    let target = function.wrapping_mul(size_of::<FuncRef>() as u64);
    if !site.note_first(target) {
        site.note(target, FUNCTIONS);
    }
}

#[test]
fn what_was_called() {
    let few = |targets: &[u32]| Seen::Few(targets.to_vec());
    let last = FUNCTIONS as u64;
    let foreign = [last, u64::MAX, 1 << 40];
    assert_eq!(after(&[]).seen(STABLE), Seen::Nothing);
    assert_eq!(after(&[(0, 2 * STABLE)]).seen(STABLE), few(&[0]));
    assert_eq!(after(&[(7, STABLE), (3, 2 * STABLE)]).seen(STABLE), few(&[3, 7]), "the most frequent first");
    assert_eq!(after(&[(1, STABLE), (2, STABLE), (3, STABLE), (4, 2 * STABLE)]).seen(STABLE), few(&[4, 1, 2, 3]));
    assert_eq!(after(&[(1, STABLE), (2, 1), (3, 1), (4, STABLE), (5, 1)]).seen(STABLE), Seen::Many);
    for foreign in foreign {
        assert_eq!(after(&[(1, 2 * STABLE), (foreign, 1)]).seen(STABLE), Seen::Many, "{foreign} is not of the instance");
    }
    assert_eq!((after(&[(6, 1)]).seen(0), after(&[(6, 1)]).seen(STABLE)), (few(&[6]), Seen::Unstable));
    let own = last - 1;
    assert_eq!(after(&[(own, 2 * STABLE)]).seen(STABLE), few(&[own as u32]));
}

/// A new target makes a site wait, however many calls there were before.
#[test]
fn a_new_target_is_waited_for() {
    for known in 0..MAX_TARGETS as u64 {
        let before: Vec<_> = (0..known).map(|function| (function, 10 * STABLE)).collect();
        let site = after(&before);
        for call_of_it in 0..STABLE {
            call(&site, known);
            assert!(call_of_it + 1 >= STABLE || site.seen(STABLE) == Seen::Unstable, "call {call_of_it} after {known} targets");
        }
        assert!(matches!(site.seen(STABLE), Seen::Few(targets) if targets.len() == known as usize + 1));
    }
}

/// Threads that record at once lose counts at most: every target has one place.
#[test]
fn threads_share_a_site() {
    let site = CallSite::new(0, 0, 0);
    std::thread::scope(|scope| {
        for first in 0..4 {
            let site = &site;
            scope.spawn(move || (0..1000).for_each(|n| call(site, (first + n) % 4)));
        }
    });
    let Seen::Few(mut targets) = site.seen(STABLE) else { panic!("{site:?}") };
    targets.sort_unstable();
    assert_eq!(targets, [0, 1, 2, 3]);
}
