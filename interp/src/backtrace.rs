//! Backtraces: frames of native code found on the machine stack, frames of all tiers named for the embedder.

use std::panic;

use crate::error::Error;
use crate::module::Function;
use crate::store::StoreInner;
use crate::trap::{Frame, HostPayload, Raised, Trap, TrapCode};
use tierup::abi::{self, Segment};

/// Tells function and offset of each native frame of a segment, innermost first, what was inlined included.
///
/// # Safety
///
/// The calling thread runs `store`, and the segment is still on its stack.
pub(crate) unsafe fn native_frames(store: *const StoreInner, segment: Segment, mut found: impl FnMut(*const Function, u32)) {
    // SAFETY: by the caller.
    let engine = unsafe { &(*store).engine };
    // SAFETY: by the caller.
    for return_address in unsafe { segment.frames() } {
        engine.native_locations(return_address, |body, offset| {
            // SAFETY: while its code is on the stack, that keeps the body, and an instance in the store the module; what is
            // inlined is of the same module.
            let (body, function) = unsafe { (&*body, (*body).function()) };
            found(function, offset.unwrap_or(body.start() as u32));
        });
    }
}

/// What native code that ended in a trap raised: what a callee left in the store, or its own trap.
///
/// # Safety
///
/// The calling thread runs `store`, and native code has just ended with `code`.
pub(crate) unsafe fn raised_by_native(store: *mut StoreInner, code: abi::TrapCode) -> Raised {
    // SAFETY: by the caller.
    if let Some(raised) = unsafe { (*store).raised.take() } {
        return raised;
    }
    let mut raised = Raised::new(TrapCode::from_u64(code.0).expect("native code traps with our numbers"));
    // SAFETY: by the caller; the trap hook left the frames there.
    for frame in unsafe { &mut (*store).native_frames }.drain(..) {
        raised.push(frame.function, frame.offset);
    }
    raised
}

/// What was raised, as the embedder sees it.
///
/// # Panics
///
/// Resumes the panic of a host function.
///
/// # Safety
///
/// The calling thread holds `store`, in which it was raised.
pub(crate) unsafe fn to_error(store: *mut StoreInner, raised: Raised) -> Error {
    let code = raised.code();
    // SAFETY: by the caller.
    let backtrace = raised.frames().iter().map(|frame| unsafe { named(store, frame.function, frame.offset) }).collect();
    match raised.into_host() {
        Some(HostPayload::Error(error)) => match error.into_error() {
            // Of a call that a host function made and passed on: it goes on through the frames that called the host.
            Error::Trap(trap) => trap.through(backtrace).into(),
            other => other,
        },
        Some(HostPayload::Body(error)) => error,
        Some(HostPayload::Panic(payload)) => panic::resume_unwind(payload),
        None => Trap::new(code, backtrace).into(),
    }
}

/// A frame with its function's name.
///
/// # Safety
///
/// The calling thread holds `store`, and `function` is of a module one of its instances has.
unsafe fn named(store: *const StoreInner, function: *const Function, offset: u32) -> Frame {
    // SAFETY: by the caller; the instance keeps the module.
    let (index, instances) = unsafe { ((*function).index, &(*store).instances) };
    let name = instances.iter().find_map(|instance| {
        // SAFETY: the store's instances are alive; nothing changes their module.
        let module = unsafe { &(*instance.as_ptr()).module };
        module.functions.as_ptr_range().contains(&function).then(|| module.function_name(index))?
    });
    Frame { function: index, name: name.map(str::to_owned), offset: u64::from(offset) }
}
