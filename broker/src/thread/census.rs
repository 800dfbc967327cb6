//! A thread answers a census: the two polls of those who can tell what is on their stack.

use super::InterpThread;
use crate::{POLL_BROKER, StackReport};

impl<G: Send + Sync + 'static> InterpThread<G> {
    /// As [`poll`](Self::poll), by a thread that can tell which units have frames on its stack: when the reclaimer wants to know,
    /// `walk` does. What it does not tell is freed, without waiting for a quiescent point.
    ///
    /// A walk takes about as long as a backtrace, and allocates; it is asked for when [much code](crate::BrokerBuilder::census_after)
    /// was retired.
    ///
    /// # Safety
    ///
    /// - `walk` tells every unit of this broker that has a frame on this thread's stack, also of those that wait beneath host
    ///   functions, interpreters and drivers.
    /// - No [`NativeCode`](crate::NativeCode), [`OsrEntry`](crate::OsrEntry) or guest handle that was lent before is used after this,
    ///   nor what was read through a code cell: whoever looks up an entry enters it before the thread polls. What is needed of a guest
    ///   handle for longer, `walk` is the time to take a count of.
    /// - No callback of the broker (compiler, policy, events, guest handles) is under way on this thread.
    pub unsafe fn poll_with(&self, walk: impl FnOnce(&mut StackReport)) {
        self.answers.set(true);
        self.lower(POLL_BROKER);
        let report = self.shared.reclaimer.asks_for_census(self.counted.get()).then(|| told_by(walk));
        let answered = report.is_some();
        let epoch = self.shared.reclaimer.poll(self.participant(), report);
        if answered {
            self.counted.set(epoch);
            self.shared.census_answered();
        }
    }

    /// As [`parked`](Self::parked), by a thread that can tell which units have frames on its stack: `walk` does, at once, and nothing
    /// else is kept for this thread until it is back.
    ///
    /// # Safety
    ///
    /// As for [`poll_with`](Self::poll_with), when this is called; and until it returns the thread gets no code from this handle or
    /// through a code cell.
    pub unsafe fn parked_with<R>(&self, walk: impl FnOnce(&mut StackReport), wait: impl FnOnce() -> R) -> R {
        self.answers.set(true);
        self.counted.set(self.shared.reclaimer.park(self.participant(), Some(told_by(walk))));
        let _back = super::poll::Back(self);
        wait()
    }

    /// After a poll that reports nothing: one who can answer a census is still asked to.
    pub(super) fn keep_asking(&self) {
        if self.answers.get() && self.shared.reclaimer.asks_for_census(self.counted.get()) {
            self.raise_again();
        }
    }
}

fn told_by(walk: impl FnOnce(&mut StackReport)) -> StackReport {
    let mut report = StackReport::default();
    walk(&mut report);
    report
}
