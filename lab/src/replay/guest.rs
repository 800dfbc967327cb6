//! A guest thread: does its records step by step, and asks the broker before each what to run.

use std::slice;

use tierup_broker::{Bead, CALL_WORK, InterpThread, OsrEntry, SAMPLE_WORK};

use super::{
    code::{Codes, PERIOD},
    compiler::tier_of,
};
use crate::{Kind, Record, metrics::Meter};

/// Steps between quiescent points.
const QUIET: u32 = 1024;

/// Calls in one step. A policy is asked when they are made, not in between: that is a few microseconds too early.
const CALLS: u32 = 16;

/// Work of a loop between two back-edges.
const TURN: u32 = 128;

/// Back-edges that are looked at, at most, where a loop of sampled code has earned a variant.
const LOOKS: u32 = 64;

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
    codes: &'p Codes<'p>,
    number: u16,
    thread: InterpThread<u32>,
    records: slice::Iter<'p, Record>,
    /// The record at hand, and what comes after the step at hand.
    record: Option<(&'p Record, f64)>,
    step: Option<Step>,
    /// The last call of each function.
    frames: Vec<Frame>,
    steps: u32,
    /// When it is sampled next.
    sample: f64,
}

impl<'p> GuestThread<'p> {
    pub(super) fn new(codes: &'p Codes<'p>, number: u16, thread: InterpThread<u32>) -> Self {
        let program = codes.program();
        let frames = vec![INTERPRETED; program.functions.len()];
        let records = program.records.iter();
        GuestThread { codes, number, thread, records, record: None, step: None, frames, steps: 0, sample: PERIOD }
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

    /// There is other code: what is left of the step at hand may run in it.
    pub(super) fn look_again(&mut self) {
        if let (Some(step), Some((_, left))) = (self.step.take(), &mut self.record) {
            *left += step.work;
        }
    }

    /// Begins the next step if none is under way.
    pub(super) fn begin(&mut self, beads: &[Bead<u32>], now: f64) {
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
        let (function, top) = (record.function as usize, self.codes.top());
        let bead = &beads[function];
        // What runs in a loop's variant is met there.
        let is_silent = record.kind == Kind::Calls && self.codes.is_silent(function, self.frames[function].0);
        let sampled = now >= self.sample && !is_silent;
        if sampled {
            self.sample = now + PERIOD;
        }
        let frame = match record.kind {
            Kind::Calls => self.call(bead, function, sampled),
            // The highest tier counts nothing, and nothing is better.
            Kind::Loop { .. } if self.frames[function].0 == top => self.frames[function],
            Kind::Loop { site } => self.turn(bead, function, site, sampled),
            Kind::Short { site } => self.short(bead, function, site, sampled),
        };
        self.frames[function] = frame;
        let pace = self.codes.pace(function, frame.0);
        let most = match record.kind {
            _ if frame.0 == top || self.codes.is_silent(function, frame.0) => left,
            _ if self.codes.is_sampled(function, frame.0) => ((self.sample - now) / pace).max(1.0),
            Kind::Calls | Kind::Short { .. } => (CALLS * CALL_WORK).into(),
            Kind::Loop { .. } => TURN.into(),
        };
        let work = left.min(most);
        self.record = Some((record, left - work));
        self.step = Some(Step { frame, work, pace });
    }

    /// The first of some calls looks what there is; the others are counted with it.
    fn call(&self, bead: &Bead<u32>, function: usize, sampled: bool) -> Frame {
        let tier: usize = self.thread.on_invoke(bead.as_ref()).map_or(0, |code| code.tier().index().into());
        match tier {
            0 => drop(self.thread.count_native(bead.as_ref(), (CALLS - 1) * CALL_WORK, None)),
            _ if tier == self.codes.top() => {}
            _ if !self.codes.is_sampled(function, tier) => drop(self.thread.count_native(bead.as_ref(), CALLS * CALL_WORK, None)),
            _ if sampled => drop(self.thread.count_native(bead.as_ref(), SAMPLE_WORK, None)),
            _ => {}
        }
        (tier, Kind::Calls)
    }

    /// Loops of calls that are over before they are looked at closely: a variant serves them where there is no body.
    fn short(&self, bead: &Bead<u32>, function: usize, site: u32, sampled: bool) -> Frame {
        let body = self.thread.native_code(bead.as_ref()).map_or(0, |code| code.tier().index().into());
        let variant = self.thread.osr_entry(bead.as_ref(), site).map_or(0, |entry| tier_of(entry.address()));
        let (tier, frame) = if variant > body { (variant, Kind::Loop { site }) } else { (body, Kind::Calls) };
        let at = (tier == variant && tier > body).then_some(site);
        match tier {
            0 => drop(self.thread.count_native(bead.as_ref(), CALLS * CALL_WORK, None)),
            _ if tier == self.codes.top() => {}
            _ if !self.codes.is_sampled(function, tier) => drop(self.thread.count_native(bead.as_ref(), CALLS * CALL_WORK, at)),
            _ if sampled => drop(self.thread.count_native(bead.as_ref(), SAMPLE_WORK, at)),
            _ => {}
        }
        (tier, frame)
    }

    fn turn(&self, bead: &Bead<u32>, function: usize, site: u32, sampled: bool) -> Frame {
        let frame = self.frames[function];
        let entry = match frame.0 {
            0 => self.thread.on_back_edge(bead.as_ref(), site, TURN),
            tier if !self.codes.is_sampled(function, tier) => self.leave(bead, site, TURN),
            // Where the loop has earned a variant the next back-edges are looked at, one by one.
            _ if sampled => self.leave(bead, site, SAMPLE_WORK).or_else(|| (0..LOOKS).find_map(|_| self.leave(bead, site, 1))),
            _ => None,
        };
        entry.map_or(frame, |entry| (tier_of(entry.address()), Kind::Loop { site }))
    }

    /// Tells of work in a loop of compiled code, and leaves it for a better variant if there is one.
    fn leave(&self, bead: &Bead<u32>, site: u32, work: u32) -> Option<OsrEntry<'_>> {
        let leaves = self.thread.count_native(bead.as_ref(), work, Some(site));
        leaves.then(|| self.thread.osr_entry(bead.as_ref(), site)).flatten()
    }
}
