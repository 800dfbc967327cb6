//! Tables and references. Elements are read and written in line behind a bounds check; whole-table operators
//! are done by host helpers.

use super::clif::{InstBuilder, IntCC, Value, types};
use super::function::FuncLower;
use super::helpers::Helper;
use crate::trap::TrapCode;
use tierup::Bailout;
use wasmparser::Operator;

/// Lowers `op` if it is an operator on tables or references; `false` if it belongs to another family.
pub(super) fn lower(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> Result<bool, Bailout> {
    match *op {
        Operator::RefNull { .. } => {
            let null = f.b.ins().iconst(types::I64, 0);
            f.operands.push(null);
        }
        Operator::RefIsNull => {
            let reference = f.operands.pop();
            let null = f.b.ins().icmp_imm_u(IntCC::Equal, reference, 0);
            f.push_bool(null);
        }
        Operator::RefFunc { function_index } => {
            let reference = f.func_ref(function_index);
            f.operands.push(reference);
        }
        Operator::TableGet { table } => {
            let index = f.operands.pop();
            let element = f.table_element(table, index);
            let flags = f.regions.elements();
            let value = f.b.ins().load(types::I64, flags, element, 0);
            f.operands.push(value);
        }
        Operator::TableSet { table } => {
            let (index, value) = f.operands.pop2();
            let element = f.table_element(table, index);
            f.tell_table_written(table)?;
            let flags = f.regions.elements();
            f.b.ins().store(flags, value, element, 0);
        }
        Operator::TableSize { table } => {
            let len = f.table_len(table);
            let len = f.b.ins().ireduce(types::I32, len);
            f.operands.push(len);
        }
        Operator::TableGrow { table } => {
            let (value, delta) = f.operands.pop2();
            let table = f.index(table);
            let before = f.call_helper(Helper::TableGrow, &[table, value, delta])?;
            f.operands.push(before);
        }
        Operator::TableFill { table } => {
            let (to, value, len) = f.operands.pop3();
            let table = f.index(table);
            f.call_checked(Helper::TableFill, &[table, to, value, len], TrapCode::TableOutOfBounds)?;
        }
        Operator::TableCopy { dst_table, src_table } => {
            let (to, from, len) = f.operands.pop3();
            let (target, source) = (f.index(dst_table), f.index(src_table));
            f.call_checked(Helper::TableCopy, &[target, source, to, from, len], TrapCode::TableOutOfBounds)?;
        }
        Operator::TableInit { elem_index, table } => {
            let (to, from, len) = f.operands.pop3();
            let (segment, table) = (f.index(elem_index), f.index(table));
            f.call_checked(Helper::TableInit, &[segment, table, to, from, len], TrapCode::TableOutOfBounds)?;
        }
        Operator::ElemDrop { elem_index } => {
            let segment = f.index(elem_index);
            f.call_helper(Helper::ElemDrop, &[segment])?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

impl FuncLower<'_, '_> {
    /// The address of a table's element, after the bounds check.
    pub(super) fn table_element(&mut self, table: u32, index: Value) -> Value {
        let len = self.table_len(table);
        let index = self.b.ins().uextend(types::I64, index);
        let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, len);
        self.trap_if(outside, TrapCode::TableOutOfBounds);
        let base = self.table_base(table);
        let offset = self.b.ins().ishl_imm_u(index, 3);
        self.b.ins().iadd(base, offset)
    }
}
