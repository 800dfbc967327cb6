//! The operand stack while translating: where each value is, and what the accumulators hold.
//!
//! Three rules keep it sound:
//!
//! - a value that is only in an accumulator has its producer on record, and before anything else takes that
//!   accumulator the producer is changed to store the value in its canonical slot as well;
//! - an entry that stands for a local is copied to its canonical slot before the local is written;
//! - what an accumulator is known to mirror is forgotten when either changes, and wherever control may arrive.

use super::CONTROL_SLOTS;
use super::code::Code;
use crate::exec::Instruction;
use crate::exec::op::data::{self, Class};

/// Where an entry's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// In its canonical slot.
    Slot,
    /// In a local.
    Local(u16),
    /// In the accumulator of its class, and nowhere else.
    Acc(Class),
    /// Nowhere: it is this constant, as slot bits.
    Const(u64),
}

/// An operand taken from the stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand {
    pub(super) place: Place,
    /// Its canonical slot, free to be used for it.
    home: u16,
}

/// Where an operand is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Slot(u16),
    /// In the accumulator; `producer` if it is nowhere else.
    Acc {
        class: Class,
        producer: Option<Producer>,
    },
    Const(u64),
}

/// The instruction that made a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Producer {
    /// Its first word.
    pub(super) at: usize,
    /// The same with a slot as destination.
    store: Instruction,
}

#[derive(Debug, Clone, Copy, Default)]
struct Accumulator {
    /// Entry that has its value here only, with its producer.
    pending: Option<(usize, Producer)>,
    /// A slot that holds the same value.
    mirror: Option<u16>,
}

/// The stack.
pub(super) struct Stack {
    entries: Vec<Value>,
    accumulators: [Accumulator; 3],
    /// Number of the first operand slot.
    base: u32,
    /// Most entries there ever were.
    highest: usize,
    /// Every entry below this one is in its slot.
    settled: usize,
}

/// Entries standing for locals are looked for this deep; deeper ones go to their slots early.
const LAZY_DEPTH: usize = 64;

impl Stack {
    pub(super) fn new(locals: u32) -> Self {
        Self {
            entries: Vec::with_capacity(32),
            accumulators: [Accumulator::default(); 3],
            base: locals + CONTROL_SLOTS,
            highest: 0,
            settled: 0,
        }
    }

    pub(super) fn height(&self) -> usize {
        self.entries.len()
    }

    /// Slots a frame needs.
    pub(super) fn frame_slots(&self) -> u32 {
        self.base + self.highest as u32
    }

    /// The canonical slot of height `height`. Heights too large for an instruction are refused at the end of the
    /// translation, when the largest is known.
    pub(super) fn slot(&self, height: usize) -> u16 {
        (self.base as usize + height) as u16
    }

    fn acc(&mut self, class: Class) -> &mut Accumulator {
        &mut self.accumulators[class as usize]
    }

    pub(super) fn push(&mut self, code: &mut Code, value: Value) {
        if let Value::Local(_) = value
            && self.entries.len() - self.settled >= LAZY_DEPTH
        {
            self.settle_from(code, 0);
        }
        self.entries.push(value);
        self.highest = self.highest.max(self.entries.len());
    }

    pub(super) fn top(&self) -> Value {
        *self.entries.last().expect("validated: there is an operand")
    }

    /// Entry `at`, for a move that leaves it where it is.
    pub(super) fn peek(&self, at: usize) -> Operand {
        let home = self.slot(at);
        let place = match self.entries[at] {
            Value::Slot => Place::Slot(home),
            Value::Local(local) => Place::Slot(local),
            Value::Acc(class) => Place::Acc { class, producer: None },
            Value::Const(bits) => Place::Const(bits),
        };
        Operand { place, home }
    }

    /// Takes the top entry, to be used as a value of `class`.
    pub(super) fn pop(&mut self, class: Class) -> Operand {
        let value = self.entries.pop().expect("validated: there is an operand");
        let height = self.entries.len();
        self.settled = self.settled.min(height);
        let home = self.slot(height);
        let mirror = self.accumulators[class as usize].mirror;
        let in_slot = |slot: u16| {
            if mirror == Some(slot) { Place::Acc { class, producer: None } } else { Place::Slot(slot) }
        };
        let place = match value {
            Value::Slot => in_slot(home),
            Value::Local(local) => in_slot(local),
            Value::Acc(class) => {
                let pending = self.acc(class).pending.take();
                let (at, producer) = pending.expect("an entry in an accumulator has a producer");
                debug_assert_eq!(at, height);
                Place::Acc { class, producer: Some(producer) }
            }
            Value::Const(bits) => Place::Const(bits),
        };
        Operand { place, home }
    }

    /// Drops entries down to `height`, wherever their values are.
    pub(super) fn truncate(&mut self, height: usize) {
        self.entries.truncate(height);
        self.settled = self.settled.min(height);
        for acc in &mut self.accumulators {
            if acc.pending.is_some_and(|(at, _)| at >= height) {
                acc.pending = None;
            }
        }
    }

    /// Forgets what mirrors `slot`, which is being written.
    fn wrote(&mut self, slot: u16) {
        for acc in &mut self.accumulators {
            if acc.mirror == Some(slot) {
                acc.mirror = None;
            }
        }
    }

    /// Makes a producer store its value in `slot` too; its accumulator mirrors the slot then.
    fn store_at(&mut self, code: &mut Code, class: Class, producer: Producer, slot: u16) {
        code.change(producer.at, producer.store);
        *code.operands(producer.at) |= u64::from(slot);
        self.wrote(slot);
        self.acc(class).mirror = Some(slot);
    }

    /// Puts a value that is only in the accumulator of `class` into its slot.
    fn settle_acc(&mut self, code: &mut Code, class: Class) {
        if let Some((at, producer)) = self.acc(class).pending.take() {
            let slot = self.slot(at);
            self.store_at(code, class, producer, slot);
            self.entries[at] = Value::Slot;
        }
    }

    /// Leaves no value in an accumulator only.
    pub(super) fn settle_accs(&mut self, code: &mut Code) {
        for class in [Class::Int, Class::F32, Class::F64] {
            self.settle_acc(code, class);
        }
    }

    /// Puts entry `at` into its canonical slot.
    fn settle(&mut self, code: &mut Code, at: usize) {
        let slot = self.slot(at);
        match self.entries[at] {
            Value::Slot => {}
            Value::Local(local) => self.copy(code, slot, local),
            Value::Acc(class) => self.settle_acc(code, class),
            Value::Const(bits) => self.constant(code, slot, bits),
        }
        self.entries[at] = Value::Slot;
    }

    /// Puts the entries from `at` up into their canonical slots.
    ///
    /// Where control forks (a block opens) that has to be all of them: what happens to an entry on one way only would be
    /// missed on the other.
    pub(super) fn settle_from(&mut self, code: &mut Code, at: usize) {
        for at in at.max(self.settled)..self.entries.len() {
            self.settle(code, at);
        }
        if at <= self.settled {
            self.settled = self.entries.len();
        }
    }

    /// Control may arrive here: what the accumulators hold is unknown.
    pub(super) fn forget(&mut self) {
        debug_assert!(self.accumulators.iter().all(|acc| acc.pending.is_none()));
        self.accumulators = [Accumulator::default(); 3];
    }

    /// Notes that the accumulator of `class` holds what entry `at` has in its slot.
    pub(super) fn mirrors(&mut self, class: Class, at: usize) {
        self.acc(class).mirror = Some(self.slot(at));
    }

    /// The entries that may not be in their canonical slots, with those.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = (u16, Value)> {
        (self.settled..self.entries.len()).map(|at| (self.slot(at), self.entries[at]))
    }

    /// By class: the slot whose value the accumulator is known to have, or has instead of it.
    pub(super) fn accumulated(&self) -> [Option<u16>; 3] {
        self.accumulators.map(|acc| acc.pending.map(|(at, _)| self.slot(at)).or(acc.mirror))
    }

    /// What the integer accumulator mirrors, to be restored by [`Stack::restore`].
    pub(super) fn mirror(&self) -> Option<u16> {
        self.accumulators[Class::Int as usize].mirror
    }

    /// Takes the top entry back, the result of an instruction that was taken back: the integer accumulator holds again
    /// what it did before.
    pub(super) fn restore(&mut self, mirror: Option<u16>) {
        self.entries.pop();
        *self.acc(Class::Int) = Accumulator { pending: None, mirror };
    }

    /// Pushes a result in the accumulator of `class`, made by the instruction at `at`, which was just written.
    pub(super) fn push_result(&mut self, code: &mut Code, class: Class, at: usize, store: Instruction) {
        self.settle_acc(code, class);
        let entry = self.entries.len();
        *self.acc(class) = Accumulator { pending: Some((entry, Producer { at, store })), mirror: None };
        self.push(code, Value::Acc(class));
    }

    /// The slot an operand is in; it is put into one if it is in none.
    pub(super) fn in_slot(&mut self, code: &mut Code, operand: Operand) -> u16 {
        match operand.place {
            Place::Slot(slot) => slot,
            Place::Acc { class, producer: Some(producer) } => {
                self.store_at(code, class, producer, operand.home);
                operand.home
            }
            Place::Acc { class, producer: None } => self.acc(class).mirror.expect("it was found by its mirror"),
            Place::Const(bits) => {
                self.constant(code, operand.home, bits);
                operand.home
            }
        }
    }

    /// Writes a copy.
    pub(super) fn copy(&mut self, code: &mut Code, to: u16, from: u16) {
        if to == from {
            return;
        }
        let words = u64::from(to) | u64::from(from) << 16;
        match code.last() {
            Some(at) if code.is(at, data::copy()) => {
                code.change(at, data::copy_two());
                *code.operands(at) |= words << 32;
            }
            _ => {
                code.begin(data::copy());
                code.word(words);
            }
        }
        self.wrote(to);
    }

    /// Writes a constant.
    pub(super) fn constant(&mut self, code: &mut Code, to: u16, bits: u64) {
        if bits <= u64::from(u32::MAX) {
            code.begin(data::narrow());
            code.word(u64::from(to) | bits << 32);
        } else {
            code.begin(data::wide());
            code.word(u64::from(to));
            code.word(bits);
        }
        self.wrote(to);
    }

    /// Writes an accumulator to a slot.
    fn keep(&mut self, code: &mut Code, to: u16, class: Class) {
        code.begin(data::keep(class));
        code.word(u64::from(to));
        self.wrote(to);
    }

    /// Writes `operand` to slot `to` without changing what is known of anything else.
    pub(super) fn move_to(&mut self, code: &mut Code, to: u16, operand: Operand) {
        match operand.place {
            Place::Slot(slot) => self.copy(code, to, slot),
            Place::Acc { class, .. } => self.keep(code, to, class),
            Place::Const(bits) => self.constant(code, to, bits),
        }
    }

    /// `local.set`: takes the top entry into `local`.
    pub(super) fn set_local(&mut self, code: &mut Code, local: u16) {
        let value = self.assign(code, local);
        if let Value::Acc(class) = value {
            self.acc(class).mirror = Some(local);
        }
    }

    /// `local.tee`: as [`Stack::set_local`], but the value stays on the stack.
    pub(super) fn tee_local(&mut self, code: &mut Code, local: u16) {
        let value = self.assign(code, local);
        let stays = match value {
            Value::Acc(class) => {
                self.acc(class).mirror = Some(local);
                Value::Local(local)
            }
            other => other,
        };
        self.push(code, stays);
    }

    /// Writes the top entry to `local` and pops it; says where it was.
    fn assign(&mut self, code: &mut Code, local: u16) -> Value {
        let value = self.entries.pop().expect("validated: there is an operand");
        let height = self.entries.len();
        self.settled = self.settled.min(height);
        let pending = match value {
            Value::Acc(class) => self.acc(class).pending.take(),
            _ => None,
        };
        let direct = pending.filter(|&(_, producer)| code.is_last(producer.at));
        let preserved = self.preserve(code, local);
        match (value, direct) {
            (Value::Acc(class), Some((_, producer))) if !preserved => self.store_at(code, class, producer, local),
            (Value::Acc(class), _) => self.keep(code, local, class),
            (Value::Local(from), _) if from == local => {}
            (Value::Local(slot), _) => self.assign_slot(code, local, slot),
            (Value::Slot, _) => self.assign_slot(code, local, self.slot(height)),
            (Value::Const(bits), _) => self.constant(code, local, bits),
        }
        value
    }

    /// Copies a slot to a local, by way of the accumulator that mirrors it if there is one.
    fn assign_slot(&mut self, code: &mut Code, local: u16, slot: u16) {
        let classes = [Class::Int, Class::F32, Class::F64];
        match classes.into_iter().find(|&class| self.acc(class).mirror == Some(slot)) {
            Some(class) => {
                self.keep(code, local, class);
                self.acc(class).mirror = Some(local);
            }
            None => self.copy(code, local, slot),
        }
    }

    /// Copies entries that stand for `local` to their slots; says whether there were any.
    fn preserve(&mut self, code: &mut Code, local: u16) -> bool {
        let mut any = false;
        for at in self.settled..self.entries.len() {
            if self.entries[at] == Value::Local(local) {
                self.settle(code, at);
                any = true;
            }
        }
        any
    }
}
