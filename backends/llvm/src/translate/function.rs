//! Functions as LLVM sees them: the unit's members, what they import, and the attributes that keep LLVM honest.

use std::collections::HashMap;

use cranelift_codegen::ir::{ExtFuncData, Function, Opcode, Signature};
use inkwell::{
    GlobalVisibility,
    attributes::{Attribute, AttributeLoc},
    context::Context,
    debug_info::DISubprogram,
    module::{Linkage, Module},
    values::FunctionValue,
};
use tierup_backends::abi::{POLL_SYMBOL, TRAP_SYMBOL};

use super::{
    TargetInfo,
    location::{Scoper, Scopes},
    signature::{self, Peer},
};
use crate::{
    Unit,
    refusal::Refusal,
    unit::{external_symbol, function_symbol},
};

/// The functions of a unit, declared before any is translated.
pub(super) struct Members<'ctx, 'a> {
    pub(super) scoper: Scoper<'ctx>,
    list: Vec<Member<'ctx, 'a>>,
    by_symbol: HashMap<String, usize>,
}

/// A function of the unit.
pub(super) struct Member<'ctx, 'a> {
    pub(super) func: &'a Function,
    pub(super) function: FunctionValue<'ctx>,
    pub(super) scope: DISubprogram<'ctx>,
}

/// A callee as a call sees it.
pub(super) struct Callee<'ctx> {
    pub(super) function: FunctionValue<'ctx>,
    pub(super) peer: Peer,
}

impl<'ctx, 'a> Members<'ctx, 'a> {
    pub(super) fn declare(
        context: &'ctx Context,
        module: &Module<'ctx>,
        unit: &Unit<'a>,
        target: &TargetInfo,
    ) -> Result<Self, Refusal> {
        let scoper = Scoper::new(context, module);
        let mut members = Members { scoper, list: Vec::new(), by_symbol: HashMap::new() };
        for func in unit.functions() {
            let symbol = function_symbol(func);
            let is_entry = members.list.is_empty();
            let peer = if is_entry { Peer::Anyone } else { Peer::Unit };
            if let Some(limit) = func.stack_limit {
                return Err(Refusal::Construct(format!("stack_limit = {limit} of `{symbol}`")));
            }
            if members.by_symbol.insert(symbol.clone(), members.list.len()).is_some() {
                return Err(Refusal::Construct(format!("two functions named `{symbol}`")));
            }
            let ty = signature::function_type(context, &func.signature, peer)?;
            let function = module.add_function(&symbol, ty, None);
            function.set_call_conventions(signature::convention(&func.signature));
            attributes(context, function, func, target);
            if is_entry {
                // Exported, and yet nobody's to replace: calls of itself need no indirection.
                function.as_global_value().set_visibility(GlobalVisibility::Protected);
            } else {
                function.set_linkage(Linkage::Internal);
                if !reads_own_frame(func) {
                    // Whoever put it into the unit has weighed that. LLVM leaves out what it cannot inline.
                    enum_attribute(context, function, "alwaysinline");
                }
            }
            let scope = members.scoper.declare(function, &symbol);
            members.list.push(Member { func, function, scope });
        }
        Ok(members)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member<'ctx, 'a>> {
        self.list.iter()
    }

    /// The functions' scopes. Completes the debug information: no function can be declared any more.
    pub(super) fn scopes(self) -> Scopes<'ctx> {
        self.list.iter().map(|member| (function_symbol(member.func), member.scope)).collect()
    }

    /// The function `caller` means: a member, or an import, which is declared at its first use.
    pub(super) fn callee(
        &self,
        context: &'ctx Context,
        module: &Module<'ctx>,
        caller: &Function,
        data: &ExtFuncData,
    ) -> Result<Callee<'ctx>, Refusal> {
        let symbol = external_symbol(&data.name, caller)?;
        let expected = &caller.dfg.signatures[data.signature];
        if let Some(&at) = self.by_symbol.get(&symbol) {
            let Member { func, function, .. } = self.list[at];
            if !agree(&func.signature, expected) {
                return Err(Refusal::Construct(format!("`{symbol}` is called as {expected} and is {}", func.signature)));
            }
            // The entry is called from outside too; its convention is everyone's.
            return Ok(Callee { function, peer: if at == 0 { Peer::Anyone } else { Peer::Unit } });
        }
        let ty = signature::function_type(context, expected, Peer::Import)?;
        let convention = signature::convention(expected);
        let function = match module.get_function(&symbol) {
            Some(declared) if declared.get_type() == ty && declared.get_call_conventions() == convention => declared,
            Some(_) => return Err(Refusal::Construct(format!("`{symbol}` is imported with two signatures"))),
            None => import(context, module, &symbol, ty, convention),
        };
        Ok(Callee { function, peer: Peer::Anyone })
    }
}

fn import<'ctx>(
    context: &'ctx Context,
    module: &Module<'ctx>,
    symbol: &str,
    ty: inkwell::types::FunctionType<'ctx>,
    convention: u32,
) -> FunctionValue<'ctx> {
    let function = module.add_function(symbol, ty, None);
    function.set_call_conventions(convention);
    // An import is the host's function of that name, which need not be what LLVM knows by it.
    enum_attribute(context, function, "nobuiltin");
    function.add_attribute(AttributeLoc::Function, context.create_string_attribute("no-builtins", ""));
    enum_attribute(context, function, "nounwind");
    if symbol == TRAP_SYMBOL {
        enum_attribute(context, function, "noreturn");
    }
    if [TRAP_SYMBOL, POLL_SYMBOL].contains(&symbol) {
        enum_attribute(context, function, "cold");
    }
    function
}

/// Whether a caller's signature is the callee's, the names of purposes aside.
fn agree(one: &Signature, other: &Signature) -> bool {
    let passed = |signature: &Signature| {
        let all = signature.params.iter().chain(&signature.returns);
        all.map(|param| (param.value_type, param.extension)).collect::<Vec<_>>()
    };
    one.params.len() == other.params.len()
        && passed(one) == passed(other)
        && signature::convention(one) == signature::convention(other)
}

fn attributes<'ctx>(context: &'ctx Context, function: FunctionValue<'ctx>, func: &Function, target: &TargetInfo) {
    let mut text = vec![
        ("frame-pointer", "all"),
        ("disable-tail-calls", "true"),
        // Every frame is reported to `Diagnostics`.
        ("warn-stack-size", "0"),
    ];
    if target.probes_stack {
        text.push(("probe-stack", "inline-asm"));
    }
    for (key, value) in text {
        function.add_attribute(AttributeLoc::Function, context.create_string_attribute(key, value));
    }
    enum_attribute(context, function, "nounwind");
    if reads_own_frame(func) {
        enum_attribute(context, function, "noinline");
    }
}

/// Whether the function asks where its own frame is, which inlining would change.
fn reads_own_frame(func: &Function) -> bool {
    let mut opcodes = func.layout.blocks().flat_map(|block| func.layout.block_insts(block));
    opcodes.any(|inst| matches!(func.dfg.insts[inst].opcode(), Opcode::GetFramePointer | Opcode::GetReturnAddress))
}

pub(super) fn enum_attribute<'ctx>(context: &'ctx Context, function: FunctionValue<'ctx>, name: &str) {
    let kind = Attribute::get_named_enum_kind_id(name);
    function.add_attribute(AttributeLoc::Function, context.create_enum_attribute(kind, 0));
}
