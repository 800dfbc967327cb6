//! Typed errors of the broker's API.

use crate::{Bailout, Tier};

/// Why a broker could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// More compilers than there are tiers.
    #[error("{given} compilers, at most {limit} supported")]
    TooManyCompilers {
        /// Compilers given.
        given: usize,
        /// Compilers supported.
        limit: usize,
    },
    /// The bead limit is zero or larger than ids can number.
    #[error("max_beads is {given}, must be between 1 and {limit}")]
    MaxBeads {
        /// The limit given.
        given: u32,
        /// The largest allowed.
        limit: u32,
    },
    /// The number of workers, those of single tiers included, is zero or too large.
    #[error("{given} workers, must be between 1 and {limit}")]
    Workers {
        /// Workers given.
        given: usize,
        /// The largest number allowed.
        limit: usize,
    },
    /// There are workers for single tiers only, and none for this one.
    #[error("no worker compiles for {0}")]
    NoWorker(Tier),
    /// There are workers for a tier that has no compiler.
    #[error("workers for {0}, which has no compiler")]
    NoCompiler(Tier),
}

/// Why a bead or a thread could not be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// All of the configured `max_beads` are in use.
    #[error("all {limit} beads are in use")]
    BeadsExhausted {
        /// The configured limit.
        limit: u32,
    },
    /// The thread's countdown table could not be allocated.
    #[error("no memory for a countdown table of {bytes} bytes")]
    OutOfMemory {
        /// Size asked for.
        bytes: usize,
    },
}

/// Why [`Broker::compile_now`](crate::Broker::compile_now) or [`Broker::compile_osr_now`](crate::Broker::compile_osr_now) did not
/// install code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileNowError {
    /// The broker has no compiler for the tier, or the tier was turned off.
    #[error("{0} has no working compiler")]
    NoSuchTier(Tier),
    /// The bead belongs to another broker.
    #[error("the bead belongs to another broker")]
    ForeignBead,
    /// The tier, or the whole bead, is disabled after a terminal bailout or by request.
    #[error("{0} is disabled for this bead")]
    Disabled(Tier),
    /// The tier's compiler makes no OSR variants.
    #[error("{0} has no OSR variants")]
    NoOsr(Tier),
    /// No OSR variant is made for the site: a compile for it failed for good, or its number is too large.
    #[error("site {0} is closed")]
    SiteClosed(u32),
    /// The compiler gave up.
    #[error(transparent)]
    Bailout(#[from] Bailout),
    /// The body, or one compiled into it, was reloaded or invalidated, or the function promoted further, while it was compiled.
    #[error("the function changed while it was compiled")]
    Superseded,
    /// The broker was shut down.
    #[error("the broker is shut down")]
    ShutDown,
}
