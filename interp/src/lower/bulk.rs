//! Whole-memory operators: size, grow, and the bulk operators, which host helpers do.

use super::clif::{InstBuilder, types};
use super::function::FuncLower;
use super::helpers::Helper;
use crate::trap::TrapCode;
use tierup::Bailout;
use wasmparser::Operator;

/// log2 of the wasm page size.
const PAGE_SHIFT: i64 = 16;

/// Lowers `op` if it is an operator on a whole memory; `false` if it belongs to another family.
pub(super) fn lower(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> Result<bool, Bailout> {
    match *op {
        Operator::MemorySize { .. } => {
            let bytes = f.memory_len();
            let pages = f.b.ins().ushr_imm_u(bytes, PAGE_SHIFT);
            let pages = f.b.ins().ireduce(types::I32, pages);
            f.operands.push(pages);
        }
        Operator::MemoryGrow { .. } => {
            let delta = f.operands.pop();
            let before = f.call_helper(Helper::MemoryGrow, &[delta])?;
            f.memory_may_have_grown();
            f.operands.push(before);
        }
        Operator::MemoryFill { .. } => {
            let (to, byte, len) = f.operands.pop3();
            f.call_checked(Helper::MemoryFill, &[to, byte, len], TrapCode::MemoryOutOfBounds)?;
        }
        Operator::MemoryCopy { .. } => {
            let (to, from, len) = f.operands.pop3();
            f.call_checked(Helper::MemoryCopy, &[to, from, len], TrapCode::MemoryOutOfBounds)?;
        }
        Operator::MemoryInit { data_index, .. } => {
            let (to, from, len) = f.operands.pop3();
            let segment = f.index(data_index);
            f.call_checked(Helper::MemoryInit, &[segment, to, from, len], TrapCode::MemoryOutOfBounds)?;
        }
        Operator::DataDrop { data_index } => {
            let segment = f.index(data_index);
            f.call_helper(Helper::DataDrop, &[segment])?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}
