//! Random programs: a few functions of locals, memory effects, loops that end and calls, as code with places by number.

use crate::exits::random::Random;

/// A local variable's number.
pub(crate) type Local = usize;

/// What a local holds: so many bits of what is stored to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    I32,
    I64,
    F32,
    F64,
}

impl Ty {
    pub(crate) fn is_narrow(self) -> bool {
        matches!(self, Ty::I32 | Ty::F32)
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Const(i64),
    /// Its bits, sign-extended.
    Local(Local),
    Add(Box<[Expr; 2]>),
    Mul(Box<[Expr; 2]>),
    Xor(Box<[Expr; 2]>),
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Set(Local, Expr),
    /// Adds a value to the trace in memory.
    Trace(Expr),
    /// Goes there if the value is negative.
    Negative(Expr, usize),
    Jump(usize),
    /// A loop's header.
    Loop(u32),
    /// May leave here.
    Exit(u32),
    /// Calls a later function, whose body the lowering puts here.
    Call {
        function: usize,
        args: [Expr; 2],
        to: Local,
    },
    Return(Expr),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Function {
    /// The first two are parameters.
    pub(crate) types: Vec<Ty>,
    pub(crate) code: Vec<Op>,
}

#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The first is the one that is compiled.
    pub(crate) functions: Vec<Function>,
    /// Loops of the first function.
    pub(crate) sites: u32,
    pub(crate) exits: u32,
}

const FUNCTIONS: usize = 3;
const LOCALS: usize = 5;
const DEPTH: usize = 3;

pub(crate) fn generate(random: &mut Random) -> Program {
    let mut program = Program { functions: Vec::new(), sites: 0, exits: 0 };
    for number in 0..FUNCTIONS {
        let left = 6 + random.below(20) / (number + 1);
        let types = (0..LOCALS).map(|_| [Ty::I32, Ty::I64, Ty::F32, Ty::F64][random.below(4)]).collect();
        let function = Function { types, code: Vec::new() };
        let mut generator =
            Generator { random, program: &mut program, number, function, left, loops: 0, calls: 0, around: Vec::new() };
        while generator.left > 0 {
            generator.block();
        }
        let result = generator.expr(2);
        generator.emit(Op::Return(result));
        let Generator { function, loops, .. } = generator;
        if number == 0 {
            program.sites = loops;
        }
        program.functions.push(function);
    }
    program
}

struct Generator<'r> {
    random: &'r mut Random,
    program: &'r mut Program,
    number: usize,
    function: Function,
    /// Statements that may still be made.
    left: usize,
    loops: u32,
    calls: usize,
    /// Header of each loop around, and the jumps to its end.
    around: Vec<(usize, Vec<usize>)>,
}

impl Generator<'_> {
    fn emit(&mut self, op: Op) -> usize {
        self.function.code.push(op);
        self.function.code.len() - 1
    }

    /// Has the jump at `at` go to what comes next.
    fn land(&mut self, at: usize) {
        let here = self.function.code.len();
        match &mut self.function.code[at] {
            Op::Negative(_, to) | Op::Jump(to) => *to = here,
            other => unreachable!("{other:?} goes nowhere"),
        }
    }

    fn block(&mut self) {
        for _ in 0..1 + self.random.below(4) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let goes_on = self.stmt();
            if !goes_on {
                return;
            }
        }
    }

    /// Whether control goes on behind it.
    fn stmt(&mut self) -> bool {
        match self.random.below(16) {
            0..4 => {
                let (local, value) = (self.local(), self.expr(3));
                self.emit(Op::Set(local, value));
            }
            4 | 5 => {
                let value = self.expr(2);
                self.emit(Op::Trace(value));
            }
            6 | 7 => {
                let condition = self.expr(2);
                let to_then = self.emit(Op::Negative(condition, 0));
                self.block();
                let to_end = self.emit(Op::Jump(0));
                self.land(to_then);
                self.block();
                self.land(to_end);
            }
            8 | 9 if self.around.len() < DEPTH => self.make_loop(),
            10 if !self.around.is_empty() => {
                let level = self.random.below(self.around.len());
                let jump = self.emit(Op::Jump(0));
                if self.random.once_in(2) {
                    self.around[level].1.push(jump);
                } else {
                    let header = self.around[level].0;
                    self.function.code[jump] = Op::Jump(header);
                }
                return false;
            }
            11 | 12 if self.number + 1 < FUNCTIONS && self.calls < 3 => {
                self.calls += 1;
                let function = self.number + 1 + self.random.below(FUNCTIONS - self.number - 1);
                let (args, to) = ([self.expr(2), self.expr(2)], self.local());
                self.emit(Op::Call { function, args, to });
            }
            13 if self.random.once_in(4) => {
                let (condition, result) = (self.expr(2), self.expr(2));
                let around = self.emit(Op::Negative(condition, 0));
                self.emit(Op::Return(result));
                self.land(around);
            }
            _ => {
                let exit = self.program.exits;
                self.program.exits += 1;
                self.emit(Op::Exit(exit));
            }
        }
        true
    }

    fn make_loop(&mut self) {
        let counter = self.function.types.len();
        self.function.types.push(if self.random.once_in(2) { Ty::I32 } else { Ty::I64 });
        let turns = self.random.below(4) as i64;
        self.emit(Op::Set(counter, Expr::Const(turns)));
        let header = self.emit(Op::Loop(self.loops));
        self.loops += 1;
        let less = Expr::Add(Box::new([Expr::Local(counter), Expr::Const(-1)]));
        self.emit(Op::Set(counter, less));
        let to_end = self.emit(Op::Negative(Expr::Local(counter), 0));
        self.around.push((header, vec![to_end]));
        self.block();
        self.emit(Op::Jump(header));
        for jump in self.around.pop().expect("pushed above").1 {
            self.land(jump);
        }
    }

    /// One of the first locals: the others count turns.
    fn local(&mut self) -> Local {
        self.random.below(LOCALS)
    }

    fn expr(&mut self, depth: usize) -> Expr {
        if depth == 0 || self.random.once_in(3) {
            return match self.random.below(8) {
                0 | 1 => Expr::Const(self.random.next() as i64 >> self.random.below(63)),
                2 => Expr::Local(self.random.below(self.function.types.len())),
                _ => Expr::Local(self.local()),
            };
        }
        let both = Box::new([self.expr(depth - 1), self.expr(depth - 1)]);
        match self.random.below(3) {
            0 => Expr::Add(both),
            1 => Expr::Mul(both),
            _ => Expr::Xor(both),
        }
    }
}

/// Where control can go from a place.
pub(crate) fn successors(code: &[Op], pc: usize) -> impl Iterator<Item = usize> + use<> {
    let (next, to) = match code[pc] {
        Op::Negative(_, to) => (true, Some(to)),
        Op::Jump(to) => (false, Some(to)),
        Op::Return(_) => (false, None),
        _ => (true, None),
    };
    next.then_some(pc + 1).into_iter().chain(to)
}
