//! A native `main` that never returns, and what it calls reloaded beneath it: code, versions and memory stay bounded, and nobody
//! returns to code that is gone. `TIERUP_MATRIX=full` reloads 100,000 times.

use std::{
    cell::Cell,
    ffi::c_void,
    ptr,
    sync::{Arc, atomic::Ordering},
};

use cranelift_codegen::{
    ir::{AbiParam, InstBuilder, Signature, condcodes::IntCC, types::I64},
    isa::CallConv,
};
use tierup_backends::{
    CodeMemory, CraneliftBackend, LowerCx,
    abi::{self, Regs, ThreadCells},
    census,
    clif::{self, Traps},
};
use tierup_broker::{
    Bailout, BailoutReason, Bead, BeadSpec, Broker, InterpThread, InvalidateReason, Mode, POLL_BROKER, StackReport, Threshold,
    Tier,
};

const TIER1: Tier = Tier::new(1);

const INNER_TURNS: i64 = 3;

#[derive(Debug, Clone)]
enum Guest {
    /// Calls the other two in turns, and returns the sum of what they return.
    Main { leaf: usize, host: usize, turns: i64 },
    /// Returns a number.
    Leaf(i64),
    /// Is never compiled: its calls reach the test.
    Host,
}

fn lower(cx: &mut LowerCx<'_, Guest>) -> Result<(), Bailout> {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(I64); 2]);
    signature.returns.push(AbiParam::new(I64));
    let guest = cx.guest().clone();
    let mut b = cx.start(signature.clone());
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let abi = clif::leaf_prologue(&mut b, &mut Traps::new());
    match guest {
        Guest::Host => return Err(Bailout::terminal(BailoutReason::Unsupported { what: "this".to_owned() })),
        Guest::Leaf(value) => {
            let value = b.ins().iconst(I64, value);
            b.ins().return_(&[value]);
        }
        Guest::Main { leaf, host, turns } => {
            let signature = b.import_signature(signature);
            let (header, end) = (b.create_block(), b.create_block());
            let [left, sum] = [I64; 2].map(|ty| b.append_block_param(header, ty));
            let [turns, zero] = [turns, 0].map(|number| b.ins().iconst(I64, number));
            b.ins().jump(header, &[turns.into(), zero.into()]);
            b.switch_to_block(header);
            let mut sum = sum;
            for cell in [leaf, host] {
                let cell = b.ins().iconst(I64, cell as i64);
                let call = clif::call_code_cell(&mut b, signature, cell, &[abi.vmctx, left]);
                let result = b.inst_results(call)[0];
                sum = b.ins().iadd(sum, result);
            }
            let left = b.ins().iadd_imm_s(left, -1);
            let goes_on = b.ins().icmp_imm_s(IntCC::NotEqual, left, 0);
            b.ins().brif(goes_on, header, &[left.into(), sum.into()], end, &[]);
            b.seal_block(header);
            b.switch_to_block(end);
            b.seal_block(end);
            b.ins().return_(&[sum]);
        }
    }
    b.finish();
    Ok(())
}

/// One thread, its functions, and what it has seen.
struct World {
    broker: Broker<Guest>,
    memory: Arc<CodeMemory>,
    thread: InterpThread<Guest>,
    main: Bead<Guest>,
    leaf: Bead<Guest>,
    _host: Bead<Guest>,
    inner: Bead<Guest>,
    reloads: Cell<i64>,
    /// What `main` has been returned so far.
    returned: Cell<i64>,
    most: Cell<Most>,
    turns: i64,
}

/// The most there ever was.
#[derive(Debug, Default, Clone, Copy)]
struct Most {
    /// Bytes of machine code that is in use or waits.
    code: u64,
    pages: usize,
    waiting: usize,
    /// Units on the stack.
    told: usize,
    code_on_stack: u64,
    /// Bytes of the process, when it has warmed up and later.
    warm: u64,
    resident: u64,
}

impl World {
    fn new(turns: i64) -> Box<Self> {
        let memory = CodeMemory::reserve(64 << 20).unwrap();
        let backend = CraneliftBackend::builder().code_memory(Arc::clone(&memory)).build(lower).unwrap();
        let builder = Broker::builder().bridge(abi::bridge_stub()).mode(Mode::Pump).policy(Threshold { calls: u32::MAX });
        let broker = builder.compiler(backend).max_beads(16).build().unwrap();
        let register = |guest| broker.register(guest, BeadSpec { size: 10 }).unwrap();
        let (leaf, host) = (register(Guest::Leaf(0)), register(Guest::Host));
        let cell = |bead: &Bead<Guest>| bead.code_cell().addr();
        let main = register(Guest::Main { leaf: cell(&leaf), host: cell(&host), turns });
        let inner = register(Guest::Main { leaf: cell(&leaf), host: cell(&host), turns: INNER_TURNS });
        let thread = broker.register_thread().unwrap();
        for bead in [&main, &inner, &leaf] {
            broker.compile_now(bead.as_ref(), TIER1).unwrap();
        }
        let (reloads, returned, most) = (Cell::new(0), Cell::new(0), Cell::default());
        let world = Box::new(World { broker, memory, thread, main, leaf, _host: host, inner, reloads, returned, most, turns });
        // SAFETY: the cells live as long as the handle; nothing else refers to them now.
        unsafe {
            (*world.thread.cells()).host = ptr::from_ref(&*world).cast_mut().cast();
            (*world.thread.cells()).bridge = bridge;
        }
        world
    }

    /// Enters the native code of a function.
    fn call(&self, bead: &Bead<Guest>) -> u64 {
        let code = self.thread.on_invoke(bead.as_ref()).expect("it is compiled");
        let mut vmctx = self.thread.cells();
        let mut regs = Regs::default();
        regs.gpr[0] = (&raw mut vmctx) as u64;
        // SAFETY: the code was lent by this thread and takes nothing but the context; it stays, because the thread is not
        // quiescent and reports it when it polls. Tests have 2 MiB of stack, of which these few frames use little.
        unsafe { abi::enter(self.thread.cells(), code.address().as_ptr(), &mut regs) }.unwrap();
        regs.ret_gpr
    }

    /// Gives `leaf` another body, which returns the number of reloads.
    fn reload(&self) {
        self.reloads.set(self.reloads.get() + 1);
        assert!(self.broker.reload(self.leaf.as_ref(), Guest::Leaf(self.reloads.get())));
        self.broker.compile_now(self.leaf.as_ref(), TIER1).unwrap();
    }

    /// The host function: reloads `leaf`, and polls if the thread is asked to.
    fn turn(&self) {
        let before = self.reloads.get();
        self.reload();
        match before + 1 {
            // Beneath its own frame.
            500 => assert!(self.broker.invalidate(self.main.as_ref(), InvalidateReason::Requested)),
            // Frames in two segments, which reload as well.
            turn if turn % 50 == 0 => {
                let returned = self.call(&self.inner) as i64;
                assert_eq!(returned, (turn..turn + INNER_TURNS).sum());
                // Its frames have told the sum of theirs as if they were `main`'s.
                self.returned.set(self.returned.get() - returned);
            }
            _ => {}
        }
        self.returned.set(self.returned.get() + before);
        let told = self.poll();
        self.note(told);
    }

    /// Says how many units it reported.
    fn poll(&self) -> usize {
        let cells = self.thread.cells();
        // SAFETY: the cells live as long as the handle, and the poll cell is atomic.
        let interrupt = unsafe { &(*cells).interrupt }.load(Ordering::Relaxed);
        if interrupt & POLL_BROKER == 0 {
            return 0;
        }
        let mut told = 0;
        let walk = |report: &mut StackReport| {
            // SAFETY: native code came here through the bridge stub.
            unsafe { census::report_frames(cells, self.memory.map(), report) };
            told = report.units();
        };
        // SAFETY: all code is in one arena; nothing that was lent is used after this.
        unsafe { self.thread.poll_with(walk) };
        told
    }

    fn note(&self, told: usize) {
        self.broker.collect();
        let (stats, mut most) = (self.broker.stats(), self.most.get());
        most.code = most.code.max(stats.code_live + stats.code_retired);
        most.code_on_stack = most.code_on_stack.max(stats.code_on_stack);
        most.pages = most.pages.max(self.memory.used_bytes());
        most.waiting = most.waiting.max(stats.waiting);
        most.told = most.told.max(told);
        if self.reloads.get() % 500 == 0 {
            most.resident = most.resident.max(resident());
            if self.reloads.get() < self.turns / 2 {
                most.warm = most.resident;
            }
        }
        self.most.set(most);
    }
}

unsafe extern "C" fn bridge(vmctx: *mut c_void, _: u64, regs: *mut Regs) -> u32 {
    // SAFETY: the vmctx is the one `World::call` made, whose cells lead to the world; only shared references to it exist.
    let world = unsafe { &*(*vmctx.cast::<*mut ThreadCells>().read()).host.cast::<World>() };
    world.turn();
    // SAFETY: the stub's.
    unsafe { (*regs).ret_gpr = 0 };
    0
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn reloading_beneath_a_native_main_that_never_returns() {
    let turns = if std::env::var("TIERUP_MATRIX").is_ok_and(|matrix| matrix == "full") { 100_000 } else { 2_000 };
    let world = World::new(turns);
    let sum = world.call(&world.main) as i64;
    assert_eq!(sum, world.returned.get(), "what the bodies returned that were current when they were called");
    let (most, stats) = (world.most.get(), world.broker.stats());
    println!("{} reloads, {} censuses: at most {most:?}", world.reloads.get(), stats.censuses);
    assert!(most.code < 64 << 10 && most.pages < 1 << 20 && most.waiting < 100, "{most:?}");
    assert!(most.resident < most.warm + (4 << 20), "{most:?}");
    assert_eq!(most.told, 2, "`main` and the inner one, in segments of their own");
    assert!(most.code_on_stack > 0, "`main` was invalidated");
    assert_eq!(stats.tiers[0].compiled, world.reloads.get() as u64 + 3);
}
