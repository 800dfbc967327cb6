//! The socket in the file system: for its owner only, never over anything but a dead socket, gone in the end.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    time,
};

use crate::error::ServeError;

/// How often, and how far apart, the directory is tried while another program listens in it for the first time.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);
/// How long somebody may take to answer a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// The file of a socket that is listened to. Removed when this is dropped, if it is still the same.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    owner: u32,
    removed: AtomicBool,
}

impl SocketFile {
    /// Listens at `path`.
    ///
    /// The directory is locked meanwhile, so that of two programs that find a dead socket only one replaces it.
    pub(crate) async fn listen(path: &Path) -> Result<(UnixListener, SocketFile), ServeError> {
        let failed = |source| ServeError::Listen { path: path.to_owned(), source };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let locked = lock(directory).await?;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(found) if !found.file_type().is_socket() => return Err(ServeError::NotASocket { path: path.to_owned() }),
            Ok(_) if is_alive(path).await => return Err(ServeError::InUse { path: path.to_owned() }),
            Ok(_) => fs::remove_file(path).map_err(failed)?,
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let made = fs::symlink_metadata(path).map_err(failed)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity: (made.dev(), made.ino()),
            owner: made.uid(),
            removed: AtomicBool::new(false),
        };
        // Who came before this is turned away by `admits`.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        drop(locked);
        Ok((listener, file))
    }

    /// Whether whoever connected is the socket's owner, or the system's.
    pub(crate) fn admits(&self, client: &UnixStream) -> bool {
        client.peer_cred().is_ok_and(|peer| peer.uid() == self.owner || peer.uid() == 0)
    }

    /// Removes the file, if it is still the one that was made: the listener that keeps its inode from being reused must be open yet.
    /// Does nothing the second time.
    pub(crate) fn remove(&self) {
        // Ordering: Relaxed. Decides who removes it, and publishes nothing.
        if self.removed.swap(true, Ordering::Relaxed) {
            return;
        }
        let same = |found: fs::Metadata| (found.dev(), found.ino()) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(same) {
            let _ = fs::remove_file(&self.path);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

async fn lock(directory: &Path) -> Result<File, ServeError> {
    let failed = |source| ServeError::Listen { path: directory.to_owned(), source };
    let file = File::open(directory).map_err(failed)?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => time::sleep(PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(ServeError::DirectoryLocked { path: directory.to_owned() })
}

/// Whether anybody listens. Only a refusal says no: somebody with a full backlog is alive, too.
async fn is_alive(path: &Path) -> bool {
    match time::timeout(PATIENCE, UnixStream::connect(path)).await {
        Ok(Err(error)) => error.kind() != io::ErrorKind::ConnectionRefused,
        _ => true,
    }
}
