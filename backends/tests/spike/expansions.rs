//! The named expansions, built with the builder and run.

use cranelift_codegen::{
    ir::{
        AbiParam, Function, InstBuilder, MemFlagsData, Signature,
        condcodes::IntCC,
        types::{I32, I64},
    },
    isa::CallConv,
    settings::{self, Flags},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use std::sync::atomic::Ordering;
use tierup_backends::{
    MemoryStyle,
    abi::{self, CountSlot, Regs, ThreadCells, TrapCode, WIDE_SLOTS},
    clif::{self, Access, Heap, Sums, Traps},
};

use super::SpikeCompiler;

const OUT_OF_BOUNDS: TrapCode = TrapCode(2);
const ODD: TrapCode = TrapCode(3);
const STACK_OVERFLOW: TrapCode = TrapCode(9);

/// A function of `params` 64-bit integers after the prefix, with one 64-bit result, built by `build`.
fn function(params: usize, build: impl FnOnce(&mut FunctionBuilder<'_>)) -> Function {
    let mut func = Function::new();
    func.signature = Signature::new(CallConv::SystemV);
    func.signature.params.extend(vec![AbiParam::new(I64); params + 2]);
    func.signature.returns.push(AbiParam::new(I64));
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    build(&mut b);
    let flags = Flags::new(settings::builder());
    let isa = cranelift_native::builder().unwrap().finish(flags).unwrap();
    b.finalize(isa.frontend_config());
    func
}

struct Thread {
    cells: Box<ThreadCells>,
    counts: Vec<CountSlot>,
    _wide: Vec<u64>,
}

impl Thread {
    fn new() -> Self {
        let (mut counts, mut wide) = (vec![CountSlot::default(); 8], vec![0; WIDE_SLOTS]);
        let cells = Box::new(ThreadCells::new(counts.as_mut_ptr(), wide.as_mut_ptr()));
        Thread { cells, counts, _wide: wide }
    }

    fn run(&mut self, code: *const u8, args: &[u64]) -> Result<u64, TrapCode> {
        let vmctx: *mut *mut ThreadCells = &mut (&mut *self.cells as *mut ThreadCells);
        let mut regs = Regs::default();
        regs.gpr[0] = vmctx as u64;
        regs.gpr[2..2 + args.len()].copy_from_slice(args);
        if self.cells.stack_floor() == 0 {
            self.cells.limit_stack(vmctx as usize - (256 << 10));
        }
        // SAFETY: `code` is a live function of this many integers; tests have 2 MiB of stack.
        unsafe { abi::enter(*vmctx, code, &mut regs) }.map(|()| regs.ret_gpr)
    }
}

/// `prologue`, `Traps` and `access`, checked: loads a byte, traps when it is odd. The same with the size known to be 64 at least.
pub(crate) fn expansions_agree(compiler: &dyn SpikeCompiler) {
    checked_accesses_agree(compiler, 0);
    checked_accesses_agree(compiler, 64);
}

fn checked_accesses_agree(compiler: &dyn SpikeCompiler, min_len: u64) {
    let func = function(3, |b| {
        let mut traps = Traps::new();
        clif::prologue(b, &mut traps, 4096, STACK_OVERFLOW);
        let entry = b.func.layout.entry_block().unwrap();
        let [_, _, base, len, index] = *b.func.dfg.block_params(entry) else { unreachable!() };
        let heap = Heap { base, len: Some(len), min_len, style: MemoryStyle::Checked, out_of_bounds: OUT_OF_BOUNDS };
        let index = b.ins().ireduce(I32, index);
        let Access { address, offset, flags } = clif::access(b, &mut traps, &mut Sums::default(), &heap, index, 8, 1);
        let byte = b.ins().uload8(I64, flags, address, offset);
        let one = b.ins().iconst(I64, 1);
        let odd = b.ins().band(byte, one);
        traps.trap_if(b, odd, ODD);
        b.ins().return_(&[byte]);
        traps.finish(b);
    });
    let code = compiler.compile(&func);
    let mut thread = Thread::new();
    let memory: Vec<u8> = (0..64).collect();
    let mut load = |index: u64| thread.run(code.entry, &[memory.as_ptr() as u64, 64, index]);
    assert_eq!(load(0), Ok(8));
    assert_eq!(load(54), Ok(62));
    assert_eq!(load(55), Err(ODD));
    assert_eq!(load(56), Err(OUT_OF_BOUNDS));
    assert_eq!(load(0xffff_ffff), Err(OUT_OF_BOUNDS));
    assert_eq!(load(0xffff_ffff_0000_0000), Ok(8), "the upper half of an i32 is nobody's");
    thread.cells.limit_stack(usize::MAX);
    assert_eq!(thread.run(code.entry, &[memory.as_ptr() as u64, 64, 0]), Err(STACK_OVERFLOW));
}

/// A loop that spends a countdown and polls: returns the iterations made when one of them says stop.
pub(crate) fn polls_and_countdowns(compiler: &dyn SpikeCompiler) {
    let func = function(1, |b| {
        let entry = b.current_block().unwrap();
        let [vmctx, _, limit] = *b.block_params(entry) else { unreachable!() };
        let cells = b.ins().load(I64, MemFlagsData::trusted(), vmctx, 0);
        let (head, body, done) = (b.create_block(), b.create_block(), b.create_block());
        let turns = b.append_block_param(head, I64);
        let zero = b.ins().iconst(I64, 0);
        b.ins().jump(head, &[zero.into()]);
        b.switch_to_block(head);
        let work = b.ins().iconst(I32, 10);
        clif::Countdown::of_bead(3).charge(b, cells, work);
        let spent = clif::Countdown::of_bead(3).is_spent(b, cells);
        let raised = clif::poll_cell(b, cells);
        let spent = b.ins().uextend(I64, spent);
        let leave = b.ins().bor(spent, raised);
        b.ins().brif(leave, done, &[], body, &[]);
        b.switch_to_block(body);
        let one = b.ins().iconst(I64, 1);
        let next = b.ins().iadd(turns, one);
        let more = b.ins().icmp(IntCC::UnsignedLessThan, next, limit);
        b.ins().brif(more, head, &[next.into()], done, &[]);
        b.switch_to_block(done);
        b.seal_all_blocks();
        b.ins().return_(&[turns]);
    });
    let code = compiler.compile(&func);
    let mut thread = Thread::new();
    thread.counts[3] = CountSlot { countdown: 95, generation: 17 };
    assert_eq!(thread.run(code.entry, &[1000]), Ok(9), "95 units are nine turns of ten, the tenth is one too many");
    assert_eq!(thread.counts[3].countdown, -5);
    thread.counts[3] = CountSlot { countdown: i32::MAX, generation: 17 };
    assert_eq!(thread.run(code.entry, &[100]), Ok(99));
    // Another thread raises the poll cell; only a load that stays in the loop sees it.
    let interrupt: *const std::sync::atomic::AtomicU64 = &thread.cells.interrupt;
    let interrupt = interrupt as usize;
    let raiser = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        // SAFETY: the cells outlive this thread, which is joined below.
        unsafe { &*(interrupt as *const std::sync::atomic::AtomicU64) }.store(1, Ordering::Release);
    });
    let endless = function(1, |b| {
        let entry = b.current_block().unwrap();
        let [vmctx, ..] = *b.block_params(entry) else { unreachable!() };
        let cells = b.ins().load(I64, MemFlagsData::trusted(), vmctx, 0);
        let (head, done) = (b.create_block(), b.create_block());
        b.ins().jump(head, &[]);
        b.switch_to_block(head);
        let raised = clif::poll_cell(b, cells);
        b.ins().brif(raised, done, &[], head, &[]);
        b.switch_to_block(done);
        b.seal_all_blocks();
        b.ins().return_(&[raised]);
    });
    let code = compiler.compile(&endless);
    assert_eq!(thread.run(code.entry, &[0]), Ok(1));
    raiser.join().unwrap();
}
