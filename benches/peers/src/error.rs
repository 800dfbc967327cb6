//! What can go wrong while measuring, and what to do about it.

use std::path::PathBuf;

use crate::engines::EngineId;

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("TIERUP_TESTDATA is not set: it names the folder that holds `kernels/` and `corpus/`")]
    NoTestData,
    #[error("unknown {what} `{name}`; known: {known}")]
    Unknown { what: &'static str, name: String, known: String },
    #[error("engine {engine} is not available: {why}")]
    Unavailable { engine: EngineId, why: String },
    #[error("nothing to measure: no engine is left")]
    NoEngines,
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot write the report: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{}: this is no report of `peers`: {source}", path.display())]
    Foreign { path: PathBuf, source: serde_json::Error },
    #[error("cannot draw the report: {0}")]
    Chart(#[from] tierup_plot::ChartError),
    #[error("{0}")]
    Engine(#[from] EngineError),
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// An engine refused the module, or the guest trapped.
#[derive(Debug, thiserror::Error)]
#[error("{engine}: {message}")]
pub(crate) struct EngineError {
    pub(crate) engine: EngineId,
    pub(crate) message: String,
}

impl EngineError {
    /// Wraps whatever error type the engine has.
    pub(crate) fn from<E: std::fmt::Display>(engine: EngineId) -> impl Fn(E) -> Self + Copy {
        move |error| Self { engine, message: error.to_string() }
    }
}

/// A sample that did not give a number. It fails its cell of the report, not the run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SampleError {
    #[error("cannot start {program}: {source}")]
    Spawn { program: String, source: std::io::Error },
    #[error("ended with {status}: {stderr}")]
    Failed { status: String, stderr: String },
    #[error("{0}")]
    Unavailable(String),
    #[error("printed what is no sample: {0}")]
    Garbled(String),
    #[error("answered {got}, others {want}")]
    WrongAnswer { got: i64, want: i64 },
    #[error("exit code {got:?}, expected {want}")]
    WrongExit { got: Option<i32>, want: i32 },
    #[error("stdout differs from the expected one at byte {at} (of {expected})")]
    WrongOutput { at: usize, expected: usize },
}
