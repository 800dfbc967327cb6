//! Standard streams: the process's own, any reader or writer, or a buffer that can be looked at afterwards.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

/// A stream the guest reads.
pub(crate) enum Input {
    /// A duplicate of a descriptor of the process.
    Host(File),
    Reader(Box<dyn Read + Send>),
}

/// A stream the guest writes.
pub(crate) enum Output {
    /// A duplicate of a descriptor of the process: written directly, so that nothing is left in a buffer of ours.
    Host(File),
    Writer(Box<dyn Write + Send>),
}

impl Input {
    /// The process's standard input.
    pub(crate) fn inherit() -> io::Result<Self> {
        duplicate(io::stdin()).map(Self::Host)
    }

    /// Bytes into `buffer`; 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Host(file) => file.read(buffer),
            Self::Reader(reader) => reader.read(buffer),
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Host(file) if file.is_terminal())
    }
}

impl Output {
    /// The process's standard output.
    pub(crate) fn inherit_stdout() -> io::Result<Self> {
        duplicate(io::stdout()).map(Self::Host)
    }

    /// The process's standard error.
    pub(crate) fn inherit_stderr() -> io::Result<Self> {
        duplicate(io::stderr()).map(Self::Host)
    }

    /// Writes some of the bytes and says how many.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Host(file) => file.write_vectored(slices),
            Self::Writer(writer) => {
                let written = writer.write_vectored(slices)?;
                writer.flush()?;
                Ok(written)
            }
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Host(file) if file.is_terminal())
    }
}

fn duplicate(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("terminal", &self.is_terminal()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("terminal", &self.is_terminal()).finish_non_exhaustive()
    }
}

/// A shared buffer to give a guest as its output. Cloning shares.
#[derive(Debug, Clone, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written so far.
    pub fn contents(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
