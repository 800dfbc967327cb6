//! Code that is retired beneath native frames which never return: freed when no thread has it on its stack.

mod common;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use common::*;
use tierup_broker::{
    Bailout, Bead, BeadSpec, Broker, CodeUnit, CompileRequest, Compiler, InterpThread, InvalidateReason, Mode, POLL_BROKER,
    StackReport, UnitId,
};
use tierup_fake::{FakeCompiler, Guest};

/// Bytes that may wait in these tests: about 15 units.
const BUDGET: u64 = 64 << 10;

struct World {
    broker: Broker<Guest>,
    compiler: FakeCompiler,
    main: Bead<Guest>,
}

impl World {
    fn new(mode: Mode) -> Self {
        let compiler = FakeCompiler::with_osr();
        let broker = builder(mode, 1_000_000, &compiler).census_after(BUDGET).build().unwrap();
        let main = bead(&broker, Guest::new(1));
        broker.compile_now(main.as_ref(), TIER1).unwrap();
        World { broker, compiler, main }
    }

    /// A thread that is in native code of `main`.
    fn thread(&self) -> (InterpThread<Guest>, UnitId) {
        let thread = self.broker.register_thread().unwrap();
        assert_eq!(invoke(&thread, &self.main), Some(1));
        (thread, self.compiler.made()[0].id)
    }

    /// Replaces a function's code.
    fn renew(&self, function: &Bead<Guest>) -> UnitId {
        assert!(self.broker.reload(function.as_ref(), Guest::new(2)));
        self.broker.compile_now(function.as_ref(), TIER1).unwrap();
        self.latest()
    }

    fn latest(&self) -> UnitId {
        self.compiler.made().last().unwrap().id
    }

    fn outstanding(&self) -> usize {
        self.broker.collect();
        self.compiler.leases().outstanding()
    }

    /// Retires enough code for a census to be asked for, at least.
    fn retire(&self, function: &Bead<Guest>) {
        for _ in 0..20 {
            self.renew(function);
        }
        self.broker.collect();
    }
}

fn is_asked<G: Send + Sync>(thread: &InterpThread<G>) -> bool {
    // SAFETY: the cells live as long as the handle, and the poll cell is atomic.
    let interrupt = unsafe { &(*thread.cells()).interrupt };
    interrupt.load(Ordering::SeqCst) & POLL_BROKER != 0
}

/// Polls, with frames of these units on the stack. Says whether they were asked for.
fn poll<G: Send + Sync>(thread: &InterpThread<G>, frames: &[UnitId]) -> bool {
    let mut walked = false;
    let walk = |report: &mut StackReport| {
        frames.iter().for_each(|&unit| report.add(unit));
        walked = true;
    };
    // SAFETY: these tests hold no code but what they tell.
    unsafe { thread.poll_with(walk) };
    walked
}

#[test]
fn code_is_bounded_beneath_a_main_that_never_returns() {
    const TURNS: usize = many(2_000, 100);
    for mode in [Mode::Pump, Mode::Sync] {
        let world = World::new(mode);
        let (thread, main) = world.thread();
        let function = bead(&world.broker, Guest::new(2));
        for turn in 0..TURNS {
            world.renew(&function);
            assert_eq!(invoke(&thread, &function), Some(2));
            if is_asked(&thread) {
                assert!(poll(&thread, &[main]));
            }
            assert!(world.outstanding() < 40, "after {turn}: {}", world.compiler.leases().outstanding());
        }
        let stats = world.broker.stats();
        assert!(stats.waiting < 40 && stats.code_retired < 40 * 64, "{stats:?}");
        assert!(
            (TURNS as u64 / 20..TURNS as u64 / 10).contains(&stats.censuses),
            "a census for each {BUDGET} bytes: {}",
            stats.censuses
        );
        assert_eq!((stats.code_on_stack, world.compiler.made().len()), (0, TURNS + 1));
        drop((function, world.main));
        drop(thread);
        world.broker.collect();
        assert_eq!(world.compiler.leases().outstanding(), 0);
    }
}

/// What is told stays, with as many versions as it was ever part of gone, until it is not told any more.
#[test]
fn what_is_on_a_stack_stays_until_it_is_not() {
    let world = World::new(Mode::Pump);
    let (thread, main) = world.thread();
    let function = bead(&world.broker, Guest::new(2));
    world.broker.compile_now(function.as_ref(), TIER1).unwrap();
    let old = world.latest();
    for _ in 0..100 {
        assert!(world.broker.update_guest(function.as_ref(), Guest::new(2)));
    }
    world.retire(&function);
    assert!(poll(&thread, &[main, old, main]));
    assert!(!poll(&thread, &[main, old]), "once is enough");
    assert_eq!(world.outstanding(), 3, "main, the old body and the new one");
    let stats = world.broker.stats();
    assert_eq!((stats.waiting, stats.code_on_stack, stats.code_retired), (1, 64, 64));

    // A second one, in which it is still there, and one in which it is not.
    world.retire(&function);
    assert!(poll(&thread, &[old, main]));
    assert_eq!((world.outstanding(), world.broker.stats().waiting), (3, 1));
    world.retire(&function);
    assert!(poll(&thread, &[main]));
    assert_eq!((world.outstanding(), world.broker.stats().waiting, world.broker.stats().code_on_stack), (2, 0, 0));

    // `main` itself.
    assert!(world.broker.invalidate(world.main.as_ref(), InvalidateReason::Requested));
    world.retire(&function);
    assert!(poll(&thread, &[main]));
    assert_eq!((world.outstanding(), world.broker.stats().code_on_stack), (2, 64));
    drop(thread);
    assert_eq!((world.outstanding(), world.broker.stats().waiting), (1, 0), "the thread is gone");
}

#[test]
fn quiescence_and_being_offline_end_what_a_report_holds() {
    let world = World::new(Mode::Pump);
    let (mut thread, _) = world.thread();
    let function = bead(&world.broker, Guest::new(2));
    for offline in [false, true] {
        let old = world.renew(&function);
        world.retire(&function);
        assert!(poll(&thread, &[old]));
        assert_eq!(world.outstanding(), 3);
        if offline {
            thread.offline(|| assert_eq!(world.outstanding(), 2));
        } else {
            thread.quiescent();
        }
        assert_eq!(world.outstanding(), 2);
    }
}

/// A thread between calls holds nothing, and is not waited for.
#[test]
fn at_rest() {
    for mode in [Mode::Pump, Mode::Sync] {
        let world = World::new(mode);
        let ((one, main), (mut other, _)) = (world.thread(), world.thread());
        let function = bead(&world.broker, Guest::new(2));
        // SAFETY: it is not used before it wakes.
        unsafe { other.rest() };
        world.retire(&function);
        assert!(poll(&one, &[main]));
        assert_eq!(world.outstanding(), 2);
        other.wake();
        assert_eq!(invoke(&other, &function), Some(2));
        world.retire(&function);
        assert!(poll(&one, &[main]));
        assert_eq!(world.outstanding(), 22, "{mode:?}");
        // SAFETY: as above.
        unsafe { other.rest() };
        assert_eq!(world.outstanding(), 2);
        drop(one);
    }
}

/// Everybody who is online has to answer; who cannot tell what is on its stack keeps everything, as without a census.
#[test]
fn one_that_does_not_answer_keeps_everything() {
    let world = World::new(Mode::Pump);
    let ((one, main), (mut other, _)) = (world.thread(), world.thread());
    let function = bead(&world.broker, Guest::new(2));
    world.retire(&function);
    assert!(is_asked(&one) && is_asked(&other));
    assert!(poll(&one, &[main]));
    other.poll();
    assert!(!is_asked(&other), "it is not known to be able to");
    assert_eq!(world.outstanding(), 21);
    assert!(!poll(&one, &[main]));
    other.quiescent();
    assert_eq!(world.outstanding(), 2);
    world.retire(&function);
    assert!(poll(&other, &[]), "from now on it is");
    other.poll();
    assert!(poll(&one, &[]));
    assert_eq!(world.outstanding(), 2);
}

/// A poll that cannot answer does not take the question back.
#[test]
fn the_question_waits_for_who_can_answer() {
    let world = World::new(Mode::Pump);
    let (thread, main) = world.thread();
    let function = bead(&world.broker, Guest::new(2));
    world.retire(&function);
    assert!(poll(&thread, &[main]));
    world.retire(&function);
    let ticket = world.broker.break_assumption(&world.broker.assumption());
    thread.poll();
    assert!(ticket.is_done() && is_asked(&thread));
    assert!(poll(&thread, &[main]) && !is_asked(&thread));
    assert_eq!(world.outstanding(), 2);
}

/// A parked thread has said before what it holds; back from there, it answers again.
#[test]
fn parked() {
    let world = World::new(Mode::Pump);
    let (thread, main) = world.thread();
    let function = bead(&world.broker, Guest::new(2));
    let old = world.renew(&function);
    let walk = |report: &mut StackReport| [main, old].into_iter().for_each(|unit| report.add(unit));
    let wait = || {
        for _ in 0..5 {
            world.retire(&function);
            assert_eq!((world.outstanding(), world.broker.stats().waiting), (3, 1), "nobody has to be asked");
        }
    };
    // SAFETY: these tests hold no code but what they tell.
    unsafe { thread.parked_with(walk, wait) };
    world.retire(&function);
    assert_eq!(world.outstanding(), 23);
    assert!(is_asked(&thread) && poll(&thread, &[main]));
    assert_eq!(world.outstanding(), 2);

    // Without a report everything stays.
    thread.parked(|| {
        world.retire(&function);
        assert_eq!(world.outstanding(), 22);
    });
    // And one of before is not taken for one of now.
    assert!(poll(&thread, &[]));
    assert_eq!(world.outstanding(), 2);
    thread.parked(|| {
        world.retire(&function);
        assert_eq!(world.outstanding(), 22);
    });
}

/// Code on the stack may name the slots of released beads.
#[test]
fn slots_wait_for_quiescence() {
    let world = World::new(Mode::Pump);
    let (mut thread, main) = world.thread();
    for _ in 0..20 {
        let function = bead(&world.broker, Guest::new(2));
        world.broker.compile_now(function.as_ref(), TIER1).unwrap();
    }
    world.broker.collect();
    assert!(poll(&thread, &[main]));
    assert_eq!((world.outstanding(), world.broker.stats().waiting), (1, 20));
    thread.quiescent();
    world.broker.collect();
    assert_eq!(world.broker.stats().waiting, 0);
}

#[test]
fn nobody_is_asked_without_a_budget() {
    let compiler = FakeCompiler::new();
    let broker = builder(Mode::Pump, 1_000_000, &compiler).census_after(None).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let function = bead(&broker, Guest::new(2));
    for _ in 0..100 {
        broker.compile_now(function.as_ref(), TIER1).unwrap();
        assert!(broker.invalidate(function.as_ref(), InvalidateReason::Requested));
    }
    broker.collect();
    assert!(!is_asked(&thread) && !poll(&thread, &[]));
    assert_eq!((compiler.leases().outstanding(), broker.stats().censuses), (100, 0));
}

/// "Code" that is never unmapped, but knows that it was freed.
#[derive(Default)]
struct Code {
    unit: Mutex<Option<UnitId>>,
    freed: AtomicBool,
}

struct Mapping(&'static Code, &'static AtomicUsize);

impl Drop for Mapping {
    fn drop(&mut self) {
        assert!(!self.0.freed.swap(true, Ordering::SeqCst), "freed twice");
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

struct Leaks(&'static AtomicUsize);

// SAFETY: nobody calls these entries: callers look at the `Code` behind them, which is never freed.
unsafe impl Compiler<()> for Leaks {
    fn name(&self) -> &str {
        "leaks"
    }

    fn compile(&self, request: &CompileRequest<'_, ()>) -> Result<CodeUnit, Bailout> {
        let code: &'static Code = Box::leak(Box::default());
        *code.unit.lock().unwrap() = Some(request.unit_id());
        Ok(request.unit(std::ptr::from_ref(code).cast(), 64, Box::new(Mapping(code, self.0))))
    }
}

/// Threads whose stacks never become empty, and others that replace what they run: nobody ever returns to code that is gone, and
/// what waits is bounded.
#[test]
fn a_storm_beneath_native_frames() {
    const THREADS: usize = 3;
    const FUNCTIONS: usize = 4;
    const CHANGES: usize = many(4_000, 60);
    /// Of each thread.
    const DEEPEST: usize = many(12, 5);
    /// What waits is what is on the stacks, at most, and what a census is asked for.
    const WAITING: usize = many(200, 25);
    const ASKED_AFTER: u64 = many(BUDGET as usize, 8 << 10) as u64;
    /// Who parks reports. Where threads make dozens of steps for each change, all would have reported before they are asked.
    const PARKS_ONE_IN: u64 = many(1, 64) as u64;
    let freed: &'static AtomicUsize = Box::leak(Box::default());
    let broker =
        Broker::builder().mode(Mode::Pump).compiler(Leaks(freed)).census_after(ASKED_AFTER).max_beads(8).build().unwrap();
    let functions: Vec<_> = (0..FUNCTIONS).map(|_| broker.register((), BeadSpec { size: 1 }).unwrap()).collect();
    let over = AtomicBool::new(false);
    let renew = |at: usize| {
        broker.invalidate(functions[at % FUNCTIONS].as_ref(), InvalidateReason::Requested);
        let _ = broker.compile_now(functions[at % FUNCTIONS].as_ref(), TIER1);
    };
    let run = |seed: u64| {
        let mut handle = broker.register_thread().unwrap();
        let mut random = seed;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut stack: Vec<&'static Code> = Vec::new();
        let mut answers = 0;
        while !over.load(Ordering::SeqCst) {
            assert!(stack.iter().all(|code| !code.freed.load(Ordering::SeqCst)), "a frame of code that was freed");
            if next(50) == 0 && stack.is_empty() {
                handle.quiescent();
            }
            let thread = &handle;
            let walk = |report: &mut StackReport| {
                stack.iter().for_each(|code| report.add(code.unit.lock().unwrap().expect("compiled")));
                answers += 1;
            };
            match next(8) {
                // SAFETY: what the thread holds is on its stack.
                0 if next(PARKS_ONE_IN) == 0 => unsafe { thread.parked_with(walk, thread::yield_now) },
                1 => thread.parked(thread::yield_now),
                // SAFETY: as above.
                2 if is_asked(thread) => unsafe { thread.poll_with(walk) },
                3 | 4 if stack.len() > 1 => drop(stack.pop()),
                _ if stack.len() < DEEPEST => {
                    if let Some(code) = thread.on_invoke(functions[next(FUNCTIONS as u64) as usize].as_ref()) {
                        // SAFETY: the compiler's entries are such, and never unmapped.
                        let code = unsafe { &*code.address().as_ptr().cast::<Code>() };
                        assert!(!code.freed.load(Ordering::SeqCst), "entered after it was freed");
                        stack.push(code);
                    }
                }
                _ => {}
            }
        }
        answers
    };
    /// Lets the threads go, also when something fails here.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    thread::scope(|scope| {
        let end = Over(&over);
        let threads: Vec<_> = (0..THREADS as u64).map(|seed| scope.spawn(move || run(seed))).collect();
        for change in 0..CHANGES {
            renew(change);
            broker.collect();
            if change % 16 == 0 {
                thread::yield_now();
            }
        }
        wait_for("the last census", || {
            renew(0);
            broker.collect();
            broker.stats().waiting < WAITING
        });
        drop(end);
        threads.into_iter().for_each(|thread| assert!(thread.join().unwrap() > 0));
    });
    assert!(broker.stats().censuses > 3);
    assert!(freed.load(Ordering::SeqCst) > CHANGES / 2, "{}", freed.load(Ordering::SeqCst));
}
