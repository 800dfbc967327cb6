//! `tierup check`: every function through every tier, nothing run.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use tierup::Tier;
use tierup_interp::{Checker, Config, Engine, Module, TierMode};

use crate::error::CliError;
use crate::options::CheckOptions;
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
    let started = Instant::now();
    module.validate_all().map_err(failed)?;
    println!(
        "{}: {}, all valid for the interpreter ({})",
        path.display(),
        units::count(u64::from(module.defined_functions()), "function"),
        units::duration(started.elapsed())
    );
    let mut refused = 0;
    for tier in (1..=Tier::MAX.index()).map(Tier::new) {
        match Checker::new(tier) {
            Ok(checker) => refused += check_tier(&module, tier, &checker),
            // Tier 1 is missing only on a machine without native code.
            Err(error) if tier == Tier::new(1) => return Err(CliError::Engine(error)),
            Err(_) => break,
        }
    }
    Ok(i32::from(refused > 0))
}

/// Returns how many functions the tier refuses.
fn check_tier(module: &Module, tier: Tier, checker: &Checker) -> u32 {
    let mut progress = Progress::new(module.defined_functions());
    let started = Instant::now();
    let (mut compiled, mut refused) = (0, 0);
    let (mut instructions, mut code_bytes, mut largest_frame) = (0, 0, 0);
    let first = module.imported_functions();
    for index in first..first + module.defined_functions() {
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
                let name = module.function_name(index).map_or_else(String::new, |name| format!(" ({name})"));
                println!("  {tier}: function {index}{name}: {bailout}");
            }
        }
    }
    progress.clear();
    println!(
        "{tier}: {compiled} compile, {refused} do not; {} of CLIF → {} of code, largest frame {} ({})",
        units::count(instructions, "instruction"),
        units::bytes(code_bytes),
        units::bytes(largest_frame),
        units::duration(started.elapsed())
    );
    refused
}

/// How far the check is: one line on standard error, if that is a terminal.
struct Progress {
    terminal: bool,
    done: u32,
    of: u32,
    shown: Instant,
}

impl Progress {
    fn new(of: u32) -> Self {
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
