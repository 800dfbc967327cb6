//! Programs to CLIF, as an embedder would: callees inlined, locals as variables, a site at every loop header of the function itself,
//! and at every exit a guard on a countdown in memory.

use std::{collections::BTreeMap, sync::Arc};

use cranelift_codegen::{
    ir::{
        AbiParam, Block, InstBuilder, MemFlagsData, Signature, Type, Value,
        condcodes::IntCC,
        types::{F32, F64, I32, I64},
    },
    isa::CallConv,
};
use cranelift_frontend::Variable;
use tierup_backends::{
    Builder, LowerCx, Site,
    clif::{self, BodyAbi, Traps},
    deopt::{ExitReason, FrameState},
};
use tierup_broker::{Bailout, GuardId};

use crate::exits::{
    liveness::Liveness,
    program::{Expr, Function, Local, Op, Program, Ty, successors},
    reference::slot_of,
};

/// Words of the vmctx, behind the cells.
pub(crate) const TRACE_LENGTH: usize = 1;
pub(crate) const TRACE_HASH: usize = 2;
/// Visits left until each exit is taken: it is at 0.
pub(crate) const COUNTDOWNS: usize = 3;

/// What is lowered.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) program: Arc<Program>,
    /// The first two slots of every exit's innermost frame are exchanged.
    pub(crate) is_spoilt: bool,
}

/// A function whose body is being lowered.
struct Frame<'p> {
    number: usize,
    function: &'p Function,
    liveness: Liveness,
    locals: Vec<Variable>,
    blocks: BTreeMap<usize, Block>,
    /// Where its results go: the caller's variable, and the block behind the call.
    returns_to: Option<(Variable, Ty, Block)>,
    /// Its call that is being lowered.
    calls: Option<(usize, Local)>,
}

struct Lowering<'p, 'a, 'c> {
    cx: &'p LowerCx<'c, Guest>,
    b: &'p mut Builder<'a>,
    guest: &'p Guest,
    abi: BodyAbi,
    frames: Vec<Frame<'p>>,
}

pub(crate) fn lower(cx: &mut LowerCx<'_, Guest>) -> Result<(), Bailout> {
    let guest = cx.guest().clone();
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(I64); 4]);
    signature.returns.push(AbiParam::new(I64));
    let mut b = cx.start(signature);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let mut traps = Traps::new();
    let abi = clif::prologue(&mut b, &mut traps, 0, 9);
    let arguments = [b.block_params(entry)[2], b.block_params(entry)[3]];
    let mut lowering = Lowering { cx, b: &mut b, guest: &guest, abi, frames: Vec::new() };
    lowering.function(0, arguments, None);
    traps.finish(&mut b);
    b.seal_all_blocks();
    b.finish();
    Ok(())
}

fn type_of(ty: Ty) -> Type {
    match ty {
        Ty::I32 => I32,
        Ty::I64 => I64,
        Ty::F32 => F32,
        Ty::F64 => F64,
    }
}

/// Where blocks begin: what is jumped to, of all that can be reached.
fn leaders(code: &[Op]) -> (Vec<bool>, Vec<usize>) {
    let (mut reached, mut leaders, mut pending) = (vec![false; code.len()], Vec::new(), vec![0]);
    while let Some(pc) = pending.pop() {
        if std::mem::replace(&mut reached[pc], true) {
            continue;
        }
        pending.extend(successors(code, pc));
        match code[pc] {
            Op::Jump(to) | Op::Negative(_, to) => leaders.push(to),
            Op::Loop(_) => leaders.push(pc),
            _ => {}
        }
    }
    (reached, leaders)
}

impl<'p> Lowering<'p, '_, '_> {
    fn frame(&self) -> &Frame<'p> {
        self.frames.last().expect("a function is lowered")
    }

    /// The body of function `number`, where the builder is. Leaves the builder behind the call, if it is one.
    fn function(&mut self, number: usize, arguments: [Value; 2], returns_to: Option<(Variable, Ty, Block)>) {
        let function = &self.guest.program.functions[number];
        let (reached, leaders) = leaders(&function.code);
        let locals = function.types.iter().map(|&ty| self.b.declare_var(type_of(ty))).collect();
        let blocks = leaders.into_iter().map(|pc| (pc, self.b.create_block())).collect();
        let liveness = Liveness::of(function);
        self.frames.push(Frame { number, function, liveness, locals, blocks, returns_to, calls: None });
        let zero = self.b.ins().iconst(I64, 0);
        for local in 0..function.types.len() {
            self.set(local, arguments.get(local).copied().unwrap_or(zero));
        }
        let mut is_open = true;
        for (pc, op) in function.code.iter().enumerate().filter(|&(pc, _)| reached[pc]) {
            if let Some(&block) = self.frame().blocks.get(&pc) {
                if is_open {
                    self.b.ins().jump(block, &[]);
                }
                self.b.switch_to_block(block);
                is_open = true;
            }
            is_open &= self.op(pc, op);
        }
        self.frames.pop();
        if let Some((.., behind)) = returns_to {
            self.b.switch_to_block(behind);
        }
    }

    /// Whether control goes on behind it.
    fn op(&mut self, pc: usize, op: &'p Op) -> bool {
        match op {
            Op::Set(local, value) => {
                let value = self.expr(value);
                self.set(*local, value);
            }
            Op::Trace(value) => {
                let value = self.expr(value);
                let length = self.load(TRACE_LENGTH);
                let length = self.b.ins().iadd_imm_s(length, 1);
                self.store(TRACE_LENGTH, length);
                let hash = self.load(TRACE_HASH);
                let hash = self.b.ins().imul_imm_s(hash, 0x0100_0193);
                let hash = self.b.ins().bxor(hash, value);
                self.store(TRACE_HASH, hash);
            }
            Op::Negative(value, to) => {
                let value = self.expr(value);
                let is_negative = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, value, 0);
                let (there, next) = (self.frame().blocks[to], self.b.create_block());
                self.b.ins().brif(is_negative, there, &[], next, &[]);
                self.b.switch_to_block(next);
            }
            Op::Jump(to) => {
                let there = self.frame().blocks[to];
                self.b.ins().jump(there, &[]);
                return false;
            }
            Op::Loop(id) if self.frames.len() == 1 && self.cx.wants_sites() => {
                let locals = self.frame().locals.clone();
                let live =
                    locals.iter().enumerate().map(|(local, &variable)| (slot_of(local), self.b.use_var(variable))).collect();
                let header = self.frame().blocks[&pc];
                self.cx.loop_site(Site { id: *id, header, live, computed: Vec::new() });
            }
            Op::Loop(_) => {}
            Op::Exit(exit) => self.exit(pc, *exit),
            Op::Call { function, args: [a, b], to } => {
                let arguments = [self.expr(a), self.expr(b)];
                let behind = self.b.create_block();
                let caller = self.frames.last_mut().expect("a function is lowered");
                caller.calls = Some((pc, *to));
                let returns_to = (caller.locals[*to], caller.function.types[*to], behind);
                self.function(*function, arguments, Some(returns_to));
                self.frames.last_mut().expect("it goes on").calls = None;
            }
            Op::Return(value) => {
                let value = self.expr(value);
                match self.frame().returns_to {
                    None => {
                        self.b.ins().return_(&[value]);
                    }
                    Some((variable, ty, behind)) => {
                        let value = self.as_type(ty, value);
                        self.b.def_var(variable, value);
                        self.b.ins().jump(behind, &[]);
                    }
                }
                return false;
            }
        }
        true
    }

    fn exit(&mut self, pc: usize, exit: u32) {
        let countdown = COUNTDOWNS + exit as usize;
        let left = self.load(countdown);
        let left = self.b.ins().iadd_imm_s(left, -1);
        self.store(countdown, left);
        let mut state: Option<FrameState> = None;
        for index in 0..self.frames.len() {
            let frame = &self.frames[index];
            let (function, at, mut live): (_, _, Vec<Local>) = match frame.calls {
                Some((call, to)) => (frame.number, call, frame.liveness.during(call, to).collect()),
                None => (frame.number, pc, frame.liveness.at(pc).collect()),
            };
            let slots: Vec<u32> = live.iter().map(|&local| slot_of(local)).collect();
            if self.guest.is_spoilt && index + 1 == self.frames.len() && live.len() > 1 {
                live.swap(0, 1);
            }
            let variables: Vec<Variable> = live.iter().map(|&local| frame.locals[local]).collect();
            let slots: Vec<(u32, Value)> =
                slots.into_iter().zip(variables).map(|(slot, variable)| (slot, self.b.use_var(variable))).collect();
            let frames = match state {
                None => FrameState::of(function as u64, at as u32),
                Some(outer) => outer.calls(function as u64, at as u32),
            };
            state = Some(frames.slots(slots));
        }
        let state = state.expect("a function is lowered");
        let made = self.cx.guard(self.b, &self.abi, left, &state, GuardId(exit.into()), ExitReason::Requested);
        made.expect("few slots");
    }

    fn load(&mut self, word: usize) -> Value {
        self.b.ins().load(I64, MemFlagsData::trusted(), self.abi.vmctx, 8 * word as i32)
    }

    fn store(&mut self, word: usize, value: Value) {
        self.b.ins().store(MemFlagsData::trusted(), value, self.abi.vmctx, 8 * word as i32);
    }

    fn set(&mut self, local: Local, value: Value) {
        let (variable, ty) = (self.frame().locals[local], self.frame().function.types[local]);
        let value = self.as_type(ty, value);
        self.b.def_var(variable, value);
    }

    /// An i64's low bits.
    fn as_type(&mut self, ty: Ty, value: Value) -> Value {
        let bits = if ty.is_narrow() { self.b.ins().ireduce(I32, value) } else { value };
        match ty {
            Ty::I32 | Ty::I64 => bits,
            Ty::F32 | Ty::F64 => self.b.ins().bitcast(type_of(ty), MemFlagsData::new(), bits),
        }
    }

    fn expr(&mut self, expr: &Expr) -> Value {
        match expr {
            Expr::Const(value) => self.b.ins().iconst(I64, *value),
            Expr::Local(local) => {
                let (variable, ty) = (self.frame().locals[*local], self.frame().function.types[*local]);
                let value = self.b.use_var(variable);
                let integer = if ty.is_narrow() { I32 } else { I64 };
                let bits = match ty {
                    Ty::I32 | Ty::I64 => value,
                    Ty::F32 | Ty::F64 => self.b.ins().bitcast(integer, MemFlagsData::new(), value),
                };
                if ty.is_narrow() { self.b.ins().sextend(I64, bits) } else { bits }
            }
            Expr::Add(both) => {
                let (a, b) = (self.expr(&both[0]), self.expr(&both[1]));
                self.b.ins().iadd(a, b)
            }
            Expr::Mul(both) => {
                let (a, b) = (self.expr(&both[0]), self.expr(&both[1]));
                self.b.ins().imul(a, b)
            }
            Expr::Xor(both) => {
                let (a, b) = (self.expr(&both[0]), self.expr(&both[1]));
                self.b.ins().bxor(a, b)
            }
        }
    }
}
