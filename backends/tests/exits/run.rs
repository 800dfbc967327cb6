//! A thread that runs compiled programs, and what happens when they leave.

use std::ffi::c_void;

use tierup_backends::{
    CodeMap, CompiledFunction,
    abi::{self, OsrOutcome, Regs, Resume, ThreadCells, WIDE_SLOTS},
    deopt::Exit,
};
use tierup_broker::GuardId;

use crate::exits::{
    lower::{COUNTDOWNS, TRACE_HASH, TRACE_LENGTH},
    program::Program,
    reference::{Frame, Machine, Trace},
};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) result: i64,
    pub(crate) trace: Trace,
}

/// What is known of an exit: from the reference, and from the code.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    guard: GuardId,
    frames: Vec<Frame>,
    trace: Trace,
}

pub(crate) struct Thread<'t> {
    program: &'t Program,
    map: &'t CodeMap,
    cells: Box<ThreadCells>,
    wide: Vec<u64>,
    /// The cells' address, then the words of the program.
    vmctx: Vec<u64>,
    expected: Option<Left>,
    left: Vec<Left>,
}

impl<'t> Thread<'t> {
    pub(crate) fn new(program: &'t Program, map: &'t CodeMap) -> Box<Self> {
        let mut wide = vec![0; WIDE_SLOTS];
        let mut cells = Box::new(ThreadCells::new(std::ptr::null_mut(), wide.as_mut_ptr()));
        cells.finish = finish;
        let vmctx = vec![0; COUNTDOWNS + program.exits as usize];
        let mut thread = Box::new(Thread { program, map, cells, wide, vmctx, expected: None, left: Vec::new() });
        thread.cells.limit_stack(abi::stack_limit(512 << 10, 64 << 10));
        thread.vmctx[0] = &raw const *thread.cells as u64;
        thread.expect_nothing();
        thread
    }

    /// No exit is taken.
    pub(crate) fn expect_nothing(&mut self) {
        self.vmctx[COUNTDOWNS..].fill(u64::MAX >> 1);
        self.expected = None;
    }

    /// An exit is taken at its so manieth visit from now: where `stopped` is.
    pub(crate) fn expect(&mut self, exit: u32, visit: u64, stopped: &Machine<'_>) {
        self.expect_nothing();
        self.vmctx[COUNTDOWNS + exit as usize] = visit;
        self.expected = Some(Left { guard: GuardId(exit.into()), frames: stopped.frames(), trace: stopped.trace });
    }

    /// Whether it was left as expected, and not more often.
    pub(crate) fn is_right(&self) -> bool {
        self.left.iter().eq(&self.expected)
    }

    /// What was, and what was expected.
    pub(crate) fn difference(&self) -> impl std::fmt::Debug {
        (&self.left, &self.expected)
    }

    /// Calls a body.
    pub(crate) fn call(&mut self, body: &CompiledFunction, arguments: [i64; 2]) -> Ended {
        let result = self.run(body, [0; 2], arguments.map(|argument| argument as u64));
        self.ended(result as i64)
    }

    /// Enters a variant at the site where a machine of that trace is.
    pub(crate) fn enter(&mut self, variant: &CompiledFunction, site: u32, frame: &[u64], trace: Trace) -> Ended {
        let mut frame = frame.to_vec();
        let status = self.run(variant, trace, [frame.as_mut_ptr() as u64, site.into()]);
        let result = match OsrOutcome::decode(status) {
            OsrOutcome::Done => frame[0] as i64,
            OsrOutcome::Exit(resume) => {
                let words = self.wide.clone();
                self.leave(variant.entry() as usize, resume, &words)
            }
        };
        self.ended(result)
    }

    fn run(&mut self, code: &CompiledFunction, trace: Trace, arguments: [u64; 2]) -> u64 {
        self.left.clear();
        (self.vmctx[TRACE_LENGTH], self.vmctx[TRACE_HASH]) = (trace[0] as u64, trace[1] as u64);
        let mut regs = Regs::default();
        regs.gpr[..4].copy_from_slice(&[self.vmctx.as_mut_ptr() as u64, 0, arguments[0], arguments[1]]);
        let cells: *mut ThreadCells = &raw mut *self.cells;
        // SAFETY: the cells are the thread's.
        unsafe { (*cells).host = (&raw mut *self).cast() };
        // SAFETY: the code takes these arguments, the vmctx begins with the cells; tests have 2 MiB of stack.
        unsafe { abi::enter(cells, code.entry(), &raw mut regs) }.expect("nothing traps");
        regs.ret_gpr
    }

    fn trace(&self) -> Trace {
        [self.vmctx[TRACE_LENGTH] as i64, self.vmctx[TRACE_HASH] as i64]
    }

    fn ended(&self, result: i64) -> Ended {
        Ended { result, trace: self.trace() }
    }

    /// Code that `pc` is in has left with these words: the reference goes on from what they say.
    fn leave(&mut self, pc: usize, resume: Resume, words: &[u64]) -> i64 {
        let Resume::Exit(number) = resume else { panic!("{resume:?}: the lowering leaves through exits only") };
        let exits = self.map.exits(pc).expect("a unit that is left has exits");
        let exit = exits.exit(number).expect("its numbers are its exits'");
        exit.take();
        let frames = rebuilt(exit, words);
        let trace = self.trace();
        self.left.push(Left { guard: exit.guard(), frames: frames.clone(), trace });
        // Wrong frames may never end.
        let frames = self.expected.as_ref().map_or(frames, |expected| expected.frames.clone());
        let mut machine = Machine::from_frames(self.program, &frames, trace);
        let result = machine.run(None).expect("nothing stops it");
        (self.vmctx[TRACE_LENGTH], self.vmctx[TRACE_HASH]) = (machine.trace[0] as u64, machine.trace[1] as u64);
        result
    }
}

fn rebuilt(exit: &Exit, words: &[u64]) -> Vec<Frame> {
    let frame = |frame: tierup_backends::deopt::RebuiltFrame<'_>| Frame {
        function: frame.function(),
        pc: frame.pc(),
        slots: frame.slots().collect(),
    };
    exit.rebuild(words).map(frame).collect()
}

unsafe extern "C" fn finish(vmctx: *mut c_void, _: u64, buffer: *mut u64, resume: u64) -> u32 {
    // SAFETY: the stub's: the vmctx begins with this thread's cells, whose host is the thread; `run` waits in its call.
    let (thread, pc) = unsafe {
        let cells = *vmctx.cast::<*mut ThreadCells>();
        (&mut *(*cells).host.cast::<Thread<'_>>(), (*cells).exit_pc)
    };
    // SAFETY: the wide buffer.
    let words = unsafe { std::slice::from_raw_parts(buffer, WIDE_SLOTS) }.to_vec();
    let result = thread.leave(pc, Resume::decode(resume), &words);
    // SAFETY: as above.
    unsafe { *buffer = result as u64 };
    0
}
