//! Structured control: blocks, where control joins behind them, and the branches that go there with their values.

use wasmparser::BlockType;

use super::super::LoopSite;
use super::super::code::Waiting;
use super::super::control::{Block, Header, Kind, Otherwise};
use super::super::scalar::class_of;
use super::super::stack::{Place, Value};
use super::{Test, Translator};
use crate::error::Error;
use crate::exec::op::branch;
use crate::exec::op::data::{self, Class, ReturnPlace};

impl Translator<'_> {
    // Branches.

    /// Writes a branch on `test` to where the caller says next; `back` if that is a loop header.
    fn branch_on(&mut self, test: Test, back: bool) {
        let handlers = test.op.branch(test.operands.form).expect("tests are written in a form there is");
        self.code.begin(handlers[usize::from(back)]);
        self.code.word(test.operands.word);
        if let Some(wide) = test.operands.wide {
            self.code.word(wide);
        }
    }

    /// Writes the branch word (and what a back-edge has besides) to block number `index`.
    fn branch_word(&mut self, index: usize) {
        match self.blocks[index].kind {
            Kind::Loop(header) => {
                let work = (self.work - header.work).clamp(1, u32::from(u16::MAX));
                self.code.branch_to(header.code);
                self.code.word(&raw const *self.body as u64);
                self.code.word(branch::back_edge(self.function, header.site, work));
            }
            _ => {
                let block = &mut self.blocks[index];
                block.work = block.work.max(self.work);
                self.code.branch_later(&mut block.waiting);
            }
        }
    }

    fn is_loop(&self, index: usize) -> bool {
        matches!(self.blocks[index].kind, Kind::Loop(_))
    }

    /// Moves the values a branch to block `index` carries to where it expects them. The stack's entries stay as they
    /// are: on the other path they are still wanted.
    fn move_values(&mut self, index: usize) {
        let block = self.blocks[index];
        let arity = block.arity();
        let from = self.stack.height() - arity;
        // Upwards: a value never moves above another that still has to move.
        for i in 0..arity {
            let to = self.stack.slot(block.height + i);
            let operand = self.stack.peek(from + i);
            self.stack.move_to(&mut self.code, to, operand);
        }
    }

    /// Whether a branch to block `index` finds its values where it expects them once they are in their slots.
    fn values_in_place(&self, index: usize) -> bool {
        let block = &self.blocks[index];
        block.arity() == 0 || self.stack.height() == block.height + block.arity()
    }

    /// Branches to block `index`, unconditionally, leaving the stack as it is.
    fn jump(&mut self, index: usize) {
        if index == 0 {
            return self.emit_return();
        }
        self.move_values(index);
        self.code.begin(branch::jump(self.is_loop(index)));
        self.branch_word(index);
    }

    fn target(&self, depth: u32) -> usize {
        self.blocks.len() - 1 - depth as usize
    }

    pub(in crate::prepare) fn br(&mut self, depth: u32) {
        let index = self.target(depth);
        if index != 0 && self.blocks[index].arity() > 1 {
            let from = self.stack.height() - self.blocks[index].arity();
            self.stack.settle_from(&mut self.code, from);
        }
        self.jump(index);
        self.live = false;
    }

    pub(in crate::prepare) fn br_if(&mut self, depth: u32) {
        let index = self.target(depth);
        let test = self.condition();
        let arity = self.blocks[index].arity();
        if arity > 0 && (arity > 1 || self.values_in_place(index)) {
            let from = self.stack.height() - arity;
            self.stack.settle_from(&mut self.code, from);
        }
        if index != 0 && self.values_in_place(index) {
            self.branch_on(test, self.is_loop(index));
            self.branch_word(index);
            return;
        }
        self.branch_on(Test { op: test.op.negated(), ..test }, false);
        let mut over = Waiting::NOBODY;
        self.code.branch_later(&mut over);
        self.jump(index);
        // Whatever the accumulators held at the branch they hold still: the other path has gone.
        self.code.arrive(over);
    }

    pub(in crate::prepare) fn br_table(&mut self, targets: &wasmparser::BrTable<'_>) -> Result<(), Error> {
        let index = self.stack.pop(Class::Int);
        let (accumulator, a) = match index.place {
            Place::Acc { .. } => (true, 0),
            _ => (false, self.in_slot(index)),
        };
        let default = self.target(targets.default());
        let arity = self.blocks[default].arity();
        let from = self.stack.height() - arity;
        self.stack.settle_from(&mut self.code, from);
        self.code.begin(branch::switch(accumulator));
        self.code.word(u64::from(a) << 16 | u64::from(targets.len()) << 32);
        // Targets that want more than a jump get one piece of code each, after the table.
        let mut pieces: Vec<(usize, Waiting)> = Vec::new();
        let depths = targets.targets().chain(std::iter::once(Ok(targets.default())));
        for depth in depths {
            let index = self.target(depth.map_err(|e| Error::malformed(&e))?);
            if index != 0 && !self.is_loop(index) && self.values_in_place(index) {
                self.branch_word(index);
                continue;
            }
            let piece = match pieces.iter().rposition(|&(of, _)| of == index) {
                Some(at) => &mut pieces[at].1,
                None => {
                    pieces.push((index, Waiting::NOBODY));
                    &mut pieces.last_mut().expect("just pushed").1
                }
            };
            self.code.branch_later(piece);
        }
        for (index, waiting) in pieces {
            self.code.arrive(waiting);
            self.jump(index);
        }
        self.live = false;
        Ok(())
    }

    /// Returns, leaving the stack as it is.
    pub(in crate::prepare) fn emit_return(&mut self) {
        let control = u64::from(self.locals as u16);
        match *self.function.ty.results() {
            [] => {
                self.code.begin(data::return_none());
                self.code.word(control);
            }
            [ty] => {
                let class = class_of(ty);
                let at = self.stack.height() - 1;
                let operand = self.stack.peek(at);
                let (place, word) = match operand.place {
                    Place::Acc { .. } => (ReturnPlace::Acc, 0),
                    Place::Slot(slot) => (ReturnPlace::Slot, u64::from(slot) << 16),
                    Place::Const(bits) if class == Class::Int && bits <= u64::from(u32::MAX) => (ReturnPlace::Imm, bits << 32),
                    Place::Const(_) => {
                        let slot = self.stack.slot(at);
                        self.stack.move_to(&mut self.code, slot, operand);
                        (ReturnPlace::Slot, u64::from(slot) << 16)
                    }
                };
                self.code.begin(data::return_one(class, place));
                self.code.word(control | word);
            }
            ref results => {
                let from = self.stack.height() - results.len();
                for at in from..self.stack.height() {
                    let (slot, operand) = (self.stack.slot(at), self.stack.peek(at));
                    self.stack.move_to(&mut self.code, slot, operand);
                }
                self.code.begin(data::return_many());
                self.code.word(control | u64::from(self.stack.slot(from)) << 16 | (results.len() as u64) << 32);
            }
        }
    }

    // Blocks.

    fn open(&mut self, kind: Kind, params: usize, results: usize) {
        let height = self.stack.height() - params;
        self.blocks.push(Block { kind, height, params, results, waiting: Waiting::NOBODY, work: 0, live: true });
    }

    pub(in crate::prepare) fn open_dead(&mut self) {
        let height = self.stack.height();
        self.blocks.push(Block {
            kind: Kind::Block,
            height,
            params: 0,
            results: 0,
            waiting: Waiting::NOBODY,
            work: 0,
            live: false,
        });
    }

    pub(in crate::prepare) fn block(&mut self, ty: BlockType) {
        let (params, results) = self.block_type(ty);
        self.stack.settle_from(&mut self.code, 0);
        self.open(Kind::Block, params, results);
    }

    pub(in crate::prepare) fn loop_(&mut self, ty: BlockType) {
        let (params, results) = self.block_type(ty);
        self.stack.settle_from(&mut self.code, 0);
        self.stack.forget();
        let code = self.code.label();
        let site = self.sites.len() as u32;
        let height = self.stack.height() as u32;
        self.sites.push(LoopSite { offset: self.code.offset, code: code as u32, height });
        if self.module.engine.config().osr.is_forced() {
            self.code.begin(branch::arrival());
            self.code.word(&raw const *self.body as u64);
            self.code.word(u64::from(site));
        }
        // Behind the arrival: a frame that leaves a variant at its first header does a turn here before it may enter another.
        self.note_point();
        self.open(Kind::Loop(Header { code, site: site & 0xffff, work: self.work }), params, results);
    }

    pub(in crate::prepare) fn if_(&mut self, ty: BlockType) {
        let (params, results) = self.block_type(ty);
        let test = self.condition();
        self.stack.settle_from(&mut self.code, 0);
        self.branch_on(Test { op: test.op.negated(), ..test }, false);
        let word = self.code.here();
        self.code.word(0);
        self.open(Kind::If(Otherwise { word, work: self.work }), params, results);
    }

    pub(in crate::prepare) fn else_(&mut self) {
        let index = self.blocks.len() - 1;
        let block = self.blocks[index];
        if !block.live {
            return;
        }
        let Kind::If(otherwise) = block.kind else { unreachable!("validated: else belongs to an if") };
        if self.live {
            self.stack.settle_from(&mut self.code, block.height);
            self.code.begin(branch::jump(false));
            self.branch_word(index);
        }
        self.stack.truncate(block.height);
        self.code.arrive_from(otherwise.word);
        self.work = otherwise.work;
        self.stack.forget();
        for _ in 0..block.params {
            self.stack.push(&mut self.code, Value::Slot);
        }
        self.blocks[index].kind = Kind::Block;
        self.live = true;
    }

    pub(in crate::prepare) fn end(&mut self) {
        let block = self.blocks.pop().expect("validated: a block is open");
        if !block.live {
            self.stack.truncate(block.height);
            return;
        }
        if block.kind == Kind::Function {
            if self.live {
                self.emit_return();
            }
            self.live = false;
            return;
        }
        let joined = block.waiting != Waiting::NOBODY || matches!(block.kind, Kind::If(_));
        if !joined {
            // Nobody arrives here but from above: whatever is known stays known.
            if !self.live {
                self.stack.truncate(block.height);
            }
            return;
        }
        let mut work = block.work;
        if self.live {
            self.stack.settle_from(&mut self.code, block.height);
            work = work.max(self.work);
        }
        self.stack.truncate(block.height);
        if let Kind::If(otherwise) = block.kind {
            self.code.arrive_from(otherwise.word);
            work = work.max(otherwise.work);
        }
        self.work = work;
        self.code.arrive(block.waiting);
        self.stack.forget();
        for _ in 0..block.results {
            self.stack.push(&mut self.code, Value::Slot);
        }
        self.live = true;
    }
}
