//! Comparisons, for their value and for a branch.

use super::super::asm::{
    ABOVE, Alu, BELOW, Cc, EQUAL, Float, GREATER, LESS, NOT_ABOVE, NOT_BELOW, NOT_EQUAL, NOT_GREATER, NOT_LESS, ORDERED, Rm,
    UNORDERED, Width,
};
use super::{CONSTANT, Emitter, FLOAT, INT, NoTemplate, OTHER, TEMP, register};
use crate::exec::Form;
use crate::exec::op::branch::CompareOp;

/// How a comparison is made, and when it holds.
enum Test {
    Int(Width, Cc),
    /// Of two floats, maybe the other way round: where it is asked whether one is above the other, unordered ones are not.
    Float {
        float: Float,
        swapped: bool,
        cc: Cc,
    },
    /// That two floats are equal, or not.
    FloatEqual {
        float: Float,
        equal: bool,
    },
}

/// When a comparison that was made holds.
#[derive(Clone, Copy)]
pub(super) enum Holds {
    If(Cc),
    /// Equal and ordered.
    Equal,
    /// Not equal, or not ordered.
    NotEqual,
}

impl Emitter<'_> {
    /// Sets flags; says when the comparison holds.
    pub(super) fn compare(&mut self, op: CompareOp, form: Form) -> Holds {
        match test_of(op) {
            Test::Int(width, cc) => {
                self.compare_ints(width, form);
                Holds::If(cc)
            }
            Test::Float { float, swapped, cc } => {
                self.compare_floats(float, swapped, form);
                Holds::If(cc)
            }
            Test::FloatEqual { float, equal } => {
                self.compare_floats(float, false, form);
                if equal { Holds::Equal } else { Holds::NotEqual }
            }
        }
    }

    fn compare_ints(&mut self, width: Width, form: Form) {
        let (a, b, k) = (self.a(), self.b(), self.k() as i32);
        match form {
            Form::SlotSlot => {
                self.asm.load(width, TEMP, a);
                self.asm.alu(Alu::Cmp, width, TEMP, b);
            }
            Form::SlotAcc => self.asm.alu_from(Alu::Cmp, width, a, INT),
            Form::SlotImm => self.asm.alu_constant(Alu::Cmp, width, a, k),
            Form::AccImm => self.asm.alu_constant(Alu::Cmp, width, Rm::Reg(INT), k),
            Form::AccSlot | Form::ImmSlot | Form::ImmAcc => unreachable!("comparisons have no such form"),
        }
    }

    fn compare_floats(&mut self, float: Float, swapped: bool, form: Form) {
        let (a, b, acc) = (self.a(), self.b(), Rm::Xmm(register(float)));
        let (l, r) = match form {
            Form::SlotSlot => (a, b),
            Form::SlotAcc => (a, acc),
            Form::SlotImm => (a, Rm::Xmm(CONSTANT)),
            Form::AccImm => (acc, Rm::Xmm(CONSTANT)),
            Form::AccSlot | Form::ImmSlot | Form::ImmAcc => unreachable!("comparisons have no such form"),
        };
        if let Form::SlotImm | Form::AccImm = form {
            self.float_immediate(float, CONSTANT);
        }
        let (first, second) = if swapped { (r, l) } else { (l, r) };
        let first = if let Rm::Xmm(register) = first {
            register
        } else {
            self.asm.float_load(float, FLOAT, first);
            FLOAT
        };
        self.asm.float_compare(float, first, second);
    }

    /// The comparison's value, in the accumulator.
    pub(super) fn value_of(&mut self, holds: Holds) {
        match holds {
            Holds::If(cc) => self.asm.set(cc, TEMP),
            Holds::Equal | Holds::NotEqual => {
                let is_equal = matches!(holds, Holds::Equal);
                let (cc, parity) = if is_equal { (EQUAL, ORDERED) } else { (NOT_EQUAL, UNORDERED) };
                self.asm.set(cc, TEMP);
                self.asm.set(parity, OTHER);
                let op = if is_equal { Alu::And } else { Alu::Or };
                self.asm.alu(op, Width::W32, TEMP, Rm::Reg(OTHER));
            }
        }
        self.asm.load_extended(Width::W32, false, 1, INT, Rm::Reg(TEMP));
    }

    pub(super) fn branch_on(&mut self, op: CompareOp, form: Form, back: bool) -> Result<(), NoTemplate> {
        let wide = matches!(form, Form::SlotImm | Form::AccImm)
            && matches!(test_of(op), Test::Float { float: Float::F64, .. } | Test::FloatEqual { float: Float::F64, .. });
        let word = 2 + usize::from(wide);
        let holds = self.compare(op, form);
        if !back {
            match holds {
                Holds::If(cc) => self.branch_if(cc, word),
                Holds::NotEqual => {
                    self.branch_if(NOT_EQUAL, word);
                    self.branch_if(UNORDERED, word);
                }
                Holds::Equal => {
                    let over = self.asm.jump_if(UNORDERED);
                    self.branch_if(EQUAL, word);
                    self.asm.direct(over, self.asm.here());
                }
            }
            return Ok(());
        }
        let over = match holds {
            Holds::If(cc) => [Some(self.asm.jump_if(cc.negated())), None],
            Holds::Equal => [Some(self.asm.jump_if(NOT_EQUAL)), Some(self.asm.jump_if(UNORDERED))],
            Holds::NotEqual => {
                let taken = self.asm.jump_if(UNORDERED);
                let over = self.asm.jump_if(EQUAL);
                self.asm.direct(taken, self.asm.here());
                [Some(over), None]
            }
        };
        self.branch(word, true)?;
        for over in over.into_iter().flatten() {
            self.asm.direct(over, self.asm.here());
        }
        Ok(())
    }
}

fn test_of(op: CompareOp) -> Test {
    use CompareOp as C;
    use Width::{W32, W64};
    let float = |float, swapped, cc| Test::Float { float, swapped, cc };
    match op {
        C::I32Eq => Test::Int(W32, EQUAL),
        C::I32Ne => Test::Int(W32, NOT_EQUAL),
        C::I32LtS => Test::Int(W32, LESS),
        C::I32LtU => Test::Int(W32, BELOW),
        C::I32GtS => Test::Int(W32, GREATER),
        C::I32GtU => Test::Int(W32, ABOVE),
        C::I32LeS => Test::Int(W32, NOT_GREATER),
        C::I32LeU => Test::Int(W32, NOT_ABOVE),
        C::I32GeS => Test::Int(W32, NOT_LESS),
        C::I32GeU => Test::Int(W32, NOT_BELOW),
        C::I64Eq => Test::Int(W64, EQUAL),
        C::I64Ne => Test::Int(W64, NOT_EQUAL),
        C::I64LtS => Test::Int(W64, LESS),
        C::I64LtU => Test::Int(W64, BELOW),
        C::I64GtS => Test::Int(W64, GREATER),
        C::I64GtU => Test::Int(W64, ABOVE),
        C::I64LeS => Test::Int(W64, NOT_GREATER),
        C::I64LeU => Test::Int(W64, NOT_ABOVE),
        C::I64GeS => Test::Int(W64, NOT_LESS),
        C::I64GeU => Test::Int(W64, NOT_BELOW),
        C::F32Eq => Test::FloatEqual { float: Float::F32, equal: true },
        C::F32Ne => Test::FloatEqual { float: Float::F32, equal: false },
        C::F64Eq => Test::FloatEqual { float: Float::F64, equal: true },
        C::F64Ne => Test::FloatEqual { float: Float::F64, equal: false },
        // Unordered floats are "below" and "equal": what is asked is whether the greater one is above.
        C::F32Lt => float(Float::F32, true, ABOVE),
        C::F32Gt => float(Float::F32, false, ABOVE),
        C::F32Le => float(Float::F32, true, NOT_BELOW),
        C::F32Ge => float(Float::F32, false, NOT_BELOW),
        C::F32NotLt => float(Float::F32, true, NOT_ABOVE),
        C::F32NotGt => float(Float::F32, false, NOT_ABOVE),
        C::F32NotLe => float(Float::F32, true, BELOW),
        C::F32NotGe => float(Float::F32, false, BELOW),
        C::F64Lt => float(Float::F64, true, ABOVE),
        C::F64Gt => float(Float::F64, false, ABOVE),
        C::F64Le => float(Float::F64, true, NOT_BELOW),
        C::F64Ge => float(Float::F64, false, NOT_BELOW),
        C::F64NotLt => float(Float::F64, true, NOT_ABOVE),
        C::F64NotGt => float(Float::F64, false, NOT_ABOVE),
        C::F64NotLe => float(Float::F64, true, BELOW),
        C::F64NotGe => float(Float::F64, false, BELOW),
    }
}
