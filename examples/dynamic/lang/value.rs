//! Values, and what operators do with them: the meaning of the language, which no tier may change.
//!
//! A value is one word. There are numbers and strings. A number is a float; one that is a small integer may be kept as such, because
//! integer arithmetic is cheap. Which of the two it is no program can tell: so compiled code may choose otherwise than the
//! interpreter.

use std::cell::RefCell;

/// A word: the bits of a float, or something above all bits that floats have here (the only NaNs are those that the processor makes).
pub(crate) type Value = u64;

/// An integer's upper half; the lower is the integer.
pub(crate) const INT: Value = 0xFFFA << 48;
/// A string's upper half; the lower is its number in the heap.
pub(crate) const STRING: Value = 0xFFFB << 48;
/// No value: an operator was given operands it is not defined for.
pub(crate) const NONE: Value = u64::MAX;

/// A set of types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Types(pub(crate) u8);

impl Types {
    pub(crate) const INT: Types = Types(1);
    pub(crate) const FLOAT: Types = Types(2);
    pub(crate) const NUMBER: Types = Types(3);
    pub(crate) const STRING: Types = Types(4);

    pub(crate) fn of(value: Value) -> Types {
        match value {
            ..INT => Types::FLOAT,
            INT..STRING => Types::INT,
            _ => Types::STRING,
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn is_within(self, other: Types) -> bool {
        self.0 & !other.0 == 0
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Types::INT => "int",
            Types::FLOAT => "float",
            Types::NUMBER => "number",
            Types::STRING => "string",
            _ => "any",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Less,
    LessEqual,
    Equal,
}

impl Operator {
    pub(crate) const ALL: [Operator; 7] = {
        use Operator::*;
        [Add, Sub, Mul, Div, Less, LessEqual, Equal]
    };

    pub(crate) fn sign(self) -> &'static str {
        ["+", "-", "*", "/", "<", "<=", "=="][self as usize]
    }
}

pub(crate) fn int(value: i32) -> Value {
    INT | Value::from(value.cast_unsigned())
}

fn float(value: f64) -> Value {
    value.to_bits()
}

/// The number as a float. `None` for strings.
fn number(value: Value) -> Option<f64> {
    match Types::of(value) {
        Types::INT => Some(f64::from(value as i32)),
        Types::FLOAT => Some(f64::from_bits(value)),
        _ => None,
    }
}

/// Bytes of a string; to make a longer one is an error.
const MOST_BYTES: usize = 4096;

/// Strings. They live as long as the machine: collecting garbage is not what this example is about.
#[derive(Default, Clone)]
pub(crate) struct Heap(RefCell<Vec<String>>);

impl Heap {
    pub(crate) fn string(&self, text: String) -> Value {
        let mut strings = self.0.borrow_mut();
        strings.push(text);
        STRING | (strings.len() - 1) as Value
    }

    pub(crate) fn text(&self, value: Value) -> String {
        match number(value) {
            Some(number) => number.to_string(),
            None => self.0.borrow()[value as u32 as usize].clone(),
        }
    }

    /// What a condition makes of a value.
    pub(crate) fn is_true(&self, value: Value) -> bool {
        match number(value) {
            Some(number) => number != 0.0,
            None => !self.0.borrow()[value as u32 as usize].is_empty(),
        }
    }

    /// `a op b`, or [`NONE`].
    pub(crate) fn apply(&self, op: Operator, a: Value, b: Value) -> Value {
        if let (Types::INT, Types::INT) = (Types::of(a), Types::of(b))
            && let Some(result) = ints(op, a as i32, b as i32)
        {
            return int(result);
        }
        if let (Some(a), Some(b)) = (number(a), number(b)) {
            return numbers(op, a, b);
        }
        let is_string = |value| number(value).is_none();
        match op {
            Operator::Add => {
                let text = self.text(a) + &self.text(b);
                if text.len() > MOST_BYTES { NONE } else { self.string(text) }
            }
            Operator::Equal => int(i32::from(is_string(a) == is_string(b) && self.text(a) == self.text(b))),
            Operator::Less if is_string(a) && is_string(b) => int(i32::from(self.text(a) < self.text(b))),
            Operator::LessEqual if is_string(a) && is_string(b) => int(i32::from(self.text(a) <= self.text(b))),
            _ => NONE,
        }
    }
}

/// The result, if it is an integer that fits. A product that is zero because of a negative factor is none: it is -0.
fn ints(op: Operator, a: i32, b: i32) -> Option<i32> {
    match op {
        Operator::Add => a.checked_add(b),
        Operator::Sub => a.checked_sub(b),
        Operator::Mul => a.checked_mul(b).filter(|&product| product != 0 || a | b >= 0),
        Operator::Div => None,
        Operator::Less => Some(i32::from(a < b)),
        Operator::LessEqual => Some(i32::from(a <= b)),
        Operator::Equal => Some(i32::from(a == b)),
    }
}

#[allow(clippy::float_cmp, reason = "the guest's operator compares exactly")]
fn numbers(op: Operator, a: f64, b: f64) -> Value {
    match op {
        Operator::Add => float(a + b),
        Operator::Sub => float(a - b),
        Operator::Mul => float(a * b),
        Operator::Div => float(a / b),
        Operator::Less => int(i32::from(a < b)),
        Operator::LessEqual => int(i32::from(a <= b)),
        Operator::Equal => int(i32::from(a == b)),
    }
}

/// A literal number: an integer if it can be one.
pub(crate) fn literal(number: f64) -> Value {
    let integer = number as i32;
    if f64::from(integer).to_bits() == number.to_bits() { int(integer) } else { float(number) }
}
