//! Which request is compiled first. A pure function.
//!
//! ```text
//!             (rate + 1) · (work + 1)
//! priority = ───────────────────────── · (1 + waited / AGING)
//!                 estimated cost
//! ```
//!
//! The numerator is what there is to win: the work a function has done so far, which is the best guess of what it will still do
//! (Jikes RVM's adaptive system: the future is as long as the past), weighted by how fast it does it right now. It is HotSpot's
//! weight of a task, `(rate + 1)(i + 1)(b + 1)` in `CompilationPolicy::select_task`, for one count instead of two. Divided by
//! the cost it is Smith's rule, weight over processing time: of all orders on one machine the one with the least weighted
//! waiting (Smith 1956). HotSpot and Truffle do not divide, so that there a huge method goes before a hundred small ones.
//! Ageing keeps a request from waiting for ever behind better ones.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::tuning::AGING;

/// What is known about a request when it is scored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    /// Work units the function has done so far.
    pub(crate) work: u64,
    /// Work units it does now, per millisecond.
    pub(crate) rate: f64,
    /// What compiling it is reckoned to take.
    pub(crate) cost: Duration,
    /// Time since it was asked for.
    pub(crate) waited: Duration,
}

impl Job {
    pub(crate) fn priority(&self) -> f64 {
        let benefit = (self.rate + 1.0) * (self.work as f64 + 1.0);
        benefit / (self.cost.as_secs_f64() + 1e-9) * (1.0 + self.waited.as_secs_f64() / AGING.as_secs_f64())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SMALL: Job = Job { work: 6_400, rate: 100.0, cost: Duration::from_micros(300), waited: Duration::from_millis(1) };

    /// `left` goes before `right`.
    #[track_caller]
    fn before(left: Job, right: Job) {
        assert!(left.priority() > right.priority(), "{left:?} {right:?}");
    }

    #[test]
    fn of_two_requests_the_one_that_wins_more_for_less_goes_first() {
        let huge = Job { cost: Duration::from_millis(400), ..SMALL };
        before(SMALL, huge);
        before(Job { work: 7_000, ..SMALL }, SMALL);
        before(Job { rate: 200.0, ..SMALL }, SMALL);
        before(Job { waited: Duration::from_millis(20), ..SMALL }, SMALL);
        before(Job { work: SMALL.work * 2_000, ..huge }, SMALL);
        before(Job { waited: AGING * 2_000, ..huge }, SMALL);
        before(SMALL, Job { rate: 0.0, ..SMALL });
    }
}
