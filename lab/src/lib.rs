//! The policy lab: what would another promotion policy have made of this program?
//!
//! A [`trace`] says what a program did, in the units that policies see: which function did how much work, by calls or in
//! which loop, on which thread, in what order; and for each function what every tier costs and how fast its code is. From it
//! the lab makes a [`Program`], and asks two questions.
//!
//! - How long does the program take under a *plan* that compiles these functions, for these tiers, in this order ([`plan`])? Of
//!   all plans the [`oracle`] looks for the best: it proves that none is better than a bound, and finds one that is good.
//! - How long does it take under a *policy*? Replaying it on a virtual clock says so.
//!
//! What a policy loses against the oracle's plan is its *regret*.

mod compare;
pub mod facts;
mod metrics;
pub mod oracle;
pub mod plan;
mod program;
mod rank;
mod record;
mod replay;
pub mod synthetic;
pub mod trace;

pub use compare::Comparison;
pub use metrics::Outcome;
pub use program::{Counting, Function, Kind, Machine, Program, Record, TierFacts};
pub use rank::{Agreement, Interval};
pub use record::{Recorded, Recorder};
pub use replay::{ReplayError, replay};
