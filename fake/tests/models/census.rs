//! Threads say what is on their stacks while code is replaced, retired and freed.

use tierup_broker::{POLL_BROKER, StackReport, UnitId};

use super::*;

/// A thread in native code of the bead, when that has been retired, and what is on its stack asked for.
struct Asked {
    start: Start,
    interpreter: InterpThread<usize>,
    frame: Frame,
}

/// An activation of a unit.
#[derive(Clone)]
struct Frame {
    unit: UnitId,
    code: StdArc<Code>,
}

impl Frame {
    /// What the code that runs there would compute.
    fn run(&self) {
        assert_eq!(self.code.read(), 7, "runs code that was freed");
    }
}

impl Asked {
    fn new() -> Self {
        let start = Start::counting(6);
        let (interpreter, bead) = start.caller();
        assert_eq!(call(&interpreter, &bead), Some(7));
        let frame = Frame { unit: start.compiler.latest().id, code: start.compiler.units[0].clone() };
        invalidate_and_collect(&start.broker, &start.bead);
        Asked { start, interpreter, frame }
    }

    /// The same, and the bead has new code.
    fn renewed() -> Self {
        let asked = Self::new();
        asked.start.broker.compile_now(asked.start.bead(), TIER1).unwrap();
        asked
    }
}

/// Polls, with these frames on the stack.
fn poll(interpreter: &InterpThread<usize>, frames: &[&Frame]) {
    // SAFETY: the models hold no code but what they tell, and run in what they told, or look it up again.
    unsafe { interpreter.poll_with(told(frames)) };
}

fn told(frames: &[&Frame]) -> impl FnOnce(&mut StackReport) {
    move |report| frames.iter().for_each(|frame| report.add(frame.unit))
}

models! {
    /// The frame goes on after it was told.
    fn census_vs_frame() {
        let Asked { start, interpreter, frame } = Asked::new();
        let stay = move || {
            poll(&interpreter, &[&frame]);
            frame.run();
            interpreter
        };
        let (interpreter, _) = race(stay, || start.broker.collect());
        start.broker.collect();
        drop(interpreter);
        start.end();
    }

    /// The frame has returned when the thread answers.
    fn census_vs_return() {
        let Asked { start, interpreter, frame } = Asked::new();
        let leave = move || {
            frame.run();
            poll(&interpreter, &[]);
            interpreter
        };
        let (interpreter, _) = race(leave, || start.broker.collect());
        start.broker.collect();
        start.compiler.assert_all_freed();
        drop(interpreter);
        start.end();
    }

    /// Code is retired while a thread answers, and then calls it.
    fn census_vs_retire() {
        let Asked { start, interpreter, frame } = Asked::renewed();
        let bead = start.bead.clone();
        let answer = move || {
            poll(&interpreter, &[&frame]);
            assert!(matches!(call(&interpreter, &bead), None | Some(7)));
            frame.run();
            interpreter
        };
        let (interpreter, ()) = race(answer, || invalidate_and_collect(&start.broker, &start.bead));
        drop(interpreter);
        start.end();
    }

    /// A variant is installed, and everything retired, while a thread that is in the body answers.
    fn census_vs_install() {
        let Asked { start, interpreter, .. } = Asked::renewed();
        let frame = Frame { unit: start.compiler.latest().id, code: start.compiler.units[1].clone() };
        let bead = start.bead.clone();
        let answer = move || {
            poll(&interpreter, &[&frame]);
            assert!(matches!(enter(&interpreter, &bead, SITE), None | Some(7)));
            frame.run();
            interpreter
        };
        let install = || {
            start.broker.compile_osr_now(start.bead(), TIER1, SITE).unwrap();
            invalidate_and_collect(&start.broker, &start.bead);
        };
        let (interpreter, ()) = race(answer, install);
        drop(interpreter);
        start.end();
    }

    /// A thread has told before it parked, and calls when it is back.
    fn census_vs_unpark() {
        let Asked { start, interpreter, frame } = Asked::renewed();
        let bead = start.bead.clone();
        let wait = move || {
            // SAFETY: as in `poll`.
            unsafe { interpreter.parked_with(told(&[&frame]), || ()) };
            assert!(matches!(call(&interpreter, &bead), None | Some(7)));
            frame.run();
            interpreter
        };
        let (interpreter, ()) = race(wait, || invalidate_and_collect(&start.broker, &start.bead));
        drop(interpreter);
        start.end();
    }

    /// One thread has answered, another one comes online.
    fn census_vs_coming_online() {
        let Asked { start, interpreter, .. } = Asked::renewed();
        let (mut other, bead) = start.caller();
        let come = move || {
            other.offline(|| ());
            assert!(matches!(call(&other, &bead), None | Some(7)));
        };
        race(come, || {
            assert!(start.invalidate());
            poll(&interpreter, &[]);
            start.broker.collect();
        });
        start.broker.collect();
        start.compiler.assert_all_freed();
        drop(interpreter);
        start.end();
    }

    /// A thread answers while it is asked: then it has answered this, or is still asked.
    fn ask_vs_answer() {
        let start = Start::counting(6);
        let interpreter = start.broker.register_thread().unwrap();
        assert!(start.invalidate());
        let answer = move || {
            poll(&interpreter, &[]);
            interpreter
        };
        let (interpreter, _) = race(answer, || start.broker.collect());
        // SAFETY: the cells live as long as the handle, and the poll cell is atomic.
        let interrupt = unsafe { &(*interpreter.cells()).interrupt };
        if interrupt.load(Ordering::Relaxed) & POLL_BROKER == 0 {
            start.broker.collect();
            start.compiler.assert_all_freed();
        }
        drop(interpreter);
        start.end();
    }
}
