//! One operand, one result: counting bits, rounding, conversions.

use std::marker::PhantomData;

use crate::exec::instruction::{Instruction, Kind};
use crate::exec::operand::{A, Acc, Dest, Source, ToAcc, ToSlot, Value};
use crate::exec::state::{Handler, Op, State, Status, handler};
use crate::trap::TrapCode;

/// An operator of one operand.
trait Operator {
    type In: Value;
    type Out: Value;
    fn apply(value: Self::In) -> Result<Self::Out, TrapCode>;
}

struct Unary<O, S, D>(PhantomData<(O, S, D)>);

impl<O: Operator, S: Source, D: Dest> Op for Unary<O, S, D> {
    #[inline(always)]
    unsafe fn run(mut state: State) -> Status {
        // SAFETY: by the caller; the translator encoded this form's operands, and the next instruction follows them.
        unsafe {
            match O::apply(S::get(&state)) {
                Ok(value) => {
                    D::put(&mut state, value);
                    state.next(2)
                }
                Err(code) => state.trap(code as Status),
            }
        }
    }
}

/// Truncation towards zero of a float strictly between the bounds.
macro_rules! truncate {
    ($value:ident, $to:ty, $low:expr, $high:expr) => {
        if $value > $low && $value < $high {
            Ok($value as $to)
        } else if $value.is_nan() {
            Err(TrapCode::InvalidConversionToInteger)
        } else {
            Err(TrapCode::IntegerOverflow)
        }
    };
}

macro_rules! operators {
    ($($name:ident: $in:ty => $out:ty, |$v:ident| $body:expr;)*) => {
        $(
            struct $name;
            impl Operator for $name {
                type In = $in;
                type Out = $out;
                #[inline(always)]
                fn apply($v: $in) -> Result<$out, TrapCode> {
                    $body
                }
            }
        )*

        /// An operator of one operand, as the translator names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum UnaryOp { $($name,)* }

        impl UnaryOp {
            /// All of them.
            #[cfg(all(test, tierup_templates))]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// Its handlers for an operand in the accumulator or in slot A: with the result in the accumulator only,
            /// and in a slot too.
            pub(crate) fn handlers(self, accumulator: bool) -> [Instruction; 2] {
                let handlers: [Handler; 2] = match self {
                    $(Self::$name => if accumulator {
                        [handler::<Unary<$name, Acc, ToAcc>>(), handler::<Unary<$name, Acc, ToSlot>>()]
                    } else {
                        [handler::<Unary<$name, A, ToAcc>>(), handler::<Unary<$name, A, ToSlot>>()]
                    },)*
                };
                Instruction::pair(handlers, |stored| Kind::Unary { op: self, accumulator, stored })
            }
        }
    };
}

operators! {
    I32Clz: u32 => u32, |v| Ok(v.leading_zeros());
    I32Ctz: u32 => u32, |v| Ok(v.trailing_zeros());
    I32Popcnt: u32 => u32, |v| Ok(v.count_ones());
    I64Clz: u64 => u64, |v| Ok(u64::from(v.leading_zeros()));
    I64Ctz: u64 => u64, |v| Ok(u64::from(v.trailing_zeros()));
    I64Popcnt: u64 => u64, |v| Ok(u64::from(v.count_ones()));
    I32Extend8S: u32 => i32, |v| Ok(i32::from(v as i8));
    I32Extend16S: u32 => i32, |v| Ok(i32::from(v as i16));
    I64Extend8S: u64 => i64, |v| Ok(i64::from(v as i8));
    I64Extend16S: u64 => i64, |v| Ok(i64::from(v as i16));
    I64Extend32S: u64 => i64, |v| Ok(i64::from(v as i32));
    I32WrapI64: u64 => u32, |v| Ok(v as u32);
    I64ExtendI32S: i32 => i64, |v| Ok(i64::from(v));

    F32Abs: f32 => f32, |v| Ok(v.abs());
    F32Neg: f32 => f32, |v| Ok(-v);
    F32Ceil: f32 => f32, |v| Ok(quiet32(v.ceil()));
    F32Floor: f32 => f32, |v| Ok(quiet32(v.floor()));
    F32Trunc: f32 => f32, |v| Ok(quiet32(v.trunc()));
    F32Nearest: f32 => f32, |v| Ok(quiet32(v.round_ties_even()));
    F32Sqrt: f32 => f32, |v| Ok(v.sqrt());
    F64Abs: f64 => f64, |v| Ok(v.abs());
    F64Neg: f64 => f64, |v| Ok(-v);
    F64Ceil: f64 => f64, |v| Ok(quiet64(v.ceil()));
    F64Floor: f64 => f64, |v| Ok(quiet64(v.floor()));
    F64Trunc: f64 => f64, |v| Ok(quiet64(v.trunc()));
    F64Nearest: f64 => f64, |v| Ok(quiet64(v.round_ties_even()));
    F64Sqrt: f64 => f64, |v| Ok(v.sqrt());
    F32DemoteF64: f64 => f32, |v| Ok(v as f32);
    F64PromoteF32: f32 => f64, |v| Ok(f64::from(v));

    I32TruncF32S: f32 => i32, |v| truncate!(v, i32, -2147483904.0, 2147483648.0);
    I32TruncF32U: f32 => u32, |v| truncate!(v, u32, -1.0, 4294967296.0);
    I32TruncF64S: f64 => i32, |v| truncate!(v, i32, -2147483649.0, 2147483648.0);
    I32TruncF64U: f64 => u32, |v| truncate!(v, u32, -1.0, 4294967296.0);
    I64TruncF32S: f32 => i64, |v| truncate!(v, i64, -9223373136366403584.0, 9223372036854775808.0);
    I64TruncF32U: f32 => u64, |v| truncate!(v, u64, -1.0, 18446744073709551616.0);
    I64TruncF64S: f64 => i64, |v| truncate!(v, i64, -9223372036854777856.0, 9223372036854775808.0);
    I64TruncF64U: f64 => u64, |v| truncate!(v, u64, -1.0, 18446744073709551616.0);
    I32TruncSatF32S: f32 => i32, |v| Ok(v as i32);
    I32TruncSatF32U: f32 => u32, |v| Ok(v as u32);
    I32TruncSatF64S: f64 => i32, |v| Ok(v as i32);
    I32TruncSatF64U: f64 => u32, |v| Ok(v as u32);
    I64TruncSatF32S: f32 => i64, |v| Ok(v as i64);
    I64TruncSatF32U: f32 => u64, |v| Ok(v as u64);
    I64TruncSatF64S: f64 => i64, |v| Ok(v as i64);
    I64TruncSatF64U: f64 => u64, |v| Ok(v as u64);

    F32ConvertI32S: i32 => f32, |v| Ok(v as f32);
    F32ConvertI32U: u32 => f32, |v| Ok(v as f32);
    F32ConvertI64S: i64 => f32, |v| Ok(v as f32);
    F32ConvertI64U: u64 => f32, |v| Ok(v as f32);
    F64ConvertI32S: i32 => f64, |v| Ok(f64::from(v));
    F64ConvertI32U: u32 => f64, |v| Ok(f64::from(v));
    F64ConvertI64S: i64 => f64, |v| Ok(v as f64);
    F64ConvertI64U: u64 => f64, |v| Ok(v as f64);
    I32ReinterpretF32: f32 => u32, |v| Ok(v.to_bits());
    I64ReinterpretF64: f64 => u64, |v| Ok(v.to_bits());
    F32ReinterpretI32: u32 => f32, |v| Ok(f32::from_bits(v));
    F64ReinterpretI64: u64 => f64, |v| Ok(f64::from_bits(v));
}

/// Rounding functions of the C library may return a signalling NaN as it is; WebAssembly's results are quiet.
#[inline(always)]
fn quiet32(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(value.to_bits() | 1 << 22) } else { value }
}

/// As [`quiet32`].
#[inline(always)]
fn quiet64(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(value.to_bits() | 1 << 51) } else { value }
}
