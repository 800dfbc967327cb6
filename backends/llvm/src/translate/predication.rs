//! Loop predication: before a loop with a variable stride, a test under which none of the loop's bounds checks can fail.
//!
//! LLVM removes checks of addresses that move by constants. An address that moves by a variable (a sieve, a column of a
//! matrix) it checks at every turn, since the stride might make it wrap around. So where a counter starts at `start`, grows
//! by `stride`, and the loop goes on while it is within `limit`, this adds a condition to every check of the loop whose address
//! is the counter plus what does not change: the check is made only unless
//!
//! ```text
//! start, stride ≥ 0    max(start, limit) + stride does not wrap    max(start, limit) + rest ≤ last, for each check
//! ```
//!
//! which does not change in the loop. Loop unswitching then makes two loops, one without the checks. In that one neither the
//! counter nor an address wraps around, and it is told so, so that one 64-bit register does for both. (HotSpot's C2 calls the
//! like of it loop predication, LLVM's IRCE does it for constant strides.) No check is made earlier or is lost: which stores
//! precede a trap is part of the program's meaning.

use cranelift_codegen::{
    entity::SecondaryMap,
    flowgraph::ControlFlowGraph,
    ir::{
        Block, BlockArg, BlockCall, Function, Inst, InstructionData, Opcode, Value, ValueDef,
        condcodes::{CondCode, IntCC},
        types,
    },
    loop_analysis::{Loop, LoopAnalysis},
};
use inkwell::{
    IntPredicate,
    types::IntType,
    values::{BasicValue, IntValue},
};

use super::{Translator, address::summands};
use crate::refusal::Refusal;

/// Instructions of `last` that are made again before the loop.
const MAX_REBUILT: usize = 8;

/// Instructions of a loop that is worth having twice. LLVM unswitches loops of some 50, and in others the conditions would stay.
const MAX_LOOP: usize = 60;

/// The loops whose checks can be predicated.
#[derive(Default)]
pub(super) struct Predication {
    strided: Vec<Strided>,
    /// By block that ends in a check: the loop it belongs to.
    checks: SecondaryMap<Block, Option<usize>>,
    /// By value: the loop whose counter it is after a turn.
    turns: SecondaryMap<Value, Option<usize>>,
    /// By address that is checked: its loop, and the number of its check.
    addresses: SecondaryMap<Value, Option<(usize, usize)>>,
}

/// A loop that goes on while a counter with a variable stride is within a limit.
struct Strided {
    /// The one block the loop is entered from.
    before: Block,
    counter: Counter,
    /// The counter after a turn.
    next: Value,
    checks: Vec<Check>,
}

/// A parameter of a loop's header.
#[derive(Clone, Copy)]
struct Counter {
    value: Value,
    start: Value,
    stride: Value,
    limit: Value,
    signed: bool,
}

/// `counter + rest > last`, unsigned, leads out of the loop for good.
struct Check {
    /// Summands that do not change in the loop.
    rest: Vec<Value>,
    last: Value,
}

impl Predication {
    pub(super) fn of(func: &Function, cfg: &ControlFlowGraph, loops: &LoopAnalysis) -> Self {
        let mut found = Predication::default();
        let mut by_loop: SecondaryMap<Loop, Option<usize>> = SecondaryMap::new();
        for lp in loops.loops() {
            if let Some(strided) = strided(func, cfg, loops, lp)
                && size(func, loops, lp) <= MAX_LOOP
            {
                by_loop[lp] = Some(found.strided.len());
                found.strided.push(strided);
            }
        }
        for block in func.layout.blocks() {
            let Some(lp) = loops.innermost_loop(block) else { continue };
            let Some(at) = by_loop[lp] else { continue };
            let Strided { counter, next, checks, .. } = &mut found.strided[at];
            if let Some((address, check)) = check(func, loops, lp, block, *counter) {
                found.checks[block] = Some(at);
                found.turns[*next] = Some(at);
                found.addresses[address] = Some((at, checks.len()));
                checks.push(check);
            }
        }
        found
    }

    /// How many loops there are.
    pub(super) fn loops(&self) -> usize {
        self.strided.len()
    }

    /// Whether any check will be predicated.
    pub(super) fn finds_any(&self) -> bool {
        self.strided.iter().any(|strided| !strided.checks.is_empty())
    }
}

/// Instructions in the loop.
fn size(func: &Function, loops: &LoopAnalysis, lp: Loop) -> usize {
    let blocks = func.layout.blocks().filter(|&block| loops.is_in_loop(block, lp));
    blocks.map(|block| func.layout.block_insts(block).count()).sum()
}

/// The loop with the counter that ends it, without its checks.
fn strided(func: &Function, cfg: &ControlFlowGraph, loops: &LoopAnalysis, lp: Loop) -> Option<Strided> {
    let header = loops.loop_header(lp);
    let (mut before, mut latch) = (None, None);
    for edge in cfg.pred_iter(header) {
        let place = if loops.is_in_loop(edge.block, lp) { &mut latch } else { &mut before };
        if place.replace(edge).is_some() {
            return None;
        }
    }
    let (before, latch) = (before?, latch?);
    let InstructionData::Brif { arg, blocks, .. } = func.dfg.insts[latch.inst] else { return None };
    let targets = blocks.map(|call| call.block(&func.dfg.value_lists));
    let (again, stays) = match targets.map(|target| target == header) {
        [true, false] => (blocks[0], true),
        [false, true] => (blocks[1], false),
        _ => return None,
    };
    let (cond, [one, other]) = comparison(func, arg)?;
    let cond = if stays { cond } else { cond.complement() };
    for (cond, next, limit) in [(cond, one, other), (cond.swap_args(), other, one)] {
        let signed = match cond {
            IntCC::SignedLessThan | IntCC::SignedLessThanOrEqual => true,
            IntCC::UnsignedLessThan | IntCC::UnsignedLessThanOrEqual => false,
            _ => continue,
        };
        let InstructionData::Binary { opcode: Opcode::Iadd, args } = *definition(func, next)? else { continue };
        let [first, second] = args.map(|arg| func.dfg.resolve_aliases(arg));
        for (value, stride) in [(first, second), (second, first)] {
            let Some(at) = func.dfg.block_params(header).iter().position(|&param| param == value) else { continue };
            let is_counter = argument(func, again, at) == Some(next)
                && func.dfg.value_type(value) == types::I32
                && is_invariant(func, loops, lp, stride)
                && is_invariant(func, loops, lp, limit)
                // Constant strides LLVM knows how to deal with.
                && !matches!(definition(func, stride), Some(InstructionData::UnaryImm { .. }));
            let entry = func.dfg.insts[before.inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables);
            let mut entries = entry.iter().filter(|call| call.block(&func.dfg.value_lists) == header);
            if let (true, Some(&entry), None) = (is_counter, entries.next(), entries.next())
                && let Some(start) = argument(func, entry, at)
            {
                let counter = Counter { value, start, stride, limit, signed };
                return Some(Strided { before: before.block, counter, next, checks: Vec::new() });
            }
        }
    }
    None
}

/// The check that ends `block` and its address, if that is the counter plus what does not change in the loop.
fn check(func: &Function, loops: &LoopAnalysis, lp: Loop, block: Block, counter: Counter) -> Option<(Value, Check)> {
    let InstructionData::Brif { arg, blocks, .. } = func.dfg.insts[func.layout.last_inst(block)?] else { return None };
    let [failed, passed] = blocks.map(|call| call.block(&func.dfg.value_lists));
    if loops.is_in_loop(failed, lp) || !loops.is_in_loop(passed, lp) || !func.layout.is_cold(failed) {
        return None;
    }
    let (IntCC::UnsignedGreaterThan, [address, last]) = comparison(func, arg)? else { return None };
    if func.dfg.value_type(address) != types::I32 {
        return None;
    }
    let mut rest = summands(func, address);
    let at = rest.iter().position(|&value| value == counter.value)?;
    rest.swap_remove(at);
    let known = |&value: &Value| is_constant(func, value).is_some() || is_invariant(func, loops, lp, value);
    let mut budget = MAX_REBUILT;
    (rest.iter().all(known) && can_rebuild(func, loops, lp, last, &mut budget)).then_some((address, Check { rest, last }))
}

/// The comparison a condition is, widened or not.
fn comparison(func: &Function, value: Value) -> Option<(IntCC, [Value; 2])> {
    match *definition(func, value)? {
        InstructionData::Unary { opcode: Opcode::Uextend, arg } => comparison(func, arg),
        InstructionData::IntCompare { opcode: Opcode::Icmp, args, cond } => {
            Some((cond, args.map(|arg| func.dfg.resolve_aliases(arg))))
        }
        _ => None,
    }
}

fn argument(func: &Function, call: BlockCall, at: usize) -> Option<Value> {
    match call.args(&func.dfg.value_lists).nth(at)? {
        BlockArg::Value(value) => Some(func.dfg.resolve_aliases(value)),
        _ => None,
    }
}

fn definition(func: &Function, value: Value) -> Option<&InstructionData> {
    match func.dfg.value_def(func.dfg.resolve_aliases(value)) {
        ValueDef::Result(inst, _) => Some(&func.dfg.insts[inst]),
        _ => None,
    }
}

fn is_constant(func: &Function, value: Value) -> Option<i64> {
    match definition(func, value)? {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
        _ => None,
    }
}

/// Whether `value` is defined outside of the loop: where it is used inside, it is known before.
fn is_invariant(func: &Function, loops: &LoopAnalysis, lp: Loop, value: Value) -> bool {
    let block = match func.dfg.value_def(func.dfg.resolve_aliases(value)) {
        ValueDef::Result(inst, _) => func.layout.inst_block(inst),
        ValueDef::Param(block, _) => Some(block),
        ValueDef::Union(..) => None,
    };
    block.is_some_and(|block| !loops.is_in_loop(block, lp))
}

/// Whether what `value` is computed from is known before the loop, and it can be computed there.
fn can_rebuild(func: &Function, loops: &LoopAnalysis, lp: Loop, value: Value, budget: &mut usize) -> bool {
    if is_invariant(func, loops, lp, value) || is_constant(func, value).is_some() {
        return true;
    }
    *budget = budget.saturating_sub(1);
    if *budget == 0 {
        return false;
    }
    match definition(func, value) {
        Some(InstructionData::Binary { opcode: Opcode::Iadd, args }) => {
            args.iter().all(|&arg| can_rebuild(func, loops, lp, arg, budget))
        }
        Some(&InstructionData::Unary { opcode: Opcode::Ireduce, arg }) => can_rebuild(func, loops, lp, arg, budget),
        _ => false,
    }
}

impl<'ctx> Translator<'ctx, '_> {
    /// The condition of a check without the turns of a loop that need none; any other condition as it is.
    pub(super) fn predicated(&mut self, branch: Inst, condition: IntValue<'ctx>) -> Result<IntValue<'ctx>, Refusal> {
        let block = self.func.layout.inst_block(branch).expect("what is translated is in the layout");
        let Some(at) = self.predication.checks[block] else { return Ok(condition) };
        let needed = self.needed(at)?;
        Ok(self.builder.build_and(condition, needed, "")?)
    }

    /// A sum; if it is a counter after a turn, then where no checks are needed one that does not wrap around.
    pub(super) fn sum(&mut self, result: Value, lhs: IntValue<'ctx>, rhs: IntValue<'ctx>) -> Result<IntValue<'ctx>, Refusal> {
        let sum = self.builder.build_int_add(lhs, rhs, "")?;
        let Some(at) = self.predication.turns[result] else { return Ok(sum) };
        let needed = self.needed(at)?;
        let bounded = self.builder.build_int_nuw_add(lhs, rhs, "")?;
        if self.predication.strided[at].counter.signed
            && let Some(addition) = bounded.as_instruction_value()
        {
            addition.set_no_signed_wrap_flag(true)?;
        }
        Ok(self.builder.build_select(needed, sum, bounded, "")?.into_int_value())
    }

    /// A value, zero-extended; if it is an address whose check is predicated, then where none is needed the sum of its
    /// extended parts.
    pub(super) fn extension(&mut self, value: Value, to: IntType<'ctx>) -> Result<IntValue<'ctx>, Refusal> {
        let i64_type = self.context.i64_type();
        let extended = self.builder.build_int_z_extend(self.int(value), to, "")?;
        let address = self.predication.addresses[self.func.dfg.resolve_aliases(value)].filter(|_| to == i64_type);
        let Some((at, check)) = address else { return Ok(extended) };
        let needed = self.needed(at)?;
        let Strided { counter, checks, .. } = &self.predication.strided[at];
        let wide = self.builder.build_int_z_extend(self.int(counter.value), i64_type, "")?;
        if counter.signed
            && let Some(extension) = wide.as_instruction_value()
        {
            extension.set_non_negative_flag(true)?;
        }
        let sum = self.plus_rest(wide, &checks[check])?.0;
        Ok(self.builder.build_select(needed, extended, sum, "")?.into_int_value())
    }

    /// Whether the checks of a loop have to be made.
    fn needed(&mut self, at: usize) -> Result<IntValue<'ctx>, Refusal> {
        if let Some(needed) = self.checked_loops[at] {
            return Ok(needed);
        }
        let here = self.here();
        let end = self.ends[self.predication.strided[at].before].expect("the block before a loop dominates it");
        self.builder.position_before(&end.get_terminator().expect("it has been translated"));
        let needed = self.checks_needed(at)?;
        self.builder.position_at_end(here);
        self.checked_loops[at] = Some(needed);
        Ok(needed)
    }

    /// Whether the checks of a loop have to be made; computed where the builder is, before the loop.
    fn checks_needed(&self, at: usize) -> Result<IntValue<'ctx>, Refusal> {
        let Strided { counter, checks, .. } = &self.predication.strided[at];
        let (b, i64_type) = (&self.builder, self.context.i64_type());
        let wide = |value: IntValue<'ctx>| b.build_int_z_extend(value, i64_type, "");
        let (start, stride, limit) = (self.int(counter.start), self.int(counter.stride), self.int(counter.limit));
        let (above, largest) = match counter.signed {
            true => (IntPredicate::SGT, i64::from(i32::MAX)),
            false => (IntPredicate::UGT, i64::from(u32::MAX)),
        };
        let starts_beyond = b.build_int_compare(above, start, limit, "")?;
        let top = wide(b.build_select(starts_beyond, start, limit, "")?.into_int_value())?;
        let after = b.build_int_add(top, wide(stride)?, "")?;
        let mut needed = b.build_int_compare(IntPredicate::UGT, after, i64_type.const_int(largest.cast_unsigned(), false), "")?;
        if counter.signed {
            // Of both at once: the sign of either.
            let signs = b.build_or(start, stride, "")?;
            let negative = b.build_int_compare(IntPredicate::SLT, signs, signs.get_type().const_zero(), "")?;
            needed = b.build_or(needed, negative, "")?;
        }
        for check in checks {
            let (sum, constant) = self.plus_rest(top, check)?;
            let last = wide(self.rebuilt(check.last)?)?;
            // With a negative constant, the first address is the one that could be below zero.
            if constant < 0 {
                let first = b.build_int_add(wide(start)?, i64_type.const_int(constant.cast_unsigned(), true), "")?;
                let below = b.build_int_compare(IntPredicate::SLT, first, i64_type.const_zero(), "")?;
                needed = b.build_or(needed, below, "")?;
            }
            let beyond = b.build_int_compare(IntPredicate::SGT, sum, last, "")?;
            needed = b.build_or(needed, beyond, "")?;
        }
        Ok(needed)
    }

    /// The 64-bit sum of a counter and the rest of an address, and the constant in it.
    fn plus_rest(&self, counter: IntValue<'ctx>, check: &Check) -> Result<(IntValue<'ctx>, i64), Refusal> {
        let i64_type = self.context.i64_type();
        let (mut sum, mut constant) = (counter, 0i64);
        for &value in &check.rest {
            match is_constant(self.func, value) {
                Some(value) => constant += i64::from(value as i32),
                None => {
                    let wide = self.builder.build_int_z_extend(self.int(value), i64_type, "")?;
                    sum = self.builder.build_int_add(sum, wide, "")?;
                }
            }
        }
        Ok((self.builder.build_int_add(sum, i64_type.const_int(constant.cast_unsigned(), true), "")?, constant))
    }

    /// A value as it is before the loop, computed there if the loop computes it.
    fn rebuilt(&self, value: Value) -> Result<IntValue<'ctx>, Refusal> {
        let value = self.func.dfg.resolve_aliases(value);
        let ty = self.int_type(self.func.dfg.value_type(value));
        if let Some(constant) = is_constant(self.func, value) {
            return Ok(ty.const_int(constant.cast_unsigned(), false));
        }
        match definition(self.func, value) {
            Some(&InstructionData::Binary { opcode: Opcode::Iadd, args: [one, other] }) => {
                Ok(self.builder.build_int_add(self.rebuilt(one)?, self.rebuilt(other)?, "")?)
            }
            Some(&InstructionData::Unary { opcode: Opcode::Ireduce, arg }) => {
                Ok(self.builder.build_int_truncate(self.rebuilt(arg)?, ty, "")?)
            }
            _ => Ok(self.int(value)),
        }
    }
}
