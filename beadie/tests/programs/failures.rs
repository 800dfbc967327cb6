// The incumbent's failures that its API can show, by their number in `fake/tests/abuse.rs`. Included twice by `failures.rs`: each test
// works out whether the failure is `FIXED` in the crate that `api` is.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::{code, happens, survives, when};
use api::{
    AlwaysRecompilePolicy, BailoutInfo, BeadState, Beadie, Chain, ExponentialBackoffPolicy, HotnessPolicy, OsrCompileResult,
    OsrEntry, ThresholdPolicy, TieredAdapter, TieredBound,
};

const INFO: BailoutInfo = BailoutInfo { guard_id: 0, pc_offset: 0, generation: 0 };

fn tiers(thresholds: &[u32]) -> TieredAdapter {
    let policies = thresholds.iter().map(|&calls| Box::new(ThresholdPolicy::new(calls)) as Box<dyn HotnessPolicy>);
    TieredAdapter::with_deopt_policy(policies.collect(), AlwaysRecompilePolicy)
}

/// Invokes a bead until it has code of the tier. Whether it ever does.
fn reaches(adapter: &TieredAdapter, bound: &TieredBound, tier: usize) -> bool {
    happens(|| {
        adapter.on_invoke(bound, move |tier, _| code(tier + 1));
        bound.current_tier() == Some(tier) && bound.bead().compiled() == Some(code(tier + 1))
    })
}

#[test]
fn a01_a_panic_costs_one_promotion() {
    let beadie = Beadie::new();
    let (bad, good) = (beadie.register(null_mut(), None), beadie.register(null_mut(), None));
    beadie.submit(&bad, |_| panic!("on purpose"));
    when("compiling or over", || bad.state() != BeadState::Queued);
    std::thread::sleep(Duration::from_millis(20));
    beadie.submit(&good, |_| code(1));
    assert_eq!(happens(|| good.compiled().is_some()), FIXED);
}

#[test]
fn a02_a_panic_in_a_higher_tier_costs_one_promotion() {
    let adapter = tiers(&[1, u32::MAX]);
    let bounds = [(); 2].map(|()| adapter.register(null_mut(), None));
    bounds.iter().for_each(|bound| assert!(reaches(&adapter, bound, 0)));
    assert!(adapter.force_promote(&bounds[0], 1, |_| panic!("on purpose")));
    std::thread::sleep(Duration::from_millis(20));
    adapter.force_promote(&bounds[1], 1, |_| code(2));
    assert_eq!(happens(|| bounds[1].is_promoted_beyond(0)), FIXED);
}

#[test]
fn a03_nothing_is_lost_in_a_burst() {
    let adapter = tiers(&[1, u32::MAX]);
    let bounds: Vec<_> = (0..600).map(|_| adapter.register(null_mut(), None)).collect();
    bounds.iter().for_each(|bound| assert!(reaches(&adapter, bound, 0)));
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let accepted = bounds.iter().filter(|bound| {
        let gate = Arc::clone(&gate);
        adapter.force_promote(bound, 1, move |_| {
            drop(gate.lock());
            code(2)
        })
    });
    assert_eq!(accepted.count() == bounds.len(), FIXED);
    drop(closed);
    assert_eq!(happens(|| bounds.iter().all(|bound| bound.is_promoted_beyond(0))), FIXED);
}

#[test]
fn a04_many_that_are_hot_at_once_ask_once() {
    let beadie = Beadie::with_policy(ThresholdPolicy::new(1));
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let beads: Vec<_> = (0..600).map(|_| beadie.register(null_mut(), None)).collect();
    for bead in &beads {
        let gate = Arc::clone(&gate);
        beadie.on_invoke(bead, move |_| {
            drop(gate.lock());
            code(1)
        });
    }
    // Who was rejected asks again at every call.
    assert_eq!(beads.iter().all(|bead| bead.state() != BeadState::Interpreted), FIXED);
    drop(closed);
    assert_eq!(happens(|| beads.iter().all(|bead| bead.compiled().is_some())), FIXED);
}

#[test]
fn a05_a_reload_wins_over_a_higher_tier_under_way() {
    let adapter = tiers(&[1, u32::MAX]);
    let bound = adapter.register(null_mut(), None);
    assert!(reaches(&adapter, &bound, 0));
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let (seen, (began, begins)) = (Arc::clone(&gate), mpsc::channel());
    assert!(adapter.force_promote(&bound, 1, move |_| {
        began.send(()).unwrap();
        drop(seen.lock());
        code(0xbad)
    }));
    begins.recv().unwrap();
    bound.bead().reload();
    when("compiled afresh", || adapter.on_invoke(&bound, |_, _| code(7)).is_some());
    drop(closed);
    assert_eq!(!happens(|| bound.bead().compiled() == Some(code(0xbad))), FIXED);
}

#[test]
fn a06_what_was_compiled_before_a_reload_is_not_installed_after() {
    let beadie = Beadie::with_policy(ThresholdPolicy::new(1));
    let bead = beadie.register(null_mut(), None);
    let installed_late = |round: usize| {
        let ends = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&ends);
        beadie.submit(&bead, move |_| {
            told.store(1, Ordering::Release);
            code(round)
        });
        while ends.load(Ordering::Acquire) == 0 {
            std::hint::spin_loop();
        }
        // From before the code is there to after it.
        (0..round % 64).for_each(|_| std::hint::spin_loop());
        bead.reload();
        when("answered", || !matches!(bead.state(), BeadState::Queued | BeadState::Compiling));
        let stale = bead.compiled() == Some(code(round));
        bead.reload();
        stale
    };
    // One round in thirty or so; here none.
    let most = if FIXED { 500 } else { 1_000_000 };
    assert_eq!(!(1..most).any(installed_late), FIXED);
}

#[test]
fn a07_tiers_keep_their_names() {
    let adapter = tiers(&[1, 2]);
    let bound = adapter.register(null_mut(), None);
    assert!(reaches(&adapter, &bound, 1));
    adapter.on_bailout(&bound, INFO);
    assert_eq!(reaches(&adapter, &bound, 1), FIXED);
}

#[test]
fn a08_osr_entries_go_with_their_code() {
    let beadie = Beadie::with_policy(ThresholdPolicy::new(1));
    let bead = beadie.register(null_mut(), None);
    beadie.submit_osr(&bead, |_| OsrCompileResult { entry: code(1), osr: vec![OsrEntry { site: 5, code: code(2) }] });
    when("compiled", || bead.osr_entry(5).is_some());
    bead.reload();
    beadie.submit(&bead, |_| code(3));
    when("compiled afresh", || bead.compiled() == Some(code(3)));
    assert_eq!(bead.osr_entry(5).is_none(), FIXED);
}

#[test]
fn a09_backing_off_ends() {
    let beadie = Beadie::with_policy(ThresholdPolicy::new(10));
    let bead = beadie.register(null_mut(), None);
    let invoke = |number| beadie.on_invoke(&bead, move |_| code(number));
    when("compiled", || invoke(1).is_some());
    bead.on_bailout(INFO, &ExponentialBackoffPolicy::new(100, 4));
    assert_eq!(bead.compiled(), Some(code(1)), "it runs meanwhile");
    let mut calls = 0;
    // Often enough for both, however late the worker comes to run.
    let afresh = happens(|| {
        (0..50).any(|_| {
            calls += 1;
            invoke(2) == Some(code(2))
        })
    });
    assert_eq!(afresh && calls >= 100, FIXED, "after {calls} calls");
}

#[test]
fn a10_a_failed_compile_is_no_destruction() {
    let told = Arc::new(AtomicUsize::new(0));
    let beadie = Beadie::new();
    let seen = Arc::clone(&told);
    let bead = beadie.register(null_mut(), Some(Box::new(move || seen.store(seen.load(Ordering::SeqCst) + 1, Ordering::SeqCst))));
    beadie.submit(&bead, |_| null_mut());
    when("answered", || !matches!(bead.state(), BeadState::Queued | BeadState::Compiling));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((bead.is_valid(), told.load(Ordering::SeqCst) == 0), (FIXED, FIXED));
    beadie.submit(&bead, |_| code(1));
    assert_eq!(happens(|| bead.compiled().is_some()), FIXED, "it may be tried again");
}

#[test]
fn a13_callbacks_may_call_back() {
    let (done, is_done) = mpsc::channel();
    // Left behind where it hangs.
    std::thread::spawn(move || {
        let chain = Chain::new();
        chain.push(null_mut(), None);
        chain.walk(|_| drop(chain.push(null_mut(), None)));
        done.send(chain.len()).unwrap();
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(1)).is_ok(), FIXED);
}

#[test]
fn a12_a_million_beads_are_dropped() {
    // What overflows its stack takes the process with it.
    let survived = survives(&format!("{}::a12_a_million_beads_are_dropped", module_path!()), || {
        let beadie = Beadie::new();
        (0..1_000_000).for_each(|_| drop(beadie.register(null_mut(), None)));
        assert_eq!(beadie.chain_len(), 1_000_000);
    });
    assert_eq!(survived, FIXED);
}

#[test]
fn a13_the_last_handle_may_go_inside_a_job() {
    let beadie = Arc::new(Beadie::new());
    let bead = beadie.register(null_mut(), None);
    let slot = Arc::new(Mutex::new(Some(Arc::clone(&beadie))));
    let (told, goes_on) = mpsc::channel();
    beadie.submit(&bead, move |_| {
        let last = slot.lock().unwrap().take();
        // By then this is the last.
        std::thread::sleep(Duration::from_millis(50));
        drop(last);
        told.send(()).unwrap();
        code(1)
    });
    drop(beadie);
    assert_eq!(goes_on.recv_timeout(Duration::from_secs(2)).is_ok(), FIXED);
}

#[test]
fn a13_shutdown_does_not_wait_for_the_queue() {
    let beadie = Beadie::new();
    let beads: Vec<_> = (0..20).map(|_| beadie.register(null_mut(), None)).collect();
    let gate = Arc::new(Mutex::new(()));
    let ran = Arc::new(AtomicUsize::new(0));
    let closed = gate.lock().unwrap();
    for bead in &beads {
        let (gate, ran) = (Arc::clone(&gate), Arc::clone(&ran));
        beadie.submit(bead, move |_| {
            drop(gate.lock());
            ran.fetch_add(1, Ordering::Relaxed);
            code(1)
        });
    }
    let ends = std::thread::spawn(move || drop(beadie));
    std::thread::sleep(Duration::from_millis(200));
    drop(closed);
    ends.join().unwrap();
    assert_eq!(ran.load(Ordering::Relaxed) < beads.len(), FIXED);
}

/// Four thousand million calls: half a minute.
#[test]
fn a14_counting_never_wraps() {
    if std::env::var("TIERUP_MATRIX").is_ok_and(|matrix| matrix == "full") {
        let beadie = Beadie::new();
        let bead = beadie.register(null_mut(), None);
        let most = catch_unwind(AssertUnwindSafe(|| {
            (0..u32::MAX).for_each(|_| _ = bead.tick());
            bead.tick().0
        }));
        assert_eq!(most.is_ok_and(|count| count == u32::MAX), FIXED);
    } else {
        println!("skipped: TIERUP_MATRIX=full counts to the end");
    }
}
