//! One broker, its functions and threads, from the first to the last.

use std::{
    panic::resume_unwind,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tierup_broker::{
    Assumption, Bead, BeadSpec, Broker, BrokerBuilder, DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason, DeoptSample, Event,
    GuardId, InterpThread, InvalidateReason, Mode, Reason, Tier, Tiered, Transition, UnitKind,
};

use crate::{
    compiler::{Chaotic, Code, DEADLINE},
    random::Random,
};

pub(crate) const GUARD: GuardId = GuardId(1);
const TIERS: [Tier; 2] = [Tier::new(1), Tier::new(2)];
const FUNCTIONS: usize = if cfg!(miri) { 3 } else { 24 };
const SITES: usize = 4;

/// What one thread does at most, where every step takes long.
const STEPS: usize = if cfg!(miri) { 40 } else { usize::MAX };

/// A body: whose, and which of those that the function has had.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Body {
    function: u64,
    edition: u64,
}

/// A function. Its body is of an edition between those: `begun` is written before a reload, `done` after it.
struct Function {
    number: u64,
    bead: Bead<Body>,
    begun: AtomicU64,
    done: AtomicU64,
    changing: Mutex<()>,
}

/// What all worlds together saw.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    worlds: usize,
    steps: usize,
    functions: u64,
    requested: u64,
    pub(crate) installed: u64,
    bailouts: u64,
    lost: u64,
    dropped: u64,
    abandoned: u32,
    tiers_off: usize,
    deopts: u64,
    threads: usize,
}

pub(crate) struct World {
    broker: Broker<Body>,
    compilers: [Chaotic; 2],
    functions: Vec<RwLock<Arc<Function>>>,
    numbers: AtomicU64,
    assumptions: Vec<RwLock<Assumed>>,
    /// How many were broken.
    breaks: AtomicU64,
    stop: AtomicBool,
    steps: AtomicUsize,
    threads: AtomicUsize,
    told: Arc<Told>,
}

/// Something code may rely on, and the how manieth it was to be broken: 0 as long as it holds.
#[derive(Debug, Clone)]
pub(crate) struct Assumed {
    pub(crate) what: Assumption,
    broken: Arc<AtomicU64>,
}

impl Assumed {
    fn new(broker: &Broker<Body>) -> Self {
        Assumed { what: broker.assumption(), broken: Arc::default() }
    }
}

/// What the callback heard.
#[derive(Default)]
struct Told {
    requested: AtomicU64,
    installed: AtomicU64,
    random: Mutex<Option<Random>>,
}

impl Told {
    fn hear(&self, event: &Event) {
        match event.what {
            Transition::Requested(_) => self.requested.fetch_add(1, Ordering::SeqCst),
            Transition::Installed => self.installed.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
        if self.random.lock().unwrap().as_mut().is_some_and(|random| random.once_in(50)) {
            resume_unwind(Box::new("a callback that panics"));
        }
    }
}

/// Does anything about code that is left.
#[derive(Debug)]
struct Anything(AtomicU64);

impl DeoptPolicy for Anything {
    fn decide(&self, _: &DeoptSample) -> DeoptDecision {
        let mut random = Random::new(self.0.fetch_add(1, Ordering::SeqCst));
        let action = match random.below(8) {
            0 => DeoptAction::Recompile,
            1 => DeoptAction::Suppress,
            2 => DeoptAction::BackOff { work: 100 },
            3 => DeoptAction::RevertTo { tier: Tier::INTERPRETER },
            4 => DeoptAction::RevertTo { tier: TIERS[0] },
            _ => DeoptAction::Keep,
        };
        DeoptDecision { action, reason: DeoptReason::TooManyExits }
    }
}

/// Waits for what has to come. Not by the clock: whoever is stopped from outside meanwhile has waited for nothing.
#[track_caller]
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("waited too long for {what}");
}

impl World {
    /// A broker's whole life.
    pub(crate) fn live_and_die(seed: u64, totals: &mut Totals) {
        let mut random = Random::new(seed);
        let world = Self::new(&mut random);
        let time = Duration::from_millis(5 + random.below(100) as u64);
        let (interpreters, meddlers) = (1 + random.below(3), 1 + random.below(2));
        let shuts_down = random.once_in(8);
        thread::scope(|scope| {
            for _ in 0..interpreters {
                let (world, mut random) = (&world, Random::new(random.next()));
                scope.spawn(move || world.interpret(&mut random));
            }
            let meddlers: Vec<_> = (0..meddlers)
                .map(|_| {
                    let (world, mut random) = (&world, Random::new(random.next()));
                    scope.spawn(move || {
                        for _ in 0..STEPS {
                            if world.stop.load(Ordering::SeqCst) {
                                break;
                            }
                            world.meddle(&mut random, true);
                        }
                    })
                })
                .collect();
            if cfg!(miri) {
                meddlers.into_iter().for_each(|meddler| meddler.join().unwrap());
            } else {
                thread::sleep(time);
            }
            if shuts_down {
                world.broker.shutdown();
            }
            world.stop.store(true, Ordering::SeqCst);
        });
        world.end(shuts_down, totals);
    }

    fn new(random: &mut Random) -> Arc<Self> {
        let compilers = [Chaotic::new(random.next()), Chaotic::new(random.next())];
        let told = Arc::new(Told { random: Mutex::new(Some(Random::new(random.next()))), ..Told::default() });
        let hears = Arc::clone(&told);
        let mode = match random.below(6) {
            0 => Mode::Sync,
            1 => Mode::Pump,
            _ => Mode::default(),
        };
        let builder = compilers.iter().cloned().fold(Broker::builder().mode(mode), BrokerBuilder::compiler);
        let builder =
            builder.policy(Tiered::new(2, 10).osr_work(200, 2_000)).deopt_policy(Anything(AtomicU64::new(random.next())));
        let builder = builder.deadline(DEADLINE).max_beads(1 << 10).census_after(random.once_in(2).then_some(0));
        let builder = builder.on_event(Arc::new(move |event| hears.hear(event)));
        #[cfg(feature = "threads")]
        let builder = {
            let dedicated = random.below(3);
            let builder = TIERS.iter().take(dedicated).fold(builder, |builder, &tier| builder.workers_for(tier, 1));
            let builder = builder.workers(random.below(3).max(usize::from(dedicated < 2))).max_abandoned(u32::MAX);
            builder.stale_after(random.once_in(2).then_some(Duration::from_millis(1)))
        };
        let broker = builder.build().unwrap();
        let numbers = AtomicU64::new(0);
        let functions = (0..FUNCTIONS).filter_map(|_| Self::register(&broker, &numbers).map(RwLock::new)).collect();
        let assumptions = (0..4).map(|_| RwLock::new(Assumed::new(&broker))).collect();
        let (stop, breaks, steps, threads) =
            (AtomicBool::new(false), AtomicU64::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let world = Arc::new(World { broker, compilers, functions, numbers, assumptions, breaks, stop, steps, threads, told });
        world.compilers.iter().for_each(|compiler| compiler.set_world(Arc::downgrade(&world)));
        world
    }

    /// A new function, if there is room: released ones may wait for threads to be quiescent.
    fn register(broker: &Broker<Body>, numbers: &AtomicU64) -> Option<Arc<Function>> {
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        let bead = broker.register(Body { function: number, edition: 0 }, BeadSpec { size: 10 }).ok()?;
        let (begun, done, changing) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::default());
        Some(Arc::new(Function { number, bead, begun, done, changing }))
    }

    pub(crate) fn assumed(&self, number: usize) -> Assumed {
        self.assumptions[number].read().unwrap().clone()
    }

    fn function(&self, place: usize) -> Arc<Function> {
        Arc::clone(&self.functions[place].read().unwrap())
    }

    /// The next body, unless somebody else is at it.
    fn reload(&self, function: &Function) {
        let Ok(_changing) = function.changing.try_lock() else { return };
        let edition = function.begun.load(Ordering::SeqCst) + 1;
        function.begun.store(edition, Ordering::SeqCst);
        assert!(self.broker.reload(function.bead.as_ref(), Body { function: function.number, edition }));
        function.done.store(edition, Ordering::SeqCst);
    }

    /// The function is released, as soon as nobody uses it, and another one takes its place.
    fn replace(&self, place: usize) -> bool {
        let Some(other) = Self::register(&self.broker, &self.numbers) else { return false };
        let old = std::mem::replace(&mut *self.functions[place].write().unwrap(), other);
        drop(old);
        true
    }

    /// Does one thing that a host may do, from wherever: also from a compile, where it may not ask for another one.
    pub(crate) fn meddle(&self, random: &mut Random, compiles: bool) {
        let place = random.below(FUNCTIONS);
        let function = self.function(place);
        let (bead, tier, site) = (function.bead.as_ref(), TIERS[random.below(2)], random.below(SITES) as u32);
        match random.below(24) {
            0..3 => self.reload(&function),
            3..5 => drop(self.broker.invalidate(bead, InvalidateReason::Requested)),
            5 => {
                let Ok(_changing) = function.changing.try_lock() else { return };
                let edition = function.done.load(Ordering::SeqCst);
                assert!(self.broker.update_guest(bead, Body { function: function.number, edition }));
            }
            6 => self.broker.promote(bead, tier, Reason::Forced),
            7 => self.broker.promote_osr(bead, tier, site, Reason::Forced),
            8 if compiles => drop(self.broker.compile_now(bead, tier)),
            9 if compiles => drop(self.broker.compile_osr_now(bead, tier, site)),
            10..12 if compiles => drop(self.broker.run_pending(random.below(4))),
            12..14 => drop(self.replace(place)),
            14 if self.replace(place) => drop(self.broker.disable(bead)),
            15 => drop(self.broker.tier_down(bead)),
            16 => {
                let number = random.below(self.assumptions.len());
                let next = Assumed::new(&self.broker);
                let Assumed { what, broken } = std::mem::replace(&mut *self.assumptions[number].write().unwrap(), next);
                drop(self.broker.break_assumption(&what));
                broken.store(self.breaks.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            }
            17 => self.broker.walk(|info| assert!(info.guest.function < self.numbers.load(Ordering::SeqCst))),
            18 => drop(self.broker.why(function.bead.id())),
            19 => drop(self.broker.stats()),
            20 => drop(self.broker.bead_stats(bead)),
            21 => drop(self.broker.prune()),
            22 => self.broker.collect(),
            _ => drop(self.broker.scale_thresholds(bead, [0.5, 1.0, 2.0][random.below(3)])),
        }
    }

    /// Interpreter threads, one after the other, each with what the last left of the time.
    fn interpret(&self, random: &mut Random) {
        let mut steps = 0;
        while !self.stop.load(Ordering::SeqCst) && steps < STEPS {
            let mut thread = self.broker.register_thread().unwrap();
            self.threads.fetch_add(1, Ordering::SeqCst);
            // What may not be freed before this thread is quiescent.
            let mut inside: Vec<&Code> = Vec::new();
            while !self.stop.load(Ordering::SeqCst) && steps < STEPS && !random.once_in(2_000) {
                steps += 1;
                self.step(random, &mut thread, &mut inside);
            }
            check_inside(&mut inside);
        }
        self.steps.fetch_add(steps, Ordering::SeqCst);
    }

    fn step<'s>(&'s self, random: &mut Random, thread: &mut InterpThread<Body>, inside: &mut Vec<&'s Code>) {
        let function = self.function(random.below(FUNCTIONS));
        let bead = function.bead.as_ref();
        match random.below(100) {
            0..70 => {
                if let Some(code) = self.enter(&function, || thread.on_invoke(bead).map(|code| code.address().as_ptr())) {
                    assert_eq!(code.kind, UnitKind::Body);
                    inside.push(code);
                }
            }
            70..88 => {
                let (site, work) = (random.below(SITES) as u32, random.below(200) as u32);
                let entry = || thread.on_back_edge(bead, site, work).map(|entry| entry.address().as_ptr());
                if let Some(code) = self.enter(&function, entry) {
                    assert_eq!(code.kind, UnitKind::Osr { site });
                    inside.push(code);
                }
            }
            88..92 => {
                if let Some(code) = inside.last() {
                    thread.on_exit(code.unit, GUARD);
                }
            }
            92 => thread.poll(),
            93 => thread.parked(thread::yield_now),
            94 => {
                check_inside(inside);
                thread.offline(thread::yield_now);
            }
            95 => thread::yield_now(),
            _ => {
                check_inside(inside);
                thread.quiescent();
            }
        }
    }

    /// Gets code, if there is any, and looks whether it may be run: it is of this function, of a body that it had at some time during the
    /// call, of no assumption broken before it, and was not freed.
    fn enter(&self, function: &Function, get: impl FnOnce() -> Option<*mut u8>) -> Option<&Code> {
        let breaks = self.breaks.load(Ordering::SeqCst);
        let earliest = function.done.load(Ordering::SeqCst);
        let entry = get()?;
        let latest = function.begun.load(Ordering::SeqCst);
        // SAFETY: entries are of `Code` that the compilers' lists keep as long as this world.
        let code = unsafe { &*entry.cast::<Code>() };
        assert!(!code.freed.load(Ordering::SeqCst), "freed code: {code:?}");
        assert_eq!(code.body.function, function.number, "another function's code");
        let edition = code.body.edition;
        assert!((earliest..=latest).contains(&edition), "edition {edition}, of {earliest} to {latest}");
        let broken = code.assumed.as_ref().map_or(0, |assumed| assumed.broken.load(Ordering::SeqCst));
        assert!(broken == 0 || broken > breaks, "entered after what it assumes was broken: {code:?}");
        Some(code)
    }

    fn end(self: Arc<Self>, shut_down: bool, totals: &mut Totals) {
        *self.told.random.lock().unwrap() = None;
        self.compilers.iter().for_each(Chaotic::calm_down);
        let broker = &self.broker;
        if !shut_down {
            self.everything_gets_to_the_top();
        }
        broker.drain();
        wait_for("requests to be answered", || {
            broker.prune();
            broker.stats().pending == 0
        });
        broker.drain();
        let stats = broker.stats();
        assert!(stats.tiers.iter().all(|tier| tier.pending == 0), "{stats:?}");
        let sum = |of: fn(&tierup_broker::TierStats) -> u64| stats.tiers.iter().map(of).sum::<u64>();
        // After a shutdown nobody may be left to tell.
        wait_for("one event for each transition", || {
            broker.collect();
            let told = [&self.told.requested, &self.told.installed].map(|told| told.load(Ordering::SeqCst));
            shut_down || told == [sum(|tier| tier.requested), sum(|tier| tier.installed)]
        });
        totals.worlds += 1;
        totals.steps += self.steps.load(Ordering::SeqCst);
        totals.threads += self.threads.load(Ordering::SeqCst);
        totals.functions += self.numbers.load(Ordering::SeqCst);
        totals.requested += sum(|tier| tier.requested);
        totals.installed += sum(|tier| tier.installed);
        totals.bailouts += sum(|tier| tier.bailouts.iter().map(|&(_, count)| count).sum());
        totals.lost += sum(|tier| tier.lost);
        totals.dropped += sum(|tier| tier.dropped);
        totals.abandoned += stats.tiers.iter().map(|tier| tier.abandoned).sum::<u32>();
        totals.tiers_off += stats.tiers.iter().filter(|tier| tier.off).count();
        totals.deopts += sum(|tier| tier.deopts);

        // Late compiles may hold the world for a moment.
        let (broker, compilers) = (broker.clone(), self.compilers.clone());
        let late = Arc::downgrade(&self);
        drop(self);
        let left = || {
            broker.prune();
            // A unit may have been kept since.
            compilers.iter().for_each(Chaotic::calm_down);
            let stats = broker.stats();
            [stats.beads, stats.code_live as usize, stats.code_retired as usize, compilers[0].live(), compilers[1].live()]
        };
        let mut tries = 0..60_000;
        while left() != [0; 5] {
            if tries.next().is_none() {
                let mut beads = Vec::new();
                broker.walk(|info| beads.push(format!("{:?}", info.stats)));
                let codes: Vec<_> = compilers.iter().map(Chaotic::not_freed).collect();
                panic!(
                    "left behind after {}: {:?}, shut down: {shut_down}, world: {}, codes {codes:#?}, beads {beads:#?}, {broker:?} {:#?}",
                    if shut_down { "a shutdown" } else { "all was done" },
                    left(),
                    late.strong_count(),
                    broker.stats()
                );
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Nobody was lost: whatever happened to a function, once it has a new body and compilers behave it climbs as any other.
    fn everything_gets_to_the_top(&self) {
        let mut thread = self.broker.register_thread().unwrap();
        for function in &self.functions {
            self.reload(&function.read().unwrap());
        }
        let off = self.broker.stats().tiers.iter().any(|tier| tier.off);
        let mut inside = Vec::new();
        wait_for("every function to be compiled by the upper tier", || {
            let tops = self.functions.iter().filter(|function| {
                let function = function.read().unwrap();
                inside.extend(
                    self.enter(&function, || thread.on_invoke(function.bead.as_ref()).map(|code| code.address().as_ptr())),
                );
                self.broker.bead_stats(function.bead.as_ref()).unwrap().tier == TIERS[1]
            });
            let all = tops.count() == FUNCTIONS;
            check_inside(&mut inside);
            thread.quiescent();
            self.broker.run_pending(usize::MAX);
            all || off
        });
    }
}

fn check_inside(inside: &mut Vec<&Code>) {
    for code in inside.drain(..) {
        assert!(!code.freed.load(Ordering::SeqCst), "freed while a thread may be inside: {code:?}");
    }
}
