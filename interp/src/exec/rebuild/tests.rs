//! Random programs are interpreted and stopped at random resume points; all frames are read out, wiped, put together anew, and
//! the run goes on. The reference interpreter has the same frames at each stop, and the same end.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem;
use std::time::{Duration, Instant};

use super::*;
use crate::exec::op::data::Class;
use crate::exec::state::{Handler, Op, State, Status, handler};
use crate::store::sealed::Sealed;
use crate::{Config, Direction, Engine, Linker, LiveFrame, Module, Store, Templates, TierMode, Val};

#[allow(dead_code, reason = "shared with the lockstep test")]
#[path = "../../../tests/lockstep/check.rs"]
mod check;
#[path = "../../../tests/lockstep/live.rs"]
mod live;
#[path = "../../../tests/lockstep/program.rs"]
mod program;
#[allow(dead_code, reason = "shared with the differential test")]
#[path = "../../../tests/differential/random.rs"]
mod random;
#[path = "../../../tests/lockstep/reference/mod.rs"]
mod reference;
#[allow(dead_code, reason = "shared with the lockstep test")]
#[path = "../../../tests/lockstep/vm.rs"]
mod vm;

use check::{Compared, Oracle};
use program::SHOWN;
use random::Random;
use reference::Value;
use vm::{Event, Run};

/// What a plain `cargo test` tries.
const BUDGET: Duration = Duration::from_secs(2);

thread_local! {
    static BREAKS: RefCell<Breaks> = RefCell::default();
}

/// Breakpoints: in place of an instruction at a resume point there is [`Break`].
#[derive(Default)]
struct Breaks {
    /// The handlers that were there.
    handlers: HashMap<usize, u64>,
    /// Passes to go before a stop.
    left: u64,
    /// An instruction that has just been resumed at, and is to be executed.
    pass: Option<usize>,
    stopped: Option<State>,
}

impl Breaks {
    /// The handler that goes on at `ip`.
    fn reached(&mut self, ip: usize) -> u64 {
        if self.pass.take() == Some(ip) || self.left > 0 {
            self.left = self.left.saturating_sub(1);
            return self.handlers[&ip];
        }
        handler::<Stop>() as usize as u64
    }
}

#[inline(never)]
fn reached(ip: usize) -> u64 {
    BREAKS.with_borrow_mut(|breaks| breaks.reached(ip))
}

#[inline(never)]
fn stop(state: State) {
    BREAKS.with_borrow_mut(|breaks| breaks.stopped = Some(state));
}

struct Break;

impl Op for Break {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        // SAFETY: the word was a handler before a breakpoint took its place.
        unsafe {
            let handler = mem::transmute::<u64, Handler>(reached(state.ip as usize));
            state.jump(handler)
        }
    }
}

/// Ends the run as a trap would; the frames stay on the value stack.
struct Stop;

impl Op for Stop {
    #[inline(always)]
    unsafe fn run(state: State) -> Status {
        stop(state);
        // SAFETY: by whoever jumped here.
        unsafe { state.trap(TrapCode::Unreachable as Status) }
    }
}

/// Prepares every body of a module with breakpoints.
fn set_breaks(module: &Module) -> HashMap<usize, u64> {
    let mut handlers = HashMap::new();
    for function in &module.0.functions {
        let (start, replaced) = crate::prepare::ensure_with(&module.0, &function.first, handler::<Break>());
        handlers.extend(replaced.into_iter().map(|(word, old)| (start as usize + word as usize * 8, old)));
    }
    handlers
}

/// The frames of a run that has stopped, outermost first: what is live of each.
unsafe fn read_out(module: &Module, state: &State) -> Vec<LiveFrame> {
    let mut frames = Vec::new();
    let (mut ip, mut fp) = (state.ip, state.fp);
    loop {
        let body = module.0.body_at(ip).expect("a frame is of a prepared body");
        // SAFETY: the module has it.
        let prepared = unsafe { &*body }.running();
        let points = prepared.points(&module.0);
        let word = ((ip as usize - prepared.entry as usize) / 8) as u32;
        let is_innermost = frames.is_empty();
        let fits = |point: &&Point| match point.call {
            _ if is_innermost => point.code == word,
            Some(call) => call.back == word,
            None => false,
        };
        // Several points may have the same code. Whoever jumped there has not been at those before the label.
        let point = points.iter().filter(fits).last().expect("a frame is at a resume point");
        // SAFETY: by the caller: the frame is there.
        let slot = |slot: u32| unsafe { *fp.add(slot as usize) };
        let first = prepared.first_operand();
        let end = match point.call {
            Some(call) if !is_innermost => call.base,
            _ => first + point.height,
        };
        let operand = |at: u32| {
            let place = points.places(point).iter().find(|place| u32::from(place.slot) == at);
            match place.map(|place| place.value) {
                Some(Elsewhere::Local(local)) => slot(local.into()),
                Some(Elsewhere::Const(bits)) => bits,
                Some(Elsewhere::Acc(Class::Int)) if is_innermost => state.int,
                Some(Elsewhere::Acc(Class::F32)) if is_innermost => state.f32.to_bits().into(),
                Some(Elsewhere::Acc(Class::F64)) if is_innermost => state.f64.to_bits(),
                // A call leaves nothing in accumulators.
                Some(Elsewhere::Acc(_)) | None => slot(at),
            }
        };
        let locals = prepared.live_locals(&module.0, point.offset).map(|local| (local, slot(local))).collect();
        let operands = (first..end).map(operand).collect();
        frames.push(LiveFrame { function: prepared.body().index, offset: point.offset, locals, operands });
        let (back, caller) = (slot(prepared.control), slot(prepared.control + 1));
        if back == crate::exec::to_rust()[0] {
            frames.reverse();
            return frames;
        }
        (ip, fp) = (back as *const u64, caller as *mut u64);
    }
}

/// The description of a frame that was read out.
fn describe<'a>(module: &'a Module, frame: &LiveFrame) -> FrameState<'a, Vec<(u32, u64)>> {
    let body = &module.0.functions[frame.function as usize].first;
    let prepared = body.running();
    let mut slots = frame.locals.clone();
    slots.extend((prepared.first_operand()..).zip(frame.operands.iter().copied()));
    FrameState { body, offset: frame.offset, slots }
}

/// Runs a program with stops; what it shows.
fn interpret(engine: &Engine, wasm: &[u8], arguments: [u64; 3], random: &mut Random) -> Run {
    let module = Module::new(engine, wasm.to_vec()).expect("a valid module");
    let mut store = Store::new(engine, ()).expect("a store");
    let instance = Linker::new().instantiate(&mut store, &module).expect("it needs nothing");
    let memory = instance.memory(&store, "memory").expect("the program exports it");
    let shown = |store: &Store<()>| memory.data(store).expect("it is the store's")[..SHOWN].to_vec();
    let handlers = set_breaks(&module);
    let mean = 1 << random.below(10);
    BREAKS.set(Breaks { handlers, left: random.below(mean), ..Breaks::default() });

    let function = &module.0.functions[0];
    let inner = store.store_ptr();
    // SAFETY: the store and its one instance are alive, on this thread, with nothing else under way.
    let (vmctx, fp, end) = unsafe {
        let inner = &*inner;
        ((*inner.instances[0].as_ptr()).vmctx, inner.stack_top, inner.stack_end)
    };
    // SAFETY: arguments of the function's type, in room that is free.
    let mut result = unsafe {
        fp.copy_from_nonoverlapping(arguments.as_ptr(), 3);
        crate::exec::run(inner, vmctx, function, fp)
    };
    let mut events = Vec::new();
    while let Some(state) = BREAKS.with_borrow_mut(|breaks| breaks.stopped.take()) {
        // SAFETY: the run has just stopped in this state.
        let frames = unsafe { read_out(&module, &state) };
        let told: Vec<_> = frames.iter().map(|frame| describe(&module, frame)).collect();
        events.push(Event { direction: Direction::Leave, frames, memory: shown(&store) });
        BREAKS.with_borrow_mut(|breaks| {
            breaks.pass = Some(state.ip as usize);
            breaks.left = random.below(mean);
        });
        // SAFETY: nobody uses the value stack from `fp` on; the frames are those of the run that stopped.
        result = unsafe {
            let used = state.fp.add(512).min(end).offset_from_unsigned(fp);
            std::slice::from_raw_parts_mut(fp, used).fill(0xbad0_bad1_bad2_bad3);
            rebuild(inner, vmctx, fp, crate::exec::to_rust(), told).and_then(|rebuilt| resume_at(rebuilt))
        };
    }
    let outcome = result.map_err(|raised| raised.code()).map(|()| {
        // SAFETY: the function has returned, its results are there.
        let slots = unsafe { std::slice::from_raw_parts(fp, 4) };
        vec![Val::I32(slots[0] as i32), Val::I64(slots[1] as i64), Val::F32(slots[2] as u32), Val::F64(slots[3])]
    });
    Run { outcome, events, deopts: 0, memory: shown(&store) }
}

fn programs() {
    let variable = |name| std::env::var(name).ok().map(|value: String| value.parse::<u64>().expect("a number"));
    let budget = variable("TIERUP_FUZZ_SECONDS").map_or(BUDGET, Duration::from_secs);
    let from = variable("TIERUP_FUZZ_FROM").unwrap_or(0);
    let engine =
        Engine::new(Config { tier: TierMode::Interp, templates: Templates::Off, ..Config::default() }).expect("an engine");
    let start = Instant::now();
    let (mut seed, mut nested, mut total) = (from, 0, Compared::default());
    while start.elapsed() < budget {
        let mut random = Random::new(seed);
        let wasm = program::program(&mut random);
        let oracle = Oracle::new(&wasm);
        for _ in 0..4 {
            let (a, b, c) = (random.next() as u32, random.next(), (random.below(100) as f64).to_bits());
            let run = interpret(&engine, &wasm, [a.into(), b, c], &mut random);
            let compared = match oracle.check(&run, &[Value::I32(a), Value::I64(b), Value::F64(c)]) {
                Ok(compared) => compared,
                Err(difference) => panic!("seed {seed}: {difference}"),
            };
            assert_eq!(compared.events, run.events.len() as u64);
            nested += run.events.iter().filter(|event| event.frames.len() > 1).count();
            total.events += compared.events;
            total.locals += compared.locals;
            total.operands += compared.operands;
        }
        seed += 1;
    }
    println!("seeds {from}..{seed}: {total:?}, {nested} of them with several frames");
    assert!(total.events > 1000 && nested > 100, "{total:?}, {nested}");
}

#[test]
fn frames_put_together_anew_go_on_as_they_were() {
    // In a build without jumps between handlers a breakpoint leaves a frame.
    std::thread::Builder::new().stack_size(64 << 20).spawn(programs).expect("a thread").join().expect("no difference");
}
