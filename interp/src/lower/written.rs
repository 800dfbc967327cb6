//! Before a write: whether anybody relies on the table's or global's never having been written to, who is told then ([`unwritten`]).
//!
//! Where the module defines it and it was written to before, in any instance, nobody does, and the code knows. Else it looks: a load,
//! a comparison and a branch that is not taken after the first write in each instance. (What is imported is never known; its code goes
//! on looking.)
//!
//! [`unwritten`]: crate::unwritten

use std::mem::offset_of;

use tierup::Bailout;

use super::clif::{InstBuilder, IntCC, Value, types};
use super::facts::global_def;
use super::function::FuncLower;
use super::helpers::Helper;
use crate::vmctx::{GlobalDef, TableDef, VmCtx};

impl FuncLower<'_, '_> {
    /// Element segments, and all else that a helper does, tell by themselves.
    pub(super) fn tell_table_written(&mut self, table: u32) -> Result<(), Bailout> {
        if !self.facts.may_table_be_watched(table) {
            return Ok(());
        }
        let definition = self.table_definition(table);
        let flags = self.regions.definitions();
        let watch = self.b.ins().load(types::I64, flags, definition, offset_of!(TableDef, watch) as i32);
        self.tell_if_watched(watch, Helper::TableWritten, table)
    }

    pub(super) fn tell_global_written(&mut self, global: u32) -> Result<(), Bailout> {
        if !self.facts.may_global_be_watched(global) {
            return Ok(());
        }
        let globals = self.constant(offset_of!(VmCtx, globals));
        let flags = self.regions.definitions();
        let offset = global_def(global) + offset_of!(GlobalDef, watch) as i32;
        let watch = self.b.ins().load(types::I64, flags, globals, offset);
        self.tell_if_watched(watch, Helper::GlobalWritten, global)
    }

    /// Code goes on in a new block.
    fn tell_if_watched(&mut self, watch: Value, helper: Helper, index: u32) -> Result<(), Bailout> {
        let (tell, next) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(tell);
        let is_watched = self.b.ins().icmp_imm_u(IntCC::NotEqual, watch, 0);
        self.b.ins().brif(is_watched, tell, &[], next, &[]);
        self.b.seal_block(tell);
        self.b.switch_to_block(tell);
        let index = self.index(index);
        self.call_helper(helper, &[index])?;
        self.b.ins().jump(next, &[]);
        self.b.seal_block(next);
        self.b.switch_to_block(next);
        Ok(())
    }
}
