//! Code that is left: exits are counted, the policy's answers are done, the body below takes over, and what was learnt is shown to
//! the next compile.

mod common;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use common::*;
use tierup_broker::{
    Bead, Broker, BrokerBuilder, CALL_WORK, DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample, GuardId,
    InterpThread, InvalidateReason, Mode, Reason, Threshold, Tier, Tiered, Transition, UnitId,
};
use tierup_fake::{Behaviour, FakeCompiler, Guest, Made, VARIANT};

const GUARD: GuardId = GuardId(0x0100_0000_0001);
const OTHER: GuardId = GuardId(7);

/// Does `action` at every exit from the `from`th of a unit on, and shows what it was asked.
#[derive(Clone)]
struct From {
    from: u32,
    action: DeoptAction,
    asked: Arc<Mutex<Vec<DeoptSample>>>,
}

impl From {
    fn exit(from: u32, action: DeoptAction) -> Self {
        From { from, action, asked: Arc::default() }
    }

    fn decision(&self) -> DeoptDecision {
        DeoptDecision { action: self.action, reason: DeoptReason::TooManyExits }
    }

    fn asked(&self) -> Vec<DeoptSample> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

const KEPT: DeoptDecision = DeoptDecision { action: DeoptAction::Keep, reason: DeoptReason::Rare };

impl DeoptPolicy for From {
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision {
        self.asked.lock().unwrap().push(*sample);
        if sample.unit_exits < self.from { KEPT } else { self.decision() }
    }
}

struct World {
    broker: Broker<Guest>,
    /// Of tier 1 and 2.
    compilers: [FakeCompiler; 2],
    log: Log,
    policy: From,
}

impl World {
    fn new(mode: Mode, policy: From) -> Self {
        let (compilers, log) = ([FakeCompiler::with_osr(), FakeCompiler::with_osr()], Log::default());
        let builder: BrokerBuilder<Guest> = Broker::builder().mode(mode).policy(Tiered::new(1_000, 1_000)).max_beads(1 << 10);
        let builder = builder.compiler(compilers[0].clone()).compiler(compilers[1].clone());
        let broker = builder.deopt_policy(policy.clone()).on_event(log.callback()).build().unwrap();
        World { broker, compilers, log, policy }
    }

    fn why(&self, bead: &Bead<Guest>) -> String {
        self.broker.why(bead.id()).unwrap().to_string()
    }

    /// A function with code of both tiers, which speculates in the second.
    fn function(&self) -> Bead<Guest> {
        let bead = bead(&self.broker, Guest::new(1));
        self.broker.compile_now(bead.as_ref(), TIER1).unwrap();
        assert!(self.broker.update_guest(bead.as_ref(), Guest::guarded(2, &[GUARD, OTHER]).watching()));
        self.broker.compile_now(bead.as_ref(), TIER2).unwrap();
        self.told();
        bead
    }

    /// The latest unit of tier 2.
    fn latest(&self) -> Made {
        self.compilers[1].made().pop().expect("a unit of tier 2")
    }

    fn told(&self) -> Vec<Transition> {
        self.broker.collect();
        self.log.transitions()
    }

    fn stats(&self, bead: &Bead<Guest>) -> tierup_broker::BeadStats {
        self.broker.bead_stats(bead.as_ref()).unwrap()
    }

    fn end(self, mut thread: InterpThread<Guest>, beads: impl IntoIterator<Item = Bead<Guest>>) {
        beads.into_iter().for_each(drop);
        thread.quiescent();
        drop(thread);
        wait_for("every unit to be freed", || {
            self.broker.collect();
            self.compilers.iter().all(|compiler| compiler.leases().outstanding() == 0)
        });
        let stats = self.broker.stats();
        assert_eq!((stats.code_live, stats.code_resident, stats.code_retired), (0, 0, 0));
    }
}

fn gone(decision: DeoptDecision) -> Transition {
    Transition::Deoptimized { guard: GUARD, decision }
}

#[test]
fn exits_are_counted_and_kept() {
    let world = World::new(Mode::Pump, From::exit(4, DeoptAction::Keep));
    let thread = world.broker.register_thread().unwrap();
    let bead = world.function();
    let unit = world.latest().id;
    assert_eq!(unit.bead(), bead.id());
    for guard in [GUARD, OTHER, GUARD, GuardId(1)] {
        assert_eq!(thread.on_exit(unit, guard).unwrap().action, DeoptAction::Keep);
    }
    let asked: Vec<_> = world.policy.asked().iter().map(|of| (of.guard, of.guard_exits, of.unit_exits)).collect();
    assert_eq!(asked, [(GUARD, 1, 1), (OTHER, 1, 2), (GUARD, 2, 3), (GuardId(1), 4, 4)], "one that is not listed, by the unit");
    assert_eq!(invoke(&thread, &bead), Some(2));
    assert_eq!((world.stats(&bead).exits, world.stats(&bead).deopts, world.told()), (4, 0, vec![]), "nothing happened");
    assert_eq!((world.broker.stats().tiers[1].exits, world.broker.stats().tiers[1].deopts), (4, 0));
    world.end(thread, [bead]);
}

/// Where code may be left, and where it was, is in the events and in what is told of the bead: by number, and in the embedder's words.
#[test]
fn where_code_may_be_left_is_told() {
    let words = |guards: &[GuardId]| match guards {
        [OTHER] => "the other".to_owned(),
        [GUARD] => panic!("is contained"),
        _ => format!("{} places", guards.len()),
    };
    for is_described in [false, true] {
        let (log, compilers) = (Log::default(), [(); 2].map(|()| FakeCompiler::with_osr()));
        let builder = Broker::builder().mode(Mode::Pump).policy(Tiered::new(1_000, 1_000)).on_event(log.callback());
        let builder = builder.compiler(compilers[0].clone()).compiler(compilers[1].clone());
        let policy = From::exit(6, DeoptAction::Suppress);
        let builder = builder.deopt_policy(policy.clone());
        let broker = if is_described { builder.describe_guards(words) } else { builder }.build().unwrap();
        let world = World { broker, compilers, log, policy };
        let thread = world.broker.register_thread().unwrap();
        let [other, both, guard] =
            if is_described { ["the other", "2 places", ""] } else { ["guard 0x7", "2 guards", "guard 0x10000000001"] };

        let bead = bead(&world.broker, Guest::guarded(2, &[GUARD, OTHER]));
        assert!(!world.why(&bead).contains("left"), "{}", world.why(&bead));
        world.broker.compile_now(bead.as_ref(), TIER1).unwrap();
        world.broker.collect();
        let told: Vec<_> = world.log.take().into_iter().map(|event| (event.what, event.guards)).collect();
        assert_eq!(told.last(), Some(&(Transition::Installed, both.to_owned())));
        assert!(world.why(&bead).contains(&format!("\n  tier 1 may be left at {both}\n")), "{}", world.why(&bead));

        let unit = world.compilers[0].made()[0].id;
        let leave = |guard, times| (0..times).for_each(|_| assert!(thread.on_exit(unit, guard).is_some()));
        leave(OTHER, 1);
        assert!(world.why(&bead).contains(&format!("left at {both}; was left once: once at {other}\n")), "{}", world.why(&bead));
        leave(GUARD, 3);
        let most = format!("left at {both}; was left 4 times: 3 times at {guard}, once at {other}\n");
        assert!(world.why(&bead).contains(&most), "{}", world.why(&bead));
        leave(OTHER, 2);
        world.broker.drain();
        let told: Vec<_> = world.log.take().into_iter().map(|event| (event.what, event.guards)).collect();
        assert!(matches!(&told[0], (Transition::Deoptimized { guard: OTHER, .. }, words) if words == other), "{told:?}");
        assert_eq!(told.last(), Some(&(Transition::Installed, guard.to_owned())), "made without the other");
        let told = world.why(&bead);
        assert!(told.contains(&format!("\n  left too often to be left there again: {other}\n")), "{told}");
        assert_eq!(world.broker.why(bead.id()).unwrap().exits[0].times, 0, "the new unit's");
        world.end(thread, [bead]);
    }
}

#[test]
fn falling_back_needs_no_compile() {
    for action in [DeoptAction::BackOff { work: 50 * CALL_WORK }, DeoptAction::RevertTo { tier: TIER2 }] {
        let world = World::new(Mode::Pump, From::exit(3, action));
        let thread = world.broker.register_thread().unwrap();
        let bead = world.function();
        let stats = world.broker.stats();
        assert_eq!((stats.code_live, stats.code_resident, stats.code_retired), (128, 64, 0), "the body below stays");
        assert_eq!((world.stats(&bead).resident, world.stats(&bead).code_bytes), (vec![TIER1], 128));

        let unit = world.latest().id;
        assert_eq!((thread.on_exit(unit, GUARD), thread.on_exit(unit, GUARD)), (Some(KEPT), Some(KEPT)));
        let decision = thread.on_exit(unit, GUARD).unwrap();
        let corrected =
            if matches!(action, DeoptAction::RevertTo { .. }) { DeoptAction::RevertTo { tier: TIER1 } } else { action };
        assert_eq!(decision.action, corrected, "what is not below the unit's tier is what there is below it");
        let asked = world.policy.asked().pop().unwrap();
        assert_eq!((asked.tier, asked.fallback, asked.site, asked.deopts), (TIER2, TIER1, None, 0));

        assert_eq!(invoke(&thread, &bead), Some(1), "at once");
        let compiles = world.compilers.each_ref().map(FakeCompiler::compiles);
        assert_eq!((compiles, world.stats(&bead).resident), ([1, 1], vec![]));
        assert_eq!((thread.on_exit(unit, GUARD), world.policy.asked()), (None, vec![]), "given up: nobody is asked");
        assert_eq!(world.told(), [gone(decision)], "one event");
        let stats = world.broker.stats();
        assert_eq!((stats.code_live, stats.code_resident, stats.code_retired), (64, 0, 64));

        // It may go up again, after the work it was told to do.
        let wait = if matches!(action, DeoptAction::BackOff { .. }) { 50 } else { 1_000 };
        let asks_after = (0..2_000).find(|_| {
            invoke(&thread, &bead);
            world.broker.pending() > 0
        });
        assert!(asks_after.is_some_and(|calls| (wait - 1..=wait + 1).contains(&calls)), "{action:?}: {asks_after:?}");
        world.broker.drain();
        assert_eq!(invoke(&thread, &bead), Some(2));
        let mut asked = world.policy.asked();
        assert_eq!(thread.on_exit(world.latest().id, OTHER), Some(KEPT));
        asked.extend(world.policy.asked());
        assert_eq!((asked[0].deopts, asked[0].guard_deopts), (1, 0), "the policy is told that it is a retry");
        world.end(thread, [bead]);
    }
}

#[test]
fn a_unit_that_cannot_fail_keeps_nobody() {
    let world = World::new(Mode::Pump, From::exit(1, DeoptAction::Recompile));
    let mut thread = world.broker.register_thread().unwrap();
    let bead = bead(&world.broker, Guest::new(1));
    world.broker.compile_now(bead.as_ref(), TIER1).unwrap();
    world.broker.compile_now(bead.as_ref(), TIER2).unwrap();
    assert_eq!((world.stats(&bead).resident, world.broker.stats().code_resident), (vec![], 0));
    thread.quiescent();
    world.broker.collect();
    assert_eq!(world.compilers[0].leases().outstanding(), 0);
    world.end(thread, [bead]);
}

#[test]
fn recompiling() {
    for (mode, action) in [
        (Mode::Sync, DeoptAction::Recompile),
        (Mode::Sync, DeoptAction::Suppress),
        (Mode::Pump, DeoptAction::Recompile),
        (Mode::Pump, DeoptAction::Suppress),
        #[cfg(feature = "threads")]
        (Mode::Background, DeoptAction::Suppress),
    ] {
        let world = World::new(mode, From::exit(2, action));
        let thread = world.broker.register_thread().unwrap();
        let bead = world.function();
        let first = world.latest().id;
        assert!(world.latest().suppressed.is_empty());
        thread.on_exit(first, OTHER);
        let decision = thread.on_exit(first, GUARD);
        assert_eq!(decision, Some(world.policy.decision()), "{mode:?}");
        if mode == Mode::Pump {
            assert_eq!(invoke(&thread, &bead), Some(1), "the body below, until there is another");
        }
        world.broker.drain();
        assert_eq!(invoke(&thread, &bead), Some(2), "{mode:?}");
        let suppressed = if action == DeoptAction::Suppress { vec![GUARD] } else { vec![] };
        let second = world.latest();
        assert_ne!(second.id, first);
        assert_eq!((&second.suppressed, &world.stats(&bead).suppressed), (&suppressed, &suppressed));
        // Workers tell what came before, as well.
        let told: Vec<_> = world.told().into_iter().skip_while(|what| *what != gone(decision.unwrap())).collect();
        let events = [gone(decision.unwrap()), Transition::Requested(Reason::Deopt), Transition::Installed];
        assert_eq!(told, events, "{mode:?}");
        assert_eq!(thread.on_exit(first, GUARD), None, "a frame of the old code");
        world.policy.asked();
        assert_eq!(thread.on_exit(second.id, GUARD), Some(KEPT), "and the new code's own count");
        let asked = world.policy.asked().pop().unwrap();
        let known = (asked.deopts, asked.guard_deopts, asked.suppressed, asked.suppressed_guards);
        assert_eq!(known, (1, 1, !suppressed.is_empty(), suppressed.len() as u32));
        assert_eq!(world.stats(&bead).resident, [TIER1]);

        // Invalidating keeps what was learnt of the body; reloading does not.
        world.broker.invalidate(bead.as_ref(), InvalidateReason::Requested);
        assert_eq!((world.stats(&bead).suppressed, world.stats(&bead).deopts), (suppressed, 1));
        assert!(world.broker.reload(bead.as_ref(), Guest::guarded(3, &[GUARD])));
        assert_eq!((world.stats(&bead).suppressed, world.stats(&bead).deopts), (vec![], 0));
        world.end(thread, [bead]);
    }
}

#[test]
fn a_recompile_is_taken_first() {
    let world = World::new(Mode::Pump, From::exit(1, DeoptAction::Recompile));
    let thread = world.broker.register_thread().unwrap();
    let left = world.function();
    let others: Vec<_> = (0..10).map(|_| bead(&world.broker, Guest::new(5))).collect();
    for other in &others {
        world.broker.promote(other.as_ref(), TIER1, Reason::Forced);
    }
    assert_eq!(world.broker.run_pending(1), 1);
    thread.on_exit(world.latest().id, GUARD);
    assert_eq!(invoke(&thread, &left), Some(1));
    assert_eq!(world.broker.run_pending(1), 1);
    assert_eq!(invoke(&thread, &left), Some(2), "before nine that were there before");
    world.broker.drain();
    world.end(thread, others.into_iter().chain([left]));
}

#[test]
fn never_this_tier() {
    let world = World::new(Mode::Pump, From::exit(1, DeoptAction::NeverThisTier));
    let thread = world.broker.register_thread().unwrap();
    let bead = world.function();
    world.broker.compile_osr_now(bead.as_ref(), TIER2, 3).unwrap();
    world.told();
    let body = world.compilers[1].made().remove(0).id;
    assert_eq!(thread.on_exit(body, GUARD), Some(world.policy.decision()));
    assert_eq!(world.told(), [gone(world.policy.decision())]);
    let known = world.stats(&bead);
    assert_eq!((known.tier, known.variants, known.disabled), (TIER1, vec![], vec![TIER2]), "its variants as well");
    assert!((0..many(10_000, 100)).all(|_| invoke(&thread, &bead) == Some(1)));
    assert_eq!(world.broker.stats().pending, 0);
    assert!(world.broker.reload(bead.as_ref(), Guest::new(4)));
    assert_eq!(world.stats(&bead).disabled, [], "of another body it may be asked again");
    world.broker.compile_now(bead.as_ref(), TIER2).unwrap();
    world.end(thread, [bead]);
}

#[test]
fn of_body_and_variants_the_one_that_was_left_goes() {
    let world = World::new(Mode::Sync, From::exit(1, DeoptAction::Recompile));
    let thread = world.broker.register_thread().unwrap();
    let bead = world.function();
    for site in [2, 5] {
        world.broker.compile_osr_now(bead.as_ref(), TIER2, site).unwrap();
    }
    let made = world.compilers[1].made();
    let [body, two, five] = [0, 1, 2].map(|index| made[index].id);
    thread.on_exit(five, GUARD);
    let asked = world.policy.asked().pop().unwrap();
    assert_eq!((asked.site, asked.tier, asked.fallback), (Some(5), TIER2, TIER2));
    assert_eq!(world.compilers[1].compiles(), 4, "compiled again, here");
    assert_eq!(world.stats(&bead).variants, [(2, TIER2), (5, TIER2)]);
    let counted = |unit: UnitId| thread.on_exit(unit, GUARD).is_some();
    assert_eq!([five, two, body].map(counted), [false, true, true]);
    // SAFETY: every unit of these tests is a fake one.
    let entered = thread.osr_entry(bead.as_ref(), 5).map(|entry| unsafe { tierup_fake::call(entry.address().as_ptr()) });
    assert_eq!(entered, Some(VARIANT + 5));
    world.end(thread, [bead]);
}

/// What an old body's frame does is not the new body's fault.
#[test]
fn old_generations_are_not_counted() {
    let world = World::new(Mode::Pump, From::exit(1, DeoptAction::NeverThisTier));
    let thread = world.broker.register_thread().unwrap();
    let bead = world.function();
    let old = world.latest();
    // SAFETY: the thread has no quiescent point, so no lease was dropped: here and below.
    assert!(unsafe { old.is_valid() });
    assert!(world.broker.reload(bead.as_ref(), Guest::guarded(6, &[GUARD]).watching()));
    // SAFETY: as above.
    assert!(!unsafe { old.is_valid() }, "its frames are told to leave");
    world.broker.compile_now(bead.as_ref(), TIER2).unwrap();
    assert_eq!(thread.on_exit(old.id, GUARD), None);
    assert_eq!((invoke(&thread, &bead), world.policy.asked()), (Some(6), vec![]));
    // SAFETY: as above.
    assert!(unsafe { world.latest().is_valid() });
    drop(bead);
    assert_eq!(thread.on_exit(old.id, GUARD), None, "nor is a bead's that is gone");
    world.end(thread, []);
}

#[test]
fn a_body_that_falls_is_not_left_out_when_a_premise_breaks() {
    let world = World::new(Mode::Pump, From::exit(1, DeoptAction::BackOff { work: 1 }));
    let thread = world.broker.register_thread().unwrap();
    let assumption = world.broker.assumption();
    let bead = bead(&world.broker, Guest::new(1).assuming(&assumption));
    world.broker.compile_now(bead.as_ref(), TIER1).unwrap();
    assert!(world.broker.update_guest(bead.as_ref(), Guest::guarded(2, &[GUARD])));
    world.broker.compile_now(bead.as_ref(), TIER2).unwrap();
    assert_eq!((world.stats(&bead).resident, world.broker.stats().assumed), (vec![TIER1], 1));
    let _ = thread.break_assumption(&assumption);
    assert_eq!((invoke(&thread, &bead), world.stats(&bead).resident), (Some(2), vec![]), "it is not there to fall back on");
    thread.on_exit(world.latest().id, GUARD);
    assert_eq!(invoke(&thread, &bead), None);
    world.end(thread, [bead]);
}

/// Threads leave code and reload it all the time: each unit is given up once, and nothing is left over.
#[cfg(feature = "threads")]
#[test]
fn a_storm_of_exits() {
    let compiler = FakeCompiler::with_osr();
    let policy = From::exit(3, DeoptAction::Suppress);
    let log = Log::default();
    let builder = Broker::builder().mode(Mode::Background).policy(Threshold { calls: 2 }).compiler(compiler.clone()).max_beads(8);
    let broker = builder.deopt_policy(policy.clone()).on_event(log.callback()).build().unwrap();
    let bead = bead(&broker, Guest::guarded(1, &[GUARD]));
    let given_up = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for seed in 0..3_u64 {
            let (broker, bead, compiler, given_up) = (&broker, &bead, &compiler, &given_up);
            scope.spawn(move || {
                let mut thread = broker.register_thread().unwrap();
                for turn in 0..many(3_000, 60) as u64 {
                    invoke(&thread, bead);
                    if let Some(made) = compiler.made().last()
                        && let Some(decision) = thread.on_exit(made.id, GUARD)
                        && decision.action != DeoptAction::Keep
                    {
                        given_up.fetch_add(1, Ordering::SeqCst);
                    }
                    if (turn + seed) % many(500, 20) as u64 == 0 {
                        assert!(broker.reload(bead.as_ref(), Guest::guarded(1, &[GUARD])));
                    }
                    thread.quiescent();
                }
            });
        }
    });
    broker.drain();
    let deopts = log.transitions().iter().filter(|what| matches!(what, Transition::Deoptimized { .. })).count();
    assert_eq!(deopts, given_up.load(Ordering::SeqCst), "one event each");
    assert_eq!(broker.stats().tiers[0].deopts, deopts as u64);
    drop(bead);
    wait_for("every unit to be freed", || {
        broker.collect();
        compiler.leases().outstanding() == 0
    });
}

/// The behaviour of compilers that fail is what it was, also for a recompile.
#[test]
fn a_recompile_that_fails_costs_the_tier() {
    let world = World::new(Mode::Pump, From::exit(1, DeoptAction::Recompile));
    let thread = world.broker.register_thread().unwrap();
    let bead = world.function();
    assert!(world.broker.update_guest(bead.as_ref(), Guest::behaving(2, Behaviour::Terminal)));
    thread.on_exit(world.latest().id, GUARD);
    world.broker.drain();
    assert_eq!((invoke(&thread, &bead), world.stats(&bead).disabled), (Some(1), vec![TIER2]));
    assert_eq!(world.stats(&bead).tier, Tier::new(1));
    world.end(thread, [bead]);
}
