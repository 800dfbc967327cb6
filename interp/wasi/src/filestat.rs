//! What kind of file something is, its size and its times.

use std::time::SystemTime;

use cap_std::fs::{FileTypeExt, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::ctx::WasiCtx;
use crate::errno::Errno;
use crate::fds::Kind;
use crate::guest::Guest;
use crate::path::{LOOKUP_SYMLINK_FOLLOW, beneath};
use crate::rights::Rights;

/// A preview 1 file type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SocketStream = 6,
    SymbolicLink = 7,
}

impl FileType {
    /// What a descriptor names. A standard stream is a character device if it is a terminal.
    pub(crate) fn of(kind: &Kind) -> Result<Self, Errno> {
        Ok(match kind {
            Kind::Input(input) if input.is_terminal() => Self::CharacterDevice,
            Kind::Output(output) if output.is_terminal() => Self::CharacterDevice,
            Kind::Input(_) | Kind::Output(_) => Self::Unknown,
            Kind::File(file) => file.metadata()?.file_type().into(),
            Kind::Dir(_) => Self::Directory,
        })
    }
}

impl From<cap_std::fs::FileType> for FileType {
    fn from(host: cap_std::fs::FileType) -> Self {
        if host.is_file() {
            Self::RegularFile
        } else if host.is_dir() {
            Self::Directory
        } else if host.is_symlink() {
            Self::SymbolicLink
        } else if host.is_char_device() {
            Self::CharacterDevice
        } else if host.is_block_device() {
            Self::BlockDevice
        } else if host.is_socket() {
            Self::SocketStream
        } else {
            Self::Unknown
        }
    }
}

pub(crate) fn fd_filestat_get(ctx: &mut WasiCtx, guest: &mut Guest<'_>, fd: u32, at: u32) -> Result<(), Errno> {
    let record = match &ctx.fds.with_rights(fd, Rights::FD_FILESTAT_GET)?.kind {
        Kind::File(file) => record(&file.metadata()?),
        Kind::Dir(directory) => record(&directory.dir.dir_metadata()?),
        stream => {
            let mut record = [0; 64];
            record[16] = FileType::of(stream)? as u8;
            record
        }
    };
    guest.write(at, &record)
}

pub(crate) fn path_filestat_get(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    at: u32,
) -> Result<(), Errno> {
    let (dir, path) = beneath(ctx, guest, (fd, path, path_len), Rights::PATH_FILESTAT_GET)?;
    let metadata = if lookup & LOOKUP_SYMLINK_FOLLOW != 0 { dir.metadata(path)? } else { dir.symlink_metadata(path)? };
    guest.write(at, &record(&metadata))
}

/// A `filestat`.
fn record(metadata: &Metadata) -> [u8; 64] {
    let mut record = [0; 64];
    let mut put = |at: usize, value: u64| record[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, metadata.dev());
    put(8, metadata.ino());
    put(24, metadata.nlink());
    put(32, metadata.len());
    put(40, nanos(metadata.accessed()));
    put(48, nanos(metadata.modified()));
    put(56, (metadata.ctime().max(0) as u64).saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec().max(0) as u64));
    record[16] = FileType::from(metadata.file_type()) as u8;
    record
}

/// Since 1970; 0 for a time before or one the file system does not keep.
fn nanos(time: std::io::Result<cap_std::time::SystemTime>) -> u64 {
    let Ok(time) = time else { return 0 };
    time.into_std()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

pub(crate) fn fd_filestat_set_size(ctx: &mut WasiCtx, _: &mut Guest<'_>, fd: u32, size: u64) -> Result<(), Errno> {
    Ok(ctx.fds.file(fd, Rights::FD_FILESTAT_SET_SIZE)?.set_len(size)?)
}

pub(crate) fn fd_filestat_set_times(
    ctx: &mut WasiCtx,
    _: &mut Guest<'_>,
    fd: u32,
    access: u64,
    modification: u64,
    flags: u32,
) -> Result<(), Errno> {
    let times = times(access, modification, flags)?;
    match &ctx.fds.with_rights(fd, Rights::FD_FILESTAT_SET_TIMES)?.kind {
        Kind::File(file) => Ok(rustix::fs::futimens(file, &times)?),
        Kind::Dir(directory) => Ok(rustix::fs::futimens(&*directory.dir, &times)?),
        Kind::Input(_) | Kind::Output(_) => Err(Errno::Inval),
    }
}

#[allow(clippy::too_many_arguments, reason = "preview 1 passes so many")]
pub(crate) fn path_filestat_set_times(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    access: u64,
    modification: u64,
    flags: u32,
) -> Result<(), Errno> {
    let (dir, path) = beneath(ctx, guest, (fd, path, path_len), Rights::PATH_FILESTAT_SET_TIMES)?;
    let times = times(access, modification, flags)?;
    let mut options = OpenOptions::new();
    // A pipe would wait for a writer.
    let mut flags = OFlags::NONBLOCK;
    if lookup & LOOKUP_SYMLINK_FOLLOW == 0 {
        flags |= OFlags::NOFOLLOW;
    }
    options.read(true).custom_flags(flags.bits() as i32);
    let file = dir.open_with(path, &options)?;
    Ok(rustix::fs::futimens(&file, &times)?)
}

/// What to set: each time given, now, or left alone.
fn times(access: u64, modification: u64, flags: u32) -> Result<Timestamps, Errno> {
    let time = |given: bool, now: bool, nanos: u64| match (given, now) {
        (true, true) => Err(Errno::Inval),
        (true, false) => Ok(Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as _ }),
        (false, true) => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW as _ }),
        (false, false) => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ }),
    };
    if flags & !0xF != 0 {
        return Err(Errno::Inval);
    }
    Ok(Timestamps {
        last_access: time(flags & 1 != 0, flags & 2 != 0, access)?,
        last_modification: time(flags & 4 != 0, flags & 8 != 0, modification)?,
    })
}
