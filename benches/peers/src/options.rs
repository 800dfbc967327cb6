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
    /// How fast the calls of `run(n)` follow one another, from the bytes in memory on, window by window.
    Warmup(Plan),
    /// Whole processes running the WASI programs of the corpus.
    Corpus(Plan),
    /// Whole processes: sqlite with `SELECT 1;` on stdin.
    SqliteSelect1(Plan),
    /// Tables and the page again, from what `--json` wrote.
    Render(Render),
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
    /// Work sizes: 10us,100us,1ms,10ms,100ms,700ms (default: all; steady 10ms; warmup 100us) or short,long (corpus; default: short).
    #[arg(long, value_delimiter = ',')]
    pub(crate) sizes: Vec<String>,
    /// Interleaved rounds: in each, every engine gives one sample.
    #[arg(long, default_value_t = 7)]
    pub(crate) repeat: usize,
    /// Interleaved pairs to reach when the subject and a peer are within 10 % of each other; 0: never add any.
    #[arg(long, default_value_t = 20)]
    pub(crate) close_pairs: usize,
    /// Seconds of warm-up, and of measuring, in a steady sample; of a warm-up sample.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// Begin no further round of a cell when its share of so many minutes is spent; one round is made in any case.
    #[arg(long)]
    pub(crate) minutes: Option<f64>,
    /// Leave interpreters out where the work is 700ms: they take ten times as long.
    #[arg(long)]
    pub(crate) spare_interpreters: bool,
    /// The `tierup` command; default: beside this binary.
    #[arg(long)]
    pub(crate) tierup: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) outputs: Outputs,
}

/// What to render again.
#[derive(Debug, Args)]
pub(crate) struct Render {
    /// Files that `--json` wrote, in the order of the page.
    #[arg(required = true)]
    pub(crate) reports: Vec<PathBuf>,
    /// Text files to show as they are, each under its name.
    #[arg(long)]
    pub(crate) attach: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) outputs: Outputs,
}

/// Where the results go; the tables go to stdout in any case.
#[derive(Debug, Args)]
pub(crate) struct Outputs {
    /// Write every sample as JSON, for `render`.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write the tables as Markdown.
    #[arg(long)]
    pub(crate) markdown: Option<PathBuf>,
    /// Write the tables and charts as a page.
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
}
