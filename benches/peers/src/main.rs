//! Tierup beside its peers on the same bytes.
//!
//! The parent process plans the samples, interleaves them between the engines and does the statistics; every sample
//! itself is taken in a fresh child process (this binary again, `node`, or the `tierup` command). `README.md` says what
//! is measured and how to read it.

mod child;
mod curve;
mod engines;
mod error;
mod experiment;
mod kernels;
mod machine;
mod markdown;
mod measure;
mod native;
mod options;
mod page;
mod programs;
mod report;
mod sample;
mod stats;
mod tables;
mod wasi;

use std::process::ExitCode;

use clap::Parser;

use crate::error::Error;
use crate::experiment::Experiment;
use crate::options::{Command, Options, Plan};

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
        Command::Render(render) => {
            let mut reports = Vec::new();
            for path in &render.reports {
                reports.extend(report::read(path)?);
            }
            let attached = render.attach.iter().map(|path| report::attachment(path)).collect::<Result<Vec<_>, _>>()?;
            report::write(&reports, &attached, &render.outputs)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Cold(plan) => measure(Experiment::Cold, &plan),
        Command::Steady(plan) => measure(Experiment::Steady, &plan),
        Command::Warmup(plan) => measure(Experiment::Warmup, &plan),
        Command::Corpus(plan) => measure(Experiment::Corpus, &plan),
        Command::SqliteSelect1(plan) => measure(Experiment::SqliteSelect1, &plan),
    }
}

fn measure(experiment: Experiment, plan: &Plan) -> Result<ExitCode, Error> {
    let report = experiment::run(experiment, plan)?;
    let failed = report.has_failures();
    report::write(&[report], &[], &plan.outputs)?;
    Ok(ExitCode::from(u8::from(failed)))
}
