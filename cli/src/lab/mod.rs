//! `tierup lab`: programs recorded, and what policies make of them.

mod live;
mod record;
mod replay;
mod report;
mod subject;
mod tier_run;

use crate::error::CliError;
use crate::options::LabCommand;

/// Does what was asked, and returns the exit code.
///
/// # Errors
///
/// Whatever kept it from that.
pub(crate) fn lab(command: LabCommand) -> Result<i32, CliError> {
    match command {
        LabCommand::Record(options) => record::record(&options),
        LabCommand::Replay(options) => replay::replay(&options),
        LabCommand::Report(options) => report::report(&options),
        LabCommand::Live(options) => live::live(&options),
    }
}
