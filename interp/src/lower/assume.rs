//! What a body takes for granted of tables and globals: that they are what they were made, because nobody has written to them since.
//!
//! Decided before anything is lowered, for the code has to look whether that still holds behind every call, those before the first use
//! included: whatever is called may write, or be given a body that does. It looks only in a loop or before the last use. If the unit
//! is no longer valid, the code leaves for the interpreter, at the operator behind the call, whose results are operands by then. Why that
//! is enough, and no poll is needed, is in [`unwritten`](crate::unwritten).
//!
//! A callee that becomes part of its caller's unit is entered without anybody's asking whether the unit is still in use, by a caller who may
//! take nothing for granted and so not look: then the callee looks, to begin with.
//!
//! A look costs two instructions and prevents vector code, so that reading a global is not worth one: only bodies that call nothing take
//! globals for constants, and a call that has called few functions is guarded instead ([`speculate`](super::speculate)): what a table holds is
//! worth knowing where a call calls many, or nothing was recorded. A function that writes to tables itself takes nothing for granted of any.

use std::collections::BTreeSet;

use tierup::abi::WIDE_SLOTS;
use tierup::{Bailout, BailoutReason};
use wasmparser::{Operator, OperatorsReader};

use super::clif::{BodyAbi, InstBuilder, types};
use super::function::{FuncLower, Profiling};
use super::stack::FrameKind;
use crate::deopt::GuardKind;
use crate::module::{ConstExpr, ModuleInner};
use crate::profile::{STABLE, Seen};
use crate::unwritten::Unwritten;

/// Functions of a call's type in a table, at most, that make it worth knowing what the table holds.
const MAX_CANDIDATES: usize = 64;

/// What one body takes for granted.
#[derive(Default)]
pub(super) struct Assumed {
    tables: BTreeSet<u32>,
    globals: BTreeSet<u32>,
    /// Offset of the last operator that uses any of it.
    last_use: u32,
    /// What came before may have led to a write.
    must_look: bool,
}

/// What a body has to do with tables and globals.
#[derive(Debug, Default)]
struct Uses {
    tables: BTreeSet<u32>,
    globals: BTreeSet<u32>,
    last: u32,
    calls: usize,
    writes_tables: bool,
    written: BTreeSet<u32>,
}

impl Uses {
    /// `is_settled` says of which indirect calls better is known than what the table holds.
    fn read(
        mut operators: OperatorsReader<'_>,
        module: &ModuleInner,
        is_settled: impl Fn(u32) -> bool,
    ) -> wasmparser::Result<Self> {
        let mut uses = Self::default();
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            match operator {
                Operator::CallIndirect { type_index, table_index } => {
                    uses.calls += 1;
                    let candidates = module.reachable_through(table_index, type_index).map_or(0, Iterator::count);
                    if (1..=MAX_CANDIDATES).contains(&candidates) && !is_settled(offset as u32) {
                        uses.tables.insert(table_index);
                    }
                }
                Operator::Call { .. } => {
                    uses.calls += 1;
                    continue;
                }
                Operator::GlobalGet { global_index } => drop(uses.globals.insert(global_index)),
                Operator::GlobalSet { global_index } => drop(uses.written.insert(global_index)),
                Operator::TableGet { .. } | Operator::TableSize { .. } => {}
                Operator::TableSet { .. }
                | Operator::TableFill { .. }
                | Operator::TableGrow { .. }
                | Operator::TableCopy { .. }
                | Operator::TableInit { .. } => uses.writes_tables = true,
                _ => continue,
            }
            uses.last = offset as u32;
        }
        Ok(uses)
    }

    /// The tables that it is worth taking something for granted of.
    fn tables<'m>(&self, module: &'m ModuleInner) -> Vec<(u32, &'m Unwritten)> {
        let open = self.tables.iter().filter(|&&table| !self.writes_tables && module.closed_table(table).is_none());
        open.filter_map(|&table| Some((table, module.unwritten.table(table)?))).collect()
    }

    /// The same of globals.
    fn globals<'m>(&self, module: &'m ModuleInner) -> Vec<(u32, &'m Unwritten)> {
        let read = self.globals.difference(&self.written).filter(|_| self.calls == 0);
        read.filter_map(|&global| Some((global, module.unwritten.global(global)?))).collect()
    }
}

impl<'a> FuncLower<'a, '_> {
    /// Decides what the body, which these are the operators of, takes for granted.
    pub(super) fn assume(&mut self, module: &'a ModuleInner, operators: OperatorsReader<'_>) {
        let speculates = matches!(self.profiling, Profiling::Speculate | Profiling::SpeculateAlways);
        if !speculates || !module.unwritten.is_any_left() || self.cx.validity().is_none() {
            return;
        }
        // A body that cannot be read is refused later.
        let site = |offset| self.resuming.and_then(|resuming| resuming.prepared.call_site(offset));
        let is_settled = |offset| {
            let seen = site(offset).map(|site| site.seen(STABLE));
            self.profiling == Profiling::Speculate && matches!(seen, Some(Seen::Few(_)))
        };
        let Ok(uses) = Uses::read(operators, module, is_settled) else { return };
        let cx = self.cx;
        let tables = uses.tables(module);
        let globals = if cx.is_callee() { Vec::new() } else { uses.globals(module) };
        if tables.is_empty() && globals.is_empty() || !self.reserve_looks(uses.calls + usize::from(cx.is_callee())) {
            return;
        }
        let holds = |&(index, unwritten): &(u32, &Unwritten)| {
            (!unwritten.is_over() && cx.assume(unwritten.assumption())).then_some(index)
        };
        self.assumed = Assumed {
            tables: tables.iter().filter_map(holds).collect(),
            globals: globals.iter().filter_map(holds).collect(),
            last_use: uses.last,
            must_look: false,
        };
        self.assumed.must_look = cx.is_callee() && self.assumes();
    }

    fn assumes(&self) -> bool {
        !self.assumed.tables.is_empty() || !self.assumed.globals.is_empty()
    }

    /// Keeps room for so many exits.
    fn reserve_looks(&mut self, looks: usize) -> bool {
        let Some(resuming) = &mut self.resuming else { return false };
        let words = resuming.prepared.frame_slots as usize;
        words <= WIDE_SLOTS && resuming.reserve(looks.saturating_mul(words))
    }

    /// The functions in a table, by element, if it holds the same in all instances, and for as long as this code runs.
    pub(super) fn known_elements(&self, table: u32) -> Option<&'a [Option<u32>]> {
        let is_assumed = self.assumed.tables.contains(&table);
        if is_assumed { self.facts.initial_elements(table) } else { self.facts.closed_table(table) }
    }

    /// The number of elements of a table that has no other while this code runs.
    pub(super) fn known_table_len(&self, table: u32) -> Option<u64> {
        let is_assumed = self.assumed.tables.contains(&table);
        if is_assumed { Some(self.facts.initial_table_len(table)) } else { self.facts.fixed_table_len(table) }
    }

    /// What a global is in all instances, and for as long as this code runs.
    pub(super) fn known_global(&self, global: u32) -> Option<ConstExpr> {
        let is_constant = !self.facts.global(global).mutable || self.assumed.globals.contains(&global);
        if is_constant { self.facts.initial_value(global) } else { None }
    }

    /// A call was lowered, whatever of.
    pub(super) fn note_call(&mut self) {
        let in_loop = || self.frames.iter().any(|frame| matches!(frame.kind, FrameKind::Loop { .. }));
        let is_used_later = || self.offset < self.assumed.last_use || in_loop();
        self.assumed.must_look = self.assumes() && is_used_later();
    }

    /// Leaves before the operator whose lowering begins here, if there may have been a write before it, and the code is no longer valid. Code
    /// goes on in a new block.
    pub(super) fn look(&mut self) -> Result<(), Bailout> {
        if !std::mem::take(&mut self.assumed.must_look) {
            return Ok(());
        }
        let left = self.reserved_state().and_then(|state| {
            let guard = GuardKind::Unwritten.at(self.offset);
            // A constant, so that the parameter is not kept for this.
            let callee = self.b.ins().iconst(types::I64, i64::from(self.function));
            let abi = BodyAbi { callee, ..self.abi };
            self.cx.leave_if_invalid(self.b, &abi, &state, guard)
        });
        // Room was kept for the largest frame, behind every call.
        left.ok_or_else(|| {
            let what = "a call behind which the interpreter cannot go on".to_owned();
            Bailout::terminal(BailoutReason::Unsupported { what })
        })
    }
}
