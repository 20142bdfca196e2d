//! Files nobody else may read, and their end.

use super::error::{HistoryError, Result};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The names in the history's folder.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Of the history in `dir`.
    pub(crate) fn new(dir: &Path) -> Layout {
        Layout { dir: dir.to_owned() }
    }

    /// The folder itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.dir.join("history.db")
    }

    /// The database, its journal and their index, which exist or not.
    pub(crate) fn database_files(&self) -> [PathBuf; 3] {
        ["history.db", "history.db-wal", "history.db-shm"].map(|name| self.dir.join(name))
    }

    /// Entries that wait for the database, as JSON lines.
    pub(crate) fn spill(&self) -> PathBuf {
        self.dir.join("history.spill.jsonl")
    }

    /// The spill that is being merged; one left behind is merged again.
    pub(crate) fn merging(&self) -> PathBuf {
        self.dir.join("history.merging.jsonl")
    }

    /// Recordings.
    pub(crate) fn audio(&self) -> PathBuf {
        self.dir.join("audio")
    }

    /// The log and the one before it.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

/// Makes `dir` for the user alone, also where it exists.
pub(crate) fn private_dir(dir: &Path) -> Result<()> {
    let make = || {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(dir)?;
        restrict(dir, 0o700)
    };
    make().map_err(|e| HistoryError::io(dir, e))
}

/// Opens `path` for appending, for the user alone, and makes it where it is missing.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    restrict(path, 0o600)?;
    Ok(file)
}

/// Sets the permissions of `path` (on Unix).
pub(crate) fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = (path, mode);
    Ok(())
}

/// Overwrites `path` with zeros and empties it: who has it open for appending goes on at its start.
///
/// A file system that copies on write, or a solid-state disk, may keep the old blocks out of a program's reach.
pub(crate) fn blank(path: &Path) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let mut left = file.metadata()?.len();
        let zeros = [0_u8; 64 * 1024];
        while left > 0 {
            let n = left.min(zeros.len() as u64);
            file.write_all(&zeros[..n as usize])?;
            left -= n;
        }
        file.sync_all()?;
        file.set_len(0)?;
        file.sync_all()
    };
    write().map_err(|e| HistoryError::io(path, e))
}

/// Overwrites and removes `path`; whether it was there. A link is removed, its target left alone.
pub(crate) fn erase(path: &Path) -> Result<bool> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(HistoryError::io(path, e)),
    };
    if kind.is_file() {
        blank(path)?;
    }
    fs::remove_file(path).map_err(|e| HistoryError::io(path, e))?;
    Ok(true)
}

/// The files directly in `dir`; none where it is missing.
pub(crate) fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(HistoryError::io(dir, e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| HistoryError::io(dir, e))?;
        if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
            files.push(entry.path());
        }
    }
    Ok(files)
}
