//! Where each value is: a register or a word of the frame, one place for all its life.
//!
//! The most used values choose first (priority-based colouring, after Chow and Hennessy, "The priority-based coloring approach to
//! register allocation", 1990, without their splitting). What is taken when is a bit set per register, over the positions of the
//! function, so that lives with holes cost nothing special. A value asks first for the place of what it is copied from or to. What a loop
//! hands from one turn to the next is chosen for together: a register that is free for one of the two only saves no copy, and the copy
//! would stand where the loop jumps back.

use cranelift_codegen::ir::{Block, Function, Inst, InstructionData, Opcode, Value};
use cranelift_codegen::isa::CallConv;
use tierup_asm::{Gpr, R8, R9, R10, R12, R13, R14, R15, RBX, RDI, RDX, RSI, Xmm};
use tierup_osr::Source;

use super::{
    Unsupported,
    facts::{Facts, NONE, Role, each_call},
};

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    None,
    Gpr(Gpr),
    Xmm(Xmm),
    /// A word of the frame, by number.
    Slot(u32),
}

/// General purpose registers values live in: first those that calls change, of these first the ones that pass few functions' arguments. `rax`, `rcx` and `r11` are for the moment.
const GPRS: [Gpr; 11] = [R8, R9, R10, RSI, RDI, RDX, RBX, R12, R13, R14, R15];
/// How many of them calls change.
const VOLATILE: usize = 6;
/// Vector registers values live in. Calls change all. The last two are for the moment.
const XMMS: u8 = 14;

/// A piece of a value's life: from one position to another, both included.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: u32,
    to: u32,
    next: u32,
}

/// A copy that would cost nothing if both had the same place.
#[derive(Debug, Clone, Copy)]
struct Affinity {
    with: u32,
    next: u32,
}

#[derive(Debug, Clone, Copy)]
struct Life {
    first: u32,
    affinities: u32,
    /// How often it is used, by an estimate.
    weight: f32,
    length: u32,
    /// A register that costs a move less, as an index into its class, or `u8::MAX`.
    wish: u8,
    /// For a parameter of a loop's header, what the next turn gets for it; and the other way round.
    twin: u32,
    /// Number among those that are live in more than one block.
    across: u32,
}

const NOTHING: Life = Life { first: NONE, affinities: NONE, weight: 0.0, length: 0, wish: u8::MAX, twin: NONE, across: NONE };

/// Words of liveness, at most: 8 MiB of them.
const MOST_WORDS: usize = 1 << 20;

/// Sets of positions, one per register.
#[derive(Default)]
struct Taken {
    words: Vec<u64>,
    stride: usize,
}

impl Taken {
    fn clear(&mut self, sets: usize, positions: u32) {
        self.stride = (positions as usize).div_ceil(64).max(1);
        self.words.clear();
        self.words.resize(sets * self.stride, 0);
    }

    fn add_set(&mut self) {
        self.words.resize(self.words.len() + self.stride, 0);
    }

    fn is_free(&self, set: usize, from: u32, to: u32) -> bool {
        let words = &self.words[set * self.stride..][..self.stride];
        let (first, last) = (from as usize / 64, to as usize / 64);
        let (low, high) = (u64::MAX << (from % 64), u64::MAX >> (63 - to % 64));
        if first == last {
            return words[first] & low & high == 0;
        }
        words[first] & low == 0 && words[last] & high == 0 && words[first + 1..last].iter().all(|&word| word == 0)
    }

    fn take(&mut self, set: usize, from: u32, to: u32) {
        let words = &mut self.words[set * self.stride..][..self.stride];
        let (first, last) = (from as usize / 64, to as usize / 64);
        let (low, high) = (u64::MAX << (from % 64), u64::MAX >> (63 - to % 64));
        if first == last {
            words[first] |= low & high;
            return;
        }
        words[first] |= low;
        words[last] |= high;
        words[first + 1..last].fill(u64::MAX);
    }
}

/// The same for registers, of which there are `N`: side by side, so that all are looked at together.
struct Registers<const N: usize>(Vec<[u64; N]>);

impl<const N: usize> Default for Registers<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<const N: usize> Registers<N> {
    fn clear(&mut self, positions: u32) {
        self.0.clear();
        self.0.resize((positions as usize).div_ceil(64), [0; N]);
    }

    /// Calls `then` for the words of a range, each with the bits in question.
    fn each_word(&mut self, from: u32, to: u32, mut then: impl FnMut(&mut [u64; N], u64)) {
        let (first, last) = (from as usize / 64, to as usize / 64);
        let (mut bits, high) = (u64::MAX << (from % 64), u64::MAX >> (63 - to % 64));
        let (at_last, before) = self.0[first..=last].split_last_mut().expect("a range is not empty");
        for words in before {
            then(words, bits);
            bits = u64::MAX;
        }
        then(at_last, bits & high);
    }

    /// The registers that are free all of a life, as a set of bits.
    fn free(&mut self, ranges: &[Range], first: u32) -> u32 {
        let mut taken = [0; N];
        each_range(ranges, first, |from, to| {
            self.each_word(from, to, |words, bits| {
                for (taken, word) in taken.iter_mut().zip(words) {
                    *taken |= *word & bits;
                }
            });
        });
        taken.iter().enumerate().fold(0, |free, (register, &taken)| free | u32::from(taken == 0) << register)
    }

    fn take(&mut self, register: usize, ranges: &[Range], first: u32) {
        each_range(ranges, first, |from, to| self.take_from(register, from, to));
    }

    fn take_from(&mut self, register: usize, from: u32, to: u32) {
        self.each_word(from, to, |words, bits| words[register] |= bits);
    }
}

fn each_range(ranges: &[Range], first: u32, mut then: impl FnMut(u32, u32)) {
    let mut next = first;
    while next != NONE {
        let Range { from, to, next: behind } = ranges[next as usize];
        then(from, to);
        next = behind;
    }
}

/// Whether two lives have a position in common.
fn meet(ranges: &[Range], mut a: u32, mut b: u32) -> bool {
    while a != NONE && b != NONE {
        let (one, other) = (ranges[a as usize], ranges[b as usize]);
        if one.to < other.from {
            a = one.next;
        } else if other.to < one.from {
            b = other.next;
        } else {
            return true;
        }
    }
    false
}

/// Scratch space, and the result.
#[derive(Default)]
pub(super) struct Assignment {
    places: Vec<Place>,
    /// Words of the frame that values live in.
    pub(super) slots: u32,
    /// Registers that have to be preserved for the caller.
    pub(super) saved: Vec<Gpr>,
    lives: Vec<Life>,
    ranges: Vec<Range>,
    affinities: Vec<Affinity>,
    /// First and last position of each block.
    extent: Vec<(u32, u32)>,
    frequency: Vec<f32>,
    across: Vec<u32>,
    live_in: Vec<u64>,
    made: Vec<u64>,
    live: Vec<u64>,
    open: Vec<u32>,
    /// Whether a block is a loop's header, outside of cold code.
    headers: Vec<bool>,
    gprs: Registers<{ GPRS.len() }>,
    xmms: Registers<{ XMMS as usize }>,
    frame: Taken,
    order: Vec<u64>,
}

/// Position offsets in an instruction: it reads, what it changes is changed, it writes.
const READS: u32 = 0;
const CHANGES: u32 = 1;
const WRITES: u32 = 2;
const PER_INSTRUCTION: u32 = 3;

impl Assignment {
    /// Where a canonical value is.
    pub(super) fn place(&self, canonical: u32) -> Place {
        self.places[canonical as usize]
    }

    /// Gives every value its place.
    pub(super) fn assign(
        &mut self,
        func: &Function,
        facts: &Facts,
        brought: &Brought,
        is_volatile: impl Fn(Inst) -> bool,
    ) -> Result<(), Unsupported> {
        self.measure(facts);
        self.find_live(facts, brought)?;
        self.build(func, facts, brought, is_volatile);
        if self.open.iter().any(|&open| open != NONE) {
            return Err(Unsupported("a value that nothing makes"));
        }
        self.choose(func, facts);
        Ok(())
    }

    /// Numbers positions and estimates how often blocks run.
    fn measure(&mut self, facts: &Facts) {
        self.extent.clear();
        self.frequency.clear();
        let mut position = 0;
        for index in 0..facts.blocks.len() {
            let from = position;
            // The block's own, at which its parameters are written.
            position += PER_INSTRUCTION * (1 + facts.code(index).len() as u32);
            self.extent.push((from, position - 1));
            self.frequency.push(1.0);
        }
        // A loop is what lies between a block and the last one that jumps back to it.
        self.open.clear();
        self.open.resize(facts.blocks.len(), NONE);
        for from in (0..facts.blocks.len()).filter(|&from| !facts.blocks[from].is_cold) {
            for &to in facts.targets(from).iter().filter(|&&to| to as usize <= from) {
                self.open[to as usize] = from as u32;
            }
        }
        self.headers.clear();
        self.headers.extend(self.open.iter().map(|&last| last != NONE));
        for (header, &last) in self.open.iter().enumerate().filter(|&(_, &last)| last != NONE) {
            for frequency in &mut self.frequency[header..=last as usize] {
                *frequency = (*frequency * 8.0).min(1e9);
            }
        }
        for (at, frequency) in facts.blocks.iter().zip(&mut self.frequency) {
            if at.is_cold {
                *frequency = 0.01;
            }
        }
    }

    /// Whether a block is where a loop begins again.
    pub(super) fn is_header(&self, block: usize) -> bool {
        self.headers[block]
    }

    /// Finds what is live where a block begins, of what is used in other blocks than the one that makes it.
    pub(super) fn find_live(&mut self, facts: &Facts, brought: &Brought) -> Result<(), Unsupported> {
        self.lives.clear();
        self.lives.resize(facts.values(), NOTHING);
        self.across.clear();
        for (value, _) in facts.reads().rev() {
            let across = &mut self.lives[value as usize].across;
            if *across == NONE {
                *across = self.across.len() as u32;
                self.across.push(value);
            }
        }
        let (blocks, stride) = (facts.blocks.len(), self.across.len().div_ceil(64));
        if stride.saturating_mul(blocks) > MOST_WORDS {
            return Err(Unsupported("the size of a function"));
        }
        for sets in [&mut self.live_in, &mut self.made] {
            sets.clear();
            sets.resize(stride * blocks, 0);
        }
        let add = |sets: &mut [u64], block: usize, across: u32| {
            sets[block * stride + across as usize / 64] |= 1 << (across % 64);
        };
        for (&value, across) in self.across.iter().zip(0..) {
            if facts.home(value) != NONE {
                add(&mut self.made, facts.home(value) as usize, across);
            }
        }
        for (block, brought) in brought {
            for &(old, _) in brought {
                let across = self.lives[facts.canonical(old) as usize].across;
                if across != NONE {
                    add(&mut self.made, facts.index[block.as_u32() as usize] as usize, across);
                }
            }
        }
        // What each block uses without having made it; then whatever leads there hands it through.
        for (value, block) in facts.reads() {
            add(&mut self.live_in, block as usize, self.lives[value as usize].across);
        }
        let mut has_changed = stride > 0;
        while has_changed {
            has_changed = false;
            for index in (0..blocks).rev() {
                for &to in facts.targets(index) {
                    for word in 0..stride {
                        let made = self.made[index * stride + word];
                        let live = self.live_in[to as usize * stride + word] & !made;
                        let here = &mut self.live_in[index * stride + word];
                        has_changed |= live & !*here != 0;
                        *here |= live;
                    }
                }
            }
        }
        Ok(())
    }

    /// What is live where a block begins, its parameters left out.
    pub(super) fn live_into(&self, index: usize) -> Vec<u32> {
        let stride = self.across.len().div_ceil(64);
        let mut live = Vec::new();
        each_bit(&self.live_in[index * stride..][..stride], |bit| live.push(self.across[bit as usize]));
        live
    }

    /// Builds the lives, from the last position to the first, and marks what calls change.
    fn build(&mut self, func: &Function, facts: &Facts, brought: &Brought, is_volatile: impl Fn(Inst) -> bool) {
        let positions = self.extent.last().map_or(0, |&(_, to)| to + 1);
        self.gprs.clear(positions);
        self.xmms.clear(positions);
        self.ranges.clear();
        self.affinities.clear();
        self.open.clear();
        self.open.resize(facts.values(), NONE);
        let stride = self.across.len().div_ceil(64);
        for index in (0..facts.blocks.len()).rev() {
            let at = facts.blocks[index];
            let (from, to) = self.extent[index];
            let frequency = self.frequency[index];
            join(&mut self.live, &self.live_in, stride, facts.targets(index));
            each_bit(&self.live, |bit| self.open[self.across[bit as usize] as usize] = to);
            let mut position = to + 1;
            for &current in facts.code(index) {
                position -= PER_INSTRUCTION;
                for &result in func.dfg.inst_results(current) {
                    self.define(facts, result.as_u32(), position + WRITES, frequency);
                }
                if is_volatile(current) {
                    for register in 0..VOLATILE {
                        self.gprs.take_from(register, position + CHANGES, position + CHANGES);
                    }
                    for register in 0..usize::from(XMMS) {
                        self.xmms.take_from(register, position + CHANGES, position + CHANGES);
                    }
                }
                if changes_rdx(func, current) {
                    self.gprs.take_from(VOLATILE - 1, position + CHANGES, position + CHANGES);
                }
                let (lives, open) = (&mut self.lives, &mut self.open);
                facts.each_use(func, current, &mut |value| {
                    lives[value as usize].weight += frequency;
                    let open = &mut open[value as usize];
                    if *open == NONE {
                        *open = position + READS;
                    }
                });
                self.relate(func, facts, current, index);
                if inst_is_last(func, at.block, current)
                    && let Some(brought) = brought_by(brought, at.block)
                {
                    for &(old, source) in brought {
                        let old = facts.canonical(old);
                        self.define(facts, old, position + WRITES, frequency);
                        let (Source::Value(new) | Source::Slot(new, _)) = source;
                        let new = facts.canonical(new);
                        if !matches!(facts.role(new), Role::Int | Role::Float) {
                            continue;
                        }
                        if let Source::Value(_) = source {
                            self.lives[new as usize].weight += frequency;
                            self.relate_two(facts, old, new);
                        }
                        if self.open[new as usize] == NONE {
                            self.open[new as usize] = position + READS;
                        }
                    }
                }
            }
            for &param in func.dfg.block_params(at.block) {
                self.define(facts, param.as_u32(), from, frequency);
            }
            let live_in = std::mem::take(&mut self.live_in);
            each_bit(&live_in[index * stride..][..stride], |bit| {
                let value = self.across[bit as usize];
                let to = std::mem::replace(&mut self.open[value as usize], NONE);
                self.extend(value, from, to);
            });
            self.live_in = live_in;
        }
    }

    /// A life begins.
    fn define(&mut self, facts: &Facts, value: u32, from: u32, frequency: f32) {
        if !matches!(facts.role(value), Role::Int | Role::Float) {
            return;
        }
        let to = std::mem::replace(&mut self.open[value as usize], NONE);
        self.lives[value as usize].weight += frequency;
        self.extend(value, from, if to == NONE { from } else { to });
    }

    fn extend(&mut self, value: u32, from: u32, to: u32) {
        let life = &mut self.lives[value as usize];
        life.length += to - from + 1;
        if life.first != NONE && self.ranges[life.first as usize].from == to + 1 {
            self.ranges[life.first as usize].from = from;
            return;
        }
        self.ranges.push(Range { from, to, next: life.first });
        life.first = self.ranges.len() as u32 - 1;
    }

    /// Notes which places would save a move, for an instruction of a block.
    fn relate(&mut self, func: &Function, facts: &Facts, inst: Inst, block: usize) {
        let data = &func.dfg.insts[inst];
        let pool = &func.dfg.value_lists;
        match *data {
            InstructionData::Binary { args, .. } => {
                let result = func.dfg.first_result(inst).as_u32();
                self.relate_two(facts, result, facts.canonical(args[0]));
                if is_commutative(data.opcode()) {
                    self.relate_two(facts, result, facts.canonical(args[1]));
                }
            }
            InstructionData::Unary { arg, .. } => {
                self.relate_two(facts, func.dfg.first_result(inst).as_u32(), facts.canonical(arg));
            }
            InstructionData::Ternary { opcode: Opcode::Select, args, .. } => {
                let result = func.dfg.first_result(inst).as_u32();
                self.relate_two(facts, result, facts.canonical(args[1]));
                self.relate_two(facts, result, facts.canonical(args[2]));
            }
            InstructionData::Call { .. } | InstructionData::CallIndirect { .. } => {
                let skipped = usize::from(data.opcode() == Opcode::CallIndirect);
                let mut ints = 0;
                let mut floats = 0;
                for &arg in &func.dfg.inst_args(inst)[skipped..] {
                    let value = facts.canonical(arg);
                    if func.dfg.value_type(arg).is_float() {
                        self.wish(facts, value, floats);
                        floats = floats.saturating_add(1);
                    } else {
                        self.wish(facts, value, ARGUMENTS.get(ints).copied().unwrap_or(u8::MAX));
                        ints += 1;
                    }
                }
            }
            _ => {}
        }
        each_call(func, data, |call| {
            let to = call.block(pool);
            let target = facts.index[to.as_u32() as usize] as usize;
            let is_next_turn = target <= block && self.headers[target];
            for (&param, arg) in func.dfg.block_params(to).iter().zip(call.args(pool)) {
                if let Some(arg) = arg.as_value() {
                    let (param, arg) = (param.as_u32(), facts.canonical(arg));
                    let can_be_same = self.relate_two(facts, param, arg);
                    if is_next_turn && can_be_same && [param, arg].map(|of| self.lives[of as usize].twin) == [NONE; 2] {
                        self.lives[param as usize].twin = arg;
                        self.lives[arg as usize].twin = param;
                    }
                }
            }
        });
    }

    fn wish(&mut self, facts: &Facts, value: u32, register: u8) {
        if matches!(facts.role(value), Role::Int | Role::Float) {
            self.lives[value as usize].wish = register;
        }
    }

    /// Notes that a move is saved where both have the same place, and says whether that can be.
    fn relate_two(&mut self, facts: &Facts, a: u32, b: u32) -> bool {
        let same = match facts.role(a) {
            role @ (Role::Int | Role::Float) => facts.role(b) == role,
            _ => false,
        };
        if !same || a == b {
            return false;
        }
        for (of, with) in [(a, b), (b, a)] {
            let life = &mut self.lives[of as usize];
            self.affinities.push(Affinity { with, next: life.affinities });
            life.affinities = self.affinities.len() as u32 - 1;
        }
        true
    }

    fn choose(&mut self, func: &Function, facts: &Facts) {
        if let Some(entry) = func.layout.entry_block() {
            let mut ints = 0;
            let mut floats = 0;
            for &param in func.dfg.block_params(entry) {
                if func.dfg.value_type(param).is_float() {
                    self.wish(facts, param.as_u32(), floats);
                    floats = floats.saturating_add(1);
                } else {
                    self.wish(facts, param.as_u32(), ARGUMENTS.get(ints).copied().unwrap_or(u8::MAX));
                    ints += 1;
                }
            }
        }
        self.places.clear();
        self.places.resize(facts.values(), Place::None);
        self.slots = 0;
        self.frame.clear(0, self.extent.last().map_or(0, |&(_, to)| to + 1));
        self.saved.clear();
        self.order.clear();
        // The most used first, twins as if they were one. As bits, positive floats are in the order of their size.
        for value in 0..self.lives.len() as u32 {
            let Life { first, mut weight, mut length, twin, .. } = self.lives[value as usize];
            if first == NONE {
                continue;
            }
            if twin != NONE {
                let other = self.lives[twin as usize];
                if meet(&self.ranges, first, other.first) {
                    self.lives[value as usize].twin = NONE;
                } else {
                    weight += other.weight;
                    length += other.length;
                }
            }
            let priority = weight / (length + 4) as f32;
            self.order.push(u64::from(!priority.to_bits()) << 32 | u64::from(value));
        }
        self.order.sort_unstable();
        for at in 0..self.order.len() {
            let value = self.order[at] as u32;
            if self.places[value as usize] == Place::None {
                self.place_best(value, facts.role(value) == Role::Float);
            }
        }
    }

    /// The registers that are free all of a value's life, as a set of bits.
    fn free(&mut self, value: u32, is_float: bool) -> u32 {
        let first = self.lives[value as usize].first;
        if is_float { self.xmms.free(&self.ranges, first) } else { self.gprs.free(&self.ranges, first) }
    }

    /// Gives a value its place, and its twin the same, if a register is free for both.
    fn place_best(&mut self, value: u32, is_float: bool) {
        let life = self.lives[value as usize];
        let free = self.free(value, is_float);
        if free == 0 {
            self.places[value as usize] = self.slot(life);
            return;
        }
        let has_twin = life.twin != NONE && self.places[life.twin as usize] == Place::None;
        let both = if has_twin { free & self.free(life.twin, is_float) } else { 0 };
        let register = self.wanted(life, if both == 0 { free } else { both });
        self.take(value, is_float, register);
        if both != 0 {
            self.take(life.twin, is_float, register);
        }
    }

    /// One of the registers that are free.
    fn wanted(&self, life: Life, free: u32) -> usize {
        let is_free = |register: usize| free.checked_shr(register as u32).unwrap_or(0) & 1 != 0;
        self.related(life, is_free).unwrap_or_else(|| match usize::from(life.wish) {
            wish if is_free(wish) => wish,
            _ => free.trailing_zeros() as usize,
        })
    }

    /// Has a value live in a register.
    fn take(&mut self, value: u32, is_float: bool, register: usize) {
        let first = self.lives[value as usize].first;
        if is_float {
            self.xmms.take(register, &self.ranges, first);
            self.places[value as usize] = Place::Xmm(Xmm::new(register as u8));
            return;
        }
        self.gprs.take(register, &self.ranges, first);
        let reg = GPRS[register];
        if register >= VOLATILE && !self.saved.contains(&reg) {
            self.saved.push(reg);
        }
        self.places[value as usize] = Place::Gpr(reg);
    }

    /// A register that would save a move, if one of them is free.
    fn related(&self, life: Life, is_free: impl Fn(usize) -> bool) -> Option<usize> {
        let mut next = life.affinities;
        while next != NONE {
            let Affinity { with, next: behind } = self.affinities[next as usize];
            next = behind;
            let found = match self.places[with as usize] {
                Place::Gpr(reg) => GPRS.iter().position(|&known| known == reg),
                Place::Xmm(reg) => Some(usize::from(reg.number())),
                _ => None,
            };
            if let Some(register) = found.filter(|&register| is_free(register)) {
                return Some(register);
            }
        }
        None
    }

    /// A word of the frame: that of something it is copied from or to, one of the last ones, or a new one.
    fn slot(&mut self, life: Life) -> Place {
        let mut next = life.affinities;
        while next != NONE {
            let Affinity { with, next: behind } = self.affinities[next as usize];
            next = behind;
            if let Place::Slot(slot) = self.places[with as usize]
                && fits(&mut self.frame, &self.ranges, life.first, slot as usize)
            {
                return Place::Slot(slot);
            }
        }
        for slot in self.slots.saturating_sub(16)..self.slots {
            if fits(&mut self.frame, &self.ranges, life.first, slot as usize) {
                return Place::Slot(slot);
            }
        }
        self.frame.add_set();
        self.slots += 1;
        let new = self.slots - 1;
        let fits = fits(&mut self.frame, &self.ranges, life.first, new as usize);
        debug_assert!(fits);
        Place::Slot(new)
    }
}

/// Takes a set for a life if it is free all the time.
fn fits(taken: &mut Taken, ranges: &[Range], first: u32, set: usize) -> bool {
    let mut next = first;
    while next != NONE {
        let Range { from, to, next: behind } = ranges[next as usize];
        if !taken.is_free(set, from, to) {
            return false;
        }
        next = behind;
    }
    next = first;
    while next != NONE {
        let Range { from, to, next: behind } = ranges[next as usize];
        taken.take(set, from, to);
        next = behind;
    }
    true
}

/// Indices in `GPRS` of the registers that arguments are passed in (`rcx` is none of them).
const ARGUMENTS: [u8; 6] = [4, 3, 5, u8::MAX, 0, 1];

pub(super) fn is_commutative(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::Iadd | Opcode::Imul | Opcode::Band | Opcode::Bor | Opcode::Bxor | Opcode::Fadd | Opcode::Fmul)
}

fn changes_rdx(func: &Function, inst: Inst) -> bool {
    use Opcode::{Sdiv, Smulhi, Srem, Udiv, Umulhi, Urem};
    matches!(func.dfg.insts[inst].opcode(), Sdiv | Srem | Udiv | Urem | Umulhi | Smulhi)
}

/// What landings bring: see [`Midst`](tierup_osr::Midst).
pub(super) type Brought = [(Block, Vec<(Value, Source)>)];

/// What a block brings, if it is a landing.
pub(super) fn brought_by(brought: &Brought, block: Block) -> Option<&[(Value, Source)]> {
    let at = brought.binary_search_by_key(&block, |&(landing, _)| landing).ok()?;
    Some(&brought[at].1)
}

fn inst_is_last(func: &Function, block: Block, inst: Inst) -> bool {
    func.layout.last_inst(block) == Some(inst)
}

/// Whether a call under this convention changes registers.
pub(super) fn changes_registers(convention: CallConv) -> bool {
    convention != CallConv::PreserveAll
}

/// What is live where a block ends: into any of those it leads to.
fn join(live: &mut Vec<u64>, live_in: &[u64], stride: usize, targets: &[u32]) {
    live.clear();
    live.resize(stride, 0);
    for &to in targets {
        for (live, &more) in live.iter_mut().zip(&live_in[to as usize * stride..][..stride]) {
            *live |= more;
        }
    }
}

fn each_bit(words: &[u64], mut then: impl FnMut(u32)) {
    for (index, &word) in words.iter().enumerate() {
        let mut word = word;
        while word != 0 {
            then(index as u32 * 64 + word.trailing_zeros());
            word &= word - 1;
        }
    }
}

/// The value itself, for those that are used as indices.
pub(super) fn value(index: u32) -> Value {
    Value::from_u32(index)
}
