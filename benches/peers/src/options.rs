//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::child::Child;

#[derive(Debug, Parser)]
#[command(name = "peers", about = "Measures Tierup beside its peers on the same bytes", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bytes in memory to the result of one call of `run(n)`, in a fresh engine in a fresh process.
    Cold(Plan),
    /// The best call of `run(n)` after warm-up.
    Steady(Plan),
    /// Whole processes running the WASI programs of the corpus.
    Corpus(Plan),
    /// Whole processes: sqlite with `SELECT 1;` on stdin.
    SqliteSelect1(Plan),
    /// One sample, taken in this process (used by the other subcommands).
    #[command(hide = true)]
    Child(Child),
}

/// What to measure, how often, and where to write it.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Engines, comma-separated; default: all that are available.
    #[arg(long, value_delimiter = ',')]
    pub(crate) engines: Vec<String>,
    /// The engine whose ratios to the others are reported; default: the last of Tierup's, else the first engine.
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// Kernels (cold, steady) or programs (corpus), comma-separated; default: all.
    #[arg(long, visible_alias = "programs", value_delimiter = ',')]
    pub(crate) kernels: Vec<String>,
    /// Work sizes: 10us,100us,1ms,10ms,100ms,700ms (cold, steady; default: all, steady 10ms) or short,long (corpus; default: short).
    #[arg(long, value_delimiter = ',')]
    pub(crate) sizes: Vec<String>,
    /// Interleaved rounds: in each, every engine gives one sample.
    #[arg(long, default_value_t = 7)]
    pub(crate) repeat: usize,
    /// Interleaved pairs to reach when the subject and a peer are within 10 % of each other; 0: never add any.
    #[arg(long, default_value_t = 20)]
    pub(crate) close_pairs: usize,
    /// Seconds of warm-up, and of measuring, in a steady sample.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// The `tierup` command; default: beside this binary.
    #[arg(long)]
    pub(crate) tierup: Option<PathBuf>,
    /// Write the whole report as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write the tables as Markdown (they go to stdout in any case).
    #[arg(long)]
    pub(crate) markdown: Option<PathBuf>,
}
