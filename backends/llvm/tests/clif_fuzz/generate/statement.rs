//! Statements: assignments, stores, calls, branches, counted loops, tables, early returns.

use cranelift_codegen::ir::{
    AtomicRmwOp, BlockCall, InstBuilder, JumpTableData, MemFlagsData, Type,
    condcodes::IntCC,
    types::{I32, I64},
};

use super::{Callee, FLOATS, Generator, INTS, SLOT};

const OPERATIONS: [AtomicRmwOp; 11] = [
    AtomicRmwOp::Add,
    AtomicRmwOp::Sub,
    AtomicRmwOp::And,
    AtomicRmwOp::Nand,
    AtomicRmwOp::Or,
    AtomicRmwOp::Xor,
    AtomicRmwOp::Xchg,
    AtomicRmwOp::Umin,
    AtomicRmwOp::Umax,
    AtomicRmwOp::Smin,
    AtomicRmwOp::Smax,
];

/// Branches and loops within each other.
const DEPTH: usize = 3;

impl Generator<'_, '_> {
    /// A random number of statements, as far as the budget goes.
    pub(super) fn statements(&mut self) {
        let most = if self.depth == 0 { self.budget } else { 1 + self.random.below(5) };
        for _ in 0..most {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            self.statement();
        }
    }

    fn statement(&mut self) {
        match self.random.below(20) {
            0 | 1 if self.depth < DEPTH => self.branch(),
            2 | 3 if self.depth < DEPTH => self.counted_loop(),
            4 if self.depth < DEPTH => self.table(),
            5 => self.call(),
            6..=8 => self.store(),
            9 => self.copy_float(),
            10 if !self.plain => self.atomic(),
            11 => self.rotate(),
            12 if self.lanes => self.four_lanes(),
            13 if self.keeper.is_some() => self.call_that_keeps(),
            _ => {
                let ty = self.any_type();
                let value = self.expression(ty);
                self.assign(ty, value);
            }
        }
    }

    pub(super) fn assign(&mut self, ty: Type, value: cranelift_codegen::ir::Value) {
        let fitting: Vec<_> = self.variables.iter().filter(|(_, of)| *of == ty).map(|&(variable, _)| variable).collect();
        let variable = self.random.pick(&fitting);
        self.b.def_var(variable, value);
    }

    /// Variables change places, which makes cycles of copies where blocks meet.
    fn rotate(&mut self) {
        let ty = self.any_type();
        let fitting: Vec<_> = self.variables.iter().filter(|(_, of)| *of == ty).map(|&(variable, _)| variable).collect();
        let values: Vec<_> = fitting.iter().map(|&variable| self.b.use_var(variable)).collect();
        let by = self.random.below(fitting.len());
        for (at, &variable) in fitting.iter().enumerate() {
            self.b.def_var(variable, values[(at + by) % values.len()]);
        }
    }

    fn store(&mut self) {
        let (ty, flags) = (self.any_type(), self.flags());
        let value = self.value(ty);
        let value = if ty.is_float() { self.canonical(value, ty) } else { value };
        let address = self.address(ty);
        if ty == I64 && self.random.once_in(3) {
            match self.random.below(3) {
                0 => self.b.ins().istore8(flags, value, address, 0),
                1 => self.b.ins().istore16(flags, value, address, 0),
                _ => self.b.ins().istore32(flags, value, address, 0),
            };
        } else if INTS.contains(&ty) && !self.plain && self.random.once_in(4) {
            self.b.ins().atomic_store(flags, value, address);
        } else {
            self.b.ins().store(flags, value, address, 0);
        }
    }

    /// Moves floats without computing: every bit must survive, a signalling NaN's too.
    fn copy_float(&mut self) {
        let (ty, flags) = (self.random.pick(&FLOATS), self.flags());
        let (one, other) = (self.address(ty), self.address(ty));
        let one = self.b.ins().load(ty, flags, one, 0);
        let other = self.b.ins().load(ty, flags, other, 0);
        let cond = self.condition();
        let chosen = self.b.ins().select(cond, one, other);
        let value = match self.random.below(4) {
            0 => self.b.ins().fneg(chosen),
            1 => self.b.ins().fabs(chosen),
            2 => self.b.ins().fcopysign(chosen, one),
            _ => chosen,
        };
        let to = self.address(ty);
        self.b.ins().store(flags, value, to, 0);
    }

    fn atomic(&mut self) {
        let (ty, flags) = (self.random.pick(&INTS), self.flags());
        let (address, new) = (self.address(ty), self.value(ty));
        let old = if self.random.once_in(3) {
            let expected = self.value(ty);
            self.b.ins().atomic_cas(flags, address, expected, new)
        } else {
            let operation = self.random.pick(&OPERATIONS);
            self.b.ins().atomic_rmw(ty, flags, operation, address, new)
        };
        self.assign(ty, old);
    }

    fn call(&mut self) {
        if self.callees.is_empty() {
            return;
        }
        let at = self.random.below(self.callees.len());
        let Callee { reference, type_of, signature, pointer } = self.callees[at].clone();
        let args: Vec<_> = signature.params.iter().map(|param| self.value(param.value_type)).collect();
        let inst = match pointer {
            Some(pointer) if self.random.once_in(3) => self.b.ins().call_indirect(type_of, pointer, &args),
            Some(_) if self.random.once_in(2) => {
                let address = self.place(SLOT.cast_signed() + 8 * at as i32);
                let pointer = self.b.ins().load(I64, MemFlagsData::trusted(), address, 0);
                self.b.ins().call_indirect(type_of, pointer, &args)
            }
            _ => self.b.ins().call(reference, &args),
        };
        let results = self.b.inst_results(inst).to_vec();
        for (result, value) in signature.returns.iter().zip(results) {
            self.assign(result.value_type, value);
        }
    }

    /// A call after which every register is what it was.
    fn call_that_keeps(&mut self) {
        let Some((callee, signature)) = self.keeper.clone() else { return };
        let mut args = vec![self.address(I64)];
        args.extend(signature.params[1..].iter().map(|param| self.value(param.value_type)));
        self.b.ins().call(callee, &args);
    }

    fn branch(&mut self) {
        let cond = self.condition();
        let (then, otherwise, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        if self.random.once_in(4) {
            self.b.set_cold_block(then);
        }
        self.b.ins().brif(cond, then, &[], otherwise, &[]);
        self.depth += 1;
        for block in [then, otherwise] {
            self.b.switch_to_block(block);
            self.b.seal_block(block);
            self.statements();
            self.b.ins().jump(after, &[]);
        }
        self.depth -= 1;
        self.b.switch_to_block(after);
        self.b.seal_block(after);
    }

    /// Up to six rounds; may be left early.
    fn counted_loop(&mut self) {
        let rounds = 1 + self.random.below(6) as i64;
        let counter = self.b.declare_var(I32);
        let zero = self.b.ins().iconst(I32, 0);
        self.b.def_var(counter, zero);
        let (header, body, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(header);
        self.declare_site(header, counter);
        let count = self.b.use_var(counter);
        let goes_on = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, count, rounds);
        self.b.ins().brif(goes_on, body, &[], after, &[]);
        self.b.switch_to_block(body);
        self.b.seal_block(body);
        self.depth += 1;
        self.statements();
        if self.random.once_in(3) {
            let (cond, rest) = (self.condition(), self.b.create_block());
            self.b.ins().brif(cond, after, &[], rest, &[]);
            self.b.switch_to_block(rest);
            self.b.seal_block(rest);
        }
        self.depth -= 1;
        self.leave_site();
        let count = self.b.use_var(counter);
        let next = self.b.ins().iadd_imm_u(count, 1);
        self.b.def_var(counter, next);
        // The counter is also a value like others: indices and converted ones are what optimizers look for.
        self.assign(I32, next);
        self.b.ins().jump(header, &[]);
        self.b.seal_block(header);
        self.b.switch_to_block(after);
        self.b.seal_block(after);
    }

    fn table(&mut self) {
        let index = self.value(I32);
        let masked = self.b.ins().band_imm_u(index, 7);
        let blocks: Vec<_> = (0..2 + self.random.below(4)).map(|_| self.b.create_block()).collect();
        let after = self.b.create_block();
        let calls: Vec<_> = blocks.iter().map(|&block| BlockCall::new(block, [], &mut self.b.func.dfg.value_lists)).collect();
        let table = self.b.create_jump_table(JumpTableData::new(calls[0], &calls[1..]));
        self.b.ins().br_table(masked, table);
        self.depth += 1;
        for block in blocks {
            self.b.switch_to_block(block);
            self.b.seal_block(block);
            self.statements();
            self.b.ins().jump(after, &[]);
        }
        self.depth -= 1;
        self.b.switch_to_block(after);
        self.b.seal_block(after);
    }
}
