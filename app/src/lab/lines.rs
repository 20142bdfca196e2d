//! Files of JSON lines that grow while something is done: one that ends anywhere, since it was killed, is worth all its
//! whole lines.

use crate::exit::{Exit, Failure};
use anyhow::Result;
use serde::Serialize;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often and how long a lock is waited for: three seconds.
const LOCK_TRIES: u32 = 31;
const LOCK_WAIT: Duration = Duration::from_millis(100);

/// Up to the end of the last whole line.
pub(crate) fn whole(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)]
}

/// The lines that are not empty, each with its number.
pub(crate) fn numbered(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = (1..).zip(bytes.split(|b| *b == b'\n'));
    lines.filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// A file that is being written, by this process alone.
#[derive(Debug)]
pub(crate) struct Lines {
    file: File,
    path: PathBuf,
    whole_bytes: u64,
}

impl Lines {
    /// Opens or makes the file; its whole lines. Nothing in it is changed yet.
    ///
    /// # Errors
    /// [`Exit::Usage`] if another process writes it, [`Exit::Disk`] if it cannot be written.
    pub(crate) fn open(path: &Path) -> Result<(Lines, Vec<u8>)> {
        let disk = |e| disk(path, &e);
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(disk)?;
        if locked_elsewhere(&file) {
            let what =
                format!("another run is writing {}: wait for it, or name another with -o", path.display());
            return Err(Failure::new(Exit::Usage, what).into());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(disk)?;
        bytes.truncate(whole(&bytes).len());
        Ok((Lines { file, path: path.into(), whole_bytes: bytes.len() as u64 }, bytes))
    }

    /// Cuts off what a killed run left of its last line, so that another can follow.
    ///
    /// # Errors
    /// [`Exit::Disk`].
    pub(crate) fn cut_torn(&mut self) -> Result<()> {
        let cut = self.file.set_len(self.whole_bytes).and_then(|()| self.file.seek(SeekFrom::End(0)));
        Ok(cut.map(drop).map_err(|e| disk(&self.path, &e))?)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`Exit::Disk`].
    pub(crate) fn append(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        Ok(self.file.write_all(&line).map_err(|e| disk(&self.path, &e))?)
    }

    /// Sees what was added to the disk.
    ///
    /// # Errors
    /// [`Exit::Disk`].
    pub(crate) fn sync(&mut self) -> Result<()> {
        Ok(self.file.sync_data().map_err(|e| disk(&self.path, &e))?)
    }
}

fn disk(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Disk, format!("cannot write the results {}: {error}", path.display()))
}

/// Locks the file. A run that was killed holds it until all its memory is given back: that is waited for.
fn locked_elsewhere(file: &File) -> bool {
    (0..LOCK_TRIES).all(|n| {
        std::thread::sleep(LOCK_WAIT * n.min(1));
        // Some shared file systems know no locks; there, shards with files of their own need none.
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    })
}
