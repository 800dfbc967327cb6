//! What a variant does first: everything the body would have at the site is loaded from the frame, or computed again.

use std::collections::HashMap;

use cranelift_codegen::ir::{
    Block, BlockArg, Function, Inst, InstBuilder, InstructionData, Opcode, Value, ValueDef,
    types::{F32, F64},
};
use cranelift_frontend::Switch;

use crate::{OsrError, Site, copy::Copier, homes::Home, liveness::Liveness, slot};

/// Longest chain of instructions computed again for one value. Also what ends a recipe that needs itself.
const MAX_DEPTH: usize = 64;

/// Longest chain of instructions computed again although the value is in a slot, or for a value of the call.
const MAX_DERIVATION: usize = 8;

/// What the prologue knows of values of the body.
struct Frame<'s> {
    site: &'s Site,
    slots: HashMap<Value, u32>,
    recipes: HashMap<Value, Value>,
    /// Values there already: those anybody may use, and those that only the lowering vouches for.
    known: HashMap<(Value, Trust), Value>,
}

/// Whether memory that may change is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// Only what never changes.
    Constant,
    /// The lowering says that it is right.
    Recipe,
}

impl Copier<'_, '_> {
    /// Fills the entry block, and jumps to the header of the one of `sites` that the variant is entered at.
    pub(crate) fn prologue(&mut self, sites: &[&Site], liveness: &Liveness) -> Result<(), OsrError> {
        match self.site {
            None => self.prologue_of(sites[0], &liveness.at_entry[0], liveness),
            Some(entered) => self.dispatch(entered, sites, liveness),
        }
    }

    /// What is the same for all sites, and then the prologue of the one `entered`.
    fn dispatch(&mut self, entered: Value, sites: &[&Site], liveness: &Liveness) -> Result<(), OsrError> {
        for &value in liveness.at_entry.iter().flatten() {
            if self.homes.of(value) == Home::Call && self.settled(value).is_none() {
                let new = self.of_call(value);
                self.settle(value, new);
            }
        }
        let starts: Vec<Block> = sites.iter().map(|_| self.b.create_block()).collect();
        let mut switch = Switch::new();
        for (site, &start) in sites.iter().zip(&starts).skip(1) {
            switch.set_entry(site.id.into(), start);
        }
        switch.emit(&mut self.b, entered, starts[0]);
        for ((site, start), values) in sites.iter().zip(starts).zip(&liveness.at_entry) {
            self.b.switch_to_block(start);
            self.prologue_of(site, values, liveness)?;
        }
        Ok(())
    }

    /// Defines the values that are live at a site's header, and jumps there.
    fn prologue_of(&mut self, site: &Site, live: &[Value], liveness: &Liveness) -> Result<(), OsrError> {
        let dfg = &self.flow.body.dfg;
        let resolve = |value| dfg.resolve_aliases(value);
        let mut frame = Frame {
            site,
            slots: site.live.iter().rev().map(|&(slot, value)| (resolve(value), slot)).collect(),
            recipes: site.computed.iter().map(|&(value, recipe)| (resolve(value), resolve(recipe))).collect(),
            known: HashMap::new(),
        };
        let stage = self.stages.innermost();
        for &value in live.iter().filter(|&&value| self.homes.of(value) != Home::Call) {
            let new = self.at_entry(&mut frame, value, Trust::Constant, 0)?;
            self.define(stage, value, new);
        }
        let mut args = Vec::new();
        for &param in dfg.block_params(site.header) {
            let new = match liveness.is_used(param) {
                true => self.at_entry(&mut frame, param, Trust::Constant, 0)?,
                false => self.anything(&mut frame, param)?,
            };
            args.push(BlockArg::Value(new));
        }
        let header = self.copy_in(stage, site.header);
        self.b.ins().jump(header, &args);
        Ok(())
    }

    /// What `value`, which is no alias, is at the entry.
    fn at_entry(&mut self, frame: &mut Frame<'_>, value: Value, trust: Trust, depth: usize) -> Result<Value, OsrError> {
        if let Some(&known) = frame.known.get(&(value, trust)) {
            return Ok(known);
        }
        if self.homes.of(value) == Home::Call {
            return Ok(self.value(self.stages.innermost(), value));
        }
        let recipe = frame.recipes.get(&value).copied();
        let new = if self.site.is_none() && self.is_derived(frame, value, MAX_DERIVATION) {
            self.again(frame, value, Trust::Constant, depth)?
        } else if let Some(&slot) = frame.slots.get(&value) {
            self.load_slot(slot, value)?
        } else if depth >= MAX_DEPTH {
            return Err(self.lost(frame, value));
        } else if let Some(recipe) = recipe.filter(|&recipe| recipe != value) {
            self.at_entry(frame, recipe, Trust::Recipe, depth + 1)?
        } else {
            let trust = if recipe.is_some() { Trust::Recipe } else { trust };
            self.again(frame, value, trust, depth)?
        };
        frame.known.insert((value, trust), new);
        Ok(new)
    }

    /// Computes a value [of the call](is_of_call).
    fn of_call(&mut self, value: Value) -> Value {
        if let Some(settled) = self.settled(value) {
            return settled;
        }
        let dfg = &self.flow.body.dfg;
        match dfg.value_def(value) {
            ValueDef::Param(_, index) => self.params[index],
            ValueDef::Result(inst, index) => {
                let args: Vec<Value> = dfg.inst_args(inst).iter().map(|&arg| self.of_call(dfg.resolve_aliases(arg))).collect();
                let again = self.repeat(inst, &args);
                self.b.inst_results(again)[index]
            }
            ValueDef::Union(..) => unreachable!("a verified function has none"),
        }
    }

    /// Whether `value` is better computed from what is in other slots than loaded from its own: a compiler that is told that a
    /// bound is a multiple of 4, or a stride 8 times a length, knows more about a loop than one that finds them in memory.
    ///
    /// Integers only: there the results are the same bits for certain.
    fn is_derived(&self, frame: &Frame<'_>, value: Value, most: usize) -> bool {
        let body = self.flow.body;
        let ValueDef::Result(inst, _) = body.dfg.value_def(value) else { return false };
        let is_arithmetic = is_repeatable(body, inst, Trust::Constant) && !body.dfg.insts[inst].opcode().can_load();
        let is_integer = |value| body.dfg.value_type(value).is_int();
        most > 0
            && is_arithmetic
            && is_integer(value)
            && body.dfg.inst_args(inst).iter().all(|&arg| {
                let arg = body.dfg.resolve_aliases(arg);
                is_integer(arg) && (frame.slots.contains_key(&arg) || self.is_derived(frame, arg, most - 1))
            })
    }

    fn load_slot(&mut self, slot: u32, value: Value) -> Result<Value, OsrError> {
        let ty = self.flow.body.dfg.value_type(value);
        if !slot::holds(ty) {
            return Err(OsrError::SlotType { value, ty });
        }
        slot::load(&mut self.b, self.params[2], slot, ty)
    }

    /// Computes `value` again, from values at the entry.
    fn again(&mut self, frame: &mut Frame<'_>, value: Value, trust: Trust, depth: usize) -> Result<Value, OsrError> {
        let body = self.flow.body;
        match body.dfg.value_def(value) {
            // Vmctx and callee are the same for all of one call.
            ValueDef::Param(block, index) if index < 2 && body.layout.entry_block() == Some(block) => Ok(self.params[index]),
            ValueDef::Result(inst, index) if is_repeatable(body, inst, trust) => {
                let args = body.dfg.inst_args(inst).iter().map(|&arg| {
                    let arg = body.dfg.resolve_aliases(arg);
                    self.at_entry(frame, arg, trust, depth + 1)
                });
                let args = args.collect::<Result<Vec<Value>, OsrError>>()?;
                let again = self.repeat(inst, &args);
                Ok(self.b.inst_results(again)[index])
            }
            _ => Err(self.lost(frame, value)),
        }
    }

    /// Something of the type of a parameter nobody uses.
    fn anything(&mut self, frame: &mut Frame<'_>, param: Value) -> Result<Value, OsrError> {
        match self.flow.body.dfg.value_type(param) {
            F32 => Ok(self.b.ins().f32const(0.0)),
            F64 => Ok(self.b.ins().f64const(0.0)),
            ty if slot::holds(ty) => Ok(self.b.ins().iconst(ty, 0)),
            _ => self.at_entry(frame, param, Trust::Constant, 0),
        }
    }

    fn lost(&self, frame: &Frame<'_>, value: Value) -> OsrError {
        let definition = match self.flow.body.dfg.value_def(value) {
            ValueDef::Param(block, _) => block.to_string(),
            ValueDef::Result(inst, _) => self.flow.display(inst),
            ValueDef::Union(..) => value.to_string(),
        };
        OsrError::Lost { site: frame.site.id, value, definition }
    }
}

/// Whether a value, which is no alias, is the same wherever in the function it is computed: made of constants, vmctx and callee only.
pub(crate) fn is_of_call(body: &Function, value: Value) -> bool {
    fn within(body: &Function, value: Value, most: usize) -> bool {
        match body.dfg.value_def(value) {
            ValueDef::Param(block, index) => index < 2 && body.layout.entry_block() == Some(block),
            ValueDef::Result(inst, _) => {
                let mut args = body.dfg.inst_args(inst).iter().map(|&arg| body.dfg.resolve_aliases(arg));
                most > 0 && is_repeatable(body, inst, Trust::Constant) && args.all(|arg| within(body, arg, most - 1))
            }
            ValueDef::Union(..) => false,
        }
    }
    within(body, value, MAX_DERIVATION)
}

/// Whether an instruction gives the same results in the variant's prologue as it gave in the body.
pub(crate) fn is_repeatable(body: &Function, inst: Inst, trust: Trust) -> bool {
    let data = &body.dfg.insts[inst];
    let opcode = data.opcode();
    let has_effect = opcode.is_call()
        || opcode.is_terminator()
        || opcode.can_trap() && !opcode.can_load()
        || opcode.can_store()
        || opcode.other_side_effects();
    let is_of_this_frame = matches!(opcode, Opcode::GetFramePointer | Opcode::GetStackPointer | Opcode::GetReturnAddress);
    let reads_the_same = match *data {
        _ if !opcode.can_load() => true,
        InstructionData::Load { flags, .. } => {
            let flags = body.dfg.mem_flags[flags];
            flags.notrap() && (flags.readonly() || trust == Trust::Recipe)
        }
        _ => false,
    };
    !has_effect && !is_of_this_frame && reads_the_same
}
