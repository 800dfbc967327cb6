//! Runs a module under one configuration and writes down everything a guest can show.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tierup_interp::{
    AsStore, Engine, Error, Extern, ExternType, HostError, Instance, Linker, Module, Store, TrapCode, Val, ValType,
};

use crate::edition::edition;
use crate::generate::FUEL;
use crate::random::{Random, mix};

/// Times each exported function is called, so that what is hot has time to change its tier.
const ROUNDS: usize = 4;
/// Loop rounds and calls a call from outside may make.
const FUEL_PER_CALL: i32 = 1000;

/// What one run showed, step by step.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    pub(crate) steps: Vec<Step>,
    /// How often code was left through an exit.
    pub(crate) exits: u64,
}

/// One call from outside (the instantiation is the first) and the state it left.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What was called.
    pub(crate) what: String,
    pub(crate) outcome: Outcome,
    /// The calls of host functions it made, with their arguments.
    pub(crate) host_calls: Vec<(usize, Vec<Value>)>,
    /// Exported globals, in order.
    pub(crate) globals: Vec<Value>,
    /// Exported tables: for each element whether it is null, or its number.
    pub(crate) tables: Vec<Vec<Value>>,
    /// Size and hash of each exported memory.
    pub(crate) memories: Vec<(usize, u64)>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Returned(Vec<Value>),
    Trapped(TrapCode),
    /// A host function failed with this message.
    HostFailed(String),
    /// The instance could not be made, or something else typed.
    Refused(String),
}

/// A value without its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    /// Whether there is one; which function it is shows when it is called.
    Func(bool),
    Extern(Option<u32>),
}

impl From<&Val> for Value {
    fn from(value: &Val) -> Self {
        match value {
            Val::I32(value) => Self::I32(*value),
            Val::I64(value) => Self::I64(*value),
            Val::F32(bits) => Self::F32(*bits),
            Val::F64(bits) => Self::F64(*bits),
            Val::FuncRef(func) => Self::Func(func.is_some()),
            Val::ExternRef(number) => Self::Extern(*number),
        }
    }
}

/// The host's side of a run.
#[derive(Debug, Default)]
struct Host {
    calls: Vec<(usize, Vec<Value>)>,
    total: u64,
}

/// Whether functions get other bodies, which do the same, while the module runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reloads {
    Never,
    /// In every third call of a host function, and by another thread.
    Often,
}

/// Editions that are taken in turns.
const EDITIONS: u32 = 4;

/// As [`observe`], with reloads; and how many functions were reloaded.
pub(crate) fn observe_reloading(engine: &Engine, wasm: &[u8], seed: u64, reloads: Reloads) -> Result<(Observation, u64), Error> {
    let module = Module::new(engine, wasm)?;
    if reloads == Reloads::Never {
        return Ok((observe_module(&module, seed, &[])?, 0));
    }
    let editions: Vec<_> = (0..EDITIONS).map(|number| edition(wasm, number)).collect();
    let (done, mut reloaded) = (AtomicBool::new(false), 0);
    thread::scope(|scope| {
        let guest = {
            let (module, editions, done) = (module.clone(), &editions, &done);
            let guest = move || {
                let observed = observe_module(&module, seed, editions);
                done.store(true, Ordering::Relaxed);
                observed
            };
            // As much stack as the caller has.
            thread::Builder::new().stack_size(crate::check::STACK + (4 << 20)).spawn_scoped(scope, guest).expect("a thread")
        };
        let mut turn = seed;
        while !done.load(Ordering::Relaxed) {
            turn += 1;
            let edition = &editions[turn as usize % editions.len()];
            reloaded += module.reload_from(edition).expect("an edition of the module").functions.len() as u64;
            thread::sleep(Duration::from_micros(mix(turn) % 3000));
        }
        guest.join().expect("it does not panic")
    })
    .map(|observed| (observed, reloaded))
}

/// Runs the module in this engine; the seed decides arguments and what host functions answer.
///
/// The observation ends early at a stack overflow: its depth may differ between tiers, and with it what follows.
pub(crate) fn observe(engine: &Engine, wasm: &[u8], seed: u64) -> Result<Observation, Error> {
    observe_module(&Module::new(engine, wasm)?, seed, &[])
}

fn observe_module(module: &Module, seed: u64, editions: &[Vec<u8>]) -> Result<Observation, Error> {
    let mut random = Random::new(mix(seed));
    let mut store = Store::new(module.engine(), Host::default())?;
    let linker = imports(module, &mut store, &mut random, editions)?;
    let mut observation = Observation::default();
    let instance = match linker.instantiate(&mut store, module) {
        Ok(instance) => instance,
        Err(error) => {
            observation.steps.push(Step::ended("instantiate", outcome(error), &mut store));
            return Ok(observation);
        }
    };
    let exports = instance.exports(&store)?;
    let made = Step::ended("instantiate", Outcome::Returned(Vec::new()), &mut store);
    observation.steps.push(made.with_state(&mut store, &exports)?);
    for round in 0..ROUNDS {
        for (name, export) in &exports {
            let Extern::Func(func) = export else { continue };
            refuel(&mut store, &instance)?;
            let ty = func.ty(&store)?;
            let args: Vec<Val> = ty.params().iter().map(|&ty| argument(ty, &exports, &mut random)).collect();
            let outcome = match func.call(&mut store, &args) {
                Ok(results) => Outcome::Returned(results.iter().map(Value::from).collect()),
                Err(error) => outcome(error),
            };
            let overflow = outcome == Outcome::Trapped(TrapCode::StackOverflow);
            let step = Step::ended(&format!("{name:?} in round {round}"), outcome, &mut store);
            observation.steps.push(step.with_state(&mut store, &exports)?);
            observation.exits = store.deopts();
            if overflow {
                return Ok(observation);
            }
        }
    }
    Ok(observation)
}

impl Step {
    fn ended(what: &str, outcome: Outcome, store: &mut Store<Host>) -> Self {
        Self {
            what: what.to_owned(),
            outcome,
            host_calls: std::mem::take(&mut store.data_mut().calls),
            globals: Vec::new(),
            tables: Vec::new(),
            memories: Vec::new(),
        }
    }

    fn with_state(mut self, store: &mut Store<Host>, exports: &[(String, Extern)]) -> Result<Self, Error> {
        for (_, export) in exports {
            match export {
                Extern::Func(_) => {}
                Extern::Global(global) => self.globals.push(Value::from(&global.get(store)?)),
                Extern::Table(table) => {
                    let mut elements = Vec::new();
                    for at in 0..table.size(store)? {
                        elements.extend(table.get(store, at)?.as_ref().map(Value::from));
                    }
                    self.tables.push(elements);
                }
                Extern::Memory(memory) => {
                    let bytes = memory.data(store)?;
                    let mut hasher = DefaultHasher::new();
                    bytes.hash(&mut hasher);
                    self.memories.push((bytes.len(), hasher.finish()));
                }
            }
        }
        Ok(self)
    }
}

fn outcome(error: Error) -> Outcome {
    match error {
        Error::Trap(trap) => Outcome::Trapped(trap.code()),
        Error::Host(error) => Outcome::HostFailed(error.to_string()),
        other => Outcome::Refused(other.to_string()),
    }
}

fn refuel(store: &mut Store<Host>, instance: &Instance) -> Result<(), Error> {
    let fuel = instance.global(store, FUEL)?;
    fuel.set(store, &Val::I32(FUEL_PER_CALL))
}

/// Something for each import.
fn imports(module: &Module, store: &mut Store<Host>, random: &mut Random, editions: &[Vec<u8>]) -> Result<Linker<Host>, Error> {
    let mut linker: Linker<Host> = Linker::new();
    for (number, (from, name, ty)) in module.imports().enumerate() {
        match ty {
            ExternType::Func(ty) => {
                let salt = random.next();
                let results = ty.clone();
                let (editions, module) = (editions.to_vec(), module.clone());
                linker.func_new(from, name, ty, move |mut caller, args, out| {
                    let host = caller.data_mut();
                    host.calls.push((number, args.iter().map(Value::from).collect()));
                    host.total += 1;
                    if !editions.is_empty() && host.total.is_multiple_of(3) {
                        let edition = &editions[host.total as usize % editions.len()];
                        let _ = module.reload_from(edition).expect("an edition of the module");
                    }
                    let mut random = Random::new(salt ^ host.total);
                    if random.below(50) == 0 {
                        return Err(HostError::trap("the host had enough"));
                    }
                    for (out, &ty) in out.iter_mut().zip(results.results()) {
                        *out = argument(ty, &[], &mut random);
                    }
                    Ok(())
                });
            }
            ExternType::Global(ty) => {
                let value = argument(ty.content, &[], random);
                let global = store.new_global(ty, &value)?;
                linker.define(from, name, Extern::Global(global));
            }
            ExternType::Table(ty) => {
                let table = store.new_table(ty)?;
                linker.define(from, name, Extern::Table(table));
            }
            ExternType::Memory(ty) => {
                let memory = store.new_memory(ty)?;
                linker.define(from, name, Extern::Memory(memory));
            }
        }
    }
    Ok(linker)
}

/// A value of this type, often an interesting one. No NaN: whose bits those are is not the subject.
fn argument(ty: ValType, exports: &[(String, Extern)], random: &mut Random) -> Val {
    const INTEGERS: [i64; 10] = [0, 1, -1, 2, 7, 64, i32::MIN as i64, i32::MAX as i64, i64::MIN, i64::MAX];
    const FLOATS: [f64; 9] = [0.0, -0.0, 1.0, -1.5, 1e10, -3e38, 4e-310, f64::INFINITY, f64::NEG_INFINITY];
    let pick = random.below(3) > 0;
    let at = random.next();
    let integer = if pick { INTEGERS[(at % 10) as usize] } else { at.cast_signed() };
    let float = if pick { FLOATS[(at % 9) as usize] } else { integer as f64 / 3.0 };
    match ty {
        ValType::I32 => Val::I32(integer as i32),
        ValType::I64 => Val::I64(integer),
        ValType::F32 => Val::F32((float as f32).to_bits()),
        ValType::F64 => Val::F64(float.to_bits()),
        ValType::ExternRef => Val::ExternRef(pick.then_some(at as u32 & 0xff)),
        ValType::FuncRef => {
            let funcs: Vec<_> = exports
                .iter()
                .filter_map(|(_, export)| match export {
                    Extern::Func(func) => Some(func.clone()),
                    _ => None,
                })
                .collect();
            let pick = pick && !funcs.is_empty();
            Val::FuncRef(pick.then(|| funcs[at as usize % funcs.len()].clone()))
        }
    }
}
