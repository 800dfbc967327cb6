//! Loops that count, taken in strips: a comparison with where the strip ends takes the place of the one with where the loop ends.
//!
//! ```text
//! before: … ─► E: counter at bound? ─► behind the loop
//!              └─► next turn
//!
//! after:  … ─► E: counter at end? ─► counter at bound? ─► behind the loop
//!              └─► next turn ◄─────── look; end = … ◄──┘
//! ```
//!
//! `end` is so many turns on, or the bound if that comes first. What decides whether the loop ends is what decided before, so all that `end` has
//! to be is: never behind the bound, and reached. For a counter that is compared for equality the distance is rounded down to whole
//! steps: a counter that misses its bound goes round, and must not miss its end.

use inkwell::{
    IntPredicate,
    basic_block::BasicBlock,
    intrinsics::Intrinsic,
    types::IntType,
    values::{BasicValue, BasicValueEnum, InstructionOpcode as Opcode, InstructionValue, IntValue, PhiValue},
};

use super::{Polls, loops::Loop};
use crate::{refusal::Refusal, translate::operand};

/// A counter, and the comparison that ends the loop.
pub(super) struct Counter<'ctx> {
    /// The block whose branch it is, which every turn comes to.
    exit: BasicBlock<'ctx>,
    /// Where it goes when the loop is over, and when not.
    behind: BasicBlock<'ctx>,
    next: BasicBlock<'ctx>,
    condition: IntValue<'ctx>,
    /// What the condition is when the loop is over.
    over_if: bool,
    /// What is compared, and what that is the first time: a sum.
    tested: IntValue<'ctx>,
    first: (IntValue<'ctx>, By<'ctx>),
    bound: IntValue<'ctx>,
    step: By<'ctx>,
    ends: Ends,
}

/// What is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By<'ctx> {
    Constant(i64),
    /// What does not change in the loop. If it is a step, then upwards: where it is not, each strip is one turn.
    Value(IntValue<'ctx>),
}

impl<'ctx> By<'ctx> {
    fn constant(self) -> Option<i64> {
        if let By::Constant(value) = self { Some(value) } else { None }
    }

    fn is_up(self) -> bool {
        self.constant().is_none_or(|step| step > 0)
    }

    fn value(self, ty: IntType<'ctx>) -> IntValue<'ctx> {
        match self {
            By::Constant(value) => ty.const_int(value.cast_unsigned(), true),
            By::Value(value) => value,
        }
    }
}

/// When the loop is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// At the bound.
    At,
    /// At the bound or beyond it, in the direction of the step.
    Beyond { signed: bool },
}

/// The counter of a loop that has none in it.
pub(super) fn counter<'ctx>(lp: &Loop<'ctx>) -> Option<Counter<'ctx>> {
    let &[_] = &lp.entries[..] else { return None };
    // A latch's comparison is the most likely one.
    lp.always.iter().rev().find_map(|&block| counter_at(lp, block))
}

fn counter_at<'ctx>(lp: &Loop<'ctx>, exit: BasicBlock<'ctx>) -> Option<Counter<'ctx>> {
    let branch = exit.get_terminator()?;
    if branch.get_opcode() != Opcode::Br || branch.get_num_operands() != 3 {
        return None;
    }
    let target = |at| branch.get_operand(at).and_then(inkwell::values::Operand::block);
    let (otherwise, then) = (target(1)?, target(2)?);
    let (behind, next, over_if) = match (lp.blocks.contains(&then), lp.blocks.contains(&otherwise)) {
        (false, true) => (then, otherwise, true),
        (true, false) => (otherwise, then, false),
        _ => return None,
    };
    let BasicValueEnum::IntValue(condition) = operand(branch, 0)? else { return None };
    let comparison = condition.as_instruction_value().filter(|inst| inst.get_opcode() == Opcode::ICmp)?;
    let predicate = comparison.get_icmp_predicate()?;
    let [BasicValueEnum::IntValue(one), BasicValueEnum::IntValue(other)] = [operand(comparison, 0)?, operand(comparison, 1)?]
    else {
        return None;
    };
    let predicate = if over_if { predicate } else { opposite(predicate) };
    let found = |(predicate, tested, bound): (_, IntValue<'ctx>, IntValue<'ctx>)| {
        if !is_invariant(lp, bound) || tested.get_type().get_bit_width() > 64 {
            return None;
        }
        let (phi, offset) = parts(lp, tested);
        let (start, step) = progress(lp, phi)?;
        let ends = ends(predicate, step.is_up())?;
        let size = step.constant().map(i64::unsigned_abs);
        let whole = ends != Ends::At || size.is_some_and(u64::is_power_of_two);
        let fits = size.is_none_or(|size| size < 1 << (tested.get_type().get_bit_width().min(32) / 2 - 2));
        let counter = Counter { exit, behind, next, condition, over_if, tested, first: (start, offset), bound, step, ends };
        (whole && fits).then_some(counter)
    };
    [(predicate, one, other), (swapped(predicate), other, one)].into_iter().find_map(found)
}

/// What a parameter of the loop begins at, and what every turn adds.
fn progress<'ctx>(lp: &Loop<'ctx>, value: IntValue<'ctx>) -> Option<(IntValue<'ctx>, By<'ctx>)> {
    let phi = value.as_instruction_value().filter(|inst| inst.get_parent() == Some(lp.header))?;
    let phi = PhiValue::try_from(phi).ok()?;
    let (mut start, mut step) = (None, None);
    for (incoming, from) in phi.get_incomings() {
        let BasicValueEnum::IntValue(incoming) = incoming else { return None };
        if !lp.latches.contains(&from) {
            start = Some(incoming);
            continue;
        }
        let (before, by) = parts(lp, incoming);
        if before != value || by == By::Constant(0) || *step.get_or_insert(by) != by {
            return None;
        }
    }
    Some((start?, step?))
}

/// A sum of what changes in the loop and what does not, apart.
fn parts<'ctx>(lp: &Loop<'ctx>, value: IntValue<'ctx>) -> (IntValue<'ctx>, By<'ctx>) {
    let parts = || {
        let sum = value.as_instruction_value().filter(|inst| inst.get_opcode() == Opcode::Add && !is_invariant(lp, value))?;
        let [BasicValueEnum::IntValue(one), BasicValueEnum::IntValue(other)] = [operand(sum, 0)?, operand(sum, 1)?] else {
            return None;
        };
        let (rest, by) = if is_invariant(lp, other) { (one, other) } else { (other, one) };
        let by = || by.get_sign_extended_constant().map_or(By::Value(by), By::Constant);
        (is_invariant(lp, one) != is_invariant(lp, other)).then(|| (rest, by()))
    };
    parts().unwrap_or((value, By::Constant(0)))
}

fn is_invariant<'ctx>(lp: &Loop<'ctx>, value: IntValue<'ctx>) -> bool {
    value.as_instruction_value().is_none_or(|inst| inst.get_parent().is_some_and(|block| !lp.blocks.contains(&block)))
}

fn ends(exit: IntPredicate, is_up: bool) -> Option<Ends> {
    use IntPredicate as P;
    match (exit, is_up) {
        (P::EQ, _) => Some(Ends::At),
        (P::UGE | P::UGT, true) | (P::ULE | P::ULT, false) => Some(Ends::Beyond { signed: false }),
        (P::SGE | P::SGT, true) | (P::SLE | P::SLT, false) => Some(Ends::Beyond { signed: true }),
        _ => None,
    }
}

fn opposite(predicate: IntPredicate) -> IntPredicate {
    use IntPredicate as P;
    match predicate {
        P::EQ => P::NE,
        P::NE => P::EQ,
        P::UGT => P::ULE,
        P::UGE => P::ULT,
        P::ULT => P::UGE,
        P::ULE => P::UGT,
        P::SGT => P::SLE,
        P::SGE => P::SLT,
        P::SLT => P::SGE,
        P::SLE => P::SGT,
    }
}

fn swapped(predicate: IntPredicate) -> IntPredicate {
    use IntPredicate as P;
    match predicate {
        P::EQ | P::NE => predicate,
        P::UGT => P::ULT,
        P::UGE => P::ULE,
        P::ULT => P::UGT,
        P::ULE => P::UGE,
        P::SGT => P::SLT,
        P::SGE => P::SLE,
        P::SLT => P::SGT,
        P::SLE => P::SGE,
    }
}

impl Counter<'_> {
    /// How often the loop goes round at most, if its start and bound are constants and it does not miss the bound.
    pub(super) fn turns(&self) -> Option<u64> {
        let (start, bound) = (self.first.0.get_sign_extended_constant()?, self.bound.get_sign_extended_constant()?);
        let (offset, step) = (self.first.1.constant()?, self.step.constant()?);
        let distance = bound.checked_sub(start.checked_add(offset)?)?;
        let turns = u64::try_from(distance.checked_div(step)?).ok()?;
        (self.ends != Ends::At || distance % step == 0).then_some(turns + 2)
    }
}

impl<'ctx> Polls<'ctx, '_> {
    /// Takes a loop in strips of so many turns.
    pub(super) fn strip(&self, lp: &Loop<'ctx>, counter: &Counter<'ctx>, turns: u64) -> Result<(), Refusal> {
        let &Counter { exit, behind, next, condition, over_if, tested, first: (start, offset), bound, step, ends } = counter;
        let (b, ty) = (&self.builder, tested.get_type());
        let entry = self.function.get_first_basic_block().expect("it has a loop");
        b.position_before(&entry.get_first_instruction().expect("a block ends"));
        let end = b.build_alloca(ty, "")?;
        let [entering] = lp.entries[..] else { unreachable!("a counter's loop is entered from one block") };
        b.position_before(&entering.get_terminator().expect("a block ends"));
        let first = b.build_int_add(start, offset.value(ty), "")?;
        b.build_store(end, self.end_of_strip(counter, first, turns)?)?;

        // Twice the way from E to the next turn: at once, and by way of a poll.
        let context = self.module.get_context();
        let [over, look] = [(); 2].map(|()| context.insert_basic_block_after(exit, ""));
        self.redirect_phis(behind, exit, over)?;
        exit.get_terminator().expect("a block ends").erase_from_basic_block();
        b.position_at_end(exit);
        let strip_end = b.build_load(ty, end, "")?.into_int_value();
        let at_end = match (ends, step.is_up()) {
            (Ends::At, _) => IntPredicate::EQ,
            (Ends::Beyond { signed: false }, true) => IntPredicate::UGE,
            (Ends::Beyond { signed: false }, false) => IntPredicate::ULE,
            (Ends::Beyond { signed: true }, true) => IntPredicate::SGE,
            (Ends::Beyond { signed: true }, false) => IntPredicate::SLE,
        };
        let is_over = b.build_int_compare(at_end, tested, strip_end, "")?;
        b.build_conditional_branch(is_over, over, next)?;
        b.position_at_end(over);
        // Where the counter is known to be at the end it is not asked for, so that the loop need not have it.
        let (reached, condition, over_if) = match ends {
            Ends::At => (strip_end, b.build_int_compare(IntPredicate::EQ, strip_end, bound, "")?, true),
            Ends::Beyond { .. } => (tested, condition, over_if),
        };
        for phi in phis(next) {
            let phi = PhiValue::try_from(phi).expect("it is one");
            let (value, _) = phi.get_incomings().find(|(_, from)| *from == exit).expect("an edge has a value");
            let value = if value == BasicValueEnum::from(tested) { BasicValueEnum::from(reached) } else { value };
            phi.add_incoming(&[(&value, look)]);
        }
        let (then, otherwise) = if over_if { (behind, look) } else { (look, behind) };
        b.build_conditional_branch(condition, then, otherwise)?;
        b.position_at_end(look);
        self.look()?;
        let following = b.build_int_add(reached, step.value(ty), "")?;
        b.build_store(end, self.end_of_strip(counter, following, turns)?)?;
        b.build_unconditional_branch(next)?;
        Ok(())
    }

    /// Where a strip ends that begins where `from` is compared.
    fn end_of_strip(&self, counter: &Counter<'ctx>, from: IntValue<'ctx>, turns: u64) -> Result<IntValue<'ctx>, Refusal> {
        let &Counter { bound, step, ends, .. } = counter;
        let (b, ty) = (&self.builder, from.get_type());
        let up = step.is_up();
        let nearer = |name| self.choose(name, bound, from);
        let target = match (ends, up) {
            (Ends::At, _) => bound,
            (Ends::Beyond { signed: false }, true) => nearer("llvm.umax")?,
            (Ends::Beyond { signed: false }, false) => nearer("llvm.umin")?,
            (Ends::Beyond { signed: true }, true) => nearer("llvm.smax")?,
            (Ends::Beyond { signed: true }, false) => nearer("llvm.smin")?,
        };
        let mut distance = if up { b.build_int_sub(target, from, "")? } else { b.build_int_sub(from, target, "")? };
        let furthest = match step {
            By::Constant(step) => {
                let size = step.unsigned_abs();
                if ends == Ends::At {
                    distance = b.build_and(distance, ty.const_int(size.wrapping_neg(), true), "")?;
                }
                ty.const_int(size * turns, false)
            }
            By::Value(step) => {
                let shift = ty.const_int(turns.ilog2().into(), false);
                let all = b.build_left_shift(step, shift, "")?;
                let back = b.build_right_shift(all, shift, true, "")?;
                // A step that is none upwards, or so large that so many are more than there can be.
                let (zero, most) = (ty.const_zero(), ty.const_all_ones());
                let fits = b.build_int_compare(IntPredicate::EQ, back, step, "")?;
                let all = b.build_select(fits, all, most, "")?.into_int_value();
                let is_up = b.build_int_compare(IntPredicate::SGT, step, zero, "")?;
                b.build_select(is_up, all, zero, "")?.into_int_value()
            }
        };
        let distance = self.choose("llvm.umin", distance, furthest)?;
        Ok(if up { b.build_int_add(from, distance, "")? } else { b.build_int_sub(from, distance, "")? })
    }

    /// The lesser or greater of two.
    fn choose(&self, intrinsic: &str, one: IntValue<'ctx>, other: IntValue<'ctx>) -> Result<IntValue<'ctx>, Refusal> {
        let function = Intrinsic::find(intrinsic).and_then(|found| found.get_declaration(self.module, &[one.get_type().into()]));
        let function = function.ok_or_else(|| Refusal::Llvm(format!("no intrinsic {intrinsic}")))?;
        let call = self.builder.build_direct_call(function, &[one.into(), other.into()], "")?;
        Ok(call.try_as_basic_value().basic().expect("it has a value").into_int_value())
    }

    /// An edge to `block` comes from elsewhere now.
    fn redirect_phis(&self, block: BasicBlock<'ctx>, from: BasicBlock<'ctx>, to: BasicBlock<'ctx>) -> Result<(), Refusal> {
        for old in phis(block) {
            self.builder.position_before(&old);
            let old_phi = PhiValue::try_from(old).expect("it is one");
            let new = self.builder.build_phi(old_phi.as_basic_value().get_type(), "")?;
            for (value, of) in old_phi.get_incomings() {
                new.add_incoming(&[(&value, if of == from { to } else { of })]);
            }
            old.replace_all_uses_with(&new.as_instruction());
            old.erase_from_basic_block();
        }
        Ok(())
    }
}

fn phis(block: BasicBlock<'_>) -> Vec<InstructionValue<'_>> {
    block.get_instructions().take_while(|inst| inst.get_opcode() == Opcode::Phi).collect()
}
