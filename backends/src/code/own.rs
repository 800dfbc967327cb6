//! Writing into pages of this process that are mapped readable and executable, and stay so.
//!
//! The usual way makes pages writable, fills them, and makes them executable. The second change takes a permission away, so every
//! processor that runs the process has to be told, by an interrupt that the changing thread waits for: most of what installing a
//! function costs, and the running program pays, too. Linux also writes through `/proc/self/mem`, with the reach of a debugger, to private
//! pages that are mapped read-only: nothing is ever writable, nobody is interrupted. (Julia's code memory does the same.) Where that is
//! refused, by other systems or by a hardened kernel (`proc_mem.force_override`), pages are changed the usual way.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    process,
    sync::OnceLock,
};

/// The memory of the process that first wrote, if it may be written.
#[derive(Debug, Default)]
pub(super) struct OwnMemory(OnceLock<Option<Opened>>);

#[derive(Debug)]
struct Opened {
    file: File,
    /// Whose memory it is: a forked child still has the file, which is its parent's memory.
    process: u32,
}

impl OwnMemory {
    /// Writes `bytes` to `address`.
    ///
    /// # Safety
    ///
    /// The bytes there belong to the caller, and nobody reads or runs them meanwhile.
    ///
    /// # Errors
    ///
    /// When it has to be done the other way. Some of the bytes may have been written.
    pub(super) unsafe fn write(&self, address: *mut u8, bytes: &[u8]) -> io::Result<()> {
        let opened = self.opened().filter(|opened| opened.process == process::id()).ok_or(io::ErrorKind::Unsupported)?;
        opened.file.write_all_at(bytes, address.expose_provenance() as u64)
    }

    /// Pretends that it is this file, opened by that process.
    #[cfg(test)]
    pub(super) fn pretend(&self, file: &str, process: u32) {
        let file = OpenOptions::new().write(true).open(file).expect("a device");
        self.0.set(Some(Opened { file, process })).expect("not opened before");
    }

    fn opened(&self) -> Option<&Opened> {
        self.0
            .get_or_init(|| {
                let file = OpenOptions::new().write(true).open("/proc/self/mem").ok()?;
                Some(Opened { file, process: process::id() })
            })
            .as_ref()
    }
}
