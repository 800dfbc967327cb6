//! `tierup lab replay`: tables.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use tierup_lab::trace::TraceReader;
use tierup_lab::{Comparison, Machine, Program};

use crate::error::CliError;
use crate::options::lab::{LabOptions, Named, ReplayOptions};
use crate::output;

/// Replays traces and prints the tables.
///
/// # Errors
///
/// Which trace is none and where, or which policy is.
pub(crate) fn replay(options: &ReplayOptions) -> Result<i32, CliError> {
    let comparisons = comparisons(options)?;
    output::line(format_args!("{}", Summary(&comparisons)))?;
    comparisons.iter().try_for_each(output::line)?;
    Ok(0)
}

/// What each policy made of each trace.
///
/// # Errors
///
/// As [`replay`].
pub(crate) fn comparisons(options: &ReplayOptions) -> Result<Vec<Comparison>, CliError> {
    let policies = policies(&options.lab)?;
    options.traces.iter().map(|path| compare(path, &options.lab, policies.clone())).collect()
}

/// The policies that were asked for.
///
/// # Errors
///
/// Which of them is none.
pub(crate) fn policies(options: &LabOptions) -> Result<Vec<Named>, CliError> {
    options.policies().map_err(CliError::Policies)
}

/// The machine that was asked for.
pub(crate) fn machine(options: &LabOptions) -> Machine {
    let processors = options.processors.map_or(usize::MAX, usize::from);
    Machine { workers: options.workers.into(), sharing: options.sharing, processors }
}

/// Reads a trace.
///
/// # Errors
///
/// What is wrong with it, and where.
pub(crate) fn read(path: &Path, options: &LabOptions) -> Result<Program, CliError> {
    let file = File::open(path).map_err(|source| CliError::Read { path: path.to_owned(), source })?;
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    let program = TraceReader::new(BufReader::new(file)).and_then(|reader| reader.program(&name));
    let program = program.map_err(|source| CliError::Trace { path: path.to_owned(), source })?;
    Ok(program.with_compiles_scaled(options.compile_cost_scale))
}

fn compare(path: &Path, options: &LabOptions, policies: Vec<Named>) -> Result<Comparison, CliError> {
    let program = read(path, options)?;
    let policies: Result<Vec<_>, _> = policies.into_iter().map(|(name, config)| Ok((name, config.build()?))).collect();
    Comparison::new(&program, machine(options), policies.map_err(CliError::Policy)?, options.seed, options.looks)
        .map_err(|source| CliError::Replay { path: path.to_owned(), source })
}

/// Regrets of all policies on all traces, with how much of them is not known.
struct Summary<'c>(&'c [Comparison]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else { return Ok(()) };
        write!(f, "| regret |")?;
        self.0.iter().try_for_each(|comparison| write!(f, " {} |", comparison.program))?;
        writeln!(f, " together |\n|---|{}", "---|".repeat(self.0.len() + 1))?;
        write!(f, "| *time of the best plan found, ms* |")?;
        self.0.iter().try_for_each(|comparison| write!(f, " {:.1} |", comparison.best.0.time / 1e6))?;
        write!(f, " |\n| *that over the bound* |")?;
        self.0.iter().try_for_each(|comparison| write!(f, " {:.1} % |", comparison.gap() * 100.0))?;
        writeln!(f, " |")?;
        for (at, what) in ["compiling nothing before it was called", "before the default would ask"].into_iter().enumerate() {
            write!(f, "| *{what}* |")?;
            let lost: Vec<_> = self.0.iter().map(|comparison| comparison.not_known()[at]).collect();
            lost.iter().try_for_each(|lost| write!(f, " {:.1} % |", lost * 100.0))?;
            writeln!(f, " {:.1} % |", together(&lost) * 100.0)?;
        }
        for (at, (name, _)) in first.policies.iter().enumerate() {
            write!(f, "| {name} |")?;
            let regrets: Vec<_> = self.0.iter().map(|comparison| comparison.regret(&comparison.policies[at].1)).collect();
            regrets.iter().try_for_each(|regret| write!(f, " {:.1} % |", regret * 100.0))?;
            writeln!(f, " {:.1} % |", together(&regrets) * 100.0)?;
        }
        Ok(())
    }
}

/// The geometric mean of times over the best plans', less one.
pub(crate) fn together(regrets: &[f64]) -> f64 {
    let logs: f64 = regrets.iter().map(|regret| (1.0 + regret).ln()).sum();
    (logs / regrets.len().max(1) as f64).exp() - 1.0
}
