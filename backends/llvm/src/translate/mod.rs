//! CLIF → LLVM IR. Blocks become blocks, block parameters phis; each family of instructions has a file.
//!
//! A function keeps its frame pointer (frame walks), its calls (no tail-call elimination: endless recursion must reach its
//! stack check) and its traps. Values are integers and floats; addresses become pointers where they are used.
//!
//! What is not in a family's `match` is refused. So are types other than integers of 8 to 128 bits and scalar floats; `f16`
//! and `f128` are moved about, not computed with.

mod address;
mod atomic;
mod bits;
mod call;
mod control;
mod convert;
mod division;
mod float;
mod frame;
mod function;
mod induction;
mod integer;
mod intrinsic;
mod location;
mod memory;
mod metadata;
mod minimum;
mod overflow;
mod predication;
mod quiet;
mod relax;
mod signature;
mod stack;
mod trap;

use std::collections::HashMap;

use cranelift_codegen::{
    dominator_tree::DominatorTree,
    entity::SecondaryMap,
    flowgraph::ControlFlowGraph,
    ir::{self, Block, Function, Inst, StackSlot, Type, Value, types},
};
use inkwell::{
    basic_block::BasicBlock,
    builder::Builder,
    context::Context,
    debug_info::DISubprogram,
    module::Module,
    types::{BasicTypeEnum, FloatType, IntType},
    values::{BasicValue, BasicValueEnum, FloatValue, FunctionValue, IntValue, PhiValue, PointerValue},
};

use crate::{Unit, refusal::Refusal};
pub(crate) use frame::share_stack_pointer;
use function::{Member, Members};
use induction::Induction;
use location::Scopes;
pub(crate) use location::{Chains, number};
pub(crate) use minimum::quiet_minima;
use predication::Predication;
use quiet::Quieting;
pub(crate) use relax::{operand, relax};
pub(crate) use signature::KEEPS_REGISTERS;

/// Whether a family knew the instruction.
type Handled = Result<bool, Refusal>;

/// What the translation depends on besides the CLIF.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TargetInfo {
    /// 16-byte atomics are instructions, not library calls.
    pub(crate) has_cmpxchg16b: bool,
    /// Large frames touch each page on the way.
    pub(crate) probes_stack: bool,
}

/// What is to be known of a translated unit.
pub(crate) struct Translated<'ctx> {
    /// Its loops should be unswitched.
    pub(crate) unswitch: bool,
    /// Where its functions' locations lead.
    pub(crate) scopes: Scopes<'ctx>,
}

/// Translates verified functions into an empty module, which exports the entry.
pub(crate) fn unit<'ctx>(
    context: &'ctx Context,
    module: &Module<'ctx>,
    unit: &Unit<'_>,
    target: &TargetInfo,
) -> Result<Translated<'ctx>, Refusal> {
    let mut unswitch = false;
    let members = Members::declare(context, module, unit, target)?;
    for member in members.iter() {
        let cfg = ControlFlowGraph::with_function(member.func);
        let dominators = DominatorTree::with_function(member.func, &cfg);
        let mut translator = Translator::new(context, module, &members, target, member, &cfg, &dominators);
        unswitch |= translator.predication.finds_any();
        translator.run(&dominators)?;
    }
    Ok(Translated { unswitch, scopes: members.scopes() })
}

/// The translation of one function under way.
struct Translator<'ctx, 'a> {
    context: &'ctx Context,
    module: &'a Module<'ctx>,
    members: &'a Members<'ctx, 'a>,
    target: &'a TargetInfo,
    builder: Builder<'ctx>,
    func: &'a Function,
    function: FunctionValue<'ctx>,
    /// Where its locations are.
    scope: DISubprogram<'ctx>,
    blocks: SecondaryMap<Block, Option<BasicBlock<'ctx>>>,
    /// The last of the LLVM blocks a translated block became.
    ends: SecondaryMap<Block, Option<BasicBlock<'ctx>>>,
    values: SecondaryMap<Value, Option<BasicValueEnum<'ctx>>>,
    induction: Induction,
    predication: Predication,
    /// By loop that is predicated: whether its checks must be made, once a check asked.
    checked_loops: Vec<Option<IntValue<'ctx>>>,
    quieting: Quieting,
    quieted: SecondaryMap<Value, Option<BasicValueEnum<'ctx>>>,
    phis: SecondaryMap<Block, Vec<PhiValue<'ctx>>>,
    slots: SecondaryMap<StackSlot, Option<PointerValue<'ctx>>>,
    traps: HashMap<ir::TrapCode, BasicBlock<'ctx>>,
}

impl<'ctx, 'a> Translator<'ctx, 'a> {
    fn new(
        context: &'ctx Context,
        module: &'a Module<'ctx>,
        members: &'a Members<'ctx, 'a>,
        target: &'a TargetInfo,
        &Member { func, function, scope }: &Member<'ctx, 'a>,
        cfg: &ControlFlowGraph,
        dominators: &DominatorTree,
    ) -> Self {
        let induction = Induction::of(func, cfg, dominators);
        let predication = Predication::of(func, cfg, induction.loops());
        Translator {
            context,
            module,
            members,
            target,
            builder: context.create_builder(),
            func,
            function,
            scope,
            blocks: SecondaryMap::new(),
            ends: SecondaryMap::new(),
            values: SecondaryMap::new(),
            induction,
            checked_loops: vec![None; predication.loops()],
            predication,
            quieting: Quieting::of(func),
            quieted: SecondaryMap::new(),
            phis: SecondaryMap::new(),
            slots: SecondaryMap::new(),
            traps: HashMap::new(),
        }
    }

    fn run(&mut self, dominators: &DominatorTree) -> Result<(), Refusal> {
        // Definitions before uses; unreachable blocks are left out.
        let order: Vec<Block> = dominators.cfg_rpo().copied().collect();
        let Some(&first) = order.first() else {
            return Err(Refusal::Construct("function without a body".to_owned()));
        };
        // LLVM's entry block has no predecessors; CLIF's may have.
        let entry = self.context.append_basic_block(self.function, "entry");
        for &block in &order {
            self.declare(block)?;
        }
        self.builder.position_at_end(entry);
        self.allocate_slots()?;
        let params = self.incoming()?;
        self.bind(first, entry, &params);
        self.builder.build_unconditional_branch(self.block(first))?;
        for &block in &order {
            self.builder.position_at_end(self.block(block));
            self.quiet_params(block)?;
            for inst in self.func.layout.block_insts(block) {
                self.locate(inst);
                self.inst(inst)?;
                self.quiet_results(inst)?;
            }
            self.ends[block] = Some(self.here());
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
            || convert::translate(self, inst)?
            || call::translate(self, inst)?
            || bits::translate(self, inst)?
            || overflow::translate(self, inst)?
            || division::translate(self, inst)?
            || atomic::translate(self, inst)?
            || stack::translate(self, inst)?
            || trap::translate(self, inst)?;
        if known { Ok(()) } else { Err(self.unknown(inst)) }
    }

    fn unknown(&self, inst: Inst) -> Refusal {
        Refusal::Instruction(self.func.dfg.display_inst(inst).to_string())
    }

    fn block(&self, block: Block) -> BasicBlock<'ctx> {
        self.blocks[block].expect("every reachable block is declared")
    }

    /// The block instructions are added to.
    fn here(&self) -> BasicBlock<'ctx> {
        self.builder.get_insert_block().expect("the builder is in a block")
    }

    /// The value, bit for bit what it is in CLIF.
    fn value(&self, value: Value) -> BasicValueEnum<'ctx> {
        let resolved = self.func.dfg.resolve_aliases(value);
        self.quieted[resolved].unwrap_or_else(|| self.raw(resolved))
    }

    /// The value; a float that arithmetic made may be a signalling NaN where CLIF has a quiet one.
    fn raw(&self, value: Value) -> BasicValueEnum<'ctx> {
        let value = self.func.dfg.resolve_aliases(value);
        self.values[value].expect("verified CLIF defines values before their uses, and blocks come in that order")
    }

    fn int(&self, value: Value) -> IntValue<'ctx> {
        self.value(value).into_int_value()
    }

    /// A float for arithmetic, which does not tell NaNs apart.
    fn float(&self, value: Value) -> FloatValue<'ctx> {
        self.raw(value).into_float_value()
    }

    /// Type of the first result, if there is one.
    fn result_type(&self, inst: Inst) -> Option<Type> {
        self.func.dfg.inst_results(inst).first().map(|&result| self.func.dfg.value_type(result))
    }

    /// Type of the first result.
    fn clif_type(&self, inst: Inst) -> Type {
        self.func.dfg.value_type(self.func.dfg.first_result(inst))
    }

    fn define(&mut self, inst: Inst, value: impl BasicValue<'ctx>) {
        self.values[self.func.dfg.first_result(inst)] = Some(value.as_basic_value_enum());
    }

    /// Defines both results of an instruction.
    fn define_pair(&mut self, inst: Inst, first: impl BasicValue<'ctx>, second: impl BasicValue<'ctx>) {
        let [one, two] = *self.func.dfg.inst_results(inst) else { unreachable!("verified: two results") };
        self.values[one] = Some(first.as_basic_value_enum());
        self.values[two] = Some(second.as_basic_value_enum());
    }

    fn value_type(&self, value: Value) -> Result<BasicTypeEnum<'ctx>, Refusal> {
        basic_type(self.context, self.func.dfg.value_type(value))
    }

    fn int_type(&self, ty: Type) -> IntType<'ctx> {
        int_type(self.context, ty)
    }

    /// A float type this tier computes with.
    fn float_type(&self, ty: Type) -> Option<FloatType<'ctx>> {
        match ty {
            types::F32 => Some(self.context.f32_type()),
            types::F64 => Some(self.context.f64_type()),
            _ => None,
        }
    }
}

fn basic_type(context: &Context, ty: Type) -> Result<BasicTypeEnum<'_>, Refusal> {
    Ok(match ty {
        types::F16 => context.f16_type().into(),
        types::F32 => context.f32_type().into(),
        types::F64 => context.f64_type().into(),
        types::F128 => context.f128_type().into(),
        types::I8 | types::I16 | types::I32 | types::I64 | types::I128 => int_type(context, ty).into(),
        other => return Err(Refusal::Type(other.to_string())),
    })
}

fn int_type(context: &Context, ty: Type) -> IntType<'_> {
    context.custom_width_int_type(std::num::NonZeroU32::new(ty.bits()).expect("a scalar")).expect("at most 128 bits")
}
