//! Tierup beside its peers on the same bytes.
//!
//! The parent process plans the samples, interleaves them between the engines and does the statistics; every sample
//! itself is taken in a fresh child process (this binary again, `node`, or the `tierup` command). `README.md` says what
//! is measured and how to read it.

mod child;
mod engines;
mod error;
mod experiment;
mod kernels;
mod machine;
mod measure;
mod native;
mod options;
mod programs;
mod report;
mod sample;
mod stats;
mod wasi;

use std::process::ExitCode;

use clap::Parser;

use crate::error::Error;
use crate::options::{Command, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    match run(options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: Options) -> Result<ExitCode, Error> {
    match options.command {
        Command::Child(work) => child::run(&work),
        Command::Cold(ref plan) | Command::Steady(ref plan) | Command::Corpus(ref plan) | Command::SqliteSelect1(ref plan) => {
            let report = experiment::run(&options.command, plan)?;
            report.write(plan)?;
            Ok(ExitCode::from(u8::from(report.has_failures())))
        }
    }
}
