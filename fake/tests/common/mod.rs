//! What the broker tests share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tierup_broker::{
    Bailout, Bead, BeadSpec, Broker, BrokerBuilder, CodeUnit, CompileRequest, Compiler, Decision, Event, HotnessPolicy,
    InterpThread, Mode, NeverReason, Sample, Threshold, Tier, Transition,
};
use tierup_fake::{FakeCompiler, Guest, call};

pub const TIER1: Tier = Tier::new(1);
pub const TIER2: Tier = Tier::new(2);

/// `usual`, or `few` where every step is checked and takes a thousand times as long.
pub const fn many(usual: usize, few: usize) -> usize {
    if cfg!(miri) { few } else { usual }
}

/// So many milliseconds, or a hundred times as many where every step takes that long.
pub const fn millis(usual: u64) -> Duration {
    Duration::from_millis(usual * many(1, 100) as u64)
}

/// A broker on one fake compiler.
pub fn broker(mode: Mode, calls: u32) -> (Broker<Guest>, FakeCompiler) {
    let compiler = FakeCompiler::new();
    let broker = builder(mode, calls, &compiler).build().expect("the configuration is valid");
    (broker, compiler)
}

pub fn builder(mode: Mode, calls: u32, compiler: &FakeCompiler) -> BrokerBuilder<Guest> {
    Broker::builder().mode(mode).policy(Threshold { calls }).compiler(compiler.clone()).max_beads(many(1 << 20, 1 << 10) as u32)
}

/// Runs a hook while it compiles, then returns code.
pub struct Hooked<F>(pub FakeCompiler, pub F);

// SAFETY: returns the fake compiler's units.
unsafe impl<F: Fn(&CompileRequest<'_, Guest>) + Send + Sync> Compiler<Guest> for Hooked<F> {
    fn name(&self) -> &str {
        "hooked"
    }

    fn compiles_osr(&self) -> bool {
        self.0.compiles_osr()
    }

    fn compile(&self, request: &CompileRequest<'_, Guest>) -> Result<CodeUnit, Bailout> {
        let unit = self.0.compile(request);
        (self.1)(request);
        unit
    }
}

pub fn bead(broker: &Broker<Guest>, guest: Guest) -> Bead<Guest> {
    broker.register(guest, BeadSpec { size: 10 }).expect("there is room")
}

/// One call of a function, interpreted as `interpreted` unless there is native code.
pub fn invoke(thread: &InterpThread<Guest>, bead: &Bead<Guest>) -> Option<u64> {
    // SAFETY: every unit of these tests is a fake one.
    thread.on_invoke(bead.as_ref()).map(|code| unsafe { call(code.address().as_ptr()) })
}

/// Does something so often.
pub fn times<R>(times: usize, mut what: impl FnMut() -> R) {
    for _ in 0..times {
        let _ = what();
    }
}

/// Calls until native code runs, and says how many calls were interpreted.
pub fn calls_until_native(thread: &InterpThread<Guest>, bead: &Bead<Guest>, most: usize) -> Option<usize> {
    (0..most).find(|_| invoke(thread, bead).is_some())
}

/// Collects events.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    pub fn callback(&self) -> Arc<dyn Fn(&Event) + Send + Sync> {
        let log = self.clone();
        Arc::new(move |event| log.0.lock().unwrap().push(event.clone()))
    }

    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub fn transitions(&self) -> Vec<Transition> {
        self.take().into_iter().map(|event| event.what).collect()
    }
}

/// Never promotes.
#[derive(Debug)]
pub struct Refuses;

impl HotnessPolicy for Refuses {
    fn first_budget(&self, _: Tier, _: u32) -> u32 {
        0
    }

    fn decide(&self, _: &Sample) -> Decision {
        Decision::Never { reason: NeverReason::Excluded }
    }
}

/// Waits until `done`, at most ten seconds; under Miri, by whose clock a step takes five microseconds, ten minutes.
#[track_caller]
pub fn wait_for(what: &str, done: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(many(10, 600) as u64), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
