//! The backend beneath a real broker: whatever a lowering does costs its own promotion and no other.

use std::{thread, time::Duration};

use cranelift_codegen::{
    ir::{AbiParam, InstBuilder, Signature, Value, types::I32, types::I64},
    isa::CallConv,
};
use tierup_backends::{Builder, CraneliftBackend, LowerCx, abi};
use tierup_broker::{
    Bailout, BailoutKind, BailoutReason, Bead, BeadSpec, Broker, BrokerBuilder, InterpThread, Mode, Threshold, Tier,
};

/// What the lowering of a function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guest {
    Returns(i64),
    GivesUp,
    Panics,
    Recurses,
    LeavesUnfinished,
    ReturnsWrongType,
    TakesItsTime,
}

fn lower(cx: &mut LowerCx<'_, Guest>) -> Result<(), Bailout> {
    let guest = *cx.guest();
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(I64); 2]);
    signature.returns.push(AbiParam::new(I64));
    let mut b = cx.start(signature);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let result = match guest {
        Guest::Returns(value) => b.ins().iconst(I64, value),
        Guest::GivesUp => return Err(Bailout::terminal(BailoutReason::Unsupported { what: "this".to_owned() })),
        Guest::Panics => panic!("on purpose"),
        Guest::Recurses => {
            let zero = b.ins().iconst(I64, 0);
            nest(&mut b, zero)
        }
        Guest::LeavesUnfinished => return Ok(()),
        Guest::ReturnsWrongType => b.ins().iconst(I32, 0),
        Guest::TakesItsTime => {
            thread::sleep(Duration::from_millis(400));
            b.ins().iconst(I64, 0)
        }
    };
    b.ins().return_(&[result]);
    b.finish();
    Ok(())
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn nest(b: &mut Builder<'_>, value: Value) -> Value {
    let deeper = b.ins().iadd_imm_s(value, 1);
    let deepest = nest(b, deeper);
    b.ins().iadd(value, deepest)
}

fn broker(mode: Mode) -> BrokerBuilder<Guest> {
    let backend = CraneliftBackend::builder().build(lower).unwrap();
    Broker::builder().bridge(abi::bridge_stub()).mode(mode).policy(Threshold { calls: 0 }).compiler(backend)
}

fn bead(broker: &Broker<Guest>, guest: Guest) -> Bead<Guest> {
    broker.register(guest, BeadSpec { size: 10 }).unwrap()
}

/// What the function's native code returns, if it has any.
fn call(thread: &InterpThread<Guest>, bead: &Bead<Guest>) -> Option<u64> {
    let code = thread.on_invoke(bead.as_ref())?;
    let cells = thread.cells();
    let mut vmctx = cells;
    let mut regs = abi::Regs::default();
    regs.gpr[0] = (&raw mut vmctx) as u64;
    // SAFETY: the code was lent by this thread, takes nothing but the context, calls nothing and uses no stack.
    unsafe { abi::enter(cells, code.address().as_ptr(), &mut regs) }.unwrap();
    Some(regs.ret_gpr)
}

const MODES: &[Mode] = &[
    Mode::Sync,
    Mode::Pump,
    #[cfg(feature = "threads")]
    Mode::Background,
];

#[test]
fn hostile_lowerings_cost_their_own_promotion() {
    for &mode in MODES {
        let broker = broker(mode).build().unwrap();
        let thread = broker.register_thread().unwrap();
        for (guest, kind) in [
            (Guest::GivesUp, BailoutKind::Unsupported),
            (Guest::Panics, BailoutKind::Panicked),
            (Guest::Recurses, BailoutKind::StackExhausted),
            (Guest::LeavesUnfinished, BailoutKind::Verifier),
            (Guest::ReturnsWrongType, BailoutKind::Verifier),
        ] {
            let count = || {
                let bailouts = broker.stats().tiers[0].bailouts.clone();
                bailouts.iter().find(|bailout| bailout.0 == kind).map_or(0, |bailout| bailout.1)
            };
            let before = count();
            let (bad, good) = (bead(&broker, guest), bead(&broker, Guest::Returns(7)));
            for _ in 0..3 {
                assert_eq!(call(&thread, &bad), None, "{mode:?} {guest:?}");
                call(&thread, &good);
                broker.drain();
            }
            assert_eq!(count(), before + 1, "{mode:?} {guest:?}: {:?}", broker.stats().tiers);
            assert_eq!(call(&thread, &good), Some(7), "{mode:?} {guest:?}");
            assert_eq!(broker.bead_stats(bad.as_ref()).unwrap().disabled, [Tier::new(1)], "{mode:?} {guest:?}");
        }
        assert_eq!(broker.stats().pending, 0);
    }
}

#[test]
fn a_lowering_past_its_deadline_is_given_up() {
    for &mode in MODES {
        let broker = broker(mode).deadline(Duration::from_millis(100)).build().unwrap();
        let thread = broker.register_thread().unwrap();
        let (bad, good) = (bead(&broker, Guest::TakesItsTime), bead(&broker, Guest::Returns(7)));
        for _ in 0..2 {
            assert_eq!(call(&thread, &bad), None, "{mode:?}");
            call(&thread, &good);
            broker.drain();
        }
        assert_eq!(broker.stats().tiers[0].bailouts, [(BailoutKind::Deadline, 1)], "{mode:?}");
        assert_eq!((call(&thread, &bad), call(&thread, &good)), (None, Some(7)), "{mode:?}");
    }
}
