//! `tierup check`: every function through every tier, nothing run.

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use tierup::Tier;
use tierup_interp::{Checker, Config, Engine, Module, TierMode};

use crate::error::CliError;
use crate::options::CheckOptions;
use crate::output;
use crate::report::units;

/// Checks a module, prints what it found, and returns the exit code.
///
/// # Errors
///
/// When the module cannot be read or is not valid.
pub(crate) fn check(options: &CheckOptions) -> Result<i32, CliError> {
    let path = &options.module;
    let failed = |source| CliError::Module { path: path.clone(), source };
    let bytes = fs::read(path).map_err(|source| CliError::Read { path: path.clone(), source })?;
    let engine = Engine::new(Config { tier: TierMode::Interp, ..Config::default() }).map_err(CliError::Engine)?;
    let module = Module::new(&engine, bytes).map_err(failed)?;
    let (valid, mut refused) = check_bodies(options, &module)?;
    let config = Config {
        #[cfg(feature = "llvm")]
        llvm: Some(options.llvm.tier()),
        ..Config::default()
    };
    for tier in (1..=config.compiled_tiers()).map(Tier::new) {
        match Checker::new(&config, tier) {
            Ok(checker) => refused += check_tier(&module, &valid, tier, &checker)?,
            // Tier 1 is missing only on a machine without native code.
            Err(error) if tier == Tier::new(1) => return Err(CliError::Engine(error)),
            // Others need something that may not be there, and programs run without.
            Err(error) => output::line(format_args!("{tier}: not checked: {error}"))?,
        }
    }
    Ok(i32::from(refused > 0))
}

/// Returns the functions whose bodies are valid, which is all the interpreter needs, and how many are not.
fn check_bodies(options: &CheckOptions, module: &Module) -> Result<(Vec<u32>, usize), CliError> {
    let started = Instant::now();
    let (mut valid, mut refused) = (Vec::new(), Vec::new());
    for (index, verdict) in module.validate_each() {
        match verdict {
            Ok(()) => valid.push(index),
            Err(error) => refused.push((index, error)),
        }
    }
    let all = units::count(u64::from(module.defined_functions()), "function");
    let verdict = if refused.is_empty() {
        "all valid for the interpreter".to_owned()
    } else {
        format!("{} valid for the interpreter, {} not", valid.len(), refused.len())
    };
    output::line(format_args!("{}: {all}, {verdict} ({})", options.module.display(), units::duration(started.elapsed())))?;
    for (index, error) in &refused {
        output::line(format_args!("  interpreter: {}: {error}", Named(module, *index)))?;
    }
    Ok((valid, refused.len()))
}

/// Compiles the functions `indices`; returns how many of them the tier refuses.
fn check_tier(module: &Module, indices: &[u32], tier: Tier, checker: &Checker) -> Result<usize, CliError> {
    let mut progress = Progress::new(indices.len());
    let started = Instant::now();
    let (mut compiled, mut refused) = (0, 0);
    let (mut instructions, mut code_bytes, mut largest_frame) = (0, 0, 0);
    for &index in indices {
        progress.step();
        match checker.check(module, index) {
            Ok(report) => {
                compiled += 1;
                instructions += report.instructions as u64;
                code_bytes += report.code_bytes as u64;
                largest_frame = largest_frame.max(report.frame_bytes as u64);
            }
            Err(bailout) => {
                progress.clear();
                refused += 1;
                output::line(format_args!("  {tier}: {}: {bailout}", Named(module, index)))?;
            }
        }
    }
    progress.clear();
    output::line(format_args!(
        "{tier}: {compiled} compile, {refused} do not; {} of CLIF → {} of code, largest frame {} ({}, {} of it in the compiler{})",
        units::count(instructions, "instruction"),
        units::bytes(code_bytes),
        units::bytes(largest_frame),
        units::duration(started.elapsed()),
        units::duration(checker.codegen_time()),
        checker.helper_memory().map_or_else(String::new, |bytes| format!(", {} of memory there", units::bytes(bytes)))
    ))?;
    Ok(refused)
}

/// A function by its index, and its name if it has one.
struct Named<'a>(&'a Module, u32);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {}", self.1)?;
        self.0.function_name(self.1).map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// How far the check is: one line on standard error, if that is a terminal.
struct Progress {
    terminal: bool,
    done: usize,
    of: usize,
    shown: Instant,
}

impl Progress {
    fn new(of: usize) -> Self {
        Self { terminal: io::stderr().is_terminal(), done: 0, of, shown: Instant::now() }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.terminal && self.shown.elapsed() > Duration::from_millis(100) {
            self.shown = Instant::now();
            let _ = write!(io::stderr(), "\r{} of {}", self.done, self.of);
        }
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
