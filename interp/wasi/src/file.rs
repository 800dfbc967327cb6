//! Reading, writing, seeking, and what else is done to an open descriptor.

use std::io::{Read, Seek, SeekFrom, Write};

use cap_std::fs::FileExt;
use rustix::fs::{Advice, FallocateFlags, OFlags};

use crate::ctx::WasiCtx;
use crate::errno::Errno;
use crate::fds::{FDFLAGS_ALL, FDFLAGS_APPEND, FDFLAGS_NONBLOCK, Kind};
use crate::filestat::FileType;
use crate::guest::{Guest, Iovec};
use crate::rights::Rights;

pub(crate) fn fd_read(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    iovecs: u32,
    count: u32,
    read: u32,
) -> Result<(), Errno> {
    let descriptor = ctx.fds.with_rights(fd, Rights::FD_READ)?;
    let iovecs = guest.iovecs(iovecs, count)?;
    let total = match &mut descriptor.kind {
        Kind::File(file) => transfer(&iovecs, |iovec, _| Ok(file.read(guest.bytes_mut(iovec.at, iovec.len)?)?))?,
        // One buffer only: a second read could block although there is something to return.
        Kind::Input(input) => match iovecs.iter().find(|iovec| iovec.len > 0) {
            Some(iovec) => uninterrupted(|| input.read(guest.bytes_mut(iovec.at, iovec.len)?).map_err(Errno::from))? as u32,
            None => 0,
        },
        Kind::Dir(_) => return Err(Errno::IsDir),
        Kind::Output(_) => return Err(Errno::BadF),
    };
    guest.write_u32(read, total)
}

pub(crate) fn fd_pread(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    iovecs: u32,
    count: u32,
    offset: u64,
    read: u32,
) -> Result<(), Errno> {
    let file = ctx.fds.file(fd, Rights::FD_READ | Rights::FD_SEEK)?;
    let iovecs = guest.iovecs(iovecs, count)?;
    let total =
        transfer(&iovecs, |iovec, done| Ok(file.read_at(guest.bytes_mut(iovec.at, iovec.len)?, offset.saturating_add(done))?))?;
    guest.write_u32(read, total)
}

/// Moves bytes buffer by buffer until one stays short. `part` is told how many bytes were moved before its buffer.
fn transfer(iovecs: &[Iovec], mut part: impl FnMut(Iovec, u64) -> Result<usize, Errno>) -> Result<u32, Errno> {
    let mut total = 0;
    for &iovec in iovecs.iter().filter(|iovec| iovec.len > 0) {
        match uninterrupted(|| part(iovec, u64::from(total))) {
            Ok(moved) => {
                total += moved as u32;
                if moved < iovec.len as usize {
                    break;
                }
            }
            // What was moved before counts; the error comes again.
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

pub(crate) fn fd_write(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    iovecs: u32,
    count: u32,
    written: u32,
) -> Result<(), Errno> {
    let descriptor = ctx.fds.with_rights(fd, Rights::FD_WRITE)?;
    let slices = guest.gather(iovecs, count)?;
    let total = match &mut descriptor.kind {
        Kind::File(file) => uninterrupted(|| file.write_vectored(&slices).map_err(Errno::from))?,
        Kind::Output(output) => uninterrupted(|| output.write(&slices).map_err(Errno::from))?,
        Kind::Dir(_) => return Err(Errno::IsDir),
        Kind::Input(_) => return Err(Errno::BadF),
    };
    guest.write_u32(written, total as u32)
}

pub(crate) fn fd_pwrite(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    iovecs: u32,
    count: u32,
    offset: u64,
    written: u32,
) -> Result<(), Errno> {
    let file = ctx.fds.file(fd, Rights::FD_WRITE | Rights::FD_SEEK)?;
    let iovecs = guest.iovecs(iovecs, count)?;
    let total =
        transfer(&iovecs, |iovec, done| Ok(file.write_at(guest.bytes(iovec.at, iovec.len)?, offset.saturating_add(done))?))?;
    guest.write_u32(written, total)
}

/// Signals of the host are none of the guest's business.
fn uninterrupted<R>(mut operation: impl FnMut() -> Result<R, Errno>) -> Result<R, Errno> {
    loop {
        match operation() {
            Err(Errno::Intr) => {}
            other => return other,
        }
    }
}

pub(crate) fn fd_seek(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
    position: u32,
) -> Result<(), Errno> {
    let needed = if offset == 0 && whence == 1 { Rights::FD_TELL } else { Rights::FD_SEEK };
    let file = ctx.fds.file(fd, needed)?;
    let target = match whence {
        0 => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::Inval)?),
        1 => SeekFrom::Current(offset),
        2 => SeekFrom::End(offset),
        _ => return Err(Errno::Inval),
    };
    guest.write_u64(position, file.seek(target)?)
}

pub(crate) fn fd_tell(ctx: &mut WasiCtx, guest: &mut Guest<'_>, fd: u32, position: u32) -> Result<(), Errno> {
    let now = ctx.fds.file(fd, Rights::FD_TELL)?.stream_position()?;
    guest.write_u64(position, now)
}

pub(crate) fn fd_close(ctx: &mut WasiCtx, _: &mut Guest<'_>, fd: u32) -> Result<(), Errno> {
    ctx.fds.close(fd)
}

pub(crate) fn fd_renumber(ctx: &mut WasiCtx, _: &mut Guest<'_>, from: u32, to: u32) -> Result<(), Errno> {
    ctx.fds.renumber(from, to)
}

pub(crate) fn fd_fdstat_get(ctx: &mut WasiCtx, guest: &mut Guest<'_>, fd: u32, at: u32) -> Result<(), Errno> {
    let descriptor = ctx.fds.get(fd)?;
    let mut record = [0; 24];
    record[0] = FileType::of(&descriptor.kind)? as u8;
    record[2..4].copy_from_slice(&descriptor.flags.to_le_bytes());
    record[8..16].copy_from_slice(&descriptor.rights.0.to_le_bytes());
    record[16..24].copy_from_slice(&descriptor.inheriting.0.to_le_bytes());
    guest.write(at, &record)
}

/// Sets `APPEND` and `NONBLOCK`. On a standard stream they are only remembered: the open file behind it belongs to
/// other processes too.
pub(crate) fn fd_fdstat_set_flags(ctx: &mut WasiCtx, _: &mut Guest<'_>, fd: u32, flags: u32) -> Result<(), Errno> {
    let descriptor = ctx.fds.with_rights(fd, Rights::FD_FDSTAT_SET_FLAGS)?;
    let flags = u16::try_from(flags).ok().filter(|flags| flags & !FDFLAGS_ALL == 0).ok_or(Errno::Inval)?;
    let changeable = FDFLAGS_APPEND | FDFLAGS_NONBLOCK;
    if (flags ^ descriptor.flags) & !changeable != 0 {
        return Err(Errno::NotSup);
    }
    if let Kind::File(file) = &descriptor.kind {
        rustix::fs::fcntl_setfl(file, host_flags(flags))?;
    }
    descriptor.flags = flags;
    Ok(())
}

/// The host's form of the flags that can be set on an open file.
pub(crate) fn host_flags(flags: u16) -> OFlags {
    let mut host = OFlags::empty();
    if flags & FDFLAGS_APPEND != 0 {
        host |= OFlags::APPEND;
    }
    if flags & FDFLAGS_NONBLOCK != 0 {
        host |= OFlags::NONBLOCK;
    }
    host
}

pub(crate) fn fd_fdstat_set_rights(
    ctx: &mut WasiCtx,
    _: &mut Guest<'_>,
    fd: u32,
    rights: u64,
    inheriting: u64,
) -> Result<(), Errno> {
    let descriptor = ctx.fds.get_mut(fd)?;
    descriptor.rights.check(Rights(rights))?;
    descriptor.inheriting.check(Rights(inheriting))?;
    descriptor.rights = Rights(rights);
    descriptor.inheriting = Rights(inheriting);
    Ok(())
}

pub(crate) fn fd_sync(ctx: &mut WasiCtx, _: &mut Guest<'_>, fd: u32) -> Result<(), Errno> {
    match &ctx.fds.with_rights(fd, Rights::FD_SYNC)?.kind {
        Kind::File(file) => Ok(file.sync_all()?),
        Kind::Dir(directory) => Ok(rustix::fs::fsync(&*directory.dir)?),
        Kind::Input(_) | Kind::Output(_) => Err(Errno::Inval),
    }
}

pub(crate) fn fd_datasync(ctx: &mut WasiCtx, _: &mut Guest<'_>, fd: u32) -> Result<(), Errno> {
    Ok(ctx.fds.file(fd, Rights::FD_DATASYNC)?.sync_data()?)
}

pub(crate) fn fd_advise(ctx: &mut WasiCtx, _: &mut Guest<'_>, fd: u32, offset: u64, len: u64, advice: u32) -> Result<(), Errno> {
    let advice = match advice {
        0 => Advice::Normal,
        1 => Advice::Sequential,
        2 => Advice::Random,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::Inval),
    };
    let file = ctx.fds.file(fd, Rights::FD_ADVISE)?;
    Ok(rustix::fs::fadvise(&*file, offset, std::num::NonZeroU64::new(len), advice)?)
}

pub(crate) fn fd_allocate(ctx: &mut WasiCtx, _: &mut Guest<'_>, fd: u32, offset: u64, len: u64) -> Result<(), Errno> {
    let file = ctx.fds.file(fd, Rights::FD_ALLOCATE)?;
    Ok(rustix::fs::fallocate(&*file, FallocateFlags::empty(), offset, len)?)
}
