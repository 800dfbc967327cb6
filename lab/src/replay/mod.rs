//! What a program takes under a policy: replayed on a virtual clock.
//!
//! Nothing is imitated but the code and the compilers. A real [`Broker`] counts, asks the policy, queues, picks the best job, installs, drops what
//! went cold and backs off, all by a clock that the replay sets. Guest threads do their records step by step, each step
//! taking as long as the tier it runs in needs; compiles take as long as the program's facts say. The same program, policy and
//! machine give the same outcome.
//!
//! The broker has no threads of its own ([`Mode::Pump`]): the replay's workers call `run_pending`, one at a time, and stay in the compiler until the
//! clock shows that their compile is over.

mod code;
mod compiler;
mod guest;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tierup_broker::{BeadSpec, Broker, ConfigError, HotnessPolicy, ManualClock, Mode, RegisterError, Transition};

use self::{
    code::Codes,
    compiler::{ReplayCompiler, Stage},
    guest::GuestThread,
    worker::Worker,
};
use crate::{
    Machine, Program,
    metrics::{Meter, Outcome},
};

/// Nanoseconds after which an idle worker looks again for a job among requests that it may not take.
const AGAIN: f64 = 1e6;

/// Why a program cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The machine, or the number of tiers, is none there is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Too many functions or threads.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// A worker could not be started.
    #[error("no thread for a worker: {0}")]
    Worker(#[from] std::io::Error),
}

/// What becomes of a program when `policy` decides what is compiled when.
///
/// # Errors
///
/// When the program has more tiers, functions or threads than a broker takes, or a worker cannot be started.
pub fn replay(program: &Program, machine: Machine, policy: impl HotnessPolicy + 'static) -> Result<Outcome, ReplayError> {
    let codes = Codes::new(program, &policy);
    let clock = ManualClock::new();
    let stage = Arc::new(Stage::default());
    let mut builder = Broker::builder().mode(Mode::Pump).clock(clock.clone()).workers(machine.workers).policy(policy);
    let waits = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&waits);
    builder = builder.on_event(Arc::new(move |event| {
        if event.what == Transition::Installed {
            noted.lock().unwrap_or_else(PoisonError::into_inner).push(event.queue_wait.as_nanos() as f64);
        }
    }));
    // Policies may have rules for functions by name.
    let names: Vec<String> = program.functions.iter().map(|function| function.name.clone()).collect();
    builder = builder.describe(move |&number: &u32| names.get(number as usize).cloned().unwrap_or_default());
    builder = builder.deadline(None).max_beads(program.functions.len().max(1) as u32);
    for name in program.tiers.iter().skip(1) {
        builder = builder.compiler(ReplayCompiler::new(name, &stage));
    }
    let broker = Arc::new(builder.build()?);
    let beads =
        program.functions.iter().zip(0..).map(|(function, number)| broker.register(number, BeadSpec { size: function.size }));
    let beads = beads.collect::<Result<Vec<_>, _>>()?;
    let mut workers = (0..machine.workers).map(|number| Worker::start(number, &broker, &stage)).collect::<Result<Vec<_>, _>>()?;
    let mut threads = Vec::new();
    for number in 0..program.threads() {
        threads.push(GuestThread::new(&codes, number as u16, broker.register_thread()?));
    }
    let mut meter = Meter::new(program);
    let mut now = 0.0_f64;
    // Requests there were when a worker last found nothing that it may do, and when it looks again nevertheless.
    let mut refused = (0, 0.0);
    loop {
        // Whoever has ended a step begins another, which may ask for something that an idle worker takes at once.
        threads.iter_mut().for_each(|thread| thread.begin(&beads, now));
        if threads.iter().all(GuestThread::is_done) {
            break;
        }
        let busy = workers.iter().filter(|worker| !worker.is_idle()).count();
        let pending = broker.pending();
        // What was refused a moment ago, for it is large, is again.
        if pending > busy && busy < workers.len() && (pending != refused.0 || now >= refused.1) {
            workers.iter_mut().filter(|worker| worker.is_idle()).for_each(|worker| worker.pick(&codes, &mut meter));
            let taken = workers.iter().filter(|worker| !worker.is_idle()).count();
            let pending = broker.pending();
            refused = if pending > taken { (pending, now + AGAIN) } else { (0, 0.0) };
        }
        let running = threads.iter().filter(|thread| !thread.is_done()).count();
        let slow = machine.slowdown(running, workers.iter().filter(|worker| !worker.is_idle()).count());
        let left = workers.iter().filter_map(Worker::left).chain(threads.iter().filter_map(GuestThread::left));
        let step = left.fold(f64::INFINITY, f64::min);
        let end = now + step * slow;
        clock.set(Duration::from_nanos(end as u64));
        threads.iter_mut().for_each(|thread| thread.advance(step, now, end, &mut meter));
        now = end;
        let mut installed = false;
        for worker in &mut workers {
            // Who has done a job looks for the next, before anybody else is done.
            if worker.advance(step) {
                installed = true;
                worker.pick(&codes, &mut meter);
            }
        }
        if installed {
            threads.iter_mut().for_each(GuestThread::look_again);
        }
    }
    drop(threads);
    drop(workers);
    let waits = std::mem::take(&mut *waits.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(meter.outcome(waits))
}
