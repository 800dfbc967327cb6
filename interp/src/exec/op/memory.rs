//! Loads and stores.
//!
//! The offset is the 32-bit immediate. The address is 32 bits, so the end of the access cannot overflow 64. Every access
//! is checked against the memory's length: interpreter handlers are no registered code, so no fault is turned into a
//! trap for them.

use std::marker::PhantomData;

use crate::exec::instruction::{Instruction, Kind};
use crate::exec::operand::{A, Dest, Source, ToAcc, ToSlot, Value};
use crate::exec::state::{Handler, Op, State, Status, handler};
use crate::trap::TrapCode;

const OUT_OF_BOUNDS: Status = TrapCode::MemoryOutOfBounds as Status;

/// An address operand.
pub(crate) trait Address {
    /// Reads the address.
    unsafe fn base(state: &State) -> u64;
}

/// Base in slot A.
struct InSlot;
/// Base in the accumulator.
struct InAcc;
/// No base: the offset is all of it.
struct Absolute;

impl Address for InSlot {
    #[inline(always)]
    unsafe fn base(state: &State) -> u64 {
        // SAFETY: by the caller.
        u64::from(unsafe { A::get::<u32>(state) })
    }
}

impl Address for InAcc {
    #[inline(always)]
    unsafe fn base(state: &State) -> u64 {
        u64::from(state.int as u32)
    }
}

impl Address for Absolute {
    #[inline(always)]
    unsafe fn base(_: &State) -> u64 {
        0
    }
}

/// Where `bytes` bytes are to be accessed, or `None` beyond the end.
#[inline(always)]
unsafe fn locate<P: Address>(state: &State, bytes: usize) -> Option<*mut u8> {
    // SAFETY: by the caller; the address is within the memory if the end is.
    unsafe {
        let start = P::base(state) + u64::from(state.k());
        if start + bytes as u64 > state.len { None } else { Some(state.mem.add(start as usize)) }
    }
}

/// A load: what lies in memory, and what becomes of it.
trait Load {
    type Raw: Copy;
    type Out: Value;
    fn extend(raw: Self::Raw) -> Self::Out;
}

struct Loading<O, P, D>(PhantomData<(O, P, D)>);

impl<O: Load, P: Address, D: Dest> Op for Loading<O, P, D> {
    #[inline(always)]
    unsafe fn run(mut state: State) -> Status {
        // SAFETY: by the caller; a located range is inside the memory.
        unsafe {
            match locate::<P>(&state, size_of::<O::Raw>()) {
                Some(at) => {
                    D::put(&mut state, O::extend(at.cast::<O::Raw>().read_unaligned()));
                    state.next(2)
                }
                None => state.trap(OUT_OF_BOUNDS),
            }
        }
    }
}

/// Where an address is, as the translator names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Slot A.
    Slot,
    /// The accumulator.
    Acc,
    /// There is none.
    Absolute,
}

macro_rules! loads {
    ($($name:ident: $raw:ty => $out:ty;)*) => {
        $(
            struct $name;
            impl Load for $name {
                type Raw = $raw;
                type Out = $out;
                #[inline(always)]
                fn extend(raw: $raw) -> $out {
                    <$out>::from(raw)
                }
            }
        )*

        /// A load, as the translator names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum LoadOp { $($name,)* }

        impl LoadOp {
            /// All of them.
            #[cfg(all(test, tierup_templates))]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// Its handlers: with the result in the accumulator only, and in a slot too.
            pub(crate) fn handlers(self, place: Place) -> [Instruction; 2] {
                let handlers = match self {
                    $(Self::$name => match place {
                        Place::Slot => [
                            handler::<Loading<$name, InSlot, ToAcc>>(), handler::<Loading<$name, InSlot, ToSlot>>(),
                        ],
                        Place::Acc => [
                            handler::<Loading<$name, InAcc, ToAcc>>(), handler::<Loading<$name, InAcc, ToSlot>>(),
                        ],
                        Place::Absolute => [
                            handler::<Loading<$name, Absolute, ToAcc>>(),
                            handler::<Loading<$name, Absolute, ToSlot>>(),
                        ],
                    },)*
                };
                Instruction::pair(handlers, |stored| Kind::Load { op: self, place, stored })
            }
        }
    };
}

loads! {
    I32Load: u32 => u32;
    I32Load8S: i8 => i32;
    I32Load8U: u8 => u32;
    I32Load16S: i16 => i32;
    I32Load16U: u16 => u32;
    I64Load: u64 => u64;
    I64Load8S: i8 => i64;
    I64Load16S: i16 => i64;
    I64Load32S: i32 => i64;
    F32Load: f32 => f32;
    F64Load: f64 => f64;
}

/// The value of a store.
trait Stored {
    /// Words beyond the operand word.
    const WORDS: usize = 0;
    /// Reads it: slot bits.
    unsafe fn bits(state: &State) -> u64;
}

/// In slot DST (the operand word's first).
struct FromSlot;
/// In the integer accumulator.
struct FromInt;
/// In the `f32` accumulator.
struct FromF32;
/// In the `f64` accumulator.
struct FromF64;
/// In a word of its own.
struct FromCode;

impl Stored for FromSlot {
    #[inline(always)]
    unsafe fn bits(state: &State) -> u64 {
        // SAFETY: by the caller.
        unsafe { *state.dst() }
    }
}

impl Stored for FromInt {
    #[inline(always)]
    unsafe fn bits(state: &State) -> u64 {
        state.int
    }
}

impl Stored for FromF32 {
    #[inline(always)]
    unsafe fn bits(state: &State) -> u64 {
        state.f32.slot()
    }
}

impl Stored for FromF64 {
    #[inline(always)]
    unsafe fn bits(state: &State) -> u64 {
        state.f64.slot()
    }
}

impl Stored for FromCode {
    const WORDS: usize = 1;
    #[inline(always)]
    unsafe fn bits(state: &State) -> u64 {
        // SAFETY: by the caller: the instruction has the extra word.
        unsafe { state.word(2) }
    }
}

/// How much of the value is stored.
trait Width {
    type Raw;
    fn cut(bits: u64) -> Self::Raw;
}

struct Storing<W, P, V>(PhantomData<(W, P, V)>);

impl<W: Width, P: Address, V: Stored> Op for Storing<W, P, V> {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; a located range is inside the memory.
        unsafe {
            match locate::<P>(&state, size_of::<W::Raw>()) {
                Some(at) => {
                    at.cast::<W::Raw>().write_unaligned(W::cut(V::bits(&state)));
                    state.next(2 + V::WORDS)
                }
                None => state.trap(OUT_OF_BOUNDS),
            }
        }
    }
}

/// Where the value of a store is, as the translator names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValuePlace {
    /// The operand word's first slot.
    Slot,
    /// The integer accumulator.
    Int,
    /// The `f32` accumulator.
    F32,
    /// The `f64` accumulator.
    F64,
    /// A word of its own.
    Imm,
}

macro_rules! stores {
    ($($name:ident: $raw:ty;)*) => {
        $(
            struct $name;
            impl Width for $name {
                type Raw = $raw;
                #[inline(always)]
                fn cut(bits: u64) -> $raw {
                    bits as $raw
                }
            }
        )*

        /// How many bits a store writes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum StoreOp { $($name,)* }

        impl StoreOp {
            /// All of them.
            #[cfg(all(test, tierup_templates))]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// Its handler; `None` if address and value would both be in the integer accumulator.
            pub(crate) fn handler(self, place: Place, value: ValuePlace) -> Option<Instruction> {
                let handler = match self {
                    $(Self::$name => store::<$name>(place, value),)*
                };
                Some(Instruction::new(handler?, Kind::Store { op: self, place, value }))
            }
        }
    };
}

stores! {
    Store8: u8;
    Store16: u16;
    Store32: u32;
    Store64: u64;
}

fn store<W: Width>(place: Place, value: ValuePlace) -> Option<Handler> {
    Some(match (place, value) {
        (Place::Slot, ValuePlace::Slot) => handler::<Storing<W, InSlot, FromSlot>>(),
        (Place::Slot, ValuePlace::Int) => handler::<Storing<W, InSlot, FromInt>>(),
        (Place::Slot, ValuePlace::F32) => handler::<Storing<W, InSlot, FromF32>>(),
        (Place::Slot, ValuePlace::F64) => handler::<Storing<W, InSlot, FromF64>>(),
        (Place::Slot, ValuePlace::Imm) => handler::<Storing<W, InSlot, FromCode>>(),
        (Place::Acc, ValuePlace::Slot) => handler::<Storing<W, InAcc, FromSlot>>(),
        (Place::Acc, ValuePlace::Int) => return None,
        (Place::Acc, ValuePlace::F32) => handler::<Storing<W, InAcc, FromF32>>(),
        (Place::Acc, ValuePlace::F64) => handler::<Storing<W, InAcc, FromF64>>(),
        (Place::Acc, ValuePlace::Imm) => handler::<Storing<W, InAcc, FromCode>>(),
        (Place::Absolute, ValuePlace::Slot) => handler::<Storing<W, Absolute, FromSlot>>(),
        (Place::Absolute, ValuePlace::Int) => handler::<Storing<W, Absolute, FromInt>>(),
        (Place::Absolute, ValuePlace::F32) => handler::<Storing<W, Absolute, FromF32>>(),
        (Place::Absolute, ValuePlace::F64) => handler::<Storing<W, Absolute, FromF64>>(),
        (Place::Absolute, ValuePlace::Imm) => handler::<Storing<W, Absolute, FromCode>>(),
    })
}
