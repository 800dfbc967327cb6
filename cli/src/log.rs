//! `--log`: the broker's transitions, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::error::CliError;

/// Installs the subscriber.
///
/// # Errors
///
/// [`CliError::Log`] for a filter that means nothing.
pub(crate) fn install(filter: &str) -> Result<(), CliError> {
    let refused = |message: String| CliError::Log { filter: filter.to_owned(), message };
    let parsed = EnvFilter::try_new(filter).map_err(|error| refused(error.to_string()))?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // A closed standard error is no reason to write to it.
        .log_internal_errors(false)
        .try_init()
        .map_err(|error| refused(error.to_string()))
}
