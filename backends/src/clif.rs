//! Named expansions: what every lowering emits the same way, because `ABI.md` says so.
//!
//! All take the `FunctionBuilder` itself, so a lowering need not know how it was set up. Only [`access`] may differ between
//! tiers.

use cranelift_codegen::ir::{
    AbiParam, Block, ExtFuncData, ExternalName, FuncRef, Inst, InstBuilder, InstructionData, MemFlagsData, Opcode, SigRef,
    Signature, SourceLoc, TrapCode as ClifTrap, Type, Value, ValueDef,
    condcodes::IntCC,
    types::{I32, I64},
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use tierup_deopt::store_word;

use crate::abi::{COUNT_SYMBOL, FINISH_SYMBOL, NO_SITE, POLL_SYMBOL, TRAP_SYMBOL, TrapCode, offset};

/// What every body has at hand: its first two parameters, and the thread's cells.
#[derive(Debug, Clone, Copy)]
pub struct BodyAbi {
    /// The callee's vmctx; its first word is `cells`.
    pub vmctx: Value,
    /// The callee's token.
    pub callee: Value,
    /// The thread's `ThreadCells`.
    pub cells: Value,
}

/// Fields nobody writes while the function runs.
fn constant() -> MemFlagsData {
    MemFlagsData::trusted().with_readonly().with_can_move()
}

/// Opens a body: loads the cells and checks the stack. Call it in the entry block, which has the function's parameters.
///
/// Traps with `code` unless `headroom` bytes, for host code called from here, are left above the stack's floor. The frame
/// itself lies in the red zone (see [`MAX_FRAME`](crate::abi::MAX_FRAME)). It is a poll, too: the limit that is compared with is
/// raised with the poll cell.
///
/// # Panics
///
/// If the builder is in no block, or the block has fewer than two parameters.
pub fn prologue(b: &mut FunctionBuilder<'_>, traps: &mut Traps, headroom: i64, code: impl Into<TrapCode>) -> BodyAbi {
    polling_prologue(b, traps, headroom, code.into(), |b, _, cells| call_poll_stub(b, cells))
}

/// As [`prologue`], for code that is [sampled](crate::LowerCx::sampled): asked to look, it [tells](Countdown::tell) of no work at its
/// entry.
///
/// # Panics
///
/// As [`prologue`].
pub fn sampled_prologue(
    b: &mut FunctionBuilder<'_>,
    traps: &mut Traps,
    headroom: i64,
    code: impl Into<TrapCode>,
    countdown: Countdown,
) -> BodyAbi {
    polling_prologue(b, traps, headroom, code.into(), |b, abi, _| {
        let none = b.ins().iconst(I32, 0);
        countdown.tell(b, abi, none, None);
    })
}

/// A prologue that does `look` where the thread is asked to.
fn polling_prologue(
    b: &mut FunctionBuilder<'_>,
    traps: &mut Traps,
    headroom: i64,
    code: TrapCode,
    look: impl FnOnce(&mut FunctionBuilder<'_>, &BodyAbi, Value),
) -> BodyAbi {
    let abi = leaf_prologue(b, traps);
    // Others raise it, but to see that at the next call is soon enough.
    let limit = b.ins().load(I64, constant(), abi.cells, offset::STACK_LIMIT);
    let sp = b.ins().get_stack_pointer(I64);
    let low = if headroom == 0 { sp } else { b.ins().iadd_imm_s(sp, -headroom) };
    let is_below = b.ins().icmp(IntCC::UnsignedLessThan, low, limit);
    let (below, next) = (cold_block(b), b.create_block());
    b.ins().brif(is_below, below, &[], next, &[]);
    b.seal_block(below);
    b.switch_to_block(below);
    let cells = cells_again(b, abi.vmctx);
    let floor = b.ins().load(I64, constant(), cells, offset::STACK_FLOOR);
    let exhausted = b.ins().icmp(IntCC::UnsignedLessThan, low, floor);
    let (exit, asked) = (traps.exit(b, code), cold_block(b));
    b.ins().brif(exhausted, exit, &[], asked, &[]);
    b.seal_block(asked);
    b.switch_to_block(asked);
    look(b, &abi, cells);
    b.ins().jump(next, &[]);
    b.seal_block(next);
    b.switch_to_block(next);
    abi
}

/// As [`prologue`], for code that does not poll where it is called: compares with the floor, which nobody raises.
///
/// # Panics
///
/// As [`prologue`].
pub fn silent_prologue(b: &mut FunctionBuilder<'_>, traps: &mut Traps, headroom: i64, code: impl Into<TrapCode>) -> BodyAbi {
    let abi = leaf_prologue(b, traps);
    let floor = b.ins().load(I64, constant(), abi.cells, offset::STACK_FLOOR);
    let sp = b.ins().get_stack_pointer(I64);
    let low = if headroom == 0 { sp } else { b.ins().iadd_imm_s(sp, -headroom) };
    let exhausted = b.ins().icmp(IntCC::UnsignedLessThan, low, floor);
    traps.trap_if(b, exhausted, code);
    abi
}

fn cold_block(b: &mut FunctionBuilder<'_>) -> Block {
    let block = b.create_block();
    b.set_cold_block(block);
    block
}

/// Opens a body without checking the stack: for one that calls no guest code and whose frame is known to be a small part
/// of the red zone. As [`prologue`] otherwise.
///
/// # Panics
///
/// As [`prologue`].
pub fn leaf_prologue(b: &mut FunctionBuilder<'_>, traps: &mut Traps) -> BodyAbi {
    let entry = b.current_block().expect("the prologue is emitted in the entry block");
    let [vmctx, callee, ..] = *b.block_params(entry) else { panic!("a body has vmctx and callee as its first parameters") };
    let cells = b.ins().load(I64, constant(), vmctx, 0);
    traps.vmctx = Some(vmctx);
    BodyAbi { vmctx, callee, cells }
}

/// The function's trap exits: one cold block per trap code and source location, filled by [`finish`](Self::finish).
///
/// A block each, because the location of the call to the trap stub is what a backtrace shows for the innermost frame.
#[derive(Debug, Default)]
#[must_use = "trap blocks are filled by `finish`"]
pub struct Traps {
    vmctx: Option<Value>,
    blocks: Vec<(Block, TrapCode, SourceLoc)>,
}

impl Traps {
    /// No exits yet. [`prologue`] tells it the vmctx.
    pub fn new() -> Self {
        Traps::default()
    }

    /// Traps if `cond` is not zero; code goes on in a new block.
    pub fn trap_if(&mut self, b: &mut FunctionBuilder<'_>, cond: Value, code: impl Into<TrapCode>) {
        let (exit, next) = (self.exit(b, code.into()), b.create_block());
        b.ins().brif(cond, exit, &[], next, &[]);
        b.switch_to_block(next);
        b.seal_block(next);
    }

    /// Traps if `cond` is zero; code goes on in a new block.
    pub fn trap_ifz(&mut self, b: &mut FunctionBuilder<'_>, cond: Value, code: impl Into<TrapCode>) {
        let (exit, next) = (self.exit(b, code.into()), b.create_block());
        b.ins().brif(cond, next, &[], exit, &[]);
        b.switch_to_block(next);
        b.seal_block(next);
    }

    /// Traps; ends the current block.
    pub fn unconditional(&mut self, b: &mut FunctionBuilder<'_>, code: impl Into<TrapCode>) {
        let exit = self.exit(b, code.into());
        b.ins().jump(exit, &[]);
    }

    /// Fills the exits. The current block must be ended; nothing may be emitted afterwards.
    ///
    /// # Panics
    ///
    /// If there are exits and [`prologue`] was not called.
    pub fn finish(self, b: &mut FunctionBuilder<'_>) {
        if self.blocks.is_empty() {
            return;
        }
        let vmctx = self.vmctx.expect("the prologue comes before any trap");
        let stub = import_symbol(b, TRAP_SYMBOL, trap_signature());
        for (block, code, location) in self.blocks {
            b.switch_to_block(block);
            b.seal_block(block);
            b.set_srcloc(location);
            let cells = cells_again(b, vmctx);
            let code = b.ins().iconst(I64, code.0.cast_signed());
            b.ins().call(stub, &[cells, code]);
            b.ins().trap(UNREACHABLE);
        }
    }

    fn exit(&mut self, b: &mut FunctionBuilder<'_>, code: TrapCode) -> Block {
        let key = (code, b.srcloc());
        // The newest first: neighbouring checks share their location. Bounded, so that huge functions stay linear.
        if let Some(&(block, ..)) = self.blocks.iter().rev().take(8).find(|&&(_, code, loc)| (code, loc) == key) {
            return block;
        }
        let block = b.create_block();
        b.set_cold_block(block);
        self.blocks.push((block, key.0, key.1));
        block
    }
}

/// After the call of the trap stub, which does not return.
pub(crate) const UNREACHABLE: ClifTrap = ClifTrap::unwrap_user(1);

/// `fn(cells, code) -> !`.
pub(crate) fn trap_signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(I64); 2]);
    signature
}

/// Imports the host symbol `name`, once per function. Backends resolve it when they link.
pub(crate) fn import_symbol(b: &mut FunctionBuilder<'_>, name: &str, signature: Signature) -> FuncRef {
    let name = ExternalName::testcase(name);
    imported(b, &name).unwrap_or_else(|| {
        let signature = b.import_signature(signature);
        b.import_function(ExtFuncData { name, signature, colocated: false, patchable: false })
    })
}

/// What the function imports under that name.
pub(crate) fn imported(b: &FunctionBuilder<'_>, name: &ExternalName) -> Option<FuncRef> {
    b.func.dfg.ext_funcs.iter().find(|(_, data)| data.name == *name).map(|(reference, _)| reference)
}

/// How linear memory is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MemoryStyle {
    /// Plain trapping accesses into a [`GuardedRegion`](crate::GuardedRegion) that holds every 33-bit address.
    #[default]
    Guarded,
    /// An explicit bounds check before each access.
    Checked,
}

/// One linear memory as a function sees it.
#[derive(Debug, Clone, Copy)]
pub struct Heap {
    /// Native address of byte 0.
    pub base: Value,
    /// Size in bytes, at most 2^32; needed by [`MemoryStyle::Checked`].
    pub len: Option<Value>,
    /// What the size never falls below, in bytes. An access at a constant address below it needs no check.
    pub min_len: u64,
    /// How accesses are protected.
    pub style: MemoryStyle,
    /// The trap of an access out of bounds. (A guarded one traps with the code its region was reserved with.)
    pub out_of_bounds: TrapCode,
}

/// Prepares an access of `size` bytes at the 32-bit guest address `addr32 + offset`, without wrap-around.
///
/// # Panics
///
/// If a checked heap has no length.
pub fn access(
    b: &mut FunctionBuilder<'_>,
    traps: &mut Traps,
    sums: &mut Sums,
    heap: &Heap,
    addr32: Value,
    offset: u64,
    size: u8,
) -> Access {
    // Addresses and offsets are below 2^32, so neither sum wraps.
    let end = offset + u64::from(size);
    let known = constant_u32(b, addr32).map(u64::from);
    let is_inside = known.is_some_and(|at| at + end <= heap.min_len);
    if heap.style == MemoryStyle::Guarded {
        let flags = if is_inside { MemFlagsData::new().with_notrap() } else { MemFlagsData::new() };
        if let Some(offset) = known.and_then(|at| i32::try_from(at + offset).ok()) {
            return Access { address: heap.base, offset, flags };
        }
        let sum = sums.of(b, heap.base, addr32);
        return match i32::try_from(offset) {
            Ok(offset) => Access { address: sum, offset, flags },
            Err(_) => Access { address: b.ins().iadd_imm_u(sum, offset.cast_signed()), offset: 0, flags },
        };
    }
    let index = b.ins().uextend(I64, addr32);
    if !is_inside {
        let len = heap.len.expect("a checked heap has a length");
        let outside = if end <= heap.min_len {
            // Loops compare with one value, and what is below it can be added to without wrapping: to a compiler that knows
            // the length's range, counters of the loop stay linear when they are extended.
            let last = b.ins().iadd_imm_s(len, -end.cast_signed());
            let last = b.ins().ireduce(I32, last);
            b.ins().icmp(IntCC::UnsignedGreaterThan, addr32, last)
        } else {
            let end = b.ins().iadd_imm_u(index, end.cast_signed());
            b.ins().icmp(IntCC::UnsignedGreaterThan, end, len)
        };
        traps.trap_if(b, outside, heap.out_of_bounds);
    }
    let mut address = b.ins().iadd(heap.base, index);
    if offset != 0 {
        address = b.ins().iadd_imm_u(address, offset.cast_signed());
    }
    Access { address, offset: 0, flags: MemFlagsData::new().with_notrap() }
}

/// What a load or store of linear memory has to be made of.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// The native address,
    pub address: Value,
    /// to which the instruction adds this.
    pub offset: i32,
    /// The flags it must carry.
    pub flags: MemFlagsData,
}

/// Sums that the accesses before made in the same block: guests read several fields of what they have the address of.
#[derive(Debug, Default)]
pub struct Sums {
    block: Option<Block>,
    /// Each of a base and an index, the last ones last.
    known: Vec<(Value, Value, Value)>,
}

impl Sums {
    /// How many are looked through.
    const MOST: usize = 4;

    fn of(&mut self, b: &mut FunctionBuilder<'_>, base: Value, addr32: Value) -> Value {
        if self.block != b.current_block() {
            self.block = b.current_block();
            self.known.clear();
        }
        let last = self.known.iter().rev().take(Self::MOST);
        if let Some(&(.., sum)) = { last }.find(|&&(of, index, _)| (of, index) == (base, addr32)) {
            return sum;
        }
        let index = b.ins().uextend(I64, addr32);
        let sum = b.ins().iadd(base, index);
        self.known.push((base, addr32, sum));
        sum
    }
}

/// The value of an `iconst.i32`.
fn constant_u32(b: &FunctionBuilder<'_>, value: Value) -> Option<u32> {
    let ValueDef::Result(inst, _) = b.func.dfg.value_def(value) else { return None };
    match b.func.dfg.insts[inst] {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits() as u32),
        _ => None,
    }
}

/// Calls through a bead's code cell: native code, or the bridge to the interpreter.
///
/// `args` begins with the callee's vmctx and token.
pub fn call_code_cell(b: &mut FunctionBuilder<'_>, sig: SigRef, code_cell: Value, args: &[Value]) -> Inst {
    // Atomic: the cell is swapped by other threads, and a compiler that hoisted the load would never see it.
    let face = b.ins().atomic_load(I64, MemFlagsData::trusted(), code_cell);
    let entry = b.ins().load(I64, MemFlagsData::trusted(), face, 0);
    b.ins().call_indirect(sig, entry, args)
}

/// Looks whether the thread is asked to poll, and if so calls out, in a cold block, which changes no register. Code goes on in a new
/// block. `then` may add to the cold block, which it may leave for another: code that relies on what others may break looks there
/// whether it is still valid.
pub fn poll(b: &mut FunctionBuilder<'_>, abi: &BodyAbi, then: impl FnOnce(&mut FunctionBuilder<'_>)) {
    let raised = poll_cell(b, abi.cells);
    let (asked, next) = (cold_block(b), b.create_block());
    b.ins().brif(raised, asked, &[], next, &[]);
    b.seal_block(asked);
    b.switch_to_block(asked);
    call_poll_stub(b, abi.cells);
    then(b);
    b.ins().jump(next, &[]);
    b.seal_block(next);
    b.switch_to_block(next);
}

/// Calls the thread's [`OnPollFn`](crate::abi::OnPollFn), which may unwind.
fn call_poll_stub(b: &mut FunctionBuilder<'_>, cells: Value) {
    let stub = import_symbol(b, POLL_SYMBOL, poll_signature());
    b.ins().call(stub, &[cells]);
}

/// `fn(cells)`.
pub(crate) fn poll_signature() -> Signature {
    let mut signature = Signature::new(CallConv::PreserveAll);
    signature.params.push(AbiParam::new(I64));
    signature
}

/// Reads the poll cell: not zero asks this thread to poll.
pub fn poll_cell(b: &mut FunctionBuilder<'_>, cells: Value) -> Value {
    let cell = b.ins().iadd_imm_s(cells, i64::from(offset::INTERRUPT));
    b.ins().atomic_load(I64, MemFlagsData::trusted(), cell)
}

/// A bead's countdown, for code that counts for itself; see [`LowerCx::countdown`](crate::LowerCx::countdown).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Countdown {
    id: u32,
}

impl Countdown {
    /// The countdown of the bead with index `id` in the thread's table.
    pub const fn of_bead(id: u32) -> Self {
        Countdown { id }
    }

    /// Takes `work` units, an i32 that is not negative, from this thread's countdown: one instruction that reads and writes memory, and
    /// one that finds it. Whether that [spends](Self::is_spent) it is another question.
    ///
    /// The slot's generation is not looked at: code that was overtaken by a reload spends what was drawn before or will be
    /// drawn next, which is a matter of speed only.
    pub fn charge(self, b: &mut FunctionBuilder<'_>, cells: Value, work: Value) {
        let (slot, at) = self.slot(b, cells);
        let left = b.ins().load(I32, MemFlagsData::trusted(), slot, at);
        // Used by the store alone, so that a compiler makes one instruction of the three.
        let left = b.ins().isub(left, work);
        b.ins().store(MemFlagsData::trusted(), left, slot, at);
    }

    /// Not zero if this thread's countdown is spent: then the broker has to be [told](Self::tell).
    pub fn is_spent(self, b: &mut FunctionBuilder<'_>, cells: Value) -> Value {
        let (slot, at) = self.slot(b, cells);
        let left = b.ins().load(I32, MemFlagsData::trusted(), slot, at);
        b.ins().icmp_imm_s(IntCC::SignedLessThan, left, 0)
    }

    fn slot(self, b: &mut FunctionBuilder<'_>, cells: Value) -> (Value, i32) {
        let table = b.ins().load(I64, constant(), cells, offset::COUNTDOWN);
        let (slot, at) = match i32::try_from(u64::from(self.id) * 8) {
            Ok(at) => (table, at),
            Err(_) => (b.ins().iadd_imm_s(table, i64::from(self.id) * 8), 0),
        };
        (slot, at + offset::SLOT_COUNTDOWN)
    }

    /// Tells the broker, through the thread's [`OnCountFn`](crate::abi::OnCountFn), that the countdown is spent, or of `work`
    /// units, an i32 that is not negative, that were not taken from it. For cold blocks; changes no register.
    ///
    /// `site` is the loop site the code is at, `None` at its entry.
    pub fn tell(self, b: &mut FunctionBuilder<'_>, abi: &BodyAbi, work: Value, site: Option<u32>) {
        let stub = import_symbol(b, COUNT_SYMBOL, count_signature());
        let site = b.ins().iconst(I32, i64::from(site.unwrap_or(NO_SITE)));
        b.ins().call(stub, &[abi.vmctx, abi.callee, work, site]);
    }
}

/// `fn(vmctx, callee, work, site)`.
pub(crate) fn count_signature() -> Signature {
    let mut signature = Signature::new(CallConv::PreserveAll);
    signature.params.extend([I64, I64, I32, I32].map(AbiParam::new));
    signature
}

/// Whether the code had better leave at the site of which it has just [told](Countdown::tell): not zero means through its
/// [leave block](crate::LowerCx::leave_block). For cold blocks.
pub fn should_leave(b: &mut FunctionBuilder<'_>, abi: &BodyAbi) -> Value {
    let cells = cells_again(b, abi.vmctx);
    b.ins().load(I64, MemFlagsData::trusted(), cells, offset::LEAVE)
}

/// Leaves a body of the current function's signature with its live slots: ends the current, cold block. `resume` is a
/// [`Resume`](crate::abi::Resume), encoded.
pub(crate) fn finish(b: &mut FunctionBuilder<'_>, abi: &BodyAbi, resume: u32, live: &[(u32, Value)]) {
    let frame = call_finish(b, abi, resume, live);
    let returns: Vec<Type> = b.func.signature.returns.iter().map(|result| result.value_type).collect();
    let results: Vec<Value> = returns.iter().map(|&ty| b.ins().load(ty, MemFlagsData::trusted(), frame, 0)).collect();
    b.ins().return_(&results);
}

/// Has somebody else finish a call, in a cold block, and returns where its results are, a word each.
pub(crate) fn call_finish(b: &mut FunctionBuilder<'_>, abi: &BodyAbi, resume: u32, live: &[(u32, Value)]) -> Value {
    let cells = cells_again(b, abi.vmctx);
    // The frame is the wide buffer: it has to be copied at once anyway, and two or more results are returned there.
    let frame = b.ins().load(I64, constant(), cells, offset::WIDE);
    for &(slot, value) in live {
        store_word(b, frame, slot, value);
    }
    let stub = import_symbol(b, FINISH_SYMBOL, finish_signature());
    let resume = b.ins().iconst(I64, i64::from(resume));
    let call = b.ins().call(stub, &[abi.vmctx, abi.callee, frame, resume]);
    // Told again where the frame is, code keeps nothing across the call, and saves no register for it on every entry.
    b.inst_results(call)[0]
}

/// `fn(vmctx, callee, frame, resume) -> frame`.
pub(crate) fn finish_signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(I64); 4]);
    signature.returns.push(AbiParam::new(I64));
    signature
}

/// The cells, where they are seldom needed: in a cold block, or behind a call. Atomic, so that no compiler merges it with the prologue's
/// load and keeps them in a register, from there to here, for this alone.
pub fn cells_again(b: &mut FunctionBuilder<'_>, vmctx: Value) -> Value {
    b.ins().atomic_load(I64, MemFlagsData::trusted(), vmctx)
}

/// Stores result `index` of a function with two or more results, as a slot: 32-bit values zero-extended.
pub fn store_wide(b: &mut FunctionBuilder<'_>, cells: Value, index: usize, value: Value) {
    let buffer = b.ins().load(I64, constant(), cells, offset::WIDE);
    store_word(b, buffer, index as u32, value);
}

/// Loads result `index` of the call just made.
pub fn load_wide(b: &mut FunctionBuilder<'_>, cells: Value, index: usize, ty: Type) -> Value {
    let buffer = b.ins().load(I64, constant(), cells, offset::WIDE);
    b.ins().load(ty, MemFlagsData::trusted(), buffer, 8 * index as i32)
}
