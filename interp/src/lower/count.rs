//! Counting in compiled code, where the function may go to a higher tier: a call at the entry, work at the loops.
//!
//! A call is taken from the thread's countdown in memory, five instructions. A loop's turn is added to a variable, which
//! costs an addition and a compare-and-branch at the header; the sum is taken from the countdown when it is large, and on
//! return. (A countdown in memory would make every turn of a loop wait for the store of the one before.) Nothing is taken
//! when a trap ends the body.

use tierup::CALL_WORK;

use super::clif::{Block, BodyAbi, Countdown, Imm64, Inst, InstBuilder, InstructionData, IntCC, Value, Variable, types};
use super::function::FuncLower;

/// Work loops do before the countdown is told, in work units: some 10 us at least.
const FLUSH: i64 = 1 << 18;

/// The counting of one body under way.
pub(super) struct Counter {
    countdown: Countdown,
    /// The function's index in the module, its token.
    function: u32,
    /// Work of loops the countdown was not told of.
    unpaid: Variable,
    /// Whether there has been a loop.
    loops: bool,
}

/// A loop being counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopCount {
    /// The constant that is one turn's work, filled in when the loop ends.
    turn: Inst,
    /// Operators on the way to the header.
    before: u32,
    /// Operators on the longest way from there back to it, as the interpreter counts them.
    longest: u32,
}

impl LoopCount {
    /// A way back to the header was found.
    pub(super) fn note_way(&mut self, work: u32) {
        self.longest = self.longest.max(work - self.before);
    }
}

impl FuncLower<'_, '_> {
    /// Counts a call; code goes on in a new block. Nothing happens without a countdown.
    pub(super) fn count_call(&mut self, countdown: Option<Countdown>, function: u32) {
        let Some(countdown) = countdown else { return };
        let work = self.b.ins().iconst(types::I32, i64::from(CALL_WORK));
        let left = countdown.charge(self.b, self.abi.cells, work);
        let spent = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, left, 0);
        let none = self.b.ins().iconst(types::I32, 0);
        let unpaid = self.b.declare_var(types::I32);
        self.b.def_var(unpaid, none);
        self.count = Some(Counter { countdown, function, unpaid, loops: false });
        let (tell, next) = self.fork(spent);
        self.b.switch_to_block(tell);
        self.tell(countdown, function, none, None);
        self.b.ins().jump(next, &[]);
        self.go_on(next);
    }

    /// Counts a turn of the loop whose header the builder has just entered; code goes on in a new block.
    pub(super) fn count_turn(&mut self) -> Option<LoopCount> {
        let count = self.count.as_mut()?;
        count.loops = true;
        let Counter { countdown, function, unpaid, .. } = *count;
        let turn = self.b.ins().iconst(types::I32, 0);
        let before = self.b.use_var(unpaid);
        let now = self.b.ins().iadd(before, turn);
        self.b.def_var(unpaid, now);
        let much = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, now, FLUSH);
        let (tell, next) = self.fork(much);
        self.b.switch_to_block(tell);
        self.tell(countdown, function, now, None);
        let none = self.b.ins().iconst(types::I32, 0);
        self.b.def_var(unpaid, none);
        self.b.ins().jump(next, &[]);
        self.go_on(next);
        let turn = self.b.func.dfg.value_def(turn).inst().expect("just made");
        Some(LoopCount { turn, before: self.work, longest: 1 })
    }

    /// The loop has ended: every turn is charged the longest way.
    pub(super) fn end_count(&mut self, count: LoopCount) {
        if let InstructionData::UnaryImm { imm, .. } = &mut self.b.func.dfg.insts[count.turn] {
            *imm = Imm64::new(i64::from(count.longest));
        }
    }

    /// Takes what is unpaid from the countdown: the body is about to return.
    pub(super) fn count_return(&mut self) {
        if let Some(Counter { countdown, unpaid, loops: true, .. }) = self.count {
            let unpaid = self.b.use_var(unpaid);
            // The next call finds out what is left.
            countdown.charge(self.b, self.abi.cells, unpaid);
        }
    }

    /// Branches to a cold block if `condition` is not zero, else to where code goes on.
    fn fork(&mut self, condition: Value) -> (Block, Block) {
        let (cold, next) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(cold);
        self.b.ins().brif(condition, cold, &[], next, &[]);
        self.b.seal_block(cold);
        (cold, next)
    }

    fn go_on(&mut self, next: Block) {
        self.b.seal_block(next);
        self.b.switch_to_block(next);
    }

    fn tell(&mut self, countdown: Countdown, function: u32, work: Value, site: Option<u32>) {
        // A constant, so that the parameter is not kept for this.
        let callee = self.b.ins().iconst(types::I64, i64::from(function));
        countdown.tell(self.b, &BodyAbi { callee, ..self.abi }, work, site);
    }
}
