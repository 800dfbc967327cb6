//! Assumptions: what units speculate on and no guard tests, because whoever makes it false says so first.
//!
//! A compiler asks [`CompileRequest::assume`](crate::CompileRequest::assume) *before* it reads what the assumption protects, and
//! says of the unit that it relies on it. A mutator *breaks* the assumption, waits, and only then changes the thing:
//!
//! ```text
//! compiler:  assume ── read ── compile ── install: does it still hold? (under the lock of the dependents)
//! mutator:   break: mark ── withdraw and flag the units registered (same lock) ── wait for the ticket ── write
//! ```
//!
//! A unit that was installed before the mark is registered when the mutator looks, and one that was not is refused. A thread inside
//! a unit that was withdrawn leaves at its next poll, or when a call returns; the ticket says when every thread has had the
//! occasion. An assumption is broken once: what holds later is another one.

use std::fmt;

use crate::{
    BreakTicket, Broker, InvalidateReason,
    mutation::dropped,
    premise::{Dependents, Ground},
    shared::Shared,
    sync::{Arc, AtomicBool, Ordering},
};

/// Something units may rely on until it is [broken](Broker::break_assumption). Clones are the same assumption.
#[derive(Clone)]
pub struct Assumption(Arc<Inner>);

struct Inner {
    number: u64,
    broken: AtomicBool,
    /// Which broker it is of.
    dependents: Arc<Dependents>,
}

impl Assumption {
    fn new(dependents: &Arc<Dependents>) -> Self {
        let inner = Inner { number: dependents.serial(), broken: AtomicBool::new(false), dependents: Arc::clone(dependents) };
        Assumption(Arc::new(inner))
    }

    /// Whether it was not broken yet.
    pub fn holds(&self) -> bool {
        // Ordering: Acquire. Pairs with: Release in `break_assumption`. Carries: what the mutator did before. A compile that still
        // reads "holds" is refused when it installs, under a lock.
        !self.0.broken.load(Ordering::Acquire)
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    pub(crate) fn is_of(&self, dependents: &Arc<Dependents>) -> bool {
        Arc::ptr_eq(&self.0.dependents, dependents)
    }
}

impl fmt::Debug for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assumption").field("number", &self.0.number).field("holds", &self.holds()).finish_non_exhaustive()
    }
}

impl<G: Send + Sync + 'static> Broker<G> {
    /// A new assumption, which holds, and on which units of this broker may rely.
    pub fn assumption(&self) -> Assumption {
        Assumption::new(&self.shared().dependents)
    }

    /// Breaks an assumption: no unit that relies on it is entered or installed from now on, and those that threads are inside are
    /// told to leave. When the ticket [is done](BreakTicket::is_done) all have; before that, what was assumed must stay so.
    ///
    /// For threads that run no guest code. One that does calls
    /// [`InterpThread::break_assumption`](crate::InterpThread::break_assumption), and waits by
    /// [`InterpThread::wait_for`](crate::InterpThread::wait_for). Breaking what is broken, or another broker's, has no effect but the
    /// ticket.
    pub fn break_assumption(&self, assumption: &Assumption) -> BreakTicket<G> {
        self.shared().break_assumption(assumption)
    }
}

impl<G: Send + Sync + 'static> Shared<G> {
    pub(crate) fn break_assumption(self: &Arc<Self>, assumption: &Assumption) -> BreakTicket<G> {
        if assumption.is_of(&self.dependents) {
            // Ordering: Release. Pairs with: Acquire in `holds`. Carries: what the mutator did before.
            assumption.0.broken.store(true, Ordering::Release);
            if !dropped!(AssumptionWithdrawal) {
                self.withdraw_all(Ground::Assumption(assumption.number()), InvalidateReason::Assumption);
            }
        }
        self.ticket()
    }
}
