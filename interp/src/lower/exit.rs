//! Where code may leave for the interpreter: frames at its resume points, and the exits that tests have planted at every one.
//!
//! A planted exit costs a load, a store and a branch: the store's countdown says which of them leaves. Nothing is planted unless
//! [`Deopt`](crate::Deopt) says so.

use std::mem::offset_of;

use tierup::deopt::{ExitReason, FrameState};

use super::clif::{InstBuilder, IntCC, types};
use super::function::FuncLower;
use super::vmctx;
use crate::deopt::GuardKind;
use crate::module::{Body, ModuleInner};
use crate::prepare::{self, Prepared};
use crate::vmctx::VmCtx;

/// What all exits of one function may store, in words: one with a thousand live locals and as many points can still be compiled.
const MOST_WORDS: usize = 1 << 15;

/// The resume points of the body being lowered.
#[derive(Clone, Copy)]
pub(super) struct Resuming<'a> {
    module: &'a ModuleInner,
    pub(super) prepared: &'a Prepared,
    /// Words that more exits may store.
    room: usize,
}

impl<'a> Resuming<'a> {
    /// Of a body of `module`. `None` if the interpreter refuses it, who could not go on then.
    pub(super) fn new(module: &'a ModuleInner, body: &'a Body) -> Option<Self> {
        let prepared = prepare::ensure(module, body).ok()?;
        Some(Self { module, prepared, room: MOST_WORDS })
    }

    /// Takes room for exits that store so many words; `false` if there is not as much.
    pub(super) fn reserve(&mut self, words: usize) -> bool {
        let left = self.room.checked_sub(words);
        self.room = left.unwrap_or(self.room);
        left.is_some()
    }
}

impl FuncLower<'_, '_> {
    /// What the interpreter's frame holds before the operator whose lowering begins here, if that is a resume point and there is room
    /// for one more exit.
    pub(super) fn frame_state(&mut self) -> Option<FrameState> {
        let state = self.reserved_state()?;
        self.resuming.as_mut()?.reserve(state.values().count()).then_some(state)
    }

    /// The same where room was reserved.
    pub(super) fn reserved_state(&mut self) -> Option<FrameState> {
        let Resuming { module, prepared, .. } = self.resuming?;
        let offset = self.offset;
        let point = prepared.points(module).at(offset)?;
        let mut state = FrameState::of(self.body, offset);
        for local in prepared.live_locals(module, offset) {
            state = state.slot(local, self.b.use_var(self.locals[local as usize]));
        }
        let operands: Vec<_> = self.guest_operands().collect();
        debug_assert_eq!(operands.len(), point.height as usize, "the interpreter has as many operands");
        Some(state.slots((prepared.first_operand()..).zip(operands)))
    }

    /// Plants an exit before the operator whose lowering begins here (of a loop: at its header), if that is a resume point and exits
    /// are wanted. Code goes on in a new block.
    pub(super) fn plant_exit(&mut self) {
        if !self.plants_exits {
            return;
        }
        let Some(state) = self.frame_state() else { return };
        let countdown = vmctx::load_constant(self.b, self.abi.vmctx, offset_of!(VmCtx, exit_countdown));
        let flags = self.regions.exit_countdown();
        let before = self.b.ins().load(types::I64, flags, countdown, 0);
        let left = self.b.ins().iadd_imm_s(before, -1);
        self.b.ins().store(flags, left, countdown, 0);
        let stays = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, left, 0);
        // Where the frame has too many slots, the next point leaves.
        let guard = GuardKind::Test.at(self.offset);
        let _planted = self.cx.guard(self.b, &self.abi, stays, &state, guard, ExitReason::Requested);
    }
}
