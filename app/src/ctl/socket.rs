//! Where the socket is, and whose.

use super::CtlError;
use rustix::fs::FlockOperation;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The socket's path: in `$XDG_RUNTIME_DIR` where that is an absolute path, otherwise in a folder of
/// the user's own in the folder for temporary files.
pub(crate) fn socket_path(runtime_dir: Option<&Path>, temp_dir: &Path) -> PathBuf {
    let own = || temp_dir.join(format!("undertone-{}", own_uid()));
    runtime_dir.filter(|dir| dir.is_absolute()).map_or_else(own, Path::to_owned).join("undertone.sock")
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A socket that listens, and the lock that makes it the only one.
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    /// Held until the process ends, however it ends.
    pub(super) lock: File,
}

/// Binds the socket with mode 0600. Nobody can connect before it has that mode, since its folder
/// is closed to others.
pub(super) fn bind(path: &Path) -> Result<Bound, CtlError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    require_own_folder(folder)?;
    let lock_path = path.with_extension("lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
    let lock = lock.map_err(CtlError::io(format!("open {}", lock_path.display())))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(CtlError::AlreadyRunning),
        Err(e) => return Err(CtlError::io(format!("lock {}", lock_path.display()))(e.into())),
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(CtlError::io(format!("make {}", path.display())))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
        .and_then(|()| listener.set_nonblocking(true))
        .map_err(CtlError::io(format!("set up {}", path.display())))?;
    Ok(Bound { listener, lock })
}

/// Makes the folder if need be; it must be the user's and closed to all others.
fn require_own_folder(folder: &Path) -> Result<(), CtlError> {
    let made = DirBuilder::new().mode(0o700).create(folder);
    if let Err(e) = made.or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) }) {
        return Err(CtlError::io(format!("make the folder {}", folder.display()))(e));
    }
    // Not through a link: in a folder for temporary files anyone could have put it there.
    let found = folder.symlink_metadata().map_err(CtlError::io(format!("open {}", folder.display())))?;
    let why = if !found.is_dir() {
        "is not a folder"
    } else if found.uid() != own_uid() {
        "belongs to another user"
    } else if found.mode() & 0o077 != 0 {
        "is open to other users"
    } else {
        return Ok(());
    };
    Err(CtlError::OpenFolder { path: folder.to_owned(), why })
}

/// Removes the socket of a program that is dead. The caller holds the lock, so that a live one can
/// only be there if somebody removed the lock's file.
fn remove_stale(path: &Path) -> Result<(), CtlError> {
    let Ok(found) = path.symlink_metadata() else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(CtlError::NotASocket { path: path.to_owned() });
    }
    if UnixStream::connect(path).is_ok() {
        return Err(CtlError::AlreadyRunning);
    }
    std::fs::remove_file(path).map_err(CtlError::io(format!("remove {}", path.display())))
}

/// Checks that the other end is a process of the same user. Where the system does not tell, the
/// folder's mode must do.
pub(super) fn require_own_peer(stream: &UnixStream) -> Result<(), CtlError> {
    #[cfg(target_os = "linux")]
    {
        let peer = rustix::net::sockopt::socket_peercred(stream);
        let uid = peer.map_err(|e| CtlError::io("see who is at the socket")(e.into()))?.uid.as_raw();
        if uid != own_uid() {
            return Err(CtlError::Foreign { uid });
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
    Ok(())
}
