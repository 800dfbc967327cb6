//! What units assume: breaking it takes them out of use, tells the frames inside, and the ticket says when everybody has left.

mod common;

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use common::*;
use tierup_broker::{
    Assumption, Bailout, Bead, BeadSpec, Broker, CodeUnit, CompileNowError, CompileRequest, Compiler, GuardId, InterpThread,
    InvalidateReason, LossReason, Mode, POLL_BROKER, Reason, Tier, Tiered, Transition, ValidityCell,
};
use tierup_fake::{FakeCompiler, Guest, Made};

const BROKEN: Transition = Transition::Invalidated(InvalidateReason::Assumption);

struct World {
    broker: Broker<Guest>,
    compiler: FakeCompiler,
    log: Log,
}

impl World {
    fn new() -> Self {
        let (compiler, log) = (FakeCompiler::with_osr(), Log::default());
        let broker = builder(Mode::Pump, 1_000_000, &compiler).on_event(log.callback()).build().unwrap();
        World { broker, compiler, log }
    }

    fn assuming(&self, value: u64, assumption: &Assumption) -> Bead<Guest> {
        let bead = bead(&self.broker, Guest::new(value).assuming(assumption).watching());
        self.broker.compile_now(bead.as_ref(), TIER1).unwrap();
        bead
    }

    fn told(&self) -> Vec<Transition> {
        self.broker.collect();
        self.log.transitions()
    }

    fn end(self, threads: impl IntoIterator<Item = InterpThread<Guest>>) {
        threads.into_iter().for_each(drop);
        wait_for("every unit to be freed", || {
            self.broker.collect();
            self.compiler.leases().outstanding() == 0
        });
        assert_eq!((self.broker.stats().assumed, self.broker.stats().contained), (0, 0));
    }
}

fn is_asked<G: Send + Sync>(thread: &InterpThread<G>) -> bool {
    // SAFETY: the cells live as long as the handle, and the poll cell is atomic.
    let interrupt = unsafe { &(*thread.cells()).interrupt };
    interrupt.load(Ordering::SeqCst) & POLL_BROKER != 0
}

/// # Safety
///
/// The unit's lease was not dropped.
unsafe fn valid(made: &Made) -> bool {
    // SAFETY: passed on.
    unsafe { made.is_valid() }
}

#[test]
fn breaking_withdraws_what_assumed_it_and_nothing_else() {
    let world = World::new();
    let thread = world.broker.register_thread().unwrap();
    let [assumption, other] = [world.broker.assumption(), world.broker.assumption()];
    let beads = [world.assuming(1, &assumption), world.assuming(2, &assumption), world.assuming(3, &other)];
    world.broker.compile_osr_now(beads[2].as_ref(), TIER1, 0).unwrap();
    assert_eq!(world.broker.stats().assumed, 4);
    world.told();
    let made = world.compiler.made();
    let ticket = world.broker.break_assumption(&assumption);
    assert!(!assumption.holds() && other.holds());
    assert_eq!(beads.each_ref().map(|bead| invoke(&thread, bead)), [None, None, Some(3)]);
    // SAFETY: the thread has had no quiescent point.
    assert_eq!(made.iter().map(|made| unsafe { valid(made) }).collect::<Vec<_>>(), [false, false, true, true]);
    assert_eq!(world.told(), [BROKEN, BROKEN], "one event each");
    assert!(is_asked(&thread) && !ticket.is_done());
    thread.poll();
    assert!(!is_asked(&thread) && ticket.is_done());
    ticket.wait();

    // What is broken is not relied on any more.
    world.broker.compile_now(beads[0].as_ref(), TIER1).unwrap();
    assert_eq!((invoke(&thread, &beads[0]), world.broker.break_assumption(&assumption).is_done()), (Some(1), false));
    assert_eq!(invoke(&thread, &beads[0]), Some(1));
    let foreign = World::new().broker.assumption();
    assert!(world.broker.reload(beads[0].as_ref(), Guest::new(5).assuming(&foreign)));
    world.broker.compile_now(beads[0].as_ref(), TIER1).unwrap();
    assert_eq!(world.broker.stats().assumed, 4, "nor is another broker's: those of before are not freed");
    let _ = world.broker.break_assumption(&foreign);
    assert!(foreign.holds());
    drop((beads, ticket));
    world.end([thread]);
}

type Interruption = Box<dyn FnOnce() + Send>;

/// Does something in the middle of the first compile.
struct Breaks(FakeCompiler, Mutex<Option<Interruption>>);
// SAFETY: the units are the fake compiler's.
unsafe impl Compiler<Guest> for Breaks {
    fn name(&self) -> &str {
        "breaks"
    }

    fn compiles_osr(&self) -> bool {
        self.0.compiles_osr()
    }

    fn compile(&self, request: &CompileRequest<'_, Guest>) -> Result<CodeUnit, Bailout> {
        let unit = self.0.compile(request);
        if let Some(then) = self.1.lock().unwrap().take() {
            then();
        }
        unit
    }
}

/// Broken while the unit is compiled: it is refused.
#[test]
fn breaking_during_a_compile() {
    let log = Log::default();
    let interruption = Arc::new(Breaks(FakeCompiler::new(), Mutex::default()));
    let builder = Broker::builder().mode(Mode::Pump).compiler(Arc::clone(&interruption));
    let broker = builder.max_beads(8).on_event(log.callback()).build().unwrap();
    let assumption = broker.assumption();
    let bead = bead(&broker, Guest::new(1).assuming(&assumption));
    let (during, broken) = (broker.clone(), assumption.clone());
    *interruption.1.lock().unwrap() = Some(Box::new(move || during.break_assumption(&broken).wait()));
    assert_eq!(broker.compile_now(bead.as_ref(), TIER1), Err(CompileNowError::Superseded));
    assert_eq!(log.transitions().pop(), Some(Transition::Lost(LossReason::AssumptionBroken)));
    assert_eq!(broker.bead_stats(bead.as_ref()).unwrap().disabled, [], "it may be tried again");
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
}

/// What was refused is asked for again when it has been earned once more, not when the tier after it has.
#[test]
fn what_was_refused_is_asked_for_again() {
    for site in [None, Some(0)] {
        let interruption = Arc::new(Breaks(FakeCompiler::with_osr(), Mutex::default()));
        let builder = Broker::builder().mode(Mode::Pump).policy(Tiered::new(10, 1_000_000)).max_beads(8);
        let broker = builder.compiler(Arc::clone(&interruption)).compiler(FakeCompiler::new()).build().unwrap();
        let assumption = broker.assumption();
        let thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(1).assuming(&assumption));
        let (during, broken) = (broker.clone(), assumption.clone());
        *interruption.1.lock().unwrap() = Some(Box::new(move || drop(during.break_assumption(&broken))));
        match site {
            None => broker.promote(bead.as_ref(), TIER1, Reason::Forced),
            Some(site) => broker.promote_osr(bead.as_ref(), TIER1, site, Reason::Forced),
        };
        assert_eq!((broker.run_pending(1), broker.stats().tiers[0].lost), (1, 1));
        let calls = (0..100).find(|_| invoke(&thread, &bead).is_none() && broker.stats().pending > 0);
        assert!(calls.is_some_and(|calls| (9..=20).contains(&calls)), "{calls:?}");
    }
}

/// Who polls, is parked, offline, or at a quiescent point does not hold a ticket up; others do.
#[test]
fn who_holds_a_ticket_up() {
    let world = World::new();
    let [one, mut other] = [world.broker.register_thread().unwrap(), world.broker.register_thread().unwrap()];
    let assumption = world.broker.assumption();
    let ticket = || world.broker.break_assumption(&assumption);

    let first = ticket();
    one.poll();
    assert!(!first.is_done());
    other.quiescent();
    assert!(first.is_done());
    let second = ticket();
    assert!(!second.is_done() && first.is_done(), "each waits for its own");
    one.parked(|| {
        assert!(!second.is_done());
        other.offline(|| assert!(second.is_done()));
    });
    assert!(!second.is_done() || first.is_done());
    for thread in [&one, &other] {
        thread.poll();
    }
    assert!(second.is_done());

    let third = one.break_assumption(&assumption);
    other.poll();
    assert!(third.is_done(), "breaking is a poll of one's own");
    one.wait_for(&third);
    let fourth = ticket();
    drop(other);
    assert!(!fourth.is_done());
    drop(one);
    assert!(fourth.is_done());
    drop((first, second, third, fourth));
    world.end([]);
}

/// Two threads that break and wait at the same time do not wait for each other for ever.
#[test]
fn waiting_is_polling() {
    let world = World::new();
    let arrived = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let thread = world.broker.register_thread().unwrap();
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 2 {
                    thread::yield_now();
                }
                for _ in 0..many(100, 5) {
                    thread.wait_for(&thread.break_assumption(&world.broker.assumption()));
                }
            });
        }
    });
    world.end([]);
}

/// A fact that code may have compiled in, and the assumption that it stays so.
struct Fact {
    value: AtomicU64,
    assumption: Mutex<Assumption>,
}

/// "Code" that knows the fact: callers read it.
struct Knows {
    fact: Option<u64>,
    validity: *const ValidityCell,
}

// SAFETY: the cell is atomic, and lives until the lease that this is part of has been dropped.
unsafe impl Send for Knows {}
// SAFETY: as above.
unsafe impl Sync for Knows {}

struct Speculates(Arc<OnceLock<Fact>>);

// SAFETY: nobody calls these entries: callers look at the `Knows` behind them, which the lease keeps.
unsafe impl Compiler<()> for Speculates {
    fn name(&self) -> &str {
        "speculates"
    }

    fn compile(&self, request: &CompileRequest<'_, ()>) -> Result<CodeUnit, Bailout> {
        let Fact { value, assumption } = self.0.get().expect("the test sets it");
        let assumption = assumption.lock().unwrap().clone();
        let fact = request.assume(&assumption).then(|| value.load(Ordering::SeqCst));
        // Not a box: moving one would end what is derived from it.
        let code = Arc::new(Knows { fact, validity: request.validity() });
        let unit = request.unit(Arc::as_ptr(&code).cast(), 1, Box::new(code));
        Ok(if fact.is_some() { unit.assuming(&assumption) } else { unit })
    }
}

/// Mutators change a fact after their tickets are done; who is inside code that knows it, and was valid at the last poll, never sees
/// another one.
#[test]
fn a_storm_of_breaks() {
    const CHANGES: u64 = many(200, 10) as u64;
    let known = Arc::new(OnceLock::new());
    let broker = Broker::builder().mode(Mode::Pump).compiler(Speculates(Arc::clone(&known))).max_beads(8).build().unwrap();
    let fact = || known.get().expect("set");
    let assumption = Mutex::new(broker.assumption());
    assert!(known.set(Fact { value: AtomicU64::new(0), assumption }).is_ok());
    let function = broker.register((), BeadSpec { size: 1 }).unwrap();
    let (over, relied) = (AtomicBool::new(false), AtomicU64::new(0));
    let stay = |code: &Knows, thread: &InterpThread<()>| {
        for turn in 0..200 {
            if turn % 50 == 49 {
                thread.parked(thread::yield_now);
            } else if is_asked(thread) {
                thread.poll();
            }
            // SAFETY: the lease is not dropped before this thread's next quiescent point.
            if unsafe { &*code.validity }.load(Ordering::Relaxed) != 0 {
                return;
            }
            if let Some(known) = code.fact {
                relied.fetch_add(1, Ordering::Relaxed);
                assert_eq!(fact().value.load(Ordering::Relaxed), known, "changed beneath the code that relies on it");
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut thread = broker.register_thread().unwrap();
                while !over.load(Ordering::SeqCst) {
                    let _ = broker.compile_now(function.as_ref(), TIER1);
                    if let Some(code) = thread.on_invoke(function.as_ref()) {
                        // SAFETY: the compiler's entries are such, and kept until this thread's next quiescent point.
                        stay(unsafe { &*code.address().as_ptr().cast::<Knows>() }, &thread);
                    }
                    thread.quiescent();
                }
            });
        }
        let thread = broker.register_thread().unwrap();
        for change in 1..=CHANGES {
            let before = relied.load(Ordering::Relaxed);
            wait_for("somebody to rely on it", || relied.load(Ordering::Relaxed) > before);
            let old = fact().assumption.lock().unwrap().clone();
            let ticket = thread.break_assumption(&old);
            thread.wait_for(&ticket);
            fact().value.store(change, Ordering::SeqCst);
            *fact().assumption.lock().unwrap() = broker.assumption();
            // So that code that knows nothing goes as well.
            broker.invalidate(function.as_ref(), InvalidateReason::Requested);
        }
        over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn tiering_down() {
    let world = World::new();
    let thread = world.broker.register_thread().unwrap();
    let function = bead(&world.broker, Guest::guarded(1, &[GuardId(1)]).watching());
    world.broker.compile_now(function.as_ref(), TIER1).unwrap();
    world.broker.compile_osr_now(function.as_ref(), TIER1, 4).unwrap();
    world.told();
    let ticket = world.broker.tier_down(function.as_ref()).unwrap();
    assert_eq!(world.told(), [Transition::Invalidated(InvalidateReason::Debugging)]);
    // SAFETY: the thread has had no quiescent point.
    assert!(world.compiler.made().iter().all(|made| unsafe { !valid(made) }), "body and variant");
    assert_eq!((invoke(&thread, &function), thread.osr_entry(function.as_ref(), 4).is_some()), (None, false));
    assert!(is_asked(&thread) && !ticket.is_done());
    thread.poll();
    assert!(ticket.is_done());
    assert_eq!(world.broker.bead_stats(function.as_ref()).unwrap().tier, Tier::INTERPRETER);
    world.broker.compile_now(function.as_ref(), TIER1).unwrap();
    assert_eq!(invoke(&thread, &function), Some(1), "it may come back");
    assert!(World::new().broker.tier_down(function.as_ref()).is_none());
    drop((function, ticket));
    world.end([thread]);
}

/// Units that do not look at their cells are not registered, and threads are not asked.
#[test]
fn who_does_not_watch_is_not_told() {
    let world = World::new();
    let thread = world.broker.register_thread().unwrap();
    let function = bead(&world.broker, Guest::new(1));
    world.broker.compile_now(function.as_ref(), TIER1).unwrap();
    assert!(world.broker.invalidate(function.as_ref(), InvalidateReason::Requested));
    assert!(!is_asked(&thread));
    assert!(world.broker.reload(function.as_ref(), Guest::new(2).watching()));
    world.broker.compile_now(function.as_ref(), TIER1).unwrap();
    assert!(world.broker.reload(function.as_ref(), Guest::new(2)));
    assert!(is_asked(&thread));
    drop(function);
    world.end([thread]);
}

/// A frame may be inside a unit that was replaced long ago.
#[test]
fn units_that_are_not_published_any_more_are_told_as_well() {
    let (first, second) = (FakeCompiler::new(), FakeCompiler::new());
    let builder = Broker::builder().mode(Mode::Pump).compiler(first.clone()).compiler(second.clone());
    let broker = builder.max_beads(8).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let function = bead(&broker, Guest::new(1).watching());
    broker.compile_now(function.as_ref(), TIER1).unwrap();
    broker.compile_now(function.as_ref(), TIER2).unwrap();
    assert_eq!(broker.bead_stats(function.as_ref()).unwrap().resident, []);
    assert!(broker.reload(function.as_ref(), Guest::new(2)));
    // SAFETY: the thread has had no quiescent point.
    assert!([first, second].iter().all(|compiler| unsafe { !valid(&compiler.made()[0]) }));
    drop(thread);
}
