//! The descriptor table.

use std::sync::Arc;

use cap_std::fs::{Dir, File};

use crate::errno::Errno;
use crate::readdir::Entry;
use crate::rights::Rights;
use crate::stdio::{Input, Output};

/// Descriptors one guest may have open. Each is one of the process's, which often has no more than 1024.
pub(crate) const MAX_OPEN: usize = 512;

/// Descriptor flag: every write goes to the end.
pub(crate) const FDFLAGS_APPEND: u16 = 1 << 0;
/// Descriptor flag: data reaches the disk before a write returns.
pub(crate) const FDFLAGS_DSYNC: u16 = 1 << 1;
/// Descriptor flag: an operation that would block fails instead.
pub(crate) const FDFLAGS_NONBLOCK: u16 = 1 << 2;
/// Descriptor flag: reads wait for pending writes.
pub(crate) const FDFLAGS_RSYNC: u16 = 1 << 3;
/// Descriptor flag: data and metadata reach the disk before a write returns.
pub(crate) const FDFLAGS_SYNC: u16 = 1 << 4;
/// All of them.
pub(crate) const FDFLAGS_ALL: u16 = FDFLAGS_APPEND | FDFLAGS_DSYNC | FDFLAGS_NONBLOCK | FDFLAGS_RSYNC | FDFLAGS_SYNC;

/// What a descriptor names.
#[derive(Debug)]
pub(crate) enum Kind {
    Input(Input),
    Output(Output),
    File(File),
    Dir(Directory),
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Shared, so that an operation on two directories can hold both.
    pub(crate) dir: Arc<Dir>,
    /// The guest's name of a preopened directory.
    pub(crate) preopen: Option<String>,
    /// The listing a reader is in the middle of.
    pub(crate) listing: Vec<Entry>,
}

/// An open descriptor.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) kind: Kind,
    /// What may be done with it.
    pub(crate) rights: Rights,
    /// What may be done with what is opened through it.
    pub(crate) inheriting: Rights,
    /// `FDFLAGS_*`.
    pub(crate) flags: u16,
}

/// The descriptors of one guest, by number.
#[derive(Debug)]
pub(crate) struct Fds(Vec<Option<Descriptor>>);

impl Fds {
    /// A table with these, numbered from 0.
    pub(crate) fn new(descriptors: Vec<Descriptor>) -> Self {
        Self(descriptors.into_iter().map(Some).collect())
    }

    /// Opens a descriptor at the lowest free number.
    ///
    /// # Errors
    ///
    /// [`Errno::MFile`] when too many are open.
    pub(crate) fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free >= MAX_OPEN {
            return Err(Errno::MFile);
        }
        if free == self.0.len() {
            self.0.push(None);
        }
        self.0[free] = Some(descriptor);
        Ok(free as u32)
    }

    /// # Errors
    ///
    /// [`Errno::BadF`].
    pub(crate) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.0.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::BadF)
    }

    /// # Errors
    ///
    /// [`Errno::BadF`].
    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.0.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::BadF)
    }

    /// # Errors
    ///
    /// [`Errno::BadF`].
    pub(crate) fn close(&mut self, fd: u32) -> Result<(), Errno> {
        self.0.get_mut(fd as usize).and_then(Option::take).map(drop).ok_or(Errno::BadF)
    }

    /// Moves `from` to `to`, whose descriptor is closed.
    ///
    /// # Errors
    ///
    /// [`Errno::BadF`] unless both are open.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        self.get(to)?;
        self.get(from)?;
        if from != to {
            self.0[to as usize] = self.0[from as usize].take();
        }
        Ok(())
    }

    /// A descriptor with the given rights.
    ///
    /// # Errors
    ///
    /// [`Errno::BadF`], [`Errno::NotCapable`].
    pub(crate) fn with_rights(&mut self, fd: u32, needed: Rights) -> Result<&mut Descriptor, Errno> {
        let descriptor = self.get_mut(fd)?;
        descriptor.rights.check(needed)?;
        Ok(descriptor)
    }

    /// The file behind a descriptor with the given rights.
    ///
    /// # Errors
    ///
    /// [`Errno::BadF`], [`Errno::NotCapable`]; [`Errno::IsDir`], or [`Errno::SPipe`] for a stream.
    pub(crate) fn file(&mut self, fd: u32, needed: Rights) -> Result<&mut File, Errno> {
        let descriptor = self.get_mut(fd)?;
        match &mut descriptor.kind {
            Kind::File(file) => {
                descriptor.rights.check(needed)?;
                Ok(file)
            }
            Kind::Dir(_) => Err(Errno::IsDir),
            Kind::Input(_) | Kind::Output(_) => Err(Errno::SPipe),
        }
    }

    /// The directory behind a descriptor with the given rights.
    ///
    /// # Errors
    ///
    /// [`Errno::BadF`], [`Errno::NotDir`], [`Errno::NotCapable`].
    pub(crate) fn dir(&self, fd: u32, needed: Rights) -> Result<Arc<Dir>, Errno> {
        let descriptor = self.get(fd)?;
        let Kind::Dir(directory) = &descriptor.kind else { return Err(Errno::NotDir) };
        descriptor.rights.check(needed)?;
        Ok(directory.dir.clone())
    }
}
