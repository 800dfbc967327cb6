//! Recording what indirect calls call, in code that better code may replace.
//!
//! A call of the target that its site met first costs a subtraction, a compare-and-branch with memory and an addition in memory;
//! the rest is done by a helper, on a cold path.

use super::clif::{InstBuilder, IntCC, MemFlagsData, Value, types};
use super::function::{FuncLower, Profiling};
use super::helpers::Helper;
use crate::profile::{CallSite, FIRST_COUNT, FIRST_TARGET, Seen};
use tierup::Bailout;

impl<'a> FuncLower<'a, '_> {
    /// Records that the indirect call being lowered calls `reference`, which is one; code goes on in a new block. Nothing happens if
    /// calls are not recorded.
    pub(super) fn record_target(&mut self, reference: Value) -> Result<(), Bailout> {
        // What has called too much to be speculated on always will have.
        let is_open = |site: &&CallSite| self.profiling == Profiling::Record && site.seen(0) != Seen::Many;
        let Some(site) = self.call_site().filter(is_open) else { return Ok(()) };
        // Lives as long as the body, which the code keeps.
        let site = self.b.ins().iconst(types::I64, (&raw const *site).addr() as i64);
        let first = self.func_ref(0);
        let target = self.b.ins().isub(reference, first);
        let flags = MemFlagsData::trusted();
        let known = self.b.ins().uload32(flags, site, FIRST_TARGET);
        let is_known = self.b.ins().icmp(IntCC::Equal, target, known);
        let (bump, tell, next) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(tell);
        self.b.ins().brif(is_known, bump, &[], tell, &[]);
        self.b.seal_block(bump);
        self.b.seal_block(tell);

        self.b.switch_to_block(tell);
        self.call_helper(Helper::NoteTarget, &[site, target])?;
        self.b.ins().jump(next, &[]);

        self.b.switch_to_block(bump);
        let count = self.b.ins().load(types::I32, flags, site, FIRST_COUNT);
        let count = self.b.ins().iadd_imm_s(count, 1);
        self.b.ins().store(flags, count, site, FIRST_COUNT);
        self.b.ins().jump(next, &[]);
        self.b.seal_block(next);
        self.b.switch_to_block(next);
        Ok(())
    }

    /// The profile of the indirect call being lowered, if there is one.
    pub(super) fn call_site(&self) -> Option<&'a CallSite> {
        self.resuming?.prepared.call_site(self.b.srcloc().bits())
    }
}

#[cfg(all(test, feature = "llvm"))]
mod tests;
