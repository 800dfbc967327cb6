//! The compiler's half: one lowering, which believes what the interpreter has seen.
//!
//! Where an operator has met integers only, its operands are guarded to be integers and the machine's arithmetic does the rest;
//! floats likewise, and numbers of both kinds. Within a block what was guarded once is known. Where an operator has never run, the
//! code ends in an exit. Everything else is a call.
//!
//! A guard that failed too often is suppressed by the deopt policy, and the next wider assumption is made: int → number → none.

use std::{collections::HashMap, fmt};

use tierup::{
    Bailout, GuardId, Lower, LowerCx, Site,
    clif::{self, BodyAbi, Traps},
    cranelift::codegen::ir::{
        Block, BlockArg, FuncRef, InstBuilder, MemFlagsData, Value,
        condcodes::{FloatCC, IntCC},
        types::{F64, I32, I64},
    },
    cranelift::frontend::Variable,
    deopt::{ExitReason, FrameState},
};

use super::code::{Instruction, Op, Pc, REGISTERS, Reg};
use super::native::{APPLY, IS_TRUE, words};
use super::value::{INT, NONE, Operator, STRING, Types, int};
use super::vm::{Guest, STACK_OVERFLOW, TO_PASS, Trace, UNDEFINED};

/// What a guard tests, at an instruction: the same whenever the function is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Guard {
    /// That no test wants the code to leave.
    Test,
    /// That the instruction is never reached.
    Unreached,
    /// That a result fits into an integer.
    Overflow,
    /// That the left operand is of these types.
    Left(Types),
    /// That the right one is.
    Right(Types),
}

impl Guard {
    fn at(self, pc: Pc) -> GuardId {
        let kind = match self {
            Guard::Test => 0,
            Guard::Unreached => 1,
            Guard::Overflow => 2,
            Guard::Left(types) => 16 | types.0,
            Guard::Right(types) => 32 | types.0,
        };
        GuardId((pc as u64) << 8 | u64::from(kind))
    }

    pub(crate) fn of(id: GuardId) -> Guard {
        let kind = id.0 as u8;
        match kind {
            0 => Guard::Test,
            1 => Guard::Unreached,
            2 => Guard::Overflow,
            3..32 => Guard::Left(Types(kind & 15)),
            _ => Guard::Right(Types(kind & 15)),
        }
    }

    fn reason(self) -> ExitReason {
        match self {
            Guard::Test => ExitReason::Requested,
            Guard::Unreached => ExitReason::Unreached,
            Guard::Overflow => ExitReason::Overflow,
            Guard::Left(_) | Guard::Right(_) => ExitReason::WrongType,
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Test => f.write_str("a test wants nothing"),
            Guard::Unreached => f.write_str("it is never reached"),
            Guard::Overflow => f.write_str("the result fits"),
            Guard::Left(types) => write!(f, "the left operand is {}", types.name()),
            Guard::Right(types) => write!(f, "the right operand is {}", types.name()),
        }
    }
}

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

/// A value whose type is known, as the machine has it.
#[derive(Clone, Copy)]
enum Unboxed {
    Int(Value),
    Float(Value),
}

impl Unboxed {
    fn types(self) -> Types {
        match self {
            Unboxed::Int(_) => Types::INT,
            Unboxed::Float(_) => Types::FLOAT,
        }
    }
}

/// How an operator is compiled.
enum Plan {
    Unreached,
    Ints,
    /// As floats; the operands are of these types.
    Floats([Types; 2]),
    Call,
}

struct Emitter<'e, 'a> {
    lowering: &'e Lowering,
    cx: &'e LowerCx<'a, Guest>,
    guest: &'a Guest,
    b: &'e mut tierup::Builder<'a>,
    abi: BodyAbi,
    traps: Traps,
    /// The frame's registers, boxed: what frame states and loop sites speak of.
    registers: [Variable; REGISTERS],
    /// Of the current block: what registers hold, where that is known.
    known: [Option<Unboxed>; REGISTERS],
    /// Where jumps lead.
    blocks: HashMap<Pc, Block>,
    apply: FuncRef,
    is_true: FuncRef,
    /// For the trace.
    assumed: Vec<String>,
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
            Op::Binary { op, to, a, b } => {
                if self.lowering.leaves {
                    self.leave_for_a_test(pc);
                }
                let plan = self.plan(pc, op, [a, b]);
                if self.lowering.trace.is_some() {
                    self.assumed.extend(plan.in_words(pc, op));
                }
                let result = match plan {
                    Plan::Unreached => {
                        let (state, guard) = (self.frame_state(pc), Guard::Unreached);
                        self.cx.exit(self.b, &self.abi, &state, guard.at(pc), guard.reason()).expect(ROOM);
                        return false;
                    }
                    Plan::Ints => {
                        let a = self.int(pc, a, Guard::Left);
                        let b = self.int(pc, b, Guard::Right);
                        self.ints(pc, op, a, b)
                    }
                    Plan::Floats(types) => {
                        let a = self.float(pc, a, Guard::Left(types[0]), types[0]);
                        let b = self.float(pc, b, Guard::Right(types[1]), types[1]);
                        self.floats(op, a, b)
                    }
                    Plan::Call => {
                        let value = self.call_apply(op, a, b);
                        self.set(to, value, None);
                        return true;
                    }
                };
                let value = self.boxed(result);
                self.set(to, value, Some(result));
            }
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

    fn get(&mut self, register: Reg) -> Value {
        self.b.use_var(self.registers[register])
    }

    fn set(&mut self, register: Reg, value: Value, unboxed: Option<Unboxed>) {
        self.b.def_var(self.registers[register], value);
        self.known[register] = unboxed;
    }

    // --- What is assumed ------------------------------------------------------------------------------------------------

    /// From what was seen, less what turned out to be a bad guess.
    fn plan(&self, pc: Pc, op: Operator, operands: [Reg; 2]) -> Plan {
        let allowed = |guard: Guard| self.lowering.speculates && !self.cx.suppressed(guard.at(pc));
        let seen = self.guest.function().code[pc].seen.types();
        if seen[0].is_empty() && allowed(Guard::Unreached) {
            return Plan::Unreached;
        }
        let expected = |side: usize, guard: fn(Types) -> Guard| match self.known[operands[side]] {
            Some(unboxed) => Some(unboxed.types()),
            None => [Types::INT, Types::FLOAT, Types::NUMBER]
                .into_iter()
                .find(|&types| !seen[side].is_empty() && seen[side].is_within(types) && allowed(guard(types))),
        };
        let (Some(a), Some(b)) = (expected(0, Guard::Left), expected(1, Guard::Right)) else { return Plan::Call };
        let may_overflow = matches!(op, Operator::Add | Operator::Sub | Operator::Mul);
        let are_ints = (a, b) == (Types::INT, Types::INT) && op != Operator::Div;
        if are_ints && (!may_overflow || allowed(Guard::Overflow)) { Plan::Ints } else { Plan::Floats([a, b]) }
    }

    /// What the interpreter needs to go on at `pc`.
    fn frame_state(&mut self, pc: Pc) -> FrameState {
        let live = self.guest.function().code[pc].live;
        FrameState::of(self.guest.index as u64, pc as u32).slots(self.slots(live))
    }

    /// The registers below `live`, each in the slot of its number.
    fn slots(&mut self, live: Reg) -> Vec<(u32, Value)> {
        (0..live).map(|register| (register as u32, self.get(register))).collect()
    }

    /// Leaves for the interpreter, at the instruction, unless the condition holds.
    fn guard(&mut self, pc: Pc, guard: Guard, condition: Value) {
        let state = self.frame_state(pc);
        self.cx.guard(self.b, &self.abi, condition, &state, guard.at(pc), guard.reason()).expect(ROOM);
    }

    fn leave_for_a_test(&mut self, pc: Pc) {
        let flags = MemFlagsData::trusted();
        let before = self.b.ins().load(I64, flags, self.abi.vmctx, TO_PASS);
        let left = self.b.ins().iadd_imm_s(before, -1);
        self.b.ins().store(flags, left, self.abi.vmctx, TO_PASS);
        let stays = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, left, 0);
        self.guard(pc, Guard::Test, stays);
    }

    /// The register's integer.
    fn int(&mut self, pc: Pc, register: Reg, guard: fn(Types) -> Guard) -> Value {
        if let Some(Unboxed::Int(value)) = self.known[register] {
            return value;
        }
        let value = self.get(register);
        let is_int = self.is_int(value);
        self.guard(pc, guard(Types::INT), is_int);
        let int = self.b.ins().ireduce(I32, value);
        self.known[register] = Some(Unboxed::Int(int));
        int
    }

    /// The register's number, as a float.
    fn float(&mut self, pc: Pc, register: Reg, guard: Guard, types: Types) -> Value {
        if types == Types::INT {
            let int = self.int(pc, register, if matches!(guard, Guard::Left(_)) { Guard::Left } else { Guard::Right });
            return self.b.ins().fcvt_from_sint(F64, int);
        }
        if let Some(Unboxed::Float(value)) = self.known[register] {
            return value;
        }
        let value = self.get(register);
        let bound = if types == Types::FLOAT { INT } else { STRING };
        let bound = self.b.ins().iconst(I64, bound.cast_signed());
        let holds = self.b.ins().icmp(IntCC::UnsignedLessThan, value, bound);
        self.guard(pc, guard, holds);
        let float = self.b.ins().bitcast(F64, MemFlagsData::new(), value);
        if types == Types::FLOAT {
            self.known[register] = Some(Unboxed::Float(float));
            return float;
        }
        let is_int = self.is_int(value);
        let int = self.b.ins().ireduce(I32, value);
        let converted = self.b.ins().fcvt_from_sint(F64, int);
        self.b.ins().select(is_int, converted, float)
    }

    fn is_int(&mut self, value: Value) -> Value {
        let upper = self.b.ins().ushr_imm_u(value, 32);
        self.b.ins().icmp_imm_u(IntCC::Equal, upper, (INT >> 32).cast_signed())
    }

    fn boxed(&mut self, unboxed: Unboxed) -> Value {
        match unboxed {
            Unboxed::Int(value) => {
                let (low, high) = (self.b.ins().uextend(I64, value), self.b.ins().iconst(I64, INT.cast_signed()));
                self.b.ins().bor(low, high)
            }
            Unboxed::Float(value) => self.b.ins().bitcast(I64, MemFlagsData::new(), value),
        }
    }

    // --- What is computed -----------------------------------------------------------------------------------------------

    fn ints(&mut self, pc: Pc, op: Operator, a: Value, b: Value) -> Unboxed {
        let (result, overflows) = match op {
            Operator::Add => self.b.ins().sadd_overflow(a, b),
            Operator::Sub => self.b.ins().ssub_overflow(a, b),
            Operator::Mul => self.b.ins().smul_overflow(a, b),
            Operator::Less => return self.truth_of_ints(IntCC::SignedLessThan, a, b),
            Operator::LessEqual => return self.truth_of_ints(IntCC::SignedLessThanOrEqual, a, b),
            Operator::Equal => return self.truth_of_ints(IntCC::Equal, a, b),
            Operator::Div => unreachable!("planned as floats"),
        };
        let mut fits = self.b.ins().icmp_imm_s(IntCC::Equal, overflows, 0);
        if op == Operator::Mul {
            // Not -0: the product is not zero, or no factor is negative.
            let signs = self.b.ins().bor(a, b);
            let is_positive = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, signs, 0);
            let is_not_zero = self.b.ins().icmp_imm_s(IntCC::NotEqual, result, 0);
            let is_int = self.b.ins().bor(is_positive, is_not_zero);
            fits = self.b.ins().band(fits, is_int);
        }
        self.guard(pc, Guard::Overflow, fits);
        Unboxed::Int(result)
    }

    fn truth_of_ints(&mut self, condition: IntCC, a: Value, b: Value) -> Unboxed {
        let truth = self.b.ins().icmp(condition, a, b);
        Unboxed::Int(self.b.ins().uextend(I32, truth))
    }

    fn floats(&mut self, op: Operator, a: Value, b: Value) -> Unboxed {
        let condition = match op {
            Operator::Add => return Unboxed::Float(self.b.ins().fadd(a, b)),
            Operator::Sub => return Unboxed::Float(self.b.ins().fsub(a, b)),
            Operator::Mul => return Unboxed::Float(self.b.ins().fmul(a, b)),
            Operator::Div => return Unboxed::Float(self.b.ins().fdiv(a, b)),
            Operator::Less => FloatCC::LessThan,
            Operator::LessEqual => FloatCC::LessThanOrEqual,
            Operator::Equal => FloatCC::Equal,
        };
        let truth = self.b.ins().fcmp(condition, a, b);
        Unboxed::Int(self.b.ins().uextend(I32, truth))
    }

    fn call_apply(&mut self, op: Operator, a: Reg, b: Reg) -> Value {
        let operator = self.b.ins().iconst(I64, op as i64);
        let (a, b) = (self.get(a), self.get(b));
        let call = self.b.ins().call(self.apply, &[self.abi.vmctx, operator, a, b]);
        let value = self.b.inst_results(call)[0];
        let none = self.b.ins().iconst(I64, NONE.cast_signed());
        let is_none = self.b.ins().icmp(IntCC::Equal, value, none);
        self.traps.trap_if(self.b, is_none, UNDEFINED);
        value
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

/// Why there is always an exit: a frame has fewer registers than exits have words.
const ROOM: &str = "an exit has room for a frame";
const _: () = assert!(REGISTERS <= tierup::abi::WIDE_SLOTS);

impl Plan {
    fn in_words(&self, pc: Pc, op: Operator) -> Option<String> {
        let of = |[a, b]: [Types; 2]| format!("{pc}: {} {} {}", a.name(), op.sign(), b.name());
        match *self {
            Plan::Unreached => Some(format!("{pc}: never reached")),
            Plan::Ints => Some(of([Types::INT; 2])),
            Plan::Floats(types) => Some(of(types)),
            Plan::Call => None,
        }
    }
}
