//! The program that is recorded: the same input each time it is run, and nobody who reads what it prints.

use std::fs;
use std::io::{self, Cursor};
use std::path::Path;
use std::sync::Arc;

use tierup::Threshold;
#[cfg(feature = "llvm")]
use tierup_interp::Llvm;
use tierup_interp::{Config, Engine, Error, Module, Store, TierMode};

use crate::error::CliError;
use crate::options::{ProgramOptions, lab::RecordOptions};
#[cfg(feature = "llvm")]
use crate::output;
use crate::program;

/// A program, and what it reads.
#[derive(Debug)]
pub(crate) struct Subject<'o> {
    options: &'o ProgramOptions,
    config: Config,
    bytes: Arc<[u8]>,
    stdin: Arc<[u8]>,
}

impl<'o> Subject<'o> {
    /// Reads the module and the input.
    ///
    /// # Errors
    ///
    /// Which of them cannot be read.
    pub(crate) fn new(options: &'o RecordOptions) -> Result<Self, CliError> {
        let stdin = options.stdin.as_deref().map_or(Ok(Vec::new()), read)?;
        let config = Config {
            #[cfg(feature = "llvm")]
            llvm: optimizing(options.llvm.tier()),
            ..Config::default()
        };
        let bytes = read(options.program.module())?;
        Ok(Self { options: &options.program, config, bytes: bytes.into(), stdin: stdin.into() })
    }

    /// How engines are set up for it.
    pub(crate) fn config(&self) -> Config {
        self.config.clone()
    }

    /// Its module.
    ///
    /// # Errors
    ///
    /// Why it is none.
    pub(crate) fn load(&self, engine: &Engine) -> Result<Module, CliError> {
        Module::new(engine, Arc::clone(&self.bytes))
            .map_err(|source| CliError::Module { path: self.options.module().to_owned(), source })
    }

    /// Runs it once, to its end.
    ///
    /// # Errors
    ///
    /// As `tierup run`; an exit is none, whatever its code.
    pub(crate) fn run(&self, engine: &Engine, module: &Module) -> Result<(), CliError> {
        let wasi =
            program::grants(self.options)?.stdin(Cursor::new(Arc::clone(&self.stdin))).stdout(io::sink()).stderr(io::sink());
        let mut store = Store::new(engine, wasi.build()).map_err(CliError::Engine)?;
        match program::execute(self.options, module, &mut store, |_| Ok(())) {
            Err(CliError::Module { source: Error::Exit(_), .. }) => Ok(()),
            Err(CliError::Module { source: Error::Trap(trap), .. }) => Err(CliError::Trap(trap)),
            other => other,
        }
    }
}

/// The optimizing tier, if its helper can be run. Elsewhere the others are recorded: with a tier that refuses everything, a replay would have
/// optimized code for nothing that is as fast as the baseline's.
#[cfg(feature = "llvm")]
fn optimizing(llvm: Llvm) -> Option<Llvm> {
    match llvm.version() {
        Ok(_) => Some(llvm),
        Err(error) => {
            output::tell(format_args!("the optimizing tier is not recorded: {error}"));
            None
        }
    }
}

/// An engine that counts what is called, and never compiles.
pub(crate) fn counted(config: Config) -> Config {
    Config { tier: TierMode::Auto, policy: Some(Arc::new(Threshold { calls: u32::MAX })), ..config }
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    fs::read(path).map_err(|source| CliError::Read { path: path.to_owned(), source })
}
