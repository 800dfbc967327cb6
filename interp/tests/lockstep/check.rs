//! The oracle: runs the reference beside what the VM told, and compares whatever is live.

use std::fmt;

use tierup_interp::LiveFrame;

use super::live::Live;
use super::program::SHOWN;
use super::reference::{Frame, Machine, Module, Trap, Value, Watch};
use super::vm::{Event, Run, tick};

/// The run and the reference part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference(pub(crate) String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A module with what the oracle knows of it.
#[derive(Debug)]
pub(crate) struct Oracle<'a> {
    module: Module<'a>,
    live: Vec<Live>,
}

/// What was compared.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Compared {
    pub(crate) events: u64,
    pub(crate) locals: u64,
    pub(crate) operands: u64,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(wasm: &'a [u8]) -> Self {
        let module = Module::new(wasm);
        let live = module.functions.iter().map(Live::of).collect();
        Self { module, live }
    }

    /// What calling `run` gives, and the part of the memory it leaves.
    pub(crate) fn outcome(&self, arguments: &[Value], watch: &mut impl Watch) -> (Result<Vec<Value>, Trap>, Vec<u8>) {
        let mut machine = Machine::new(&self.module).expect("instantiation does not trap");
        let outcome = machine.call(self.module.exports["run"], arguments, watch);
        (outcome, machine.storage.memory[..SHOWN].to_vec())
    }

    /// Compares a run of the VM with the reference's, in lockstep.
    pub(crate) fn check(&self, run: &Run, arguments: &[Value]) -> Result<Compared, Difference> {
        let mut watch = Lockstep { oracle: self, events: &run.events, next: 0, found: Ok(Compared::default()) };
        let (outcome, memory) = self.outcome(arguments, &mut watch);
        let compared = watch.found?;
        if let Some(event) = run.events.get(watch.next) {
            return Err(Difference(format!("the reference is never where this is, at this time: {event:?}")));
        }
        let same = match (&outcome, &run.outcome) {
            (Ok(want), Ok(got)) => want.len() == got.len() && want.iter().zip(got).all(|(want, got)| alike(*want, slot(got))),
            (Err(want), Err(got)) => want == got,
            _ => false,
        };
        if !same {
            return Err(Difference(format!("ended with {:?}, not {outcome:?}", run.outcome)));
        }
        if memory != run.memory {
            return Err(Difference(format!("left the memory {:?}, not {memory:?}", run.memory)));
        }
        Ok(compared)
    }

    /// Whether a local of a frame is live at an offset.
    pub(crate) fn is_live(&self, function: u32, offset: u32, local: u32) -> bool {
        let operators = &self.module.functions[function as usize].operators;
        let at = operators.iter().position(|operator| operator.1 == offset).expect("an operator's offset");
        self.live[function as usize].before(at).any(|live| live == local)
    }
}

fn slot(value: &tierup_interp::Val) -> u64 {
    use tierup_interp::Val;
    match *value {
        Val::I32(value) => u64::from(value as u32),
        Val::I64(value) => value as u64,
        Val::F32(bits) => u64::from(bits),
        Val::F64(bits) => bits,
        ref other => panic!("the programs have no {other:?}"),
    }
}

/// Whether a slot is this value; any NaN is any other.
fn alike(want: Value, got: u64) -> bool {
    match want {
        Value::I32(want) => u64::from(want) == got,
        Value::I64(want) => want == got,
        Value::F32(want) => {
            u64::from(want) == got || f32::from_bits(want).is_nan() && got >> 32 == 0 && f32::from_bits(got as u32).is_nan()
        }
        Value::F64(want) => want == got || f64::from_bits(want).is_nan() && f64::from_bits(got).is_nan(),
        Value::Ref(want) => want.is_some() == (got != 0),
    }
}

struct Lockstep<'a> {
    oracle: &'a Oracle<'a>,
    events: &'a [Event],
    /// The event that is to be met next.
    next: usize,
    found: Result<Compared, Difference>,
}

impl Watch for Lockstep<'_> {
    fn at(&mut self, frames: &[Frame], memory: &[u8]) {
        let Ok(mut compared) = self.found else { return };
        while let Some(event) = self.events.get(self.next).filter(|event| self.is_here(event, frames, memory)) {
            self.next += 1;
            match self.compare(event, frames, memory, &mut compared) {
                Ok(()) => self.found = Ok(compared),
                Err(what) => {
                    return self.found =
                        Err(Difference(format!("{what}\nthe VM told: {event:?}\nthe reference has: {frames:?}")));
                }
            }
        }
    }
}

impl Lockstep<'_> {
    fn offset(&self, frame: &Frame) -> u32 {
        self.oracle.module.functions[frame.function as usize].operators[frame.next].1
    }

    /// Whether the reference is where the event was, for the same time.
    fn is_here(&self, event: &Event, frames: &[Frame], memory: &[u8]) -> bool {
        let (told, have) = (event.frames.last().expect("a frame"), frames.last().expect("a frame"));
        told.function == have.function && told.offset == self.offset(have) && event.tick() == tick(memory)
    }

    fn compare(&self, event: &Event, frames: &[Frame], memory: &[u8], compared: &mut Compared) -> Result<(), String> {
        // The frames of an event are the innermost ones.
        let first = frames.len().checked_sub(event.frames.len()).ok_or("fewer frames than that")?;
        for (told, have) in event.frames.iter().zip(&frames[first..]) {
            self.compare_frame(told, have, compared)?;
        }
        if event.memory != memory[..SHOWN] {
            return Err("memory differs".to_owned());
        }
        compared.events += 1;
        Ok(())
    }

    fn compare_frame(&self, told: &LiveFrame, have: &Frame, compared: &mut Compared) -> Result<(), String> {
        if (told.function, told.offset) != (have.function, self.offset(have)) {
            return Err(format!("function {} is at {}", have.function, self.offset(have)));
        }
        for local in self.oracle.live[have.function as usize].before(have.next) {
            let want = have.locals[local as usize];
            let got = told.locals.iter().find(|&&(index, _)| index == local).ok_or(format!("local {local} is live"))?.1;
            if !alike(want, got) {
                return Err(format!("local {local} is {want:?}, not {got:#x}"));
            }
            compared.locals += 1;
        }
        if told.operands.len() != have.operands.len() {
            return Err(format!("{} operands, not {}", have.operands.len(), told.operands.len()));
        }
        for (at, (&want, &got)) in have.operands.iter().zip(&told.operands).enumerate() {
            if !alike(want, got) {
                return Err(format!("operand {at} is {want:?}, not {got:#x}"));
            }
            compared.operands += 1;
        }
        Ok(())
    }
}
