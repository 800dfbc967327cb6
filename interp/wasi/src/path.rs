//! Opening, creating, renaming and removing by path, always beneath an open directory.

use std::sync::Arc;

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use crate::ctx::WasiCtx;
use crate::errno::Errno;
use crate::fds::{Descriptor, Directory, FDFLAGS_ALL, FDFLAGS_DSYNC, FDFLAGS_RSYNC, FDFLAGS_SYNC, Kind};
use crate::file::host_flags;
use crate::guest::Guest;
use crate::rights::Rights;

/// Lookup flag: follow a symbolic link in the last component.
pub(crate) const LOOKUP_SYMLINK_FOLLOW: u32 = 1;

const OFLAGS_CREAT: u32 = 1 << 0;
const OFLAGS_DIRECTORY: u32 = 1 << 1;
const OFLAGS_EXCL: u32 = 1 << 2;
const OFLAGS_TRUNC: u32 = 1 << 3;
const OFLAGS_ALL: u32 = OFLAGS_CREAT | OFLAGS_DIRECTORY | OFLAGS_EXCL | OFLAGS_TRUNC;

/// The directory behind `fd` with the given rights, and a path of the guest's beneath it.
///
/// # Errors
///
/// As [`Fds::dir`](crate::fds::Fds::dir) and [`Guest::str`].
pub(crate) fn beneath<'g>(
    ctx: &WasiCtx,
    guest: &'g Guest<'_>,
    (fd, path, len): (u32, u32, u32),
    needed: Rights,
) -> Result<(Arc<Dir>, &'g str), Errno> {
    Ok((ctx.fds.dir(fd, needed)?, guest.str(path, len)?))
}

/// Opens a file or directory. The new descriptor gets those of the wanted rights that its directory hands down and
/// that make sense for what was found; opening for writing without the right to is an error, not a lesser descriptor.
#[allow(clippy::too_many_arguments, reason = "preview 1 passes so many")]
pub(crate) fn path_open(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    oflags: u32,
    rights: u64,
    inheriting: u64,
    fdflags: u32,
    opened: u32,
) -> Result<(), Errno> {
    let parent = ctx.fds.get(fd)?;
    let Kind::Dir(directory) = &parent.kind else { return Err(Errno::NotDir) };
    let dir = directory.dir.clone();
    let rights = Rights(rights);
    let handed_down = parent.inheriting;
    let reads = rights.intersects(Rights::FD_READ | Rights::FD_READDIR);
    let writes = rights.intersects(Rights::FD_WRITE | Rights::FD_ALLOCATE | Rights::FD_FILESTAT_SET_SIZE);
    let (create, truncate) = (oflags & OFLAGS_CREAT != 0, oflags & OFLAGS_TRUNC != 0);
    parent.rights.check(Rights::PATH_OPEN)?;
    if create {
        parent.rights.check(Rights::PATH_CREATE_FILE)?;
    }
    if truncate {
        parent.rights.check(Rights::PATH_FILESTAT_SET_SIZE)?;
    }
    // A directory cannot be written, whatever its opener asks for.
    if oflags & OFLAGS_DIRECTORY == 0 && rights.intersects(Rights::FD_WRITE) {
        handed_down.check(Rights::FD_WRITE)?;
    }
    let fdflags = u16::try_from(fdflags).ok().filter(|flags| flags & !FDFLAGS_ALL == 0).ok_or(Errno::Inval)?;
    if oflags & !OFLAGS_ALL != 0 {
        return Err(Errno::Inval);
    }

    let mut options = OpenOptions::new();
    let mut custom = OFlags::empty();
    if lookup & LOOKUP_SYMLINK_FOLLOW == 0 {
        custom |= OFlags::NOFOLLOW;
    }
    if fdflags & (FDFLAGS_SYNC | FDFLAGS_RSYNC) != 0 {
        custom |= OFlags::SYNC;
    } else if fdflags & FDFLAGS_DSYNC != 0 {
        custom |= OFlags::DSYNC;
    }
    if oflags & OFLAGS_DIRECTORY != 0 {
        if create || truncate {
            return Err(Errno::Inval);
        }
        custom |= OFlags::DIRECTORY;
        options.read(true);
    } else {
        // Creating and truncating take a host descriptor that can write; whether the guest's can is in its rights.
        let host_writes = (writes && handed_down.contains(Rights::FD_WRITE)) || create || truncate;
        options.read(reads || !host_writes).write(host_writes).truncate(truncate);
        if oflags & OFLAGS_EXCL != 0 {
            options.create_new(create);
        } else {
            options.create(create);
        }
    }
    options.custom_flags(custom.bits() as i32);
    let file = dir.open_with(guest.str(path, path_len)?, &options)?;
    let descriptor = if file.metadata()?.is_dir() {
        Descriptor {
            kind: Kind::Dir(Directory { dir: Arc::new(Dir::from_std_file(file.into_std())), preopen: None, listing: Vec::new() }),
            rights: rights & handed_down & Rights::DIRECTORY,
            inheriting: Rights(inheriting) & handed_down,
            flags: fdflags,
        }
    } else {
        set_flags(&file, fdflags)?;
        Descriptor { kind: Kind::File(file), rights: rights & handed_down & Rights::FILE, inheriting: Rights(0), flags: fdflags }
    };
    // Checked before the descriptor exists, so that a bad pointer does not leak one.
    guest.write_u32(opened, 0)?;
    let number = ctx.fds.insert(descriptor)?;
    guest.write_u32(opened, number)
}

fn set_flags(file: &File, fdflags: u16) -> Result<(), Errno> {
    let flags = host_flags(fdflags);
    if !flags.is_empty() {
        rustix::fs::fcntl_setfl(file, flags)?;
    }
    Ok(())
}

pub(crate) fn path_create_directory(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<(), Errno> {
    let (dir, path) = beneath(ctx, guest, (fd, path, path_len), Rights::PATH_CREATE_DIRECTORY)?;
    Ok(dir.create_dir(path)?)
}

pub(crate) fn path_remove_directory(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<(), Errno> {
    let (dir, path) = beneath(ctx, guest, (fd, path, path_len), Rights::PATH_REMOVE_DIRECTORY)?;
    Ok(dir.remove_dir(path)?)
}

pub(crate) fn path_unlink_file(ctx: &mut WasiCtx, guest: &mut Guest<'_>, fd: u32, path: u32, path_len: u32) -> Result<(), Errno> {
    let (dir, path) = beneath(ctx, guest, (fd, path, path_len), Rights::PATH_UNLINK_FILE)?;
    Ok(dir.remove_file(path)?)
}

#[allow(clippy::too_many_arguments, reason = "preview 1 passes so many")]
pub(crate) fn path_rename(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
    to_fd: u32,
    to: u32,
    to_len: u32,
) -> Result<(), Errno> {
    let (from_dir, from) = beneath(ctx, guest, (fd, path, path_len), Rights::PATH_RENAME_SOURCE)?;
    let (to_dir, to) = beneath(ctx, guest, (to_fd, to, to_len), Rights::PATH_RENAME_TARGET)?;
    Ok(from_dir.rename(from, &to_dir, to)?)
}

#[allow(clippy::too_many_arguments, reason = "preview 1 passes so many")]
pub(crate) fn path_link(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    to_fd: u32,
    to: u32,
    to_len: u32,
) -> Result<(), Errno> {
    // A hard link to what a symbolic link names is not portable; POSIX leaves it to the implementation.
    if lookup & LOOKUP_SYMLINK_FOLLOW != 0 {
        return Err(Errno::Inval);
    }
    let (from_dir, from) = beneath(ctx, guest, (fd, path, path_len), Rights::PATH_LINK_SOURCE)?;
    let (to_dir, to) = beneath(ctx, guest, (to_fd, to, to_len), Rights::PATH_LINK_TARGET)?;
    Ok(from_dir.hard_link(from, &to_dir, to)?)
}

pub(crate) fn path_symlink(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    target: u32,
    target_len: u32,
    fd: u32,
    path: u32,
    path_len: u32,
) -> Result<(), Errno> {
    let (dir, path) = beneath(ctx, guest, (fd, path, path_len), Rights::PATH_SYMLINK)?;
    Ok(dir.symlink(guest.str(target, target_len)?, path)?)
}

/// As much of a link's target as the buffer takes.
#[allow(clippy::too_many_arguments, reason = "preview 1 passes so many")]
pub(crate) fn path_readlink(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    path: u32,
    path_len: u32,
    buffer: u32,
    len: u32,
    used: u32,
) -> Result<(), Errno> {
    let (dir, path) = beneath(ctx, guest, (fd, path, path_len), Rights::PATH_READLINK)?;
    let target = dir.read_link(path)?;
    let target = target.to_str().ok_or(Errno::IlSeq)?.as_bytes();
    let taken = target.len().min(len as usize);
    guest.write(buffer, &target[..taken])?;
    guest.write_u32(used, taken as u32)
}
