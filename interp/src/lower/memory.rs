//! Loads and stores of linear memory. Every address goes through the named expansion `access`, the only place
//! where the tiers' CLIF differs.

use super::clif::{self, Access, FuncInstBuilder, InstBuilder, Value, types};
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
        O::I32Load { memarg } => f.load(memarg, 4, |i, a| i.load(I32, a.flags, a.address, a.offset)),
        O::I64Load { memarg } => f.load(memarg, 8, |i, a| i.load(I64, a.flags, a.address, a.offset)),
        O::F32Load { memarg } => f.load(memarg, 4, |i, a| i.load(F32, a.flags, a.address, a.offset)),
        O::F64Load { memarg } => f.load(memarg, 8, |i, a| i.load(F64, a.flags, a.address, a.offset)),
        O::I32Load8S { memarg } => f.load(memarg, 1, |i, a| i.sload8(I32, a.flags, a.address, a.offset)),
        O::I32Load8U { memarg } => f.load(memarg, 1, |i, a| i.uload8(I32, a.flags, a.address, a.offset)),
        O::I32Load16S { memarg } => f.load(memarg, 2, |i, a| i.sload16(I32, a.flags, a.address, a.offset)),
        O::I32Load16U { memarg } => f.load(memarg, 2, |i, a| i.uload16(I32, a.flags, a.address, a.offset)),
        O::I64Load8S { memarg } => f.load(memarg, 1, |i, a| i.sload8(I64, a.flags, a.address, a.offset)),
        O::I64Load8U { memarg } => f.load(memarg, 1, |i, a| i.uload8(I64, a.flags, a.address, a.offset)),
        O::I64Load16S { memarg } => f.load(memarg, 2, |i, a| i.sload16(I64, a.flags, a.address, a.offset)),
        O::I64Load16U { memarg } => f.load(memarg, 2, |i, a| i.uload16(I64, a.flags, a.address, a.offset)),
        O::I64Load32S { memarg } => f.load(memarg, 4, |i, a| i.sload32(a.flags, a.address, a.offset)),
        O::I64Load32U { memarg } => f.load(memarg, 4, |i, a| i.uload32(a.flags, a.address, a.offset)),
        _ => return false,
    }
    true
}

fn store(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    use Operator as O;
    match op {
        O::I32Store { memarg } | O::F32Store { memarg } => f.store(memarg, 4, |i, v, a| i.store(a.flags, v, a.address, a.offset)),
        O::I64Store { memarg } | O::F64Store { memarg } => f.store(memarg, 8, |i, v, a| i.store(a.flags, v, a.address, a.offset)),
        O::I32Store8 { memarg } | O::I64Store8 { memarg } => {
            f.store(memarg, 1, |i, v, a| i.istore8(a.flags, v, a.address, a.offset));
        }
        O::I32Store16 { memarg } | O::I64Store16 { memarg } => {
            f.store(memarg, 2, |i, v, a| i.istore16(a.flags, v, a.address, a.offset));
        }
        O::I64Store32 { memarg } => f.store(memarg, 4, |i, v, a| i.istore32(a.flags, v, a.address, a.offset)),
        _ => return false,
    }
    true
}

impl<'f> FuncLower<'_, 'f> {
    fn load(&mut self, memarg: &MemArg, size: u8, load: impl FnOnce(FuncInstBuilder<'_, 'f>, Access) -> Value) {
        let index = self.operands.pop();
        let access = self.access(memarg, index, size);
        let value = load(self.b.ins(), access);
        self.operands.push(value);
    }

    fn store(&mut self, memarg: &MemArg, size: u8, store: impl FnOnce(FuncInstBuilder<'_, 'f>, Value, Access) -> clif::Inst) {
        let (index, value) = self.operands.pop2();
        let access = self.access(memarg, index, size);
        store(self.b.ins(), value, access);
    }

    /// Where an access of `size` bytes goes, and the flags it must carry.
    fn access(&mut self, memarg: &MemArg, index: Value, size: u8) -> Access {
        let heap = self.heap();
        let access = clif::access(self.b, &mut self.traps, &mut self.sums, &heap, index, memarg.offset, size);
        Access { flags: access.flags.with_alias_region(Some(self.regions.heap)), ..access }
    }
}
