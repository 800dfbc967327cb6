//! Moving values: copies, constants, globals, `select`, clearing locals, `unreachable`.

use std::marker::PhantomData;

use crate::bulk;
use crate::exec::instruction::{Instruction, Kind};
use crate::exec::operand::{A, Acc, C, Dest, Imm, Source, ToAcc, ToSlot, Value};
use crate::exec::state::{Handler, Op, State, Status, handler};
use crate::trap::TrapCode;
use crate::vmctx::GLOBAL_CELLS;

/// The class of a value: which accumulator it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Integers and references.
    Int,
    /// `f32`.
    F32,
    /// `f64`.
    F64,
}

/// Slot DST = slot A. Leaves the accumulators alone, as do all of these that have no result of a class.
struct Copy;

impl Op for Copy {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            *state.dst() = *state.a();
            state.next(2)
        }
    }
}

/// Slot DST = slot A, slot B = slot C, in this order.
struct CopyTwo;

impl Op for CopyTwo {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            *state.dst() = *state.a();
            *state.b() = *state.c();
            state.next(2)
        }
    }
}

/// Slot DST = the immediate, zero-extended.
struct Narrow;

impl Op for Narrow {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            *state.dst() = u64::from(state.k());
            state.next(2)
        }
    }
}

/// Slot DST = the word after the operands.
struct Wide;

impl Op for Wide {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            *state.dst() = state.word(2);
            state.next(3)
        }
    }
}

/// Slot DST = an accumulator.
struct Keep<T>(PhantomData<T>);

impl<T: Value> Op for Keep<T> {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            *state.dst() = T::accumulator(&state).slot();
            state.next(2)
        }
    }
}

/// Clears the slots from DST on; how many is in the immediate.
struct Clear;

impl Op for Clear {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller: the slots are locals of the frame.
        unsafe {
            state.dst().write_bytes(0, state.k() as usize);
            state.next(2)
        }
    }
}

/// Clears `N` slots from DST on.
struct ClearFew<const N: usize>;

impl<const N: usize> Op for ClearFew<N> {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller: the slots are locals of the frame.
        unsafe {
            state.dst().cast::<[u64; N]>().write([0; N]);
            state.next(2)
        }
    }
}

/// The handler of a copy between slots.
pub(crate) fn copy() -> Instruction {
    Instruction::new(handler::<Copy>(), Kind::Copy)
}

/// The handler of two copies between slots.
pub(crate) fn copy_two() -> Instruction {
    Instruction::new(handler::<CopyTwo>(), Kind::CopyTwo)
}

/// The handler of a constant that is its low 32 bits.
pub(crate) fn narrow() -> Instruction {
    Instruction::new(handler::<Narrow>(), Kind::Narrow)
}

/// The handler of any constant.
pub(crate) fn wide() -> Instruction {
    Instruction::new(handler::<Wide>(), Kind::Wide)
}

/// The handler that stores an accumulator.
pub(crate) fn keep(class: Class) -> Instruction {
    let handler = match class {
        Class::Int => handler::<Keep<u64>>(),
        Class::F32 => handler::<Keep<f32>>(),
        Class::F64 => handler::<Keep<f64>>(),
    };
    Instruction::new(handler, Kind::Keep { class })
}

/// The handler that clears `count` slots.
pub(crate) fn clear(count: usize) -> Instruction {
    let handler = match count {
        1 => handler::<ClearFew<1>>(),
        2 => handler::<ClearFew<2>>(),
        3 => handler::<ClearFew<3>>(),
        4 => handler::<ClearFew<4>>(),
        5 => handler::<ClearFew<5>>(),
        6 => handler::<ClearFew<6>>(),
        7 => handler::<ClearFew<7>>(),
        8 => handler::<ClearFew<8>>(),
        _ => handler::<Clear>(),
    };
    Instruction::new(handler, Kind::Clear)
}

/// `select`: slot A if the condition (slot C or the accumulator) is not zero, else slot B.
struct Select<T, S, D>(PhantomData<(T, S, D)>);

impl<T: Value, S: Source, D: Dest> Op for Select<T, S, D> {
    #[inline(always)]
    unsafe fn run(mut state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            let place = if S::get::<u32>(&state) != 0 { state.a() } else { state.b() };
            D::put(&mut state, T::load(place));
            state.next(2)
        }
    }
}

fn select_of<T: Value>(accumulator: bool) -> [Handler; 2] {
    if accumulator {
        [handler::<Select<T, Acc, ToAcc>>(), handler::<Select<T, Acc, ToSlot>>()]
    } else {
        [handler::<Select<T, C, ToAcc>>(), handler::<Select<T, C, ToSlot>>()]
    }
}

/// The handlers of `select` with the condition in slot C or in the accumulator.
pub(crate) fn select(class: Class, accumulator: bool) -> [Instruction; 2] {
    let handlers = match class {
        Class::Int => select_of::<u64>(accumulator),
        Class::F32 => select_of::<f32>(accumulator),
        Class::F64 => select_of::<f64>(accumulator),
    };
    Instruction::pair(handlers, |stored| Kind::Select { class, accumulator, stored })
}

/// Where a global's cell is.
trait Cell {
    unsafe fn cell(state: &State) -> *mut u64;
}

/// As [`Imported`]; before a write, whoever relies on there having been none is told.
struct Watched;

/// In the vmctx; the immediate is its index among the defined globals.
struct Defined;
/// Behind the vmctx's array; the immediate is its index among all globals.
struct Imported;

impl Cell for Defined {
    #[inline(always)]
    unsafe fn cell(state: &State) -> *mut u64 {
        // SAFETY: by the caller; the cells of defined globals follow the vmctx.
        unsafe { (*state.cx).vmctx.byte_add(GLOBAL_CELLS).cast::<u64>().add(state.k() as usize) }
    }
}

impl Cell for Imported {
    #[inline(always)]
    unsafe fn cell(state: &State) -> *mut u64 {
        // SAFETY: by the caller; the array has a pointer for every global.
        unsafe { (*(*(*state.cx).vmctx).globals.add(state.k() as usize)).cell }
    }
}

impl Cell for Watched {
    #[inline(always)]
    unsafe fn cell(state: &State) -> *mut u64 {
        // SAFETY: by the caller; the array has a record for every global.
        unsafe {
            let vmctx = (*state.cx).vmctx;
            let global = (*vmctx).globals.add(state.k() as usize);
            if !(*global).watch.is_null() {
                bulk::global_written(vmctx, state.k());
            }
            (*global).cell
        }
    }
}

struct GlobalGet<T, G, D>(PhantomData<(T, G, D)>);

impl<T: Value, G: Cell, D: Dest> Op for GlobalGet<T, G, D> {
    #[inline(always)]
    unsafe fn run(mut state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            let value = T::load(G::cell(&state));
            D::put(&mut state, value);
            state.next(2)
        }
    }
}

struct GlobalSet<T, G, S>(PhantomData<(T, G, S)>);

impl<T: Value, G: Cell, S: Source> Op for GlobalSet<T, G, S> {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            *G::cell(&state) = S::get::<T>(&state).slot();
            state.next(2)
        }
    }
}

fn global_get_of<T: Value>(defined: bool) -> [Handler; 2] {
    if defined {
        [handler::<GlobalGet<T, Defined, ToAcc>>(), handler::<GlobalGet<T, Defined, ToSlot>>()]
    } else {
        [handler::<GlobalGet<T, Imported, ToAcc>>(), handler::<GlobalGet<T, Imported, ToSlot>>()]
    }
}

/// The handlers of `global.get`.
pub(crate) fn global_get(class: Class, defined: bool) -> [Instruction; 2] {
    let handlers = match class {
        Class::Int => global_get_of::<u64>(defined),
        Class::F32 => global_get_of::<f32>(defined),
        Class::F64 => global_get_of::<f64>(defined),
    };
    Instruction::pair(handlers, |stored| if defined { Kind::GlobalGet { class, stored } } else { Kind::Other })
}

/// Which global an instruction writes, as the translator names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// A defined one, by its index among these.
    Defined,
    /// Any, by its index.
    Any,
    /// The same, where somebody may have to be told.
    Watched,
}

fn global_set_of<T: Value, S: Source>(written: Written) -> Handler {
    match written {
        Written::Defined => handler::<GlobalSet<T, Defined, S>>(),
        Written::Any => handler::<GlobalSet<T, Imported, S>>(),
        Written::Watched => handler::<GlobalSet<T, Watched, S>>(),
    }
}

/// The handler of `global.set` from slot A.
pub(crate) fn global_set_slot(written: Written) -> Instruction {
    global_set_from(global_set_of::<u64, A>(written), written, None)
}

fn global_set_from(handler: Handler, written: Written, from: Option<Class>) -> Instruction {
    let kind = if written == Written::Defined { Kind::GlobalSet { from } } else { Kind::Other };
    Instruction::new(handler, kind)
}

/// The handler of `global.set` from an accumulator.
pub(crate) fn global_set(class: Class, written: Written) -> Instruction {
    let handler = match class {
        Class::Int => global_set_of::<u64, Acc>(written),
        Class::F32 => global_set_of::<f32, Acc>(written),
        Class::F64 => global_set_of::<f64, Acc>(written),
    };
    global_set_from(handler, written, Some(class))
}

/// `memory.size`, in pages.
struct MemorySize<D>(PhantomData<D>);

impl<D: Dest> Op for MemorySize<D> {
    #[inline(always)]
    unsafe fn run(mut state: State) -> Status {
        // SAFETY: by the caller.
        unsafe {
            let pages = (state.len >> 16) as u32;
            D::put(&mut state, pages);
            state.next(2)
        }
    }
}

/// The handlers of `memory.size`.
pub(crate) fn memory_size() -> [Instruction; 2] {
    [handler::<MemorySize<ToAcc>>(), handler::<MemorySize<ToSlot>>()].map(Instruction::from)
}

/// `ref.func`: the address of the vmctx's reference number K.
struct RefFunc<D>(PhantomData<D>);

impl<D: Dest> Op for RefFunc<D> {
    #[inline(always)]
    unsafe fn run(mut state: State) -> Status {
        // SAFETY: by the caller; the vmctx has a reference for every function.
        unsafe {
            let reference = (*(*state.cx).vmctx).funcs.add(state.k() as usize) as u64;
            D::put(&mut state, reference);
            state.next(2)
        }
    }
}

/// The handlers of `ref.func`.
pub(crate) fn ref_func() -> [Instruction; 2] {
    [handler::<RefFunc<ToAcc>>(), handler::<RefFunc<ToSlot>>()].map(Instruction::from)
}

/// `unreachable`.
struct Unreachable;

impl Op for Unreachable {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: by the caller.
        unsafe { state.trap(TrapCode::Unreachable as Status) }
    }
}

/// The handler of `unreachable`.
pub(crate) fn unreachable() -> Handler {
    handler::<Unreachable>()
}

/// Return from the function. DST is the frame's first control slot; what it holds is read before a result overwrites
/// it.
struct Return<T, S>(PhantomData<(T, S)>);

impl<T: Value, S: Source> Op for Return<T, S> {
    #[inline(always)]
    unsafe fn run(mut state: State) -> Status {
        // SAFETY: by the caller; the call stored the control slots, the result's place is the caller's operand slot.
        unsafe {
            let control = state.dst();
            let (ip, fp) = (*control as *const u64, *control.add(1) as *mut u64);
            let value = S::get::<T>(&state);
            *state.fp = value.slot();
            value.accumulate(&mut state);
            State { ip, fp, ..state }.dispatch()
        }
    }
}

/// Return without a result.
struct ReturnNone;

impl Op for ReturnNone {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: as `Return`.
        unsafe {
            let control = state.dst();
            let (ip, fp) = (*control as *const u64, *control.add(1) as *mut u64);
            State { ip, fp, ..state }.dispatch()
        }
    }
}

/// Return of K results that lie in the slots from A on.
struct ReturnMany;

impl Op for ReturnMany {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: as `Return`; the frame has at least as many slots as there are results.
        unsafe {
            let control = state.dst();
            let (ip, fp) = (*control as *const u64, *control.add(1) as *mut u64);
            state.a().copy_to(state.fp, state.k() as usize);
            State { ip, fp, ..state }.dispatch()
        }
    }
}

/// Where the result of a return is, as the translator names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReturnPlace {
    /// Slot A.
    Slot,
    /// The accumulator of its class.
    Acc,
    /// The immediate (integers only).
    Imm,
}

fn return_of<T: Value>(place: ReturnPlace) -> Handler {
    match place {
        ReturnPlace::Slot => handler::<Return<T, A>>(),
        ReturnPlace::Acc => handler::<Return<T, Acc>>(),
        ReturnPlace::Imm => handler::<Return<T, Imm>>(),
    }
}

/// The handler of a return with one result. An immediate is zero-extended.
pub(crate) fn return_one(class: Class, place: ReturnPlace) -> Instruction {
    let handler = match (class, place) {
        (_, ReturnPlace::Imm) => return_of::<u32>(place),
        (Class::Int, _) => return_of::<u64>(place),
        (Class::F32, _) => return_of::<f32>(place),
        (Class::F64, _) => return_of::<f64>(place),
    };
    Instruction::new(handler, Kind::Return { class, place })
}

/// The handler of a return without a result.
pub(crate) fn return_none() -> Instruction {
    Instruction::new(handler::<ReturnNone>(), Kind::ReturnNone)
}

/// The handler of a return with several results.
pub(crate) fn return_many() -> Handler {
    handler::<ReturnMany>()
}
