//! Signatures. Where the other side of a call may be Cranelift's code, only what both pass the same way is accepted; between
//! functions of one unit LLVM is on both sides, so other conventions and any number of results will do.
//!
//! Both follow System V. Results come back in `rax`, `rdx`, `rcx` and `xmm0`, `xmm1`, an `i128` in two of the former; Cranelift
//! needs `enable_llvm_abi_extensions` for the third and for `i128`. With more, LLVM and Cranelift differ. Arguments that ask to
//! be extended are passed as `i64`, extended by whoever passes them.

use cranelift_codegen::{
    ir::{self, AbiParam, ArgumentExtension, ArgumentPurpose, Signature},
    isa::CallConv,
};
use inkwell::{
    builder::Builder,
    context::Context,
    types::{BasicMetadataTypeEnum, BasicType, BasicTypeEnum, FunctionType},
    values::BasicValueEnum,
};

use super::{basic_type, int_type};
use crate::refusal::Refusal;

/// Who is on the other side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A function of the same unit.
    Unit,
    /// Whoever holds the address: another tier, the host.
    Anyone,
    /// A function of the host's that is called by name.
    Import,
}

/// Result registers both compilers use.
const INT_RESULTS: u32 = 3;
const FLOAT_RESULTS: u32 = 2;
/// Integer argument registers.
const INT_ARGUMENTS: u32 = 6;

/// `preserve_most`: a stub of Cranelift's `preserve_all` keeps the general registers in any case, and of vectors less than LLVM has.
pub(crate) const KEEPS_REGISTERS: u32 = 14;

/// LLVM's number of the convention of a function or call.
pub(super) fn convention(signature: &Signature) -> u32 {
    match signature.call_conv {
        CallConv::Tail => 18,
        CallConv::WindowsFastcall => 79,
        CallConv::PreserveAll => KEEPS_REGISTERS,
        _ => 0,
    }
}

/// The LLVM type of a function.
pub(super) fn function_type<'ctx>(
    context: &'ctx Context,
    signature: &Signature,
    peer: Peer,
) -> Result<FunctionType<'ctx>, Refusal> {
    check(signature, peer).map_err(|why| Refusal::Signature { signature: signature.to_string(), why })?;
    let params = signature.params.iter().map(|param| passed_type(context, param).map(BasicMetadataTypeEnum::from));
    let params = params.collect::<Result<Vec<_>, _>>()?;
    let results = signature.returns.iter().map(|result| passed_type(context, result));
    let results = results.collect::<Result<Vec<_>, _>>()?;
    Ok(match results[..] {
        [] => context.void_type().fn_type(&params, false),
        [one] => one.fn_type(&params, false),
        _ => context.struct_type(&results, false).fn_type(&params, false),
    })
}

/// Whether the results fit into registers. If not, LLVM passes a hidden pointer.
pub(super) fn results_fit(signature: &Signature) -> bool {
    let (ints, floats) = registers(&signature.returns);
    ints <= INT_RESULTS && floats <= FLOAT_RESULTS
}

fn check(signature: &Signature, peer: Peer) -> Result<(), &'static str> {
    let plain = |param: &AbiParam| matches!(param.purpose, ArgumentPurpose::Normal | ArgumentPurpose::VMContext);
    if !signature.params.iter().chain(&signature.returns).all(plain) {
        return Err("structs are not passed");
    }
    match (signature.call_conv, peer) {
        (CallConv::SystemV | CallConv::Fast, Peer::Anyone | Peer::Import) => {}
        (CallConv::PreserveAll, Peer::Import) if signature.returns.is_empty() => {}
        (CallConv::SystemV | CallConv::Fast | CallConv::Tail | CallConv::WindowsFastcall, Peer::Unit) => return Ok(()),
        (CallConv::Tail | CallConv::WindowsFastcall, Peer::Anyone | Peer::Import) => {
            return Err("functions of this convention are called within their unit only");
        }
        _ => return Err("calling convention"),
    }
    if !results_fit(signature) {
        return Err("the results do not fit into registers");
    }
    if splits_i128(&signature.params) {
        return Err("an i128 argument beyond the registers");
    }
    Ok(())
}

/// Integer and float registers these take.
fn registers(params: &[AbiParam]) -> (u32, u32) {
    let floats = params.iter().filter(|param| param.value_type.is_float()).count() as u32;
    (params.iter().map(int_registers).sum(), floats)
}

fn int_registers(param: &AbiParam) -> u32 {
    match param.value_type {
        ir::types::I128 => 2,
        ty if ty.is_int() => 1,
        _ => 0,
    }
}

/// Whether an `i128` is passed on the stack, in part or whole: the conventions differ there.
fn splits_i128(params: &[AbiParam]) -> bool {
    let mut used = 0;
    params.iter().any(|param| {
        used += int_registers(param);
        param.value_type == ir::types::I128 && used > INT_ARGUMENTS
    })
}

/// The type a parameter or result travels as.
fn passed_type<'ctx>(context: &'ctx Context, param: &AbiParam) -> Result<BasicTypeEnum<'ctx>, Refusal> {
    match is_extended(param) {
        true => Ok(context.i64_type().into()),
        false => basic_type(context, param.value_type),
    }
}

fn is_extended(param: &AbiParam) -> bool {
    param.extension != ArgumentExtension::None && param.value_type.is_int() && param.value_type.bits() < 64
}

/// The value as it travels.
pub(super) fn pass<'ctx>(
    context: &'ctx Context,
    builder: &Builder<'ctx>,
    param: &AbiParam,
    value: BasicValueEnum<'ctx>,
) -> Result<BasicValueEnum<'ctx>, Refusal> {
    if !is_extended(param) {
        return Ok(value);
    }
    let signed = param.extension == ArgumentExtension::Sext;
    Ok(builder.build_int_cast_sign_flag(value.into_int_value(), context.i64_type(), signed, "")?.into())
}

/// The value that arrived, in its own type.
pub(super) fn receive<'ctx>(
    context: &'ctx Context,
    builder: &Builder<'ctx>,
    param: &AbiParam,
    value: BasicValueEnum<'ctx>,
) -> Result<BasicValueEnum<'ctx>, Refusal> {
    if !is_extended(param) {
        return Ok(value);
    }
    Ok(builder.build_int_truncate(value.into_int_value(), int_type(context, param.value_type), "")?.into())
}
