//! What a descriptor may be used for.

use std::ops::{BitAnd, BitOr};

use crate::errno::Errno;

/// A set of preview 1 rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights(pub(crate) u64);

impl Rights {
    pub(crate) const FD_DATASYNC: Self = Self(1 << 0);
    pub(crate) const FD_READ: Self = Self(1 << 1);
    pub(crate) const FD_SEEK: Self = Self(1 << 2);
    pub(crate) const FD_FDSTAT_SET_FLAGS: Self = Self(1 << 3);
    pub(crate) const FD_SYNC: Self = Self(1 << 4);
    pub(crate) const FD_TELL: Self = Self(1 << 5);
    pub(crate) const FD_WRITE: Self = Self(1 << 6);
    pub(crate) const FD_ADVISE: Self = Self(1 << 7);
    pub(crate) const FD_ALLOCATE: Self = Self(1 << 8);
    pub(crate) const PATH_CREATE_DIRECTORY: Self = Self(1 << 9);
    pub(crate) const PATH_CREATE_FILE: Self = Self(1 << 10);
    pub(crate) const PATH_LINK_SOURCE: Self = Self(1 << 11);
    pub(crate) const PATH_LINK_TARGET: Self = Self(1 << 12);
    pub(crate) const PATH_OPEN: Self = Self(1 << 13);
    pub(crate) const FD_READDIR: Self = Self(1 << 14);
    pub(crate) const PATH_READLINK: Self = Self(1 << 15);
    pub(crate) const PATH_RENAME_SOURCE: Self = Self(1 << 16);
    pub(crate) const PATH_RENAME_TARGET: Self = Self(1 << 17);
    pub(crate) const PATH_FILESTAT_GET: Self = Self(1 << 18);
    pub(crate) const PATH_FILESTAT_SET_SIZE: Self = Self(1 << 19);
    pub(crate) const PATH_FILESTAT_SET_TIMES: Self = Self(1 << 20);
    pub(crate) const FD_FILESTAT_GET: Self = Self(1 << 21);
    pub(crate) const FD_FILESTAT_SET_SIZE: Self = Self(1 << 22);
    pub(crate) const FD_FILESTAT_SET_TIMES: Self = Self(1 << 23);
    pub(crate) const PATH_SYMLINK: Self = Self(1 << 24);
    pub(crate) const PATH_REMOVE_DIRECTORY: Self = Self(1 << 25);
    pub(crate) const PATH_UNLINK_FILE: Self = Self(1 << 26);
    pub(crate) const POLL_FD_READWRITE: Self = Self(1 << 27);

    /// Reading from a stream that cannot seek.
    pub(crate) const INPUT: Self =
        Self::all(&[Self::FD_READ, Self::FD_FDSTAT_SET_FLAGS, Self::FD_FILESTAT_GET, Self::POLL_FD_READWRITE]);
    /// Writing to a stream that cannot seek.
    pub(crate) const OUTPUT: Self =
        Self::all(&[Self::FD_WRITE, Self::FD_FDSTAT_SET_FLAGS, Self::FD_FILESTAT_GET, Self::POLL_FD_READWRITE]);
    /// What makes sense for a regular file.
    pub(crate) const FILE: Self = Self::all(&[
        Self::INPUT,
        Self::OUTPUT,
        Self::FD_DATASYNC,
        Self::FD_SEEK,
        Self::FD_SYNC,
        Self::FD_TELL,
        Self::FD_ADVISE,
        Self::FD_ALLOCATE,
        Self::FD_FILESTAT_SET_SIZE,
        Self::FD_FILESTAT_SET_TIMES,
    ]);
    /// What changes a file or a directory.
    pub(crate) const MUTATING: Self = Self::all(&[
        Self::FD_DATASYNC,
        Self::FD_WRITE,
        Self::FD_ALLOCATE,
        Self::FD_FILESTAT_SET_SIZE,
        Self::FD_FILESTAT_SET_TIMES,
        Self::PATH_CREATE_DIRECTORY,
        Self::PATH_CREATE_FILE,
        Self::PATH_LINK_SOURCE,
        Self::PATH_LINK_TARGET,
        Self::PATH_RENAME_SOURCE,
        Self::PATH_RENAME_TARGET,
        Self::PATH_FILESTAT_SET_SIZE,
        Self::PATH_FILESTAT_SET_TIMES,
        Self::PATH_SYMLINK,
        Self::PATH_REMOVE_DIRECTORY,
        Self::PATH_UNLINK_FILE,
    ]);
    /// What makes sense for a directory.
    pub(crate) const DIRECTORY: Self = Self::all(&[
        Self::FD_FDSTAT_SET_FLAGS,
        Self::FD_SYNC,
        Self::FD_ADVISE,
        Self::FD_READDIR,
        Self::FD_FILESTAT_GET,
        Self::FD_FILESTAT_SET_TIMES,
        Self::PATH_OPEN,
        Self::PATH_READLINK,
        Self::PATH_FILESTAT_GET,
        Self::MUTATING.without(Self::all(&[Self::FD_DATASYNC, Self::FD_WRITE, Self::FD_ALLOCATE, Self::FD_FILESTAT_SET_SIZE])),
    ]);

    /// All of these together. (`|` does not work in constants.)
    const fn all(sets: &[Self]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < sets.len() {
            bits |= sets[i].0;
            i += 1;
        }
        Self(bits)
    }

    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// # Errors
    ///
    /// [`Errno::NotCapable`] unless all of `needed` are there.
    pub(crate) fn check(self, needed: Self) -> Result<(), Errno> {
        if self.contains(needed) { Ok(()) } else { Err(Errno::NotCapable) }
    }
}

impl BitOr for Rights {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Rights {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
