//! Calls: of unit members and imports by name, of code addresses, and tail calls between `tail` functions of one unit.

use cranelift_codegen::{
    ir::{BlockCall, FuncRef, GlobalValueData, Inst, InstructionData, Opcode, Signature, Value, ValueDef},
    isa::CallConv,
};
use inkwell::{
    AddressSpace,
    attributes::{Attribute, AttributeLoc},
    context::Context,
    llvm_sys::LLVMTailCallKind,
    types::BasicTypeEnum,
    values::{BasicMetadataValueEnum, BasicValueEnum, CallSiteValue, ValueKind},
};

use super::{
    Handled, Translator,
    function::Callee,
    signature::{self, Peer},
};
use crate::{refusal::Refusal, unit::external_symbol};

pub(super) fn translate(t: &mut Translator<'_, '_>, inst: Inst) -> Handled {
    match t.func.dfg.insts[inst] {
        InstructionData::Call { opcode: opcode @ (Opcode::Call | Opcode::ReturnCall), func_ref, .. } => {
            let callee = t.callee(func_ref)?;
            let signature = &t.func.dfg.signatures[t.func.dfg.ext_funcs[func_ref].signature];
            let args = arguments(t, signature, t.func.dfg.inst_args(inst))?;
            let call = t.builder.build_direct_call(callee.function, &args, "")?;
            finish(t, inst, opcode, signature, call)?;
        }
        InstructionData::CallIndirect {
            opcode: opcode @ (Opcode::CallIndirect | Opcode::ReturnCallIndirect), sig_ref, ..
        } => {
            let signature = &t.func.dfg.signatures[sig_ref];
            let (&callee, args) = t.func.dfg.inst_args(inst).split_first().expect("the callee comes first");
            let ty = signature::function_type(t.context, signature, peer_of(t, callee)?)?;
            let args = arguments(t, signature, args)?;
            let pointer = t.context.ptr_type(AddressSpace::default());
            let callee = t.builder.build_int_to_ptr(t.int(callee), pointer, "")?;
            let call = t.builder.build_indirect_call(ty, callee, &args, "")?;
            finish(t, inst, opcode, signature, call)?;
        }
        InstructionData::FuncAddr { opcode: Opcode::FuncAddr, func_ref } => {
            let callee = t.callee(func_ref)?;
            if callee.peer == Peer::Unit && !stays_within(t, inst) {
                let signature = &t.func.dfg.signatures[t.func.dfg.ext_funcs[func_ref].signature];
                // Whoever gets hold of the address must be able to call it.
                signature::function_type(t.context, signature, Peer::Anyone)?;
            }
            let pointer = callee.function.as_global_value().as_pointer_value();
            let address = t.builder.build_ptr_to_int(pointer, t.context.i64_type(), "")?;
            t.define(inst, address);
        }
        InstructionData::UnaryGlobalValue { opcode: Opcode::SymbolValue, global_value } => {
            let GlobalValueData::Symbol { name, offset, tls: false, .. } = &t.func.global_values[global_value] else {
                return Ok(false);
            };
            let symbol = external_symbol(name, t.func)?;
            if t.module.get_function(&symbol).is_some() {
                return Err(Refusal::Construct(format!("`{symbol}` is a function and a global value")));
            }
            let i64_type = t.context.i64_type();
            let global = t.module.get_global(&symbol);
            let global = global.unwrap_or_else(|| t.module.add_global(t.context.i8_type(), None, &symbol));
            let address = t.builder.build_ptr_to_int(global.as_pointer_value(), i64_type, "")?;
            let offset = i64_type.const_int(offset.bits().cast_unsigned(), true);
            let address = t.builder.build_int_add(address, offset, "")?;
            t.define(inst, address);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Who may be at the address: functions of the unit, if it was taken in this very function, or anyone.
fn peer_of(t: &Translator<'_, '_>, callee: Value) -> Result<Peer, Refusal> {
    let ValueDef::Result(inst, _) = t.func.dfg.value_def(callee) else { return Ok(Peer::Anyone) };
    match t.func.dfg.insts[inst] {
        InstructionData::FuncAddr { func_ref, .. } => Ok(t.callee(func_ref)?.peer),
        InstructionData::Ternary { opcode: Opcode::Select, args: [_, one, other] } => {
            let both = [peer_of(t, one)?, peer_of(t, other)?];
            Ok(if both == [Peer::Unit; 2] { Peer::Unit } else { Peer::Anyone })
        }
        _ => Ok(Peer::Anyone),
    }
}

/// Whether an address is only called in this function, also by way of a `select`.
fn stays_within(t: &Translator<'_, '_>, address: Inst) -> bool {
    let address = t.func.dfg.first_result(address);
    let is_address = |value: &Value| t.func.dfg.resolve_aliases(*value) == address;
    let mut insts = t.func.layout.blocks().flat_map(|block| t.func.layout.block_insts(block));
    insts.all(|inst| {
        let data = &t.func.dfg.insts[inst];
        let args = t.func.dfg.inst_args(inst);
        let kept = match data.opcode() {
            Opcode::CallIndirect | Opcode::ReturnCallIndirect => !args[1..].iter().any(is_address),
            Opcode::Select => !args.iter().any(is_address) || stays_within(t, inst),
            _ => !args.iter().any(is_address),
        };
        let mut branches = data.branch_destination(&t.func.dfg.jump_tables, &t.func.dfg.exception_tables).iter();
        let passes = |block: &BlockCall| {
            let mut args = block.args(&t.func.dfg.value_lists).filter_map(|arg| arg.as_value());
            args.any(|value| is_address(&value))
        };
        kept && !branches.any(passes)
    })
}

fn arguments<'ctx>(
    t: &Translator<'ctx, '_>,
    signature: &Signature,
    args: &[Value],
) -> Result<Vec<BasicMetadataValueEnum<'ctx>>, Refusal> {
    let pass = |(param, &arg)| signature::pass(t.context, &t.builder, param, t.value(arg)).map(Into::into);
    signature.params.iter().zip(args).map(pass).collect()
}

/// Sets the convention; takes the results, or returns them at once.
fn finish<'ctx>(
    t: &mut Translator<'ctx, '_>,
    inst: Inst,
    opcode: Opcode,
    signature: &Signature,
    call: CallSiteValue<'ctx>,
) -> Result<(), Refusal> {
    call.set_call_convention(signature::convention(signature));
    stay_apart(t.context, call);
    if matches!(opcode, Opcode::ReturnCall | Opcode::ReturnCallIndirect) {
        // LLVM aborts on tail calls whose results go through memory.
        if signature.call_conv != CallConv::Tail || !signature::results_fit(signature) {
            return Err(t.unknown(inst));
        }
        call.set_tail_call_kind(LLVMTailCallKind::LLVMTailCallKindMustTail);
        match call.try_as_basic_value() {
            ValueKind::Basic(value) => t.builder.build_return(Some(&value))?,
            ValueKind::Instruction(_) => t.builder.build_return(None)?,
        };
        return Ok(());
    }
    if let Some(value) = call.try_as_basic_value().basic() {
        let values = split(t, value, signature.returns.len())?;
        for (at, value) in values.into_iter().enumerate() {
            let value = signature::receive(t.context, &t.builder, &signature.returns[at], value)?;
            t.values[t.func.dfg.inst_results(inst)[at]] = Some(value);
        }
    }
    Ok(())
}

/// Keeps LLVM from making one call of two: a return address tells which it was.
fn stay_apart<'ctx>(context: &'ctx Context, call: CallSiteValue<'ctx>) {
    let kind = Attribute::get_named_enum_kind_id("nomerge");
    call.add_attribute(AttributeLoc::Function, context.create_enum_attribute(kind, 0));
}

/// The results of a call: one, or the fields of a struct.
fn split<'ctx>(
    t: &Translator<'ctx, '_>,
    value: BasicValueEnum<'ctx>,
    count: usize,
) -> Result<Vec<BasicValueEnum<'ctx>>, Refusal> {
    if count == 1 {
        return Ok(vec![value]);
    }
    let field = |at: usize| Ok(t.builder.build_extract_value(value.into_struct_value(), at as u32, "")?);
    (0..count).map(field).collect()
}

impl<'ctx> Translator<'ctx, '_> {
    fn callee(&self, func_ref: FuncRef) -> Result<Callee<'ctx>, Refusal> {
        self.members.callee(self.context, self.module, self.func, &self.func.dfg.ext_funcs[func_ref])
    }

    /// The function's parameters, in their own types.
    pub(super) fn incoming(&self) -> Result<Vec<BasicValueEnum<'ctx>>, Refusal> {
        let params = self.function.get_params();
        let receive = |(param, value)| signature::receive(self.context, &self.builder, param, value);
        self.func.signature.params.iter().zip(params).map(receive).collect()
    }

    /// Returns `values`.
    pub(super) fn outgoing(&self, values: &[Value]) -> Result<(), Refusal> {
        let pass = |(param, &value)| signature::pass(self.context, &self.builder, param, self.value(value));
        let values = self.func.signature.returns.iter().zip(values).map(pass).collect::<Result<Vec<_>, _>>()?;
        match values[..] {
            [] => self.builder.build_return(None)?,
            [value] => self.builder.build_return(Some(&value))?,
            _ => {
                let types: Vec<BasicTypeEnum<'ctx>> = values.iter().map(|value| value.get_type()).collect();
                let mut all = self.context.struct_type(&types, false).get_undef();
                for (at, value) in values.into_iter().enumerate() {
                    all = self.builder.build_insert_value(all, value, at as u32, "")?.into_struct_value();
                }
                self.builder.build_return(Some(&all))?
            }
        };
        Ok(())
    }
}
