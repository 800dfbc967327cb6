//! The `tierup` command: runs WebAssembly programs that tier, lets one look at them while they run, and says what would compile.
#![forbid(unsafe_code)]

mod check;
mod ctl;
mod error;
mod lab;
mod log;
mod options;
mod output;
mod program;
mod report;
mod run;
mod serve;
mod values;

use std::process;

use clap::Parser;

use options::{Command, Options};

fn main() {
    let code = match Options::parse().command {
        Command::Run(options) => run::run(*options),
        Command::Check(options) => check::check(&options),
        Command::Ctl(options) => ctl::ctl(options),
        Command::Lab(command) => lab::lab(command),
    };
    let code = code.unwrap_or_else(|error| {
        output::tell(format_args!("tierup: {error}"));
        error.exit_code()
    });
    // Ends workers with the process: nobody waits for a compile that nobody needs.
    process::exit(code)
}
