//! A complete interpreter for a tiny register machine, and everything it needs to tier: one question per call, one
//! lowering, one bridge back. Copy from here.
//!
//! Run it with `cargo run --release --example tiny`.

use std::{
    cell::Cell,
    ffi::c_void,
    sync::{Arc, OnceLock},
    time::Instant,
};

use tierup::{
    Bailout, Bead, BeadSpec, Broker, InterpThread, Lower, LowerCx, NativeCode, ThreadCells, Tiered,
    abi::{self, AbiType, ArgPlan, Regs, TrapCode},
    clif::{self, Traps},
    cranelift::codegen::ir::{AbiParam, InstBuilder, Signature, condcodes::IntCC, types::I64},
    cranelift::codegen::isa::CallConv,
};

// --- The guest: what any embedder already has --------------------------------------------------------------------

/// One instruction. Operands are registers of the current frame; register 0 holds the argument on entry.
#[derive(Clone, Copy, Debug)]
enum Op {
    Const { to: usize, value: i64 },
    Add { to: usize, a: usize, b: usize },
    Sub { to: usize, a: usize, b: usize },
    JumpIfLess { a: usize, b: usize, target: usize },
    Call { to: usize, function: usize, argument: usize },
    Return { value: usize },
}

const REGISTERS: usize = 4;
const STACK_OVERFLOW: TrapCode = TrapCode(1);

/// A program. Interpreter and compile workers read it at the same time, so nothing in it changes.
struct Program {
    functions: Vec<Vec<Op>>,
    /// Where native code finds each function's code word. Set once, before anything runs.
    code_cells: OnceLock<Vec<usize>>,
}

/// fib(n) = n < 2 ? n : fib(n - 1) + fib(n - 2)
fn fib() -> Vec<Op> {
    vec![
        Op::Const { to: 1, value: 2 },
        Op::JumpIfLess { a: 0, b: 1, target: 9 },
        Op::Const { to: 1, value: 1 },
        Op::Sub { to: 0, a: 0, b: 1 },
        Op::Call { to: 2, function: 0, argument: 0 },
        Op::Sub { to: 0, a: 0, b: 1 },
        Op::Call { to: 3, function: 0, argument: 0 },
        Op::Add { to: 0, a: 2, b: 3 },
        Op::Return { value: 0 },
        Op::Return { value: 0 },
    ]
}

// --- The interpreter: four lines know about tiering ----------------------------------------------------------------

/// What a compiler needs to know to lower one function: the guest handle of its bead.
struct Function {
    program: Arc<Program>,
    index: usize,
}

/// The interpreter's state. Native code gets its address as `vmctx`, whose first word must be the thread's cells.
#[repr(C)]
struct Vm {
    cells: *mut ThreadCells,
    thread: InterpThread<Function>,
    beads: Vec<Bead<Function>>,
    program: Arc<Program>,
    plan: ArgPlan,
    interpreted: Cell<u64>,
}

impl Vm {
    /// Calls a function in whichever tier it is.
    fn call(&self, function: usize, argument: i64) -> Result<i64, TrapCode> {
        match self.thread.on_invoke(self.beads[function].as_ref()) {
            Some(code) => self.call_native(code, function, argument),
            None => self.interpret(function, argument),
        }
    }

    fn interpret(&self, function: usize, argument: i64) -> Result<i64, TrapCode> {
        self.check_stack()?;
        self.interpreted.set(self.interpreted.get() + 1);
        let code = &self.program.functions[function];
        let mut registers = [0i64; REGISTERS];
        registers[0] = argument;
        let mut pc = 0;
        loop {
            let op = code[pc];
            pc += 1;
            match op {
                Op::Const { to, value } => registers[to] = value,
                Op::Add { to, a, b } => registers[to] = registers[a].wrapping_add(registers[b]),
                Op::Sub { to, a, b } => registers[to] = registers[a].wrapping_sub(registers[b]),
                Op::JumpIfLess { a, b, target } => {
                    if registers[a] < registers[b] {
                        pc = target;
                    }
                }
                Op::Call { to, function, argument } => registers[to] = self.call(function, registers[argument])?,
                Op::Return { value } => return Ok(registers[value]),
            }
        }
    }

    /// Interpreter → native.
    fn call_native(&self, code: NativeCode<'_>, function: usize, argument: i64) -> Result<i64, TrapCode> {
        let mut regs = Regs::default();
        regs.gpr[0] = std::ptr::from_ref(self).expose_provenance() as u64;
        regs.gpr[1] = function as u64;
        self.plan.write(&mut regs, &mut [], &[argument.cast_unsigned()]);
        // SAFETY: the code was borrowed from this thread and has the one signature there is; the first word of the vmctx is
        // `cells`; `run` set the stack limit.
        unsafe { abi::enter(self.cells, code.address().as_ptr(), &mut regs)? };
        Ok(self.plan.read_result(&regs).cast_signed())
    }

    /// Interpreted frames of this interpreter live on the machine stack, so they keep to the same limit as native ones.
    fn check_stack(&self) -> Result<(), TrapCode> {
        let here = (&raw const self).addr();
        // SAFETY: the cells are this thread's.
        if here < unsafe { (*self.cells).stack_floor() } { Err(STACK_OVERFLOW) } else { Ok(()) }
    }

    /// The outermost call: nothing native is on the stack before and after.
    fn run(&mut self, function: usize, argument: i64) -> Result<i64, TrapCode> {
        // SAFETY: the cells are this thread's.
        unsafe { (*self.cells).limit_stack(abi::stack_limit(512 << 10, abi::RED_ZONE)) };
        let result = self.call(function, argument);
        self.thread.quiescent();
        result
    }
}

/// Native → interpreter: what a native caller reaches when the callee has no native body.
unsafe extern "C" fn bridge(vmctx: *mut c_void, callee: u64, regs: *mut Regs) -> u32 {
    // SAFETY: the vmctx we gave to native code is the `Vm`; `regs` is the stub's, for this call.
    let (vm, regs) = unsafe { (&*vmctx.cast::<Vm>(), &mut *regs) };
    let mut argument = [0];
    // SAFETY: every function has the plan's signature.
    unsafe { vm.plan.read(regs, &mut argument) };
    match vm.call(callee as usize, argument[0].cast_signed()) {
        Ok(value) => {
            vm.plan.write_result(regs, value.cast_unsigned());
            0
        }
        Err(trap) => {
            // SAFETY: the cells are this thread's. Not 0: native frames are unwound, and `enter` returns this code.
            unsafe { (*vm.cells).trap = trap.0 };
            1
        }
    }
}

// --- The lowering: written once, compiled by every tier ------------------------------------------------------------

struct Lowering;

impl Lower<Function> for Lowering {
    fn lower(&self, cx: &mut LowerCx<'_, Function>) -> Result<(), Bailout> {
        let (program, index) = (Arc::clone(&cx.guest().program), cx.guest().index);
        let code = &program.functions[index];
        let code_cells = program.code_cells.get().expect("set before anything runs");

        // fn(vmctx, callee, argument) -> value
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend([AbiParam::new(I64); 3]);
        signature.returns.push(AbiParam::new(I64));
        let mut b = cx.start(signature.clone());
        let signature = b.import_signature(signature);

        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let mut traps = Traps::new();
        let body = clif::prologue(&mut b, &mut traps, 0, STACK_OVERFLOW);
        let argument = b.block_params(entry)[2];

        let registers: Vec<_> = (0..REGISTERS).map(|_| b.declare_var(I64)).collect();
        b.def_var(registers[0], argument);
        let zero = b.ins().iconst(I64, 0);
        for &register in &registers[1..] {
            b.def_var(register, zero);
        }

        // One block per instruction: simple, and the compiler merges them.
        let blocks: Vec<_> = code.iter().map(|_| b.create_block()).collect();
        b.ins().jump(blocks[0], &[]);
        for (pc, op) in code.iter().enumerate() {
            b.switch_to_block(blocks[pc]);
            match *op {
                Op::Const { to, value } => {
                    let value = b.ins().iconst(I64, value);
                    b.def_var(registers[to], value);
                }
                Op::Add { to, a, b: other } => {
                    let (a, other) = (b.use_var(registers[a]), b.use_var(registers[other]));
                    let sum = b.ins().iadd(a, other);
                    b.def_var(registers[to], sum);
                }
                Op::Sub { to, a, b: other } => {
                    let (a, other) = (b.use_var(registers[a]), b.use_var(registers[other]));
                    let difference = b.ins().isub(a, other);
                    b.def_var(registers[to], difference);
                }
                Op::JumpIfLess { a, b: other, target } => {
                    let (a, other) = (b.use_var(registers[a]), b.use_var(registers[other]));
                    let less = b.ins().icmp(IntCC::SignedLessThan, a, other);
                    b.ins().brif(less, blocks[target], &[], blocks[pc + 1], &[]);
                    continue;
                }
                Op::Call { to, function, argument } => {
                    // Through the callee's code cell: native code, or the bridge. The caller need not know.
                    let cell = b.ins().iconst(I64, code_cells[function] as i64);
                    let callee = b.ins().iconst(I64, function as i64);
                    let argument = b.use_var(registers[argument]);
                    let call = clif::call_code_cell(&mut b, signature, cell, &[body.vmctx, callee, argument]);
                    let value = b.inst_results(call)[0];
                    b.def_var(registers[to], value);
                }
                Op::Return { value } => {
                    let value = b.use_var(registers[value]);
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

// --- Putting it together ---------------------------------------------------------------------------------------------

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let program = Arc::new(Program { functions: vec![fib()], code_cells: OnceLock::new() });
    let broker = Broker::builder()
        .policy(Tiered::default())
        .compiler(tierup::CraneliftBackend::builder().build(Lowering)?)
        .bridge(abi::bridge_stub())
        .build()?;

    let beads = (0..program.functions.len())
        .map(|index| {
            let size = program.functions[index].len() as u32;
            broker.register(Function { program: Arc::clone(&program), index }, BeadSpec { size })
        })
        .collect::<Result<Vec<_>, _>>()?;
    program.code_cells.set(beads.iter().map(|bead| bead.code_cell().addr()).collect()).expect("set once");

    let thread = broker.register_thread()?;
    let cells = thread.cells();
    // SAFETY: the cells are this thread's, and no native code runs yet.
    unsafe { (*cells).bridge = bridge };
    let plan = ArgPlan::new(&[AbiType::I64], Some(AbiType::I64));
    let mut vm = Vm { cells, thread, beads, program, plan, interpreted: Cell::new(0) };

    for n in [20, 25, 30, 32] {
        let started = Instant::now();
        let value = vm.run(0, n).map_err(|trap| trap.to_string())?;
        let interpreted = vm.interpreted.replace(0);
        println!("fib({n}) = {value:<8} {:>9.1?}   {interpreted} calls interpreted", started.elapsed());
    }

    let endless = vm.run(0, i64::MAX);
    println!("fib(i64::MAX): {}", endless.expect_err("deeper than any stack"));
    Ok(())
}
