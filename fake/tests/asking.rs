//! Embedders that decide for themselves: `InterpThread::invoke_spent_by`.

mod common;

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use common::*;
use tierup_broker::{
    Bead, Broker, CALL_WORK, Charge, Decision, HotnessPolicy, InterpThread, Mode, Reason, Sample, Threshold, Tier, WaitReason,
};
use tierup_fake::{FakeCompiler, Guest};

#[test]
fn whoever_asks_decides() {
    let compiler = FakeCompiler::new();
    let broker = Broker::builder().mode(Mode::Pump).policy(Threshold { calls: 0 }).compiler(compiler.clone()).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    let mut asked = Vec::new();
    for call in 1..=200_u32 {
        if let Charge::Spent = thread.try_invoke(bead.as_ref()) {
            let code = thread.invoke_spent_by(bead.as_ref(), |sample| {
                asked.push((call, sample.work));
                match call {
                    100 => Decision::Promote { tier: TIER1, reason: Reason::Forced },
                    _ => Decision::Wait { budget: 98 * CALL_WORK, reason: WaitReason::NotHot },
                }
            });
            assert!(code.is_none());
        }
    }
    // At the first call, which the budget of nothing cannot pay for, and at the hundredth; then it is asked for.
    assert_eq!(asked[..2], [(1, 0), (100, u64::from(98 * CALL_WORK))]);
    assert_eq!((broker.run_pending(usize::MAX), compiler.compiles()), (1, 1));
    assert_eq!(invoke(&thread, &bead), Some(3));
}

/// Work that earns the second tier.
const SECOND: u32 = 1_000 * CALL_WORK;

/// Waits for the first tier where its code comes while the policy makes up its mind.
#[derive(Debug, Default)]
struct Ponders {
    broker: OnceLock<Broker<Guest>>,
    wants_second: AtomicBool,
}

impl HotnessPolicy for &'static Ponders {
    fn first_budget(&self, tier: Tier, _: u32) -> u32 {
        if tier == TIER1 { CALL_WORK } else { SECOND }
    }

    fn decide(&self, sample: &Sample) -> Decision {
        if sample.pending && sample.next == TIER1 {
            assert_eq!(self.broker.get().unwrap().run_pending(usize::MAX), 1);
            return Decision::Wait { budget: CALL_WORK, reason: WaitReason::Pending };
        }
        self.wants_second.store(sample.next == TIER2, Ordering::Relaxed);
        Decision::Promote { tier: sample.next, reason: Reason::Budget }
    }
}

/// Steps from the install of the first tier to the request of the second.
fn steps_between_tiers(step: impl Fn(&InterpThread<Guest>, &Bead<Guest>)) -> u32 {
    let policy: &'static Ponders = Box::leak(Box::default());
    let broker = Broker::builder().mode(Mode::Pump).policy(policy).max_beads(1 << 10);
    let broker = broker.compiler(FakeCompiler::with_osr()).compiler(FakeCompiler::with_osr()).build().unwrap();
    policy.broker.set(broker.clone()).unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(3));
    let steps_until = |done: &dyn Fn() -> bool| {
        let steps = (1..100_000).find(|_| {
            step(&thread, &bead);
            done()
        });
        steps.expect("an end")
    };
    steps_until(&|| broker.stats().tiers[0].installed > 0);
    steps_until(&|| policy.wants_second.load(Ordering::Relaxed))
}

/// What an install has armed for the next tier is not made smaller by a thread that asked about the tier that came.
#[test]
fn code_that_comes_while_the_policy_is_asked_counts_for_the_next_tier() {
    let calls = steps_between_tiers(|thread, bead| {
        let _ = thread.on_invoke(bead.as_ref());
    });
    assert!((1_000..=1_100).contains(&calls), "by calls: {calls}");
    let turns = steps_between_tiers(|thread, bead| {
        if thread.on_back_edge(bead.as_ref(), 0, CALL_WORK).is_some() {
            thread.count_native(bead.as_ref(), CALL_WORK, Some(0));
        }
    });
    // What is owed for turns that were watched comes on top.
    assert!((900..=1_100).contains(&turns), "in a loop: {turns}");
}
