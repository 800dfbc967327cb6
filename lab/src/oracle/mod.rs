//! What the best plan could take: no less than a bound that is proven, no more than a plan that was found.
//!
//! The search never sees what a policy did. Ordering compiles is strongly NP-hard (Ding, Zhou, Zhao, Eisenstat, Shen, ASPLOS 2014), so
//! neither side is exact: the gap between them is published with every figure that is measured against the plan. On small programs
//! [`exhaustive`] tries every plan there is.

mod bound;
mod clock;
mod exhaustive;
mod search;
#[cfg(test)]
mod tests;

pub use bound::lower_bound;
pub use exhaustive::exhaustive;
pub use search::{Best, candidates, search, search_seen};
