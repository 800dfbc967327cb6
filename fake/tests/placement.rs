//! Where functions may run, and who calls across.

mod common;

use common::*;
use tierup_broker::{Broker, CompileNowError, Crossing, Mode, Placement, Tiered, Transition};
use tierup_fake::{Behaviour, FakeCompiler, Guest};

fn placed(log: &Log) -> (Broker<Guest>, FakeCompiler) {
    let compiler = FakeCompiler::new();
    let builder = Broker::builder().mode(Mode::Sync).policy(Tiered::new(3, 3)).max_beads(64).on_event(log.callback());
    let builder = builder.compiler(compiler.clone()).compiler(FakeCompiler::new()).describe(|guest| format!("f{}", guest.value));
    (builder.build().unwrap(), compiler)
}

#[test]
fn each_placement_keeps_to_its_tiers() {
    let (broker, compiler) = placed(&Log::default());
    let thread = broker.register_thread().unwrap();
    let [interpreted, baseline, anywhere, checked] = [1, 2, 3, 4].map(|value| bead(&broker, Guest::new(value)));
    broker.place(interpreted.as_ref(), Placement::InterpreterOnly).unwrap();
    broker.place(baseline.as_ref(), Placement::UpTo(TIER1)).unwrap();
    broker.place(checked.as_ref(), Placement::CheckOnly).unwrap();
    for bead in [&interpreted, &baseline, &anywhere, &checked] {
        times(100, || invoke(&thread, bead));
    }
    let tiers = [&interpreted, &baseline, &anywhere, &checked].map(|bead| broker.bead_stats(bead.as_ref()).unwrap().tier.index());
    assert_eq!(tiers, [0, 1, 2, 0]);
    assert_eq!(broker.placement(baseline.as_ref()), Some(Placement::UpTo(TIER1)));
    let compiles = compiler.compiles();
    assert_eq!(broker.check(checked.as_ref(), TIER1), Ok(64), "it can be compiled");
    assert_eq!((compiler.compiles(), invoke(&thread, &checked)), (compiles + 1, None), "and is not run");
    assert!(matches!(broker.compile_now(checked.as_ref(), TIER1), Err(CompileNowError::Disabled(TIER1))));
}

#[test]
fn a_check_says_why_not() {
    let (broker, compiler) = placed(&Log::default());
    let broken = bead(&broker, Guest::behaving(1, Behaviour::Terminal));
    broker.place(broken.as_ref(), Placement::CheckOnly).unwrap();
    assert!(matches!(broker.check(broken.as_ref(), TIER1), Err(CompileNowError::Bailout(_))));
    assert!(matches!(broker.check(broken.as_ref(), tierup_broker::Tier::new(5)), Err(CompileNowError::NoSuchTier(_))));
    let fine = bead(&broker, Guest::new(2));
    broker.check(fine.as_ref(), TIER1).unwrap();
    assert_eq!((compiler.leases().outstanding(), broker.stats().code_live), (0, 0), "what was checked is freed");
}

#[test]
fn native_only_is_compiled_before_its_first_run_or_an_error() {
    let (broker, _) = placed(&Log::default());
    let thread = broker.register_thread().unwrap();
    let native = bead(&broker, Guest::new(1));
    broker.place(native.as_ref(), Placement::NativeOnly(TIER2)).unwrap();
    assert_eq!(thread.on_invoke(native.as_ref()).map(|code| code.tier()), Some(TIER2), "the first call");
    broker.reload(native.as_ref(), Guest::new(2));
    assert_eq!(thread.on_invoke_native(native.as_ref()).map(|code| code.tier()), Ok(TIER2), "and the first after a reload");
    let broken = bead(&broker, Guest::behaving(1, Behaviour::Terminal));
    assert!(matches!(broker.place(broken.as_ref(), Placement::NativeOnly(TIER1)), Err(CompileNowError::Bailout(_))));
    assert_eq!(broker.placement(broken.as_ref()), Some(Placement::Anywhere), "nothing was declared");
    assert!(thread.on_invoke_native(broken.as_ref()).is_err());
}

#[test]
fn calls_across_are_counted_and_told_once_unless_declared() {
    let log = Log::default();
    let (broker, _) = placed(&log);
    let [interpreted, native, other, anywhere] = [1, 2, 3, 4].map(|value| bead(&broker, Guest::new(value)));
    broker.place(interpreted.as_ref(), Placement::InterpreterOnly).unwrap();
    for bead in [&native, &other] {
        broker.place(bead.as_ref(), Placement::NativeOnly(TIER1)).unwrap();
    }
    log.take();
    assert!(broker.declare_bridge(native.as_ref(), interpreted.as_ref()));
    let call = |caller: &tierup_broker::Bead<Guest>, callee: &tierup_broker::Bead<Guest>| {
        broker.note_call(caller.as_ref(), callee.as_ref())
    };
    assert_eq!([call(&native, &other), call(&anywhere, &native), call(&interpreted, &anywhere)], [Crossing::None; 3]);
    assert_eq!([call(&native, &interpreted), call(&native, &interpreted)], [Crossing::Declared; 2]);
    assert_eq!([call(&interpreted, &other), call(&interpreted, &other)], [Crossing::Undeclared; 2]);
    broker.collect();
    let events = log.take();
    assert_eq!(events.len(), 1, "told once: {events:?}");
    assert_eq!(
        (events[0].name.as_str(), &events[0].what),
        ("f1", &Transition::Crossed { callee: other.id(), name: "f3".to_owned() })
    );
    assert_eq!(events[0].what.to_string(), "calls f3 across placements, which nobody declared");
    let listed: Vec<_> = broker
        .bridges()
        .into_iter()
        .map(|bridge| (bridge.caller_name, bridge.callee_name, bridge.declared, bridge.calls))
        .collect();
    assert_eq!(listed, [("f1".to_owned(), "f3".to_owned(), false, 2), ("f2".to_owned(), "f1".to_owned(), true, 2)]);
}

#[test]
fn other_brokers_beads_are_refused() {
    let [(here, _), (there, _)] = [placed(&Log::default()), placed(&Log::default())];
    let foreign = bead(&there, Guest::new(1));
    assert_eq!(here.place(foreign.as_ref(), Placement::InterpreterOnly), Err(CompileNowError::ForeignBead));
    assert_eq!(here.check(foreign.as_ref(), TIER1), Err(CompileNowError::ForeignBead));
    assert_eq!(here.placement(foreign.as_ref()), None);
    assert!(!here.declare_bridge(foreign.as_ref(), foreign.as_ref()));
}
