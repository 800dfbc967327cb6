//! What is known of a function before registers are assigned: in which order its blocks come, what is worth an instruction of its
//! own, and what is part of the instruction that uses it.

use cranelift_codegen::ir::{Block, BlockCall, Function, Inst, InstructionData, Opcode, Type, Value, ValueDef, types};
use tierup_osr::Source;

use super::{
    Unsupported,
    assign::{Brought, brought_by},
};

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nobody needs it.
    Unused,
    /// It has a place of its own.
    Int,
    /// The same, in a vector register.
    Float,
    /// An integer that is known; narrow ones are zero-extended.
    Constant(i64),
    /// A float that is known, by its bits.
    FloatConstant(u64),
    /// Part of whatever uses it.
    Folded(Inst),
}

/// How an operand is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Plain,
    /// As the address of an access.
    Address,
    /// As the condition of a branch or a selection.
    Condition,
    /// As a part of a sum of its own width.
    Sum,
}

/// All uses of one value.
#[derive(Clone, Copy)]
struct Uses {
    all: u32,
    addresses: u32,
    conditions: u32,
    sums: u32,
    /// The block of the use seen last, and whether others use it as well.
    block: u32,
    is_scattered: bool,
    /// The block it is made in, from when that was seen.
    home: u32,
    /// What becomes of it is decided.
    is_decided: bool,
    /// How many sums it would be part of, one within the other.
    depth: u8,
}

const UNUSED: Uses = Uses {
    all: 0,
    addresses: 0,
    conditions: 0,
    sums: 0,
    block: NONE,
    is_scattered: false,
    home: NONE,
    is_decided: false,
    depth: 0,
};

/// One block, in the order of [`Facts::blocks`].
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockFacts {
    pub(super) block: Block,
    pub(super) is_cold: bool,
    /// Where in `targets` what it leads to is.
    targets: Span,
    /// Where in `code` its instructions are.
    code: Span,
}

/// A part of a list.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    from: u32,
    to: u32,
}

impl Span {
    fn of<T>(self, list: &[T]) -> &[T] {
        &list[self.from as usize..self.to as usize]
    }
}

/// Scratch space, and what was found out.
#[derive(Default)]
pub(super) struct Facts {
    /// All that can be reached; what is cold comes directly after what leads to it.
    pub(super) blocks: Vec<BlockFacts>,
    /// Place of a block in `blocks`, or `NONE`.
    pub(super) index: Vec<u32>,
    /// What a value is another name of: an alias, or a narrower value, which is zero-extended anyway.
    canonical: Vec<u32>,
    role: Vec<Role>,
    uses: Vec<Uses>,
    /// Values, each with a block that reads it and does not make it.
    reads: Vec<(u32, u32)>,
    /// What has code of its own, from the last instruction of the last block to the first of the first.
    code: Vec<Inst>,
    /// What blocks lead to: blocks' numbers, then places in `blocks`.
    targets: Vec<u32>,
    /// Of each block that can be reached, where in `targets` what it leads to is.
    spans: Vec<Span>,
    stack: Vec<Block>,
    /// A value is used before it is made, in the order of blocks, or is of no known type.
    is_beyond: bool,
}

pub(super) const NONE: u32 = u32::MAX;
/// A block that is not in its place yet.
const REACHED: u32 = NONE - 1;

/// How many sums one within the other become part of an address.
const DEEPEST: u8 = 4;

/// Largest constant that becomes part of an address.
const FAR: u64 = 1 << 28;

impl Facts {
    /// Reads what can be reached from the roots, but for the code of the first blocks. The first root is the entry.
    pub(super) fn read(&mut self, func: &Function, roots: &[Block], unread: usize) -> Result<(), Unsupported> {
        self.is_beyond = false;
        self.order(func, roots);
        self.canonical.clear();
        self.role.clear();
        self.uses.clear();
        self.grow(func);
        self.reads.clear();
        self.code.clear();
        self.code.reserve(func.dfg.num_insts());
        for at in (unread..self.blocks.len()).rev() {
            self.read_block(func, at, &[]);
        }
        self.settle(func, 0)
    }

    /// Reads the code of the first blocks, which lead to nothing that could not be reached without them.
    pub(super) fn read_first(&mut self, func: &Function, unread: usize, brought: &Brought) -> Result<(), Unsupported> {
        self.grow(func);
        let settled = self.reads.len();
        for at in (0..unread).rev() {
            let Facts { index, targets, .. } = self;
            let from = targets.len() as u32;
            each_successor(func, self.blocks[at].block, |next| targets.push(index[next.as_u32() as usize]));
            self.blocks[at].targets = Span { from, to: self.targets.len() as u32 };
            self.read_block(func, at, brought);
        }
        self.settle(func, settled)
    }

    /// Makes room for all values.
    fn grow(&mut self, func: &Function) {
        let values = func.dfg.len_values();
        self.canonical.resize(values, NONE);
        self.role.resize(values, Role::Unused);
        self.uses.resize(values, UNUSED);
    }

    /// Decides about what is read, and was made nowhere.
    fn settle(&mut self, func: &Function, from: usize) -> Result<(), Unsupported> {
        for read in from..self.reads.len() {
            let at = self.reads[read].0;
            if self.role(at) != Role::Unused || self.uses[at as usize].is_decided {
                continue;
            }
            let value = Value::from_u32(at);
            let made = match func.dfg.value_def(value) {
                ValueDef::Result(inst, _) => known(func, &func.dfg.insts[inst], value),
                _ => None,
            };
            self.role[at as usize] = made.unwrap_or_else(|| self.placed(func, value));
        }
        self.checked()
    }

    fn checked(&self) -> Result<(), Unsupported> {
        if self.is_beyond { Err(Unsupported("the order of blocks or a type")) } else { Ok(()) }
    }

    fn read_block(&mut self, func: &Function, at: usize, brought: &Brought) {
        let block = self.blocks[at].block;
        let (index, code, reads) = (at as u32, self.code.len(), self.reads.len());
        for &(old, source) in brought_by(brought, block).into_iter().flatten() {
            if matches!(self.role_of(old), Role::Int | Role::Float) {
                let (Source::Value(new) | Source::Slot(new, _)) = source;
                let new = self.name(func, new);
                self.note(new, index, Use::Plain);
            }
        }
        let mut next = None;
        while let Some(inst) = match next {
            None => func.layout.last_inst(block),
            Some(inst) => func.layout.prev_inst(inst),
        } {
            if self.visit(func, inst, index, next) {
                self.code.push(inst);
            }
            next = Some(inst);
        }
        for &param in func.dfg.block_params(block) {
            let uses = &mut self.uses[param.as_u32() as usize];
            uses.home = index;
            if uses.all > 0 {
                self.role[param.as_u32() as usize] = self.placed(func, param);
            }
        }
        self.blocks[at].code = Span { from: code as u32, to: self.code.len() as u32 };
        // What it makes itself has been seen by now.
        let mut kept = reads;
        for read in reads..self.reads.len() {
            let (value, _) = self.reads[read];
            if self.uses[value as usize].home != index {
                self.reads[kept] = self.reads[read];
                kept += 1;
            }
        }
        self.reads.truncate(kept);
    }

    /// What of a block has code of its own, from the last to the first.
    pub(super) fn code(&self, index: usize) -> &[Inst] {
        self.blocks[index].code.of(&self.code)
    }

    /// What a block leads to, as places in `blocks`.
    pub(super) fn targets(&self, index: usize) -> &[u32] {
        self.blocks[index].targets.of(&self.targets)
    }

    /// Values with a place of their own, each with a block that reads it and does not make it, as a place in `blocks`.
    pub(super) fn reads(&self) -> impl DoubleEndedIterator<Item = (u32, u32)> {
        self.reads.iter().copied().filter(|&(value, _)| matches!(self.role(value), Role::Int | Role::Float))
    }

    /// The block that makes a canonical value, as a place in `blocks`, or `NONE`.
    pub(super) fn home(&self, canonical: u32) -> u32 {
        self.uses[canonical as usize].home
    }

    /// The value that `value` is another name of.
    pub(super) fn canonical(&self, value: Value) -> u32 {
        match self.canonical[value.as_u32() as usize] {
            NONE => value.as_u32(),
            named => named,
        }
    }

    /// What becomes of a canonical value.
    pub(super) fn role(&self, canonical: u32) -> Role {
        self.role[canonical as usize]
    }

    pub(super) fn role_of(&self, value: Value) -> Role {
        self.role(self.canonical(value))
    }

    /// The instruction that makes a value, if it is part of whatever uses that.
    pub(super) fn folded(&self, value: Value) -> Option<Inst> {
        match self.role_of(value) {
            Role::Folded(inst) => Some(inst),
            _ => None,
        }
    }

    pub(super) fn values(&self) -> usize {
        self.canonical.len()
    }

    /// Calls `then` for every value with a place of its own that the code of `inst` reads, those included that it passes to blocks.
    pub(super) fn each_use(&self, func: &Function, inst: Inst, then: &mut impl FnMut(u32)) {
        let data = &func.dfg.insts[inst];
        for &arg in func.dfg.inst_args(inst) {
            self.each_part(func, arg, then);
        }
        each_call(func, data, |call| {
            for arg in call.args(&func.dfg.value_lists) {
                if let Some(arg) = arg.as_value() {
                    self.each_part(func, arg, then);
                }
            }
        });
    }

    fn each_part(&self, func: &Function, value: Value, then: &mut impl FnMut(u32)) {
        let value = self.canonical(value);
        match self.role(value) {
            Role::Int | Role::Float => then(value),
            Role::Folded(inst) => {
                for &arg in func.dfg.inst_args(inst) {
                    self.each_part(func, arg, then);
                }
            }
            Role::Unused | Role::Constant(_) | Role::FloatConstant(_) => {}
        }
    }

    /// Lists the blocks.
    fn order(&mut self, func: &Function, roots: &[Block]) {
        let blocks = func.dfg.num_blocks();
        self.blocks.clear();
        self.targets.clear();
        self.stack.clear();
        self.index.clear();
        self.index.resize(blocks, NONE);
        self.spans.clear();
        self.spans.resize(blocks, Span::default());
        // First what can be reached at all,
        for &root in roots {
            self.stack.push(root);
            self.index[root.as_u32() as usize] = REACHED;
        }
        while let Some(block) = self.stack.pop() {
            let Facts { index, stack, targets, spans, .. } = self;
            let from = targets.len() as u32;
            each_successor(func, block, |next| {
                targets.push(next.as_u32());
                let index = &mut index[next.as_u32() as usize];
                if *index == NONE {
                    *index = REACHED;
                    stack.push(next);
                }
            });
            spans[block.as_u32() as usize] = Span { from, to: targets.len() as u32 };
        }
        // then as it is laid out, but for what is cold.
        for block in func.layout.blocks() {
            let is_cold = func.layout.is_cold(block) && roots.first() != Some(&block);
            if !is_cold {
                self.place(func, block, false);
            }
        }
        // What only cold blocks lead to that come before it.
        for block in func.layout.blocks() {
            self.place(func, block, true);
        }
        for target in &mut self.targets {
            *target = self.index[*target as usize];
        }
    }

    /// Lists a block, and whatever is cold that it leads to.
    fn place(&mut self, func: &Function, block: Block, is_cold: bool) {
        let mut is_cold = is_cold;
        self.stack.push(block);
        while let Some(block) = self.stack.pop() {
            let index = &mut self.index[block.as_u32() as usize];
            if *index != REACHED {
                continue;
            }
            *index = self.blocks.len() as u32;
            let targets = self.spans[block.as_u32() as usize];
            self.blocks.push(BlockFacts { block, is_cold, targets, code: Span::default() });
            is_cold = true;
            for &next in targets.of(&self.targets) {
                let next = Block::from_u32(next);
                if func.layout.is_cold(next) {
                    self.stack.push(next);
                }
            }
        }
    }

    /// As [`Self::canonical`], of a value that may not have been seen before.
    fn name(&mut self, func: &Function, value: Value) -> u32 {
        match self.canonical[value.as_u32() as usize] {
            NONE => self.meet(func, value),
            named => named,
        }
    }

    #[cold]
    fn meet(&mut self, func: &Function, value: Value) -> u32 {
        let dfg = &func.dfg;
        let mut named = dfg.resolve_aliases(value);
        while let Some((Opcode::Uextend, inst)) = defining(func, named) {
            named = dfg.resolve_aliases(dfg.inst_args(inst)[0]);
        }
        self.canonical[value.as_u32() as usize] = named.as_u32();
        named.as_u32()
    }

    /// What becomes of a value that has a place.
    fn placed(&mut self, func: &Function, value: Value) -> Role {
        let ty = func.dfg.value_type(value);
        self.is_beyond |= !is_supported(ty);
        place_of(ty)
    }

    /// Decides about the results of `inst`, whose uses were all seen, and notes what it uses itself. `next` is the instruction behind it.
    /// Returns whether it has code of its own.
    fn visit(&mut self, func: &Function, inst: Inst, block: u32, next: Option<Inst>) -> bool {
        let data = &func.dfg.insts[inst];
        let opcode = data.opcode();
        let results = func.dfg.inst_results(inst);
        let mut is_address = false;
        let is_emitted = match (opcode, results) {
            (Opcode::Uextend, _) => {
                self.is_beyond |= !is_supported(func.dfg.value_type(results[0]));
                return false;
            }
            (_, [result]) => {
                let result = result.as_u32();
                let uses = &mut self.uses[result as usize];
                uses.is_decided = true;
                uses.home = block;
                let uses = *uses;
                let is_here = uses.all > 0 && !uses.is_scattered && uses.block == block;
                let known = known(func, data, Value::from_u32(result));
                let role = match *data {
                    _ if let Some(known) = known => known,
                    _ if uses.all == 0 && !has_effect(opcode) && !is_trapping_load(func, data) => return false,
                    InstructionData::Binary { opcode: Opcode::Iadd, args }
                        if is_here
                            && uses.addresses == uses.all
                            && uses.depth < DEEPEST
                            // A narrower sum wraps before it is extended.
                            && func.dfg.value_type(Value::from_u32(result)) == types::I64 =>
                    {
                        is_address = self.constant(func, args[1]).is_some_and(|by| by.unsigned_abs() < FAR);
                        Role::Folded(inst)
                    }
                    InstructionData::IntCompare { args: [arg, _], .. } | InstructionData::FloatCompare { args: [arg, _], .. }
                        if is_here && uses.conditions == uses.all && !func.dfg.value_type(arg).is_vector() =>
                    {
                        Role::Folded(inst)
                    }
                    // What reads it reads the register.
                    InstructionData::NullAry { opcode: Opcode::GetStackPointer } if uses.addresses == 0 && uses.sums == 0 => {
                        Role::Folded(inst)
                    }
                    // Scaled.
                    InstructionData::Binary { opcode: Opcode::Ishl, args }
                        if is_here
                            && uses.all == 1
                            && uses.sums == 1
                            && matches!(func.dfg.value_type(Value::from_u32(result)), types::I32 | types::I64)
                            && matches!(self.constant(func, args[1]), Some(1..=3)) =>
                    {
                        Role::Folded(inst)
                    }
                    InstructionData::Load { .. } | InstructionData::LoadNoOffset { .. }
                        if is_here && uses.all == 1 && self.is_read_next(func, inst, Value::from_u32(result), next) =>
                    {
                        Role::Folded(inst)
                    }
                    _ => {
                        let ty = func.dfg.value_type(Value::from_u32(result));
                        self.is_beyond |= !is_supported(ty) && ty != types::I32X4;
                        place_of(ty)
                    }
                };
                self.role[result as usize] = role;
                matches!(role, Role::Int | Role::Float)
            }
            (_, []) => has_effect(opcode),
            _ => {
                self.is_beyond = true;
                false
            }
        };
        for (at, &arg) in func.dfg.inst_args(inst).iter().enumerate() {
            let arg = self.name(func, arg);
            let is_as_wide = |arg: u32| {
                let ty = func.dfg.value_type(Value::from_u32(arg));
                results.first().is_some_and(|&sum| func.dfg.value_type(sum) == ty)
            };
            let how = match *data {
                InstructionData::Load { .. } | InstructionData::LoadNoOffset { opcode: Opcode::AtomicLoad, .. } => Use::Address,
                InstructionData::Store { .. } | InstructionData::StoreNoOffset { .. } if at == 1 => Use::Address,
                InstructionData::Brif { .. } => Use::Condition,
                InstructionData::Ternary { opcode: Opcode::Select, .. } if at == 0 => Use::Condition,
                _ if is_address && at == 0 => Use::Address,
                InstructionData::Binary { opcode: Opcode::Iadd, .. } if is_as_wide(arg) => Use::Sum,
                _ => Use::Plain,
            };
            self.note(arg, block, how);
            if is_address && at == 0 {
                let depth = self.uses[self.canonical(results[0]) as usize].depth + 1;
                let uses = &mut self.uses[arg as usize];
                uses.depth = uses.depth.max(depth);
            }
        }
        each_call(func, data, |call| {
            for arg in call.args(&func.dfg.value_lists) {
                match arg.as_value() {
                    Some(arg) => {
                        let arg = self.name(func, arg);
                        self.note(arg, block, Use::Plain);
                    }
                    None => self.is_beyond = true,
                }
            }
        });
        is_emitted
    }

    /// Whether a load, used once, is part of what comes directly behind it: a branch or a comparison that a branch depends on, or a call of
    /// the address that was loaded, by way of another such load or not.
    fn is_read_next(&self, func: &Function, inst: Inst, loaded: Value, next: Option<Inst>) -> bool {
        let data = &func.dfg.insts[inst];
        let ty = func.dfg.value_type(loaded);
        let is_plain = matches!(data.opcode(), Opcode::Load | Opcode::AtomicLoad)
            && matches!(ty, types::I32 | types::I64)
            && !is_trapping_load(func, data);
        let mut next = next;
        let has_no_code = |inst| matches!(func.dfg.insts[inst].opcode(), Opcode::Iconst | Opcode::GetStackPointer);
        while let Some(inst) = next.filter(|&next| has_no_code(next)) {
            next = func.layout.next_inst(inst);
        }
        let Some(next) = next.filter(|_| is_plain) else { return false };
        let is = |value: Value| self.canonical(value) == loaded.as_u32() && func.dfg.value_type(value) == ty;
        let is_folded = |inst| matches!(func.dfg.inst_results(inst), &[result] if self.role_of(result) == Role::Folded(inst));
        match func.dfg.insts[next] {
            InstructionData::Brif { arg, .. } => is(arg),
            InstructionData::IntCompare { args, .. } => {
                args.into_iter().any(is)
                    && is_folded(next)
                    && func.layout.next_inst(next).is_some_and(|user| func.dfg.insts[user].opcode() == Opcode::Brif)
            }
            InstructionData::CallIndirect { .. } => func.dfg.inst_args(next).first().is_some_and(|&callee| is(callee)),
            InstructionData::Load { arg, .. } => {
                let is_called = |user| matches!(func.dfg.insts[user], InstructionData::CallIndirect { .. });
                is(arg) && is_folded(next) && func.layout.next_inst(next).is_some_and(is_called)
            }
            _ => false,
        }
    }

    fn note(&mut self, at: u32, block: u32, how: Use) {
        let uses = &mut self.uses[at as usize];
        if uses.block != block {
            uses.is_scattered |= uses.all > 0;
            uses.block = block;
            self.reads.push((at, block));
        }
        uses.all += 1;
        uses.addresses += u32::from(how == Use::Address);
        uses.conditions += u32::from(how == Use::Condition);
        uses.sums += u32::from(how == Use::Sum);
        self.is_beyond |= uses.is_decided;
    }

    fn constant(&mut self, func: &Function, value: Value) -> Option<i64> {
        let value = Value::from_u32(self.name(func, value));
        match known(func, &func.dfg.insts[defining(func, value)?.1], value)? {
            Role::Constant(known) => Some(known),
            _ => None,
        }
    }
}

/// What an instruction makes, if that is known.
fn known(func: &Function, data: &InstructionData, result: Value) -> Option<Role> {
    match *data {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => {
            Some(Role::Constant(imm.zero_extend_from_width(func.dfg.value_type(result).bits()).bits()))
        }
        InstructionData::UnaryIeee32 { imm, .. } => Some(Role::FloatConstant(u64::from(imm.bits()))),
        InstructionData::UnaryIeee64 { imm, .. } => Some(Role::FloatConstant(imm.bits())),
        _ => None,
    }
}

fn place_of(ty: Type) -> Role {
    if ty.is_float() || ty.is_vector() { Role::Float } else { Role::Int }
}

/// Whether the compiler has places for values of that type.
pub(super) fn is_supported(ty: Type) -> bool {
    matches!(ty, types::I8 | types::I16 | types::I32 | types::I64 | types::F32 | types::F64)
}

fn has_effect(opcode: Opcode) -> bool {
    opcode.is_call()
        || opcode.is_terminator()
        || opcode.can_store()
        || opcode.can_trap() && !opcode.can_load()
        || opcode.other_side_effects() && opcode != Opcode::GetStackPointer
}

/// Whether nobody may leave the load out, though nobody uses it.
fn is_trapping_load(func: &Function, data: &InstructionData) -> bool {
    data.opcode().can_load() && data.memflags_data(&func.dfg).is_none_or(|flags| flags.trap_code().is_some())
}

fn defining(func: &Function, value: Value) -> Option<(Opcode, Inst)> {
    match func.dfg.value_def(value) {
        ValueDef::Result(inst, _) => Some((func.dfg.insts[inst].opcode(), inst)),
        _ => None,
    }
}

/// Every edge out of an instruction.
pub(super) fn each_call(func: &Function, data: &InstructionData, mut then: impl FnMut(&BlockCall)) {
    if !data.opcode().is_branch() {
        return;
    }
    for call in data.branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables) {
        then(call);
    }
}

fn each_successor(func: &Function, block: Block, mut then: impl FnMut(Block)) {
    if let Some(last) = func.layout.last_inst(block) {
        each_call(func, &func.dfg.insts[last], |call| then(call.block(&func.dfg.value_lists)));
    }
}
