//! Loop sites: where a frame of the interpreter can go on in compiled code, and where compiled code can leave for other code.
//!
//! A site's number and its slots are the interpreter's ([`prepare`](crate::prepare)): the same loops are numbered in the same
//! order, a local has the slot of its index, an operand the one after the control slots that its height gives it. Locals that
//! nobody reads any more are in no slot.

use std::rc::Rc;

use tierup::Site;

use super::clif::{Block, Value};
use super::function::FuncLower;
use super::stack::{Frame, FrameKind};
use crate::liveness::Liveness;
use crate::prepare::CONTROL_SLOTS;

/// The sites of one body under way, if anybody wants them.
pub(super) struct LoopSites {
    liveness: Rc<Liveness>,
    /// How many there were.
    pub(super) next: u32,
}

impl LoopSites {
    pub(super) fn new(liveness: Rc<Liveness>) -> Self {
        Self { liveness, next: 0 }
    }
}

/// A site that was declared.
pub(super) struct DeclaredSite {
    pub(super) id: u32,
    /// What its slots hold.
    pub(super) live: Vec<(u32, Value)>,
}

impl FuncLower<'_, '_> {
    /// Declares the loop whose header the builder has just entered, its parameters pushed.
    ///
    /// `unpaid` is what counting adds to, in the header and at the function's entry.
    pub(super) fn declare_site(&mut self, header: Block, unpaid: Option<(Value, Value)>) -> Option<DeclaredSite> {
        let (id, locals) = self.site_here()?;
        let locals: Vec<u32> = locals.collect();
        if let Some(sites) = &mut self.sites {
            sites.next = id + 1;
        }
        let mut live: Vec<(u32, Value)> =
            locals.into_iter().map(|local| (local, self.b.use_var(self.locals[local as usize]))).collect();
        let first_operand = self.locals.len() as u32 + CONTROL_SLOTS;
        let operands: Vec<Value> = self.guest_operands().collect();
        #[cfg(test)]
        tests::note(id, self.offset, operands.len(), self.returns.is_some());
        live.extend((first_operand..).zip(operands));
        let checked_len = self.checked_len.map(|len| (self.b.use_var(len.variable), len.at_entry));
        let computed = unpaid.into_iter().chain(checked_len).collect();
        // A call that is inlined is left at a loop, but not entered there.
        if self.returns.is_none() {
            self.cx.loop_site(Site { id, header, live: live.clone(), computed });
        }
        Some(DeclaredSite { id, live })
    }

    /// The number of the loop whose operator is being lowered, and which locals are live at it; if anybody wants sites.
    pub(super) fn site_here(&self) -> Option<(u32, impl Iterator<Item = u32>)> {
        let sites = self.sites.as_ref()?;
        let offset = self.offset;
        // Where arms are left out, loops may be missing.
        let id = self.resuming.and_then(|resuming| resuming.prepared.site_at(offset)).unwrap_or(sites.next);
        Some((id, sites.liveness.at(offset).expect("the analysis met the same loops").iter()))
    }

    /// The operands as the guest has them.
    pub(super) fn guest_operands(&self) -> impl Iterator<Item = Value> {
        guest_operands(self.operands.height(), &self.frames).map(|at| self.operands.all()[at])
    }
}

/// Which of that many operands the guest has: an open `if` keeps its parameters a second time, for its `else`.
pub(super) fn guest_operands(height: usize, frames: &[Frame]) -> impl Iterator<Item = usize> {
    let copies = |at: &usize| {
        frames
            .iter()
            .any(|frame| matches!(frame.kind, FrameKind::Then { .. }) && (frame.height..frame.height + frame.params).contains(at))
    };
    (0..height).filter(move |at| !copies(at))
}

#[cfg(test)]
mod tests;
