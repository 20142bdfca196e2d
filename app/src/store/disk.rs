//! Writing safely: whole files or none, free space, locks, and what an I/O error means to a user.

#[cfg(feature = "fetch")]
use crate::exit::is_disk_trouble;
use crate::exit::{Exit, Failure};
use anyhow::Result;
use std::ffi::CString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The sentence and exit code for an error while writing to `path`.
pub(crate) fn write_failure(path: &Path, error: &io::Error) -> Failure {
    let message = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("the disk is full: {} could not be written", path.display())
        }
        io::ErrorKind::FileTooLarge => {
            format!("{} could not be written: the file is larger than the system allows here", path.display())
        }
        _ => format!("{} cannot be written: {}", path.display(), reason(error)),
    };
    Failure::new(Exit::Disk, message)
}

/// The system's words for an error, without "(os error N)".
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    plain.to_lowercase()
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(|error| write_failure(path, &error))
}

/// Writes a small file under a temporary name beside `path`, then renames it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut file = readable_by_all(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        sync_folder(folder)
    };
    write().map_err(|error| write_failure(path, &error))
}

/// The folder that a file as the user names it lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file without its name yet: tempfile makes files private, models and bundles may be read by others.
pub(crate) fn readable_by_all(folder: &Path) -> io::Result<NamedTempFile> {
    let file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(file)
}

/// Writes a small file for its user alone in one step, and the folders it is in.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("it is in no folder"))?;
    std::fs::create_dir_all(folder)?;
    // Made with permissions 0600.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Makes renames inside a folder survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Bytes an ordinary user may still write to the file system that holds `path` (or its nearest
/// existing parent); `None` when the system does not say.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    let existing = absolute.ancestors().find(|folder| folder.exists())?;
    let name = CString::new(existing.as_os_str().as_bytes()).ok()?;
    let mut stats = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `name` is a valid C string and `stats` is writable memory of the right size.
    let code = unsafe { libc::statvfs(name.as_ptr(), stats.as_mut_ptr()) };
    if code != 0 {
        return None;
    }
    // SAFETY: statvfs returned 0, so it has filled the whole structure.
    let stats = unsafe { stats.assume_init() };
    // The field types differ between systems.
    #[allow(clippy::unnecessary_cast)]
    Some((stats.f_bavail as u64).saturating_mul(stats.f_frsize as u64))
}

/// Refuses before a byte is fetched when `needed_bytes` cannot fit.
///
/// # Errors
/// [`Exit::Disk`] with both figures.
pub(crate) fn check_space(path: &Path, what: &str, needed_bytes: u64) -> Result<(), Failure> {
    // File systems keep some space for themselves.
    let needed_bytes = needed_bytes.saturating_add(needed_bytes / 50).saturating_add(64 << 10);
    match free_bytes(path) {
        Some(free) if free < needed_bytes => Err(Failure::new(
            Exit::Disk,
            format!(
                "the disk is too full for {what}: {} are needed in {}, {} are free",
                megabytes(needed_bytes),
                path.display(),
                megabytes(free)
            ),
        )),
        _ => Ok(()),
    }
}

/// Sizes of the files below a folder, a few folders deep: how far a running download is.
pub(crate) fn bytes_below(folder: &Path, depth: usize) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(1000).flatten();
    entries.fold(0, |sum, entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth > 0 => sum + bytes_below(&entry.path(), depth - 1),
        Ok(metadata) if metadata.is_file() => sum + metadata.len(),
        _ => sum,
    })
}

/// `93 MB`, `2.5 MB`: 10^6 bytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    if bytes >= 10_000_000 {
        format!("{} MB", bytes.div_ceil(1_000_000))
    } else {
        format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
    }
}

/// A lock that is held until dropped; the file stays, since removing it would race.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file `path`. When another process holds it, calls `on_wait` and waits.
    ///
    /// # Errors
    /// [`Exit::Disk`] when the lock file cannot be made.
    pub(crate) fn take(path: PathBuf, on_wait: impl FnOnce()) -> Result<Self, Failure> {
        let about = |error: &io::Error| write_failure(&path, error);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| about(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                on_wait();
                file.lock().map_err(|error| about(&error))?;
            }
            Err(TryLockError::Error(error)) => return Err(about(&error)),
        }
        Ok(Self { _file: file })
    }
}

/// Whether an error is about writing: a full disk, or a place one may not write to.
#[cfg(feature = "fetch")]
pub(crate) fn is_write_trouble(error: &io::Error) -> bool {
    is_disk_trouble(error) || error.kind() == io::ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_whole_and_leave_nothing_beside_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.json");
        write_whole(&path, b"one").expect("written");
        write_whole(&path, b"two").expect("written again");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
        let failure = write_whole(&path.join("below-a-file"), b"x").expect_err("not a folder");
        assert_eq!(failure.exit, Exit::Disk);
    }

    #[test]
    fn space_is_known_and_absurd_needs_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(free_bytes(&folder.path().join("not/yet/there")).is_some_and(|free| free > 0));
        check_space(folder.path(), "a byte", 1).expect("one byte fits");
        let failure = check_space(folder.path(), "it all", u64::MAX).expect_err("too much");
        assert_eq!(failure.exit, Exit::Disk);
        assert!(failure.message.contains("are free"), "{failure}");
    }

    #[test]
    fn a_lock_keeps_the_second_out_until_the_first_is_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let first = Lock::take(path.clone(), || panic!("nobody holds it")).expect("taken");
        let (said, heard) = std::sync::mpsc::channel();
        let second =
            std::thread::spawn(move || Lock::take(path, || said.send("waiting").expect("heard")).map(|_| ()));
        assert_eq!(heard.recv().expect("it says that it waits"), "waiting");
        assert!(!second.is_finished());
        drop(first);
        second.join().expect("no panic").expect("taken after the first");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(megabytes(98_362_432), "99 MB");
        assert_eq!(megabytes(2_540_000), "2.5 MB");
        assert_eq!(megabytes(12), "0.0 MB");
    }
}
