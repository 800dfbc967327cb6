//! Polls: where compiled code looks whether its thread is asked for anything, at least every 100 us.
//!
//! Calls are polls, by their prologues. Code that counts polls when it tells of its work, and code that is sampled tells of it where it
//! polls (`count.rs`). Other loops look once a turn, a load and a
//! branch; but in an optimizing tier that puts polls into loops by itself, when it has done to them what polls would prevent. Code of
//! such a tier does neither unless it is [`Config::interruptible`](crate::Config::interruptible).
//!
//! A poll that called out is where withdrawn code is left for the interpreter ([`Broker::tier_down`](tierup::Broker::tier_down), a
//! reload): at a loop header, whose frame state is that of an exit. The polls of an optimizing tier's own are not;
//! [`Config::leaves_at_polls`](crate::Config::leaves_at_polls) has all loops look as if there were none.

use tierup::deopt::FrameState;

use super::clif::{self, BodyAbi, InstBuilder, MemFlagsData, Value, types};
use super::function::FuncLower;
use crate::deopt::GuardKind;
use crate::prepare::CONTROL_SLOTS;

impl FuncLower<'_, '_> {
    /// Looks, at the header of a loop that does not count; code goes on in a new block.
    pub(super) fn poll_at_header(&mut self) {
        if self.cx.polls_loops() && !self.leaves_at_polls {
            return;
        }
        let state = self.state_at_header();
        let (cx, abi, function) = (self.cx, self.abi_at_header(), self.function);
        let guard = GuardKind::Poll.at(self.offset);
        clif::poll(self.b, &abi, |b| {
            if let Some(state) = state {
                // A constant, so that the parameter is not kept for this.
                let abi = BodyAbi { callee: b.ins().iconst(types::I64, i64::from(function)), ..abi };
                // Where there are too many slots, the code stays.
                let _leaves = cx.leave_if_invalid(b, &abi, &state, guard);
            }
        });
    }

    /// What a poll at the header of the loop whose operator is being lowered has at hand.
    pub(super) fn abi_at_header(&mut self) -> BodyAbi {
        if self.calling_loops.binary_search(&self.offset).is_err() {
            return self.abi;
        }
        // Kept across calls, the cells would take a register that every call of the function has to save.
        BodyAbi { cells: clif::cells_again(self.b, self.abi.vmctx), ..self.abi }
    }

    /// What the interpreter's frame holds at the header of the loop whose operator is being lowered.
    fn state_at_header(&mut self) -> Option<FrameState> {
        let offset = self.offset;
        let live: Vec<u32> = self.live_at_polls.as_ref()?.at(offset).expect("the analysis met the same loops").iter().collect();
        let mut state = FrameState::of(self.body, offset);
        for local in live {
            state = state.slot(local, self.b.use_var(self.locals[local as usize]));
        }
        let first_operand = self.locals.len() as u32 + CONTROL_SLOTS;
        Some(state.slots((first_operand..).zip(self.guest_operands())))
    }

    /// Behind a count that was a poll, too: `should_leave`, or whether the code was withdrawn.
    pub(super) fn or_if_invalid(&mut self, should_leave: Value) -> Value {
        let Some(withdrawn) = self.withdrawn() else { return should_leave };
        let withdrawn = self.b.ins().uextend(types::I64, withdrawn);
        self.b.ins().bor(should_leave, withdrawn)
    }

    /// Not zero if the code was withdrawn; `None` if nobody would say so.
    pub(super) fn withdrawn(&mut self) -> Option<Value> {
        let cell = self.cx.validity()?;
        let cell = self.b.ins().iconst(types::I64, cell.cast_signed());
        // Atomic: others write it while the code runs.
        Some(self.b.ins().atomic_load(types::I32, MemFlagsData::trusted(), cell))
    }
}
