//! `perf`'s map file: one line per compiled unit, in the place and format perf expects.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

/// The open `/tmp/perf-<pid>.map`.
#[derive(Debug)]
pub(crate) struct PerfMap(Mutex<File>);

impl PerfMap {
    pub(crate) fn open() -> io::Result<Self> {
        let path = format!("/tmp/perf-{}.map", std::process::id());
        Ok(PerfMap(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?)))
    }

    /// Adds a unit. A full disk costs the symbol, nothing else.
    pub(crate) fn add(&self, start: usize, len: usize, name: &str) {
        let name = name.replace('\n', " ");
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(file, "{start:x} {len:x} {name}") {
            tracing::debug!(%error, "perf map not written");
        }
    }
}
