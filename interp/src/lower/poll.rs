//! Polls: where compiled code looks whether its thread is asked for anything, at least every 100 us.
//!
//! Calls are polls, by their prologues. Code that counts polls when it tells of its work. Other loops look once a turn, a load and a
//! branch; but in an optimizing tier that puts polls into loops by itself, when it has done to them what polls would prevent.

use super::clif;
use super::function::FuncLower;

impl FuncLower<'_, '_> {
    /// Looks, at the header of a loop that does not count; code goes on in a new block.
    pub(super) fn poll_at_header(&mut self) {
        if !self.cx.polls_loops() {
            clif::poll(self.b, &self.abi, |_| {});
        }
    }
}
