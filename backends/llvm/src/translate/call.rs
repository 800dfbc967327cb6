//! Calls: of host symbols by name, of code addresses, and of the intrinsics CLIF has opcodes for.

use cranelift_codegen::ir::{FuncRef, Inst, InstructionData, Opcode, Value};
use inkwell::{
    AddressSpace,
    intrinsics::Intrinsic,
    types::BasicTypeEnum,
    values::{BasicMetadataValueEnum, CallSiteValue, FunctionValue},
};
use tierup_backends::abi::TRAP_SYMBOL;

use super::{Handled, Translator, add_enum_attribute, function_type, symbol_name};
use crate::refusal::Refusal;

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    match t.func.dfg.insts[inst] {
        InstructionData::Call { opcode: Opcode::Call, func_ref, .. } => {
            let callee = host_function(t, func_ref)?;
            let args = arguments(t, t.func.dfg.inst_args(inst));
            let call = t.builder.build_direct_call(callee, &args, "")?;
            result(t, inst, call);
        }
        InstructionData::CallIndirect { opcode: Opcode::CallIndirect, sig_ref, .. } => {
            let signature = function_type(t.context, &t.func.dfg.signatures[sig_ref])?;
            let (callee, args) = t.func.dfg.inst_args(inst).split_first().expect("the callee comes first");
            let args = arguments(t, args);
            let pointer = t.context.ptr_type(AddressSpace::default());
            let callee = t.builder.build_int_to_ptr(t.int(*callee), pointer, "")?;
            let call = t.builder.build_indirect_call(signature, callee, &args, "")?;
            result(t, inst, call);
        }
        InstructionData::NullAry { opcode: Opcode::GetStackPointer } => {
            let i64_type = t.context.i64_type();
            let read = t.intrinsic("llvm.read_register", &[i64_type.into()])?;
            let rsp = t.context.metadata_node(&[t.context.metadata_string("rsp").into()]);
            let call = t.builder.build_direct_call(read, &[rsp.into()], "")?;
            result(t, inst, call);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Declares the host symbol once. The trap stub does not return and is never hot.
fn host_function<'ctx>(t: &Translator<'ctx, '_>, func_ref: FuncRef) -> Result<FunctionValue<'ctx>, Refusal> {
    let callee = &t.func.dfg.ext_funcs[func_ref];
    let name = symbol_name(&callee.name)?;
    if let Some(declared) = t.module.get_function(&name) {
        return Ok(declared);
    }
    let signature = function_type(t.context, &t.func.dfg.signatures[callee.signature])?;
    let function = t.module.add_function(&name, signature, None);
    if name == TRAP_SYMBOL {
        add_enum_attribute(t.context, function, "noreturn");
        add_enum_attribute(t.context, function, "cold");
    }
    Ok(function)
}

fn arguments<'ctx>(t: &Translator<'ctx, '_>, args: &[Value]) -> Vec<BasicMetadataValueEnum<'ctx>> {
    args.iter().map(|&arg| t.value(arg).into()).collect()
}

fn result<'ctx>(t: &mut Translator<'ctx, '_>, inst: Inst, call: CallSiteValue<'ctx>) {
    if let Some(value) = call.try_as_basic_value().basic() {
        t.define(inst, value);
    }
}

impl<'ctx> Translator<'ctx, '_> {
    /// An LLVM intrinsic, overloaded on `types`.
    pub(super) fn intrinsic(&self, name: &str, types: &[BasicTypeEnum<'ctx>]) -> Result<FunctionValue<'ctx>, Refusal> {
        let intrinsic = Intrinsic::find(name);
        let function = intrinsic.and_then(|intrinsic| intrinsic.get_declaration(self.module, types));
        function.ok_or_else(|| Refusal::Llvm(format!("no intrinsic {name}")))
    }
}
