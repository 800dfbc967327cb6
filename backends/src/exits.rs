//! Exits: what a lowering declares of them, and the code they are made of.
//!
//! The protocol is in `deopt/README.md`. A body leaves through the finish stub, a variant by returning; both with the exit's number
//! and its values in the thread's wide buffer.

use std::cell::RefCell;

use cranelift_codegen::ir::{Block, InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use tierup_broker::GuardId;
use tierup_deopt::{ExitReason, ExitTableBuilder, FrameState, NewExit, guard};
use tierup_osr::SlotBuffer;

use crate::{
    LowerCx,
    abi::{Resume, WIDE_SLOTS, offset},
    clif::BodyAbi,
    lower::Job,
};

/// What one lowering declared.
pub(crate) struct DeclaredExits(RefCell<ExitTableBuilder>);

impl DeclaredExits {
    pub(crate) fn new(job: &Job<'_>) -> Self {
        let unit = job.premises.map(|premises| premises.unit());
        DeclaredExits(RefCell::new(ExitTableBuilder::starting_at(job.first_exit).of_unit(unit)))
    }

    pub(crate) fn into_inner(self) -> ExitTableBuilder {
        self.0.into_inner()
    }
}

impl<G> LowerCx<'_, G> {
    /// A cold block, filled, through which the code leaves for good: the interpreter goes on with the frames of `state`, and the
    /// function returns what comes of it. To be branched to where what the code assumes does not hold; [`guard`](Self::guard) does
    /// both.
    ///
    /// The builder's current block must be ended, or not begun; the new one has to be sealed when it has been branched to.
    ///
    /// `None` if the state has more than [`WIDE_SLOTS`] different values: then there is nothing to leave through, and nothing may
    /// be assumed.
    pub fn exit_block(
        &self,
        b: &mut FunctionBuilder<'_>,
        abi: &BodyAbi,
        state: &FrameState,
        guard: GuardId,
        reason: ExitReason,
    ) -> Option<Block> {
        let exit = self.reserve_exit(state, guard, reason)?;
        let block = b.create_block();
        self.fill_exit(b, abi, block, exit);
        Some(block)
    }

    /// Leaves with `state` if `condition`, an integer, is zero; code goes on in a new block, where it is not. One branch, which
    /// a compiler merges with the comparison that made the condition.
    ///
    /// `None`, and nothing is emitted, where [`exit_block`](Self::exit_block) gives none.
    #[must_use = "without an exit nothing may be assumed"]
    pub fn guard(
        &self,
        b: &mut FunctionBuilder<'_>,
        abi: &BodyAbi,
        condition: Value,
        state: &FrameState,
        id: GuardId,
        reason: ExitReason,
    ) -> Option<()> {
        let exit = self.reserve_exit(state, id, reason)?;
        self.guard_with(b, abi, condition, exit);
        Some(())
    }

    /// Leaves with `state`: ends the current block. For code that is assumed never to be reached.
    ///
    /// `None`, and nothing is emitted, where [`exit_block`](Self::exit_block) gives none.
    #[must_use = "without an exit the code has to be made"]
    pub fn exit(
        &self,
        b: &mut FunctionBuilder<'_>,
        abi: &BodyAbi,
        state: &FrameState,
        id: GuardId,
        reason: ExitReason,
    ) -> Option<()> {
        let exit = self.reserve_exit(state, id, reason)?;
        let block = b.create_block();
        b.ins().jump(block, &[]);
        b.seal_block(block);
        self.fill_exit(b, abi, block, exit);
        Some(())
    }

    pub(crate) fn reserve_exit(&self, state: &FrameState, guard: GuardId, reason: ExitReason) -> Option<NewExit> {
        // Who leaves for one of these reasons goes on as the code would have, with another callee at most.
        if !matches!(reason, ExitReason::Requested | ExitReason::Invalid | ExitReason::WrongTarget) {
            self.sites.assume();
        }
        self.exits.0.borrow_mut().add(state, guard, reason, WIDE_SLOTS)
    }

    pub(crate) fn guard_with(&self, b: &mut FunctionBuilder<'_>, abi: &BodyAbi, condition: Value, exit: NewExit) {
        let block = b.create_block();
        guard(b, condition, block);
        b.seal_block(block);
        let next = b.current_block().expect("code goes on behind a guard");
        self.fill_exit(b, abi, block, exit);
        b.switch_to_block(next);
    }

    fn fill_exit(&self, b: &mut FunctionBuilder<'_>, abi: &BodyAbi, block: Block, exit: NewExit) {
        let live: Vec<(u32, Value)> = (0..).zip(exit.values).collect();
        let status = Resume::Exit(exit.number).encode();
        b.set_cold_block(block);
        b.switch_to_block(block);
        if !self.leave_inlined(b, abi, status, &live) {
            self.sites.leave(b, abi, status, live, SlotBuffer::Thread(offset::WIDE));
        }
    }
}
