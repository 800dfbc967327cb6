//! The preview-1 functions the corpus imports, written once for all peers.
//!
//! A peer links [`FUNCTIONS`] as dynamically typed host functions and passes its guest's memory and arguments on, so that
//! every peer does the same work per call. This is a host for measuring known programs: it is read-only and keeps to the
//! preopened folder by refusing `..`, but it is no sandbox.

mod calls;
mod descriptors;
mod guest;

use std::path::Path;

use descriptors::Descriptors;
use guest::Guest;

/// The module name the guests import from.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// Every function offered.
pub(crate) const FUNCTIONS: &[Function] = calls::TABLE;

/// What the guest sees of the world.
#[derive(Debug)]
pub(crate) struct Wasi {
    args: Vec<Vec<u8>>,
    descriptors: Descriptors,
}

impl Wasi {
    /// A guest with these arguments, this process's stdio, and `root` (if any) preopened as `/`.
    ///
    /// # Errors
    /// When the stdio handles cannot be duplicated.
    pub(crate) fn new(args: &[String], root: Option<&Path>) -> std::io::Result<Self> {
        Ok(Self { args: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(), descriptors: Descriptors::new(root)? })
    }
}

/// A parameter's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    I32,
    I64,
}

/// One importable function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [Type],
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// Returns an error number.
    Errno(fn(&mut Wasi, &mut Guest<'_>, &[u64]) -> Result<(), Errno>),
    /// Ends the program with its argument.
    Exit,
}

/// The guest called `proc_exit` with this code.
#[derive(Debug, thiserror::Error)]
#[error("exit {0}")]
pub(crate) struct Exit(pub(crate) i32);

impl Function {
    /// Whether it returns an error number; `proc_exit` returns nothing.
    pub(crate) fn returns_errno(&self) -> bool {
        matches!(self.body, Body::Errno(_))
    }

    /// Runs it on the guest's memory and arguments (i32 zero-extended); gives the error number.
    pub(crate) fn call(&self, wasi: &mut Wasi, memory: &mut [u8], args: &[u64]) -> Result<i32, Exit> {
        match self.body {
            Body::Errno(_) if args.len() != self.params.len() => Ok(Errno::Inval as i32),
            Body::Errno(body) => Ok(match body(wasi, &mut Guest(memory), args) {
                Ok(()) => 0,
                Err(errno) => errno as i32,
            }),
            Body::Exit => Err(Exit(args.first().map_or(0, |&code| code as i32))),
        }
    }
}

/// The error numbers of preview 1 that occur here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errno {
    Acces = 2,
    Badf = 8,
    Fault = 21,
    Inval = 28,
    Io = 29,
    Isdir = 31,
    Nametoolong = 37,
    Noent = 44,
    Notdir = 54,
    Rofs = 69,
    Spipe = 70,
    Notcapable = 76,
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::NotFound => Self::Noent,
            ErrorKind::PermissionDenied => Self::Acces,
            ErrorKind::IsADirectory => Self::Isdir,
            ErrorKind::NotADirectory => Self::Notdir,
            ErrorKind::NotSeekable => Self::Spipe,
            ErrorKind::InvalidInput => Self::Inval,
            _ => Self::Io,
        }
    }
}
