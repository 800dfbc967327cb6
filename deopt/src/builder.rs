//! The exits of one unit, as lowerings declare them: each gets a number, and its values get places in a buffer.

use std::{collections::HashMap, sync::atomic::AtomicU64};

use cranelift_codegen::ir::Value;
use tierup_broker::{GuardId, UnitId};

use crate::{Exit, ExitReason, ExitTable, FrameLayout, FrameState};

/// Exits a unit can have: their numbers share a word with loop sites.
const MAX_EXITS: usize = 1 << 31;

/// An [`ExitTable`] in the making.
///
/// Numbers are the unit's, not the function's: where a compiler puts another function's body into the unit, that is lowered with
/// a builder that [starts](Self::starting_at) where the unit's ends, and [appended](Self::append).
#[derive(Debug, Default)]
pub struct ExitTableBuilder {
    unit: Option<UnitId>,
    first: u32,
    exits: Vec<Exit>,
}

/// An exit just declared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the exit's code has to be made"]
pub struct NewExit {
    /// Its number in the unit.
    pub number: u32,
    /// What it stores: word `i` of the buffer gets value `i`.
    pub values: Vec<Value>,
}

impl ExitTableBuilder {
    /// A table whose first exit has number `first`.
    pub fn starting_at(first: u32) -> Self {
        ExitTableBuilder { first, ..Self::default() }
    }

    /// The table is that unit's.
    pub fn of_unit(mut self, unit: Option<UnitId>) -> Self {
        self.unit = unit;
        self
    }

    /// The number of the next exit.
    pub fn next_number(&self) -> u32 {
        // `add` and `append` keep the sum in range.
        self.first + self.exits.len() as u32
    }

    /// Whether nothing was declared.
    pub fn is_empty(&self) -> bool {
        self.exits.is_empty()
    }

    /// Declares an exit that leaves with `state`.
    ///
    /// A value that is in several slots is stored once. `None` if there are more than `room` different values, or no numbers left:
    /// then there is no such exit, and the lowering must do without the speculation.
    pub fn add(&mut self, state: &FrameState, guard: GuardId, reason: ExitReason, room: usize) -> Option<NewExit> {
        if self.first as usize + self.exits.len() >= MAX_EXITS {
            return None;
        }
        let mut places = HashMap::new();
        let mut values = Vec::new();
        let mut place = |value: Value| {
            *places.entry(value).or_insert_with(|| {
                values.push(value);
                values.len() as u32 - 1
            })
        };
        let frames: Box<[FrameLayout]> = { state.frames().iter() }
            .map(|frame| FrameLayout {
                function: frame.function,
                pc: frame.pc,
                slots: frame.slots.iter().map(|&(slot, value)| (slot, place(value))).collect(),
            })
            .collect();
        if values.len() > room {
            return None;
        }
        let number = self.next_number();
        self.exits.push(Exit { guard, reason, frames, words: values.len() as u32, taken: AtomicU64::new(0) });
        Some(NewExit { number, values })
    }

    /// Takes over the exits of a function that becomes part of the unit.
    ///
    /// # Panics
    ///
    /// If that was not lowered for here: its numbers must go on where these end.
    pub fn append(&mut self, other: ExitTableBuilder) {
        assert!(other.is_empty() || other.first == self.next_number(), "exits of another place in the unit");
        self.exits.extend(other.exits);
    }

    /// The table.
    ///
    /// # Panics
    ///
    /// If it does not start at 0: a unit has one table.
    pub fn build(self) -> ExitTable {
        assert!(self.first == 0 || self.is_empty(), "a part of a unit's exits");
        ExitTable::new(self.unit, self.exits)
    }
}

#[cfg(test)]
mod tests {
    use cranelift_codegen::ir::Value;
    use tierup_broker::GuardId;

    use super::ExitTableBuilder;
    use crate::{ExitReason, FrameState};

    fn value(number: u32) -> Value {
        Value::from_u32(number)
    }

    fn add(table: &mut ExitTableBuilder, state: &FrameState, room: usize) -> Option<(u32, Vec<Value>)> {
        table.add(state, GuardId(7), ExitReason::Unreached, room).map(|exit| (exit.number, exit.values))
    }

    #[test]
    fn what_an_exit_stores_is_what_its_frames_hold() {
        let mut table = ExitTableBuilder::default();
        let one = FrameState::of(1, 10).slot(3, value(30));
        let two = FrameState::of(1, 17).slots([(0, value(5)), (9, value(6))]).calls(2, 3).slot(0, value(6)).slot(1, value(8));
        assert_eq!(add(&mut table, &one, 8), Some((0, vec![value(30)])));
        assert_eq!(add(&mut table, &two, 8), Some((1, vec![value(5), value(6), value(8)])), "each value once");

        let table = table.build();
        let exit = table.exit(1).unwrap();
        let frames: Vec<_> = exit
            .rebuild(&[50, 60, 80, 0])
            .map(|frame| (frame.function(), frame.pc(), frame.slots().collect::<Vec<_>>()))
            .collect();
        assert_eq!(frames, [(1, 17, vec![(0, 50), (9, 60)]), (2, 3, vec![(0, 60), (1, 80)])]);
        assert_eq!((exit.words(), exit.guard(), exit.reason()), (3, GuardId(7), ExitReason::Unreached));
        assert_eq!((exit.take(), exit.take(), exit.taken(), table.exit(0).unwrap().taken()), (0, 1, 2, 0));
        assert!(table.exit(2).is_none());
    }

    #[test]
    fn what_does_not_fit_is_no_exit() {
        let mut table = ExitTableBuilder::default();
        let wide = FrameState::of(0, 0).slots((0..3).map(|slot| (slot, value(slot))));
        assert_eq!(add(&mut table, &wide, 2), None);
        assert!(table.is_empty());
        assert_eq!(add(&mut table, &wide, 3).unwrap().0, 0);
        let mut last = ExitTableBuilder::starting_at((1 << 31) - 1);
        assert_eq!(add(&mut last, &wide, 3).unwrap().0, (1 << 31) - 1);
        assert_eq!(add(&mut last, &wide, 3), None);
    }

    #[test]
    fn numbers_are_the_units() {
        let mut table = ExitTableBuilder::default();
        let state = |function| FrameState::of(function, 0);
        add(&mut table, &state(1), 0).unwrap();
        let mut callee = ExitTableBuilder::starting_at(table.next_number());
        assert_eq!(add(&mut callee, &state(2), 0).unwrap().0, 1);
        table.append(callee);
        assert_eq!(table.next_number(), 2);
        assert_eq!(table.build().exit(1).unwrap().frames()[0].function, 2);
    }
}
