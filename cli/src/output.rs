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
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Write(error)),
        _ => Ok(()),
    }
}

/// Tells people something. Where nobody listens there is nobody to tell.
pub(crate) fn tell(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
