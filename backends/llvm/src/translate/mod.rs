//! CLIF → LLVM IR. Blocks become blocks, block parameters phis; each family of instructions has a file.
//!
//! The function keeps its frame pointer (frame walks), its calls (no tail-call elimination: endless recursion must reach its
//! stack check) and its traps (calls of the noreturn stub). Values are integers and floats; addresses become pointers where
//! they are used.

mod address;
mod call;
mod control;
mod float;
mod integer;
mod memory;

use cranelift_codegen::{
    dominator_tree::DominatorTree,
    entity::SecondaryMap,
    flowgraph::ControlFlowGraph,
    ir::{self, AbiParam, Block, ExternalName, Function, Inst, Signature, Type, Value, types},
    isa::CallConv,
};
use inkwell::{
    attributes::{Attribute, AttributeLoc},
    basic_block::BasicBlock,
    builder::Builder,
    context::Context,
    module::Module,
    types::{BasicMetadataTypeEnum, BasicType, BasicTypeEnum, FunctionType},
    values::{BasicValue, BasicValueEnum, FloatValue, FunctionValue, IntValue, PhiValue},
};

use crate::refusal::Refusal;

/// Whether a family knew the instruction.
type Handled = Result<bool, Refusal>;

/// Translates a verified function into a module of its own that defines `symbol`.
pub(crate) fn function<'ctx>(context: &'ctx Context, func: &Function, symbol: &str) -> Result<Module<'ctx>, Refusal> {
    let module = context.create_module(symbol);
    let signature = function_type(context, &func.signature)?;
    let function = module.add_function(symbol, signature, None);
    for (key, value) in [("frame-pointer", "all"), ("disable-tail-calls", "true")] {
        function.add_attribute(AttributeLoc::Function, context.create_string_attribute(key, value));
    }
    add_enum_attribute(context, function, "nounwind");
    let mut translator = Translator::new(context, &module, func, function);
    translator.run()?;
    Ok(module)
}

/// The translation of one function under way.
struct Translator<'ctx, 'a> {
    context: &'ctx Context,
    module: &'a Module<'ctx>,
    builder: Builder<'ctx>,
    func: &'a Function,
    function: FunctionValue<'ctx>,
    blocks: SecondaryMap<Block, Option<BasicBlock<'ctx>>>,
    values: SecondaryMap<Value, Option<BasicValueEnum<'ctx>>>,
    phis: SecondaryMap<Block, Vec<PhiValue<'ctx>>>,
}

impl<'ctx, 'a> Translator<'ctx, 'a> {
    fn new(context: &'ctx Context, module: &'a Module<'ctx>, func: &'a Function, function: FunctionValue<'ctx>) -> Self {
        Translator {
            context,
            module,
            builder: context.create_builder(),
            func,
            function,
            blocks: SecondaryMap::new(),
            values: SecondaryMap::new(),
            phis: SecondaryMap::new(),
        }
    }

    fn run(&mut self) -> Result<(), Refusal> {
        let cfg = ControlFlowGraph::with_function(self.func);
        let dominators = DominatorTree::with_function(self.func, &cfg);
        // Definitions before uses; unreachable blocks are left out.
        let order: Vec<Block> = dominators.cfg_rpo().copied().collect();
        let entry = self.context.append_basic_block(self.function, "entry");
        for &block in &order {
            self.declare(block)?;
        }
        self.builder.position_at_end(entry);
        let first = order[0];
        let params = self.function.get_params();
        self.bind(first, entry, &params);
        self.builder.build_unconditional_branch(self.block(first))?;
        for &block in &order {
            self.builder.position_at_end(self.block(block));
            for inst in self.func.layout.block_insts(block) {
                self.inst(inst)?;
            }
        }
        Ok(())
    }

    /// Makes the LLVM block and the phis of a CLIF block.
    fn declare(&mut self, block: Block) -> Result<(), Refusal> {
        let target = self.context.append_basic_block(self.function, &block.to_string());
        self.blocks[block] = Some(target);
        self.builder.position_at_end(target);
        for &param in self.func.dfg.block_params(block) {
            let phi = self.builder.build_phi(self.value_type(param)?, &param.to_string())?;
            self.values[param] = Some(phi.as_basic_value());
            self.phis[block].push(phi);
        }
        Ok(())
    }

    /// Gives the phis of `block` their values on the edge from `from`.
    fn bind(&self, block: Block, from: BasicBlock<'ctx>, args: &[BasicValueEnum<'ctx>]) {
        debug_assert_eq!(self.phis[block].len(), args.len());
        for (phi, arg) in self.phis[block].iter().zip(args) {
            phi.add_incoming(&[(arg as &dyn BasicValue<'ctx>, from)]);
        }
    }

    /// Offers the instruction to the families.
    fn inst(&mut self, inst: Inst) -> Result<(), Refusal> {
        let known = integer::translate(self, inst)?
            || memory::translate(self, inst)?
            || control::translate(self, inst)?
            || float::translate(self, inst)?
            || call::translate(self, inst)?;
        if known { Ok(()) } else { Err(self.unknown(inst)) }
    }

    fn unknown(&self, inst: Inst) -> Refusal {
        Refusal::Unknown(format!("instruction `{}`", self.func.dfg.display_inst(inst)))
    }

    fn block(&self, block: Block) -> BasicBlock<'ctx> {
        self.blocks[block].expect("every reachable block is declared")
    }

    fn value(&self, value: Value) -> BasicValueEnum<'ctx> {
        let value = self.func.dfg.resolve_aliases(value);
        self.values[value].expect("verified CLIF defines values before their uses, and blocks come in that order")
    }

    fn int(&self, value: Value) -> IntValue<'ctx> {
        self.value(value).into_int_value()
    }

    fn float(&self, value: Value) -> FloatValue<'ctx> {
        self.value(value).into_float_value()
    }

    /// Argument `index` of an instruction.
    fn arg(&self, inst: Inst, index: usize) -> Value {
        self.func.dfg.inst_args(inst)[index]
    }

    /// Type of the first result.
    fn clif_type(&self, inst: Inst) -> Type {
        self.func.dfg.value_type(self.func.dfg.first_result(inst))
    }

    fn define(&mut self, inst: Inst, value: impl BasicValue<'ctx>) {
        self.values[self.func.dfg.first_result(inst)] = Some(value.as_basic_value_enum());
    }

    fn value_type(&self, value: Value) -> Result<BasicTypeEnum<'ctx>, Refusal> {
        basic_type(self.context, self.func.dfg.value_type(value))
    }
}

fn add_enum_attribute<'ctx>(context: &'ctx Context, function: FunctionValue<'ctx>, name: &str) {
    let kind = Attribute::get_named_enum_kind_id(name);
    function.add_attribute(AttributeLoc::Function, context.create_enum_attribute(kind, 0));
}

fn basic_type(context: &Context, ty: Type) -> Result<BasicTypeEnum<'_>, Refusal> {
    Ok(match ty {
        types::F32 => context.f32_type().into(),
        types::F64 => context.f64_type().into(),
        types::I8 | types::I16 | types::I32 | types::I64 => int_type(context, ty).into(),
        other => return Err(Refusal::Unknown(format!("type {other}"))),
    })
}

fn int_type(context: &Context, ty: Type) -> inkwell::types::IntType<'_> {
    context.custom_width_int_type(std::num::NonZeroU32::new(ty.bits()).expect("a scalar")).expect("at most 64 bits")
}

fn function_type<'ctx>(context: &'ctx Context, signature: &Signature) -> Result<FunctionType<'ctx>, Refusal> {
    let plain = |param: &AbiParam| param.purpose == ir::ArgumentPurpose::Normal;
    let params = signature.params.iter().chain(&signature.returns);
    if signature.call_conv != CallConv::SystemV || signature.returns.len() > 1 || !params.clone().all(plain) {
        return Err(Refusal::Unknown(format!("signature {signature}")));
    }
    let params: Vec<BasicMetadataTypeEnum<'_>> =
        signature.params.iter().map(|param| basic_type(context, param.value_type).map(Into::into)).collect::<Result<_, _>>()?;
    Ok(match signature.returns.first() {
        Some(result) => basic_type(context, result.value_type)?.fn_type(&params, false),
        None => context.void_type().fn_type(&params, false),
    })
}

/// The host symbol an external name stands for.
fn symbol_name(name: &ExternalName) -> Result<String, Refusal> {
    match name {
        ExternalName::TestCase(name) => Ok(String::from_utf8_lossy(name.raw()).into_owned()),
        other => Err(Refusal::Unknown(format!("callee {}", other.display(None)))),
    }
}
