//! What native code calls: the interpreter for a function that has no native body, the interpreter for the rest of a call that was
//! left, and operators on types that nothing is known of.

use std::ffi::c_void;

use tierup::{
    CraneliftBackendBuilder,
    abi::{Regs, Resume},
    cranelift::codegen::{
        ir::{AbiParam, Signature, types::I64},
        isa::CallConv,
    },
};

use super::code::REGISTERS;
use super::value::{Operator, Value};
use super::vm::Vm;

/// The helpers' names.
pub(crate) const APPLY: &str = "apply";
pub(crate) const IS_TRUE: &str = "is_true";

/// `count` words in, one out.
pub(crate) fn words(count: usize) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend(vec![AbiParam::new(I64); count]);
    signature.returns.push(AbiParam::new(I64));
    signature
}

pub(crate) fn helpers(builder: CraneliftBackendBuilder) -> CraneliftBackendBuilder {
    // SAFETY: functions of this program, of these signatures; they call nothing that unwinds.
    let builder = unsafe { builder.symbol(APPLY, apply as *const u8, words(4)) };
    // SAFETY: as above.
    unsafe { builder.symbol(IS_TRUE, is_true as *const u8, words(2)) }
}

/// `a op b`, or no value.
unsafe extern "C" fn apply(vm: *const Vm, op: u64, a: Value, b: Value) -> Value {
    // SAFETY: native code passes on the vmctx it was given.
    let vm = unsafe { &*vm };
    vm.heap.apply(Operator::ALL[op as usize], a, b)
}

unsafe extern "C" fn is_true(vm: *const Vm, value: Value) -> u64 {
    // SAFETY: as above.
    let vm = unsafe { &*vm };
    vm.heap.is_true(value).into()
}

/// A native caller reaches a function that has no native body.
pub(crate) unsafe extern "C" fn bridge(vmctx: *mut c_void, callee: u64, regs: *mut Regs) -> u32 {
    // SAFETY: the vmctx we gave to native code is the `Vm`; `regs` is the stub's, for this call.
    let (vm, regs) = unsafe { (&*vmctx.cast::<Vm>(), &mut *regs) };
    let plan = &vm.plans[vm.parameters(callee as usize)];
    let mut arguments = [0; super::code::PARAMETERS];
    let arguments = &mut arguments[..plan.params().len()];
    // SAFETY: the callee has the plan's signature.
    unsafe { plan.read(regs, arguments) };
    match vm.call(callee as usize, arguments) {
        Ok(value) => {
            plan.write_result(regs, value);
            0
        }
        Err(trap) => {
            // SAFETY: the cells are this thread's. Not 0: native frames are unwound, and `enter` returns this code.
            unsafe { (*vm.cells).trap = trap.0 };
            1
        }
    }
}

/// A body leaves: the rest of its call is to be run, and its result put into `frame`.
pub(crate) unsafe extern "C" fn finish(vmctx: *mut c_void, callee: u64, frame: *mut u64, resume: u64) -> u32 {
    // SAFETY: the vmctx we gave to native code is the `Vm`.
    let vm = unsafe { &*vmctx.cast::<Vm>() };
    let Resume::Exit(exit) = Resume::decode(resume) else { unreachable!("the lowering has no leave blocks") };
    let mut registers = [0; REGISTERS];
    // SAFETY: the cells are this thread's; the finish stub has just said where the code left.
    let at = unsafe { (*vm.cells).exit_pc };
    let pc = vm.left(at, exit, callee as usize, &mut registers);
    match vm.interpret(callee as usize, &mut registers, pc) {
        Ok(value) => {
            // SAFETY: the stub's buffer, which has room for a result.
            unsafe { *frame = value };
            0
        }
        Err(trap) => {
            // SAFETY: as in `bridge`.
            unsafe { (*vm.cells).trap = trap.0 };
            1
        }
    }
}
