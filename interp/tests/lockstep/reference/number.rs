//! Constants and arithmetic.

use wasmparser::Operator as Op;

use super::{Trap, Value};

/// A Rust type operands are computed in.
trait Operand: Sized {
    fn of(value: Value) -> Self;
}

/// What a computation makes.
trait Outcome {
    fn value(self) -> Value;
}

macro_rules! types {
    ($($ty:ty => $variant:ident: |$bits:ident| $of:expr, |$value:ident| $make:expr;)*) => {$(
        impl Operand for $ty {
            fn of(value: Value) -> Self {
                match value {
                    Value::$variant($bits) => $of,
                    other => panic!("a {}, not {other:?}", stringify!($variant)),
                }
            }
        }
        impl Outcome for $ty {
            fn value(self) -> Value {
                let $value = self;
                Value::$variant($make)
            }
        }
    )*};
}

types! {
    u32 => I32: |bits| bits, |value| value;
    i32 => I32: |bits| bits as i32, |value| value as u32;
    u64 => I64: |bits| bits, |value| value;
    i64 => I64: |bits| bits as i64, |value| value as u64;
    f32 => F32: |bits| f32::from_bits(bits), |value| value.to_bits();
    f64 => F64: |bits| f64::from_bits(bits), |value| value.to_bits();
}

impl Outcome for bool {
    fn value(self) -> Value {
        Value::I32(self.into())
    }
}

type Stack = Vec<Value>;

fn pop<A: Operand>(stack: &mut Stack) -> A {
    A::of(stack.pop().expect("validated"))
}

fn unary<A: Operand, R: Outcome>(stack: &mut Stack, compute: impl FnOnce(A) -> R) {
    let a = pop(stack);
    stack.push(compute(a).value());
}

fn binary<A: Operand, R: Outcome>(stack: &mut Stack, compute: impl FnOnce(A, A) -> R) {
    let b = pop(stack);
    let a = pop(stack);
    stack.push(compute(a, b).value());
}

/// A division: its result, unless it has none.
fn division<A: Operand + PartialEq + Default, R: Outcome>(
    stack: &mut Stack,
    compute: impl FnOnce(A, A) -> Option<R>,
) -> Result<(), Trap> {
    let b: A = pop(stack);
    let a = pop(stack);
    if b == A::default() {
        return Err(Trap::IntegerDivideByZero);
    }
    stack.push(compute(a, b).ok_or(Trap::IntegerOverflow)?.value());
    Ok(())
}

/// A float as an integer, if it is one in `low..high` once its fraction is dropped.
fn truncated(x: f64, low: f64, high: f64) -> Result<f64, Trap> {
    let x = x.trunc();
    if x.is_nan() {
        Err(Trap::InvalidConversionToInteger)
    } else if x < low || x >= high {
        Err(Trap::IntegerOverflow)
    } else {
        Ok(x)
    }
}

const TWO_31: f64 = 2_147_483_648.0;
const TWO_32: f64 = 4_294_967_296.0;
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

macro_rules! extreme {
    ($name:ident, $ty:ty, $less:tt, $zero:ident) => {
        fn $name(a: $ty, b: $ty) -> $ty {
            if a.is_nan() || b.is_nan() {
                <$ty>::NAN
            } else if a == 0.0 && b == 0.0 {
                <$ty>::from_bits($zero(a.to_bits(), b.to_bits()))
            } else if a $less b {
                a
            } else {
                b
            }
        }
    };
}

fn or<T: std::ops::BitOr<Output = T>>(a: T, b: T) -> T {
    a | b
}

fn and<T: std::ops::BitAnd<Output = T>>(a: T, b: T) -> T {
    a & b
}

extreme!(min32, f32, <, or);
extreme!(max32, f32, >, and);
extreme!(min64, f64, <, or);
extreme!(max64, f64, >, and);

/// Executes `operator` if it is one of this file's; `false` if not.
pub(super) fn execute(operator: &Op<'_>, s: &mut Stack) -> Result<bool, Trap> {
    match *operator {
        Op::I32Const { value } => s.push(Value::I32(value as u32)),
        Op::I64Const { value } => s.push(Value::I64(value as u64)),
        Op::F32Const { value } => s.push(Value::F32(value.bits())),
        Op::F64Const { value } => s.push(Value::F64(value.bits())),

        Op::I32Eqz => unary(s, |a: u32| a == 0),
        Op::I32Eq => binary(s, |a: u32, b| a == b),
        Op::I32Ne => binary(s, |a: u32, b| a != b),
        Op::I32LtS => binary(s, |a: i32, b| a < b),
        Op::I32LtU => binary(s, |a: u32, b| a < b),
        Op::I32GtS => binary(s, |a: i32, b| a > b),
        Op::I32GtU => binary(s, |a: u32, b| a > b),
        Op::I32LeS => binary(s, |a: i32, b| a <= b),
        Op::I32LeU => binary(s, |a: u32, b| a <= b),
        Op::I32GeS => binary(s, |a: i32, b| a >= b),
        Op::I32GeU => binary(s, |a: u32, b| a >= b),
        Op::I32Clz => unary(s, u32::leading_zeros),
        Op::I32Ctz => unary(s, u32::trailing_zeros),
        Op::I32Popcnt => unary(s, u32::count_ones),
        Op::I32Add => binary(s, u32::wrapping_add),
        Op::I32Sub => binary(s, u32::wrapping_sub),
        Op::I32Mul => binary(s, u32::wrapping_mul),
        Op::I32DivS => division(s, i32::checked_div)?,
        Op::I32DivU => division(s, u32::checked_div)?,
        Op::I32RemS => division(s, |a: i32, b| Some(a.wrapping_rem(b)))?,
        Op::I32RemU => division(s, u32::checked_rem)?,
        Op::I32And => binary(s, |a: u32, b| a & b),
        Op::I32Or => binary(s, |a: u32, b| a | b),
        Op::I32Xor => binary(s, |a: u32, b| a ^ b),
        Op::I32Shl => binary(s, u32::wrapping_shl),
        Op::I32ShrS => binary(s, |a: i32, b: i32| a.wrapping_shr(b as u32)),
        Op::I32ShrU => binary(s, u32::wrapping_shr),
        Op::I32Rotl => binary(s, |a: u32, b| a.rotate_left(b % 32)),
        Op::I32Rotr => binary(s, |a: u32, b| a.rotate_right(b % 32)),
        Op::I32Extend8S => unary(s, |a: i32| i32::from(a as i8)),
        Op::I32Extend16S => unary(s, |a: i32| i32::from(a as i16)),

        Op::I64Eqz => unary(s, |a: u64| a == 0),
        Op::I64Eq => binary(s, |a: u64, b| a == b),
        Op::I64Ne => binary(s, |a: u64, b| a != b),
        Op::I64LtS => binary(s, |a: i64, b| a < b),
        Op::I64LtU => binary(s, |a: u64, b| a < b),
        Op::I64GtS => binary(s, |a: i64, b| a > b),
        Op::I64GtU => binary(s, |a: u64, b| a > b),
        Op::I64LeS => binary(s, |a: i64, b| a <= b),
        Op::I64LeU => binary(s, |a: u64, b| a <= b),
        Op::I64GeS => binary(s, |a: i64, b| a >= b),
        Op::I64GeU => binary(s, |a: u64, b| a >= b),
        Op::I64Clz => unary(s, |a: u64| u64::from(a.leading_zeros())),
        Op::I64Ctz => unary(s, |a: u64| u64::from(a.trailing_zeros())),
        Op::I64Popcnt => unary(s, |a: u64| u64::from(a.count_ones())),
        Op::I64Add => binary(s, u64::wrapping_add),
        Op::I64Sub => binary(s, u64::wrapping_sub),
        Op::I64Mul => binary(s, u64::wrapping_mul),
        Op::I64DivS => division(s, i64::checked_div)?,
        Op::I64DivU => division(s, u64::checked_div)?,
        Op::I64RemS => division(s, |a: i64, b| Some(a.wrapping_rem(b)))?,
        Op::I64RemU => division(s, u64::checked_rem)?,
        Op::I64And => binary(s, |a: u64, b| a & b),
        Op::I64Or => binary(s, |a: u64, b| a | b),
        Op::I64Xor => binary(s, |a: u64, b| a ^ b),
        Op::I64Shl => binary(s, |a: u64, b: u64| a << (b % 64)),
        Op::I64ShrS => binary(s, |a: i64, b: i64| a >> (b as u64 % 64)),
        Op::I64ShrU => binary(s, |a: u64, b: u64| a >> (b % 64)),
        Op::I64Rotl => binary(s, |a: u64, b| a.rotate_left((b % 64) as u32)),
        Op::I64Rotr => binary(s, |a: u64, b| a.rotate_right((b % 64) as u32)),
        Op::I64Extend8S => unary(s, |a: i64| i64::from(a as i8)),
        Op::I64Extend16S => unary(s, |a: i64| i64::from(a as i16)),
        Op::I64Extend32S => unary(s, |a: i64| i64::from(a as i32)),

        Op::F32Eq => binary(s, |a: f32, b| a == b),
        Op::F32Ne => binary(s, |a: f32, b| a != b),
        Op::F32Lt => binary(s, |a: f32, b| a < b),
        Op::F32Gt => binary(s, |a: f32, b| a > b),
        Op::F32Le => binary(s, |a: f32, b| a <= b),
        Op::F32Ge => binary(s, |a: f32, b| a >= b),
        // Bits, so that a NaN keeps its own.
        Op::F32Abs => unary(s, |a: f32| f32::from_bits(a.to_bits() & !(1 << 31))),
        Op::F32Neg => unary(s, |a: f32| f32::from_bits(a.to_bits() ^ 1 << 31)),
        Op::F32Ceil => unary(s, f32::ceil),
        Op::F32Floor => unary(s, f32::floor),
        Op::F32Trunc => unary(s, f32::trunc),
        Op::F32Nearest => unary(s, f32::round_ties_even),
        Op::F32Sqrt => unary(s, f32::sqrt),
        Op::F32Add => binary(s, |a: f32, b| a + b),
        Op::F32Sub => binary(s, |a: f32, b| a - b),
        Op::F32Mul => binary(s, |a: f32, b| a * b),
        Op::F32Div => binary(s, |a: f32, b| a / b),
        Op::F32Min => binary(s, min32),
        Op::F32Max => binary(s, max32),
        Op::F32Copysign => binary(s, f32::copysign),

        Op::F64Eq => binary(s, |a: f64, b| a == b),
        Op::F64Ne => binary(s, |a: f64, b| a != b),
        Op::F64Lt => binary(s, |a: f64, b| a < b),
        Op::F64Gt => binary(s, |a: f64, b| a > b),
        Op::F64Le => binary(s, |a: f64, b| a <= b),
        Op::F64Ge => binary(s, |a: f64, b| a >= b),
        Op::F64Abs => unary(s, |a: f64| f64::from_bits(a.to_bits() & !(1 << 63))),
        Op::F64Neg => unary(s, |a: f64| f64::from_bits(a.to_bits() ^ 1 << 63)),
        Op::F64Ceil => unary(s, f64::ceil),
        Op::F64Floor => unary(s, f64::floor),
        Op::F64Trunc => unary(s, f64::trunc),
        Op::F64Nearest => unary(s, f64::round_ties_even),
        Op::F64Sqrt => unary(s, f64::sqrt),
        Op::F64Add => binary(s, |a: f64, b| a + b),
        Op::F64Sub => binary(s, |a: f64, b| a - b),
        Op::F64Mul => binary(s, |a: f64, b| a * b),
        Op::F64Div => binary(s, |a: f64, b| a / b),
        Op::F64Min => binary(s, min64),
        Op::F64Max => binary(s, max64),
        Op::F64Copysign => binary(s, f64::copysign),

        Op::I32WrapI64 => unary(s, |a: u64| a as u32),
        Op::I64ExtendI32S => unary(s, |a: i32| i64::from(a)),
        Op::I64ExtendI32U => unary(s, |a: u32| u64::from(a)),
        Op::F32ConvertI32S => unary(s, |a: i32| a as f32),
        Op::F32ConvertI32U => unary(s, |a: u32| a as f32),
        Op::F32ConvertI64S => unary(s, |a: i64| a as f32),
        Op::F32ConvertI64U => unary(s, |a: u64| a as f32),
        Op::F64ConvertI32S => unary(s, |a: i32| f64::from(a)),
        Op::F64ConvertI32U => unary(s, |a: u32| f64::from(a)),
        Op::F64ConvertI64S => unary(s, |a: i64| a as f64),
        Op::F64ConvertI64U => unary(s, |a: u64| a as f64),
        Op::F32DemoteF64 => unary(s, |a: f64| a as f32),
        Op::F64PromoteF32 => unary(s, |a: f32| f64::from(a)),
        Op::I32ReinterpretF32 => unary(s, f32::to_bits),
        Op::I64ReinterpretF64 => unary(s, f64::to_bits),
        Op::F32ReinterpretI32 => unary(s, f32::from_bits),
        Op::F64ReinterpretI64 => unary(s, f64::from_bits),
        // Rust's casts saturate.
        Op::I32TruncSatF32S => unary(s, |a: f32| a as i32),
        Op::I32TruncSatF32U => unary(s, |a: f32| a as u32),
        Op::I32TruncSatF64S => unary(s, |a: f64| a as i32),
        Op::I32TruncSatF64U => unary(s, |a: f64| a as u32),
        Op::I64TruncSatF32S => unary(s, |a: f32| a as i64),
        Op::I64TruncSatF32U => unary(s, |a: f32| a as u64),
        Op::I64TruncSatF64S => unary(s, |a: f64| a as i64),
        Op::I64TruncSatF64U => unary(s, |a: f64| a as u64),
        Op::I32TruncF32S | Op::I32TruncF32U | Op::I64TruncF32S | Op::I64TruncF32U => {
            let x = pop::<f32>(s).into();
            s.push(to_integer(operator, x)?);
        }
        Op::I32TruncF64S | Op::I32TruncF64U | Op::I64TruncF64S | Op::I64TruncF64U => {
            let x = pop(s);
            s.push(to_integer(operator, x)?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn to_integer(operator: &Op<'_>, x: f64) -> Result<Value, Trap> {
    Ok(match operator {
        Op::I32TruncF32S | Op::I32TruncF64S => (truncated(x, -TWO_31, TWO_31)? as i32).value(),
        Op::I32TruncF32U | Op::I32TruncF64U => (truncated(x, 0.0, TWO_32)? as u32).value(),
        Op::I64TruncF32S | Op::I64TruncF64S => (truncated(x, -TWO_63, TWO_63)? as i64).value(),
        _ => (truncated(x, 0.0, TWO_64)? as u64).value(),
    })
}
