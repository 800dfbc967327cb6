//! What a translation notes besides the code, if asked: where instructions come from, or where frames can go on.

use wasmparser::Operator;

use super::Origin;
use super::point::{self, Call, Points};
use super::translate::Translator;

/// What to note: where instructions come from?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notes {
    /// No.
    None,
    /// Yes, every one.
    Origins,
    /// Not that, but where frames can go on.
    Points,
    /// Not that, but what they are, for [templates](crate::template).
    Kinds,
}

/// What was noted.
#[derive(Default)]
pub(super) struct Noted {
    pub(super) origins: Vec<Origin>,
    pub(super) points: Points,
}

impl Translator<'_> {
    /// Notes that a frame can go on before the operator, if it can. (At a loop it does so at the header: see `loop_`.)
    pub(super) fn note_before(&mut self, operator: &Operator<'_>) {
        if self.points.is_none() {
            return;
        }
        let is_point = self.arrived || point::is_point(operator);
        if is_point && self.live && !matches!(operator, Operator::Loop { .. }) {
            self.note_point();
        }
    }

    pub(super) fn note_after(&mut self, operator: &Operator<'_>) {
        // An `end` that nobody branches to is nothing: what comes next may be merged with what came before.
        let is_nothing = matches!(operator, Operator::End) && self.code.last().is_some();
        self.arrived = point::is_before_point(operator) && !is_nothing;
    }

    pub(super) fn note_point(&mut self) {
        if let Some(points) = &mut self.points {
            let Self { code, stack, .. } = self;
            points.add(code.offset, code.here(), stack.height(), stack.unsettled(), stack.accumulated());
        }
    }

    /// Notes that the last point is a call, which was just written.
    pub(super) fn note_call(&mut self, base: u16) {
        if let Some(points) = &mut self.points {
            points.is_call(Call { back: self.code.here() as u32, base: base.into() });
        }
    }
}
