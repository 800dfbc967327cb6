//! Leaving compiled code through an exit: its frames are put together for the interpreter, and whoever is concerned is told.
//!
//! The lowering speculates on what indirect calls call, and on it that a test mode does not ask: [`Deopt`] has the code leave at some of
//! the interpreter's resume points, whose numbers [`Countdown`] counts.

use tierup::deopt::ExitReason;
use tierup::{DeoptDecision, DeoptPolicy, DeoptSample, GuardId, KeepAlways};

use crate::config::Deopt;
use crate::draws::SplitMix64;
use crate::engine::Engine;
use crate::exec::rebuild::{FrameState, Rebuilt, rebuild};
use crate::module::Body;
use crate::owned::Owned;
use crate::recovery::Recovery;
use crate::store::StoreInner;
use crate::transfer;
use crate::trap::Raised;
use crate::vmctx::VmCtx;

use std::sync::Arc;

/// What a guard tests; the low byte of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum GuardKind {
    /// That a test mode does not want the code to leave.
    Test = 0,
    /// That an indirect call calls what it has called.
    Target = 1,
    /// That code is not reached that never was.
    Arm = 2,
    /// That the code was not withdrawn, after a poll.
    Poll = 4,
    /// That nobody has written to what must not change, after a call.
    Unwritten = 5,
}

impl GuardKind {
    /// The guard of this kind at an operator: the same whenever the function is compiled.
    pub(crate) fn at(self, offset: u32) -> GuardId {
        GuardId(u64::from(offset) << 8 | self as u64)
    }

    const ALL: [Self; 5] = [Self::Arm, Self::Target, Self::Unwritten, Self::Poll, Self::Test];

    fn is_of(self, guard: GuardId) -> bool {
        guard.0 as u8 == self as u8
    }

    /// The place of one, and of several.
    fn places(self) -> [&'static str; 2] {
        match self {
            Self::Arm => ["part that had never run", "parts that had never run"],
            Self::Target => ["indirect call of what it had not called", "indirect calls of what they had not called"],
            Self::Unwritten => {
                ["call that may write to what nobody had written", "calls that may write to what nobody had written"]
            }
            Self::Poll => ["poll", "polls"],
            Self::Test => ["place that a test chose", "places that a test chooses"],
        }
    }
}

/// In words: where one guard is, or of which kinds there are how many.
pub(crate) fn describe_guards(guards: &[GuardId]) -> String {
    let kinds = GuardKind::ALL.iter().filter_map(|kind| {
        let [one, several] = kind.places();
        match guards.iter().filter(|&&guard| kind.is_of(guard)).count() {
            0 => None,
            1 if guards.len() == 1 => Some(format!("the {one}, at {:#x}", guards[0].0 >> 8)),
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {several}")),
        }
    });
    kinds.collect::<Vec<_>>().join(", ")
}

/// Where compiled code was left: exit `number` of the unit that `pc` lies in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    /// A return address in the code, or the entry of a variant.
    pub(crate) pc: usize,
    pub(crate) number: u32,
}

/// Puts the frames of code that has just left on the value stack, the outermost at `fp`; when that returns it goes on as `back`
/// says.
///
/// # Errors
///
/// As [`rebuild`], with a backtrace of these frames.
///
/// # Safety
///
/// - The calling thread runs `store`, and the exit was taken by code that ran with `vmctx`; the values are still in the wide buffer;
/// - nothing is in use on the value stack from `fp` on, and `back` is what [`rebuild`] wants.
pub(crate) unsafe fn leave<'a>(
    store: *mut StoreInner,
    vmctx: *mut VmCtx,
    fp: *mut u64,
    back: [u64; 2],
    left: Left,
) -> Result<Rebuilt<'a>, Raised> {
    // SAFETY: by the caller, the store is alive; nothing borrows its thread mutably while guests run.
    let (engine, thread, cells) = unsafe { (&(*store).engine, &(*store).thread, (*store).cells) };
    let table = engine.exits(left.pc).expect("code that leaves has exits");
    let exit = table.exit(left.number).expect("it leaves through one of them");
    // SAFETY: by the caller; no guest runs before the frames have them.
    let words = unsafe { std::slice::from_raw_parts((*cells).wide.cast_const(), exit.words()) };
    exit.take();
    // SAFETY: by the caller; no code runs that counts.
    unsafe {
        (*store).deopts += 1;
        if GuardKind::Test.is_of(exit.guard()) {
            (*store).exit_countdown.aim();
        }
    }
    // SAFETY: functions of exits are bodies, which the code keeps. That has just been left: nothing is freed before the frames are
    // there and the thread polls.
    let body = |function: u64| unsafe { &*(function as *const Body) };
    if let (ExitReason::Unreached, [.., left]) = (exit.reason(), exit.frames())
        && let Some(arms) = body(left.function).running().arms()
    {
        arms.enter(left.pc);
    }
    let frames =
        || exit.rebuild(words).map(|frame| FrameState { body: body(frame.function()), offset: frame.pc(), slots: frame.slots() });
    // SAFETY: by the caller; an exit's frames are of the instance it was lowered for, and have what is live.
    let rebuilt = unsafe { rebuild(store, vmctx, fp, back, frames()) }.map_err(|mut raised| {
        for frame in exit.rebuild(words).rev() {
            // SAFETY: the instance keeps its module.
            raised.push(unsafe { body(frame.function()).function() }, frame.pc());
        }
        raised
    })?;
    // SAFETY: by the caller.
    unsafe { transfer::tell_exit(store, vmctx, frames()) };
    if let Some(unit) = table.unit() {
        thread.on_exit(unit, exit.guard());
    }
    Ok(rebuilt)
}

/// How many points code passes before it leaves, in [`Deopt`]'s modes. One per store.
pub(crate) struct Countdown {
    /// The points to pass; code takes one at each, and leaves where that makes it negative.
    left: Owned<i64>,
    mode: Deopt,
    draws: SplitMix64,
}

/// Points passed before the next exit are fewer than a power of two, of which each up to this one is as likely.
const MOST_PASSED: u64 = 8;

impl Countdown {
    /// That of a store of this engine.
    #[inline]
    pub(crate) fn new(engine: &Engine) -> Self {
        let mode = engine.config().deopt;
        let seed = if let Deopt::Random(seed) = mode { seed } else { 0 };
        let mut countdown = Self { left: Owned::new(0), mode, draws: SplitMix64::new(seed) };
        countdown.aim();
        countdown
    }

    /// Where code counts.
    pub(crate) fn cell(&self) -> *mut i64 {
        self.left.as_ptr()
    }

    fn aim(&mut self) {
        let pass = match self.mode {
            Deopt::Off => return,
            Deopt::Every(n) => i64::from(n.get()) - 1,
            Deopt::Random(_) => self.draws.distance(MOST_PASSED) as i64,
        };
        // SAFETY: the cell is ours, and no code runs that counts.
        unsafe { *self.left.as_ptr() = pass };
    }
}

/// A configuration's policy, which is not asked about exits that a test mode had taken: they say nothing of the code.
pub(crate) struct TestsKeep(pub(crate) Option<Arc<dyn DeoptPolicy>>);

impl DeoptPolicy for TestsKeep {
    fn decide(&self, sample: &DeoptSample) -> DeoptDecision {
        match &self.0 {
            _ if GuardKind::Test.is_of(sample.guard) => KeepAlways.decide(sample),
            Some(policy) => policy.decide(sample),
            None => Recovery::default().decide(sample),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_in_words() {
        let [arm, other, poll] = [GuardKind::Arm.at(0x2f0), GuardKind::Arm.at(9), GuardKind::Poll.at(9)];
        assert_eq!(describe_guards(&[arm]), "the part that had never run, at 0x2f0");
        assert_eq!(describe_guards(&[arm, other, poll]), "2 parts that had never run, 1 poll");
        for kind in GuardKind::ALL {
            assert!(describe_guards(&[kind.at(77)]).ends_with(", at 0x4d"), "each kind has words");
        }
    }
}
