//! The copying: every block of every stage, with its instructions, in an order in which definitions come before uses.

use cranelift_codegen::{
    entity::{SecondaryMap, packed_option::PackedOption},
    ir::{
        AbiParam, Block, BlockArg, BlockCall, Function, Inst, InstBuilder, InstBuilderBase, InstructionData, JumpTableData,
        Opcode, Signature, Value, types::I64,
    },
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};

use crate::{
    OsrError, WideResults,
    flow::Flow,
    homes::{Home, Homes},
    stages::{Stage, Stages},
};

/// The body is verified, and declared values are checked.
const DEFINED: &str = "a definition is copied before its uses";

/// A variant under construction.
pub(crate) struct Copier<'a, 'f> {
    pub(crate) flow: &'a Flow<'a>,
    pub(crate) stages: &'a Stages,
    pub(crate) wide: Option<WideResults>,
    pub(crate) b: FunctionBuilder<'f>,
    /// vmctx, callee, frame.
    pub(crate) params: [Value; 3],
    /// The number of the site that it is entered at, if there are several.
    pub(crate) site: Option<Value>,
    pub(crate) homes: &'a Homes,
    copies: Vec<SecondaryMap<Block, PackedOption<Block>>>,
    /// The definitions of values at home in a stage, stage by stage.
    in_stage: Vec<SecondaryMap<Value, PackedOption<Value>>>,
    /// The definitions of values at home in the variant.
    in_variant: SecondaryMap<Value, PackedOption<Value>>,
    variables: SecondaryMap<Value, PackedOption<Variable>>,
}

/// Makes the function: its prologue, then the copies.
pub(crate) fn variant(
    flow: &Flow<'_>,
    stages: &Stages,
    homes: &Homes,
    wide: Option<WideResults>,
    prologue: impl FnOnce(&mut Copier<'_, '_>) -> Result<(), OsrError>,
) -> Result<Function, OsrError> {
    let is_shared = stages.entered().len() > 1;
    let mut function = empty_variant_of(flow.body, is_shared);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = [0, 1, 2].map(|index| b.block_params(entry)[index]);
    let site = b.block_params(entry).get(3).copied();
    let stage_count = stages.in_order().len();
    let mut copier = Copier {
        flow,
        stages,
        wide,
        b,
        params,
        site,
        homes,
        copies: vec![SecondaryMap::new(); stage_count],
        in_stage: vec![SecondaryMap::new(); stage_count],
        in_variant: SecondaryMap::new(),
        variables: SecondaryMap::new(),
    };
    copier.create_blocks();
    prologue(&mut copier)?;
    for stage in stages.in_order() {
        for block in flow.reverse_postorder().filter(|&block| stages.copies(stage, block)) {
            copier.copy_block(stage, block)?;
        }
    }
    // All that `finalize` would do besides is to reset the context for another function.
    copier.b.seal_all_blocks();
    drop(copier);
    Ok(function)
}

/// A function with everything of the body's that instructions refer to, and no blocks.
fn empty_variant_of(body: &Function, is_shared: bool) -> Function {
    let mut signature = Signature::new(body.signature.call_conv);
    signature.params.resize(if is_shared { 4 } else { 3 }, AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    let mut variant = Function::with_name_signature(body.name.clone(), signature);
    variant.params = body.params.clone();
    variant.sized_stack_slots = body.sized_stack_slots.clone();
    variant.dynamic_stack_slots = body.dynamic_stack_slots.clone();
    variant.global_values = body.global_values.clone();
    variant.stack_limit = body.stack_limit;
    variant.dfg.dynamic_types = body.dfg.dynamic_types.clone();
    variant.dfg.signatures = body.dfg.signatures.clone();
    variant.dfg.ext_funcs = body.dfg.ext_funcs.clone();
    variant.dfg.constants = body.dfg.constants.clone();
    variant.dfg.immediates = body.dfg.immediates.clone();
    variant.dfg.mem_flags = body.dfg.mem_flags.clone();
    variant.dfg.alias_regions = body.dfg.alias_regions.clone();
    // Lists are copied from here, and stay where they are: instructions name them by position.
    variant.dfg.value_lists = body.dfg.value_lists.clone();
    variant
}

impl Copier<'_, '_> {
    fn create_blocks(&mut self) {
        let body = self.flow.body;
        for stage in self.stages.in_order() {
            for block in self.flow.reverse_postorder().filter(|&block| self.stages.copies(stage, block)) {
                let copy = self.b.create_block();
                for &param in body.dfg.block_params(block) {
                    self.b.append_block_param(copy, body.dfg.value_type(param));
                }
                if body.layout.is_cold(block) {
                    self.b.set_cold_block(copy);
                }
                self.copies[stage][block] = copy.into();
            }
        }
    }

    /// The copy of a block that the stage has.
    pub(crate) fn copy_in(&self, stage: Stage, block: Block) -> Block {
        self.copies[stage][block].expect("the stage has one")
    }

    fn copy_block(&mut self, stage: Stage, block: Block) -> Result<(), OsrError> {
        let body = self.flow.body;
        let copy = self.copy_in(stage, block);
        self.b.switch_to_block(copy);
        for (index, &param) in body.dfg.block_params(block).iter().enumerate() {
            let new = self.b.block_params(copy)[index];
            self.define(stage, param, new);
        }
        if let Some(leave) = self.flow.leave(block) {
            return self.exit_at(stage, leave);
        }
        for inst in body.layout.block_insts(block) {
            self.b.set_srcloc(body.srcloc(inst));
            self.copy_inst(stage, inst)?;
        }
        Ok(())
    }

    fn copy_inst(&mut self, stage: Stage, inst: Inst) -> Result<(), OsrError> {
        let dfg = &self.flow.body.dfg;
        match dfg.insts[inst] {
            InstructionData::Jump { destination, .. } => {
                let (to, args) = self.edge(stage, destination);
                self.b.ins().jump(to, &args);
            }
            InstructionData::Brif { arg, blocks: [then, otherwise], .. } => {
                let condition = self.value(stage, arg);
                let (then, then_args) = self.edge(stage, then);
                let (otherwise, otherwise_args) = self.edge(stage, otherwise);
                self.b.ins().brif(condition, then, &then_args, otherwise, &otherwise_args);
            }
            InstructionData::BranchTable { arg, table, .. } => {
                let index = self.value(stage, arg);
                let mut calls = Vec::new();
                for &call in dfg.jump_tables[table].all_branches() {
                    let (to, args) = self.edge(stage, call);
                    calls.push(self.b.func.dfg.block_call(to, &args));
                }
                let table = self.b.create_jump_table(JumpTableData::new(calls[0], &calls[1..]));
                self.b.ins().br_table(index, table);
            }
            data => match data.opcode() {
                Opcode::Return => self.exit_with_results(stage, dfg.inst_args(inst))?,
                // A tail call would return the callee's results; exceptions would need copies of their tables.
                Opcode::ReturnCall
                | Opcode::ReturnCallIndirect
                | Opcode::TryCall
                | Opcode::TryCallIndirect
                | Opcode::GetExceptionHandlerAddress => {
                    return Err(OsrError::Unsupported { instruction: self.flow.display(inst) });
                }
                _ if self.is_of_call(inst) => {}
                _ => {
                    let args: Vec<Value> = dfg.inst_args(inst).iter().map(|&arg| self.value(stage, arg)).collect();
                    let copy = self.repeat(inst, &args);
                    for (index, &result) in dfg.inst_results(inst).iter().enumerate() {
                        let new = self.b.inst_results(copy)[index];
                        self.define(stage, result, new);
                    }
                }
            },
        }
        Ok(())
    }

    /// Whether the prologue has what the instruction computes.
    fn is_of_call(&self, inst: Inst) -> bool {
        matches!(self.flow.body.dfg.inst_results(inst), &[result] if self.homes.of(result) == Home::Call)
    }

    /// The same instruction, which is no branch, with other arguments.
    pub(crate) fn repeat(&mut self, inst: Inst, args: &[Value]) -> Inst {
        let dfg = &self.flow.body.dfg;
        let lists = &mut self.b.func.dfg.value_lists;
        let mut data = dfg.insts[inst].deep_clone(lists);
        data.arguments_mut(lists).copy_from_slice(args);
        let (copy, new) = self.b.ins().build(data, dfg.ctrl_typevar(inst));
        if let Some(entries) = dfg.user_stack_map_entries(inst) {
            new.append_user_stack_map_entries(copy, entries.iter().cloned());
        }
        copy
    }

    fn edge(&mut self, stage: Stage, call: BlockCall) -> (Block, Vec<BlockArg>) {
        let lists = &self.flow.body.dfg.value_lists;
        let target = call.block(lists);
        let copy = self.copy_in(self.stages.stage_of(self.flow, stage, target), target);
        (copy, call.args(lists).map(|arg| arg.map_value(|value| self.value(stage, value))).collect())
    }

    /// A copy of `old`'s definition defines `new`.
    pub(crate) fn define(&mut self, stage: Stage, old: Value, new: Value) {
        match self.homes.of(old) {
            Home::Stage => {
                self.in_stage[stage][old] = new.into();
            }
            Home::Call => {}
            Home::Variant => self.settle(old, new),
            Home::Variable => {
                let variable = self.variable(old);
                self.b.def_var(variable, new);
            }
        }
    }

    /// What a copy in `stage` uses for `old`.
    pub(crate) fn value(&mut self, stage: Stage, old: Value) -> Value {
        let old = self.flow.body.dfg.resolve_aliases(old);
        match self.homes.of(old) {
            Home::Stage => self.in_stage[stage][old].expect(DEFINED),
            Home::Call | Home::Variant => self.in_variant[old].expect(DEFINED),
            Home::Variable => {
                let variable = self.variable(old);
                self.b.use_var(variable)
            }
        }
    }

    /// The one definition of `old`, if the variant has it already.
    pub(crate) fn settled(&self, old: Value) -> Option<Value> {
        self.in_variant[old].expand()
    }

    /// `new` is the one definition of `old`.
    pub(crate) fn settle(&mut self, old: Value, new: Value) {
        self.in_variant[old] = new.into();
    }

    fn variable(&mut self, old: Value) -> Variable {
        if let Some(variable) = self.variables[old].expand() {
            return variable;
        }
        let variable = self.b.declare_var(self.flow.body.dfg.value_type(old));
        self.variables[old] = variable.into();
        variable
    }
}
