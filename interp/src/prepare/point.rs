//! Resume points: the operators before which a frame that was put together anew can go on in the interpreter.
//!
//! They are loop headers, whatever reads or writes what a function shares with others (calls, memory, globals, tables), and the
//! operators where control arrives: a function's first, those after an `if`, an `else`, a branch not taken, a call, and an `end`
//! that something branched to.
//!
//! Code is translated as if there were none. At a point an operand may be in an accumulator, be a constant of the code to come, or
//! stand for a local that nobody else reads any more; so a point says what the code after it relies on, and a frame that has all its
//! operands in their slots is made to agree. What makes that enough: an instruction before a point is changed by what follows in
//! one way only, that it stores an operand in its canonical slot as well. (A comparison that becomes a branch, a result that goes
//! to a local, two copies that become one: each needs to be next to what it is merged with, and a point's operator writes an
//! instruction of its own, or follows one that nothing is merged with. Of two copies around a point the second one fills a canonical slot.)
//!
//! The table is made when a frame first needs it, by translating the body again. Nothing is kept for functions that never do, and
//! nothing is done at run time.

use wasmparser::Operator;

use super::stack::Value;
use crate::exec::op::data::Class;

/// Whether the interpreter can go on before this operator, wherever it is.
pub(crate) fn is_point(operator: &Operator<'_>) -> bool {
    use Operator as Op;
    matches!(
        operator,
        Op::Loop { .. }
            | Op::Call { .. }
            | Op::CallIndirect { .. }
            | Op::GlobalGet { .. }
            | Op::GlobalSet { .. }
            | Op::MemorySize { .. }
            | Op::MemoryGrow { .. }
            | Op::MemoryFill { .. }
            | Op::MemoryCopy { .. }
            | Op::MemoryInit { .. }
            | Op::TableGet { .. }
            | Op::TableSet { .. }
            | Op::TableSize { .. }
            | Op::TableGrow { .. }
            | Op::TableFill { .. }
            | Op::TableCopy { .. }
            | Op::TableInit { .. }
    ) || accesses_memory(operator)
}

fn accesses_memory(operator: &Operator<'_>) -> bool {
    use Operator as Op;
    matches!(
        operator,
        Op::I32Load { .. }
            | Op::I32Load8S { .. }
            | Op::I32Load8U { .. }
            | Op::I32Load16S { .. }
            | Op::I32Load16U { .. }
            | Op::I64Load { .. }
            | Op::I64Load8S { .. }
            | Op::I64Load8U { .. }
            | Op::I64Load16S { .. }
            | Op::I64Load16U { .. }
            | Op::I64Load32S { .. }
            | Op::I64Load32U { .. }
            | Op::F32Load { .. }
            | Op::F64Load { .. }
            | Op::I32Store { .. }
            | Op::I32Store8 { .. }
            | Op::I32Store16 { .. }
            | Op::I64Store { .. }
            | Op::I64Store8 { .. }
            | Op::I64Store16 { .. }
            | Op::I64Store32 { .. }
            | Op::F32Store { .. }
            | Op::F64Store { .. }
    )
}

/// Whether the operator after this one is a point, whatever it is. After an `end` it is one only if something branches there.
pub(crate) fn is_before_point(operator: &Operator<'_>) -> bool {
    use Operator as Op;
    matches!(
        operator,
        Op::Loop { .. } | Op::If { .. } | Op::Else | Op::End | Op::BrIf { .. } | Op::Call { .. } | Op::CallIndirect { .. }
    )
}

/// A resume point.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    /// Offset, in the module's bytes, of the operator that is next.
    pub(crate) offset: u32,
    /// First word, in the code, of what is to be executed.
    pub(crate) code: u32,
    /// Operands on the stack.
    pub(crate) height: u32,
    /// If the operator is a call.
    pub(crate) call: Option<Call>,
    /// Which of [`Points::places`] are this one's.
    places: std::ops::Range<u32>,
    /// By class of accumulator: the slot whose value it has, if that is relied on.
    pub(crate) accumulators: [Option<u16>; 3],
}

/// A call that a frame may wait in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// The word of the code it returns to.
    pub(crate) back: u32,
    /// The slot of the caller's that is the callee's first.
    pub(crate) base: u32,
}

/// An operand that is not, or not only, in its canonical slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// That slot.
    pub(crate) slot: u16,
    pub(crate) value: Elsewhere,
}

/// Where an operand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// In a local.
    Local(u16),
    /// In an accumulator.
    Acc(Class),
    /// In the code.
    Const(u64),
}

/// The resume points of a function, by their offsets, ascending.
#[derive(Debug, Default)]
pub(crate) struct Points {
    points: Vec<Point>,
    places: Vec<Place>,
}

impl Points {
    /// The point before the operator at `offset`.
    pub(crate) fn at(&self, offset: u32) -> Option<&Point> {
        let at = self.points.binary_search_by_key(&offset, |point| point.offset).ok()?;
        Some(&self.points[at])
    }

    /// The operands that the code after a point does not look for in their canonical slots.
    pub(crate) fn places(&self, point: &Point) -> &[Place] {
        &self.places[point.places.start as usize..point.places.end as usize]
    }

    /// All of them.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Point> {
        self.points.iter()
    }

    /// Adds a point whose operands are these.
    pub(super) fn add(
        &mut self,
        offset: u32,
        code: usize,
        height: usize,
        unsettled: impl Iterator<Item = (u16, Value)>,
        accumulators: [Option<u16>; 3],
    ) {
        let start = self.places.len() as u32;
        self.places.extend(unsettled.filter_map(|(slot, value)| {
            let value = match value {
                Value::Slot => return None,
                Value::Local(local) => Elsewhere::Local(local),
                Value::Acc(class) => Elsewhere::Acc(class),
                Value::Const(bits) => Elsewhere::Const(bits),
            };
            Some(Place { slot, value })
        }));
        let places = start..self.places.len() as u32;
        self.points.push(Point { offset, code: code as u32, height: height as u32, call: None, places, accumulators });
    }

    /// The last point is a call.
    pub(super) fn is_call(&mut self, call: Call) {
        if let Some(point) = self.points.last_mut() {
            point.call = Some(call);
        }
    }
}
