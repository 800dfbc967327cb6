//! What one guest was granted, and the builder that grants it.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::fds::{Descriptor, Directory, Fds, Kind};
use crate::rights::Rights;
use crate::stdio::{Input, Output};

/// The state of one guest: its descriptors, arguments and environment.
#[derive(Debug)]
pub struct WasiCtx {
    pub(crate) fds: Fds,
    pub(crate) args: Vec<String>,
    /// `KEY=VALUE` each.
    pub(crate) env: Vec<String>,
    /// Where the monotonic clock started.
    pub(crate) started: std::time::Instant,
}

/// What a guest may do beneath a preopened directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look, list, read.
    ReadOnly,
    /// Also write, create, rename and remove.
    ReadWrite,
}

/// Why a guest could not be granted what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An argument, a variable or a guest path contains a NUL byte.
    #[error("{what} {value:?} contains a NUL byte")]
    Nul {
        /// What kind of string it is.
        what: &'static str,
        /// The string.
        value: String,
    },
    /// The name of an environment variable is empty or contains `=`.
    #[error("{0:?} is no name for an environment variable")]
    VariableName(String),
    /// A directory could not be opened.
    #[error("cannot open the directory {}: {source}", path.display())]
    Directory {
        /// Where it should have been.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A standard stream of the process could not be duplicated.
    #[error("cannot use the process's {stream}: {source}")]
    Stream {
        /// Which one.
        stream: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Grants, one by one. A fresh builder grants nothing: no arguments, no environment, no files, empty input, output
/// that goes nowhere.
pub struct WasiCtxBuilder {
    args: Vec<String>,
    env: Vec<String>,
    stdin: Input,
    stdout: Output,
    stderr: Output,
    preopens: Vec<(Dir, String, Access)>,
}

impl WasiCtxBuilder {
    /// Grants nothing.
    pub fn new() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            stdin: Input::Reader(Box::new(io::empty())),
            stdout: Output::Writer(Box::new(io::sink())),
            stderr: Output::Writer(Box::new(io::sink())),
            preopens: Vec::new(),
        }
    }

    /// Adds an argument; the first is the program's name.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Nul`].
    pub fn arg(mut self, arg: impl Into<String>) -> Result<Self, ConfigError> {
        self.args.push(without_nul("the argument", arg.into())?);
        Ok(self)
    }

    /// Adds arguments.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Nul`].
    pub fn args<S: Into<String>>(self, args: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        args.into_iter().try_fold(self, Self::arg)
    }

    /// Adds an environment variable.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Nul`], [`ConfigError::VariableName`].
    pub fn env(mut self, key: &str, value: &str) -> Result<Self, ConfigError> {
        if key.is_empty() || key.contains('=') {
            return Err(ConfigError::VariableName(key.to_owned()));
        }
        self.env.push(without_nul("the variable", format!("{key}={value}"))?);
        Ok(self)
    }

    /// What the guest reads as its standard input.
    pub fn stdin(mut self, reader: impl Read + Send + 'static) -> Self {
        self.stdin = Input::Reader(Box::new(reader));
        self
    }

    /// Where the guest's standard output goes; flushed after each of the guest's writes.
    pub fn stdout(mut self, writer: impl Write + Send + 'static) -> Self {
        self.stdout = Output::Writer(Box::new(writer));
        self
    }

    /// Where the guest's standard error goes; flushed after each of the guest's writes.
    pub fn stderr(mut self, writer: impl Write + Send + 'static) -> Self {
        self.stderr = Output::Writer(Box::new(writer));
        self
    }

    /// Gives the guest the process's own three standard streams.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Stream`] if one of them is closed.
    pub fn inherit_stdio(mut self) -> Result<Self, ConfigError> {
        let failed = |stream| move |source| ConfigError::Stream { stream, source };
        self.stdin = Input::inherit().map_err(failed("standard input"))?;
        self.stdout = Output::inherit_stdout().map_err(failed("standard output"))?;
        self.stderr = Output::inherit_stderr().map_err(failed("standard error"))?;
        Ok(self)
    }

    /// Lets the guest see the directory `host`, and what is beneath it, as `guest`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Directory`], [`ConfigError::Nul`].
    pub fn preopened_dir(
        mut self,
        host: impl AsRef<Path>,
        guest: impl Into<String>,
        access: Access,
    ) -> Result<Self, ConfigError> {
        let host = host.as_ref();
        let dir = Dir::open_ambient_dir(host, ambient_authority())
            .map_err(|source| ConfigError::Directory { path: host.to_owned(), source })?;
        self.preopens.push((dir, without_nul("the guest path", guest.into())?, access));
        Ok(self)
    }

    /// The guest's state, with descriptors 0 to 2 open and preopened directories from 3 on.
    pub fn build(self) -> WasiCtx {
        let mut descriptors = vec![
            stream(Kind::Input(self.stdin), Rights::INPUT),
            stream(Kind::Output(self.stdout), Rights::OUTPUT),
            stream(Kind::Output(self.stderr), Rights::OUTPUT),
        ];
        for (dir, guest, access) in self.preopens {
            let denied = match access {
                Access::ReadOnly => Rights::MUTATING,
                Access::ReadWrite => Rights(0),
            };
            descriptors.push(Descriptor {
                kind: Kind::Dir(Directory { dir: Arc::new(dir), preopen: Some(guest), listing: Vec::new() }),
                rights: Rights::DIRECTORY.without(denied),
                inheriting: (Rights::DIRECTORY | Rights::FILE).without(denied),
                flags: 0,
            });
        }
        WasiCtx { fds: Fds::new(descriptors), args: self.args, env: self.env, started: std::time::Instant::now() }
    }
}

fn stream(kind: Kind, rights: Rights) -> Descriptor {
    Descriptor { kind, rights, inheriting: Rights(0), flags: 0 }
}

fn without_nul(what: &'static str, value: String) -> Result<String, ConfigError> {
    if value.contains('\0') { Err(ConfigError::Nul { what, value }) } else { Ok(value) }
}

impl Default for WasiCtxBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WasiCtxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasiCtxBuilder")
            .field("args", &self.args)
            .field("env", &self.env)
            .field("preopens", &self.preopens.iter().map(|(_, guest, access)| (guest, access)).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
