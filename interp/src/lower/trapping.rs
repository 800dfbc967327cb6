//! Numeric operators that trap: integer division and the checked float-to-integer conversions. The conditions
//! are explicit and precede an instruction that then cannot fault, so that every compiler of the CLIF keeps
//! both the trap and its code.

use super::clif::{FloatCC, InstBuilder, InstructionData, IntCC, Type, Value, types};
use super::function::FuncLower;
use crate::trap::TrapCode;
use wasmparser::Operator;

/// Lowers `op` if it is a numeric operator that may trap; `false` if it belongs to another family.
pub(super) fn lower(f: &mut FuncLower<'_, '_>, op: &Operator<'_>) -> bool {
    use Operator as O;
    match op {
        O::I32DivS | O::I64DivS => div_s(f),
        O::I32DivU | O::I64DivU => {
            let (x, y) = nonzero_divisor(f);
            let quotient = f.b.ins().udiv(x, y);
            f.operands.push(quotient);
        }
        O::I32RemS | O::I64RemS => {
            // The least integer modulo -1 is 0 in wasm as in CLIF.
            let (x, y) = nonzero_divisor(f);
            let remainder = f.b.ins().srem(x, y);
            f.operands.push(remainder);
        }
        O::I32RemU | O::I64RemU => {
            let (x, y) = nonzero_divisor(f);
            let remainder = f.b.ins().urem(x, y);
            f.operands.push(remainder);
        }
        O::I32TruncF32S => convert(f, types::I32, Range::from_f32(FloatCC::GreaterThanOrEqual, -TWO_31, TWO_31)),
        O::I32TruncF32U => convert(f, types::I32, Range::from_f32(FloatCC::GreaterThan, -1.0, TWO_32)),
        O::I32TruncF64S => convert(f, types::I32, Range::from_f64(FloatCC::GreaterThan, -TWO_31 - 1.0, TWO_31)),
        O::I32TruncF64U => convert(f, types::I32, Range::from_f64(FloatCC::GreaterThan, -1.0, TWO_32)),
        O::I64TruncF32S => convert(f, types::I64, Range::from_f32(FloatCC::GreaterThanOrEqual, -TWO_63, TWO_63)),
        O::I64TruncF32U => convert(f, types::I64, Range::from_f32(FloatCC::GreaterThan, -1.0, TWO_64)),
        O::I64TruncF64S => convert(f, types::I64, Range::from_f64(FloatCC::GreaterThanOrEqual, -TWO_63, TWO_63)),
        O::I64TruncF64U => convert(f, types::I64, Range::from_f64(FloatCC::GreaterThan, -1.0, TWO_64)),
        _ => return false,
    }
    true
}

const TWO_31: f64 = 2_147_483_648.0;
const TWO_32: f64 = 4_294_967_296.0;
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// Pops dividend and divisor, trapping if the divisor is zero.
fn nonzero_divisor(f: &mut FuncLower<'_, '_>) -> (Value, Value) {
    let (x, y) = f.operands.pop2();
    if constant(f, y).is_none_or(|y| y == 0) {
        let zero = f.b.ins().icmp_imm_u(IntCC::Equal, y, 0);
        f.trap_if(zero, TrapCode::IntegerDivideByZero);
    }
    (x, y)
}

fn div_s(f: &mut FuncLower<'_, '_>) {
    let (x, y) = nonzero_divisor(f);
    let ty = f.b.func.dfg.value_type(x);
    let least = i64::MIN >> (64 - ty.bits());
    // Only the least integer divided by -1 overflows; a constant operand usually rules that out.
    if constant(f, y).is_none_or(|y| y == -1) && constant(f, x).is_none_or(|x| x == least) {
        let minus_one = f.b.ins().icmp_imm_s(IntCC::Equal, y, -1);
        let is_least = f.b.ins().icmp_imm_s(IntCC::Equal, x, least);
        let overflow = f.b.ins().band(minus_one, is_least);
        f.trap_if(overflow, TrapCode::IntegerOverflow);
    }
    let quotient = f.b.ins().sdiv(x, y);
    f.operands.push(quotient);
}

/// The integer a value is known to be, sign-extended.
fn constant(f: &FuncLower<'_, '_>, value: Value) -> Option<i64> {
    let dfg = &f.b.func.dfg;
    let inst = dfg.value_def(value).inst()?;
    let InstructionData::UnaryImm { imm, .. } = dfg.insts[inst] else {
        return None;
    };
    let unused = 64 - dfg.value_type(value).bits();
    Some(imm.bits() << unused >> unused)
}

/// The floats whose truncation is representable: `low <cond> x < high`, both bounds exact.
struct Range {
    ty: Type,
    above_low: FloatCC,
    low: f64,
    high: f64,
}

impl Range {
    /// Bounds that `f32` represents exactly.
    fn from_f32(above_low: FloatCC, low: f64, high: f64) -> Self {
        Self { ty: types::F32, above_low, low, high }
    }

    fn from_f64(above_low: FloatCC, low: f64, high: f64) -> Self {
        Self { ty: types::F64, above_low, low, high }
    }

    fn bound(&self, f: &mut FuncLower<'_, '_>, bound: f64) -> Value {
        if self.ty == types::F32 { f.b.ins().f32const(bound as f32) } else { f.b.ins().f64const(bound) }
    }

    fn is_signed(&self) -> bool {
        self.low < -1.0
    }
}

/// Truncates towards zero. One branch separates the ordinary values; the cold side tells NaN from overflow.
fn convert(f: &mut FuncLower<'_, '_>, to: Type, range: Range) {
    let x = f.operands.pop();
    let low = range.bound(f, range.low);
    let high = range.bound(f, range.high);
    let above = f.b.ins().fcmp(range.above_low, x, low);
    let below = f.b.ins().fcmp(FloatCC::LessThan, x, high);
    let inside = f.b.ins().band(above, below);

    let convert = f.b.create_block();
    let refuse = f.b.create_block();
    f.b.set_cold_block(refuse);
    f.b.ins().brif(inside, convert, &[], refuse, &[]);
    f.b.seal_block(refuse);
    f.b.seal_block(convert);

    f.b.switch_to_block(refuse);
    let nan = f.b.ins().fcmp(FloatCC::Unordered, x, x);
    f.trap_if(nan, TrapCode::InvalidConversionToInteger);
    f.trap(TrapCode::IntegerOverflow);

    f.b.switch_to_block(convert);
    let result = if range.is_signed() { f.b.ins().fcvt_to_sint_sat(to, x) } else { f.b.ins().fcvt_to_uint_sat(to, x) };
    f.operands.push(result);
}
