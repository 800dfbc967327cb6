//! Error numbers of preview 1, and what the host's errors become.

use std::io;

/// A preview 1 error number. Success is not one: functions return `Result<(), Errno>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u16)]
#[non_exhaustive]
pub enum Errno {
    /// Permission denied.
    #[error("permission denied")]
    Access = 2,
    /// Resource unavailable, or the operation would block.
    #[error("try again")]
    Again = 6,
    /// Bad file descriptor.
    #[error("bad file descriptor")]
    BadF = 8,
    /// Device or resource busy.
    #[error("busy")]
    Busy = 10,
    /// File exists.
    #[error("file exists")]
    Exist = 20,
    /// Bad address: a pointer outside the guest's memory.
    #[error("bad address")]
    Fault = 21,
    /// File too large.
    #[error("file too large")]
    FBig = 22,
    /// Illegal byte sequence: a path that is not UTF-8.
    #[error("illegal byte sequence")]
    IlSeq = 25,
    /// Interrupted.
    #[error("interrupted")]
    Intr = 27,
    /// Invalid argument.
    #[error("invalid argument")]
    Inval = 28,
    /// I/O error.
    #[error("i/o error")]
    Io = 29,
    /// Is a directory.
    #[error("is a directory")]
    IsDir = 31,
    /// Too many levels of symbolic links.
    #[error("too many symbolic links")]
    Loop = 32,
    /// Too many open descriptors.
    #[error("too many open descriptors")]
    MFile = 33,
    /// Too many links.
    #[error("too many links")]
    MLink = 34,
    /// Name too long.
    #[error("name too long")]
    NameTooLong = 37,
    /// No such file or directory.
    #[error("no such file or directory")]
    NoEnt = 44,
    /// Not enough memory.
    #[error("out of memory")]
    NoMem = 48,
    /// No space left.
    #[error("no space left")]
    NoSpc = 51,
    /// Not implemented.
    #[error("not implemented")]
    NoSys = 52,
    /// Not a directory.
    #[error("not a directory")]
    NotDir = 54,
    /// Directory not empty.
    #[error("directory not empty")]
    NotEmpty = 55,
    /// Not a socket.
    #[error("not a socket")]
    NotSock = 57,
    /// Not supported.
    #[error("not supported")]
    NotSup = 58,
    /// A value does not fit.
    #[error("value too large")]
    Overflow = 61,
    /// Operation not permitted; also a path that leads out of its directory.
    #[error("operation not permitted")]
    Perm = 63,
    /// Broken pipe.
    #[error("broken pipe")]
    Pipe = 64,
    /// Read-only file system.
    #[error("read-only file system")]
    RoFs = 69,
    /// The descriptor cannot seek.
    #[error("illegal seek")]
    SPipe = 70,
    /// Text file busy.
    #[error("text file busy")]
    TxtBsy = 74,
    /// Across file systems.
    #[error("cross-device link")]
    XDev = 75,
    /// The descriptor lacks the right.
    #[error("capabilities insufficient")]
    NotCapable = 76,
}

impl From<rustix::io::Errno> for Errno {
    fn from(error: rustix::io::Errno) -> Self {
        use rustix::io::Errno as Host;
        match error {
            Host::ACCESS => Self::Access,
            Host::AGAIN => Self::Again,
            Host::BADF => Self::BadF,
            Host::BUSY => Self::Busy,
            Host::EXIST => Self::Exist,
            Host::FAULT => Self::Fault,
            Host::FBIG => Self::FBig,
            Host::ILSEQ => Self::IlSeq,
            Host::INTR => Self::Intr,
            Host::INVAL => Self::Inval,
            Host::ISDIR => Self::IsDir,
            Host::LOOP => Self::Loop,
            Host::MFILE | Host::NFILE => Self::MFile,
            Host::MLINK => Self::MLink,
            Host::NAMETOOLONG => Self::NameTooLong,
            Host::NOENT => Self::NoEnt,
            Host::NOMEM => Self::NoMem,
            Host::NOSPC => Self::NoSpc,
            Host::NOSYS => Self::NoSys,
            Host::NOTDIR => Self::NotDir,
            Host::NOTEMPTY => Self::NotEmpty,
            Host::OPNOTSUPP => Self::NotSup,
            Host::OVERFLOW => Self::Overflow,
            Host::PERM => Self::Perm,
            Host::PIPE => Self::Pipe,
            Host::ROFS => Self::RoFs,
            Host::SPIPE => Self::SPipe,
            Host::TXTBSY => Self::TxtBsy,
            Host::XDEV => Self::XDev,
            _ => Self::Io,
        }
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        if let Some(host) = rustix::io::Errno::from_io_error(&error) {
            return host.into();
        }
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoEnt,
            // How cap-std says that a path leads out of its directory.
            io::ErrorKind::PermissionDenied => Self::Perm,
            io::ErrorKind::AlreadyExists => Self::Exist,
            io::ErrorKind::WouldBlock => Self::Again,
            io::ErrorKind::InvalidInput => Self::Inval,
            io::ErrorKind::BrokenPipe => Self::Pipe,
            io::ErrorKind::OutOfMemory => Self::NoMem,
            io::ErrorKind::Interrupted => Self::Intr,
            io::ErrorKind::Unsupported => Self::NotSup,
            _ => Self::Io,
        }
    }
}
