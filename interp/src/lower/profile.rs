//! Recording what indirect calls call, in code that better code may replace.
//!
//! A call of the target that its site met first costs a subtraction, a compare-and-branch with memory and an addition in memory. Any
//! other is compared with all four targets at once, and counted by subtracting what the comparison gives (all ones is minus one) from
//! all four counts. What is none of them goes to a helper, which gives it a place or says that the site is megamorphic: from then on code
//! sees that, and neither compares nor counts what is not the first target.

use super::clif::{InstBuilder, IntCC, MemFlagsData, Value, types};
use super::function::{FuncLower, Profiling};
use super::helpers::Helper;
use crate::profile::{COUNTS, CallSite, FOREIGN, OTHERS, Seen, TARGETS};
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
        let known = self.b.ins().uload32(flags, site, TARGETS);
        let is_first = self.b.ins().icmp(IntCC::Equal, target, known);
        let [bump, other, known, tell, next] = std::array::from_fn(|_| self.b.create_block());
        for rare in [other, known, tell] {
            self.b.set_cold_block(rare);
        }
        self.b.ins().brif(is_first, bump, &[], other, &[]);
        self.b.seal_block(bump);
        self.b.seal_block(other);

        self.b.switch_to_block(other);
        let others = self.b.ins().load(types::I32, flags, site, OTHERS);
        self.b.ins().brif(others, next, &[], known, &[]);
        self.b.seal_block(known);

        self.b.switch_to_block(known);
        // What has more than 32 bits is no target, whatever the lower ones are.
        let foreign = self.b.ins().iconst(types::I64, i64::from(FOREIGN));
        let key = self.b.ins().umin(target, foreign);
        let key = self.b.ins().ireduce(types::I32, key);
        let keys = self.b.ins().splat(types::I32X4, key);
        let targets = self.b.ins().load(types::I32X4, flags, site, TARGETS);
        let hits = self.b.ins().icmp(IntCC::Equal, keys, targets);
        let counts = self.b.ins().load(types::I32X4, flags, site, COUNTS);
        let counts = self.b.ins().isub(counts, hits);
        self.b.ins().store(flags, counts, site, COUNTS);
        let is_known = self.b.ins().vany_true(hits);
        self.b.ins().brif(is_known, next, &[], tell, &[]);
        self.b.seal_block(tell);

        self.b.switch_to_block(tell);
        self.call_helper(Helper::NoteTarget, &[site, target])?;
        self.b.ins().jump(next, &[]);

        self.b.switch_to_block(bump);
        let count = self.b.ins().load(types::I32, flags, site, COUNTS);
        let count = self.b.ins().iadd_imm_s(count, 1);
        self.b.ins().store(flags, count, site, COUNTS);
        self.b.ins().jump(next, &[]);
        self.b.seal_block(next);
        self.b.switch_to_block(next);
        Ok(())
    }

    /// The profile of the indirect call being lowered, if there is one.
    pub(super) fn call_site(&self) -> Option<&'a CallSite> {
        self.resuming?.prepared.call_site(self.offset)
    }
}

#[cfg(all(test, feature = "llvm"))]
mod tests;
