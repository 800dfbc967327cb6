//! What an embedder can ask for, is told, and gets wrong, beside the life of a function.

mod common;

use std::{
    ptr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::*;
use tierup_broker::{
    Bailout, BailoutKind, BailoutReason, BeadSpec, Broker, BrokerBuilder, CALL_WORK, CodeUnit, CompileRequest, Compiler,
    ConfigError, Crossing, GuardId, InvalidateReason, LossReason, ManualClock, Mode, POLL_BROKER, Placement, Progress, Reason,
    StackReport, ThreadCells, Threshold, Tier, Tiered, Transition, WarmUpTime, Work,
};
use tierup_fake::{Behaviour, FakeCompiler, Guest};

/// Shows its requests to the test, then compiles.
struct Shows<F>(FakeCompiler, F);

// SAFETY: returns the fake compiler's units.
unsafe impl<F: Fn(&CompileRequest<'_, Guest>) + Send + Sync> Compiler<Guest> for Shows<F> {
    fn name(&self) -> &str {
        "shows"
    }

    fn compile(&self, request: &CompileRequest<'_, Guest>) -> Result<CodeUnit, Bailout> {
        (self.1)(request);
        self.0.compile(request)
    }

    fn wants_warm_up(&self) -> WarmUpTime {
        WarmUpTime::AtStart
    }

    fn warm_up(&self) {
        std::panic::panic_any("warming up panics, too".to_owned());
    }
}

#[test]
fn a_compiler_is_told_what_it_compiles() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let callee = Arc::new(OnceLock::new());
    let callees = Arc::clone(&callee);
    let shows = Shows(FakeCompiler::new(), move |request: &CompileRequest<'_, Guest>| {
        let asked = (request.bead(), request.running(), request.tier(), request.size(), request.deadline().is_some());
        let callee: &tierup_broker::Bead<Guest> = callees.get().unwrap();
        let callee = request.callee(callee.as_ref()).unwrap();
        let of_callee = (callee.id(), callee.tier(), callee.size(), callee.is_suppressed(GuardId(1)));
        seen.lock().unwrap().push((asked, of_callee, format!("{request:?} {callee:?}")));
    });
    // In an `Arc`, as a compiler that several brokers share.
    let broker = Broker::builder().mode(Mode::Sync).policy(Threshold { calls: 4 }).compiler(Arc::new(shows)).max_beads(8);
    let broker = broker.build().unwrap();
    assert_eq!(broker.stats().tiers[0].name, "shows");
    let _ = callee.set(broker.register(Guest::new(2), BeadSpec { size: 20 }).unwrap());
    let bead = bead(&broker, Guest::new(1));
    let thread = broker.register_thread().unwrap();
    times(5, || invoke(&thread, &bead));
    assert_eq!(invoke(&thread, &bead), Some(1), "a warm-up that panics hurts nobody");
    let told = std::mem::take(&mut *told.lock().unwrap());
    let [(asked, of_callee, text)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*asked, (bead.id(), Tier::INTERPRETER, TIER1, 10, true));
    assert_eq!(*of_callee, (callee.get().unwrap().id(), Tier::INTERPRETER, 20, false));
    assert!(text.contains("CompileRequest") && text.contains("Callee(#0.1)"), "{text}");
}

/// Whoever prints what it holds waits for nobody, also in the midst of a compile, and learns something.
#[test]
fn everything_can_be_shown() {
    let compiler = FakeCompiler::new();
    let builder = builder(Mode::Sync, 0, &compiler);
    assert!(format!("{builder:?}").contains("mode: Sync"));
    let broker = builder.build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    let code = thread.on_invoke(bead.as_ref()).unwrap();
    let ticket =
        broker.invalidate(bead.as_ref(), InvalidateReason::Requested).then(|| broker.break_assumption(&broker.assumption()));
    let mut report = StackReport::default();
    report.add(compiler.made()[0].id);
    let shown = [
        (format!("{broker:?}"), "mode: Sync"),
        (format!("{bead:?} {:?}", bead.as_ref()), "Bead(#0.1) BeadRef(#0)"),
        (format!("{code:?}"), "tier: Tier(1)"),
        (format!("{thread:?}"), "InterpThread"),
        (format!("{:?}", broker.assumption()), "holds: true"),
        (format!("{:?}", ticket.unwrap()), "is_done"),
        (format!("{report:?} {}", report.units()), "StackReport"),
        (format!("{:?}", broker.subscribe(|_| ())), "Subscription("),
        (format!("{} {}", GuardId(16), compiler.made()[0].id), "guard 0x10 unit"),
        (format!("{:?}", ManualClock::default()), "ManualClock(0ns)"),
        (
            format!("{} {} {}", Placement::Anywhere, Placement::InterpreterOnly, Placement::CheckOnly),
            "anywhere interpreter only check only",
        ),
        (format!("{}, {}", Placement::UpTo(TIER1), Placement::NativeOnly(TIER1)), "up to tier 1, native only, tier 1 at least"),
    ];
    for (text, part) in shown {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
    assert_eq!((bead.code_cell(), broker.pending()), (bead.as_ref().code_cell(), 0));
}

#[test]
fn time_is_what_the_clock_says() {
    let (clock, log) = (ManualClock::new(), Log::default());
    let builder = builder(Mode::Pump, 0, &FakeCompiler::new()).clock(clock.clone()).on_event(log.callback());
    let broker = builder.build().unwrap();
    let beads = [1, 2].map(|value| bead(&broker, Guest::new(value)));
    broker.promote(beads[0].as_ref(), TIER1, Reason::Budget);
    let [earlier, later] = [600, 700].map(Duration::from_millis);
    clock.set(later);
    clock.set(earlier);
    assert_eq!(clock.now(), later, "time does not run backwards");
    broker.run_pending(1);
    let installed = log.take().into_iter().find(|event| event.what == Transition::Installed).unwrap();
    assert_eq!((installed.time, installed.queue_wait, installed.cost), (later, later, Duration::ZERO));
    #[cfg(feature = "threads")]
    {
        broker.promote(beads[1].as_ref(), TIER1, Reason::Budget);
        broker.run_pending(0);
        clock.set(later + Duration::from_secs(2));
        broker.drain();
        assert!(log.transitions().contains(&Transition::Dropped(LossReason::Stale)), "by that clock it went cold");
    }
}

#[test]
fn all_work_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let builder = builder(Mode::Sync, u32::MAX - 1, &FakeCompiler::new());
    let broker = builder.on_work(move |guest, work| seen.lock().unwrap().push((guest.value, work))).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(7));
    invoke(&thread, &bead);
    times(2, || thread.on_back_edge(bead.as_ref(), 3, 50).is_none());
    let work = [Work::new(None, CALL_WORK), Work::new(Some(3), 50), Work::new(Some(3), 50)];
    assert_eq!(*told.lock().unwrap(), work.map(|work| (7, work)));
}

#[test]
fn what_is_out_of_range_is_named() {
    let with = |compilers: usize| (0..compilers).map(|_| FakeCompiler::new()).fold(Broker::builder(), BrokerBuilder::compiler);
    assert_eq!(with(8).build().err(), Some(ConfigError::TooManyCompilers { given: 8, limit: 7 }));
    assert_eq!(with(1).max_beads(0).build().err(), Some(ConfigError::MaxBeads { given: 0, limit: 1 << 28 }));
    assert_eq!(with(7).max_beads(1).bridge(ptr::dangling()).build().err(), None);
}

#[test]
fn a_bead_of_another_broker_is_refused() {
    let (broker, _) = broker(Mode::Sync, 0);
    let (other, _) = common::broker(Mode::Sync, 0);
    let [ours, theirs] = [&broker, &other].map(|broker| bead(broker, Guest::new(1)));
    let stranger = theirs.as_ref();
    let done = [
        broker.reload(stranger, Guest::new(2)),
        broker.update_guest(stranger, Guest::new(2)),
        broker.disable(stranger),
        broker.limit_tier(stranger, TIER1),
        broker.apply_rules(stranger),
        broker.scale_thresholds(stranger, 2.0),
        broker.invalidate(stranger, InvalidateReason::Requested),
    ];
    assert_eq!(done, [false; 7]);
    assert_eq!(broker.note_call(stranger, ours.as_ref()), Crossing::None);
    assert_eq!(broker.note_call(ours.as_ref(), stranger), Crossing::None);
}

#[test]
fn every_reason_has_its_kind() {
    let text = String::new;
    let reasons = [
        BailoutReason::Verifier { message: text() },
        BailoutReason::InvalidGuest { message: text() },
        BailoutReason::UnknownSymbol { name: text() },
        BailoutReason::StackExhausted,
        BailoutReason::FrameTooLarge { bytes: 2, limit: 1 },
        BailoutReason::TooLarge { size: 2, limit: 1 },
    ];
    let kinds = [
        BailoutKind::Verifier,
        BailoutKind::InvalidGuest,
        BailoutKind::UnknownSymbol,
        BailoutKind::StackExhausted,
        BailoutKind::FrameTooLarge,
        BailoutKind::TooLarge,
    ];
    assert_eq!(reasons.map(|reason| reason.kind()), kinds);
}

/// What the cells of a thread do before an embedder sets any hook: unwind, and nothing.
#[test]
fn cells_without_hooks() {
    let mut wide = [0; 4];
    let cells = ThreadCells::new(ptr::null_mut(), wide.as_mut_ptr());
    let at = (&raw const cells).cast_mut();
    cells.limit_stack(4096);
    // SAFETY: the hooks that a new record has follow no pointer but that to the cells.
    unsafe {
        assert_eq!((cells.bridge)(ptr::null_mut(), 0, ptr::null_mut()), 1);
        assert_eq!((cells.finish)(ptr::null_mut(), 0, ptr::null_mut(), 0), 1);
        assert_eq!((cells.on_count)(ptr::null_mut(), 0, 0, 0), 0);
        (cells.on_trap)(at);
        ThreadCells::raise(at, POLL_BROKER | 8);
        assert_eq!(cells.stack_limit.load(Ordering::Relaxed), usize::MAX, "prologues come to look");
        assert_eq!(cells.lower(8), POLL_BROKER);
        assert_eq!(cells.stack_limit.load(Ordering::Relaxed), usize::MAX, "something is left to look at");
        assert_eq!((cells.on_poll)(at), 0);
    }
    assert_eq!((cells.stack_limit.load(Ordering::Relaxed), cells.stack_floor()), (4096, 4096));
}

#[test]
fn why_tells_of_loops_placement_scale_and_what_is_being_compiled() {
    let compiler = FakeCompiler::with_osr();
    let hangs = FakeCompiler::new();
    let builder = Broker::builder().mode(Mode::Pump).policy(Tiered::new(10, 100)).max_beads(8).deadline(None);
    let broker = builder.compiler(compiler).compiler(hangs.clone()).build().unwrap();
    let bead = bead(&broker, Guest::new(1));
    broker.place(bead.as_ref(), Placement::UpTo(TIER2)).unwrap();
    assert!(broker.scale_thresholds(bead.as_ref(), 2.0));
    broker.compile_osr_now(bead.as_ref(), TIER1, 3).unwrap();
    broker.promote_osr(bead.as_ref(), TIER1, 4, Reason::Forced);
    broker.run_pending(0);
    let text = broker.why(bead.id()).unwrap().to_string();
    for line in [
        "from loop 3 on: tier 1",
        "placed: up to tier 2",
        "its thresholds are multiplied by 2",
        "tier 1 from loop 4 on: in the queue, 0 of 1",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    broker.drain();
    assert!(broker.update_guest(bead.as_ref(), Guest::behaving(1, Behaviour::Hangs)));
    std::thread::scope(|scope| {
        let compiling = scope.spawn(|| broker.compile_now(bead.as_ref(), TIER2));
        wait_for("the compile to begin", || hangs.compiles() == 1);
        let why = broker.why(bead.id()).unwrap();
        assert_eq!(why.requests.iter().map(|request| request.progress).collect::<Vec<_>>(), [Progress::Compiling]);
        assert!(why.to_string().contains("tier 2: being compiled"), "{why}");
        hangs.release_hung();
        assert_eq!(compiling.join().unwrap(), Ok(()));
    });
}

/// A panic's payload may itself panic when it is dropped.
#[test]
fn a_payload_that_panics_is_let_go() {
    struct Grenade(Arc<AtomicUsize>);
    impl Drop for Grenade {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            std::panic::resume_unwind(Box::new("again"));
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&dropped);
    let throws = move |_: &CompileRequest<'_, Guest>| std::panic::resume_unwind(Box::new(Grenade(Arc::clone(&counts))));
    let builder = Broker::builder().mode(Mode::Sync).policy(Threshold { calls: 0 }).max_beads(8);
    let broker = builder.compiler(Shows(FakeCompiler::new(), throws)).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    times(3, || invoke(&thread, &bead));
    assert_eq!(broker.stats().tiers[0].bailouts, [(BailoutKind::Panicked, 1)]);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}
