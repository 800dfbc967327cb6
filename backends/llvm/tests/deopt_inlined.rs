//! Exits of functions that LLVM puts into each other: numbered for the unit, each finishes its own function only.
//!
//! The guest language: `f(x)` leaves unless `x` is not its own number, and is `x` at the end of a chain of callees, else `1 + g(x)`.

use std::{
    cell::RefCell,
    ffi::c_void,
    sync::{Arc, Weak},
};

use cranelift_codegen::{
    ir::{AbiParam, InstBuilder, Signature, condcodes::IntCC, types::I64},
    isa::CallConv,
};
use tierup_backends::{
    LlvmBackend, LowerCx,
    abi::{self, Regs, Resume, ThreadCells},
    clif::{self, Traps},
    deopt::{ExitReason, FrameState},
};
use tierup_broker::{Bailout, Bead, BeadSpec, Broker, GuardId, InterpThread, Mode, Threshold, Tier};
use tierup_llvm::{InProcess, Options};

#[derive(Clone)]
struct Guest {
    number: u64,
    callee: Option<Weak<Bead<Guest>>>,
}

const SLOT: u32 = 5;

fn lower(cx: &mut LowerCx<'_, Guest>) -> Result<(), Bailout> {
    let Guest { number, callee } = cx.guest().clone();
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params = vec![AbiParam::new(I64); 3];
    signature.returns = vec![AbiParam::new(I64)];
    let mut b = cx.start(signature.clone());
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let mut traps = Traps::new();
    let abi = clif::prologue(&mut b, &mut traps, 0, 9);
    let x = b.block_params(entry)[2];
    let holds = b.ins().icmp_imm_s(IntCC::NotEqual, x, number as i64);
    let state = FrameState::of(number, 100 + number as u32).slot(SLOT, x);
    cx.guard(&mut b, &abi, holds, &state, GuardId(number << 8), ExitReason::WrongType).expect("few slots");
    let result = match callee.and_then(|callee| callee.upgrade()) {
        None => x,
        Some(callee) => {
            let token = b.ins().iconst(I64, 77);
            let signature = b.import_signature(signature);
            let callee = cx.inlinable(&mut b, callee.as_ref().as_ref(), signature).expect("it is small");
            let call = b.ins().call(callee, &[abi.vmctx, token, x]);
            let result = b.inst_results(call)[0];
            b.ins().iadd_imm_s(result, 1)
        }
    };
    b.ins().return_(&[result]);
    traps.finish(&mut b);
    b.finish();
    Ok(())
}

/// One exit: its number, guard, function, pc, slots.
type Left = (u32, GuardId, u64, u32, Vec<(u32, u64)>);

#[repr(C)]
struct Machine {
    cells: *mut ThreadCells,
    map: Box<dyn Fn(usize) -> Arc<tierup_backends::deopt::ExitTable>>,
    left: RefCell<Vec<Left>>,
}

unsafe extern "C" fn finish(vmctx: *mut c_void, _: u64, buffer: *mut u64, resume: u64) -> u32 {
    // SAFETY: native code passes on the machine it was entered with; the stub has set the exit pc.
    let (machine, pc) = unsafe { (&*vmctx.cast::<Machine>(), (*(*vmctx.cast::<Machine>()).cells).exit_pc) };
    let Resume::Exit(number) = Resume::decode(resume) else { panic!("no loop is here") };
    let table = (machine.map)(pc);
    let exit = table.exit(number).unwrap();
    // SAFETY: the wide buffer, with so many words.
    let words = unsafe { std::slice::from_raw_parts(buffer, exit.words()) };
    let frames: Vec<_> = exit.rebuild(words).collect();
    let [frame] = frames[..] else { panic!("each function has its own frame") };
    machine.left.borrow_mut().push((number, exit.guard(), frame.function(), frame.pc(), frame.slots().collect()));
    // SAFETY: as above.
    unsafe { *buffer = 1000 };
    0
}

#[test]
fn exits_of_callees_are_the_units() {
    let llvm = Arc::new(LlvmBackend::builder().build_with(InProcess::new(Options::default()), lower).unwrap());
    let memory = Arc::clone(llvm.code_memory());
    let broker: Broker<Guest> = Broker::builder()
        .bridge(abi::bridge_stub())
        .compiler(llvm)
        .mode(Mode::Sync)
        .policy(Threshold { calls: 1 << 20 })
        .build()
        .unwrap();
    let bead = |number, callee: Option<&Arc<Bead<Guest>>>| {
        Arc::new(broker.register(Guest { number, callee: callee.map(Arc::downgrade) }, BeadSpec { size: 10 }).unwrap())
    };
    let third = bead(3, None);
    let second = bead(2, Some(&third));
    let first = bead(1, Some(&second));
    broker.compile_now(first.as_ref().as_ref(), Tier::new(1)).unwrap();
    assert_eq!(broker.stats().contained, 2);

    let thread: InterpThread<Guest> = broker.register_thread().unwrap();
    let cells = thread.cells();
    let map = move |pc| memory.map().exits(pc).expect("the unit has exits");
    let machine = Machine { cells, map: Box::new(map), left: RefCell::default() };
    // SAFETY: the cells are this thread's, and no native code runs.
    unsafe { (*cells).finish = finish };
    let call = |x: u64| {
        let code = thread.on_invoke(first.as_ref().as_ref()).expect("it was compiled");
        let mut regs = Regs::default();
        regs.gpr[..3].copy_from_slice(&[(&raw const machine) as u64, 0, x]);
        // SAFETY: the code was lent by this thread and is of this signature; the machine begins with the cells.
        unsafe { abi::enter(cells, code.address().as_ptr(), &mut regs) }.unwrap();
        (regs.ret_gpr, machine.left.take())
    };
    assert_eq!(call(9), (11, vec![]));
    let left = |exit: u32, number: u64| vec![(exit, GuardId(number << 8), number, 100 + number as u32, vec![(SLOT, number)])];
    // Who leaves returns 1000, and its callers add 1 each.
    assert_eq!(call(1), (1000, left(0, 1)));
    assert_eq!(call(2), (1001, left(1, 2)));
    assert_eq!(call(3), (1002, left(2, 3)));
    let exits = (machine.map)(thread.on_invoke(first.as_ref().as_ref()).unwrap().address().as_ptr().addr());
    assert_eq!(exits.exits().len(), 3);
}
