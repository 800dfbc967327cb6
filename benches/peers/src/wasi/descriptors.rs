//! The descriptor table: stdio, one preopened folder, and the files opened beneath it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use super::Errno;

#[derive(Debug)]
pub(super) struct Descriptors(Vec<Option<Descriptor>>);

#[derive(Debug)]
pub(super) enum Descriptor {
    /// Also the three of stdio.
    File(File),
    /// A folder preopened as `/`.
    Preopen(PathBuf),
}

impl Descriptors {
    /// Stdio as 0, 1 and 2, unbuffered; the folder as 3.
    pub(super) fn new(root: Option<&Path>) -> io::Result<Self> {
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(|fd| Some(Descriptor::File(File::from(fd))));
        let mut table = vec![own(io::stdin().as_fd())?, own(io::stdout().as_fd())?, own(io::stderr().as_fd())?];
        table.extend(root.map(|root| Some(Descriptor::Preopen(root.to_owned()))));
        Ok(Self(table))
    }

    pub(super) fn get(&mut self, fd: u64) -> Result<&mut Descriptor, Errno> {
        self.slot(fd)?.as_mut().ok_or(Errno::Badf)
    }

    pub(super) fn file(&mut self, fd: u64) -> Result<&mut File, Errno> {
        match self.get(fd)? {
            Descriptor::File(file) => Ok(file),
            Descriptor::Preopen(_) => Err(Errno::Isdir),
        }
    }

    pub(super) fn preopen(&mut self, fd: u64) -> Result<&Path, Errno> {
        match self.get(fd)? {
            Descriptor::Preopen(root) => Ok(root),
            Descriptor::File(_) => Err(Errno::Badf),
        }
    }

    pub(super) fn close(&mut self, fd: u64) -> Result<(), Errno> {
        self.slot(fd)?.take().map(drop).ok_or(Errno::Badf)
    }

    pub(super) fn renumber(&mut self, from: u64, to: u64) -> Result<(), Errno> {
        self.get(to)?;
        let moved = self.slot(from)?.take().ok_or(Errno::Badf)?;
        *self.slot(to)? = Some(moved);
        Ok(())
    }

    /// Opens a file beneath the preopened folder for reading, at the lowest free number.
    pub(super) fn open(&mut self, folder: u64, path: &str) -> Result<u32, Errno> {
        let path = Path::new(path);
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !path.components().all(plain) {
            return Err(Errno::Notcapable);
        }
        let file = File::open(self.preopen(folder)?.join(path))?;
        if file.metadata()?.is_dir() {
            return Err(Errno::Isdir);
        }
        let free = self.0.iter().position(Option::is_none);
        let number = free.unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[number] = Some(Descriptor::File(file));
        u32::try_from(number).map_err(|_| Errno::Badf)
    }

    fn slot(&mut self, fd: u64) -> Result<&mut Option<Descriptor>, Errno> {
        let index = usize::try_from(fd).map_err(|_| Errno::Badf)?;
        self.0.get_mut(index).ok_or(Errno::Badf)
    }
}
