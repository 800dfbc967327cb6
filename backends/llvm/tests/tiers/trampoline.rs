//! A way to call any signature: a function written in CLIF that takes its arguments from a buffer and leaves the results there.

use cranelift_codegen::{
    data_value::DataValue,
    ir::{AbiParam, ExtFuncData, ExternalName, Function, InstBuilder, MemFlagsData, Signature, UserFuncName, types::I64},
    isa::CallConv,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

use super::isa;

/// Bytes of a buffer slot, which holds any value.
const SLOT: i32 = 16;

/// `%name(buffer)`, which calls `%callee`.
pub(crate) fn trampoline(name: &str, callee: &str, signature: &Signature) -> Function {
    let mut own = Signature::new(CallConv::SystemV);
    own.params.push(AbiParam::new(I64));
    let mut func = Function::with_name_signature(UserFuncName::testcase(name), own);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let buffer = b.block_params(entry)[0];
    let imported = b.import_signature(signature.clone());
    let name = ExternalName::testcase(callee);
    let callee = ExtFuncData { name, signature: imported, colocated: false, patchable: false };
    let callee = b.import_function(callee);
    let flags = MemFlagsData::trusted();
    let args = signature.params.iter().zip(0..).map(|(param, at)| b.ins().load(param.value_type, flags, buffer, SLOT * at));
    let args: Vec<_> = args.collect();
    let inst = b.ins().call(callee, &args);
    let results = b.inst_results(inst).to_vec();
    for (result, at) in results.into_iter().zip(0..) {
        b.ins().store(flags, result, buffer, SLOT * at);
    }
    b.ins().return_(&[]);
    b.finalize(isa(false).frontend_config());
    func
}

/// Calls a compiled trampoline.
///
/// # Safety
///
/// `entry` is a trampoline for a function of this signature, and alive.
pub(crate) unsafe fn call(entry: usize, signature: &Signature, args: &[DataValue]) -> Vec<DataValue> {
    let mut buffer = vec![0u128; args.len().max(signature.returns.len()).max(1)];
    for (slot, arg) in buffer.iter_mut().zip(args) {
        let mut bytes = slot.to_ne_bytes();
        arg.write_to_slice_ne(&mut bytes);
        *slot = u128::from_ne_bytes(bytes);
    }
    // SAFETY: the caller's promise.
    let entry: extern "C" fn(*mut u128) = unsafe { std::mem::transmute(entry) };
    entry(buffer.as_mut_ptr());
    let read = |(param, slot): (&AbiParam, &u128)| DataValue::read_from_slice_ne(&slot.to_ne_bytes(), param.value_type);
    signature.returns.iter().zip(&buffer).map(read).collect()
}
