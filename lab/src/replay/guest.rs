//! A guest thread: does its records step by step, and asks the broker before each what to run.

use std::slice;

use tierup_broker::{Bead, CALL_WORK, InterpThread};

use super::compiler::tier_of;
use crate::{Kind, Program, Record, metrics::Meter};

/// Steps between quiescent points.
const QUIET: u32 = 1024;

/// Calls in one step. A policy is asked when they are made, not in between: that is a few microseconds too early.
const CALLS: u32 = 16;

/// Work of a loop between two back-edges.
const TURN: u32 = 128;

/// What a call of a function runs in: its tier, and what that code was compiled for.
type Frame = (usize, Kind);

const INTERPRETED: Frame = (0, Kind::Calls);

/// A step: what is left of it, and the time a unit takes.
#[derive(Debug, Clone, Copy)]
struct Step {
    frame: Frame,
    work: f64,
    pace: f64,
}

/// One guest thread.
#[derive(Debug)]
pub(super) struct GuestThread<'p> {
    program: &'p Program,
    number: u16,
    thread: InterpThread<u32>,
    records: slice::Iter<'p, Record>,
    /// The record at hand, and what comes after the step at hand.
    record: Option<(&'p Record, f64)>,
    step: Option<Step>,
    /// The last call of each function.
    frames: Vec<Frame>,
    steps: u32,
}

impl<'p> GuestThread<'p> {
    pub(super) fn new(program: &'p Program, number: u16, thread: InterpThread<u32>) -> Self {
        let frames = vec![INTERPRETED; program.functions.len()];
        GuestThread { program, number, thread, records: program.records.iter(), record: None, step: None, frames, steps: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.step.is_none()
    }

    /// Time until the step at hand is over.
    pub(super) fn left(&self) -> Option<f64> {
        self.step.map(|step| step.work * step.pace)
    }

    /// Works for `time`, which lasted from `start` to `end`.
    pub(super) fn advance(&mut self, time: f64, start: f64, end: f64, meter: &mut Meter<'_>) {
        let (Some(step), Some((record, _))) = (&mut self.step, self.record) else { return };
        // The shortest is over, whatever rounding says.
        let is_over = step.work * step.pace <= time;
        let work = if is_over { step.work } else { time / step.pace };
        step.work -= work;
        meter.segment(record, step.frame, work, start, end);
        if is_over {
            self.step = None;
        }
    }

    /// Begins the next step if none is under way.
    pub(super) fn begin(&mut self, beads: &[Bead<u32>]) {
        if self.step.is_some() {
            return;
        }
        self.steps += 1;
        if self.steps.is_multiple_of(QUIET) {
            self.thread.quiescent();
        }
        while self.record.is_none_or(|(_, left)| left <= 0.0) {
            self.record =
                self.records.by_ref().find(|record| record.thread == self.number).map(|record| (record, record.work as f64));
            if self.record.is_none() {
                return;
            }
        }
        let Some((record, left)) = self.record else { return };
        let function = record.function as usize;
        let tiers = &self.program.functions[function].tiers;
        let top = tiers.len() - 1;
        let frame = match record.kind {
            Kind::Calls => self.call(&beads[function], top),
            // The highest tier counts nothing, and nothing is better.
            Kind::Loop { .. } if self.frames[function].0 == top => self.frames[function],
            Kind::Loop { site } => self.turn(&beads[function], self.frames[function], site),
        };
        self.frames[function] = frame;
        let most = if record.kind == Kind::Calls { CALLS * CALL_WORK } else { TURN };
        let work = if frame.0 == top { left } else { left.min(most.into()) };
        self.record = Some((record, left - work));
        self.step = Some(Step { frame, work, pace: tiers[frame.0].pace });
    }

    /// The first of some calls looks what there is; the others are counted with it.
    fn call(&self, bead: &Bead<u32>, top: usize) -> Frame {
        let tier: usize = self.thread.on_invoke(bead.as_ref()).map_or(0, |code| code.tier().index().into());
        if tier < top {
            self.thread.count_native(bead.as_ref(), (CALLS - 1) * CALL_WORK, None);
        }
        (tier, Kind::Calls)
    }

    fn turn(&self, bead: &Bead<u32>, frame: Frame, site: u32) -> Frame {
        let entry = match frame.0 {
            0 => self.thread.on_back_edge(bead.as_ref(), site, TURN),
            _ if self.thread.count_native(bead.as_ref(), TURN, Some(site)) => self.thread.osr_entry(bead.as_ref(), site),
            _ => None,
        };
        entry.map_or(frame, |entry| (tier_of(entry.address()), Kind::Loop { site }))
    }
}
