//! The reference: an interpreter of the programs that stops where it is told to, and goes on from any frames.

use crate::exits::{
    liveness::Liveness,
    program::{Expr, Op, Program, Ty},
};

/// The slot of a local: not its number, so that neither is taken for the other.
pub(crate) fn slot_of(local: usize) -> u32 {
    3 * local as u32 + 1
}

/// What a program does besides returning: how many effects of which sum.
pub(crate) type Trace = [i64; 2];

/// A frame as an exit or a site describes it: its live slots by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) function: u64,
    pub(crate) pc: u32,
    pub(crate) slots: Vec<(u32, u64)>,
}

/// Where to stop: at the so manieth visit, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Exit(u32, u64),
    Site(u32, u64),
}

struct Activation {
    function: usize,
    pc: usize,
    locals: Vec<u64>,
}

/// A run of a program.
pub(crate) struct Machine<'p> {
    program: &'p Program,
    liveness: Vec<Liveness>,
    /// Outermost first.
    frames: Vec<Activation>,
    pub(crate) trace: Trace,
    /// Visits by exit.
    pub(crate) exits: Vec<u64>,
    /// Visits by site, of the first function's.
    pub(crate) sites: Vec<u64>,
}

impl<'p> Machine<'p> {
    /// At the beginning of a call.
    pub(crate) fn new(program: &'p Program, arguments: [i64; 2]) -> Self {
        let mut machine = Machine {
            program,
            liveness: program.functions.iter().map(Liveness::of).collect(),
            frames: Vec::new(),
            trace: [0; 2],
            exits: vec![0; program.exits as usize],
            sites: vec![0; program.sites as usize],
        };
        machine.enter(0, arguments);
        machine
    }

    /// In the midst of calls, whose frames have only what is live.
    pub(crate) fn from_frames(program: &'p Program, frames: &[Frame], trace: Trace) -> Self {
        let mut machine = Machine { trace, ..Machine::new(program, [0; 2]) };
        machine.frames = { frames.iter() }
            .map(|frame| {
                let function = frame.function as usize;
                let mut locals = vec![0xdead_dead_dead_dead; program.functions[function].types.len()];
                for &(slot, word) in &frame.slots {
                    locals[(slot as usize - 1) / 3] = word;
                }
                Activation { function, pc: frame.pc as usize, locals }
            })
            .collect();
        machine
    }

    /// Runs to the stop (`None`) or to the end.
    pub(crate) fn run(&mut self, stop: Option<Stop>) -> Option<i64> {
        let mut turns = 0u64;
        loop {
            turns += 1;
            assert!(turns < 50_000_000, "it ends");
            let (function, pc, depth) = (self.top().function, self.top().pc, self.frames.len());
            let mut next = pc + 1;
            match &self.program.functions[function].code[pc] {
                Op::Set(local, value) => {
                    let value = self.value(value);
                    self.set(*local, value);
                }
                Op::Trace(value) => {
                    let [length, hash] = self.trace;
                    self.trace = [length + 1, hash.wrapping_mul(0x0100_0193) ^ self.value(value)];
                }
                Op::Negative(value, to) if self.value(value) < 0 => next = *to,
                Op::Negative(..) => {}
                Op::Jump(to) => next = *to,
                Op::Loop(site) if depth == 1 => {
                    let visits = &mut self.sites[*site as usize];
                    *visits += 1;
                    if stop == Some(Stop::Site(*site, *visits)) {
                        return None;
                    }
                }
                Op::Loop(_) => {}
                Op::Exit(exit) => {
                    let visits = &mut self.exits[*exit as usize];
                    *visits += 1;
                    if stop == Some(Stop::Exit(*exit, *visits)) {
                        return None;
                    }
                }
                Op::Call { function, args: [a, b], .. } => {
                    let arguments = [self.value(a), self.value(b)];
                    self.enter(*function, arguments);
                    continue;
                }
                Op::Return(value) => {
                    let value = self.value(value);
                    self.frames.pop();
                    let Some(caller) = self.frames.last() else { return Some(value) };
                    let Op::Call { to, .. } = self.program.functions[caller.function].code[caller.pc] else {
                        panic!("a frame that called nobody is returned to");
                    };
                    self.set(to, value);
                    next = self.top().pc + 1;
                }
            }
            self.frames.last_mut().expect("it runs").pc = next;
        }
    }

    /// The live part of every frame where the machine is.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (index, frame) in self.frames.iter().enumerate() {
            let (liveness, types) = (&self.liveness[frame.function], &self.program.functions[frame.function].types);
            let slots = |live: &mut dyn Iterator<Item = usize>| {
                live.map(|local| {
                    let word = frame.locals[local];
                    (slot_of(local), if types[local].is_narrow() { u64::from(word as u32) } else { word })
                })
                .collect()
            };
            let slots = match self.program.functions[frame.function].code[frame.pc] {
                Op::Call { to, .. } if index + 1 < self.frames.len() => slots(&mut liveness.during(frame.pc, to)),
                _ => slots(&mut liveness.at(frame.pc)),
            };
            frames.push(Frame { function: frame.function as u64, pc: frame.pc as u32, slots });
        }
        frames
    }

    /// All slots of the outermost frame, with whatever is above narrow values, to enter a variant with.
    pub(crate) fn slots(&self) -> Vec<u64> {
        let locals = &self.frames[0].locals;
        let mut slots = vec![0xdead; slot_of(locals.len()) as usize];
        for (local, &word) in locals.iter().enumerate() {
            slots[slot_of(local) as usize] = word;
        }
        slots
    }

    fn enter(&mut self, function: usize, arguments: [i64; 2]) {
        let mut locals = vec![0; self.program.functions[function].types.len()];
        for (local, argument) in locals.iter_mut().zip(arguments) {
            *local = argument as u64;
        }
        self.frames.push(Activation { function, pc: 0, locals });
    }

    fn top(&self) -> &Activation {
        self.frames.last().expect("it runs")
    }

    fn set(&mut self, local: usize, value: i64) {
        self.frames.last_mut().expect("it runs").locals[local] = value as u64;
    }

    fn value(&self, expr: &Expr) -> i64 {
        let both = |both: &[Expr; 2]| (self.value(&both[0]), self.value(&both[1]));
        match expr {
            Expr::Const(value) => *value,
            Expr::Local(local) => {
                let (word, ty): (u64, Ty) =
                    (self.top().locals[*local], self.program.functions[self.top().function].types[*local]);
                if ty.is_narrow() { i64::from(word as i32) } else { word as i64 }
            }
            Expr::Add(operands) => {
                let (a, b) = both(operands);
                a.wrapping_add(b)
            }
            Expr::Mul(operands) => {
                let (a, b) = both(operands);
                a.wrapping_mul(b)
            }
            Expr::Xor(operands) => {
                let (a, b) = both(operands);
                a ^ b
            }
        }
    }
}
