//! Random structured programs: locals, memory effects, nested loops that end, and ways out of them.

use crate::random::Random;

/// A local variable's number.
pub(crate) type Local = usize;

#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Const(i64),
    Local(Local),
    Add(Box<[Expr; 2]>),
    Mul(Box<[Expr; 2]>),
    Xor(Box<[Expr; 2]>),
    /// A word of the vmctx that never changes.
    Constant,
}

#[derive(Debug, Clone)]
pub(crate) enum Stmt {
    Set(Local, Expr),
    /// Adds a value to the trace in memory.
    Trace(Expr),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    Loop(Box<Loop>),
    /// To the end of the loop so many levels out.
    Break(usize),
    /// To the header of the loop so many levels out.
    Continue(usize),
    /// Chooses among ways out and the next statement.
    Switch(Expr, Vec<Way>),
    Return(Expr),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    Next,
    Break(usize),
    Continue(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Loop {
    /// Its number, in preorder.
    pub(crate) site: u32,
    /// Turns it makes at most: counted in a local of its own.
    pub(crate) turns: i64,
    pub(crate) counter: Local,
    /// An operand that waits on the stack while the loop runs, and is added to that local afterwards.
    pub(crate) waiting: Option<(Expr, Local)>,
    pub(crate) body: Vec<Stmt>,
}

#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Whether each local is 32 bits wide, not 64. The first two are parameters.
    pub(crate) narrow: Vec<bool>,
    pub(crate) body: Vec<Stmt>,
    pub(crate) result: Expr,
    pub(crate) loops: u32,
}

const DEPTH: usize = 4;

struct Generator<'r> {
    random: &'r mut Random,
    narrow: Vec<bool>,
    loops: u32,
    /// Statements that may still be made.
    left: usize,
}

/// A program with a loop at least.
pub(crate) fn generate(random: &mut Random) -> Program {
    loop {
        let narrow = (0..4).map(|_| random.once_in(3)).collect();
        let left = 8 + random.below(40);
        let mut generator = Generator { random, narrow, loops: 0, left };
        let mut body = Vec::new();
        while generator.left > 0 {
            body.extend(generator.block(0));
        }
        let result = generator.expr(2);
        let Generator { narrow, loops, .. } = generator;
        if loops > 0 {
            return Program { narrow, body, result, loops };
        }
    }
}

impl Generator<'_> {
    fn block(&mut self, depth: usize) -> Vec<Stmt> {
        let mut block = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            let stmt = self.stmt(depth);
            let ends = matches!(stmt, Stmt::Break(_) | Stmt::Continue(_) | Stmt::Return(_));
            block.push(stmt);
            if ends {
                break;
            }
        }
        block
    }

    fn stmt(&mut self, depth: usize) -> Stmt {
        match self.random.below(16) {
            0..4 => Stmt::Set(self.local(), self.expr(3)),
            4..7 => Stmt::Trace(self.expr(2)),
            7 | 8 => Stmt::If(self.expr(2), self.block(depth), self.block(depth)),
            9..13 if depth < DEPTH => self.make_loop(depth),
            13 if depth > 0 && self.random.once_in(2) => Stmt::Break(self.random.below(depth)),
            13 if depth > 0 => Stmt::Continue(self.random.below(depth)),
            14 if depth > 0 => {
                let ways = (0..1 + self.random.below(4)).map(|_| self.way(depth)).collect();
                Stmt::Switch(self.expr(2), ways)
            }
            15 if depth > 0 && self.random.once_in(6) => {
                let result = self.expr(2);
                Stmt::If(self.expr(2), vec![Stmt::Return(result)], vec![])
            }
            _ => Stmt::Trace(self.expr(1)),
        }
    }

    fn way(&mut self, depth: usize) -> Way {
        match self.random.below(3) {
            0 => Way::Next,
            1 => Way::Break(self.random.below(depth)),
            _ => Way::Continue(self.random.below(depth)),
        }
    }

    fn make_loop(&mut self, depth: usize) -> Stmt {
        let site = self.loops;
        self.loops += 1;
        let counter = self.narrow.len();
        self.narrow.push(self.random.once_in(2));
        let waiting = self.random.once_in(3).then(|| (self.expr(2), self.local()));
        let turns = 1 + self.random.below(4) as i64;
        Stmt::Loop(Box::new(Loop { site, turns, counter, waiting, body: self.block(depth + 1) }))
    }

    /// One of the first locals: the others count turns.
    fn local(&mut self) -> Local {
        self.random.below(4)
    }

    fn expr(&mut self, depth: usize) -> Expr {
        if depth == 0 || self.random.once_in(3) {
            return match self.random.below(8) {
                0 | 1 => Expr::Const(self.random.next() as i64 >> self.random.below(63)),
                2 => Expr::Constant,
                3 => Expr::Local(self.random.below(self.narrow.len())),
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
