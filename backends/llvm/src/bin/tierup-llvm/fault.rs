//! Misbehaviour on demand (`--fault`): what a helper may do to whoever asks it, so that tests need not wait for it.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

use clap::ValueEnum;

/// What goes wrong at a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FaultKind {
    /// Abort after writing something to standard error
    Crash,
    /// Never answer
    Hang,
    /// Stop (SIGSTOP) until somebody continues it, then answer
    Stop,
    /// Answer with bytes that are no frame
    Garbage,
    /// Say another protocol version at the start
    Version,
}

/// A fault, and whether it happens once or always.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// Made when the fault happens; while it exists it does not.
    pub(crate) once: Option<PathBuf>,
}

impl Fault {
    pub(crate) fn is_other_version(&self) -> bool {
        self.kind == FaultKind::Version
    }

    /// Does it, at a request.
    pub(crate) fn strike(&self) -> io::Result<()> {
        if let Some(marker) = &self.once {
            match File::create_new(marker) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                other => other?,
            };
        }
        match self.kind {
            FaultKind::Crash => {
                eprintln!("fault: crashing as asked");
                std::process::abort()
            }
            FaultKind::Hang => loop {
                thread::sleep(Duration::from_secs(3600));
            },
            FaultKind::Stop => {
                // SAFETY: takes no memory; raising a signal at oneself has no other precondition.
                match unsafe { libc::raise(libc::SIGSTOP) } {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            }
            FaultKind::Garbage => io::stdout().write_all(&[0xff; 64]),
            FaultKind::Version => Ok(()),
        }
    }
}
