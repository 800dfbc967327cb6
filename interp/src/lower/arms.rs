//! Arms: which of them have run is counted, in code that better code may replace, and those that never have are left out of that.
//!
//! An arm that is left out is an exit at its first operator. Nothing is tested for it but what the program tests, to get there or not.
//!
//! Behind an exit the interpreter comes to the function's loops, with locals that the code, which knows only the arms it has, may take for
//! unchanged, or for constants. So the header at which a variant is entered has a parameter of its own for each slot
//! (`osr/README.md`). And of a variant nothing is left out that is on the way to its header: who enters it has been there, by way of the
//! interpreter, which counts nothing.

use tierup::deopt::ExitReason;
use wasmparser::OperatorsReader;

use super::clif::{Block, BlockArg, BodyAbi, InstBuilder, Value, Variable, types};
use super::function::{FuncLower, Profiling};
use super::site::guest_operands;
use crate::arms::{self, Arm, Arms};
use crate::deopt::GuardKind;
use crate::module::ModuleInner;

use std::sync::atomic::AtomicU32;

/// What is done about arms.
#[derive(Default)]
pub(super) enum ArmUse<'a> {
    /// Nothing.
    #[default]
    Ignore,
    /// They are counted. So many are behind.
    Count { arms: &'a Arms, behind: usize },
    /// These are left out.
    LeaveOut { arms: Vec<Arm>, behind: usize },
}

/// A loop header that has a parameter for each slot of the frame.
pub(super) struct FreeHeader {
    header: Block,
    /// Locals, whose parameters come behind the wasm block's,
    locals: Vec<u32>,
    /// and operands beneath those, by where they are on the stack.
    operands: Vec<(usize, Variable)>,
    /// So many frames around it are open yet.
    around: usize,
}

impl FuncLower<'_, '_> {
    /// Decides what is done about the arms of the body, which is one of `module` and has these operators; if they are counted, counts that it
    /// is entered.
    pub(super) fn use_arms(&mut self, module: &ModuleInner, operators: OperatorsReader<'_>) {
        let Some(resuming) = self.resuming else { return };
        let prepared = resuming.prepared;
        let speculate = match self.profiling {
            Profiling::Off => return,
            Profiling::Record => {
                if let Some(arms) = prepared.counted_arms(module) {
                    self.arms = ArmUse::Count { arms, behind: 0 };
                    self.count_at(arms.entries());
                }
                return;
            }
            Profiling::Speculate | Profiling::SpeculateAlways => module.engine.config().speculate,
        };
        let Some(arms) = prepared.arms() else { return };
        let header = self.cx.entered_site().and_then(|site| prepared.sites().get(site as usize)).map(|site| site.offset);
        let is_wanted = |arm: &Arm| header.is_some_and(|header| arm.contains(header));
        let mut unreached = arms.unreached(speculate, |arm| !is_wanted(arm) && !self.cx.suppressed(GuardKind::Arm.at(arm.start)));
        if let Some(header) = header
            && !arms::reaches(operators, header, &unreached)
        {
            unreached.retain(|arm| arm.start > header);
        }
        if !unreached.is_empty() {
            self.arms = ArmUse::LeaveOut { arms: unreached, behind: 0 };
        }
    }

    /// Counts the arm that begins with the operator whose lowering does, if there is one, or leaves it out: then no code can follow here.
    pub(super) fn begin_arm(&mut self) {
        let at = self.offset;
        match &mut self.arms {
            ArmUse::Ignore => {}
            ArmUse::Count { arms, behind } => {
                let arms = *arms;
                if let Some(arm) = begins(arms.all(), behind, at) {
                    self.count_at(arms.count(arm));
                }
            }
            ArmUse::LeaveOut { arms, behind } => {
                if begins(arms, behind, at).is_some() {
                    self.leave_out(at);
                }
            }
        }
    }

    fn leave_out(&mut self, at: u32) {
        let Some(state) = self.frame_state() else { return };
        // A constant, so that the parameter is not kept for this.
        let callee = self.b.ins().iconst(types::I64, i64::from(self.function));
        let abi = BodyAbi { callee, ..self.abi };
        let left = self.cx.exit(self.b, &abi, &state, GuardKind::Arm.at(at), ExitReason::Unreached);
        if left.is_some() {
            self.reachable = false;
            self.facts.note_left_out();
        }
    }

    fn count_at(&mut self, count: *const AtomicU32) {
        // Lives as long as the body, which the code keeps.
        let count = self.b.ins().iconst(types::I64, count.addr() as i64);
        let flags = self.regions.profile();
        let before = self.b.ins().load(types::I32, flags, count, 0);
        let after = self.b.ins().iadd_imm_s(before, 1);
        self.b.ins().store(flags, after, count, 0);
    }

    /// Gives the header of the loop being lowered, over `params` operands of its own, a parameter for each other slot of its frame, if it is
    /// entered with what the code knows nothing of.
    pub(super) fn free_header(&mut self, header: Block, params: usize) {
        let ArmUse::LeaveOut { .. } = self.arms else { return };
        let Some((site, locals)) = self.site_here() else { return };
        if self.cx.entered_site() != Some(site) {
            return;
        }
        let height = self.operands.height() - params;
        let locals: Vec<u32> = locals.collect();
        let beneath: Vec<usize> = guest_operands(self.operands.height(), &self.frames).filter(|&at| at < height).collect();
        let of_locals: Vec<Value> = locals.iter().map(|&local| self.b.use_var(self.locals[local as usize])).collect();
        let mut operands = Vec::new();
        for value in of_locals {
            let ty = self.b.func.dfg.value_type(value);
            self.b.append_block_param(header, ty);
        }
        for at in beneath {
            let value = self.operands.all()[at];
            let ty = self.b.func.dfg.value_type(value);
            self.b.append_block_param(header, ty);
            // It has two values from now on, where ways around the loop meet those through it.
            let variable = self.b.declare_var(ty);
            self.b.def_var(variable, value);
            operands.push((at, variable));
        }
        self.free = Some(FreeHeader { header, locals, operands, around: self.frames.len() });
    }

    /// What goes to the parameters that `target` has besides those of a wasm block.
    pub(super) fn free_args(&mut self, target: Block) -> Vec<BlockArg> {
        let Some(free) = self.free.as_ref().filter(|free| free.header == target) else { return Vec::new() };
        let locals = free.locals.iter().map(|&local| self.b.use_var(self.locals[local as usize]));
        let operands = free.operands.iter().map(|&(at, _)| self.operands.all()[at]);
        locals.chain(operands).map(BlockArg::Value).collect()
    }

    /// Whether it has such.
    pub(super) fn is_free(&self, target: Block) -> bool {
        self.free.as_ref().is_some_and(|free| free.header == target)
    }

    /// From now on, in `header`, slots hold what its parameters behind the first `params` are.
    pub(super) fn enter_free(&mut self, header: Block, params: usize) {
        let Some(free) = self.free.as_ref().filter(|free| free.header == header) else { return };
        let values: Vec<Value> = self.b.func.dfg.block_params(header)[params..].to_vec();
        let (locals, operands) = values.split_at(free.locals.len());
        for (&local, &value) in free.locals.iter().zip(locals) {
            self.b.def_var(self.locals[local as usize], value);
        }
        for (&(at, variable), &value) in free.operands.iter().zip(operands) {
            self.b.def_var(variable, value);
            self.operands.replace(at, value);
        }
    }

    /// Control arrives behind the frame of that depth, or at its `else`, with the operands beneath `height`: they may come from around the
    /// loop with the free header, if that was in it, or from there.
    pub(super) fn meet_free(&mut self, depth: usize, height: usize) {
        let Some(free) = self.free.as_ref().filter(|free| depth < free.around) else { return };
        for &(at, variable) in free.operands.iter().filter(|&&(at, _)| at < height) {
            let value = self.b.use_var(variable);
            self.operands.replace(at, value);
        }
    }

    /// The frame of that depth is closed: what is opened in its place later is not around the loop.
    pub(super) fn close_free(&mut self, depth: usize) {
        if let Some(free) = &mut self.free {
            free.around = free.around.min(depth);
        }
    }
}

/// Which of `arms` begins at an operator, `behind` of them, or more, being before it.
fn begins(arms: &[Arm], behind: &mut usize, at: u32) -> Option<usize> {
    while arms.get(*behind).is_some_and(|arm| arm.start < at) {
        *behind += 1;
    }
    arms.get(*behind).is_some_and(|arm| arm.start == at).then_some(*behind)
}
