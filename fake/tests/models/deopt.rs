//! Code is left, or has to be, while something else happens to it.

use tierup_broker::{
    Assumption, BreakTicket, DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample, GuardId, POLL_BROKER,
    POLL_SAMPLE, ThreadCells, UnitId, ValidityCell,
};

use super::*;

/// Guards the models leave at: what the policy does about each is its number.
pub(super) const KEEP: GuardId = GuardId(0);
const RECOMPILE: GuardId = GuardId(1);
const NEVER: GuardId = GuardId(2);
const REVERT: GuardId = GuardId(3);

/// The guest whose unit relies on the compiler's assumption.
pub(super) const ASSUMES: usize = 300;

/// Decides by the guard.
pub(super) struct ByGuard;

impl DeoptPolicy for ByGuard {
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision {
        let action = match sample.guard {
            RECOMPILE => DeoptAction::Recompile,
            NEVER => DeoptAction::NeverThisTier,
            REVERT => DeoptAction::RevertTo { tier: Tier::INTERPRETER },
            _ => DeoptAction::Keep,
        };
        DeoptDecision { action, reason: DeoptReason::Always }
    }
}

/// What generated code knows of itself.
#[derive(Clone, Copy)]
pub(super) struct Itself {
    pub(super) id: UnitId,
    pub(super) validity: Option<*const ValidityCell>,
}

// SAFETY: the cell is atomic, and followed only by threads that keep its unit.
unsafe impl Send for Itself {}

impl Itself {
    /// What code looks at after a poll, as weakly as it does.
    fn is_valid(self) -> bool {
        let cell = self.validity.expect("a unit that watches");
        // SAFETY: the looking thread is inside the unit, so its lease was not dropped.
        unsafe { &*cell }.load(Ordering::Relaxed) == 0
    }
}

/// What is assumed not to change: loom reports any two that race for it.
type Fact = Arc<Code>;

/// A thread inside a unit that relies on a fact, and what breaks that.
struct Inside {
    start: Start,
    assumption: Assumption,
    fact: Fact,
}

impl Inside {
    fn new() -> Self {
        let start = Start::new(ASSUMES);
        let assumption = start.broker.assumption();
        assert!(start.compiler.assumption.set(assumption.clone()).is_ok());
        start.broker.compile_now(start.bead(), TIER1).unwrap();
        Inside { start, assumption, fact: Arc::new(Code(UnsafeCell::new(1))) }
    }

    /// The thread, what its code knows of itself, and the fact.
    fn thread(&self) -> (InterpThread<usize>, Itself, Fact) {
        let (interpreter, bead) = self.start.caller();
        assert_eq!(call(&interpreter, &bead), Some(ASSUMES + 1));
        (interpreter, self.start.compiler.latest(), self.fact.clone())
    }

    /// Changes the fact, if everybody has left by then.
    fn change(&self) -> BreakTicket<usize> {
        let ticket = self.start.broker.break_assumption(&self.assumption);
        if ticket.is_done() {
            self.fact.write(2);
        }
        ticket
    }
}

models! {
    /// A body is given up while a variant is installed: neither is lost on the other.
    fn deopt_vs_install() {
        let start = Start::compiled(6);
        let unit = start.compiler.latest().id;
        let interpreter = start.broker.register_thread().unwrap();
        let (broker, bead) = (start.broker.clone(), start.bead.clone());
        let install = move || broker.compile_osr_now(Bead::as_ref(&bead), TIER1, SITE).unwrap();
        race(install, || assert!(interpreter.on_exit(unit, REVERT).is_some()));
        let stats = start.broker.bead_stats(start.bead()).unwrap();
        assert_eq!((stats.tier, stats.deopts), (Tier::INTERPRETER, 1));
        // Given up with everything above the interpreter, or installed after that.
        assert!(stats.variants.is_empty() || stats.variants == [(SITE, TIER1)], "{:?}", stats.variants);
        drop(interpreter);
        start.end();
    }

    fn deopt_vs_invalidate() {
        let start = Start::compiled(6);
        let unit = start.compiler.latest().id;
        let (interpreter, _) = start.caller();
        let leave = move || {
            interpreter.on_exit(unit, RECOMPILE);
            interpreter
        };
        let (interpreter, _) = race(leave, || start.invalidate());
        assert_eq!(start.broker.bead_stats(start.bead()).unwrap().tier, Tier::INTERPRETER);
        assert_eq!(interpreter.on_exit(unit, RECOMPILE), None, "it is gone");
        start.broker.run_pending(usize::MAX);
        assert_eq!(start.broker.stats().pending, 0);
        drop(interpreter);
        start.end();
    }

    /// A thread leaves a unit that is being retired, and the frame is still inside.
    fn deopt_vs_retire() {
        let start = Start::compiled(6);
        let unit = start.compiler.latest().id;
        let (interpreter, bead) = start.caller();
        let leave = move || {
            let code = interpreter.on_invoke(Bead::as_ref(&bead));
            interpreter.on_exit(unit, KEEP);
            if let Some(code) = code {
                // SAFETY: entries point at a `Code` which the compiler's list keeps allocated.
                assert_eq!(unsafe { &*code.address().as_ptr().cast::<Code>() }.read(), 7);
            }
        };
        race(leave, || invalidate_and_collect(&start.broker, &start.bead));
        start.end();
    }

    /// What an old body's frame does is not held against the new body.
    fn deopt_vs_reload() {
        let start = Start::compiled(6);
        let unit = start.compiler.latest().id;
        let (interpreter, _) = start.caller();
        let leave = move || {
            interpreter.on_exit(unit, NEVER);
            interpreter
        };
        let (interpreter, _) = race(leave, || assert!(start.broker.reload(start.bead(), 8)));
        assert_eq!(start.broker.bead_stats(start.bead()).unwrap().disabled, []);
        start.broker.compile_now(start.bead(), TIER1).unwrap();
        assert_eq!(interpreter.on_exit(unit, NEVER), None);
        assert_eq!(call(&interpreter, &start.bead), Some(9));
        drop(interpreter);
        start.end();
    }

    fn break_vs_install() {
        let start = Start::new(ASSUMES);
        let assumption = start.broker.assumption();
        assert!(start.compiler.assumption.set(assumption.clone()).is_ok());
        let interpreter = start.broker.register_thread().unwrap();
        race(start.compile_now(), || {
            let _ = start.broker.break_assumption(&assumption);
            assert_ne!(call_native(&interpreter, &start.bead), Some(ASSUMES + 1), "code that relies on what is broken");
        });
        assert_ne!(call_native(&interpreter, &start.bead), Some(ASSUMES + 1), "code that relies on what is broken");
        drop(interpreter);
        start.end();
    }

    fn break_vs_unpark() {
        let inside = Inside::new();
        let (interpreter, itself, fact) = inside.thread();
        let stay = move || {
            fact.read();
            interpreter.parked(|| ());
            if itself.is_valid() {
                fact.read();
            }
            interpreter
        };
        race(stay, || drop(inside.change()));
        inside.start.end();
    }

    /// A thread answers while it is asked: then it has answered this, or is still asked.
    fn break_vs_answer() {
        let start = Start::new(1);
        let assumption = start.broker.assumption();
        let (interpreter, _) = start.caller();
        let answer = move || {
            interpreter.poll();
            interpreter
        };
        let (interpreter, ticket) = race(answer, || start.broker.break_assumption(&assumption));
        // SAFETY: the cells live as long as the handle, and the poll cell is atomic.
        let interrupt = unsafe { &(*interpreter.cells()).interrupt };
        let is_asked = interrupt.load(Ordering::Relaxed) & POLL_BROKER != 0;
        assert!(is_asked || ticket.is_done(), "it will never be asked");
        drop(interpreter);
        start.end();
    }

    /// A thread answers a sample while it is asked for something else: it is still asked, and its next prologue sees that.
    fn break_vs_sample() {
        let start = Start::new(1);
        let assumption = start.broker.assumption();
        let (interpreter, _) = start.caller();
        // SAFETY: the cells live as long as the handle.
        unsafe { ThreadCells::raise(interpreter.cells(), POLL_SAMPLE) };
        let answer = move || {
            interpreter.skip_sample();
            interpreter
        };
        let (interpreter, _) = race(answer, || start.broker.break_assumption(&assumption));
        // SAFETY: as above, and what is read is atomic.
        let cells = unsafe { &*interpreter.cells() };
        assert_eq!(cells.interrupt.load(Ordering::Relaxed), POLL_BROKER);
        assert_ne!(cells.stack_limit.load(Ordering::Relaxed), cells.stack_floor());
        drop(interpreter);
        start.end();
    }
}

/// Who has polled looks at its cell, and does not rely on what changes then.
///
/// With more preemptions than the other models: the thread must be told of the epoch by nothing but the epoch, which takes it to
/// poll just before it is asked.
#[test]
fn break_vs_poll() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(|| {
        let inside = Inside::new();
        let (interpreter, itself, fact) = inside.thread();
        let stay = move || {
            fact.read();
            interpreter.poll();
            if itself.is_valid() {
                fact.read();
            }
            interpreter
        };
        race(stay, || drop(inside.change()));
        inside.start.end();
    });
}
