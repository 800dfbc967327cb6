//! Directories: the preopened ones by name, and listings.

use cap_std::fs::{Dir, MetadataExt};

use crate::ctx::WasiCtx;
use crate::errno::Errno;
use crate::fds::Kind;
use crate::filestat::FileType;
use crate::guest::Guest;
use crate::rights::Rights;

/// One line of a listing.
#[derive(Debug)]
pub(crate) struct Entry {
    name: String,
    inode: u64,
    file_type: FileType,
}

pub(crate) fn fd_prestat_get(ctx: &mut WasiCtx, guest: &mut Guest<'_>, fd: u32, at: u32) -> Result<(), Errno> {
    let len = u32::try_from(preopen(ctx, fd)?.len()).map_err(|_| Errno::Overflow)?;
    // The tag of a directory is 0.
    guest.write_u32(at, 0)?;
    guest.write_u32(at.checked_add(4).ok_or(Errno::Fault)?, len)
}

pub(crate) fn fd_prestat_dir_name(ctx: &mut WasiCtx, guest: &mut Guest<'_>, fd: u32, at: u32, len: u32) -> Result<(), Errno> {
    let name = preopen(ctx, fd)?;
    if name.len() > len as usize {
        return Err(Errno::NameTooLong);
    }
    guest.write(at, name.as_bytes())
}

fn preopen(ctx: &WasiCtx, fd: u32) -> Result<&str, Errno> {
    match &ctx.fds.get(fd)?.kind {
        Kind::Dir(directory) => directory.preopen.as_deref().ok_or(Errno::BadF),
        _ => Err(Errno::BadF),
    }
}

/// Entries from number `cookie` on, the last one cut off where the buffer ends. The listing is taken when a reader
/// starts and kept, so that numbers stay true while files come and go; it is sorted by name, so that it does not
/// depend on the host's file system.
pub(crate) fn fd_readdir(
    ctx: &mut WasiCtx,
    guest: &mut Guest<'_>,
    fd: u32,
    buffer: u32,
    len: u32,
    cookie: u64,
    used: u32,
) -> Result<(), Errno> {
    let descriptor = ctx.fds.with_rights(fd, Rights::FD_READDIR)?;
    let Kind::Dir(directory) = &mut descriptor.kind else { return Err(Errno::NotDir) };
    if cookie == 0 || directory.listing.is_empty() {
        directory.listing = list(&directory.dir)?;
    }
    let target = guest.bytes_mut(buffer, len)?;
    let mut filled = 0;
    let start = usize::try_from(cookie).map_err(|_| Errno::Inval)?;
    for (number, entry) in directory.listing.iter().enumerate().skip(start) {
        let mut head = [0; 24];
        head[0..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
        head[8..16].copy_from_slice(&entry.inode.to_le_bytes());
        head[16..20].copy_from_slice(&(entry.name.len() as u32).to_le_bytes());
        head[20] = entry.file_type as u8;
        for part in [&head[..], entry.name.as_bytes()] {
            let room = target.len() - filled;
            let taken = part.len().min(room);
            target[filled..filled + taken].copy_from_slice(&part[..taken]);
            filled += taken;
        }
        if filled == target.len() {
            break;
        }
    }
    guest.write_u32(used, filled as u32)
}

fn list(dir: &Dir) -> Result<Vec<Entry>, Errno> {
    let own = dir.dir_metadata()?.ino();
    let mut entries = vec![
        Entry { name: ".".into(), inode: own, file_type: FileType::Directory },
        // What lies above a directory is not the guest's to know.
        Entry { name: "..".into(), inode: own, file_type: FileType::Directory },
    ];
    for entry in dir.entries()? {
        let entry = entry?;
        // The guest could not name anything that is not UTF-8.
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Removed meanwhile: not an error.
        let Ok(metadata) = entry.metadata() else { continue };
        entries.push(Entry { name, inode: metadata.ino(), file_type: metadata.file_type().into() });
    }
    entries[2..].sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}
