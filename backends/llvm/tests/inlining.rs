//! Callees inlined by LLVM beneath a real broker: nobody crosses to a callee that is part of the unit, and nobody runs the body
//! of one that was reloaded.
//!
//! The guest language: `f(x)` is `f`'s number for 0 and `1 + g(x - 1)` otherwise, where `g` is `f`'s callee. The interpreter is
//! the bridge, which counts its calls, so that a call which was inlined shows.

use std::{
    cell::Cell,
    ffi::c_void,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
    thread,
};

use cranelift_codegen::{
    ir::{
        AbiParam, InstBuilder, Signature,
        types::{I64, I64X2},
    },
    isa::CallConv,
};
use tierup_backends::{
    CraneliftBackend, LlvmBackend, LlvmBackendBuilder, LowerCx,
    abi::{self, Regs, ThreadCells},
    clif,
};
use tierup_broker::{
    Bailout, BailoutReason, Bead, BeadSpec, Broker, CompileNowError, InterpThread, InvalidateReason, Mode, Threshold, Tier,
};
use tierup_llvm::{InProcess, ObjectCompiler, Options, Unit};

const BASELINE: Tier = Tier::new(1);
const LLVM: Tier = Tier::new(2);

#[derive(Clone, Default)]
struct Guest {
    number: i64,
    callee: Option<Weak<Function>>,
    kind: Kind,
}

#[derive(Clone, Copy, Default)]
enum Kind {
    #[default]
    Small,
    /// Many instructions, which change nothing.
    Long,
    /// Its lowering gives up.
    GivesUp,
    /// Its lowering panics.
    Panics,
    /// Has what the optimizing tier does not know, if the other does.
    Vectors,
}

struct Function {
    bead: Bead<Guest>,
}

/// What the token of a call is: the function's address.
fn token(function: &Function) -> i64 {
    std::ptr::from_ref(function).addr() as i64
}

fn lower(cx: &mut LowerCx<'_, Guest>) -> Result<(), Bailout> {
    let guest = cx.guest();
    match guest.kind {
        Kind::GivesUp => return Err(Bailout::terminal(BailoutReason::Unsupported { what: "this".to_owned() })),
        Kind::Panics => panic!("on purpose"),
        _ => {}
    }
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(I64); 3]);
    signature.returns.push(AbiParam::new(I64));
    let mut b = cx.start(signature.clone());
    let [entry, zero, more] = [(); 3].map(|()| b.create_block());
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let (vmctx, mut x) = (b.block_params(entry)[0], b.block_params(entry)[2]);
    match guest.kind {
        Kind::Long => {
            for _ in 0..20 {
                let odd = b.ins().bxor_imm_s(x, 1);
                x = b.ins().bxor_imm_s(odd, 1);
            }
        }
        Kind::Vectors => {
            let both = b.ins().splat(I64X2, x);
            x = b.ins().extractlane(both, 1);
        }
        _ => {}
    }
    b.ins().brif(x, more, &[], zero, &[]);
    b.switch_to_block(zero);
    let number = b.ins().iconst(I64, guest.number);
    b.ins().return_(&[number]);
    b.switch_to_block(more);
    let result = match guest.callee.as_ref().and_then(Weak::upgrade) {
        Some(callee) => {
            let less = b.ins().iadd_imm_s(x, -1);
            let args = [vmctx, b.ins().iconst(I64, token(&callee)), less];
            let signature = b.import_signature(signature);
            let call = match cx.inlinable(&mut b, callee.bead.as_ref(), signature) {
                Some(callee) => b.ins().call(callee, &args),
                None => {
                    let cell = b.ins().iconst(I64, callee.bead.code_cell().addr() as i64);
                    clif::call_code_cell(&mut b, signature, cell, &args)
                }
            };
            let result = b.inst_results(call)[0];
            b.ins().iadd_imm_s(result, 1)
        }
        None => b.ins().iconst(I64, -1),
    };
    b.ins().return_(&[result]);
    b.seal_all_blocks();
    b.finish();
    Ok(())
}

/// A thread that runs the guest.
#[repr(C)]
struct Machine {
    /// Where native code looks for them.
    cells: *mut ThreadCells,
    /// Calls that reached the interpreter from native code.
    interpreted: Cell<usize>,
    thread: InterpThread<Guest>,
    broker: Broker<Guest>,
}

impl Machine {
    fn of(broker: &Broker<Guest>) -> Box<Self> {
        let thread = broker.register_thread().unwrap();
        let cells = thread.cells();
        // SAFETY: the cells are this thread's, and no native code runs.
        unsafe {
            (*cells).bridge = bridge;
        }
        Box::new(Machine { cells, interpreted: Cell::new(0), thread, broker: broker.clone() })
    }

    /// Calls a function in whatever tier it is; says whether that was native code.
    fn call(&self, function: &Function, x: i64) -> (i64, bool) {
        let Some(code) = self.thread.on_invoke(function.bead.as_ref()) else { return (self.interpret(function, x), false) };
        let vmctx = std::ptr::from_ref(self).addr() as u64;
        let mut regs = Regs { gpr: [vmctx, token(function) as u64, x as u64, 0, 0, 0], ..Regs::default() };
        // SAFETY: the code was lent by this thread and is of this signature; the machine begins with the cells.
        unsafe { abi::enter(self.cells, code.address().as_ptr(), &mut regs) }.unwrap();
        (regs.ret_gpr as i64, true)
    }

    fn interpret(&self, function: &Function, x: i64) -> i64 {
        let mut guest = Guest::default();
        self.broker.walk(|info| {
            if info.id == function.bead.id() {
                guest = info.guest.clone();
            }
        });
        match guest.callee.and_then(|callee| callee.upgrade()) {
            _ if x == 0 => guest.number,
            Some(callee) => 1 + self.call(&callee, x - 1).0,
            None => -1,
        }
    }

    /// What a function returns whose code is there, and how often that reached the interpreter.
    #[track_caller]
    fn native(&self, function: &Function, x: i64) -> (i64, usize) {
        self.interpreted.set(0);
        let (result, native) = self.call(function, x);
        assert!(native);
        (result, self.interpreted.get())
    }
}

unsafe extern "C" fn bridge(vmctx: *mut c_void, callee: u64, regs: *mut Regs) -> u32 {
    // SAFETY: native code passes on the machine it was entered with, and the address of a function that lives.
    let (machine, function) = unsafe { (&*vmctx.cast::<Machine>(), &*(callee as usize as *const Function)) };
    machine.interpreted.set(machine.interpreted.get() + 1);
    // SAFETY: the stub's registers.
    unsafe { (*regs).ret_gpr = machine.interpret(function, (*regs).gpr[2] as i64) as u64 };
    0
}

fn broker(mode: Mode, calls: u32) -> Broker<Guest> {
    broker_of(LlvmBackend::builder(), mode, calls)
}

fn broker_of(llvm: LlvmBackendBuilder, mode: Mode, calls: u32) -> Broker<Guest> {
    let baseline = CraneliftBackend::builder();
    let llvm = llvm.beside(&baseline).build_with(InProcess::new(Options::default()), lower).unwrap();
    let tiers = Broker::builder().bridge(abi::bridge_stub()).compiler(baseline.build(lower).unwrap()).compiler(llvm);
    tiers.mode(mode).policy(Threshold { calls }).build().unwrap()
}

/// A broker whose functions are compiled when a test says so.
fn on_demand() -> (Broker<Guest>, Box<Machine>) {
    let broker = broker(Mode::Sync, 1 << 20);
    let machine = Machine::of(&broker);
    (broker, machine)
}

fn guest(number: i64, callee: Option<&Arc<Function>>) -> Guest {
    Guest { number, callee: callee.map(Arc::downgrade), kind: Kind::Small }
}

fn function(broker: &Broker<Guest>, guest: Guest) -> Arc<Function> {
    Arc::new(Function { bead: broker.register(guest, BeadSpec { size: 10 }).unwrap() })
}

fn compile(broker: &Broker<Guest>, function: &Function, tier: Tier) -> Result<(), CompileNowError> {
    broker.compile_now(function.bead.as_ref(), tier)
}

#[test]
fn a_reloaded_callee_is_followed_in_the_next_call() {
    let (broker, machine) = on_demand();
    let callee = function(&broker, guest(5, None));
    let caller = function(&broker, guest(0, Some(&callee)));
    compile(&broker, &caller, LLVM).unwrap();
    assert_eq!(machine.native(&caller, 1), (6, 0), "inlined: the callee has no code, and nobody interprets it");
    assert!(broker.reload(callee.bead.as_ref(), guest(7, None)));
    assert_eq!(machine.call(&caller, 1), (8, false));
    compile(&broker, &caller, LLVM).unwrap();
    assert_eq!(machine.native(&caller, 1), (8, 0));
    assert!(!broker.invalidate(callee.bead.as_ref(), InvalidateReason::Requested), "it has no code of its own");
    assert_eq!(machine.call(&caller, 1), (8, false));
}

#[test]
fn functions_that_are_to_be_apart_are() {
    let broker = broker_of(LlvmBackend::builder().apart(true), Mode::Sync, 1 << 20);
    let machine = Machine::of(&broker);
    let callee = function(&broker, guest(5, None));
    let caller = function(&broker, guest(0, Some(&callee)));
    compile(&broker, &caller, LLVM).unwrap();
    assert_eq!(machine.native(&caller, 1), (6, 1), "the callee has no code");
    compile(&broker, &callee, LLVM).unwrap();
    assert_eq!((machine.native(&caller, 1), broker.stats().contained), ((6, 0), 0));
}

/// By way of a third function, and where the callee has code itself.
#[test]
fn what_a_callee_contains_is_contained() {
    let (broker, machine) = on_demand();
    let inner = function(&broker, guest(5, None));
    let middle = function(&broker, guest(1, Some(&inner)));
    let outer = function(&broker, guest(0, Some(&middle)));
    for function in [&inner, &middle, &outer] {
        compile(&broker, function, LLVM).unwrap();
    }
    assert_eq!(broker.stats().contained, 3);
    assert_eq!(machine.native(&outer, 2), (7, 0));
    assert!(broker.reload(inner.bead.as_ref(), guest(50, None)));
    for (function, depth) in [(&outer, 2), (&middle, 1), (&inner, 0)] {
        assert_eq!(machine.call(function, depth), (50 + depth, false));
    }
}

#[test]
fn recursion_by_way_of_another() {
    let (broker, machine) = on_demand();
    let one = function(&broker, guest(1, None));
    let other = function(&broker, guest(2, Some(&one)));
    assert!(broker.reload(one.bead.as_ref(), guest(1, Some(&other))));
    compile(&broker, &one, LLVM).unwrap();
    assert_eq!(broker.stats().contained, 1);
    // Every sixth call is by a code cell: the other's.
    compile(&broker, &other, BASELINE).unwrap();
    for x in [3, 4, 999, 1000] {
        assert_eq!(machine.native(&one, x), (x + 1 + x % 2, 0));
    }
    assert!(broker.reload(other.bead.as_ref(), guest(2, None)));
    assert_eq!(machine.call(&one, 1000), (0, false), "the other has no callee any more");
}

#[test]
fn callees_that_cannot_be_had_are_called() {
    for kind in [Kind::GivesUp, Kind::Panics] {
        let (broker, machine) = on_demand();
        let callee = function(&broker, Guest { kind, ..guest(5, None) });
        let caller = function(&broker, guest(0, Some(&callee)));
        compile(&broker, &caller, LLVM).unwrap();
        assert_eq!((machine.native(&caller, 1), broker.stats().contained), ((6, 1), 0));
    }
}

#[test]
fn what_a_callee_is_refused_for_does_not_hurt_its_caller() {
    let (broker, machine) = on_demand();
    let callee = function(&broker, Guest { kind: Kind::Vectors, ..guest(5, None) });
    compile(&broker, &callee, BASELINE).unwrap();
    let caller = function(&broker, guest(0, Some(&callee)));
    assert!(compile(&broker, &callee, LLVM).is_err());
    compile(&broker, &caller, LLVM).unwrap();
    assert_eq!((machine.native(&caller, 1), broker.stats().contained), ((6, 0), 0));
}

/// A long callee is worth it when it has been called often, and when nobody knows yet.
#[test]
fn profiles_decide() {
    let (broker, machine) = on_demand();
    let callee = function(&broker, Guest { kind: Kind::Long, ..guest(5, None) });
    let [first, cold, hot] = [(); 3].map(|()| function(&broker, guest(0, Some(&callee))));
    compile(&broker, &first, LLVM).unwrap();
    assert_eq!(machine.native(&first, 1), (6, 0));
    for caller in [&cold, &hot] {
        compile(&broker, caller, BASELINE).unwrap();
    }
    compile(&broker, &cold, LLVM).unwrap();
    assert_eq!(machine.native(&cold, 1), (6, 1));
    compile(&broker, &callee, BASELINE).unwrap();
    compile(&broker, &hot, LLVM).unwrap();
    assert_eq!(broker.stats().contained, 2);
    assert_eq!(machine.native(&hot, 1), (6, 0));
}

/// One thread reloads a callee over and over while workers compile its caller and another thread calls it.
#[test]
fn reloads_while_everything_tiers() {
    let broker = broker(Mode::Background, 0);
    let callee = function(&broker, guest(0, None));
    let caller = function(&broker, guest(0, Some(&callee)));
    let latest = AtomicI64::new(0);
    let last = 200;
    let natives = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=last {
                assert!(broker.reload(callee.bead.as_ref(), guest(number, None)));
                latest.store(number, Ordering::SeqCst);
                // As long as some compiles take.
                thread::sleep(std::time::Duration::from_millis((number % 5) as u64));
            }
        });
        let machine = Machine::of(&broker);
        let (mut machine, mut natives) = (machine, 0);
        while latest.load(Ordering::SeqCst) < last {
            let least = latest.load(Ordering::SeqCst);
            let (result, native) = machine.call(&caller, 1);
            assert!(result > least, "{result} after {least}");
            natives += usize::from(native);
            machine.thread.quiescent();
        }
        natives
    });
    assert!(natives > 0);
    broker.drain();
    let mut machine = Machine::of(&broker);
    assert_eq!(machine.call(&caller, 1).0, last + 1);
    machine.thread.quiescent();
}

/// A callee's check of the stack is its caller's, whose frame it shares; of a callee that is not inlined it stays.
#[test]
fn one_check_per_frame() {
    let checked = |name: &str, rest: &str| {
        format!(
            "function {name}(i64, i64, i64) -> i64 system_v {{
    fn0 = u1:1(i64, i64, i64) -> i64 system_v
    fn1 = %other(i64, i64, i64) -> i64 system_v
block0(v0: i64, v1: i64, v2: i64):
    v3 = load.i64 notrap aligned readonly can_move v0
    v4 = load.i64 notrap aligned readonly can_move v3+8
    v5 = get_stack_pointer.i64
    v6 = icmp ult v5, v4
    brif v6, block2, block1
block1:
    {rest}
block2 cold:
    trap user1
}}
"
        )
    };
    let compiler = &mut ObjectCompiler::new(Options::default()).unwrap();
    let mut checks = |text: &str| {
        let functions = cranelift_reader::parse_functions(text).unwrap();
        let [entry, callees @ ..] = &functions[..] else { unreachable!() };
        let ir = compiler.ir_text(&Unit { entry, callees: &callees.iter().collect::<Vec<_>>() }).unwrap();
        (ir.matches("icmp ult").count(), ir.matches("call i64 @llvm.read_register").count())
    };
    let leaf = checked("u1:1", "v7 = call fn1(v0, v1, v2)\n    v8 = iadd v7, v2\n    return v8");
    let calls = "v7 = call fn0(v0, v1, v2)\n    v8 = call fn1(v0, v1, v7)\n    v9 = call fn0(v0, v1, v8)\n    return v9";
    assert_eq!(checks(&leaf), (1, 1));
    assert_eq!(checks(&(checked("u0:0", calls) + &leaf)), (1, 1));
    // A body that knows where its frame is has a frame.
    let own = checked("u1:1", "v7 = call fn1(v0, v1, v2)\n    v8 = get_frame_pointer.i64\n    return v8");
    assert_eq!(checks(&(checked("u0:0", calls) + &own)), (2, 2));
}
