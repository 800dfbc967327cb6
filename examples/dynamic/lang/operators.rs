//! Operators: what is assumed of their operands, how that is guarded, and what is computed then.
//!
//! Where an operator has met integers only, its operands are guarded to be integers and the machine's arithmetic does the rest;
//! floats likewise, and numbers of both kinds. Where it has never run, the code ends in an exit. Everything else is a call. A guard
//! that failed too often is suppressed by the deopt policy, and the next wider assumption is made: int → number → none.

use tierup::{
    cranelift::codegen::ir::{
        InstBuilder, MemFlagsData, Value,
        condcodes::{FloatCC, IntCC},
        types::{F64, I32, I64},
    },
    deopt::FrameState,
};

use super::code::{Pc, REGISTERS, Reg};
use super::guard::Guard;
use super::lower::Emitter;
use super::value::{INT, NONE, Operator, STRING, Types};
use super::vm::{TO_PASS, UNDEFINED};

/// A value whose type is known, as the machine has it.
#[derive(Clone, Copy)]
pub(super) enum Unboxed {
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

impl Emitter<'_, '_> {
    /// `to = a op b`. False if control does not come out of it.
    pub(super) fn binary(&mut self, pc: Pc, op: Operator, to: Reg, [a, b]: [Reg; 2]) -> bool {
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
                let a = self.float(pc, a, Guard::Left, types[0]);
                let b = self.float(pc, b, Guard::Right, types[1]);
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
        true
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
    fn float(&mut self, pc: Pc, register: Reg, guard: fn(Types) -> Guard, types: Types) -> Value {
        if types == Types::INT {
            let int = self.int(pc, register, guard);
            return self.b.ins().fcvt_from_sint(F64, int);
        }
        if let Some(Unboxed::Float(value)) = self.known[register] {
            return value;
        }
        let value = self.get(register);
        let bound = if types == Types::FLOAT { INT } else { STRING };
        let bound = self.b.ins().iconst(I64, bound.cast_signed());
        let holds = self.b.ins().icmp(IntCC::UnsignedLessThan, value, bound);
        self.guard(pc, guard(types), holds);
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
}

/// Why there is always an exit: a frame has fewer registers than exits have words.
const ROOM: &str = "an exit has room for a frame";
const _: () = assert!(REGISTERS <= tierup::abi::WIDE_SLOTS);
