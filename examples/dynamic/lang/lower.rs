//! The compiler's half: one lowering, which believes what the interpreter has seen.
//!
//! Registers are variables, boxed. Within a block the types of some are known, and what they hold is at hand unboxed as well.

use std::collections::HashMap;

use tierup::{
    Bailout, Lower, LowerCx, Site,
    clif::{self, BodyAbi, Traps},
    cranelift::codegen::ir::{
        Block, BlockArg, FuncRef, InstBuilder, Value,
        types::{I32, I64},
    },
    cranelift::frontend::Variable,
};

use super::code::{Instruction, Op, Pc, REGISTERS, Reg};
use super::native::{APPLY, IS_TRUE, words};
use super::operators::Unboxed;
use super::value::{Types, int};
use super::vm::{Guest, STACK_OVERFLOW, Trace};

pub(crate) struct Lowering {
    pub(crate) speculates: bool,
    /// Code leaves at operators that [`Leave`](super::Leave) chooses.
    pub(crate) leaves: bool,
    pub(crate) trace: Option<Trace>,
}

impl Lower<Guest> for Lowering {
    fn lower(&self, cx: &mut LowerCx<'_, Guest>) -> Result<(), Bailout> {
        let guest = cx.guest();
        let function = guest.function();
        cx.set_name(&*function.name);
        // fn(vmctx, callee, parameters…) -> value
        let mut b = cx.start(words(2 + function.parameters));
        let (apply, is_true) = (cx.helper(&mut b, APPLY)?, cx.helper(&mut b, IS_TRUE)?);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let mut traps = Traps::new();
        let abi = clif::prologue(&mut b, &mut traps, 0, STACK_OVERFLOW);
        let parameters = b.block_params(entry)[2..].to_vec();
        let zero = b.ins().iconst(I64, int(0).cast_signed());
        let registers = std::array::from_fn(|register| {
            let variable = b.declare_var(I64);
            b.def_var(variable, *parameters.get(register).unwrap_or(&zero));
            variable
        });
        let mut blocks = HashMap::new();
        for (pc, instruction) in function.code.iter().enumerate() {
            if let Op::Jump { go } | Op::JumpUnless { go, .. } = instruction.op {
                blocks.entry(go).or_insert_with(|| b.create_block());
            }
            if let Op::JumpUnless { .. } = instruction.op {
                blocks.entry(pc + 1).or_insert_with(|| b.create_block());
            }
        }
        let known = [None; REGISTERS];
        let mut code = Emitter {
            lowering: self,
            cx,
            guest,
            b: &mut b,
            abi,
            traps,
            registers,
            known,
            blocks,
            apply,
            is_true,
            assumed: Vec::new(),
        };
        code.function();
        let Emitter { traps, assumed, .. } = code;
        traps.finish(&mut b);
        b.seal_all_blocks();
        b.finish();
        if let Some(trace) = &self.trace {
            trace(&format!("{}: compiled, assuming {}", function.name, assumed.join(", ")));
        }
        Ok(())
    }
}

/// One function under way.
pub(super) struct Emitter<'e, 'a> {
    pub(super) lowering: &'e Lowering,
    pub(super) cx: &'e LowerCx<'a, Guest>,
    pub(super) guest: &'a Guest,
    pub(super) b: &'e mut tierup::Builder<'a>,
    pub(super) abi: BodyAbi,
    pub(super) traps: Traps,
    /// The frame's registers, boxed: what frame states and loop sites speak of.
    pub(super) registers: [Variable; REGISTERS],
    /// Of the current block: what registers hold, where that is known.
    pub(super) known: [Option<Unboxed>; REGISTERS],
    /// Where jumps lead.
    pub(super) blocks: HashMap<Pc, Block>,
    pub(super) apply: FuncRef,
    pub(super) is_true: FuncRef,
    /// For the trace.
    pub(super) assumed: Vec<String>,
}

impl Emitter<'_, '_> {
    fn function(&mut self) {
        let mut is_open = true;
        for (pc, instruction) in self.guest.function().code.iter().enumerate() {
            if let Some(&block) = self.blocks.get(&pc) {
                if is_open {
                    self.jump(pc);
                }
                self.b.switch_to_block(block);
                self.known = [None; REGISTERS];
                is_open = true;
            }
            if is_open {
                is_open = self.instruction(pc, instruction);
            }
        }
    }

    /// False if control does not come out of it.
    fn instruction(&mut self, pc: Pc, instruction: &Instruction) -> bool {
        match instruction.op {
            Op::Const { to, value } => {
                let unboxed = match Types::of(value) {
                    Types::INT => Some(Unboxed::Int(self.b.ins().iconst(I32, i64::from(value as i32)))),
                    Types::FLOAT => Some(Unboxed::Float(self.b.ins().f64const(f64::from_bits(value)))),
                    _ => None,
                };
                let value = self.b.ins().iconst(I64, value.cast_signed());
                self.set(to, value, unboxed);
            }
            Op::Copy { to, from } => {
                let value = self.get(from);
                self.set(to, value, self.known[from]);
            }
            Op::Binary { op, to, a, b } => return self.binary(pc, op, to, [a, b]),
            Op::Loop { site } => self.header(self.blocks[&pc], site, instruction.live),
            Op::Jump { go } => {
                self.jump(go);
                return false;
            }
            Op::JumpUnless { a, go } => {
                let condition = match self.known[a] {
                    Some(Unboxed::Int(value)) => value,
                    _ => {
                        let value = self.get(a);
                        let call = self.b.ins().call(self.is_true, &[self.abi.vmctx, value]);
                        self.b.inst_results(call)[0]
                    }
                };
                let [yes, no] = [pc + 1, go].map(|to| (self.blocks[&to], self.arguments(to)));
                self.b.ins().brif(condition, yes.0, &yes.1, no.0, &no.1);
                return false;
            }
            Op::Call { to, function, first } => {
                let value = self.call(function, first);
                self.set(to, value, None);
            }
            Op::Return { a } => {
                let value = self.get(a);
                self.b.ins().return_(&[value]);
                return false;
            }
        }
        true
    }

    /// A loop's header. Calls come here that did otherwise before than this code assumes, so nothing is to be concluded from it about
    /// what registers hold: each gets a parameter, whether it changes in the loop or not.
    fn header(&mut self, block: Block, site: u32, live: Reg) {
        for register in 0..live {
            let value = self.b.append_block_param(block, I64);
            self.b.def_var(self.registers[register], value);
        }
        if self.cx.wants_sites() {
            let live = self.slots(live);
            self.cx.loop_site(Site { id: site, header: block, live, computed: Vec::new() });
        }
    }

    fn jump(&mut self, to: Pc) {
        let arguments = self.arguments(to);
        self.b.ins().jump(self.blocks[&to], &arguments);
    }

    /// What a jump passes to the block: to a loop's header the registers.
    fn arguments(&mut self, to: Pc) -> Vec<BlockArg> {
        let target = &self.guest.function().code[to];
        let live = if let Op::Loop { .. } = target.op { target.live } else { 0 };
        (0..live).map(|register| BlockArg::Value(self.get(register))).collect()
    }

    pub(super) fn get(&mut self, register: Reg) -> Value {
        self.b.use_var(self.registers[register])
    }

    /// The registers below `live`, each in the slot of its number.
    pub(super) fn slots(&mut self, live: Reg) -> Vec<(u32, Value)> {
        (0..live).map(|register| (register as u32, self.get(register))).collect()
    }

    pub(super) fn set(&mut self, register: Reg, value: Value, unboxed: Option<Unboxed>) {
        self.b.def_var(self.registers[register], value);
        self.known[register] = unboxed;
    }

    fn call(&mut self, function: usize, first: Reg) -> Value {
        // Through the callee's code cell: native code, or the bridge. The caller need not know.
        let program = &self.guest.program;
        let parameters = program.functions[function].parameters;
        let cell = program.code_cells.get().expect("set before anything runs")[function];
        let cell = self.b.ins().iconst(I64, cell as i64);
        let mut arguments = vec![self.abi.vmctx, self.b.ins().iconst(I64, function as i64)];
        arguments.extend((first..first + parameters).map(|register| self.b.use_var(self.registers[register])));
        let signature = self.b.import_signature(words(arguments.len()));
        let call = clif::call_code_cell(self.b, signature, cell, &arguments);
        self.b.inst_results(call)[0]
    }
}
