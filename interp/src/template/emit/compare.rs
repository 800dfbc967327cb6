//! Comparisons, for their value and for a branch.

use tierup_asm::{Alu, Cond, Precision, Rm, Width};

use super::{CONSTANT, Emitter, FLOAT, INT, NoTemplate, OTHER, TEMP, register};
use crate::exec::Form;
use crate::exec::op::branch::CompareOp;

/// How a comparison is made, and when it holds.
enum Test {
    Int(Width, Cond),
    /// Of two floats, maybe the other way round: where it is asked whether one is above the other, unordered ones are not.
    Float {
        precision: Precision,
        swapped: bool,
        cond: Cond,
    },
    /// That two floats are equal, or not.
    FloatEqual {
        precision: Precision,
        equal: bool,
    },
}

/// When a comparison that was made holds.
#[derive(Clone, Copy)]
pub(super) enum Holds {
    If(Cond),
    /// Equal and ordered.
    Equal,
    /// Not equal, or not ordered.
    NotEqual,
}

impl Emitter<'_> {
    /// Sets flags; says when the comparison holds.
    pub(super) fn compare(&mut self, op: CompareOp, form: Form) -> Holds {
        match test_of(op) {
            Test::Int(width, cond) => {
                self.compare_ints(width, form);
                Holds::If(cond)
            }
            Test::Float { precision, swapped, cond } => {
                self.compare_floats(precision, swapped, form);
                Holds::If(cond)
            }
            Test::FloatEqual { precision, equal } => {
                self.compare_floats(precision, false, form);
                if equal { Holds::Equal } else { Holds::NotEqual }
            }
        }
    }

    fn compare_ints(&mut self, width: Width, form: Form) {
        let (a, b, k) = (self.a(), self.b(), self.k() as i32);
        match form {
            Form::SlotSlot => {
                self.asm.mov(width, TEMP, a);
                self.asm.alu(Alu::Cmp, width, TEMP, b);
            }
            Form::SlotAcc => self.asm.alu_to(Alu::Cmp, width, a, INT),
            Form::SlotImm => self.asm.alu_imm(Alu::Cmp, width, a, k),
            Form::AccImm => self.asm.alu_imm(Alu::Cmp, width, INT, k),
            Form::AccSlot | Form::ImmSlot | Form::ImmAcc => unreachable!("comparisons have no such form"),
        }
    }

    fn compare_floats(&mut self, precision: Precision, swapped: bool, form: Form) {
        let (a, b, acc): (Rm, Rm, Rm) = (self.a().into(), self.b().into(), register(precision).into());
        let (l, r) = match form {
            Form::SlotSlot => (a, b),
            Form::SlotAcc => (a, acc),
            Form::SlotImm => (a, CONSTANT.into()),
            Form::AccImm => (acc, CONSTANT.into()),
            Form::AccSlot | Form::ImmSlot | Form::ImmAcc => unreachable!("comparisons have no such form"),
        };
        if let Form::SlotImm | Form::AccImm = form {
            self.float_immediate(precision, CONSTANT);
        }
        let (first, second) = if swapped { (r, l) } else { (l, r) };
        let first = if let Rm::Xmm(register) = first {
            register
        } else {
            self.float_load(precision, FLOAT, first);
            FLOAT
        };
        self.asm.ucomis(precision, first, second);
    }

    /// The comparison's value, in the accumulator.
    pub(super) fn value_of(&mut self, holds: Holds) {
        match holds {
            Holds::If(cond) => self.asm.set_byte(cond, TEMP),
            Holds::Equal | Holds::NotEqual => {
                let is_equal = matches!(holds, Holds::Equal);
                let (cond, parity) = if is_equal { (Cond::Equal, Cond::NoParity) } else { (Cond::NotEqual, Cond::Parity) };
                self.asm.set_byte(cond, TEMP);
                self.asm.set_byte(parity, OTHER);
                let op = if is_equal { Alu::And } else { Alu::Or };
                self.asm.alu(op, Width::W32, TEMP, OTHER);
            }
        }
        self.asm.movzx(1, INT, TEMP);
    }

    pub(super) fn branch_on(&mut self, op: CompareOp, form: Form, back: bool) -> Result<(), NoTemplate> {
        let wide = matches!(form, Form::SlotImm | Form::AccImm)
            && matches!(
                test_of(op),
                Test::Float { precision: Precision::Double, .. } | Test::FloatEqual { precision: Precision::Double, .. }
            );
        let word = 2 + usize::from(wide);
        let holds = self.compare(op, form);
        let over = self.asm.label();
        if !back {
            match holds {
                Holds::If(cond) => self.branch_if(cond, word),
                Holds::NotEqual => {
                    self.branch_if(Cond::NotEqual, word);
                    self.branch_if(Cond::Parity, word);
                }
                Holds::Equal => {
                    self.asm.jump_if(Cond::Parity, over);
                    self.branch_if(Cond::Equal, word);
                }
            }
        } else {
            match holds {
                Holds::If(cond) => self.asm.jump_if(cond.inverse(), over),
                Holds::Equal => {
                    self.asm.jump_if(Cond::NotEqual, over);
                    self.asm.jump_if(Cond::Parity, over);
                }
                Holds::NotEqual => {
                    let taken = self.asm.label();
                    self.asm.jump_if(Cond::Parity, taken);
                    self.asm.jump_if(Cond::Equal, over);
                    self.asm.bind(taken);
                }
            }
            self.branch(word, true)?;
        }
        self.asm.bind(over);
        Ok(())
    }
}

fn test_of(op: CompareOp) -> Test {
    use CompareOp as C;
    use Width::{W32, W64};
    let float = |precision, swapped, cond| Test::Float { precision, swapped, cond };
    match op {
        C::I32Eq => Test::Int(W32, Cond::Equal),
        C::I32Ne => Test::Int(W32, Cond::NotEqual),
        C::I32LtS => Test::Int(W32, Cond::Less),
        C::I32LtU => Test::Int(W32, Cond::Below),
        C::I32GtS => Test::Int(W32, Cond::Greater),
        C::I32GtU => Test::Int(W32, Cond::Above),
        C::I32LeS => Test::Int(W32, Cond::LessOrEqual),
        C::I32LeU => Test::Int(W32, Cond::BelowOrEqual),
        C::I32GeS => Test::Int(W32, Cond::GreaterOrEqual),
        C::I32GeU => Test::Int(W32, Cond::AboveOrEqual),
        C::I64Eq => Test::Int(W64, Cond::Equal),
        C::I64Ne => Test::Int(W64, Cond::NotEqual),
        C::I64LtS => Test::Int(W64, Cond::Less),
        C::I64LtU => Test::Int(W64, Cond::Below),
        C::I64GtS => Test::Int(W64, Cond::Greater),
        C::I64GtU => Test::Int(W64, Cond::Above),
        C::I64LeS => Test::Int(W64, Cond::LessOrEqual),
        C::I64LeU => Test::Int(W64, Cond::BelowOrEqual),
        C::I64GeS => Test::Int(W64, Cond::GreaterOrEqual),
        C::I64GeU => Test::Int(W64, Cond::AboveOrEqual),
        C::F32Eq => Test::FloatEqual { precision: Precision::Single, equal: true },
        C::F32Ne => Test::FloatEqual { precision: Precision::Single, equal: false },
        C::F64Eq => Test::FloatEqual { precision: Precision::Double, equal: true },
        C::F64Ne => Test::FloatEqual { precision: Precision::Double, equal: false },
        // Unordered floats are "below" and "equal": what is asked is whether the greater one is above.
        C::F32Lt => float(Precision::Single, true, Cond::Above),
        C::F32Gt => float(Precision::Single, false, Cond::Above),
        C::F32Le => float(Precision::Single, true, Cond::AboveOrEqual),
        C::F32Ge => float(Precision::Single, false, Cond::AboveOrEqual),
        C::F32NotLt => float(Precision::Single, true, Cond::BelowOrEqual),
        C::F32NotGt => float(Precision::Single, false, Cond::BelowOrEqual),
        C::F32NotLe => float(Precision::Single, true, Cond::Below),
        C::F32NotGe => float(Precision::Single, false, Cond::Below),
        C::F64Lt => float(Precision::Double, true, Cond::Above),
        C::F64Gt => float(Precision::Double, false, Cond::Above),
        C::F64Le => float(Precision::Double, true, Cond::AboveOrEqual),
        C::F64Ge => float(Precision::Double, false, Cond::AboveOrEqual),
        C::F64NotLt => float(Precision::Double, true, Cond::BelowOrEqual),
        C::F64NotGt => float(Precision::Double, false, Cond::BelowOrEqual),
        C::F64NotLe => float(Precision::Double, true, Cond::Below),
        C::F64NotGe => float(Precision::Double, false, Cond::Below),
    }
}
