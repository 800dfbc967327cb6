//! `tierup run`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "llvm")]
use std::time::Duration;
use std::time::Instant;

use tierup::HotnessPolicy;
use tierup_interp::{Config, Engine, Error, Module, Store};

use crate::error::CliError;
use crate::options::{RulesFile, RunOptions};
use crate::report::{Report, Timeline};
use crate::{log, output, program, report, serve};

/// Runs a program and returns its exit code.
///
/// # Errors
///
/// Anything that kept it from running to its end, traps included.
pub(crate) fn run(options: RunOptions) -> Result<i32, CliError> {
    if let Some(filter) = &options.log {
        log::install(filter)?;
    }
    let started = Instant::now();
    let path = options.program.module().to_owned();
    let bytes = fs::read(&path).map_err(|source| CliError::Read { path: path.clone(), source })?;
    let timeline = options.stats.then(Timeline::default);
    let engine = Engine::new(config(&options, timeline.as_ref())?).map_err(CliError::Engine)?;
    let module = Module::new(&engine, bytes).map_err(|source| CliError::Module { path: path.clone(), source })?;
    let mut store = Store::new(&engine, program::grants(&options.program)?.build()).map_err(CliError::Engine)?;

    // Closed, and its socket removed, when the program has ended.
    let _service = options.serve.as_ref().map(|socket| serve::serve(&engine, socket)).transpose()?;

    let results = |line: String| output::line(line);
    let code = match program::execute(&options.program, &module, &mut store, results) {
        // A program may end itself with any code; what a process can return of it are the low eight bits.
        Err(CliError::Module { source: Error::Exit(code), .. }) => Ok(code),
        Err(CliError::Module { source: Error::Trap(trap), .. }) => Err(CliError::Trap(trap)),
        other => other.map(|()| 0),
    };
    if let Some(timeline) = timeline {
        let report = Report::new(&engine, &timeline, started.elapsed());
        output::tell(report.to_string().trim_end());
    }
    if let Some(name) = &options.why {
        output::tell(report::why(&engine, name).trim_end());
    }
    if let Some(path) = &options.save_rules {
        save_rules(&engine, path)?;
    }
    code
}

fn config(options: &RunOptions, timeline: Option<&Timeline>) -> Result<Config, CliError> {
    Ok(Config {
        tier: options.tier.into(),
        baseline: options.baseline.into(),
        #[cfg(feature = "llvm")]
        llvm: Some(options.llvm.tier()),
        // The broker's own deadline comes after the helper's, which allows another try.
        #[cfg(feature = "llvm")]
        deadline: options.llvm.limit().map(|limit| limit + Duration::from_secs(2)),
        osr: options.osr,
        templates: options.templates,
        #[cfg(feature = "llvm")]
        speculate: options.speculate,
        deopt: options.deopt,
        policy: Some(policy(options)?),
        workers: options.threads.map(usize::from),
        on_event: timeline.map(Timeline::recorder),
        ..Config::default()
    })
}

/// The policy, with the rules that were given besides.
fn policy(options: &RunOptions) -> Result<Arc<dyn HotnessPolicy>, CliError> {
    let mut config = options.policy.clone();
    config.rules.0.extend(options.rules.iter().flat_map(|rules| rules.0.clone()));
    Ok(Arc::new(config.build().map_err(CliError::Policy)?))
}

/// Writes rules for what compiling failed for.
fn save_rules(engine: &Engine, path: &Path) -> Result<(), CliError> {
    let failed = |message: String| CliError::SaveRules { path: path.to_owned(), message };
    let text =
        toml::to_string(&RulesFile { rules: engine.broker().do_not_compile() }).map_err(|error| failed(error.to_string()))?;
    fs::write(path, text).map_err(|error| failed(error.to_string()))
}
