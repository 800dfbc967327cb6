//! A worker: a thread that looks for a job when it is told to, and ends it when it is told to.

use std::{
    io,
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
};

use tierup_broker::Broker;

use super::{
    code::Codes,
    compiler::{Begun, Seat, Stage, Told},
};
use crate::metrics::Meter;

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    seat: Seat,
    stage: Arc<Stage>,
    pick: Option<mpsc::Sender<()>>,
    finish: Option<mpsc::Sender<()>>,
    told: mpsc::Receiver<Told>,
    thread: Option<JoinHandle<()>>,
    /// What it compiles, and how long that still takes.
    job: Option<(Begun, f64)>,
}

impl Worker {
    pub(super) fn start(number: usize, broker: &Arc<Broker<u32>>, stage: &Arc<Stage>) -> io::Result<Self> {
        let (pick, picks) = mpsc::channel();
        let (finish, finishes) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let (broker, done) = (Arc::clone(broker), tell.clone());
        let thread = thread::Builder::new().name(format!("replay-worker-{number}")).spawn(move || {
            while let Ok(()) = picks.recv() {
                broker.run_pending(1);
                if done.send(Told::Done).is_err() {
                    return;
                }
            }
        })?;
        let seat = Seat { tell, finish: Arc::new(Mutex::new(finishes)) };
        let (pick, finish, thread) = (Some(pick), Some(finish), Some(thread));
        Ok(Worker { seat, stage: Arc::clone(stage), pick, finish, told, thread, job: None })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// Time until the job is over.
    pub(super) fn left(&self) -> Option<f64> {
        self.job.as_ref().map(|(_, left)| *left)
    }

    /// Looks for a job.
    pub(super) fn pick(&mut self, codes: &Codes<'_>, meter: &mut Meter<'_>) {
        self.stage.enter(self.seat.clone());
        let sent = self.pick.as_ref().is_some_and(|pick| pick.send(()).is_ok());
        if let (true, Ok(Told::Begun(begun))) = (sent, self.told.recv()) {
            let tier = begun.tier.index().into();
            let took = codes.compile(begun.function as usize, tier);
            meter.compile(begun.function, tier, begun.kind, took);
            self.job = Some((begun, took as f64));
        }
    }

    /// Compiles for `step` nanoseconds. True when the job is installed.
    pub(super) fn advance(&mut self, step: f64) -> bool {
        let Some((_, left)) = &mut self.job else { return false };
        *left -= step;
        if *left > 0.0 {
            return false;
        }
        self.job = None;
        self.finish.as_ref().is_some_and(|finish| finish.send(()).is_ok()) && self.told.recv().is_ok()
    }
}

impl Drop for Worker {
    /// A job under way comes to nothing.
    fn drop(&mut self) {
        (self.pick, self.finish) = (None, None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
