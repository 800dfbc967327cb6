//! Which operator becomes which instruction.

use wasmparser::Operator as Op;

use super::scalar::{Scalar, class_of_wasm};
use super::stack::Value;
use super::translate::Translator;
use crate::error::Error;
use crate::exec::op::binary::BinaryOp;
use crate::exec::op::branch::CompareOp;
use crate::exec::op::data::{self, Class};
use crate::exec::op::memory::{LoadOp, StoreOp};
use crate::exec::op::range::RangeOp;
use crate::exec::op::unary::UnaryOp;

impl Translator<'_> {
    /// Translates a validated operator.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for operators outside this feature set.
    pub(super) fn operator(&mut self, operator: &Op<'_>) -> Result<(), Error> {
        if !self.live {
            match *operator {
                Op::Block { .. } | Op::Loop { .. } | Op::If { .. } => self.open_dead(),
                Op::Else => self.else_(),
                Op::End => self.end(),
                _ => {}
            }
            return Ok(());
        }
        self.work = self.work.saturating_add(1);
        match *operator {
            Op::Nop => {}
            Op::Unreachable => {
                self.code.begin(data::unreachable());
                self.live = false;
            }
            Op::Block { blockty } => self.block(blockty),
            Op::Loop { blockty } => self.loop_(blockty),
            Op::If { blockty } => self.if_(blockty),
            Op::Else => self.else_(),
            Op::End => self.end(),
            Op::Br { relative_depth } => self.br(relative_depth),
            Op::BrIf { relative_depth } => self.br_if(relative_depth),
            Op::BrTable { ref targets } => self.br_table(targets)?,
            Op::Return => {
                self.emit_return();
                self.live = false;
            }
            Op::Call { function_index } => self.call(function_index),
            Op::CallIndirect { type_index, table_index } => self.call_indirect(type_index, table_index),

            Op::Drop => self.stack.truncate(self.stack.height() - 1),
            Op::Select => self.select(self.select),
            Op::TypedSelect { ty } => self.select(class_of_wasm(ty)),
            Op::LocalGet { local_index } => self.stack.push(&mut self.code, Value::Local(local_index as u16)),
            Op::LocalSet { local_index } => self.stack.set_local(&mut self.code, local_index as u16),
            Op::LocalTee { local_index } => self.stack.tee_local(&mut self.code, local_index as u16),
            Op::GlobalGet { global_index } => self.global_get(global_index),
            Op::GlobalSet { global_index } => self.global_set(global_index),
            Op::I32Const { value } => self.constant(u64::from(value as u32)),
            Op::I64Const { value } => self.constant(value as u64),
            Op::F32Const { value } => self.constant(u64::from(value.bits())),
            Op::F64Const { value } => self.constant(value.bits()),

            Op::RefNull { .. } => self.constant(0),
            Op::RefIsNull => {
                let test = self.compare_zero(CompareOp::I64Eq, Scalar::I64);
                self.test(test);
            }
            Op::RefFunc { function_index } => {
                self.result(Class::Int, data::ref_func(), u64::from(function_index) << 32, None);
            }
            Op::MemorySize { .. } => {
                self.result(Class::Int, data::memory_size(), 0, None);
            }
            Op::MemoryGrow { .. } => self.range(RangeOp::MemoryGrow, 0, 0),
            Op::MemoryFill { .. } => self.range(RangeOp::MemoryFill, 0, 0),
            Op::MemoryCopy { .. } => self.range(RangeOp::MemoryCopy, 0, 0),
            Op::MemoryInit { data_index, .. } => self.range(RangeOp::MemoryInit, data_index, 0),
            Op::DataDrop { data_index } => self.range(RangeOp::DataDrop, data_index, 0),
            Op::TableGet { table } => self.range(RangeOp::TableGet, table, 0),
            Op::TableSet { table } => self.range(RangeOp::TableSet, table, 0),
            Op::TableSize { table } => self.range(RangeOp::TableSize, table, 0),
            Op::TableGrow { table } => self.range(RangeOp::TableGrow, table, 0),
            Op::TableFill { table } => self.range(RangeOp::TableFill, table, 0),
            Op::TableCopy { dst_table, src_table } => self.range(RangeOp::TableCopy, dst_table, src_table),
            Op::TableInit { elem_index, table } => self.range(RangeOp::TableInit, table, elem_index),
            Op::ElemDrop { elem_index } => self.range(RangeOp::ElemDrop, elem_index, 0),

            Op::I32Eqz => self.eqz(CompareOp::I32Eq, Scalar::I32),
            Op::I64Eqz => self.eqz(CompareOp::I64Eq, Scalar::I64),
            // Slots hold i32 zero-extended: nothing is left to do.
            Op::I64ExtendI32U => {}
            Op::I32Add => self.binary(BinaryOp::I32Add, Scalar::I32),
            Op::I32Sub => self.binary(BinaryOp::I32Sub, Scalar::I32),
            Op::I32Mul => self.binary(BinaryOp::I32Mul, Scalar::I32),
            Op::I32DivS => self.binary(BinaryOp::I32DivS, Scalar::I32),
            Op::I32DivU => self.binary(BinaryOp::I32DivU, Scalar::I32),
            Op::I32RemS => self.binary(BinaryOp::I32RemS, Scalar::I32),
            Op::I32RemU => self.binary(BinaryOp::I32RemU, Scalar::I32),
            Op::I32And => self.binary(BinaryOp::I32And, Scalar::I32),
            Op::I32Or => self.binary(BinaryOp::I32Or, Scalar::I32),
            Op::I32Xor => self.binary(BinaryOp::I32Xor, Scalar::I32),
            Op::I32Shl => self.binary(BinaryOp::I32Shl, Scalar::I32),
            Op::I32ShrS => self.binary(BinaryOp::I32ShrS, Scalar::I32),
            Op::I32ShrU => self.binary(BinaryOp::I32ShrU, Scalar::I32),
            Op::I32Rotl => self.binary(BinaryOp::I32Rotl, Scalar::I32),
            Op::I32Rotr => self.binary(BinaryOp::I32Rotr, Scalar::I32),
            Op::I32Eq => self.compare(CompareOp::I32Eq, Scalar::I32),
            Op::I32Ne => self.compare(CompareOp::I32Ne, Scalar::I32),
            Op::I32LtS => self.compare(CompareOp::I32LtS, Scalar::I32),
            Op::I32LtU => self.compare(CompareOp::I32LtU, Scalar::I32),
            Op::I32GtS => self.compare(CompareOp::I32GtS, Scalar::I32),
            Op::I32GtU => self.compare(CompareOp::I32GtU, Scalar::I32),
            Op::I32LeS => self.compare(CompareOp::I32LeS, Scalar::I32),
            Op::I32LeU => self.compare(CompareOp::I32LeU, Scalar::I32),
            Op::I32GeS => self.compare(CompareOp::I32GeS, Scalar::I32),
            Op::I32GeU => self.compare(CompareOp::I32GeU, Scalar::I32),
            Op::I32Clz => self.unary(UnaryOp::I32Clz, Class::Int, Class::Int),
            Op::I32Ctz => self.unary(UnaryOp::I32Ctz, Class::Int, Class::Int),
            Op::I32Popcnt => self.unary(UnaryOp::I32Popcnt, Class::Int, Class::Int),
            Op::I32Extend8S => self.unary(UnaryOp::I32Extend8S, Class::Int, Class::Int),
            Op::I32Extend16S => self.unary(UnaryOp::I32Extend16S, Class::Int, Class::Int),
            Op::I64Add => self.binary(BinaryOp::I64Add, Scalar::I64),
            Op::I64Sub => self.binary(BinaryOp::I64Sub, Scalar::I64),
            Op::I64Mul => self.binary(BinaryOp::I64Mul, Scalar::I64),
            Op::I64DivS => self.binary(BinaryOp::I64DivS, Scalar::I64),
            Op::I64DivU => self.binary(BinaryOp::I64DivU, Scalar::I64),
            Op::I64RemS => self.binary(BinaryOp::I64RemS, Scalar::I64),
            Op::I64RemU => self.binary(BinaryOp::I64RemU, Scalar::I64),
            Op::I64And => self.binary(BinaryOp::I64And, Scalar::I64),
            Op::I64Or => self.binary(BinaryOp::I64Or, Scalar::I64),
            Op::I64Xor => self.binary(BinaryOp::I64Xor, Scalar::I64),
            Op::I64Shl => self.binary(BinaryOp::I64Shl, Scalar::I64),
            Op::I64ShrS => self.binary(BinaryOp::I64ShrS, Scalar::I64),
            Op::I64ShrU => self.binary(BinaryOp::I64ShrU, Scalar::I64),
            Op::I64Rotl => self.binary(BinaryOp::I64Rotl, Scalar::I64),
            Op::I64Rotr => self.binary(BinaryOp::I64Rotr, Scalar::I64),
            Op::I64Eq => self.compare(CompareOp::I64Eq, Scalar::I64),
            Op::I64Ne => self.compare(CompareOp::I64Ne, Scalar::I64),
            Op::I64LtS => self.compare(CompareOp::I64LtS, Scalar::I64),
            Op::I64LtU => self.compare(CompareOp::I64LtU, Scalar::I64),
            Op::I64GtS => self.compare(CompareOp::I64GtS, Scalar::I64),
            Op::I64GtU => self.compare(CompareOp::I64GtU, Scalar::I64),
            Op::I64LeS => self.compare(CompareOp::I64LeS, Scalar::I64),
            Op::I64LeU => self.compare(CompareOp::I64LeU, Scalar::I64),
            Op::I64GeS => self.compare(CompareOp::I64GeS, Scalar::I64),
            Op::I64GeU => self.compare(CompareOp::I64GeU, Scalar::I64),
            Op::I64Clz => self.unary(UnaryOp::I64Clz, Class::Int, Class::Int),
            Op::I64Ctz => self.unary(UnaryOp::I64Ctz, Class::Int, Class::Int),
            Op::I64Popcnt => self.unary(UnaryOp::I64Popcnt, Class::Int, Class::Int),
            Op::I64Extend8S => self.unary(UnaryOp::I64Extend8S, Class::Int, Class::Int),
            Op::I64Extend16S => self.unary(UnaryOp::I64Extend16S, Class::Int, Class::Int),
            Op::I64Extend32S => self.unary(UnaryOp::I64Extend32S, Class::Int, Class::Int),
            Op::F32Add => self.binary(BinaryOp::F32Add, Scalar::F32),
            Op::F32Sub => self.binary(BinaryOp::F32Sub, Scalar::F32),
            Op::F32Mul => self.binary(BinaryOp::F32Mul, Scalar::F32),
            Op::F32Div => self.binary(BinaryOp::F32Div, Scalar::F32),
            Op::F32Min => self.binary(BinaryOp::F32Min, Scalar::F32),
            Op::F32Max => self.binary(BinaryOp::F32Max, Scalar::F32),
            Op::F32Copysign => self.binary(BinaryOp::F32Copysign, Scalar::F32),
            Op::F32Eq => self.compare(CompareOp::F32Eq, Scalar::F32),
            Op::F32Ne => self.compare(CompareOp::F32Ne, Scalar::F32),
            Op::F32Lt => self.compare(CompareOp::F32Lt, Scalar::F32),
            Op::F32Gt => self.compare(CompareOp::F32Gt, Scalar::F32),
            Op::F32Le => self.compare(CompareOp::F32Le, Scalar::F32),
            Op::F32Ge => self.compare(CompareOp::F32Ge, Scalar::F32),
            Op::F32Abs => self.unary(UnaryOp::F32Abs, Class::F32, Class::F32),
            Op::F32Neg => self.unary(UnaryOp::F32Neg, Class::F32, Class::F32),
            Op::F32Ceil => self.unary(UnaryOp::F32Ceil, Class::F32, Class::F32),
            Op::F32Floor => self.unary(UnaryOp::F32Floor, Class::F32, Class::F32),
            Op::F32Trunc => self.unary(UnaryOp::F32Trunc, Class::F32, Class::F32),
            Op::F32Nearest => self.unary(UnaryOp::F32Nearest, Class::F32, Class::F32),
            Op::F32Sqrt => self.unary(UnaryOp::F32Sqrt, Class::F32, Class::F32),
            Op::F64Add => self.binary(BinaryOp::F64Add, Scalar::F64),
            Op::F64Sub => self.binary(BinaryOp::F64Sub, Scalar::F64),
            Op::F64Mul => self.binary(BinaryOp::F64Mul, Scalar::F64),
            Op::F64Div => self.binary(BinaryOp::F64Div, Scalar::F64),
            Op::F64Min => self.binary(BinaryOp::F64Min, Scalar::F64),
            Op::F64Max => self.binary(BinaryOp::F64Max, Scalar::F64),
            Op::F64Copysign => self.binary(BinaryOp::F64Copysign, Scalar::F64),
            Op::F64Eq => self.compare(CompareOp::F64Eq, Scalar::F64),
            Op::F64Ne => self.compare(CompareOp::F64Ne, Scalar::F64),
            Op::F64Lt => self.compare(CompareOp::F64Lt, Scalar::F64),
            Op::F64Gt => self.compare(CompareOp::F64Gt, Scalar::F64),
            Op::F64Le => self.compare(CompareOp::F64Le, Scalar::F64),
            Op::F64Ge => self.compare(CompareOp::F64Ge, Scalar::F64),
            Op::F64Abs => self.unary(UnaryOp::F64Abs, Class::F64, Class::F64),
            Op::F64Neg => self.unary(UnaryOp::F64Neg, Class::F64, Class::F64),
            Op::F64Ceil => self.unary(UnaryOp::F64Ceil, Class::F64, Class::F64),
            Op::F64Floor => self.unary(UnaryOp::F64Floor, Class::F64, Class::F64),
            Op::F64Trunc => self.unary(UnaryOp::F64Trunc, Class::F64, Class::F64),
            Op::F64Nearest => self.unary(UnaryOp::F64Nearest, Class::F64, Class::F64),
            Op::F64Sqrt => self.unary(UnaryOp::F64Sqrt, Class::F64, Class::F64),
            Op::I32TruncF32S => self.unary(UnaryOp::I32TruncF32S, Class::F32, Class::Int),
            Op::I32TruncSatF32S => self.unary(UnaryOp::I32TruncSatF32S, Class::F32, Class::Int),
            Op::F32ConvertI32S => self.unary(UnaryOp::F32ConvertI32S, Class::Int, Class::F32),
            Op::I32TruncF32U => self.unary(UnaryOp::I32TruncF32U, Class::F32, Class::Int),
            Op::I32TruncSatF32U => self.unary(UnaryOp::I32TruncSatF32U, Class::F32, Class::Int),
            Op::F32ConvertI32U => self.unary(UnaryOp::F32ConvertI32U, Class::Int, Class::F32),
            Op::I32TruncF64S => self.unary(UnaryOp::I32TruncF64S, Class::F64, Class::Int),
            Op::I32TruncSatF64S => self.unary(UnaryOp::I32TruncSatF64S, Class::F64, Class::Int),
            Op::F64ConvertI32S => self.unary(UnaryOp::F64ConvertI32S, Class::Int, Class::F64),
            Op::I32TruncF64U => self.unary(UnaryOp::I32TruncF64U, Class::F64, Class::Int),
            Op::I32TruncSatF64U => self.unary(UnaryOp::I32TruncSatF64U, Class::F64, Class::Int),
            Op::F64ConvertI32U => self.unary(UnaryOp::F64ConvertI32U, Class::Int, Class::F64),
            Op::I64TruncF32S => self.unary(UnaryOp::I64TruncF32S, Class::F32, Class::Int),
            Op::I64TruncSatF32S => self.unary(UnaryOp::I64TruncSatF32S, Class::F32, Class::Int),
            Op::F32ConvertI64S => self.unary(UnaryOp::F32ConvertI64S, Class::Int, Class::F32),
            Op::I64TruncF32U => self.unary(UnaryOp::I64TruncF32U, Class::F32, Class::Int),
            Op::I64TruncSatF32U => self.unary(UnaryOp::I64TruncSatF32U, Class::F32, Class::Int),
            Op::F32ConvertI64U => self.unary(UnaryOp::F32ConvertI64U, Class::Int, Class::F32),
            Op::I64TruncF64S => self.unary(UnaryOp::I64TruncF64S, Class::F64, Class::Int),
            Op::I64TruncSatF64S => self.unary(UnaryOp::I64TruncSatF64S, Class::F64, Class::Int),
            Op::F64ConvertI64S => self.unary(UnaryOp::F64ConvertI64S, Class::Int, Class::F64),
            Op::I64TruncF64U => self.unary(UnaryOp::I64TruncF64U, Class::F64, Class::Int),
            Op::I64TruncSatF64U => self.unary(UnaryOp::I64TruncSatF64U, Class::F64, Class::Int),
            Op::F64ConvertI64U => self.unary(UnaryOp::F64ConvertI64U, Class::Int, Class::F64),
            Op::I32WrapI64 => self.unary(UnaryOp::I32WrapI64, Class::Int, Class::Int),
            Op::I64ExtendI32S => self.unary(UnaryOp::I64ExtendI32S, Class::Int, Class::Int),
            Op::F32DemoteF64 => self.unary(UnaryOp::F32DemoteF64, Class::F64, Class::F32),
            Op::F64PromoteF32 => self.unary(UnaryOp::F64PromoteF32, Class::F32, Class::F64),
            Op::I32ReinterpretF32 => self.unary(UnaryOp::I32ReinterpretF32, Class::F32, Class::Int),
            Op::I64ReinterpretF64 => self.unary(UnaryOp::I64ReinterpretF64, Class::F64, Class::Int),
            Op::F32ReinterpretI32 => self.unary(UnaryOp::F32ReinterpretI32, Class::Int, Class::F32),
            Op::F64ReinterpretI64 => self.unary(UnaryOp::F64ReinterpretI64, Class::Int, Class::F64),
            Op::I32Load { memarg } => self.load(LoadOp::I32Load, Class::Int, &memarg),
            Op::I32Load8S { memarg } => self.load(LoadOp::I32Load8S, Class::Int, &memarg),
            Op::I32Load8U { memarg } => self.load(LoadOp::I32Load8U, Class::Int, &memarg),
            Op::I32Load16S { memarg } => self.load(LoadOp::I32Load16S, Class::Int, &memarg),
            Op::I32Load16U { memarg } => self.load(LoadOp::I32Load16U, Class::Int, &memarg),
            Op::I64Load { memarg } => self.load(LoadOp::I64Load, Class::Int, &memarg),
            Op::I64Load8S { memarg } => self.load(LoadOp::I64Load8S, Class::Int, &memarg),
            Op::I64Load16S { memarg } => self.load(LoadOp::I64Load16S, Class::Int, &memarg),
            Op::I64Load32S { memarg } => self.load(LoadOp::I64Load32S, Class::Int, &memarg),
            Op::F32Load { memarg } => self.load(LoadOp::F32Load, Class::F32, &memarg),
            Op::F64Load { memarg } => self.load(LoadOp::F64Load, Class::F64, &memarg),
            Op::I64Load8U { memarg } => self.load(LoadOp::I32Load8U, Class::Int, &memarg),
            Op::I64Load16U { memarg } => self.load(LoadOp::I32Load16U, Class::Int, &memarg),
            Op::I64Load32U { memarg } => self.load(LoadOp::I32Load, Class::Int, &memarg),
            Op::I32Store { memarg } => self.store(StoreOp::Store32, Class::Int, &memarg),
            Op::I32Store8 { memarg } => self.store(StoreOp::Store8, Class::Int, &memarg),
            Op::I32Store16 { memarg } => self.store(StoreOp::Store16, Class::Int, &memarg),
            Op::I64Store { memarg } => self.store(StoreOp::Store64, Class::Int, &memarg),
            Op::I64Store8 { memarg } => self.store(StoreOp::Store8, Class::Int, &memarg),
            Op::I64Store16 { memarg } => self.store(StoreOp::Store16, Class::Int, &memarg),
            Op::I64Store32 { memarg } => self.store(StoreOp::Store32, Class::Int, &memarg),
            Op::F32Store { memarg } => self.store(StoreOp::Store32, Class::F32, &memarg),
            Op::F64Store { memarg } => self.store(StoreOp::Store64, Class::F64, &memarg),
            ref other => {
                return Err(Error::Unsupported { what: format!("operator {other:?}"), offset: u64::from(self.code.offset) });
            }
        }
        Ok(())
    }
}
