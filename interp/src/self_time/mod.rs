//! Where a thread spends its time: in which functions of a module, interpreted or compiled, and how much outside of them.
//!
//! A timer interrupts the thread every so often. What it was about is told by two registers: the pc, which is in a function's native code, or
//! else in the interpreter's; and the one in which handlers pass on the instruction pointer, which is then in a function's prepared code.
//! Neither the interpreter nor compiled code does anything for this, so what is measured is what runs otherwise.
//!
//! *Errors.* A function that was met `n` times has a standard error of `√n` samples. Handlers change the register some instructions before
//! they jump, so that about a handler's length around a call is put down to the other function. A helper or host function that is called is
//! outside of all functions, whoever called it.

mod timer;

use std::collections::HashMap;
use std::time::Duration;

use crate::error::Error;
use crate::module::{Body, Module};
use timer::{Moment, Timer};

/// How often one function was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SelfTime {
    /// Interpreted.
    pub interpreted: u64,
    /// In native code of whatever tier. What an optimizing tier has inlined counts for the function whose code it is in, but where it calls or traps.
    pub native: u64,
}

/// Where a thread was met.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SelfTimes {
    /// By the functions' indices in their module, imports counted.
    pub functions: HashMap<u32, SelfTime>,
    /// Elsewhere: in the host, in a compiler that the thread waits for, in other modules.
    pub elsewhere: u64,
    /// Samples there was no room for: what came later.
    pub lost: u64,
    /// Processor time of the thread: what all samples together stand for.
    pub time: Duration,
}

impl SelfTimes {
    /// What one sample stands for.
    pub fn sample(&self) -> Duration {
        let functions: u64 = self.functions.values().map(|function| function.interpreted + function.native).sum();
        let all = functions + self.elsewhere + self.lost;
        self.time.div_f64(all.max(1) as f64)
    }
}

impl Module {
    /// Runs `run`, and says where the calling thread was meanwhile, looking every `period`. Room is made for 200,000 samples.
    ///
    /// Bodies that are reloaded meanwhile are met in vain. The process's handler of SIGPROF is replaced for good, by one that ignores
    /// what other timers send.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] where there is no such timer: on other systems than Linux on x86-64, or when the system gives none.
    pub fn self_times<R>(&self, period: Duration, run: impl FnOnce() -> R) -> Result<(R, SelfTimes), Error> {
        let timer = Timer::start(period).map_err(|error| Error::Engine(format!("no timer to look where time goes: {error}")))?;
        let result = run();
        let record = timer.stop();
        let mut times = SelfTimes { functions: HashMap::new(), elsewhere: 0, lost: record.lost, time: record.time };
        let places = Places::of(self);
        for moment in record.moments {
            match places.find(moment) {
                Some((index, true)) => times.functions.entry(index).or_default().native += 1,
                Some((index, false)) => times.functions.entry(index).or_default().interpreted += 1,
                None => times.elsewhere += 1,
            }
        }
        Ok((result, times))
    }
}

/// Where the code of a module's functions is.
struct Places<'m> {
    module: &'m Module,
    /// First address, end and index of prepared code, ascending.
    prepared: Vec<(usize, usize, u32)>,
    /// What native code says that it was made of.
    bodies: HashMap<*const Body, u32>,
}

impl<'m> Places<'m> {
    fn of(module: &'m Module) -> Self {
        let mut places = Places { module, prepared: Vec::new(), bodies: HashMap::new() };
        for function in &module.0.functions {
            // That of a later body goes when the body does, which may be now; the first's stays as long as the module.
            if let Some(prepared) = function.first.prepared.get() {
                let addresses = prepared.addresses();
                places.prepared.push((addresses.start, addresses.end, function.index));
            }
            places.bodies.insert(&raw const function.first, function.index);
        }
        places.prepared.sort_unstable();
        places
    }

    /// The function, and whether it was in native code.
    fn find(&self, moment: Moment) -> Option<(u32, bool)> {
        if let Some(position) = self.module.0.engine.code_map().and_then(|map| map.find(moment.pc)) {
            return Some((*self.bodies.get(&(position.tag as *const Body))?, true));
        }
        let after = self.prepared.partition_point(|&(start, ..)| start <= moment.ip);
        let &(_, end, index) = self.prepared[..after].last()?;
        (moment.ip < end).then_some((index, false))
    }
}
