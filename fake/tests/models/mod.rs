//! The models. What they share: a compiler whose code loom can see being written, entered and freed.

use std::sync::{Arc as StdArc, Weak as StdWeak};

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use tierup_broker::{
    Assumption, Bailout, BailoutReason, Bead, BeadRef, BeadSpec, Broker, CodeUnit, CompileRequest, Compiler, InterpThread,
    InvalidateReason, Mode, NativeCode, Reason, Threshold, Tier, Tiered, ToldToPanic, WarmUpTime,
};

const TIER1: Tier = Tier::new(1);

/// The loop whose variant the models are about.
const SITE: u32 = 1;

/// Units one model may compile.
const UNITS: usize = 3;

/// The value of code whose mapping is gone.
const FREED: usize = usize::MAX;

/// The guest whose compile panics.
const PANICS: usize = 100;

/// The guest whose unit contains the body of the compiler's callee.
const INLINES: usize = 200;

/// "Machine code": written by the compiler, read by callers, taken away by the lease; loom reports any two that race.
struct Code(UnsafeCell<usize>);

// SAFETY: loom checks every access, which is what the models are for.
unsafe impl Sync for Code {}

impl Code {
    fn read(&self) -> usize {
        // SAFETY: loom checks that nobody writes.
        self.0.with(|code| unsafe { *code })
    }

    fn write(&self, value: usize) {
        // SAFETY: loom checks that nobody else reads or writes.
        self.0.with_mut(|code| unsafe { *code = value });
    }
}

/// A compiler whose every unit is a [`Code`], found again through its address.
struct LoomCompiler {
    units: [StdArc<Code>; UNITS],
    used: std::sync::atomic::AtomicUsize,
    compiling: Option<thread::Thread>,
    callee: std::sync::OnceLock<StdWeak<Bead<usize>>>,
    assumption: std::sync::OnceLock<Assumption>,
    latest: std::sync::Mutex<Option<Itself>>,
}

struct Mapping(StdArc<Code>);

impl Drop for Mapping {
    fn drop(&mut self) {
        assert_ne!(self.0.read(), FREED, "freed twice");
        self.0.write(FREED);
    }
}

// SAFETY: nobody calls these entries: callers look at the `Code` behind them.
unsafe impl Compiler<usize> for LoomCompiler {
    fn name(&self) -> &str {
        "loom"
    }

    fn compiles_osr(&self) -> bool {
        true
    }

    fn compile(&self, request: &CompileRequest<'_, usize>) -> Result<CodeUnit, Bailout> {
        if let Some(waiting) = &self.compiling {
            waiting.unpark();
        }
        if *request.guest() == PANICS {
            std::panic::panic_any(ToldToPanic);
        }
        let mut value = *request.guest() + 1;
        let mut contained = None;
        if *request.guest() == INLINES {
            let bead = self.callee.get().and_then(StdWeak::upgrade).expect("the model keeps it");
            let callee = request.callee(Bead::as_ref(&bead)).expect("of this broker");
            let changed = Bailout::retryable(BailoutReason::Cancelled);
            value = INLINES + callee.with_guest(|&guest| guest).ok_or(changed)?;
            contained = Some(callee);
        }
        let watches = *request.guest() == ASSUMES;
        let mut assumed = None;
        if watches {
            assumed = self.assumption.get().filter(|assumption| request.assume(assumption));
            value = ASSUMES + if assumed.is_some() { 1 } else { 2 };
        }
        let itself = Itself { id: request.unit_id(), validity: watches.then(|| request.validity()) };
        *self.latest.lock().unwrap() = Some(itself);
        let code = self.units[self.used.fetch_add(1, Ordering::SeqCst)].clone();
        code.write(value);
        let entry = StdArc::as_ptr(&code).cast::<u8>();
        let unit = contained.iter().fold(request.unit(entry, 1, Box::new(Mapping(code))), CodeUnit::containing);
        Ok(assumed.into_iter().fold(unit, CodeUnit::assuming))
    }
}

impl LoomCompiler {
    fn new(compiling: Option<thread::Thread>) -> StdArc<Self> {
        let units = std::array::from_fn(|_| StdArc::new(Code(UnsafeCell::new(0))));
        let (used, callee) = (std::sync::atomic::AtomicUsize::new(0), std::sync::OnceLock::new());
        let (assumption, latest) = (std::sync::OnceLock::new(), std::sync::Mutex::default());
        StdArc::new(LoomCompiler { units, used, compiling, callee, assumption, latest })
    }

    /// The unit made last.
    fn latest(&self) -> Itself {
        self.latest.lock().unwrap().expect("a unit")
    }

    fn broker(self: &StdArc<Self>, mode: Mode) -> Broker<usize> {
        self.broker_counting(mode, None)
    }

    /// A broker that asks for a census when so many bytes wait.
    fn broker_counting(self: &StdArc<Self>, mode: Mode, census: Option<u64>) -> Broker<usize> {
        let builder = Broker::builder().mode(mode).policy(Threshold { calls: 0 }).compiler(StdArc::clone(self));
        let builder = builder.census_after(census);
        builder.deopt_policy(ByGuard).deadline(None).max_beads(2).workers(1).build().unwrap()
    }

    fn assert_all_freed(&self) {
        for code in &self.units[..self.used.load(Ordering::SeqCst)] {
            assert_eq!(code.read(), FREED, "leaked");
        }
    }
}

/// A compiler that is told when it is near, which it counts, and compiles nothing.
#[derive(Default)]
struct Awaited(std::sync::atomic::AtomicUsize);

// SAFETY: there are no units.
unsafe impl Compiler<usize> for Awaited {
    fn name(&self) -> &str {
        "awaited"
    }

    fn compile(&self, _: &CompileRequest<'_, usize>) -> Result<CodeUnit, Bailout> {
        Err(Bailout::terminal(BailoutReason::Cancelled))
    }

    fn wants_warm_up(&self) -> WarmUpTime {
        WarmUpTime::WhenNear
    }

    fn warm_up(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What every model starts from: a broker in pump mode, with one bead.
struct Start {
    broker: Broker<usize>,
    compiler: StdArc<LoomCompiler>,
    bead: Arc<Bead<usize>>,
}

impl Start {
    fn new(guest: usize) -> Self {
        let compiler = LoomCompiler::new(None);
        let broker = compiler.broker(Mode::Pump);
        let bead = Arc::new(register(&broker, guest));
        Start { broker, compiler, bead }
    }

    /// The bead's request waits.
    fn requested(guest: usize) -> Self {
        let start = Self::new(guest);
        start.promote();
        start
    }

    /// The bead runs native code.
    fn compiled(guest: usize) -> Self {
        let start = Self::new(guest);
        start.broker.compile_now(start.bead(), TIER1).unwrap();
        start
    }

    /// The bead runs native code, and whatever is retired is worth a census.
    fn counting(guest: usize) -> Self {
        let compiler = LoomCompiler::new(None);
        let broker = compiler.broker_counting(Mode::Pump, Some(0));
        let bead = Arc::new(register(&broker, guest));
        broker.compile_now(Bead::as_ref(&bead), TIER1).unwrap();
        Start { broker, compiler, bead }
    }

    fn bead(&self) -> BeadRef<'_, usize> {
        Bead::as_ref(&self.bead)
    }

    /// A variant can be entered.
    fn entered(guest: usize) -> Self {
        let start = Self::new(guest);
        start.broker.compile_osr_now(start.bead(), TIER1, SITE).unwrap();
        start
    }

    fn promote_osr(&self, site: u32) {
        self.broker.promote_osr(self.bead(), TIER1, site, Reason::Forced);
    }

    fn promote(&self) {
        self.broker.promote(self.bead(), TIER1, Reason::Forced);
    }

    fn invalidate(&self) -> bool {
        self.broker.invalidate(self.bead(), InvalidateReason::Assumption)
    }

    /// An interpreter thread, online, and the bead it is to call.
    fn caller(&self) -> (InterpThread<usize>, Arc<Bead<usize>>) {
        (self.broker.register_thread().unwrap(), self.bead.clone())
    }

    /// What compiles one request.
    fn compile(&self) -> impl FnOnce() -> usize + 'static {
        let broker = self.broker.clone();
        move || broker.run_pending(1)
    }

    /// What compiles the function without a request, if it can.
    fn compile_now(&self) -> impl FnOnce() + 'static {
        let (broker, bead) = (self.broker.clone(), self.bead.clone());
        move || drop(broker.compile_now(Bead::as_ref(&bead), TIER1))
    }

    /// Nobody uses anything any more: everything compiled must have been freed.
    fn end(self) {
        drop(self.bead);
        self.broker.run_pending(UNITS);
        self.broker.collect();
        self.compiler.assert_all_freed();
        let stats = self.broker.stats();
        assert_eq!((stats.code_live, stats.code_retired), (0, 0), "what is freed is counted as freed");
    }
}

/// Runs `other` on a second thread and `this` on this one.
///
/// When loom decides which orders are worth trying it knows only the last access to each location, so that one load against
/// the load and exchange of an update loop may be tried in one order alone. `crossing`, by which neither thread learns
/// anything of the other in time, makes it try all of `other` first as well.
fn race<A: 'static, B>(other: impl FnOnce() -> A + 'static, this: impl FnOnce() -> B) -> (A, B) {
    let crossing = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&crossing);
    let thread = thread::spawn(move || {
        let result = other();
        seen.load(Ordering::Relaxed);
        result
    });
    crossing.store(1, Ordering::Relaxed);
    let result = this();
    (thread.join().unwrap(), result)
}

/// Makes two threads take turns, without either seeing what the other did: where the order that matters is one in thousands.
#[derive(Clone)]
struct Steps(Arc<AtomicUsize>);

impl Steps {
    fn pair() -> (Self, Self) {
        let steps = Steps(Arc::new(AtomicUsize::new(0)));
        (steps.clone(), steps)
    }

    fn reach(&self, step: usize) {
        self.0.store(step, Ordering::Relaxed);
    }

    fn wait_for(&self, step: usize) {
        while self.0.load(Ordering::Relaxed) < step {
            thread::yield_now();
        }
    }
}

fn invalidate_and_collect(broker: &Broker<usize>, bead: &Bead<usize>) {
    assert!(broker.invalidate(bead.as_ref(), InvalidateReason::Assumption));
    broker.collect();
}

fn register(broker: &Broker<usize>, guest: usize) -> Bead<usize> {
    broker.register(guest, BeadSpec { size: 1 }).unwrap()
}

/// Calls the function: what native code would have computed. A call that is interpreted counts, and asks for code.
fn call(interpreter: &InterpThread<usize>, bead: &Bead<usize>) -> Option<usize> {
    interpreter.on_invoke(bead.as_ref()).map(run)
}

/// As [`call`], by somebody who does not count: a tenth of the steps.
fn call_native(interpreter: &InterpThread<usize>, bead: &Bead<usize>) -> Option<usize> {
    interpreter.native_code(bead.as_ref()).map(run)
}

fn run(code: NativeCode<'_>) -> usize {
    // SAFETY: entries point at a `Code` which the compiler's list keeps allocated.
    let value = unsafe { &*code.address().as_ptr().cast::<Code>() }.read();
    assert_ne!(value, FREED, "inside freed code");
    assert_ne!(value, 0, "inside code whose bytes are not there yet");
    value
}

/// Goes on in the loop's variant: what native code would have computed.
fn enter(interpreter: &InterpThread<usize>, bead: &Bead<usize>, site: u32) -> Option<usize> {
    let entry = interpreter.osr_entry(bead.as_ref(), site)?;
    // SAFETY: entries point at a `Code` which the compiler's list keeps allocated.
    let value = unsafe { &*entry.address().as_ptr().cast::<Code>() }.read();
    assert_ne!(value, FREED, "inside a freed variant");
    assert_ne!(value, 0, "inside a variant whose bytes are not there yet");
    Some(value)
}

/// One race, tried in every order.
macro_rules! models {
    ($($(#[$doc:meta])* fn $name:ident() $body:block)*) => {
        $($(#[$doc])* #[test] fn $name() { loom::model(|| $body); })*
    };
}

mod census;
mod deopt;

use deopt::{ASSUMES, ByGuard, Itself};

models! {
    fn request_vs_request() {
        let start = Start::new(1);
        let (broker, bead) = (start.broker.clone(), start.bead.clone());
        race(move || broker.promote(Bead::as_ref(&bead), TIER1, Reason::Forced), || start.promote());
        assert_eq!(start.broker.stats().pending, 1, "asked for once");
        assert_eq!(start.broker.run_pending(usize::MAX), 1);
        assert_eq!(start.broker.run_pending(usize::MAX), 0);
        start.end();
    }

    fn requests_vs_drain() {
        let start = Start::requested(1);
        let (broker, second) = (start.broker.clone(), register(&start.broker, 2));
        let ask = move || {
            broker.promote(second.as_ref(), TIER1, Reason::Forced);
            second
        };
        let (second, ran) = race(ask, || start.broker.run_pending(usize::MAX));
        assert_eq!(ran + start.broker.run_pending(usize::MAX), 2, "a request was lost");
        drop(second);
        start.end();
    }

    /// A request may be answered as soon as it is made: it has been counted by then.
    fn request_vs_answer() {
        let start = Start::requested(1);
        let broker = start.broker.clone();
        let answer = move || (broker.run_pending(usize::MAX), broker.pending());
        let ((ran, pending), ()) = race(answer, || start.promote_osr(SITE));
        assert!(ran + pending <= 2, "{pending} of two wait when {ran} are answered");
        assert_eq!(ran + start.broker.run_pending(usize::MAX), 2, "a request was lost");
        start.end();
    }

    fn answer_vs_waiting() {
        let start = Start::requested(6);
        let interpreter = start.broker.register_thread().unwrap();
        race(start.compile(), || {
            if start.broker.pending() == 0 {
                assert_eq!(call_native(&interpreter, &start.bead), Some(7), "answered, and the answer is not there");
            }
        });
        drop(interpreter);
        start.end();
    }

    fn install_vs_call() {
        let start = Start::requested(6);
        let interpreter = start.broker.register_thread().unwrap();
        race(start.compile(), || assert!(matches!(call(&interpreter, &start.bead), None | Some(7))));
        assert_eq!(call(&interpreter, &start.bead), Some(7));
        drop(interpreter);
        start.end();
    }

    fn install_vs_visit() {
        let start = Start::requested(6);
        race(start.compile(), || assert!(start.broker.bead_stats(start.bead()).unwrap().tier <= TIER1));
        start.end();
    }

    fn install_vs_invalidate() {
        let start = Start::requested(6);
        let (_, had_code) = race(start.compile(), || start.invalidate());
        if had_code {
            assert_eq!(start.broker.bead_stats(start.bead()).unwrap().tier, Tier::INTERPRETER, "invalidated code is back");
        }
        assert_eq!(start.broker.stats().pending, 0);
        start.end();
    }

    /// Who publishes a successor with the same code may be late to tell that it is live.
    fn update_vs_invalidate() {
        let start = Start::compiled(6);
        let (broker, bead) = (start.broker.clone(), start.bead.clone());
        race(move || assert!(broker.update_guest(Bead::as_ref(&bead), 6)), || assert!(start.invalidate()));
        start.end();
    }

    fn install_vs_reload() {
        let start = Start::requested(1);
        let interpreter = start.broker.register_thread().unwrap();
        race(start.compile(), || {
            assert!(start.broker.reload(start.bead(), 8));
            assert_ne!(call_native(&interpreter, &start.bead), Some(2), "the old body's code");
        });
        assert_ne!(call_native(&interpreter, &start.bead), Some(2), "the old body's code");
        drop(interpreter);
        start.end();
    }

    fn install_vs_reload_of_a_callee() {
        let start = Start::new(INLINES);
        let callee = StdArc::new(register(&start.broker, 1));
        start.compiler.callee.set(StdArc::downgrade(&callee)).unwrap();
        let interpreter = start.broker.register_thread().unwrap();
        race(start.compile_now(), || {
            assert!(start.broker.reload(Bead::as_ref(&callee), 2));
            assert_ne!(call_native(&interpreter, &start.bead), Some(INLINES + 1), "code that contains the old body");
        });
        assert_ne!(call_native(&interpreter, &start.bead), Some(INLINES + 1), "code that contains the old body");
        drop(interpreter);
        drop(callee);
        start.end();
    }

    fn osr_install_vs_entry() {
        let start = Start::new(6);
        start.promote_osr(SITE);
        let interpreter = start.broker.register_thread().unwrap();
        race(start.compile(), || assert!(matches!(enter(&interpreter, &start.bead, SITE), None | Some(7))));
        assert_eq!(enter(&interpreter, &start.bead, SITE), Some(7));
        drop(interpreter);
        start.end();
    }

    /// Both publish a successor of what they find: neither may lose what the other brought.
    fn osr_install_vs_update() {
        let start = Start::new(6);
        start.promote_osr(SITE);
        race(start.compile(), || assert!(start.broker.update_guest(start.bead(), 5)));
        assert_eq!(start.broker.bead_stats(start.bead()).unwrap().variants, [(SITE, TIER1)]);
        start.broker.walk(|info| assert_eq!(*info.guest, 5, "the handle of before"));
        start.end();
    }

    /// Whoever sees the variant does not take what was left until it came for what is left until the next tier.
    fn osr_install_vs_look_ahead() {
        let next = StdArc::new(Awaited::default());
        let compiler = LoomCompiler::new(None);
        let builder = Broker::builder().mode(Mode::Pump).policy(Tiered::new(10, 1_000_000)).compiler(StdArc::clone(&compiler));
        let broker = builder.compiler(StdArc::clone(&next)).deadline(None).max_beads(2).build().unwrap();
        let bead = Arc::new(register(&broker, 6));
        let start = Start { broker, compiler, bead };
        start.promote_osr(SITE);
        let interpreter = start.broker.register_thread().unwrap();
        race(start.compile(), || call(&interpreter, &start.bead));
        start.broker.run_pending(UNITS);
        assert_eq!(next.0.load(Ordering::SeqCst), 0, "told that it is near");
        drop(interpreter);
        start.end();
    }

    fn osr_install_vs_reload() {
        let start = Start::new(1);
        start.promote_osr(SITE);
        let interpreter = start.broker.register_thread().unwrap();
        race(start.compile(), || {
            assert!(start.broker.reload(start.bead(), 8));
            assert_ne!(enter(&interpreter, &start.bead, SITE), Some(2), "the old body's variant");
        });
        assert_ne!(enter(&interpreter, &start.bead, SITE), Some(2), "the old body's variant");
        drop(interpreter);
        start.end();
    }

    fn osr_invalidate_vs_entry() {
        let start = Start::entered(6);
        let (interpreter, bead) = start.caller();
        race(move || enter(&interpreter, &bead, SITE), || invalidate_and_collect(&start.broker, &start.bead));
        assert_eq!(start.broker.bead_stats(start.bead()).unwrap().variants, []);
        start.end();
    }

    /// The version a thread found the variant in is replaced and collected, but the variant lives on in the successor.
    fn osr_retire_of_a_version_vs_entry() {
        let start = Start::entered(6);
        let (mut interpreter, bead) = start.caller();
        let come = move || {
            assert_eq!(enter(&interpreter, &bead, SITE), Some(7));
            interpreter.quiescent();
            assert_eq!(enter(&interpreter, &bead, SITE), Some(7));
        };
        race(come, || {
            assert!(start.broker.update_guest(start.bead(), 5));
            start.broker.collect();
        });
        start.end();
    }

    fn osr_retire_vs_quiescent() {
        let start = Start::entered(6);
        let (mut interpreter, bead) = start.caller();
        let (mine, theirs) = Steps::pair();
        let pass = move || {
            enter(&interpreter, &bead, SITE);
            theirs.reach(1);
            theirs.wait_for(2);
            interpreter.quiescent();
            theirs.reach(3);
            interpreter
        };
        race(pass, || {
            mine.wait_for(1);
            start.invalidate();
            mine.reach(2);
            mine.wait_for(3);
            start.broker.collect();
        });
        start.end();
    }

    /// Two threads ask for different sites: one is asked for, and it is that one which is compiled.
    fn osr_request_vs_request() {
        let start = Start::new(1);
        let (broker, bead) = (start.broker.clone(), start.bead.clone());
        race(move || broker.promote_osr(Bead::as_ref(&bead), TIER1, 0, Reason::Forced), || start.promote_osr(SITE));
        assert_eq!(start.broker.stats().pending, 1, "one site at a time");
        assert_eq!(start.broker.run_pending(usize::MAX), 1);
        let variants = start.broker.bead_stats(start.bead()).unwrap().variants;
        assert!(variants == [(0, TIER1)] || variants == [(SITE, TIER1)], "{variants:?}");
        assert_eq!(start.broker.stats().pending, 0);
        start.end();
    }

    /// The lane is given back by one thread while another wants it: nobody's claim is left behind.
    fn osr_request_vs_compile() {
        let start = Start::new(1);
        start.promote_osr(SITE);
        race(start.compile(), || start.promote_osr(0));
        start.broker.run_pending(usize::MAX);
        start.broker.compile_osr_now(start.bead(), TIER1, 0).unwrap();
        assert_eq!(start.broker.bead_stats(start.bead()).unwrap().variants, [(0, TIER1), (SITE, TIER1)]);
        start.end();
    }

    fn osr_release_vs_compile() {
        let start = Start::new(1);
        start.promote_osr(SITE);
        let compile = start.compile();
        let Start { broker, compiler, bead } = start;
        race(compile, || drop(bead));
        broker.prune();
        assert_eq!((broker.stats().pending, broker.stats().beads), (0, 0));
        compiler.assert_all_freed();
        let next = register(&broker, 2);
        assert_eq!(next.id().id, 0, "the slot is free again");
        broker.compile_osr_now(next.as_ref(), TIER1, 0).unwrap();
    }

    fn retire_vs_coming_online() {
        let start = Start::compiled(6);
        let (mut interpreter, bead) = start.caller();
        interpreter.offline(|| ());
        let come = move || {
            interpreter.offline(|| ());
            call(&interpreter, &bead);
        };
        race(come, || invalidate_and_collect(&start.broker, &start.bead));
        start.end();
    }

    fn retire_vs_offline_and_back() {
        let start = Start::compiled(6);
        let (mut interpreter, bead) = start.caller();
        let come = move || {
            call(&interpreter, &bead);
            interpreter.offline(|| ());
            interpreter
        };
        race(come, || invalidate_and_collect(&start.broker, &start.bead));
        start.end();
    }

    fn free_vs_call_before_quiescent() {
        let start = Start::compiled(6);
        let (mut interpreter, bead) = start.caller();
        let (mine, theirs) = Steps::pair();
        let pass = move || {
            call(&interpreter, &bead);
            theirs.reach(1);
            theirs.wait_for(2);
            interpreter.quiescent();
            theirs.reach(3);
            interpreter
        };
        race(pass, || {
            mine.wait_for(1);
            start.invalidate();
            mine.reach(2);
            mine.wait_for(3);
            start.broker.collect();
        });
        start.end();
    }

    fn free_vs_call_after_quiescent() {
        let start = Start::compiled(6);
        let (mut interpreter, bead) = start.caller();
        let (mine, theirs) = Steps::pair();
        let pass = move || {
            theirs.wait_for(1);
            interpreter.quiescent();
            theirs.reach(2);
            theirs.wait_for(3);
            call(&interpreter, &bead);
            interpreter
        };
        race(pass, || {
            start.invalidate();
            mine.reach(1);
            mine.wait_for(2);
            start.broker.collect();
            mine.reach(3);
        });
        start.end();
    }

    fn retire_vs_going_offline() {
        let start = Start::compiled(6);
        let (interpreter, bead) = start.caller();
        race(move || call(&interpreter, &bead), || invalidate_and_collect(&start.broker, &start.bead));
        start.end();
    }

    fn retire_vs_collect() {
        let start = Start::compiled(6);
        let broker = start.broker.clone();
        race(move || broker.collect(), || start.invalidate());
        start.end();
    }

    fn join_vs_collect() {
        let start = Start::new(1);
        let broker = start.broker.clone();
        race(move || broker.register_thread().unwrap(), || start.broker.collect());
        start.end();
    }

    fn post_vs_deliver() {
        let start = Start::requested(1);
        race(start.compile(), || start.broker.collect());
        start.end();
    }

    fn register_vs_walk() {
        let broker = LoomCompiler::new(None).broker(Mode::Pump);
        let registrar = broker.clone();
        race(move || register(&registrar, 5), || broker.walk(|info| assert_eq!(*info.guest, 5)));
    }

    fn release_vs_register() {
        let Start { broker, bead, .. } = Start::new(1);
        let registrar = broker.clone();
        let release = move || {
            drop(bead);
            broker.prune()
        };
        race(release, || register(&registrar, 2));
    }

    fn release_vs_compile() {
        let start = Start::requested(1);
        let compile = start.compile();
        let Start { broker, compiler, bead } = start;
        race(compile, || drop(bead));
        broker.prune();
        assert_eq!((broker.stats().pending, broker.stats().beads), (0, 0));
        compiler.assert_all_freed();
        assert_eq!(register(&broker, 2).id().id, 0, "the slot is free again");
    }

    fn release_vs_panicking_compile() {
        let start = Start::requested(PANICS);
        let compile = start.compile();
        let Start { broker, bead, .. } = start;
        race(compile, || {
            drop(bead);
            broker.prune();
        });
        broker.prune();
        assert_eq!((broker.stats().pending, broker.stats().beads), (0, 0));
    }

    fn request_vs_panicking_compile() {
        let start = Start::requested(PANICS);
        race(start.compile(), || start.promote());
        start.broker.run_pending(2);
        let stats = start.broker.bead_stats(start.bead()).unwrap();
        assert_eq!((stats.pending, stats.disabled.len()), (false, 1), "the claim is given back, the failure remembered");
        assert_eq!(start.broker.stats().pending, 0);
        start.end();
    }

    /// What the old body's compile fails at is not held against the new one.
    fn reload_vs_panicking_compile() {
        let start = Start::new(PANICS);
        race(start.compile_now(), || assert!(start.broker.reload(start.bead(), 1)));
        assert_eq!(start.broker.bead_stats(start.bead()).unwrap().disabled, []);
        start.broker.compile_now(start.bead(), TIER1).unwrap();
        start.end();
    }

    fn shutdown_vs_queued_work() {
        let start = Start::requested(1);
        race(start.compile(), || start.broker.shutdown());
        assert_eq!(start.broker.stats().pending, 0, "compiled or dropped, not forgotten");
        start.end();
    }
}

/// The worker of a background broker is about to sleep when a function is asked for: this thread sleeps until that is compiled, so
/// that a lost wake-up is a deadlock. Then the broker goes, and so must its worker.
#[test]
fn request_vs_park() {
    with_worker(|broker, bead| {
        // The worker is there from now on.
        drop(broker.register_thread().unwrap());
        thread::yield_now();
        broker.promote(bead.as_ref(), TIER1, Reason::Forced);
        thread::park();
    });
}

/// The worker is about to sleep, because no thread is online, when one comes online. What that asks for then wakes nobody: if the
/// worker was not woken before, this is a deadlock.
#[test]
fn online_vs_park() {
    with_worker(|broker, bead| {
        let mut interpreter = broker.register_thread().unwrap();
        interpreter.offline(thread::yield_now);
        assert_eq!(call(&interpreter, bead), None);
        thread::park();
    });
}

/// A thread asks, which wakes nobody, and goes; a host that tidies up takes the request out of the inbox while the worker looks there
/// for the last time before it sleeps. (This thread does not park: loom forgets that a thread was unparked when it waits for a lock then.)
#[test]
fn hand_over_vs_park() {
    with_worker(|broker, bead| {
        let interpreter = broker.register_thread().unwrap();
        assert_eq!(call(&interpreter, bead), None);
        drop(interpreter);
        broker.prune();
        while broker.pending() > 0 {
            thread::yield_now();
        }
    });
}

/// A model of a background broker, whose compiler unparks this thread. The life of its worker is long: a model lets it run where it is to
/// get to, and there are fewer preemptions than in the other models.
fn with_worker(model: impl Fn(&Broker<usize>, &Bead<usize>) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(1);
    builder.check(move || {
        let compiler = LoomCompiler::new(Some(thread::current()));
        let broker = compiler.broker(Mode::Background);
        model(&broker, &register(&broker, 1));
    });
}
