//! Numeric operators that cannot trap. CLIF's arithmetic is polymorphic in its operands, so one arm serves both
//! widths; its float operators have wasm's semantics (ordered comparisons, NaN-propagating min and max, round to
//! nearest even), and no constant is folded here, so a NaN's payload never depends on the lowering.

use super::clif::{FloatCC, FuncInstBuilder, InstBuilder, IntCC, MemFlagsData, Value, types};
use super::function::FuncLower;
use wasmparser::Operator;

/// Lowers `op` if it is a numeric operator that cannot trap; `false` if it belongs to another family.
pub(super) fn lower(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    constant(f, op) || integer(f, op) || float(f, op) || comparison(f, op) || conversion(f, op)
}

fn constant(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    let value = match *op {
        Operator::I32Const { value } => f.b.ins().iconst(types::I32, i64::from(value as u32)),
        Operator::I64Const { value } => f.b.ins().iconst(types::I64, value),
        Operator::F32Const { value } => f.b.ins().f32const(f32::from_bits(value.bits())),
        Operator::F64Const { value } => f.b.ins().f64const(f64::from_bits(value.bits())),
        _ => return false,
    };
    f.operands.push(value);
    true
}

fn integer(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    use Operator as O;
    match op {
        O::I32Clz | O::I64Clz => f.unary(|i, x| i.clz(x)),
        O::I32Ctz | O::I64Ctz => f.unary(|i, x| i.ctz(x)),
        O::I32Popcnt | O::I64Popcnt => f.unary(|i, x| i.popcnt(x)),
        O::I32Add | O::I64Add => f.binary(|i, x, y| i.iadd(x, y)),
        O::I32Sub | O::I64Sub => f.binary(|i, x, y| i.isub(x, y)),
        O::I32Mul | O::I64Mul => f.binary(|i, x, y| i.imul(x, y)),
        O::I32And | O::I64And => f.binary(|i, x, y| i.band(x, y)),
        O::I32Or | O::I64Or => f.binary(|i, x, y| i.bor(x, y)),
        O::I32Xor | O::I64Xor => f.binary(|i, x, y| i.bxor(x, y)),
        // CLIF takes shift and rotate amounts modulo the width, as wasm does.
        O::I32Shl | O::I64Shl => f.binary(|i, x, y| i.ishl(x, y)),
        O::I32ShrS | O::I64ShrS => f.binary(|i, x, y| i.sshr(x, y)),
        O::I32ShrU | O::I64ShrU => f.binary(|i, x, y| i.ushr(x, y)),
        O::I32Rotl | O::I64Rotl => f.binary(|i, x, y| i.rotl(x, y)),
        O::I32Rotr | O::I64Rotr => f.binary(|i, x, y| i.rotr(x, y)),
        _ => return false,
    }
    true
}

fn float(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    use Operator as O;
    match op {
        O::F32Abs | O::F64Abs => f.unary(|i, x| i.fabs(x)),
        O::F32Neg | O::F64Neg => f.unary(|i, x| i.fneg(x)),
        O::F32Ceil | O::F64Ceil => f.unary(|i, x| i.ceil(x)),
        O::F32Floor | O::F64Floor => f.unary(|i, x| i.floor(x)),
        O::F32Trunc | O::F64Trunc => f.unary(|i, x| i.trunc(x)),
        O::F32Nearest | O::F64Nearest => f.unary(|i, x| i.nearest(x)),
        O::F32Sqrt | O::F64Sqrt => f.unary(|i, x| i.sqrt(x)),
        O::F32Add | O::F64Add => f.binary(|i, x, y| i.fadd(x, y)),
        O::F32Sub | O::F64Sub => f.binary(|i, x, y| i.fsub(x, y)),
        O::F32Mul | O::F64Mul => f.binary(|i, x, y| i.fmul(x, y)),
        O::F32Div | O::F64Div => f.binary(|i, x, y| i.fdiv(x, y)),
        O::F32Min | O::F64Min => f.binary(|i, x, y| i.fmin(x, y)),
        O::F32Max | O::F64Max => f.binary(|i, x, y| i.fmax(x, y)),
        O::F32Copysign | O::F64Copysign => f.binary(|i, x, y| i.fcopysign(x, y)),
        _ => return false,
    }
    true
}

fn comparison(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    use Operator as O;
    match op {
        O::I32Eqz | O::I64Eqz => {
            let x = f.operands.pop();
            let zero = f.b.ins().icmp_imm_u(IntCC::Equal, x, 0);
            f.push_bool(zero);
        }
        O::I32Eq | O::I64Eq => f.compare_int(IntCC::Equal),
        O::I32Ne | O::I64Ne => f.compare_int(IntCC::NotEqual),
        O::I32LtS | O::I64LtS => f.compare_int(IntCC::SignedLessThan),
        O::I32LtU | O::I64LtU => f.compare_int(IntCC::UnsignedLessThan),
        O::I32GtS | O::I64GtS => f.compare_int(IntCC::SignedGreaterThan),
        O::I32GtU | O::I64GtU => f.compare_int(IntCC::UnsignedGreaterThan),
        O::I32LeS | O::I64LeS => f.compare_int(IntCC::SignedLessThanOrEqual),
        O::I32LeU | O::I64LeU => f.compare_int(IntCC::UnsignedLessThanOrEqual),
        O::I32GeS | O::I64GeS => f.compare_int(IntCC::SignedGreaterThanOrEqual),
        O::I32GeU | O::I64GeU => f.compare_int(IntCC::UnsignedGreaterThanOrEqual),
        O::F32Eq | O::F64Eq => f.compare_float(FloatCC::Equal),
        O::F32Ne | O::F64Ne => f.compare_float(FloatCC::NotEqual),
        O::F32Lt | O::F64Lt => f.compare_float(FloatCC::LessThan),
        O::F32Gt | O::F64Gt => f.compare_float(FloatCC::GreaterThan),
        O::F32Le | O::F64Le => f.compare_float(FloatCC::LessThanOrEqual),
        O::F32Ge | O::F64Ge => f.compare_float(FloatCC::GreaterThanOrEqual),
        _ => return false,
    }
    true
}

fn conversion(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    use Operator as O;
    use types::{F32, F64, I8, I16, I32, I64};
    match op {
        O::I32WrapI64 => f.unary(|i, x| i.ireduce(I32, x)),
        O::I64ExtendI32S => f.unary(|i, x| i.sextend(I64, x)),
        O::I64ExtendI32U => f.unary(|i, x| i.uextend(I64, x)),
        O::I32Extend8S => f.sign_extend(I8, I32),
        O::I32Extend16S => f.sign_extend(I16, I32),
        O::I64Extend8S => f.sign_extend(I8, I64),
        O::I64Extend16S => f.sign_extend(I16, I64),
        O::I64Extend32S => f.sign_extend(I32, I64),
        O::F32ConvertI32S | O::F32ConvertI64S => f.unary(|i, x| i.fcvt_from_sint(F32, x)),
        O::F32ConvertI32U | O::F32ConvertI64U => f.unary(|i, x| i.fcvt_from_uint(F32, x)),
        O::F64ConvertI32S | O::F64ConvertI64S => f.unary(|i, x| i.fcvt_from_sint(F64, x)),
        O::F64ConvertI32U | O::F64ConvertI64U => f.unary(|i, x| i.fcvt_from_uint(F64, x)),
        O::F32DemoteF64 => f.unary(|i, x| i.fdemote(F32, x)),
        O::F64PromoteF32 => f.unary(|i, x| i.fpromote(F64, x)),
        O::I32ReinterpretF32 => f.unary(|i, x| i.bitcast(I32, MemFlagsData::new(), x)),
        O::I64ReinterpretF64 => f.unary(|i, x| i.bitcast(I64, MemFlagsData::new(), x)),
        O::F32ReinterpretI32 => f.unary(|i, x| i.bitcast(F32, MemFlagsData::new(), x)),
        O::F64ReinterpretI64 => f.unary(|i, x| i.bitcast(F64, MemFlagsData::new(), x)),
        O::I32TruncSatF32S | O::I32TruncSatF64S => f.unary(|i, x| i.fcvt_to_sint_sat(I32, x)),
        O::I32TruncSatF32U | O::I32TruncSatF64U => f.unary(|i, x| i.fcvt_to_uint_sat(I32, x)),
        O::I64TruncSatF32S | O::I64TruncSatF64S => f.unary(|i, x| i.fcvt_to_sint_sat(I64, x)),
        O::I64TruncSatF32U | O::I64TruncSatF64U => f.unary(|i, x| i.fcvt_to_uint_sat(I64, x)),
        _ => return false,
    }
    true
}

impl<'f> FuncLower<'_, 'f> {
    pub(super) fn unary(&mut self, op: impl FnOnce(FuncInstBuilder<'_, 'f>, Value) -> Value) {
        let x = self.operands.pop();
        let result = op(self.b.ins(), x);
        self.operands.push(result);
    }

    fn binary(&mut self, op: impl FnOnce(FuncInstBuilder<'_, 'f>, Value, Value) -> Value) {
        let (x, y) = self.operands.pop2();
        let result = op(self.b.ins(), x, y);
        self.operands.push(result);
    }

    fn sign_extend(&mut self, from: types::Type, to: types::Type) {
        let x = self.operands.pop();
        let narrow = if from == self.b.func.dfg.value_type(x) { x } else { self.b.ins().ireduce(from, x) };
        let wide = self.b.ins().sextend(to, narrow);
        self.operands.push(wide);
    }

    fn compare_int(&mut self, condition: IntCC) {
        let (x, y) = self.operands.pop2();
        let truth = self.b.ins().icmp(condition, x, y);
        self.push_bool(truth);
    }

    fn compare_float(&mut self, condition: FloatCC) {
        let (x, y) = self.operands.pop2();
        let truth = self.b.ins().fcmp(condition, x, y);
        self.push_bool(truth);
    }

    /// Pushes CLIF's i8 truth value as wasm's i32. Branches and selects see through the extension.
    pub(super) fn push_bool(&mut self, truth: Value) {
        let value = self.b.ins().uextend(types::I32, truth);
        self.operands.push(value);
    }
}
