//! Comparisons, as values and as branches; jumps; `br_table`.
//!
//! A branch word is the last word of a branch: the address of the target. A back-edge has two more: the body, and
//! what [`back_edge`] packs of its bead's index, the loop's site and a round's work.

#![expect(clippy::neg_cmp_op_on_partial_ord, reason = "a negated float comparison holds for NaN, which is the point")]

use std::marker::PhantomData;

use super::binary::words;
use crate::exec::Accumulators;
use crate::exec::cx::{self, Step};
use crate::exec::instruction::{Instruction, Kind};
use crate::exec::operand::{A, Acc, B, Dest, Form, Imm, Source, ToAcc, ToSlot, Value};
use crate::exec::state::{Handler, Op, State, Status, handler, out_of_line};
use crate::module::{Body, Function};

/// A comparison.
pub(crate) trait Compare {
    /// Operands.
    type In: Value;
    /// Whether it holds.
    fn holds(l: Self::In, r: Self::In) -> bool;
}

struct Test<O, L, R, D>(PhantomData<(O, L, R, D)>);

impl<O: Compare, L: Source, R: Source, D: Dest> Op for Test<O, L, R, D> {
    #[inline(always)]
    unsafe fn run(mut state: State) -> Status {
        // SAFETY: by the caller; the translator encoded this form's operands, and the next instruction follows them.
        unsafe {
            let holds = O::holds(L::get(&state), R::get(&state));
            D::put(&mut state, u32::from(holds));
            state.next(words::<O::In, L, R>())
        }
    }
}

/// What a taken branch does besides going on elsewhere.
pub(crate) trait Edge {
    /// Words after the comparison's operands.
    const WORDS: usize;
    /// Goes to the target of the branch word `at` words on.
    unsafe fn take(state: State, at: usize) -> Status;
}

/// A branch that is no back-edge.
pub(crate) struct Forward;
/// A branch to a loop header: counts the loop's work.
pub(crate) struct Back;

#[inline(always)]
unsafe fn target(state: State, at: usize) -> *const u64 {
    // SAFETY: by the callers, word `at` is a branch word of this instruction.
    unsafe { state.word(at) as *const u64 }
}

/// The last word of a back-edge: the bead's index, then 16 bits of site and 16 of work.
pub(crate) fn back_edge(function: &Function, site: u32, work: u32) -> u64 {
    debug_assert!(site.max(work) <= u32::from(u16::MAX));
    u64::from(function.bead.as_ref().index()) | u64::from(site) << 32 | u64::from(work) << 48
}

impl Edge for Forward {
    const WORDS: usize = 1;
    #[inline(always)]
    unsafe fn take(state: State, at: usize) -> Status {
        // SAFETY: by the caller.
        unsafe { State { ip: target(state, at), ..state }.dispatch() }
    }
}

impl Edge for Back {
    const WORDS: usize = 3;
    #[inline(always)]
    unsafe fn take(state: State, at: usize) -> Status {
        // SAFETY: by the caller; the index is that of a live bead, so within the table, which nobody else touches now.
        unsafe {
            let info = state.word(at + 2);
            let countdown = &raw mut (*(*state.cx).countdown.add(info as u32 as usize)).countdown;
            *countdown = (*countdown).wrapping_sub((info >> 48) as i32);
            if *countdown < 0 {
                return State { ip: state.ip.add(at), ..state }.jump(out_of_line::<Spent>());
            }
            State { ip: target(state, at), ..state }.dispatch()
        }
    }
}

/// A back-edge whose countdown is spent; `ip` is its branch word.
struct Spent;

impl Op for Spent {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: as `Back::take`; the body is the one whose code this is, which outlives it.
        unsafe {
            let (body, info) = (state.word(1) as *const Body, state.word(2));
            let (site, work) = ((info >> 32) as u32 & 0xffff, (info >> 48) as u32);
            let step = cx::back_edge_spent(state.cx, body, site, work, state.fp);
            let ip = target(state, 0);
            go_on(state, ip, step.unpack())
        }
    }
}

/// At a loop header, in modes that enter variants out of order: body, site.
struct Arrival;

impl Op for Arrival {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; the body is the one whose code this is, which outlives it.
        unsafe {
            let step = cx::arrive(state.cx, state.word(1) as *const Body, state.word(2) as u32, state.fp);
            let ip = state.ip.add(3);
            go_on(state, ip, step.unpack())
        }
    }
}

/// Goes on after the frame may have been run by somebody else: at `ip` if it was not.
#[inline(always)]
unsafe fn go_on(state: State, ip: *const u64, step: Step) -> Status {
    // SAFETY: by the callers: the step is what became of this frame.
    unsafe {
        match step {
            Step::Stay => State { ip, ..state }.dispatch(),
            Step::At { ip, fp } => {
                let Accumulators { int, f32, f64 } = (*state.cx).accumulators;
                State { ip, fp, int, f32, f64, ..state }.reload().dispatch()
            }
            Step::Returned { ip, fp } => {
                // As behind a return: the first result is in the accumulators, too.
                let first = *state.fp;
                let (f64, f32) = (f64::from_bits(first), f32::from_bits(first as u32));
                State { ip, fp, int: first, f64, f32, ..state }.reload().dispatch()
            }
            Step::Trapped(status) => state.trap(status),
        }
    }
}

struct Branch<O, L, R, E>(PhantomData<(O, L, R, E)>);

impl<O: Compare, L: Source, R: Source, E: Edge> Op for Branch<O, L, R, E> {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; the translator encoded this form's operands, then the edge's words.
        unsafe {
            let at = words::<O::In, L, R>();
            if O::holds(L::get(&state), R::get(&state)) { E::take(state, at) } else { state.next(at + E::WORDS) }
        }
    }
}

/// An unconditional branch: handler, branch word.
struct Jump<E>(PhantomData<E>);

impl<E: Edge> Op for Jump<E> {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller.
        unsafe { E::take(state, 1) }
    }
}

/// `br_table`: index A, count - 1 in the immediate, then a branch word per target, the default last.
struct Switch<S>(PhantomData<S>);

impl<S: Source> Op for Switch<S> {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller; the index is clamped to the default, the last of the words.
        unsafe {
            let index = S::get::<u32>(&state).min(state.k());
            State { ip: target(state, 2 + index as usize), ..state }.dispatch()
        }
    }
}

/// The handler of what announces a loop header.
pub(crate) fn arrival() -> Handler {
    handler::<Arrival>()
}

/// The handler of an unconditional branch.
pub(crate) fn jump(back: bool) -> Instruction {
    let handler = if back { handler::<Jump<Back>>() } else { handler::<Jump<Forward>>() };
    Instruction::new(handler, Kind::Jump { back })
}

/// Where a back-edge goes whose countdown is spent, with `ip` at its branch word.
#[cfg(tierup_templates)]
pub(crate) fn spent() -> Handler {
    out_of_line::<Spent>()
}

/// The handler of a `br_table` with its index in slot A or in the accumulator.
pub(crate) fn switch(accumulator: bool) -> Instruction {
    let handler = if accumulator { handler::<Switch<Acc>>() } else { handler::<Switch<A>>() };
    Instruction::new(handler, Kind::Switch { accumulator })
}

fn test<O: Compare>(form: Form) -> Option<[Handler; 2]> {
    Some(match form {
        Form::SlotSlot => [handler::<Test<O, A, B, ToAcc>>(), handler::<Test<O, A, B, ToSlot>>()],
        Form::SlotAcc => [handler::<Test<O, A, Acc, ToAcc>>(), handler::<Test<O, A, Acc, ToSlot>>()],
        Form::SlotImm => [handler::<Test<O, A, Imm, ToAcc>>(), handler::<Test<O, A, Imm, ToSlot>>()],
        Form::AccImm => [handler::<Test<O, Acc, Imm, ToAcc>>(), handler::<Test<O, Acc, Imm, ToSlot>>()],
        Form::AccSlot | Form::ImmSlot | Form::ImmAcc => return None,
    })
}

fn branch<O: Compare>(form: Form) -> Option<[Handler; 2]> {
    Some(match form {
        Form::SlotSlot => [handler::<Branch<O, A, B, Forward>>(), handler::<Branch<O, A, B, Back>>()],
        Form::SlotAcc => [handler::<Branch<O, A, Acc, Forward>>(), handler::<Branch<O, A, Acc, Back>>()],
        Form::SlotImm => [handler::<Branch<O, A, Imm, Forward>>(), handler::<Branch<O, A, Imm, Back>>()],
        Form::AccImm => [handler::<Branch<O, Acc, Imm, Forward>>(), handler::<Branch<O, Acc, Imm, Back>>()],
        Form::AccSlot | Form::ImmSlot | Form::ImmAcc => return None,
    })
}

macro_rules! comparisons {
    ($($name:ident: $in:ty, |$l:ident, $r:ident| $body:expr, not $not:ident, swapped $swapped:ident;)*) => {
        $(
            struct $name;
            impl Compare for $name {
                type In = $in;
                #[inline(always)]
                fn holds($l: $in, $r: $in) -> bool {
                    $body
                }
            }
        )*

        /// A comparison, as the translator names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum CompareOp { $($name,)* }

        impl CompareOp {
            /// All of them.
            #[cfg(all(test, tierup_templates))]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// The comparison that holds when this one does not.
            pub(crate) fn negated(self) -> Self {
                match self { $(Self::$name => Self::$not,)* }
            }

            /// The same comparison with its operands swapped.
            pub(crate) fn swapped(self) -> Self {
                match self { $(Self::$name => Self::$swapped,)* }
            }

            /// Handlers for its value: in the accumulator only, and in a slot too.
            pub(crate) fn value(self, form: Form) -> Option<[Instruction; 2]> {
                let handlers = match self { $(Self::$name => test::<$name>(form),)* };
                Some(Instruction::pair(handlers?, |stored| Kind::Test { op: self, form, stored }))
            }

            /// Handlers for a branch on it: forward, and to a loop header.
            pub(crate) fn branch(self, form: Form) -> Option<[Instruction; 2]> {
                let handlers = match self { $(Self::$name => branch::<$name>(form),)* };
                Some(Instruction::pair(handlers?, |back| Kind::Branch { op: self, form, back }))
            }
        }
    };
}

comparisons! {
    I32Eq: u32, |l, r| l == r, not I32Ne, swapped I32Eq;
    I32Ne: u32, |l, r| l != r, not I32Eq, swapped I32Ne;
    I32LtS: i32, |l, r| l < r, not I32GeS, swapped I32GtS;
    I32LtU: u32, |l, r| l < r, not I32GeU, swapped I32GtU;
    I32GtS: i32, |l, r| l > r, not I32LeS, swapped I32LtS;
    I32GtU: u32, |l, r| l > r, not I32LeU, swapped I32LtU;
    I32LeS: i32, |l, r| l <= r, not I32GtS, swapped I32GeS;
    I32LeU: u32, |l, r| l <= r, not I32GtU, swapped I32GeU;
    I32GeS: i32, |l, r| l >= r, not I32LtS, swapped I32LeS;
    I32GeU: u32, |l, r| l >= r, not I32LtU, swapped I32LeU;
    I64Eq: u64, |l, r| l == r, not I64Ne, swapped I64Eq;
    I64Ne: u64, |l, r| l != r, not I64Eq, swapped I64Ne;
    I64LtS: i64, |l, r| l < r, not I64GeS, swapped I64GtS;
    I64LtU: u64, |l, r| l < r, not I64GeU, swapped I64GtU;
    I64GtS: i64, |l, r| l > r, not I64LeS, swapped I64LtS;
    I64GtU: u64, |l, r| l > r, not I64LeU, swapped I64LtU;
    I64LeS: i64, |l, r| l <= r, not I64GtS, swapped I64GeS;
    I64LeU: u64, |l, r| l <= r, not I64GtU, swapped I64GeU;
    I64GeS: i64, |l, r| l >= r, not I64LtS, swapped I64LeS;
    I64GeU: u64, |l, r| l >= r, not I64LtU, swapped I64LeU;
    F32Eq: f32, |l, r| l == r, not F32Ne, swapped F32Eq;
    F32Ne: f32, |l, r| l != r, not F32Eq, swapped F32Ne;
    F32Lt: f32, |l, r| l < r, not F32NotLt, swapped F32Gt;
    F32Gt: f32, |l, r| l > r, not F32NotGt, swapped F32Lt;
    F32Le: f32, |l, r| l <= r, not F32NotLe, swapped F32Ge;
    F32Ge: f32, |l, r| l >= r, not F32NotGe, swapped F32Le;
    F32NotLt: f32, |l, r| !(l < r), not F32Lt, swapped F32NotGt;
    F32NotGt: f32, |l, r| !(l > r), not F32Gt, swapped F32NotLt;
    F32NotLe: f32, |l, r| !(l <= r), not F32Le, swapped F32NotGe;
    F32NotGe: f32, |l, r| !(l >= r), not F32Ge, swapped F32NotLe;
    F64Eq: f64, |l, r| l == r, not F64Ne, swapped F64Eq;
    F64Ne: f64, |l, r| l != r, not F64Eq, swapped F64Ne;
    F64Lt: f64, |l, r| l < r, not F64NotLt, swapped F64Gt;
    F64Gt: f64, |l, r| l > r, not F64NotGt, swapped F64Lt;
    F64Le: f64, |l, r| l <= r, not F64NotLe, swapped F64Ge;
    F64Ge: f64, |l, r| l >= r, not F64NotGe, swapped F64Le;
    F64NotLt: f64, |l, r| !(l < r), not F64Lt, swapped F64NotGt;
    F64NotGt: f64, |l, r| !(l > r), not F64Gt, swapped F64NotLt;
    F64NotLe: f64, |l, r| !(l <= r), not F64Le, swapped F64NotGe;
    F64NotGe: f64, |l, r| !(l >= r), not F64Ge, swapped F64NotLe;
}
