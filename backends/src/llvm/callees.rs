//! The functions that a unit's lowerings name as callees: numbered, and captured before their bodies are read.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
};

use tierup_broker::{BeadRef, Callee, CodeUnit, CompileRequest};

use super::inline::{self, Body, Library};
use crate::{
    frontend::Frontend,
    lower::{Inliner, Job, Lower, Lowered},
    speculation::{CalleePremises, Speculation},
};

/// What one request's unit may be made of. Number 0 is the requested function itself.
pub(super) struct Callees<'r, 'a, G, L> {
    request: &'r CompileRequest<'a, G>,
    frontend: &'r Frontend<G, L>,
    known: RefCell<Vec<Known<'a, G>>>,
    /// What all that was lowered for the unit speculates on.
    speculation: Speculation,
}

struct Known<'a, G> {
    /// Address of its code cell: tells beads apart. The requested function's is known from its first call of itself.
    cell: Option<usize>,
    /// `None`: the requested function.
    callee: Option<Callee<'a, G>>,
}

impl<'r, 'a, G: Send + Sync + 'static, L: Lower<G>> Callees<'r, 'a, G, L> {
    pub(super) fn of(request: &'r CompileRequest<'a, G>, frontend: &'r Frontend<G, L>) -> Self {
        Callees {
            request,
            frontend,
            known: RefCell::new(vec![Known { cell: None, callee: None }]),
            speculation: Speculation::default(),
        }
    }

    /// The unit's entry speculates on that: its callees' exits come behind.
    pub(super) fn begin_with(&mut self, speculation: Speculation) {
        self.speculation = speculation;
    }

    /// What the unit speculates on.
    pub(super) fn take_speculation(&mut self) -> Speculation {
        std::mem::take(&mut self.speculation)
    }

    /// Tells the unit which of them it contains.
    pub(super) fn note(&self, contents: impl IntoIterator<Item = usize>, unit: CodeUnit) -> CodeUnit {
        let known = self.known.borrow();
        contents.into_iter().filter_map(|number| known[number].callee.as_ref()).fold(unit, CodeUnit::containing)
    }

    fn is_hot(&self, callee: &Callee<'_, G>) -> bool {
        // What has its first call before it is known what is hot is compiled for the sake of its speed.
        !callee.tier().is_interpreter() || self.request.running().is_interpreter()
    }
}

impl<G: Send + Sync + 'static, L: Lower<G>> Inliner<G> for Callees<'_, '_, G, L> {
    fn admit(&self, bead: BeadRef<'_, G>) -> Option<u32> {
        let cell = bead.code_cell().addr();
        let mut known = self.known.borrow_mut();
        let number = match known.iter().position(|known| known.cell == Some(cell)) {
            Some(number) => number,
            None => {
                let callee = self.request.callee(bead)?;
                if callee.id() == self.request.bead() {
                    if Job::of(self.request).site().is_some() {
                        // The unit has no body of the function: its entry is a variant.
                        return None;
                    }
                    known[0].cell = Some(cell);
                    0
                } else if inline::may_fit(callee.size(), self.is_hot(&callee)) {
                    known.push(Known { cell: Some(cell), callee: Some(callee) });
                    known.len() - 1
                } else {
                    return None;
                }
            }
        };
        u32::try_from(number).ok()
    }
}

impl<G: Send + Sync + 'static, L: Lower<G>> Library for Callees<'_, '_, G, L> {
    fn is_hot(&self, number: usize) -> bool {
        self.known.borrow()[number].callee.as_ref().is_none_or(|callee| self.is_hot(callee))
    }

    fn body(&mut self, number: usize) -> Option<Body> {
        let known = self.known.get_mut();
        // Others may be captured while this one is lowered.
        let callee = known[number].callee.take()?;
        let premises = CalleePremises { request: self.request, callee: &callee };
        let job = Job::callee(self.request.tier(), self.speculation.exits.next_number(), &premises);
        // A body that cannot be lowered is its own bead's affair: here it is called.
        let lowered = panic::catch_unwind(AssertUnwindSafe(|| {
            callee.with_guest(|guest| self.frontend.lower_inlining(guest, &job, Some(self)))
        }));
        self.known.get_mut()[number].callee = Some(callee);
        let (func, Lowered { label, speculation }) = lowered.ok()??.ok()?;
        self.speculation.append(speculation);
        Some(Body { func, label })
    }

    fn code_cell(&self, number: usize) -> usize {
        self.known.borrow()[number].cell.expect("somebody calls it")
    }
}
