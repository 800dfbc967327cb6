//! A run of the VM, with everything its observer was told.

use std::sync::{Arc, Mutex};

use tierup_interp::{AsStore, Config, Direction, Engine, Error, Linker, LiveFrame, Module, OnTransfer, Store, TrapCode, Val};

use super::program::{SHOWN, TICK};

/// A frame, or several, on their way between two tiers.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) direction: Direction,
    pub(crate) frames: Vec<LiveFrame>,
    /// The part of the memory that the program uses.
    pub(crate) memory: Vec<u8>,
}

impl Event {
    /// The program's own count of where it is.
    pub(crate) fn tick(&self) -> u64 {
        tick(&self.memory)
    }
}

/// The program's own count of where it is.
pub(crate) fn tick(memory: &[u8]) -> u64 {
    u64::from_le_bytes(memory[TICK..TICK + 8].try_into().expect("eight bytes"))
}

/// What a run showed.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) outcome: Result<Vec<Val>, TrapCode>,
    pub(crate) events: Vec<Event>,
    /// How often code was left through an exit.
    pub(crate) deopts: u64,
    /// The part of the memory that the program uses, as it was left.
    pub(crate) memory: Vec<u8>,
}

/// An engine whose observer keeps what it is told.
#[derive(Debug)]
pub(crate) struct Vm {
    engine: Engine,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Vm {
    pub(crate) fn new(config: Config) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let on_transfer: OnTransfer = Arc::new(move |transfer| {
            let memory = transfer.memory.expect("the program has a memory")[..SHOWN].to_vec();
            let event = Event { direction: transfer.direction, frames: transfer.frames.to_vec(), memory };
            told.lock().expect("nobody panics with it").push(event);
        });
        let engine = Engine::new(Config { on_transfer: Some(on_transfer), ..config }).expect("an engine");
        Self { engine, events }
    }

    pub(crate) fn load(&self, wasm: &[u8]) -> Module {
        Module::new(&self.engine, wasm.to_vec()).expect("a valid module")
    }

    /// Calls `run` of a module, in an instance of its own.
    pub(crate) fn run(&self, module: &Module, arguments: &[Val]) -> Run {
        let mut store = Store::new(&self.engine, ()).expect("a store");
        let instance = Linker::new().instantiate(&mut store, module).expect("it needs nothing");
        let outcome = match instance.func(&store, "run").expect("it has one").call(&mut store, arguments) {
            Ok(values) => Ok(values),
            Err(Error::Trap(trap)) => Err(trap.code()),
            Err(error) => panic!("{error}"),
        };
        let memory = instance.memory(&store, "memory").expect("the program exports it");
        let memory = memory.data(&store).expect("it is the store's")[..SHOWN].to_vec();
        let events = std::mem::take(&mut *self.events.lock().expect("nobody panics with it"));
        Run { outcome, events, deopts: store.deopts(), memory }
    }
}
