//! Programs to CLIF, as an embedder would: locals as variables, a site at every loop header.
//!
//! The same lowering also makes the copy that stops: at the chosen site it counts arrivals in memory, and at the last one
//! stores the live slots and returns.

use cranelift_codegen::ir::{
    AbiParam, Block, BlockCall, Function, InstBuilder, JumpTableData, MemFlagsData, Signature, Type, UserFuncName, Value,
    condcodes::IntCC,
    types::{I32, I64},
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use tierup_osr::{Site, Sites};

use crate::program::{Expr, Loop, Program, Stmt, Way};

/// Words of the vmctx.
pub(crate) const TRACE_LENGTH: usize = 0;
pub(crate) const TRACE_HASH: usize = 1;
/// Arrivals at the stop until it stops: counted down to 0.
pub(crate) const ARRIVALS: usize = 2;
pub(crate) const STOPPED: usize = 3;
/// Never written.
pub(crate) const CONSTANT: usize = 4;
/// The slots of the stop.
pub(crate) const FRAME: usize = 5;

struct Lowering<'p, 'f> {
    b: FunctionBuilder<'f>,
    program: &'p Program,
    sites: Sites,
    stop: Option<u32>,
    vmctx: Value,
    locals: Vec<Variable>,
    /// Operands on the stack.
    operands: Vec<Value>,
    /// Header and end of the loops around, outermost first.
    loops: Vec<(Block, Block)>,
}

/// `fn(vmctx, callee, a, b) -> i64`; with a stop, the copy that stops there.
pub(crate) fn lower(program: &Program, stop: Option<u32>) -> (Function, Sites) {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params = vec![AbiParam::new(I64); 4];
    signature.returns = vec![AbiParam::new(I64)];
    let mut func = Function::with_name_signature(UserFuncName::testcase("body"), signature);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let [vmctx, _, first, second] = *b.block_params(entry) else { unreachable!() };
    let locals = program.narrow.iter().map(|&narrow| b.declare_var(type_of(narrow))).collect();
    let sites = Sites::default();
    let mut lowering = Lowering { b, program, sites, stop, vmctx, locals, operands: Vec::new(), loops: Vec::new() };
    let zero = lowering.b.ins().iconst(I64, 0);
    for local in 0..program.narrow.len() {
        lowering.set(local, [first, second].get(local).copied().unwrap_or(zero));
    }
    if lowering.block(&program.body) {
        let result = lowering.expr(&program.result);
        lowering.b.ins().return_(&[result]);
    }
    let Lowering { mut b, sites, .. } = lowering;
    b.seal_all_blocks();
    (func, sites)
}

fn type_of(narrow: bool) -> Type {
    if narrow { I32 } else { I64 }
}

impl Lowering<'_, '_> {
    /// Whether control goes on behind it.
    fn block(&mut self, block: &[Stmt]) -> bool {
        block.iter().all(|stmt| self.stmt(stmt))
    }

    fn stmt(&mut self, stmt: &Stmt) -> bool {
        match stmt {
            Stmt::Set(local, value) => {
                let value = self.expr(value);
                self.set(*local, value);
                true
            }
            Stmt::Trace(value) => {
                let value = self.expr(value);
                self.trace(value);
                true
            }
            Stmt::If(condition, then, otherwise) => self.branch(condition, then, otherwise),
            Stmt::Loop(l) => {
                self.make_loop(l);
                true
            }
            Stmt::Break(level) => {
                let to = self.target(Way::Break(*level), None);
                self.b.ins().jump(to, &[]);
                false
            }
            Stmt::Continue(level) => {
                let to = self.target(Way::Continue(*level), None);
                self.b.ins().jump(to, &[]);
                false
            }
            Stmt::Switch(value, ways) => {
                let value = self.expr(value);
                let value = self.b.ins().ireduce(I32, value);
                let three = self.b.ins().iconst(I32, 3);
                let index = self.b.ins().band(value, three);
                let next = self.b.create_block();
                let calls: Vec<BlockCall> = ways
                    .iter()
                    .map(|&way| {
                        let to = self.target(way, Some(next));
                        self.b.func.dfg.block_call(to, &[])
                    })
                    .collect();
                let default = self.b.func.dfg.block_call(next, &[]);
                let table = self.b.create_jump_table(JumpTableData::new(default, &calls));
                self.b.ins().br_table(index, table);
                self.b.switch_to_block(next);
                true
            }
            Stmt::Return(value) => {
                let value = self.expr(value);
                self.b.ins().return_(&[value]);
                false
            }
        }
    }

    fn target(&self, way: Way, next: Option<Block>) -> Block {
        let around = |level: usize| self.loops[self.loops.len() - 1 - level];
        match way {
            Way::Next => next.expect("only a switch goes on"),
            Way::Break(level) => around(level).1,
            Way::Continue(level) => around(level).0,
        }
    }

    fn branch(&mut self, condition: &Expr, then: &[Stmt], otherwise: &[Stmt]) -> bool {
        let condition = self.expr(condition);
        let condition = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, condition, 0);
        let blocks = [(); 3].map(|()| self.b.create_block());
        self.b.ins().brif(condition, blocks[0], &[], blocks[1], &[]);
        let mut goes_on = false;
        for (block, stmts) in [(blocks[0], then), (blocks[1], otherwise)] {
            self.b.switch_to_block(block);
            if self.block(stmts) {
                self.b.ins().jump(blocks[2], &[]);
                goes_on = true;
            }
        }
        if goes_on {
            self.b.switch_to_block(blocks[2]);
        }
        goes_on
    }

    fn make_loop(&mut self, l: &Loop) {
        if let Some((value, _)) = &l.waiting {
            let value = self.expr(value);
            self.operands.push(value);
        }
        let turns = self.b.ins().iconst(I64, l.turns);
        self.set(l.counter, turns);
        let [header, turn, end] = [(); 3].map(|()| self.b.create_block());
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(header);
        let mut live: Vec<(u32, Value)> = Vec::new();
        for (slot, &local) in (0..).zip(&self.locals) {
            live.push((slot, self.b.use_var(local)));
        }
        live.extend((self.locals.len() as u32..).zip(self.operands.iter().copied()));
        if self.stop == Some(l.site) {
            self.stop_here(&live);
        }
        self.sites.sites.push(Site { id: l.site, header, live, computed: Vec::new() });
        let left = self.local(l.counter);
        let one_less = self.b.ins().iadd_imm_s(left, -1);
        self.set(l.counter, one_less);
        self.b.ins().brif(left, turn, &[], end, &[]);
        self.b.switch_to_block(turn);
        self.loops.push((header, end));
        if self.block(&l.body) {
            self.b.ins().jump(header, &[]);
        }
        self.loops.pop();
        self.b.switch_to_block(end);
        if let Some((_, local)) = &l.waiting {
            let waited = self.operands.pop().expect("pushed before the loop");
            let value = self.local(*local);
            let sum = self.b.ins().iadd(value, waited);
            self.set(*local, sum);
        }
    }

    /// The last arrival stores the slots, with something in the upper halves of narrow ones, and returns.
    fn stop_here(&mut self, live: &[(u32, Value)]) {
        let left = self.load(ARRIVALS);
        let left = self.b.ins().iadd_imm_s(left, -1);
        self.store(ARRIVALS, left);
        let (stop, go_on) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(left, go_on, &[], stop, &[]);
        self.b.switch_to_block(stop);
        let one = self.b.ins().iconst(I64, 1);
        self.store(STOPPED, one);
        for &(slot, value) in live {
            let word = if self.b.func.dfg.value_type(value) == I32 {
                let wide = self.b.ins().uextend(I64, value);
                let garbage = self.b.ins().iconst(I64, 0x0bad_f00d << 32);
                self.b.ins().bor(wide, garbage)
            } else {
                value
            };
            self.store(FRAME + slot as usize, word);
        }
        self.b.ins().return_(&[one]);
        self.b.switch_to_block(go_on);
    }

    fn trace(&mut self, value: Value) {
        let length = self.load(TRACE_LENGTH);
        let length = self.b.ins().iadd_imm_s(length, 1);
        self.store(TRACE_LENGTH, length);
        let hash = self.load(TRACE_HASH);
        let hash = self.b.ins().imul_imm_s(hash, 0x0100_0193);
        let hash = self.b.ins().bxor(hash, value);
        self.store(TRACE_HASH, hash);
    }

    fn load(&mut self, word: usize) -> Value {
        self.b.ins().load(I64, MemFlagsData::trusted(), self.vmctx, 8 * word as i32)
    }

    fn store(&mut self, word: usize, value: Value) {
        self.b.ins().store(MemFlagsData::trusted(), value, self.vmctx, 8 * word as i32);
    }

    /// A local as an i64.
    fn local(&mut self, local: usize) -> Value {
        let value = self.b.use_var(self.locals[local]);
        if self.program.narrow[local] { self.b.ins().sextend(I64, value) } else { value }
    }

    fn set(&mut self, local: usize, value: Value) {
        let value = if self.program.narrow[local] { self.b.ins().ireduce(I32, value) } else { value };
        self.b.def_var(self.locals[local], value);
    }

    fn expr(&mut self, expr: &Expr) -> Value {
        match expr {
            Expr::Const(value) => self.b.ins().iconst(I64, *value),
            Expr::Local(local) => self.local(*local),
            Expr::Constant => {
                let flags = MemFlagsData::trusted().with_readonly();
                self.b.ins().load(I64, flags, self.vmctx, 8 * CONSTANT as i32)
            }
            Expr::Add(both) => self.binary(both, |i, a, b| i.iadd(a, b)),
            Expr::Mul(both) => self.binary(both, |i, a, b| i.imul(a, b)),
            Expr::Xor(both) => self.binary(both, |i, a, b| i.bxor(a, b)),
        }
    }

    fn binary(
        &mut self,
        [a, b]: &[Expr; 2],
        make: impl FnOnce(cranelift_frontend::FuncInstBuilder<'_, '_>, Value, Value) -> Value,
    ) -> Value {
        let (a, b) = (self.expr(a), self.expr(b));
        make(self.b.ins(), a, b)
    }
}
