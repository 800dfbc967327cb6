//! Units that contain other functions' bodies: who changes a function takes all code out of use that contains it, whenever
//! that happens.
//!
//! A function here has a number and callees. The compiler makes "code" that knows the sum of the numbers of all functions it
//! contains, so that code of an old body shows.

mod common;

use std::{
    ptr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use common::{many, wait_for};
use tierup_broker::{
    Bailout, Bead, BeadSpec, Broker, Callee, CodeUnit, CompileNowError, CompileRequest, Compiler, Event, InterpThread,
    InvalidateReason, LossReason, Mode, Threshold, Tier, Transition,
};

const TIER: Tier = Tier::new(1);

type Function = Arc<Bead<Body>>;

/// The beads own the broker, so a body must not own beads.
#[derive(Clone)]
struct Body {
    number: u64,
    callees: Vec<Weak<Bead<Body>>>,
    /// How many levels of callees its unit contains.
    levels: usize,
}

/// Called in the middle of a compile, when the callees are captured.
type Interruption = Box<dyn FnOnce() + Send>;

#[derive(Clone, Default)]
struct Inliner {
    interruption: Arc<Mutex<Option<Interruption>>>,
    leases: Arc<AtomicUsize>,
}

struct Lease {
    /// The code, which callers read. (Moving a box would end what is derived from it.)
    _result: Arc<u64>,
    count: Arc<AtomicUsize>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

// SAFETY: nobody calls these entries: they are numbers to read, which the lease keeps.
unsafe impl Compiler<Body> for Inliner {
    fn name(&self) -> &str {
        "inliner"
    }

    fn compiles_osr(&self) -> bool {
        true
    }

    fn compile(&self, request: &CompileRequest<'_, Body>) -> Result<CodeUnit, Bailout> {
        let mut sum = request.guest().number;
        let mut contained = Vec::new();
        let mut level = request.guest().callees.clone();
        for _ in 0..request.guest().levels {
            let mut next = Vec::new();
            for bead in level.iter().filter_map(Weak::upgrade) {
                let (callee, body) = capture(request, &bead);
                sum += body.number;
                next.extend(body.callees);
                contained.push(callee);
            }
            level = next;
        }
        let interruption = self.interruption.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(interruption) = interruption {
            interruption();
        }
        let result = Arc::new(sum);
        let entry = ptr::from_ref(&*result).cast::<u8>();
        self.leases.fetch_add(1, Ordering::SeqCst);
        let unit = request.unit(entry, 8, Box::new(Lease { _result: result, count: Arc::clone(&self.leases) }));
        Ok(contained.iter().fold(unit, CodeUnit::containing))
    }
}

fn capture<'a>(request: &CompileRequest<'a, Body>, bead: &Function) -> (Callee<'a, Body>, Body) {
    loop {
        let callee = request.callee(bead.bead()).expect("a bead of this broker");
        if let Some(body) = callee.with_guest(Body::clone) {
            return (callee, body);
        }
    }
}

struct World {
    broker: Broker<Body>,
    inliner: Inliner,
    events: Arc<Mutex<Vec<Event>>>,
}

impl World {
    fn new(mode: Mode) -> Self {
        let (inliner, events) = (Inliner::default(), Arc::new(Mutex::new(Vec::new())));
        let told = Arc::clone(&events);
        let builder = Broker::builder().mode(mode).policy(Threshold { calls: 1_000_000 }).compiler(inliner.clone());
        let broker = builder.on_event(Arc::new(move |event: &Event| told.lock().unwrap().push(event.clone()))).build().unwrap();
        World { broker, inliner, events }
    }

    fn function(&self, number: u64, callees: &[&Function]) -> Function {
        Arc::new(self.broker.register(body(number, callees), BeadSpec { size: 10 }).unwrap())
    }

    fn compile(&self, function: &Function) {
        self.broker.compile_now(function.bead(), TIER).unwrap();
    }

    /// What happened to the function since the last time.
    fn told(&self, function: &Function) -> Vec<Transition> {
        self.broker.collect();
        let mut events = self.events.lock().unwrap();
        let (of_it, others) = events.drain(..).partition(|event| event.bead == function.id());
        *events = others;
        let told: Vec<Event> = of_it;
        told.into_iter().map(|event| event.what).filter(|what| !matches!(what, Transition::Requested(_))).collect()
    }

    /// Everything that was retired is freed.
    fn end(self, mut thread: InterpThread<Body>) {
        thread.quiescent();
        drop(thread);
        wait_for("every unit to be freed", || {
            self.broker.collect();
            self.inliner.leases.load(Ordering::SeqCst) == 0
        });
        assert_eq!(self.broker.stats().contained, 0);
    }
}

fn body(number: u64, callees: &[&Function]) -> Body {
    Body { number, callees: callees.iter().map(|&callee| Arc::downgrade(callee)).collect(), levels: 1 }
}

trait AsBead {
    fn bead(&self) -> tierup_broker::BeadRef<'_, Body>;
}

impl AsBead for Function {
    fn bead(&self) -> tierup_broker::BeadRef<'_, Body> {
        Bead::as_ref(self)
    }
}

/// What the function's native code returns, if there is any.
fn native(thread: &InterpThread<Body>, function: &Function) -> Option<u64> {
    // SAFETY: entries are numbers, kept while the thread has not passed a quiescent point.
    thread.on_invoke(function.bead()).map(|code| unsafe { *code.address().as_ptr().cast::<u64>() })
}

const GONE: Transition = Transition::Invalidated(InvalidateReason::CalleeChanged);

/// Changes a function, or drops it.
type Change = fn(&World, &mut Option<Function>);

fn changes() -> [(&'static str, Change); 4] {
    [
        ("reload", |world, function| assert!(world.broker.reload(function.as_ref().unwrap().bead(), body(40, &[])))),
        ("invalidate", |world, function| {
            let had_code = world.broker.invalidate(function.as_ref().unwrap().bead(), InvalidateReason::Requested);
            assert!(!had_code, "of its own");
        }),
        ("disable", |world, function| assert!(world.broker.disable(function.as_ref().unwrap().bead()))),
        ("release", |_, function| drop(function.take())),
    ]
}

#[test]
fn a_change_of_a_callee_withdraws_the_unit() {
    for (name, change) in changes() {
        let world = World::new(Mode::Sync);
        let thread = world.broker.register_thread().unwrap();
        let mut callee = Some(world.function(4, &[]));
        let caller = world.function(1, &[callee.as_ref().unwrap()]);
        world.compile(&caller);
        assert_eq!((native(&thread, &caller), world.broker.stats().contained), (Some(5), 1), "{name}");
        world.told(&caller);

        change(&world, &mut callee);
        assert_eq!(native(&thread, &caller), None, "{name}");
        assert_eq!(world.told(&caller), [GONE], "{name}: one event");
        assert_eq!(world.broker.bead_stats(caller.bead()).unwrap().tier, Tier::INTERPRETER);

        world.compile(&caller);
        let now = if name == "reload" { 41 } else { 5 };
        let now = if name == "release" { 1 } else { now };
        assert_eq!(native(&thread, &caller), Some(now), "{name}: it tiers again");
        drop((caller, callee));
        world.end(thread);
    }
}

#[test]
fn a_change_during_the_compile_refuses_the_unit() {
    for (name, change) in changes() {
        let world = Arc::new(World::new(Mode::Sync));
        let thread = world.broker.register_thread().unwrap();
        let callee = Arc::new(Mutex::new(Some(world.function(4, &[]))));
        let caller = world.function(1, &[callee.lock().unwrap().as_ref().unwrap()]);
        let (changed, during) = (Arc::clone(&callee), Arc::clone(&world));
        let interruption = move || change(&during, &mut changed.lock().unwrap());
        *world.inliner.interruption.lock().unwrap() = Some(Box::new(interruption));
        let refused = world.broker.compile_now(caller.bead(), TIER);
        assert_eq!(refused, Err(CompileNowError::Superseded), "{name}");
        assert_eq!(native(&thread, &caller), None, "{name}");
        assert_eq!(world.told(&caller), [Transition::Lost(LossReason::CalleeChanged)], "{name}: one event");
        assert!(world.broker.bead_stats(caller.bead()).unwrap().disabled.is_empty(), "{name}: it may be tried again");
        world.compile(&caller);
        drop((caller, callee));
        Arc::into_inner(world).unwrap().end(thread);
    }
}

#[test]
fn of_body_and_variants_only_those_go_that_contain_it() {
    let world = World::new(Mode::Sync);
    let thread = world.broker.register_thread().unwrap();
    let callee = world.function(4, &[]);
    let caller = world.function(1, &[&callee]);
    let contain_nothing = |number| Body { levels: 0, ..body(number, &[&callee]) };
    let entered = |site| {
        // SAFETY: as in `native`.
        thread.osr_entry(caller.bead(), site).map(|entry| unsafe { *entry.address().as_ptr().cast::<u64>() })
    };
    world.broker.compile_osr_now(caller.bead(), TIER, 2).unwrap();
    assert!(world.broker.update_guest(caller.bead(), contain_nothing(1)));
    world.compile(&caller);
    world.broker.compile_osr_now(caller.bead(), TIER, 3).unwrap();
    assert_eq!((native(&thread, &caller), entered(2), entered(3)), (Some(1), Some(5), Some(1)));
    world.told(&caller);
    assert!(world.broker.reload(callee.bead(), body(40, &[])));
    assert_eq!((native(&thread, &caller), entered(2), entered(3)), (Some(1), None, Some(1)));
    world.broker.collect();
    let sites: Vec<_> = world.events.lock().unwrap().iter().filter(|event| event.what == GONE).map(|event| event.site).collect();
    assert_eq!((sites, world.told(&caller)), (vec![Some(2)], vec![GONE]));

    // And the other way round.
    assert!(world.broker.reload(caller.bead(), body(1, &[&callee])));
    world.compile(&caller);
    assert!(world.broker.update_guest(caller.bead(), contain_nothing(1)));
    world.broker.compile_osr_now(caller.bead(), TIER, 2).unwrap();
    assert_eq!((native(&thread, &caller), entered(2)), (Some(41), Some(1)));
    assert!(world.broker.reload(callee.bead(), body(4, &[])));
    assert_eq!(world.broker.bead_stats(caller.bead()).unwrap().tier, Tier::INTERPRETER);
    assert_eq!((native(&thread, &caller), entered(2)), (Some(1), Some(1)), "called while it has a variant, it is compiled again");
    drop((caller, callee));
    world.end(thread);
}

#[test]
fn a_new_handle_of_a_callee_changes_nothing() {
    let world = World::new(Mode::Sync);
    let thread = world.broker.register_thread().unwrap();
    let callee = world.function(4, &[]);
    let caller = world.function(1, &[&callee]);
    world.compile(&caller);
    world.compile(&callee);
    assert!(world.broker.update_guest(callee.bead(), body(4, &[])));
    assert_eq!(native(&thread, &caller), Some(5));
    drop((caller, callee));
    world.end(thread);
}

#[test]
fn a_unit_goes_with_what_it_contains_and_with_nothing_else() {
    let world = World::new(Mode::Sync);
    let thread = world.broker.register_thread().unwrap();
    let inner = world.function(100, &[]);
    let middle = world.function(10, &[&inner]);
    let [whole, half] = [world.function(1, &[&middle]), world.function(2, &[&middle])];
    assert!(world.broker.reload(whole.bead(), Body { levels: 2, ..body(1, &[&middle]) }));
    let all = [&inner, &middle, &whole, &half];
    for function in all {
        world.compile(function);
    }
    assert_eq!(all.map(|function| native(&thread, function)), [100, 110, 111, 12].map(Some));
    // The last contains the function in the middle, whose unit goes, but not what that contains.
    assert!(world.broker.reload(inner.bead(), body(200, &[])));
    assert_eq!(all.map(|function| native(&thread, function)), [None, None, None, Some(12)]);
    drop((inner, middle, whole, half));
    world.end(thread);
}

#[test]
fn a_unit_that_was_replaced_takes_nothing_with_it() {
    let world = World::new(Mode::Sync);
    let thread = world.broker.register_thread().unwrap();
    let callee = world.function(4, &[]);
    let caller = world.function(1, &[&callee]);
    world.compile(&caller);
    // The thread may be inside, so the old unit is there when its successor, which contains nobody, is published.
    assert!(world.broker.reload(caller.bead(), body(7, &[])));
    world.compile(&caller);
    assert!(world.broker.reload(callee.bead(), body(5, &[])));
    assert_eq!(native(&thread, &caller), Some(7));
    drop((caller, callee));
    world.end(thread);
}

#[test]
fn registrations_go_with_their_units() {
    let world = World::new(Mode::Sync);
    let mut thread = world.broker.register_thread().unwrap();
    let callees = [1, 2, 3].map(|number| world.function(number, &[]));
    let caller = world.function(0, &callees.each_ref());
    for cycle in 0..many(10_000, 60) {
        world.compile(&caller);
        assert_eq!(native(&thread, &caller).map(|sum| sum % 1000), Some(6));
        match cycle % 3 {
            0 => assert!(world.broker.reload(caller.bead(), body(cycle as u64 / 1000 * 1000, &callees.each_ref()))),
            1 => assert!(world.broker.invalidate(caller.bead(), InvalidateReason::Requested)),
            _ => assert!(world.broker.reload(callees[cycle / 3 % 3].bead(), body((cycle / 3 % 3) as u64 + 1, &[]))),
        }
        thread.quiescent();
        assert!(world.broker.stats().contained <= 6, "{}", world.broker.stats().contained);
    }
    drop((caller, callees));
    world.end(thread);
}

/// One thread changes a function all the time while others compile and call what contains it: a call that begins after a change
/// never returns less than it.
#[test]
fn a_storm_of_changes() {
    let world = Arc::new(World::new(Mode::Sync));
    let callees: [Function; 2] = [0, 0].map(|number| world.function(number, &[]));
    let callers = [0, 0].map(|number| world.function(number, &callees.each_ref()));
    let latest = AtomicU64::new(0);
    let changes = many(20_000, 60) as u64;
    let mut entered = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=changes {
                // Miri's threads take turns of some steps: without a rest no caller is compiled before the next change.
                thread::sleep(Duration::from_millis(many(0, 200) as u64));
                match number % 5 {
                    0 => drop(world.broker.invalidate(callees[1].bead(), InvalidateReason::Requested)),
                    _ => assert!(world.broker.reload(callees[0].bead(), body(number, &[]))),
                }
                if number % 5 != 0 {
                    latest.store(number, Ordering::SeqCst);
                }
            }
        });
        let calls = [0, 1].map(|which| {
            let (world, callers, latest) = (&world, &callers, &latest);
            scope.spawn(move || {
                let mut thread = world.broker.register_thread().unwrap();
                let (mut turn, mut entered) = (0, 0);
                while latest.load(Ordering::SeqCst) < changes - 1 {
                    turn += 1;
                    let caller = &callers[(which + turn) % 2];
                    match world.broker.compile_now(caller.bead(), TIER) {
                        Ok(()) | Err(CompileNowError::Superseded) => {}
                        Err(other) => panic!("{other}"),
                    }
                    let least = latest.load(Ordering::SeqCst);
                    if let Some(sum) = native(&thread, caller) {
                        entered += 1;
                        assert!(sum >= least, "{sum} was returned after {least} was there");
                    }
                    thread.quiescent();
                }
                (thread, entered)
            })
        });
        let [one, other] = calls.map(|thread| thread.join().unwrap());
        entered += one.1 + other.1;
    });
    assert!(entered > many(100, 1), "{entered} calls of native code");
    let world = {
        drop((callers, callees));
        Arc::into_inner(world).unwrap()
    };
    let thread = world.broker.register_thread().unwrap();
    world.end(thread);
}
