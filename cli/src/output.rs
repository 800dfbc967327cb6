//! Standard output and error of a command whose readers may go away: what `head` no longer reads is no mistake.

use std::fmt;
use std::io::{self, Write};

use crate::error::CliError;

/// Prints a line of results.
///
/// # Errors
///
/// [`CliError::Write`], unless the reader has gone.
pub(crate) fn line(text: impl fmt::Display) -> Result<(), CliError> {
    line_to_reader(text).map(drop)
}

/// Prints a line of results, and returns whether there is a reader.
///
/// # Errors
///
/// As [`line`].
pub(crate) fn line_to_reader(text: impl fmt::Display) -> Result<bool, CliError> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Write(error)),
        written => Ok(written.is_ok()),
    }
}

/// Tells people something. Where nobody listens there is nobody to tell.
pub(crate) fn tell(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
