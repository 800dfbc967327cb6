//! Why the command could not do what it was asked.

use std::io;
use std::path::PathBuf;

/// Exit code for a program that trapped, as for one that a signal aborted.
pub(crate) const TRAPPED: i32 = 134;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    WriteFile { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Trace { path: PathBuf, source: tierup_lab::trace::TraceError },
    #[error("{}: {source}", path.display())]
    Replay { path: PathBuf, source: tierup_lab::ReplayError },
    #[error("--policy: {0}")]
    Policies(String),
    #[error("no chart: {0}")]
    Chart(#[from] tierup_plot::ChartError),
    #[error("cannot run {}: {message}", path.display())]
    Live { path: PathBuf, message: String },
    #[error("{}: {source}", path.display())]
    Module { path: PathBuf, source: tierup_interp::Error },
    #[error("{0}")]
    Engine(tierup_interp::Error),
    #[error("{0}")]
    Grant(#[from] tierup_wasi::ConfigError),
    #[error("{} has no function {name:?} to call; {}", path.display(), Exports(functions))]
    NoFunction { path: PathBuf, name: String, functions: Vec<String> },
    #[error("--invoke {name}: {message}")]
    Arguments { name: String, message: String },
    #[error("--log {filter}: {message}")]
    Log { filter: String, message: String },
    #[error("--serve: {0}")]
    Serve(#[from] tierup_service::ServeError),
    #[error("{0}")]
    Ctl(#[from] tierup_service::ClientError),
    #[error("no runtime: {0}")]
    Runtime(io::Error),
    #[error("--policy: {0}")]
    Policy(tierup::PolicyConfigError),
    #[error("--save-rules {}: {message}", path.display())]
    SaveRules { path: PathBuf, message: String },
    #[error("cannot write to standard output: {0}")]
    Write(io::Error),
    #[error("the program trapped: {0}")]
    Trap(Box<tierup_interp::Trap>),
}

impl CliError {
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Trap(_) => TRAPPED,
            Self::Arguments { .. } | Self::Log { .. } | Self::Policy(_) | Self::Policies(_) => 2,
            _ => 1,
        }
    }
}

/// The names of exported functions, in words.
struct Exports<'a>(&'a [String]);

impl std::fmt::Display for Exports<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// Names shown.
        const MOST: usize = 12;
        let Some((first, more)) = self.0.split_first() else { return f.write_str("it exports none") };
        // Names are the module's: not to be trusted with a terminal.
        write!(f, "it exports {}", first.escape_debug())?;
        for name in more.iter().take(MOST - 1) {
            write!(f, ", {}", name.escape_debug())?;
        }
        if self.0.len() > MOST { write!(f, " and {} more", self.0.len() - MOST) } else { Ok(()) }
    }
}
