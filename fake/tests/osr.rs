//! On-stack replacement as the broker sees it: which loop is asked for and when, who enters, what failures cost, and what
//! becomes of variants when the function changes.

mod common;

use common::*;
use tierup_broker::{
    Bailout, BailoutKind, BailoutReason, Bead, BeadSpec, Broker, BrokerBuilder, CALL_WORK, CompileNowError, Event, InterpThread,
    InvalidateReason, LossReason, Mode, OsrAfter, Reason, Threshold, Tier, Tiered, Transition,
};
use tierup_fake::{Behaviour, FakeCompiler, Guest, VARIANT, call};

const MODES: &[Mode] = &[
    Mode::Sync,
    Mode::Pump,
    #[cfg(feature = "threads")]
    Mode::Background,
];

/// Work of one turn of a loop.
const TURN: u32 = 10;

/// A broker on one fake compiler that makes variants.
fn osr_broker(mode: Mode, calls: u32) -> (Broker<Guest>, FakeCompiler, Log) {
    let (compiler, log) = (FakeCompiler::with_osr(), Log::default());
    (builder(mode, calls, &compiler).on_event(log.callback()).build().unwrap(), compiler, log)
}

/// As that, with two tiers.
fn two_tiers(mode: Mode, first: FakeCompiler, second: &FakeCompiler) -> BrokerBuilder<Guest> {
    Broker::builder().mode(mode).policy(Tiered::new(1, 100)).compiler(first).compiler(second.clone()).max_beads(1 << 10)
}

/// One back-edge: what the variant returns, if one is entered.
fn turn(thread: &InterpThread<Guest>, bead: &Bead<Guest>, site: u32) -> Option<u64> {
    // SAFETY: every unit of these tests is a fake one.
    thread.on_back_edge(bead.as_ref(), site, TURN).map(|entry| unsafe { call(entry.address().as_ptr()) })
}

/// Goes round the loop until a variant is entered, letting requests be compiled after each turn; says after how many turns.
fn turns_until_native(broker: &Broker<Guest>, thread: &InterpThread<Guest>, bead: &Bead<Guest>, site: u32) -> Option<u32> {
    (0..100_000).find(|_| {
        let entered = turn(thread, bead, site);
        assert!(entered.is_none_or(|value| value == VARIANT + u64::from(site)));
        if entered.is_none() && broker.pending() > 0 {
            broker.drain();
        }
        entered.is_some()
    })
}

fn stats(broker: &Broker<Guest>, bead: &Bead<Guest>) -> tierup_broker::BeadStats {
    broker.bead_stats(bead.as_ref()).unwrap()
}

fn assert_all_freed(broker: &Broker<Guest>, compiler: &FakeCompiler) {
    wait_for("every unit to be freed", || {
        broker.collect();
        compiler.leases().outstanding() == 0
    });
    assert_eq!((broker.stats().code_live, broker.stats().code_retired), (0, 0));
}

#[test]
fn one_long_call_goes_native_in_the_middle() {
    for &mode in MODES {
        let (broker, compiler, log) = osr_broker(mode, 10);
        let mut thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(3));
        assert_eq!(invoke(&thread, &bead), None);
        let turns = turns_until_native(&broker, &thread, &bead, 4).expect("a variant");
        assert!((50..=200).contains(&turns), "{mode:?}: entered after {turns} turns");
        assert_eq!(turn(&thread, &bead, 4), Some(VARIANT + 4), "and at every turn from now on");
        let known = stats(&broker, &bead);
        assert_eq!((known.tier, known.variants, known.code_bytes), (Tier::INTERPRETER, vec![(4, TIER1)], 64));
        assert_eq!(compiler.compiles(), 1, "the body is not compiled: nobody calls it");
        broker.collect();
        let events: Vec<_> = log.take().into_iter().map(|event| (event.what, event.to, event.site)).collect();
        let about = |what| (what, TIER1, Some(4));
        assert_eq!(events, [about(Transition::Requested(Reason::Budget)), about(Transition::Installed)], "{mode:?}");
        assert_eq!((broker.stats().tiers[0].installed, broker.stats().tiers[0].installed_osr), (1, 1));

        // The second call.
        invoke(&thread, &bead);
        broker.drain();
        assert_eq!(invoke(&thread, &bead), Some(3), "{mode:?}: its body is asked for at once");
        assert_eq!(stats(&broker, &bead).variants, [(4, TIER1)], "who is in the loop may still enter");
        let reasons: Vec<_> = log.transitions();
        assert_eq!(reasons, [Transition::Requested(Reason::CalledAgain), Transition::Installed], "{mode:?}");
        drop(bead);
        thread.quiescent();
        drop(thread);
        assert_all_freed(&broker, &compiler);
    }
}

#[test]
fn a_loop_budget_of_its_own() {
    let compiler = FakeCompiler::with_osr();
    let policy = OsrAfter { policy: Threshold { calls: u32::MAX }, work: 0 };
    let broker = Broker::builder().mode(Mode::Sync).policy(policy).compiler(compiler.clone()).max_beads(8).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let at_once = bead(&broker, Guest::new(1));
    assert_eq!(invoke(&thread, &at_once), None);
    assert_eq!(turn(&thread, &at_once, 7), Some(VARIANT + 7), "at the first back-edge");
    assert!((0..100).all(|_| invoke(&thread, &at_once).is_none()), "the policy wants no body, however often it is called");
    for _ in 0..100 {
        thread.count_native(at_once.as_ref(), u32::MAX, None);
    }
    assert_eq!(stats(&broker, &at_once).tier, Tier::INTERPRETER, "however much it does");

    let policy = OsrAfter { policy: Threshold { calls: 10 }, work: u32::MAX };
    let broker = Broker::builder().mode(Mode::Sync).policy(policy).compiler(compiler).max_beads(8).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let never = bead(&broker, Guest::new(1));
    assert!((0..many(10_000, 1_000)).all(|_| turn(&thread, &never, 0).is_none()));
    assert_eq!(invoke(&thread, &never), Some(1), "the loops have paid for the body");
}

#[test]
fn compilers_that_make_no_variants_are_not_asked_for_any() {
    for &mode in MODES {
        let (broker, compiler) = broker(mode, 0);
        let thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(1));
        for _ in 0..many(1000, 100) {
            assert_eq!(turn(&thread, &bead, 0), None);
            broker.drain();
        }
        assert_eq!((compiler.compiles(), stats(&broker, &bead).tier), (1, TIER1), "{mode:?}: the body only");
        assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER1, 0), Err(CompileNowError::NoOsr(TIER1)));
        broker.promote_osr(bead.as_ref(), TIER1, 0, Reason::Forced);
        assert_eq!(broker.stats().pending, 0);
    }
}

#[test]
fn the_outermost_loop_that_comes_round_soon() {
    let (broker, _, _) = osr_broker(Mode::Sync, 10);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    // Three loops: a turn of the middle one is five of the innermost, a turn of the outermost a thousand.
    let entered = (0..100_000_u32).find_map(|round| {
        let site = if round % 5000 == 4999 {
            0
        } else if round % 5 == 4 {
            1
        } else {
            2
        };
        turn(&thread, &bead, site).map(|value| (site, value))
    });
    assert_eq!(entered, Some((1, VARIANT + 1)));
    assert_eq!(stats(&broker, &bead).variants, [(1, TIER1)]);
}

#[test]
fn a_function_that_is_called_often_gets_its_body() {
    for &mode in MODES {
        let (broker, compiler, _) = osr_broker(mode, 100);
        let thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(3));
        for _ in 0..many(10_000, 300) {
            if invoke(&thread, &bead).is_none() {
                (0..20).for_each(|_| assert_eq!(turn(&thread, &bead, 0), None));
            }
            broker.drain();
        }
        assert_eq!((stats(&broker, &bead).tier, compiler.compiles()), (TIER1, 1), "{mode:?}: no variant");
    }
}

#[test]
fn a_frame_left_behind_is_let_in_although_the_body_is_compiled() {
    let (broker, _, _) = osr_broker(Mode::Sync, 10);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    invoke(&thread, &bead);
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    assert!(turns_until_native(&broker, &thread, &bead, 2).is_some_and(|turns| turns < 1000));
    assert_eq!(invoke(&thread, &bead), Some(3));
}

#[test]
fn threads_in_the_same_loop_follow_at_once() {
    let (broker, _, _) = osr_broker(Mode::Pump, 10);
    let threads: Vec<_> = (0..4).map(|_| broker.register_thread().unwrap()).collect();
    let bead = bead(&broker, Guest::new(3));
    for thread in &threads {
        invoke(thread, &bead);
        (0..20).for_each(|_| assert_eq!(turn(thread, &bead, 1), None));
    }
    assert!(turns_until_native(&broker, &threads[0], &bead, 1).is_some());
    for thread in &threads {
        assert_eq!(turn(thread, &bead, 1), Some(VARIANT + 1), "at its next turn");
    }
}

#[test]
fn a_thread_at_another_site_does_not_wait_for_ever() {
    let (broker, _, _) = osr_broker(Mode::Sync, 10);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    broker.compile_osr_now(bead.as_ref(), TIER1, 0).unwrap();
    assert!(turns_until_native(&broker, &thread, &bead, 3).is_some());
    assert_eq!(stats(&broker, &bead).variants, [(0, TIER1), (3, TIER1)]);
}

/// Loops until `behaviour` has shown, then calls: what was entered, the bailouts, and what the call returned.
fn provoke(mode: Mode, behaviour: Behaviour) -> (Option<u64>, Vec<BailoutKind>, Option<u64>) {
    let (broker, compiler, log) = osr_broker(mode, 0);
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::with_osr(2, behaviour));
    let mut entered = None;
    for _ in 0..many(300, 150) {
        entered = turn(&thread, &bead, 5);
        if broker.pending() > 0 {
            broker.drain();
        }
    }
    assert_eq!(stats(&broker, &bead).disabled, [], "the body is not disabled");
    invoke(&thread, &bead);
    broker.drain();
    let called = invoke(&thread, &bead);
    assert_eq!(broker.stats().pending, 0);
    let kinds = broker.stats().tiers[0].bailouts.iter().map(|&(kind, _)| kind).collect();
    for event in log.take() {
        let of_variant = !matches!(event.what, Transition::Requested(Reason::Budget | Reason::FirstCall) if event.site.is_none());
        assert!(!of_variant || event.site.is_some() || event.what == Transition::Installed || is_request(&event), "{event:?}");
    }
    drop(bead);
    thread.quiescent();
    drop(thread);
    assert_all_freed(&broker, &compiler);
    (entered, kinds, called)
}

fn is_request(event: &Event) -> bool {
    matches!(event.what, Transition::Requested(_))
}

#[test]
fn a_variant_that_fails_costs_only_itself() {
    for &mode in MODES {
        for (behaviour, kind) in [
            (Behaviour::Terminal, BailoutKind::Unsupported),
            (Behaviour::Panics, BailoutKind::Panicked),
            (Behaviour::PanicsOddly, BailoutKind::Panicked),
            (Behaviour::Null, BailoutKind::NullCode),
        ] {
            assert_eq!(provoke(mode, behaviour), (None, vec![kind], Some(2)), "{mode:?} {behaviour:?}");
        }
        assert_eq!(provoke(mode, Behaviour::LeasePanics), (Some(VARIANT + 5), vec![], Some(2)), "{mode:?}");
    }
}

#[test]
fn a_closed_site_is_not_asked_for_again_but_others_are() {
    let (broker, compiler, log) = osr_broker(Mode::Sync, 1);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::with_osr(2, Behaviour::Terminal));
    for round in 0..many(10_000, 5_000) as u32 {
        assert_eq!(turn(&thread, &bead, round % 2), None);
    }
    assert_eq!(compiler.compiles(), 3, "each site once, and then the body");
    let failed = log.take().into_iter().filter(|event| matches!(event.what, Transition::BailedOut { disabled: true, .. }));
    assert_eq!(failed.map(|event| event.site).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_eq!(stats(&broker, &bead).tier, TIER1);
    assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER1, 1), Err(CompileNowError::SiteClosed(1)));
    assert!(broker.reload(bead.as_ref(), Guest::new(2)));
    assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER1, 1), Ok(()), "another body, another chance");
}

/// Loops in which no variant can be had pay for the body, one watch after the last of them was turned down.
#[test]
fn loops_without_variants_earn_the_body() {
    let (broker, compiler, _) = osr_broker(Mode::Sync, 1);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::with_osr(2, Behaviour::Terminal));
    let mut compiled = Vec::new();
    for (round, &site) in [66, 2, 1, 1, 70].iter().cycle().take(1000).enumerate() {
        let before = compiler.compiles();
        assert_eq!(turn(&thread, &bead, site), None);
        compiled.extend((compiler.compiles() > before).then_some(round));
    }
    let waits: Vec<_> = compiled.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!((waits.len(), stats(&broker, &bead).tier), (3, TIER1), "three sites, and then the body: {compiled:?}");
    assert!(waits[2] <= 2 * waits[1], "{compiled:?}");
}

#[test]
fn retryable_failures_back_off_and_then_stop() {
    let compiler = FakeCompiler::with_osr();
    let policy = OsrAfter { policy: Threshold { calls: u32::MAX }, work: 0 };
    let broker = Broker::builder().mode(Mode::Sync).policy(policy).compiler(compiler.clone()).max_beads(8).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::with_osr(4, Behaviour::Retryable(u32::MAX)));
    let mut at = Vec::new();
    for round in 0..many(200_000, 110_000) as u32 {
        let before = compiler.compiles();
        assert_eq!(turn(&thread, &bead, 0), None);
        if compiler.compiles() > before {
            at.push(round);
        }
    }
    let waits: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(at.len(), 6, "compiles at turns {at:?}");
    // The first time the watch comes on top.
    assert!(waits.windows(2).all(|pair| (pair[0] * 2).abs_diff(pair[1]) <= 130), "each wait is twice the last: {waits:?}");
    assert_eq!(stats(&broker, &bead).disabled, []);
    assert_eq!(broker.compile_now(bead.as_ref(), TIER1), Ok(()), "the body is another matter");
}

#[test]
fn a_variant_that_may_be_had_later_is() {
    let (broker, _, _) = osr_broker(Mode::Sync, 0);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::with_osr(4, Behaviour::Retryable(3)));
    assert!(turns_until_native(&broker, &thread, &bead, 2).is_some());
}

#[test]
fn too_large_moves_on_to_the_loop_around() {
    for &mode in MODES {
        let (broker, compiler, log) = osr_broker(mode, 1);
        let thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::with_osr(2, Behaviour::TooLargeFrom(2)));
        wait_for("the third attempt", || {
            assert_eq!(turn(&thread, &bead, 3), None);
            broker.drain();
            compiler.compiles() == 3
        });
        broker.drain();
        assert_eq!(stats(&broker, &bead).variants, [(1, TIER1)], "{mode:?}");
        let events: Vec<_> = log.take().into_iter().map(|event| (event.site, event.what)).collect();
        assert_eq!(events[0], (Some(3), Transition::Requested(Reason::Budget)));
        let outer: Vec<_> = events.iter().filter(|(_, what)| *what == Transition::Requested(Reason::OuterLoop)).collect();
        assert_eq!(outer.iter().map(|event| event.0).collect::<Vec<_>>(), [Some(2), Some(1)], "{mode:?}: {events:?}");
        assert_eq!(broker.stats().tiers[0].bailouts, [(BailoutKind::OsrTooLarge, 2)]);
        assert!((0..many(10_000, 1_000)).all(|_| turn(&thread, &bead, 3).is_none()), "the inner loop has none");
        assert_eq!(compiler.compiles(), 3);
        assert_eq!(turn_soon(&thread, &bead, 1), Some(VARIANT + 1));
    }
}

/// Back-edges of one site until a slice has run out.
fn turn_soon(thread: &InterpThread<Guest>, bead: &Bead<Guest>, site: u32) -> Option<u64> {
    (0..1000).find_map(|_| turn(thread, bead, site))
}

#[test]
fn too_large_at_the_outermost_loop_is_the_end() {
    let (broker, compiler, _) = osr_broker(Mode::Sync, 1);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::with_osr(2, Behaviour::TooLargeFrom(0)));
    assert!((0..many(10_000, 1_000)).all(|_| turn(&thread, &bead, 2).is_none()));
    assert_eq!((compiler.compiles(), stats(&broker, &bead).tier), (4, TIER1), "three sites, and then the body");
    let too_large = BailoutReason::OsrTooLarge { size: 9, limit: 0, outer: Some(8) };
    let now = broker.compile_osr_now(bead.as_ref(), TIER1, 9);
    assert_eq!(now, Err(Bailout::terminal(too_large).into()), "who asks explicitly is told, and decides");
    assert_eq!(compiler.compiles(), 5);
}

#[cfg(feature = "threads")]
#[test]
fn a_variant_that_hangs_is_given_up_and_the_body_is_not() {
    let (compiler, log) = (FakeCompiler::with_osr(), Log::default());
    let builder = builder(Mode::Background, 0, &compiler).deadline(millis(30)).workers(1);
    let broker = builder.on_event(log.callback()).build().unwrap();
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::with_osr(2, Behaviour::Hangs));
    turn(&thread, &bead, 6);
    wait_for("the watchdog", || broker.stats().tiers[0].abandoned == 1);
    broker.drain();
    let abandoned: Vec<_> = log.take().into_iter().filter(|event| event.what == Transition::Abandoned).collect();
    assert_eq!(abandoned.iter().map(|event| event.site).collect::<Vec<_>>(), [Some(6)]);
    assert_eq!(stats(&broker, &bead).disabled, []);
    wait_for("the body", || {
        invoke(&thread, &bead);
        broker.drain();
        stats(&broker, &bead).tier == TIER1
    });
    compiler.release_hung();
    wait_for("the late variant to come back", || !stats(&broker, &bead).pending);
    assert_eq!(stats(&broker, &bead).variants, [], "it is not installed");
    assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER1, 6), Err(CompileNowError::SiteClosed(6)));
    drop(bead);
    thread.quiescent();
    drop(thread);
    assert_all_freed(&broker, &compiler);
}

#[test]
fn a_change_while_the_variant_is_pending_wins() {
    type Change = fn(&Broker<Guest>, &Bead<Guest>);
    let changes: [(Change, LossReason); 2] = [
        (|broker, bead| assert!(broker.reload(bead.as_ref(), Guest::new(5))), LossReason::Changed),
        (|broker, bead| assert!(broker.disable(bead.as_ref())), LossReason::Disabled),
    ];
    for (change, reason) in changes {
        let (broker, compiler, log) = osr_broker(Mode::Pump, 1);
        let bead = bead(&broker, Guest::new(3));
        for is_drained in [false, true] {
            broker.promote_osr(bead.as_ref(), TIER1, 2, Reason::Forced);
            if is_drained {
                broker.run_pending(0);
            }
            assert_eq!(broker.stats().pending, usize::from(reason == LossReason::Changed || !is_drained));
            change(&broker, &bead);
            broker.drain();
        }
        assert_eq!((compiler.compiles(), broker.stats().pending), (0, 0));
        let dropped = log.take().into_iter().filter(|event| event.what == Transition::Dropped(reason));
        let sites: Vec<_> = dropped.map(|event| event.site).collect();
        assert!(!sites.is_empty() && sites.iter().all(|&site| site == Some(2)), "{sites:?}");
    }
}

#[test]
fn a_release_while_the_variant_is_pending_frees_the_slot() {
    let (broker, compiler, log) = osr_broker(Mode::Pump, 1);
    let pending = bead(&broker, Guest::new(3));
    broker.promote_osr(pending.as_ref(), TIER1, 2, Reason::Forced);
    drop(pending);
    broker.drain();
    assert_eq!(broker.stats().pending, 0);
    assert_eq!(
        log.take().last().map(|event| (event.what.clone(), event.site)),
        Some((Transition::Dropped(LossReason::Released), Some(2)))
    );
    broker.prune();
    let next = bead(&broker, Guest::new(4));
    assert_eq!((next.id().id, next.id().generation), (0, 2));
    assert_eq!(broker.compile_osr_now(next.as_ref(), TIER1, 9), Ok(()), "nothing is left of the old one's request");
    assert_eq!(compiler.compiles(), 1);
}

#[test]
fn a_change_while_the_variant_is_entered_frees_it_at_the_next_quiescent_point() {
    type Change = fn(&Broker<Guest>, Bead<Guest>) -> Option<Bead<Guest>>;
    let changes: [Change; 4] = [
        |broker, bead| broker.invalidate(bead.as_ref(), InvalidateReason::Assumption).then_some(bead),
        |broker, bead| broker.reload(bead.as_ref(), Guest::new(5)).then_some(bead),
        |broker, bead| broker.disable(bead.as_ref()).then_some(bead),
        |_, bead| {
            drop(bead);
            None
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (broker, compiler, log) = osr_broker(Mode::Pump, 1);
        let mut thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(3));
        broker.compile_osr_now(bead.as_ref(), TIER1, 2).unwrap();
        let entry = thread.osr_entry(bead.as_ref(), 2).expect("there is a variant").address();
        let bead = change(&broker, bead);
        broker.collect();
        // SAFETY: a fake unit's entry; this thread has not been quiescent since it was lent.
        assert_eq!(unsafe { call(entry.as_ptr()) }, VARIANT + 2, "who is inside may finish");
        assert_eq!(compiler.leases().outstanding(), 1);
        assert!(bead.as_ref().is_none_or(|bead| thread.osr_entry(bead.as_ref(), 2).is_none()), "nobody enters any more");
        thread.quiescent();
        broker.collect();
        assert_eq!(compiler.leases().outstanding(), 0, "change {number}");
        assert_eq!((broker.stats().code_live, broker.stats().code_retired), (0, 0));
        let told = log.take().into_iter().find(|event| event.code_bytes == 64 && event.what != Transition::Installed);
        assert_eq!(told.is_some(), bead.is_some(), "change {number}");
    }
}

/// A frame of the old body can tell that a variant is not of that; and the new body's size counts.
#[test]
fn a_variant_says_of_which_body_it_is() {
    let (broker, _compiler, _) = osr_broker(Mode::Pump, u32::MAX);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    let whose = || thread.osr_entry_of(bead.as_ref(), 2).map(|(_, guest)| guest.value);
    assert_eq!(whose(), None, "there is no variant");
    broker.compile_osr_now(bead.as_ref(), TIER1, 2).unwrap();
    assert_eq!(whose(), Some(3), "the handle it was registered with");
    assert!(broker.reload_as(bead.as_ref(), Guest::new(5), BeadSpec { size: 77 }));
    assert_eq!((whose(), stats(&broker, &bead).size), (None, 77));
    broker.compile_osr_now(bead.as_ref(), TIER1, 2).unwrap();
    assert_eq!(whose(), Some(5));
    broker.invalidate(bead.as_ref(), InvalidateReason::Assumption);
    broker.compile_osr_now(bead.as_ref(), TIER1, 2).unwrap();
    assert_eq!(whose(), Some(5), "the same body");
}

#[test]
fn units_are_shared_by_successors() {
    let (broker, compiler, _) = osr_broker(Mode::Pump, u32::MAX);
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    for site in [4, 1, 0] {
        broker.compile_osr_now(bead.as_ref(), TIER1, site).unwrap();
    }
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    assert!(broker.update_guest(bead.as_ref(), Guest::new(6)));
    thread.quiescent();
    broker.collect();
    assert_eq!(compiler.leases().outstanding(), 4, "replacing a version frees no unit that its successor has");
    assert_eq!((broker.stats().code_live, broker.stats().code_retired), (4 * 64, 0));
    assert_eq!(stats(&broker, &bead).variants, [(0, TIER1), (1, TIER1), (4, TIER1)]);
    assert_eq!(stats(&broker, &bead).code_bytes, 4 * 64);
    for (site, variant) in [(0, true), (1, true), (2, false), (4, true), (5, false), (u32::MAX, false)] {
        assert_eq!(thread.osr_entry(bead.as_ref(), site).is_some(), variant, "site {site}");
    }
    assert_eq!(invoke(&thread, &bead), Some(3));
}

/// One unit, found at each of its sites, made, told of, counted and freed once.
#[test]
fn a_variant_may_be_entered_at_several_sites() {
    let (broker, compiler, log) = osr_broker(Mode::Pump, u32::MAX);
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3).entered_at(&[4, 1, 0, u32::MAX]));
    broker.compile_osr_now(bead.as_ref(), TIER1, 1).unwrap();
    for site in [0, 1, 4] {
        assert_eq!(turn(&thread, &bead, site), Some(VARIANT + 1), "site {site}");
        assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER1, site), Ok(()));
    }
    for site in [2, 3, 5, u32::MAX] {
        assert!(thread.osr_entry(bead.as_ref(), site).is_none(), "site {site}");
    }
    assert_eq!(compiler.compiles(), 1);
    let known = stats(&broker, &bead);
    assert_eq!((known.variants, known.code_bytes), (vec![(0, TIER1), (1, TIER1), (4, TIER1)], 64));
    assert_eq!((broker.stats().code_live, broker.stats().tiers[0].installed_osr), (64, 1));
    broker.invalidate(bead.as_ref(), InvalidateReason::Assumption);
    for site in [0, 1, 4] {
        assert!(thread.osr_entry(bead.as_ref(), site).is_none(), "site {site}");
    }
    thread.quiescent();
    assert_all_freed(&broker, &compiler);
    let told: Vec<_> = log.take().into_iter().map(|event| (event.what, event.code_bytes)).collect();
    let gone = Transition::Invalidated(InvalidateReason::Assumption);
    assert_eq!(told, [(Transition::Requested(Reason::Forced), 0), (Transition::Installed, 64), (gone, 64)]);
}

#[test]
fn a_variant_of_several_sites_leaves_better_ones_where_they_are() {
    let (first, second) = (FakeCompiler::with_osr(), FakeCompiler::with_osr());
    let broker = two_tiers(Mode::Pump, first.clone(), &second).build().unwrap();
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    broker.compile_osr_now(bead.as_ref(), TIER2, 4).unwrap();
    assert!(broker.update_guest(bead.as_ref(), Guest::new(3).entered_at(&[0, 4])));
    broker.compile_osr_now(bead.as_ref(), TIER1, 1).unwrap();
    assert_eq!(stats(&broker, &bead).variants, [(0, TIER1), (1, TIER1), (4, TIER2)]);
    assert_eq!(turn(&thread, &bead, 4), Some(VARIANT + 4));
    broker.compile_osr_now(bead.as_ref(), TIER2, 0).unwrap();
    assert_eq!(
        stats(&broker, &bead).variants,
        [(0, TIER2), (1, TIER1), (4, TIER2)],
        "of the same tier the one that is there stays"
    );
    assert_eq!([0, 1, 4].map(|site| turn(&thread, &bead, site)), [VARIANT, VARIANT + 1, VARIANT + 4].map(Some));
    drop(bead);
    thread.quiescent();
    assert_all_freed(&broker, &first);
    assert_eq!(second.leases().outstanding(), 0);
}

#[test]
fn per_site_the_highest_tier_wins() {
    let (first, second) = (FakeCompiler::with_osr(), FakeCompiler::with_osr());
    let broker = two_tiers(Mode::Pump, first.clone(), &second).build().unwrap();
    let mut thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    broker.compile_osr_now(bead.as_ref(), TIER1, 1).unwrap();
    broker.compile_osr_now(bead.as_ref(), TIER1, 2).unwrap();
    broker.compile_osr_now(bead.as_ref(), TIER2, 1).unwrap();
    assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER1, 1), Ok(()), "there is better already");
    assert_eq!(stats(&broker, &bead).variants, [(1, TIER2), (2, TIER1)]);
    thread.quiescent();
    broker.collect();
    assert_eq!((first.leases().outstanding(), second.leases().outstanding()), (1, 1));
}

#[test]
fn native_loops_are_told_when_to_leave() {
    let (first, second) = (FakeCompiler::with_osr(), FakeCompiler::with_osr());
    let broker = two_tiers(Mode::Pump, first, &second).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    broker.compile_osr_now(bead.as_ref(), TIER1, 4).unwrap();
    assert!(!thread.count_native(bead.as_ref(), 1 << 20, Some(4)), "a variant of its own tier is nothing to leave for");
    let mut left_after = None;
    for turn in 0..1000 {
        broker.drain();
        assert!(!thread.count_native(bead.as_ref(), CALL_WORK, None), "at the entry there is nothing to leave");
        if thread.count_native(bead.as_ref(), CALL_WORK, Some(4)) {
            left_after = Some(turn);
            break;
        }
    }
    assert_eq!(left_after, None, "a function that is called again and again is promoted as a whole");
    assert_eq!(stats(&broker, &bead).tier, TIER2);
    for _ in 0..1000 {
        broker.drain();
        // Native code comes every so often only.
        if thread.count_native(bead.as_ref(), 1 << 15, Some(4)) {
            assert_eq!(stats(&broker, &bead).variants, [(4, TIER2)]);
            assert!(!thread.count_native(bead.as_ref(), CALL_WORK, Some(3)), "only where the variant is");
            return;
        }
    }
    panic!("a loop that does not end is let into the best tier");
}

/// A variant's loop tells of more work at once than either budget holds: the loops' own is spent all the same.
#[test]
fn a_loop_in_a_variant_asks_for_the_next_tier() {
    const AT_ONCE: u32 = 1 << 18;
    // The budget the body has is spent by every telling, in the first row long before the loops' own.
    for (loops, least) in [(u32::MAX - 1, None), (8 * AT_ONCE, Some(8)), (100 * CALL_WORK, Some(1)), (0, Some(1))] {
        for &mode in MODES {
            let (first, second) = (FakeCompiler::with_osr(), FakeCompiler::with_osr());
            let policy = Tiered::new(1, 100).osr_work(1, loops);
            let broker = two_tiers(mode, first, &second).policy(policy).build().unwrap();
            let thread = broker.register_thread().unwrap();
            let bead = bead(&broker, Guest::new(3));
            broker.compile_osr_now(bead.as_ref(), TIER1, 4).unwrap();
            let left_after = (1..=64).find(|_| {
                let leaves = thread.count_native(bead.as_ref(), AT_ONCE, Some(4));
                broker.drain();
                leaves
            });
            // Then come the watch, and the telling after the request.
            let expected = least.map(|least| least..=least + 6);
            let kept =
                expected.as_ref().map_or(left_after.is_none(), |expected| left_after.is_some_and(|n| expected.contains(&n)));
            assert!(kept, "{mode:?}: left after {left_after:?}, not {expected:?}");
            assert_eq!(stats(&broker, &bead).tier, Tier::INTERPRETER, "no body: the function was not called again");
        }
    }
}

#[test]
fn a_pending_site_gives_way_to_an_explicit_one() {
    for &mode in &MODES[1..2] {
        let (broker, compiler, log) = osr_broker(mode, 1);
        let bead = bead(&broker, Guest::new(3));
        broker.promote_osr(bead.as_ref(), TIER1, 2, Reason::Budget);
        broker.promote_osr(bead.as_ref(), TIER1, 3, Reason::Budget);
        assert_eq!(broker.stats().pending, 1, "one site at a time");
        broker.run_pending(0);
        assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER1, 5), Ok(()));
        assert_eq!((broker.drain(), compiler.compiles(), broker.stats().pending), ((), 1, 0));
        let dropped: Vec<_> =
            log.take().into_iter().filter(|event| event.what == Transition::Dropped(LossReason::Superseded)).collect();
        assert_eq!(dropped.iter().map(|event| event.site).collect::<Vec<_>>(), [Some(2)]);
        broker.promote_osr(bead.as_ref(), TIER1, 3, Reason::Budget);
        broker.drain();
        assert_eq!(stats(&broker, &bead).variants, [(3, TIER1), (5, TIER1)], "the lane is free again");
    }
}

#[test]
fn explicit_requests_say_why_not() {
    let (broker, _, _) = osr_broker(Mode::Pump, 1);
    let (other, _, _) = osr_broker(Mode::Pump, 1);
    let bead = bead(&broker, Guest::new(3));
    assert_eq!(other.compile_osr_now(bead.as_ref(), TIER1, 0), Err(CompileNowError::ForeignBead));
    assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER2, 0), Err(CompileNowError::NoSuchTier(TIER2)));
    assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER1, u32::MAX), Err(CompileNowError::SiteClosed(u32::MAX)));
    assert!(broker.disable(bead.as_ref()));
    assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER1, 0), Err(CompileNowError::Disabled(TIER1)));
    broker.shutdown();
    assert_eq!(broker.compile_osr_now(bead.as_ref(), TIER1, 0), Err(CompileNowError::ShutDown));
}

#[test]
fn a_shutdown_drops_what_waits() {
    let (broker, compiler, log) = osr_broker(Mode::Pump, 1);
    let bead = bead(&broker, Guest::new(3));
    broker.promote_osr(bead.as_ref(), TIER1, 2, Reason::Budget);
    broker.run_pending(0);
    broker.shutdown();
    assert_eq!((broker.stats().pending, compiler.compiles()), (0, 0));
    assert!(log.take().iter().any(|event| event.what == Transition::Dropped(LossReason::ShutDown) && event.site == Some(2)));
}

#[cfg(feature = "threads")]
#[test]
fn several_threads_in_one_loop_that_changes_under_them() {
    let (broker, compiler, _) = osr_broker(Mode::Background, 1);
    let bead = std::sync::Arc::new(bead(&broker, Guest::new(0)));
    let done = std::sync::atomic::AtomicBool::new(false);
    let entered = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut thread = broker.register_thread().unwrap();
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    invoke(&thread, &bead);
                    for round in 0..many(500, 100) {
                        let site = if round % 50 == 0 { 0 } else { 1 };
                        if let Some(value) = turn(&thread, &bead, site) {
                            assert_eq!(value, VARIANT + u64::from(site));
                            entered.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        }
                    }
                    thread.quiescent();
                }
            });
        }
        for round in 1..many(400, 20) as u64 {
            match round % 4 {
                0 => assert!(broker.reload(bead.as_ref().as_ref(), Guest::new(round))),
                1 => assert!(broker.update_guest(bead.as_ref().as_ref(), Guest::new(round))),
                2 => drop(broker.compile_osr_now(bead.as_ref().as_ref(), TIER1, (round % 3) as u32)),
                _ => drop(broker.invalidate(bead.as_ref().as_ref(), InvalidateReason::Requested)),
            }
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert!(entered.load(std::sync::atomic::Ordering::SeqCst) > 0);
    broker.drain();
    assert_eq!(broker.stats().pending, 0);
    drop(bead);
    assert_all_freed(&broker, &compiler);
}

/// Whatever happens, every request ends in exactly one of the ways there are, and in an event that names the same site.
#[test]
fn every_request_is_answered_once() {
    for seed in 1..many(60, 4) as u64 {
        let mode = MODES[seed as usize % MODES.len()];
        let (compiler, log) = (FakeCompiler::with_osr(), Log::default());
        let builder = two_tiers(mode, compiler.clone(), &compiler).on_event(log.callback());
        let broker = builder.build().unwrap();
        let mut thread = broker.register_thread().unwrap();
        let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut roll = |sides: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % sides
        };
        let behaviours = [Behaviour::Compiles, Behaviour::Retryable(20), Behaviour::Terminal, Behaviour::TooLargeFrom(2)];
        let mut beads: Vec<_> = (0..3).map(|value| bead(&broker, Guest::new(value))).collect();
        for step in 0..many(2000, 200) as u64 {
            let which = roll(3) as usize;
            let guest = Guest::with_osr(step, behaviours[roll(4) as usize]);
            let (site, tier) = (roll(4) as u32, if roll(2) == 0 { TIER1 } else { TIER2 });
            match roll(40) {
                0..20 => drop((0..roll(100)).find_map(|_| turn(&thread, &beads[which], site))),
                20..25 => drop(invoke(&thread, &beads[which])),
                25..28 => broker.promote_osr(beads[which].as_ref(), tier, site, Reason::Budget),
                28 => drop(broker.compile_osr_now(beads[which].as_ref(), tier, site)),
                29 => drop(broker.compile_now(beads[which].as_ref(), tier)),
                30 => assert!(broker.reload(beads[which].as_ref(), guest)),
                31 => drop(broker.invalidate(beads[which].as_ref(), InvalidateReason::Requested)),
                32 => assert!(broker.update_guest(beads[which].as_ref(), guest)),
                33 => beads[which] = bead(&broker, guest),
                34..36 => drop(broker.run_pending(roll(3) as usize)),
                36 => drop(thread.count_native(beads[which].as_ref(), TURN, Some(site))),
                _ => thread.quiescent(),
            }
        }
        broker.drain();
        assert_eq!(broker.stats().pending, 0, "seed {seed}");
        drop(beads);
        thread.quiescent();
        drop(thread);
        assert_all_freed(&broker, &compiler);
        let mut told = std::collections::BTreeMap::<_, [usize; 3]>::new();
        for event in log.take().into_iter().filter(|event| event.site.is_some()) {
            let [requested, ended, dropped] = told.entry((event.bead, event.to, event.site)).or_default();
            match event.what {
                Transition::Requested(_) => *requested += 1,
                Transition::Installed | Transition::BailedOut { .. } | Transition::Lost(_) => *ended += 1,
                Transition::Dropped(_) => *dropped += 1,
                _ => panic!("seed {seed}: {event:?}"),
            }
        }
        for (target, [requested, ended, dropped]) in told {
            // What is taken back from the inbox was not told before.
            let answered = ended <= requested && requested <= ended + dropped;
            assert!(answered, "seed {seed} {mode:?} {target:?}: {requested} requests, {ended} ended, {dropped} dropped");
        }
    }
}
