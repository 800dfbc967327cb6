//! Embedders that decide for themselves: `InterpThread::invoke_spent_by`.

mod common;

use common::*;
use tierup_broker::{Broker, CALL_WORK, Charge, Decision, Mode, Reason, Threshold, WaitReason};
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
