//! Loads and stores of linear memory. Every address goes through the named expansion `access`, the only place
//! where the tiers' CLIF differs.

use super::clif::{self, FuncInstBuilder, InstBuilder, MemFlagsData, Value, types};
use super::function::FuncLower;
use wasmparser::{MemArg, Operator};

/// Lowers `op` if it is a load or a store; `false` if it belongs to another family.
pub(super) fn lower(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    load(f, op) || store(f, op)
}

fn load(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    use Operator as O;
    use types::{F32, F64, I32, I64};
    match op {
        O::I32Load { memarg } => f.load(memarg, 4, |i, flags, p| i.load(I32, flags, p, 0)),
        O::I64Load { memarg } => f.load(memarg, 8, |i, flags, p| i.load(I64, flags, p, 0)),
        O::F32Load { memarg } => f.load(memarg, 4, |i, flags, p| i.load(F32, flags, p, 0)),
        O::F64Load { memarg } => f.load(memarg, 8, |i, flags, p| i.load(F64, flags, p, 0)),
        O::I32Load8S { memarg } => f.load(memarg, 1, |i, flags, p| i.sload8(I32, flags, p, 0)),
        O::I32Load8U { memarg } => f.load(memarg, 1, |i, flags, p| i.uload8(I32, flags, p, 0)),
        O::I32Load16S { memarg } => f.load(memarg, 2, |i, flags, p| i.sload16(I32, flags, p, 0)),
        O::I32Load16U { memarg } => f.load(memarg, 2, |i, flags, p| i.uload16(I32, flags, p, 0)),
        O::I64Load8S { memarg } => f.load(memarg, 1, |i, flags, p| i.sload8(I64, flags, p, 0)),
        O::I64Load8U { memarg } => f.load(memarg, 1, |i, flags, p| i.uload8(I64, flags, p, 0)),
        O::I64Load16S { memarg } => f.load(memarg, 2, |i, flags, p| i.sload16(I64, flags, p, 0)),
        O::I64Load16U { memarg } => f.load(memarg, 2, |i, flags, p| i.uload16(I64, flags, p, 0)),
        O::I64Load32S { memarg } => f.load(memarg, 4, |i, flags, p| i.sload32(flags, p, 0)),
        O::I64Load32U { memarg } => f.load(memarg, 4, |i, flags, p| i.uload32(flags, p, 0)),
        _ => return false,
    }
    true
}

fn store(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    use Operator as O;
    match op {
        O::I32Store { memarg } | O::F32Store { memarg } => f.store(memarg, 4, |i, flags, v, p| i.store(flags, v, p, 0)),
        O::I64Store { memarg } | O::F64Store { memarg } => f.store(memarg, 8, |i, flags, v, p| i.store(flags, v, p, 0)),
        O::I32Store8 { memarg } | O::I64Store8 { memarg } => {
            f.store(memarg, 1, |i, flags, v, p| i.istore8(flags, v, p, 0));
        }
        O::I32Store16 { memarg } | O::I64Store16 { memarg } => {
            f.store(memarg, 2, |i, flags, v, p| i.istore16(flags, v, p, 0));
        }
        O::I64Store32 { memarg } => f.store(memarg, 4, |i, flags, v, p| i.istore32(flags, v, p, 0)),
        _ => return false,
    }
    true
}

impl<'f> FuncLower<'_, 'f> {
    fn load(&mut self, memarg: &MemArg, size: u8, load: impl FnOnce(FuncInstBuilder<'_, 'f>, MemFlagsData, Value) -> Value) {
        let index = self.operands.pop();
        let (address, flags) = self.address(memarg, index, size);
        let value = load(self.b.ins(), flags, address);
        self.operands.push(value);
    }

    fn store(
        &mut self,
        memarg: &MemArg,
        size: u8,
        store: impl FnOnce(FuncInstBuilder<'_, 'f>, MemFlagsData, Value, Value) -> clif::Inst,
    ) {
        let (index, value) = self.operands.pop2();
        let (address, flags) = self.address(memarg, index, size);
        store(self.b.ins(), flags, value, address);
    }

    /// The native address of an access of `size` bytes, and the flags it must carry.
    fn address(&mut self, memarg: &MemArg, index: Value, size: u8) -> (Value, MemFlagsData) {
        let heap = self.heap();
        let (address, flags) = clif::access(self.b, &mut self.traps, &heap, index, memarg.offset, size);
        (address, flags.with_alias_region(Some(self.regions.heap)))
    }
}
