//! Beads, counters, policies, queue, workers, code versions, reclamation. The ground floor of Tierup: it knows no compiler, no
//! IR and no async runtime.
//!
//! An embedder registers each guest function as a [`Bead`] with a [`Broker`], each interpreter thread as an
//! [`InterpThread`], and asks [`InterpThread::on_invoke`] before it interprets a call. What a tier is made of is a
//! [`Compiler`]; when a function goes there, a [`HotnessPolicy`] says.
//!
//! `state.rs` and `version.rs` are the places to start reading.

mod aging;
mod answer;
mod asking;
mod assumption;
mod bailout;
mod bead;
mod break_ticket;
mod broker;
mod callee;
mod census;
mod clock;
mod compiler;
mod config;
mod contain;
mod deopt;
#[cfg(feature = "threads")]
mod elsewhere;
mod error;
mod event;
mod exits;
mod here;
mod histogram;
mod history;
mod hotness;
mod job;
mod listed;
mod loops;
mod mutation;
mod osr;
mod pace;
#[cfg(feature = "threads")]
mod parking;
mod pending;
mod placement;
mod policy;
mod premise;
mod priority;
mod queue;
mod registry;
mod retire;
mod roster;
mod rules;
#[cfg(feature = "threads")]
mod sampler;
mod shared;
mod speed;
mod state;
mod stats;
mod subscribers;
mod sync;
mod tally;
mod target;
mod thread;
mod tier;
mod tuning;
mod unit;
mod validity;
mod variants;
mod version;
mod warm_up;
#[cfg(feature = "threads")]
mod watchdog;
mod why;
#[cfg(feature = "threads")]
mod worker;

pub use assumption::Assumption;
pub use bailout::{Bailout, BailoutKind, BailoutReason};
pub use bead::{Bead, BeadId, BeadRef, BeadSpec};
pub use break_ticket::BreakTicket;
pub use broker::{BeadInfo, Broker};
pub use callee::Callee;
pub use census::StackReport;
pub use clock::ManualClock;
pub use compiler::{CompileRequest, Compiler, WarmUpTime};
#[cfg(feature = "threads")]
pub use config::FirstWorker;
pub use config::{BrokerBuilder, Mode};
#[cfg(loom)]
pub use contain::ToldToPanic;
pub use error::{CompileNowError, ConfigError, RegisterError};
pub use event::{Event, InvalidateReason, LossReason, Transition};
#[cfg(loom)]
pub use mutation::Mutation;
pub use placement::{Bridge, Crossing, Placement};
pub use policy::{
    CodePressure, CompileShare, ConfiguredPolicy, CostBenefit, Decision, DeoptAction, DeoptDecision, DeoptPolicy, DeoptReason,
    DeoptSample, EfficiencyMode, GuardId, HazardRate, HotSpot, HotSpotStep, HotnessPolicy, Hysteresis, Jsc, KeepAlways,
    Lifetimes, LoadFeedback, Modified, Modifiers, NeverReason, OsrAfter, Outlook, PolicyChoice, PolicyConfig, PolicyConfigError,
    Reason, Sample, SkiRental, SpiderMonkey, StartupDelay, Threshold, Tiered, Truffle, V8, WaitReason,
};
pub use registry::STAMP_FROM_CODE_CELL;
pub use roster::{POLL_BROKER, POLL_SAMPLE};
pub use rules::{Rule, Rules};
pub use shared::Work;
pub use speed::Speedup;
pub use stats::{BeadStats, Stats, TierStats};
pub use subscribers::Subscription;
pub use thread::{
    Charge, InterpThread, NativeCode, OsrEntry,
    cells::{BridgeFn, CountSlot, FinishFn, NO_SITE, OnCountFn, OnPollFn, OnTrapFn, Regs, ThreadCells, WIDE_SLOTS},
};
pub use tier::Tier;
pub use tuning::{CALL_WORK, SAMPLE_PERIOD, SAMPLE_WORK, SAMPLED_FROM, TYPICAL_CALL_WORK};
pub use unit::{CodeUnit, UnitKind};
pub use validity::{UnitId, ValidityCell};
pub use version::{CodeCell, Face};
pub use why::{ClosedBy, CountedBy, FrozenBy, LastAnswer, PendingRequest, Progress, UnitExits, Why};
