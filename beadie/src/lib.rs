//! beadie 0.3's API on Tierup's broker.
//!
//! Users of the crate `beadie` switch by one line of their `Cargo.toml`:
//!
//! ```toml
//! beadie = { package = "tierup-beadie", version = "0.1" }
//! ```
//!
//! Names and signatures are the incumbent's. What is different is what happens: `README.md` beside this crate has the table.
//!
//! - Code is not freed before its bead is dropped: nothing in this API says when a thread has left it. New runtimes should use Tierup's own
//!   API, where replaced code is freed while the program runs.
//! - It keeps a handle per thread in a thread-local variable, because calls do not say which thread they come from; Tierup's own API does not.
//!
//! `decide.rs` and `image.rs` are the places to start reading.
//!
//! ```
//! use beadie::{Beadie, ThresholdPolicy};
//!
//! extern "C" fn native() {}
//!
//! let beadie = Beadie::with_policy(ThresholdPolicy::new(100));
//! let bead = beadie.register(std::ptr::null_mut(), None);
//! let mut interpreted = 0;
//! let code = loop {
//!     match beadie.on_invoke(&bead, |_| native as *mut ()) {
//!         Some(code) => break code,
//!         None => interpreted += 1,
//!     }
//! };
//! assert_eq!(code, native as *mut ());
//! assert!(interpreted >= 100);
//! ```

mod backend;
mod bead;
mod beadie;
mod broker;
mod chain;
mod compile;
mod count;
mod decide;
/// What becomes of code whose speculation failed.
pub mod deopt;
mod here;
mod home;
mod image;
mod jobs;
mod lifecycle;
mod link;
mod osr;
mod outcome;
mod policy;
mod progress;
mod runner;
mod tiered;

pub use crate::{
    backend::{BackendAdapter, BoundBead, CompileError, JitBackend, OsrBuild},
    bead::{Bead, CoreHandle},
    beadie::Beadie,
    broker::{Broker, OsrCompileResult},
    chain::Chain,
    deopt::{
        AlwaysRecompilePolicy, BailoutInfo, DeoptDecision, DeoptPolicy, ExponentialBackoffPolicy, ThresholdDeoptPolicy,
        TieredDeoptPolicy,
    },
    osr::OsrEntry,
    outcome::{BeadState, ReloadOutcome, SubmitResult, SwapResult},
    policy::{HotnessPolicy, ThresholdPolicy, TieredPolicy},
    tiered::{TieredAdapter, TieredBound},
};
