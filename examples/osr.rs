//! One long call that moves into native code in the middle of a loop: a register machine, its interpreter, and what it takes to
//! enter a loop that is running. `examples/tiny.rs` shows calls in both directions; this is about loops. Copy from here.
//!
//! Run it with `cargo run --release --example osr`.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use tierup::{
    Bailout, Bead, BeadSpec, Broker, InterpThread, Lower, LowerCx, NativeCode, OsrEntry, Site, ThreadCells, Tiered,
    abi::{self, AbiType, ArgPlan, OsrOutcome, Regs, Resume, TrapCode},
    clif::{self, Traps},
    cranelift::codegen::ir::{AbiParam, InstBuilder, Signature, Value, condcodes::IntCC, types::I64},
    cranelift::codegen::isa::CallConv,
    cranelift::frontend::{FunctionBuilder, Variable},
};

// --- The guest: what any embedder already has --------------------------------------------------------------------

/// A register's number; 0 holds the argument on entry.
type Reg = usize;
/// An instruction's number.
type Pc = usize;

/// One instruction. `to` is the register it sets, `go` where it jumps. A `Loop` is a loop's header: every way back jumps there.
/// Loops are numbered densely, an outer one before those in it.
#[derive(Clone, Copy, Debug)]
enum Op {
    Const { to: Reg, n: u64 },
    Add { to: Reg, a: Reg, n: u64 },
    Mul { to: Reg, a: Reg, n: u64 },
    Half { to: Reg, a: Reg },
    Jump { go: Pc },
    IfEven { a: Reg, go: Pc },
    IfLess { a: Reg, b: Reg, go: Pc },
    Loop { site: u32 },
    Return { a: Reg },
}

const REGISTERS: usize = 5;

/// A guest function's code; also its bead's handle, which is all that a compiler gets to see.
type Code = Vec<Op>;

/// How many steps all numbers up to n take to 1: halve the even ones, triple the odd ones and add 1. Loops in a loop.
fn collatz() -> Code {
    const STEPS: Reg = 1;
    const I: Reg = 2;
    const X: Reg = 3;
    const TWO: Reg = 4;
    vec![
        Op::Const { to: STEPS, n: 0 },
        Op::Const { to: I, n: 1 },
        Op::Const { to: TWO, n: 2 },
        Op::Loop { site: 0 }, // 3
        Op::IfLess { a: 0, b: I, go: 17 },
        Op::Add { to: X, a: I, n: 0 },
        Op::Loop { site: 1 }, // 6
        Op::IfLess { a: X, b: TWO, go: 15 },
        Op::Add { to: STEPS, a: STEPS, n: 1 },
        Op::IfEven { a: X, go: 13 },
        Op::Mul { to: X, a: X, n: 3 },
        Op::Add { to: X, a: X, n: 1 },
        Op::Jump { go: 6 },
        Op::Half { to: X, a: X }, // 13
        Op::Jump { go: 6 },
        Op::Add { to: I, a: I, n: 1 }, // 15
        Op::Jump { go: 3 },
        Op::Return { a: STEPS }, // 17
    ]
}

// --- The interpreter -----------------------------------------------------------------------------------------------

/// About how many instructions one turn of a loop is: what it charges to the loop's budget.
const TURN: u32 = 5;

/// The interpreter's state. Native code gets its address as `vmctx`, whose first word must be the thread's cells.
#[repr(C)]
struct Vm {
    cells: *mut ThreadCells,
    thread: InterpThread<Code>,
    bead: Bead<Code>,
    code: Code,
    plan: ArgPlan,
    /// Turns of loops that were interpreted, and the sites at which native code took over.
    turns: Cell<u64>,
    entered: RefCell<Vec<u32>>,
}

impl Vm {
    /// A call from outside: in native code from the start, if there is any.
    fn call(&mut self, argument: u64) -> Result<u64, TrapCode> {
        // SAFETY: the cells are this thread's.
        unsafe { (*self.cells).limit_stack(abi::stack_limit(512 << 10, abi::RED_ZONE)) };
        let result = match self.thread.on_invoke(self.bead.as_ref()) {
            Some(code) => self.call_native(code, argument),
            None => self.interpret(argument),
        };
        self.thread.quiescent();
        result
    }

    fn interpret(&self, argument: u64) -> Result<u64, TrapCode> {
        // The registers are the frame: what a loop site is entered with, slot by slot.
        let mut registers = [0u64; REGISTERS];
        registers[0] = argument;
        let mut pc = 0;
        loop {
            let op = self.code[pc];
            pc += 1;
            match op {
                Op::Const { to, n } => registers[to] = n,
                Op::Add { to, a, n } => registers[to] = registers[a].wrapping_add(n),
                Op::Mul { to, a, n } => registers[to] = registers[a].wrapping_mul(n),
                Op::Half { to, a } => registers[to] = registers[a] / 2,
                Op::Jump { go } => pc = go,
                Op::IfEven { a, go } if registers[a].is_multiple_of(2) => pc = go,
                Op::IfLess { a, b, go } if registers[a] < registers[b] => pc = go,
                Op::IfEven { .. } | Op::IfLess { .. } => {}
                // These lines know about OSR: one question per turn, and what to do with the answer.
                Op::Loop { site } => {
                    self.turns.set(self.turns.get() + 1);
                    if let Some(variant) = self.thread.on_back_edge(self.bead.as_ref(), site, TURN) {
                        self.entered.borrow_mut().push(site);
                        match self.go_on_native(variant, site, &mut registers)? {
                            OsrOutcome::Done => return Ok(registers[0]),
                            OsrOutcome::Exit(Resume::Site(site)) => pc = self.behind_header(site),
                            OsrOutcome::Exit(Resume::Exit(_)) => unreachable!("the lowering declares no exits"),
                        }
                    }
                }
                Op::Return { a } => return Ok(registers[a]),
            }
        }
    }

    /// Where to interpret on when native code left at a site.
    fn behind_header(&self, left_at: u32) -> usize {
        let is_header = |op: &Op| matches!(op, Op::Loop { site } if *site == left_at);
        1 + self.code.iter().position(is_header).expect("code leaves at sites its lowering declared")
    }

    /// Interpreter → variant: the frame goes in, and comes back with the result or with the registers.
    fn go_on_native(&self, variant: OsrEntry<'_>, site: u32, registers: &mut [u64; REGISTERS]) -> Result<OsrOutcome, TrapCode> {
        let mut regs = Regs::default();
        regs.gpr[0] = std::ptr::from_ref(self).expose_provenance() as u64;
        regs.gpr[2] = registers.as_mut_ptr().expose_provenance() as u64;
        regs.gpr[3] = site.into();
        // SAFETY: the variant was borrowed from this thread, and was made from the lowering below, whose slots are the
        // registers; the first word of the vmctx is `cells`; `call` set the stack limit.
        unsafe { abi::enter(self.cells, variant.address().as_ptr(), &mut regs)? };
        Ok(OsrOutcome::decode(regs.ret_gpr))
    }

    /// Interpreter → body.
    fn call_native(&self, code: NativeCode<'_>, argument: u64) -> Result<u64, TrapCode> {
        let mut regs = Regs::default();
        regs.gpr[0] = std::ptr::from_ref(self).expose_provenance() as u64;
        self.plan.write(&mut regs, &mut [], &[argument]);
        // SAFETY: as above; the body has the plan's signature.
        unsafe { abi::enter(self.cells, code.address().as_ptr(), &mut regs)? };
        Ok(self.plan.read_result(&regs))
    }
}

// --- The lowering: written once; the body and a variant for every loop are made from it -----------------------------

struct Lowering;

impl Lower<Code> for Lowering {
    fn lower(&self, cx: &mut LowerCx<'_, Code>) -> Result<(), Bailout> {
        let code = cx.guest();
        // fn(vmctx, callee, argument) -> value
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend([AbiParam::new(I64); 3]);
        signature.returns.push(AbiParam::new(I64));
        let mut b = cx.start(signature);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let mut traps = Traps::new();
        clif::leaf_prologue(&mut b, &mut traps);
        let argument = b.block_params(entry)[2];
        let registers: Vec<Variable> = (0..REGISTERS).map(|_| b.declare_var(I64)).collect();
        let zero = b.ins().iconst(I64, 0);
        for (index, &register) in registers.iter().enumerate() {
            b.def_var(register, if index == 0 { argument } else { zero });
        }

        // One block per instruction: simple, and the compiler merges them.
        let blocks: Vec<_> = code.iter().map(|_| b.create_block()).collect();
        b.ins().jump(blocks[0], &[]);
        for (pc, op) in code.iter().enumerate() {
            b.switch_to_block(blocks[pc]);
            match *op {
                Op::Const { to, n } => {
                    let value = b.ins().iconst(I64, n.cast_signed());
                    b.def_var(registers[to], value);
                }
                Op::Add { to, a, n } => {
                    let a = b.use_var(registers[a]);
                    let sum = b.ins().iadd_imm_s(a, n.cast_signed());
                    b.def_var(registers[to], sum);
                }
                Op::Mul { to, a, n } => {
                    let a = b.use_var(registers[a]);
                    let product = b.ins().imul_imm_s(a, n.cast_signed());
                    b.def_var(registers[to], product);
                }
                Op::Half { to, a } => {
                    let a = b.use_var(registers[a]);
                    let half = b.ins().ushr_imm_u(a, 1);
                    b.def_var(registers[to], half);
                }
                Op::IfEven { a, go } => {
                    let a = b.use_var(registers[a]);
                    let odd = b.ins().band_imm_u(a, 1);
                    b.ins().brif(odd, blocks[pc + 1], &[], blocks[go], &[]);
                    continue;
                }
                Op::IfLess { a, b: other, go } => {
                    let (a, other) = (b.use_var(registers[a]), b.use_var(registers[other]));
                    let less = b.ins().icmp(IntCC::UnsignedLessThan, a, other);
                    b.ins().brif(less, blocks[go], &[], blocks[pc + 1], &[]);
                    continue;
                }
                Op::Jump { go } => {
                    b.ins().jump(blocks[go], &[]);
                    continue;
                }
                // All that a lowering says about OSR: which block is a loop's header, and what is in which slot there.
                Op::Loop { site } => {
                    if cx.wants_sites() {
                        let live = live_slots(&mut b, &registers);
                        cx.loop_site(Site { id: site, header: blocks[pc], live, computed: Vec::new() });
                    }
                }
                Op::Return { a } => {
                    let value = b.use_var(registers[a]);
                    b.ins().return_(&[value]);
                    continue;
                }
            }
            b.ins().jump(blocks[pc + 1], &[]);
        }
        traps.finish(&mut b);
        b.seal_all_blocks();
        b.finish();
        Ok(())
    }
}

/// Every register, in the slot of its number.
fn live_slots(b: &mut FunctionBuilder<'_>, registers: &[Variable]) -> Vec<(u32, Value)> {
    (0..).zip(registers).map(|(slot, &register)| (slot, b.use_var(register))).collect()
}

// --- Putting it together ---------------------------------------------------------------------------------------------

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::builder()
        .policy(Tiered::default())
        .compiler(tierup::CraneliftBackend::builder().build(Lowering)?)
        .bridge(abi::bridge_stub())
        .build()?;
    let bead = broker.register(collatz(), BeadSpec { size: collatz().len() as u32 })?;
    let thread = broker.register_thread()?;
    let plan = ArgPlan::new(&[AbiType::I64], Some(AbiType::I64));
    let (turns, entered) = (Cell::new(0), RefCell::default());
    let mut vm = Vm { cells: thread.cells(), thread, bead, code: collatz(), plan, turns, entered };

    for n in [1_000_000, 1_000_000] {
        let started = Instant::now();
        let steps = vm.call(n).map_err(|trap| trap.to_string())?;
        let took = started.elapsed();
        let (turns, entered) = (vm.turns.replace(0), vm.entered.take());
        println!("{steps} steps in {took:.1?}: {turns} turns interpreted, native code entered in loops {entered:?}");
        // The body, which the variant's success asks for, is compiled behind the second call's back.
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
