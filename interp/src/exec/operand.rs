//! Where an instruction's operands come from and where its result goes.
//!
//! An operand word is eight bytes: result slot at byte 0, operand slots at 2, 4 and 6, or a 32-bit immediate at 4. An
//! `f64` immediate takes a word of its own after it. The accumulators hold the last result of their class: every
//! instruction with a result leaves it there, and stores it in a slot as well if its destination says so.

use super::state::State;

/// A guest value type as handlers compute with it.
pub(crate) trait Value: Copy {
    /// Words an immediate of this type takes beyond the operand word.
    const IMMEDIATE_WORDS: usize;
    /// Reads it from a slot.
    unsafe fn load(slot: *const u64) -> Self;
    /// Its slot representation: narrow values zero-extended.
    fn slot(self) -> u64;
    /// Reads the accumulator of its class.
    fn accumulator(state: &State) -> Self;
    /// Sets the accumulator of its class.
    fn accumulate(self, state: &mut State);
    /// Reads its immediate.
    unsafe fn immediate(state: &State) -> Self;
}

macro_rules! integer {
    ($ty:ty, $unsigned:ty, |$k:ident| $extend:expr) => {
        impl Value for $ty {
            const IMMEDIATE_WORDS: usize = 0;
            #[inline(always)]
            unsafe fn load(slot: *const u64) -> Self {
                // SAFETY: by the caller. x86-64 and aarch64 are little-endian: the low bytes come first.
                unsafe { *slot.cast::<$ty>() }
            }
            #[inline(always)]
            fn slot(self) -> u64 {
                self as $unsigned as u64
            }
            #[inline(always)]
            fn accumulator(state: &State) -> Self {
                state.int as $ty
            }
            #[inline(always)]
            fn accumulate(self, state: &mut State) {
                state.int = self.slot();
            }
            #[inline(always)]
            unsafe fn immediate(state: &State) -> Self {
                // SAFETY: by the caller.
                let $k = unsafe { state.k() };
                $extend
            }
        }
    };
}

integer!(u32, u32, |k| k);
integer!(i32, u32, |k| k as i32);
integer!(u64, u64, |k| i64::from(k as i32) as u64);
integer!(i64, u64, |k| i64::from(k as i32));

impl Value for f32 {
    const IMMEDIATE_WORDS: usize = 0;
    #[inline(always)]
    unsafe fn load(slot: *const u64) -> Self {
        // SAFETY: by the caller.
        unsafe { *slot.cast::<f32>() }
    }
    #[inline(always)]
    fn slot(self) -> u64 {
        u64::from(self.to_bits())
    }
    #[inline(always)]
    fn accumulator(state: &State) -> Self {
        state.f32
    }
    #[inline(always)]
    fn accumulate(self, state: &mut State) {
        state.f32 = self;
    }
    #[inline(always)]
    unsafe fn immediate(state: &State) -> Self {
        // SAFETY: by the caller.
        f32::from_bits(unsafe { state.k() })
    }
}

impl Value for f64 {
    const IMMEDIATE_WORDS: usize = 1;
    #[inline(always)]
    unsafe fn load(slot: *const u64) -> Self {
        // SAFETY: by the caller.
        unsafe { *slot.cast::<f64>() }
    }
    #[inline(always)]
    fn slot(self) -> u64 {
        self.to_bits()
    }
    #[inline(always)]
    fn accumulator(state: &State) -> Self {
        state.f64
    }
    #[inline(always)]
    fn accumulate(self, state: &mut State) {
        state.f64 = self;
    }
    #[inline(always)]
    unsafe fn immediate(state: &State) -> Self {
        // SAFETY: by the caller: the instruction has the extra word.
        f64::from_bits(unsafe { state.word(2) })
    }
}

/// Where an operand is.
pub(crate) trait Source {
    /// Whether it is an immediate, which lengthens the instruction for some types.
    const IMMEDIATE: bool = false;
    /// Reads it.
    unsafe fn get<T: Value>(state: &State) -> T;
}

/// In the slot named by operand A.
pub(crate) struct A;
/// In the slot named by operand B.
pub(crate) struct B;
/// In the slot named by operand C.
pub(crate) struct C;
/// In the accumulator.
pub(crate) struct Acc;
/// In the code.
pub(crate) struct Imm;

impl Source for A {
    #[inline(always)]
    unsafe fn get<T: Value>(state: &State) -> T {
        // SAFETY: by the caller.
        unsafe { T::load(state.a()) }
    }
}

impl Source for B {
    #[inline(always)]
    unsafe fn get<T: Value>(state: &State) -> T {
        // SAFETY: by the caller.
        unsafe { T::load(state.b()) }
    }
}

impl Source for C {
    #[inline(always)]
    unsafe fn get<T: Value>(state: &State) -> T {
        // SAFETY: by the caller.
        unsafe { T::load(state.c()) }
    }
}

impl Source for Acc {
    #[inline(always)]
    unsafe fn get<T: Value>(state: &State) -> T {
        T::accumulator(state)
    }
}

impl Source for Imm {
    const IMMEDIATE: bool = true;
    #[inline(always)]
    unsafe fn get<T: Value>(state: &State) -> T {
        // SAFETY: by the caller.
        unsafe { T::immediate(state) }
    }
}

/// Where a result goes.
pub(crate) trait Dest {
    /// Stores it.
    unsafe fn put<T: Value>(state: &mut State, value: T);
}

/// The accumulator only.
pub(crate) struct ToAcc;
/// The slot at byte 0, and the accumulator.
pub(crate) struct ToSlot;

impl Dest for ToAcc {
    #[inline(always)]
    unsafe fn put<T: Value>(state: &mut State, value: T) {
        value.accumulate(state);
    }
}

impl Dest for ToSlot {
    #[inline(always)]
    unsafe fn put<T: Value>(state: &mut State, value: T) {
        // SAFETY: by the caller.
        unsafe { *state.dst() = value.slot() };
        value.accumulate(state);
    }
}

/// The places of two operands, as the translator names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Slots A and B.
    SlotSlot,
    /// Slot A and the accumulator.
    SlotAcc,
    /// The accumulator and slot A.
    AccSlot,
    /// Slot A and an immediate.
    SlotImm,
    /// The accumulator and an immediate.
    AccImm,
    /// An immediate and slot A.
    ImmSlot,
    /// An immediate and the accumulator.
    ImmAcc,
}
