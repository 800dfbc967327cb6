//! Speculation beneath a real broker: a guard that fails too often is left out, and running code leaves when what it assumed is broken.

use std::{cell::RefCell, ffi::c_void, sync::Arc};

use cranelift_codegen::{
    ir::{AbiParam, InstBuilder, Signature, condcodes::IntCC, types::I64},
    isa::CallConv,
};
use tierup_backends::{
    CodeMemory, CraneliftBackend, LowerCx,
    abi::{self, Regs, Resume, ThreadCells},
    clif::{self, Traps},
    deopt::{ExitReason, FrameState, policy::SuppressGuard},
};
use tierup_broker::{
    Assumption, Bailout, Bead, BeadSpec, Broker, DeoptAction, GuardId, InterpThread, KeepAlways, Mode, Threshold, Tier,
};

/// That the argument is not 13.
const GUARD: GuardId = GuardId(1);
/// That the code is valid, behind the call.
const LAZY: GuardId = GuardId(2);

/// `f(x)`: 1 where it assumes, 0 where it does not, after a call of the host, which may break the assumption.
#[derive(Clone)]
struct Guest {
    assumption: Assumption,
}

fn lower(cx: &mut LowerCx<'_, Guest>) -> Result<(), Bailout> {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params = vec![AbiParam::new(I64); 3];
    signature.returns = vec![AbiParam::new(I64)];
    let mut b = cx.start(signature);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let mut traps = Traps::new();
    let abi = clif::prologue(&mut b, &mut traps, 0, 9);
    let x = b.block_params(entry)[2];
    if !cx.suppressed(GUARD) {
        let holds = b.ins().icmp_imm_s(IntCC::NotEqual, x, 13);
        let state = FrameState::of(0, 1).slot(0, x);
        cx.guard(&mut b, &abi, holds, &state, GUARD, ExitReason::WrongType).expect("few slots");
    }
    let assumes = cx.assume(&cx.guest().assumption);
    let host = cx.helper(&mut b, "host")?;
    b.ins().call(host, &[abi.vmctx, x]);
    if assumes {
        let state = FrameState::of(0, 2).slot(0, x);
        cx.leave_if_invalid(&mut b, &abi, &state, LAZY).expect("few slots");
    }
    let result = b.ins().iconst(I64, i64::from(assumes));
    b.ins().return_(&[result]);
    traps.finish(&mut b);
    b.finish();
    Ok(())
}

/// Guard, reason, pc and argument of an exit, and what the policy said.
type Left = (GuardId, ExitReason, u32, u64, Option<DeoptAction>);

#[repr(C)]
struct Machine {
    cells: *mut ThreadCells,
    thread: InterpThread<Guest>,
    memory: Arc<CodeMemory>,
    assumption: Assumption,
    exits: RefCell<Vec<Left>>,
}

/// # Safety
///
/// `vmctx` is the machine that native code was entered with.
unsafe fn machine<'m>(vmctx: *mut c_void) -> &'m Machine {
    // SAFETY: by the caller.
    unsafe { &*vmctx.cast::<Machine>() }
}

const BREAKS: u64 = 99;

unsafe extern "C" fn host(vmctx: *mut c_void, x: u64) {
    // SAFETY: generated code passes its vmctx on.
    let machine = unsafe { machine(vmctx) };
    if x == BREAKS {
        let ticket = machine.thread.break_assumption(&machine.assumption);
        machine.thread.wait_for(&ticket);
    }
}

unsafe extern "C" fn finish(vmctx: *mut c_void, _: u64, buffer: *mut u64, resume: u64) -> u32 {
    // SAFETY: the stub's.
    let machine = unsafe { machine(vmctx) };
    // SAFETY: the cells are this thread's; the stub has set the exit pc.
    let exits = machine.memory.map().exits(unsafe { (*machine.cells).exit_pc }).expect("it has exits");
    let Resume::Exit(number) = Resume::decode(resume) else { return 1 };
    let exit = exits.exit(number).expect("one of its exits");
    // SAFETY: the wide buffer, with so many words.
    let words = unsafe { std::slice::from_raw_parts(buffer, exit.words()) };
    let frame = exit.rebuild(words).next().expect("a frame");
    let (_, x) = frame.slots().next().expect("a slot");
    let decision = machine.thread.on_exit(exits.unit().expect("a broker's"), exit.guard());
    machine.exits.borrow_mut().push((exit.guard(), exit.reason(), frame.pc(), x, decision.map(|decision| decision.action)));
    // SAFETY: as above.
    unsafe { *buffer = 1000 };
    0
}

fn machine_and_bead() -> (Machine, Bead<Guest>, Broker<Guest>) {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params = vec![AbiParam::new(I64); 2];
    let backend = CraneliftBackend::builder();
    // SAFETY: `host` is of this signature, lives as long as the program and does not unwind.
    let backend = unsafe { backend.symbol("host", host as *const () as *const u8, signature) };
    let backend = Arc::new(backend.build(lower).unwrap());
    let memory = Arc::clone(backend.code_memory());
    let policy = SuppressGuard { exits: 2, guards: 1, otherwise: KeepAlways };
    let broker: Broker<Guest> = Broker::builder()
        .bridge(abi::bridge_stub())
        .compiler(backend)
        .mode(Mode::Sync)
        .policy(Threshold { calls: 1 << 20 })
        .deopt_policy(policy)
        .build()
        .unwrap();
    let assumption = broker.assumption();
    let bead = broker.register(Guest { assumption: assumption.clone() }, BeadSpec { size: 10 }).unwrap();
    broker.compile_now(bead.as_ref(), Tier::new(1)).unwrap();
    let thread = broker.register_thread().unwrap();
    let cells = thread.cells();
    // SAFETY: the cells are this thread's, and no native code runs.
    unsafe { (*cells).finish = finish };
    (Machine { cells, thread, memory, assumption, exits: RefCell::default() }, bead, broker)
}

/// What the function's code returns, if there is any, and its exits.
fn call(machine: &Machine, bead: &Bead<Guest>, x: u64) -> (Option<u64>, Vec<Left>) {
    let result = machine.thread.on_invoke(bead.as_ref()).map(|code| {
        let mut regs = Regs::default();
        regs.gpr[..3].copy_from_slice(&[std::ptr::from_ref(machine) as u64, 0, x]);
        // SAFETY: the code was lent by this thread and is of this signature; the machine begins with the cells.
        unsafe { abi::enter(machine.cells, code.address().as_ptr(), &mut regs) }.unwrap();
        regs.ret_gpr
    });
    (result, machine.exits.take())
}

#[test]
fn a_guard_that_fails_too_often_is_left_out() {
    let (machine, bead, _broker) = machine_and_bead();
    let left = |action| vec![(GUARD, ExitReason::WrongType, 1, 13, Some(action))];
    assert_eq!(call(&machine, &bead, 1), (Some(1), vec![]));
    assert_eq!(call(&machine, &bead, 13), (Some(1000), left(DeoptAction::Keep)));
    assert_eq!(call(&machine, &bead, 13), (Some(1000), left(DeoptAction::Suppress)));
    assert_eq!(call(&machine, &bead, 13), (Some(1), vec![]), "the new code does not speculate on it");
}

#[test]
fn running_code_leaves_when_its_assumption_is_broken() {
    let (machine, bead, broker) = machine_and_bead();
    assert_eq!(call(&machine, &bead, 1), (Some(1), vec![]));
    let left = vec![(LAZY, ExitReason::Invalid, 2, BREAKS, None)];
    assert_eq!(call(&machine, &bead, BREAKS), (Some(1000), left), "nobody is to blame: the unit is gone");
    assert_eq!(call(&machine, &bead, 1), (None, vec![]));
    broker.compile_now(bead.as_ref(), Tier::new(1)).unwrap();
    assert_eq!(call(&machine, &bead, BREAKS), (Some(0), vec![]), "the new code does not assume it");
}
