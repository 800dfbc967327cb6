//! Two operands, one result: arithmetic and comparisons.
//!
//! Each operator is a type; the list also makes the enum the translator names it by. Commutative operators exist in the
//! four forms that a swap leaves, the others in all seven.

use std::marker::PhantomData;

use crate::exec::instruction::{Instruction, Kind};
use crate::exec::operand::{A, Acc, B, Dest, Form, Imm, Source, ToAcc, ToSlot, Value};
use crate::exec::state::{Handler, Op, State, Status, handler};
use crate::trap::TrapCode;

/// An operator of two operands.
pub(crate) trait Operator {
    /// Operands.
    type In: Value;
    /// Result.
    type Out: Value;
    /// Computes it.
    fn apply(l: Self::In, r: Self::In) -> Result<Self::Out, TrapCode>;
}

struct Binary<O, L, R, D>(PhantomData<(O, L, R, D)>);

impl<O: Operator, L: Source, R: Source, D: Dest> Op for Binary<O, L, R, D> {
    #[inline(always)]
    unsafe fn run(mut state: State) -> Status {
        // SAFETY: by the caller; the translator encoded this form's operands, and the next instruction follows them.
        unsafe {
            match O::apply(L::get(&state), R::get(&state)) {
                Ok(value) => {
                    D::put(&mut state, value);
                    state.next(words::<O::In, L, R>())
                }
                Err(code) => state.trap(code as Status),
            }
        }
    }
}

/// Length of an instruction with these operands.
pub(super) const fn words<T: Value, L: Source, R: Source>() -> usize {
    if L::IMMEDIATE || R::IMMEDIATE { 2 + T::IMMEDIATE_WORDS } else { 2 }
}

const fn commutative<O: Operator, D: Dest>(form: Form) -> Option<Handler> {
    Some(match form {
        Form::SlotSlot => handler::<Binary<O, A, B, D>>(),
        Form::SlotAcc => handler::<Binary<O, A, Acc, D>>(),
        Form::SlotImm => handler::<Binary<O, A, Imm, D>>(),
        Form::AccImm => handler::<Binary<O, Acc, Imm, D>>(),
        Form::AccSlot | Form::ImmSlot | Form::ImmAcc => return None,
    })
}

const fn ordered<O: Operator, D: Dest>(form: Form) -> Option<Handler> {
    Some(match form {
        Form::AccSlot => handler::<Binary<O, Acc, A, D>>(),
        Form::ImmSlot => handler::<Binary<O, Imm, A, D>>(),
        Form::ImmAcc => handler::<Binary<O, Imm, Acc, D>>(),
        _ => return commutative::<O, D>(form),
    })
}

/// `Err(code)` unless `condition`.
#[inline(always)]
fn require(condition: bool, code: TrapCode) -> Result<(), TrapCode> {
    if condition { Ok(()) } else { Err(code) }
}

macro_rules! operators {
    ($($family:ident { $($(#[$doc:meta])* $name:ident: $in:ty => $out:ty, |$l:ident, $r:ident| $body:expr;)* })*) => {
        $($(
            $(#[$doc])*
            pub(crate) struct $name;
            impl Operator for $name {
                type In = $in;
                type Out = $out;
                #[inline(always)]
                fn apply($l: $in, $r: $in) -> Result<$out, TrapCode> {
                    $body
                }
            }
        )*)*

        /// An operator of two operands, as the translator names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum BinaryOp { $($($name,)*)* }

        impl BinaryOp {
            /// All of them.
            #[cfg(all(test, tierup_templates))]
            pub(crate) const ALL: &[Self] = &[$($(Self::$name,)*)*];

            /// Its handler for operands in these places: with the result in the accumulator only, and in a slot too.
            /// `None` if the form does not exist.
            pub(crate) fn handlers(self, form: Form) -> Option<[Instruction; 2]> {
                let handlers = match self {
                    $($(BinaryOp::$name => [$family::<$name, ToAcc>(form)?, $family::<$name, ToSlot>(form)?],)*)*
                };
                Some(Instruction::pair(handlers, |stored| Kind::Binary { op: self, form, stored }))
            }
        }
    };
}

macro_rules! float_min {
    ($from:path, $l:ident, $r:ident) => {
        if $l < $r {
            $l
        } else if $r < $l {
            $r
        } else if $l == $r {
            // Equal, or zeros of either sign: min(0, -0) is -0.
            $from($l.to_bits() | $r.to_bits())
        } else {
            // One is a NaN; the sum is a quiet one.
            $l + $r
        }
    };
}

macro_rules! float_max {
    ($from:path, $l:ident, $r:ident) => {
        if $l > $r {
            $l
        } else if $r > $l {
            $r
        } else if $l == $r {
            $from($l.to_bits() & $r.to_bits())
        } else {
            $l + $r
        }
    };
}

operators! {
    commutative {
        I32Add: u32 => u32, |l, r| Ok(l.wrapping_add(r));
        I32Mul: u32 => u32, |l, r| Ok(l.wrapping_mul(r));
        I32And: u32 => u32, |l, r| Ok(l & r);
        I32Or: u32 => u32, |l, r| Ok(l | r);
        I32Xor: u32 => u32, |l, r| Ok(l ^ r);
        I64Add: u64 => u64, |l, r| Ok(l.wrapping_add(r));
        I64Mul: u64 => u64, |l, r| Ok(l.wrapping_mul(r));
        I64And: u64 => u64, |l, r| Ok(l & r);
        I64Or: u64 => u64, |l, r| Ok(l | r);
        I64Xor: u64 => u64, |l, r| Ok(l ^ r);
    }
    ordered {
        I32Sub: u32 => u32, |l, r| Ok(l.wrapping_sub(r));
        I32DivS: i32 => i32, |l, r| {
            require(r != 0, TrapCode::IntegerDivideByZero)?;
            l.checked_div(r).ok_or(TrapCode::IntegerOverflow)
        };
        I32DivU: u32 => u32, |l, r| l.checked_div(r).ok_or(TrapCode::IntegerDivideByZero);
        I32RemS: i32 => i32, |l, r| {
            require(r != 0, TrapCode::IntegerDivideByZero)?;
            Ok(l.wrapping_rem(r))
        };
        I32RemU: u32 => u32, |l, r| l.checked_rem(r).ok_or(TrapCode::IntegerDivideByZero);
        I32Shl: u32 => u32, |l, r| Ok(l.wrapping_shl(r));
        I32ShrS: i32 => i32, |l, r| Ok(l.wrapping_shr(r as u32));
        I32ShrU: u32 => u32, |l, r| Ok(l.wrapping_shr(r));
        I32Rotl: u32 => u32, |l, r| Ok(l.rotate_left(r & 31));
        I32Rotr: u32 => u32, |l, r| Ok(l.rotate_right(r & 31));
        I64Sub: u64 => u64, |l, r| Ok(l.wrapping_sub(r));
        I64DivS: i64 => i64, |l, r| {
            require(r != 0, TrapCode::IntegerDivideByZero)?;
            l.checked_div(r).ok_or(TrapCode::IntegerOverflow)
        };
        I64DivU: u64 => u64, |l, r| l.checked_div(r).ok_or(TrapCode::IntegerDivideByZero);
        I64RemS: i64 => i64, |l, r| {
            require(r != 0, TrapCode::IntegerDivideByZero)?;
            Ok(l.wrapping_rem(r))
        };
        I64RemU: u64 => u64, |l, r| l.checked_rem(r).ok_or(TrapCode::IntegerDivideByZero);
        I64Shl: u64 => u64, |l, r| Ok(l.wrapping_shl(r as u32));
        I64ShrS: i64 => i64, |l, r| Ok(l.wrapping_shr(r as u32));
        I64ShrU: u64 => u64, |l, r| Ok(l.wrapping_shr(r as u32));
        I64Rotl: u64 => u64, |l, r| Ok(l.rotate_left(r as u32 & 63));
        I64Rotr: u64 => u64, |l, r| Ok(l.rotate_right(r as u32 & 63));
        F32Sub: f32 => f32, |l, r| Ok(l - r);
        F32Div: f32 => f32, |l, r| Ok(l / r);
        F32Copysign: f32 => f32, |l, r| Ok(l.copysign(r));
        F64Sub: f64 => f64, |l, r| Ok(l - r);
        F64Div: f64 => f64, |l, r| Ok(l / r);
        F64Copysign: f64 => f64, |l, r| Ok(l.copysign(r));
    }
    // The specification lets either operand's payload through, so a swap is allowed.
    commutative {
        F32Add: f32 => f32, |l, r| Ok(l + r);
        F32Mul: f32 => f32, |l, r| Ok(l * r);
        F32Min: f32 => f32, |l, r| Ok(float_min!(f32::from_bits, l, r));
        F32Max: f32 => f32, |l, r| Ok(float_max!(f32::from_bits, l, r));
        F64Add: f64 => f64, |l, r| Ok(l + r);
        F64Mul: f64 => f64, |l, r| Ok(l * r);
        F64Min: f64 => f64, |l, r| Ok(float_min!(f64::from_bits, l, r));
        F64Max: f64 => f64, |l, r| Ok(float_max!(f64::from_bits, l, r));
    }
}
