//! Branches and comparisons.

use cranelift_codegen::ir::{
    BlockCall, Inst, InstructionData, Opcode, Type, Value,
    condcodes::{CondCode, FloatCC, IntCC},
    types,
};
use tierup_asm::{Alu, Cond, Gpr, Label, Mem, Precision, R11, RAX, RCX, Rm, Width};
use tierup_osr::Source;

use super::{
    super::assign::brought_by, Detour, Emitter, Flags, Place, Result, Role, Unsupported, X15, call::FLOAT_RESULT, precision,
    width,
};

impl Emitter<'_> {
    pub(super) fn terminator(&mut self, inst: Inst, next: Option<usize>) -> Result {
        match self.func.dfg.insts[inst] {
            InstructionData::Jump { destination, .. } => {
                self.bring(inst);
                self.go(&destination, next);
            }
            InstructionData::Brif { arg, blocks: [then, other], .. } => self.branch(arg, &then, &other, next)?,
            InstructionData::BranchTable { arg, table, .. } => self.table(arg, table)?,
            InstructionData::Trap { .. } => self.asm.ud2(),
            InstructionData::MultiAry { opcode: Opcode::Return, .. } => {
                if let [value] = *self.func.dfg.inst_args(inst) {
                    if self.ty(value).is_float() {
                        self.float_into(FLOAT_RESULT, value);
                    } else {
                        self.int_into(RAX, value);
                    }
                }
                self.epilogue();
            }
            _ => return Err(Unsupported("a terminator")),
        }
        Ok(())
    }

    /// Puts what a landing brings in its places.
    fn bring(&mut self, inst: Inst) {
        if self.brought.is_empty() {
            return;
        }
        let Some(brought) = self.func.layout.inst_block(inst).and_then(|block| brought_by(self.brought, block)) else { return };
        // Something may be brought to the register that points at the frame.
        let frame = brought.iter().find_map(|&(old, source)| match source {
            Source::Slot(frame, _) if self.place(old) != Place::None => Some(frame),
            _ => None,
        });
        if let Some(frame) = frame {
            self.int_into(RAX, frame);
        }
        for &(old, source) in brought {
            let place = self.place(old);
            if let Source::Value(new) = source
                && place != Place::None
            {
                let (to, from) = (self.spot(place), self.source(new));
                self.moves.push((to, from));
            }
        }
        self.copy_all();
        for &(old, source) in brought {
            if let Source::Slot(_, offset) = source {
                self.load_into(self.place(old), self.ty(old), Mem::Base(RAX, offset));
            }
        }
    }

    /// Loads to where a value is.
    fn load_into(&mut self, to: Place, ty: Type, from: Mem) {
        match to {
            Place::None => {}
            Place::Xmm(to) => self.asm.load_float(precision(ty), to, from),
            Place::Slot(slot) if ty.is_float() => {
                self.asm.load_float(precision(ty), X15, from);
                self.asm.store_float(Precision::Double, self.slot(slot), X15);
            }
            Place::Gpr(to) => self.load_integer(ty, to, from),
            Place::Slot(slot) => {
                self.load_integer(ty, R11, from);
                self.asm.store(8, self.slot(slot), R11);
            }
        }
    }

    /// Where an edge leads, past blocks that only lead elsewhere.
    pub(super) fn target(&self, call: &BlockCall) -> Label {
        let mut index = self.index(call);
        // Blocks that lead round in a circle exist.
        for _ in 0..4 {
            match self.only_leads_to(index) {
                Some(further) => index = further,
                None => break,
            }
        }
        self.labels[index]
    }

    /// The block that a block with nothing to do leads to.
    fn only_leads_to(&self, index: usize) -> Option<usize> {
        let &[only] = self.facts.code(index) else { return None };
        let InstructionData::Jump { destination, .. } = &self.func.dfg.insts[only] else { return None };
        let does_nothing = !self.copies(destination) && brought_by(self.brought, self.facts.blocks[index].block).is_none();
        does_nothing.then(|| self.index(destination))
    }

    /// Whether whoever goes on behind the code so far comes to a block, though others may lie between that have no code.
    fn falls_into(&self, index: usize, next: Option<usize>) -> bool {
        let mut next = next;
        while let Some(at) = next {
            if at == index {
                return true;
            }
            let behind = self.behind(at);
            if behind.is_none() || self.only_leads_to(at) != behind {
                return false;
            }
            next = behind;
        }
        false
    }

    fn index(&self, call: &BlockCall) -> usize {
        self.facts.index[call.block(&self.func.dfg.value_lists).as_u32() as usize] as usize
    }

    /// Puts what is passed where the block expects it.
    pub(super) fn copy_arguments(&mut self, call: &BlockCall) {
        let pool = &self.func.dfg.value_lists;
        let params = self.func.dfg.block_params(call.block(pool));
        for (&param, arg) in params.iter().zip(call.args(pool)) {
            let place = self.place(param);
            if let Some(arg) = arg.as_value()
                && place != Place::None
            {
                let (to, from) = (self.spot(place), self.source(arg));
                self.moves.push((to, from));
            }
        }
        self.copy_all();
    }

    /// Whether something has to be copied on the way.
    fn copies(&self, call: &BlockCall) -> bool {
        let pool = &self.func.dfg.value_lists;
        let params = self.func.dfg.block_params(call.block(pool));
        params.iter().zip(call.args(pool)).any(|(&param, arg)| {
            let place = self.place(param);
            place != Place::None && arg.as_value().is_some_and(|arg| self.place(arg) != place)
        })
    }

    fn go(&mut self, call: &BlockCall, next: Option<usize>) {
        self.copy_arguments(call);
        if !self.falls_into(self.index(call), next) {
            let target = self.target(call);
            self.asm.jump(target);
        }
    }

    fn branch(&mut self, condition: Value, then: &BlockCall, other: &BlockCall, next: Option<usize>) -> Result {
        let flags = self.condition(condition)?;
        let is_cold = |e: &Self, call: &BlockCall| e.facts.blocks[e.index(call)].is_cold;
        // What is likely, or comes next, is fallen into.
        if self.falls_into(self.index(then), next) || is_cold(self, other) && !is_cold(self, then) {
            self.leave_for(other, flags, false);
            self.go(then, next);
        } else {
            self.leave_for(then, flags, true);
            self.go(other, next);
        }
        Ok(())
    }

    /// Goes there if the flags are so (`when`) or are not so.
    fn leave_for(&mut self, call: &BlockCall, flags: Flags, when: bool) {
        if !self.copies(call) {
            let target = self.target(call);
            self.jump_when(flags, when, target);
        } else if self.facts.blocks[self.index(call)].is_cold {
            let label = self.detour(call);
            self.jump_when(flags, when, label);
        } else {
            let past = self.asm.label();
            self.jump_when(flags, !when, past);
            self.copy_arguments(call);
            let target = self.target(call);
            self.asm.jump(target);
            self.asm.bind(past);
        }
    }

    /// Copies for an edge, out of the way.
    fn detour(&mut self, call: &BlockCall) -> Label {
        let label = self.asm.label();
        self.detours.push(Detour { label, call: *call });
        label
    }

    fn table(&mut self, index: Value, table: cranelift_codegen::ir::JumpTable) -> Result {
        let func = self.func;
        let table = &func.dfg.jump_tables[table];
        if self.ty(index) != types::I32 {
            return Err(Unsupported("a table's index"));
        }
        self.int_into(RAX, index);
        let calls = table.as_slice();
        let count = i32::try_from(calls.len()).map_err(|_| Unsupported("a table"))?;
        let mut edge = |call: &BlockCall| match self.copies(call) {
            true => self.detour(call),
            false => self.target(call),
        };
        let default = edge(&table.default_block());
        let targets: Vec<Label> = calls.iter().map(edge).collect();
        self.asm.alu_imm(Alu::Cmp, Width::W32, RAX, count);
        self.asm.jump_if(Cond::AboveOrEqual, default);
        self.asm.jump_table(RAX, R11, &targets);
        Ok(())
    }

    fn jump_when(&mut self, flags: Flags, when: bool, target: Label) {
        match (flags, when) {
            (Flags::One(cond), true) => self.asm.jump_if(cond, target),
            (Flags::One(cond), false) => self.asm.jump_if(cond.inverse(), target),
            (Flags::Either(a, b), true) => {
                self.asm.jump_if(a, target);
                self.asm.jump_if(b, target);
            }
            (Flags::Both(a, b), true) => {
                let past = self.asm.label();
                self.asm.jump_if(a.inverse(), past);
                self.asm.jump_if(b, target);
                self.asm.bind(past);
            }
            (Flags::Both(a, b), false) => self.jump_when(Flags::Either(a.inverse(), b.inverse()), true, target),
            (Flags::Either(a, b), false) => self.jump_when(Flags::Both(a.inverse(), b.inverse()), true, target),
        }
    }

    /// Sets the flags by whether a value is not 0.
    fn condition(&mut self, value: Value) -> Result<Flags> {
        let canonical = self.facts.canonical(value);
        if let Role::Folded(inst) = self.facts.role(canonical) {
            if let Some((address, offset)) = self.loaded(value) {
                let width = width(self.ty(super::super::assign::value(canonical)));
                let mem = self.address(address, offset)?;
                self.asm.alu_imm(Alu::Cmp, width, mem, 0);
                return Ok(Flags::One(Cond::NotEqual));
            }
            return self.compare(inst);
        }
        match self.operand(value, RAX) {
            Rm::Gpr(reg) => self.asm.test(Width::W64, reg, reg),
            memory => self.asm.alu_imm(Alu::Cmp, Width::W64, memory, 0),
        }
        Ok(Flags::One(Cond::NotEqual))
    }

    /// Sets the flags by a comparison.
    pub(super) fn compare(&mut self, inst: Inst) -> Result<Flags> {
        match self.func.dfg.insts[inst] {
            InstructionData::IntCompare { args, cond, .. } => self.compare_integers(args, cond),
            InstructionData::FloatCompare { args, cond, .. } => self.compare_floats(args, cond),
            _ => Err(Unsupported("a comparison")),
        }
    }

    fn compare_integers(&mut self, [mut a, mut b]: [Value; 2], mut cond: IntCC) -> Result<Flags> {
        let ty = self.ty(a);
        if ty.bits() < 32 && cond != cond.unsigned() {
            return Err(Unsupported("a narrow signed comparison"));
        }
        if self.known(a).is_some() && self.known(b).is_none() || self.loaded(b).is_some() {
            (a, b) = (b, a);
            cond = cond.swap_args();
        }
        let width = width(ty);
        match self.known(b).and_then(|known| immediate(width, known)) {
            known if let Some((address, offset)) = self.loaded(a) => {
                let mem = self.address(address, offset)?;
                match known {
                    Some(known) => self.asm.alu_imm(Alu::Cmp, width, mem, known),
                    None => {
                        let b = self.int(b, R11);
                        self.asm.alu_to(Alu::Cmp, width, mem, b);
                    }
                }
            }
            Some(0) => match self.operand(a, RAX) {
                Rm::Gpr(reg) => self.asm.test(width, reg, reg),
                memory => self.asm.alu_imm(Alu::Cmp, width, memory, 0),
            },
            Some(known) => {
                let a = self.operand(a, RAX);
                self.asm.alu_imm(Alu::Cmp, width, a, known);
            }
            None => {
                let b = self.operand(b, RCX);
                match (self.operand(a, RAX), b) {
                    (Rm::Mem(a), Rm::Gpr(b)) => self.asm.alu_to(Alu::Cmp, width, a, b),
                    (Rm::Mem(a), b) => {
                        self.asm.mov(Width::W64, RAX, a);
                        self.asm.alu(Alu::Cmp, width, RAX, b);
                    }
                    (Rm::Gpr(a), b) => self.asm.alu(Alu::Cmp, width, a, b),
                    (Rm::Xmm(_), _) => unreachable!("an integer"),
                }
            }
        }
        Ok(Flags::One(match cond {
            IntCC::Equal => Cond::Equal,
            IntCC::NotEqual => Cond::NotEqual,
            IntCC::SignedLessThan => Cond::Less,
            IntCC::SignedGreaterThanOrEqual => Cond::GreaterOrEqual,
            IntCC::SignedGreaterThan => Cond::Greater,
            IntCC::SignedLessThanOrEqual => Cond::LessOrEqual,
            IntCC::UnsignedLessThan => Cond::Below,
            IntCC::UnsignedGreaterThanOrEqual => Cond::AboveOrEqual,
            IntCC::UnsignedGreaterThan => Cond::Above,
            IntCC::UnsignedLessThanOrEqual => Cond::BelowOrEqual,
        }))
    }

    /// `ucomis a, b` sets what an unsigned comparison would; unordered is below, equal, and of even parity.
    fn compare_floats(&mut self, [a, b]: [Value; 2], cond: FloatCC) -> Result<Flags> {
        use FloatCC as F;
        let (a, b) = match cond {
            F::LessThan | F::LessThanOrEqual | F::UnorderedOrGreaterThan | F::UnorderedOrGreaterThanOrEqual => (b, a),
            _ => (a, b),
        };
        let precision = precision(self.ty(a));
        let a = self.float(a, X15);
        let b = self.float_operand(b);
        self.asm.ucomis(precision, a, b);
        Ok(match cond {
            F::Ordered => Flags::One(Cond::NoParity),
            F::Unordered => Flags::One(Cond::Parity),
            F::Equal => Flags::Both(Cond::Equal, Cond::NoParity),
            F::NotEqual => Flags::Either(Cond::NotEqual, Cond::Parity),
            F::OrderedNotEqual => Flags::One(Cond::NotEqual),
            F::UnorderedOrEqual => Flags::One(Cond::Equal),
            F::LessThan | F::GreaterThan => Flags::One(Cond::Above),
            F::LessThanOrEqual | F::GreaterThanOrEqual => Flags::One(Cond::AboveOrEqual),
            F::UnorderedOrLessThan | F::UnorderedOrGreaterThan => Flags::One(Cond::Below),
            F::UnorderedOrLessThanOrEqual | F::UnorderedOrGreaterThanOrEqual => Flags::One(Cond::BelowOrEqual),
        })
    }

    /// Makes the flags 0 or 1.
    pub(super) fn materialize(&mut self, flags: Flags, to: Gpr) {
        match flags {
            Flags::One(cond) => self.asm.set(cond, to),
            Flags::Both(a, b) | Flags::Either(a, b) => {
                self.asm.set(a, RAX);
                self.asm.set(b, RCX);
                let op = if matches!(flags, Flags::Both(..)) { Alu::And } else { Alu::Or };
                self.asm.alu(op, Width::W32, RAX, RCX);
                if to != RAX {
                    self.asm.mov(Width::W32, to, RAX);
                }
            }
        }
    }

    pub(super) fn select(&mut self, inst: Inst, [condition, x, y]: [Value; 3]) -> Result {
        let is_float = self.ty(x).is_float();
        let flags = self.condition(condition)?;
        if is_float {
            self.define_float(inst, |e, to| {
                let past = e.asm.label();
                if e.place(y) == Place::Xmm(to) {
                    e.jump_when(flags, false, past);
                    e.float_into(to, x);
                } else {
                    e.float_into(to, x);
                    e.jump_when(flags, true, past);
                    e.float_into(to, y);
                }
                e.asm.bind(past);
            });
            return Ok(());
        }
        // Moves leave the flags alone.
        let (x, y, first, second) = match flags {
            Flags::One(cond) => (x, y, cond, None),
            Flags::Either(a, b) => (x, y, a, Some(b)),
            Flags::Both(a, b) => (y, x, a.inverse(), Some(b.inverse())),
        };
        self.define(inst, |e, to| {
            // `to` becomes `x` where it holds, and is `y` otherwise.
            if e.place(x) == Place::Gpr(to) && second.is_none() && e.known(x).is_none() {
                let y = e.operand(y, RCX);
                e.asm.cmov(first.inverse(), to, y);
                return;
            }
            let x = match e.operand(x, RCX) {
                Rm::Gpr(reg) if reg == to => {
                    e.asm.mov(Width::W64, RCX, reg);
                    Rm::Gpr(RCX)
                }
                x => x,
            };
            e.int_into(to, y);
            e.asm.cmov(first, to, x);
            if let Some(second) = second {
                e.asm.cmov(second, to, x);
            }
        });
        Ok(())
    }
}

/// A constant as an operand of an instruction of that width.
pub(super) fn immediate(width: Width, known: i64) -> Option<i32> {
    match width {
        Width::W32 => Some(known as i32),
        Width::W64 => i32::try_from(known).ok(),
    }
}
