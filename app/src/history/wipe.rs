//! Forgetting everything.

use super::error::{HistoryError, Result};
use super::files::{self, Layout};
use super::store::Store;
use std::path::Path;
use std::time::Duration;

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wiped {
    /// Dictations in the database.
    pub(crate) dictations: usize,
    /// Recordings, logs, spills and damaged databases.
    pub(crate) files: usize,
}

/// Deletes all dictations, recordings and logs in `dir` so that no file holds their text, also while the program
/// runs: its connection stays good. Waits up to `patience` for other processes.
///
/// # Errors
/// [`HistoryError::Locked`] if another process reads or writes all the time; what could be deleted is.
pub(crate) fn wipe(dir: &Path, patience: Duration) -> Result<Wiped> {
    let layout = Layout::new(dir);
    let mut wiped = Wiped::default();
    for path in [layout.spill(), layout.merging()] {
        wiped.files += usize::from(files::erase(&path)?);
    }
    for path in files::files_in(&layout.audio())? {
        wiped.files += usize::from(files::erase(&path)?);
    }
    for path in files::files_in(&layout.log())? {
        // The running program writes to it, and goes on at its start.
        files::blank(&path)?;
        wiped.files += 1;
    }
    for path in files::files_in(layout.dir())? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("history.damaged-") {
            wiped.files += usize::from(files::erase(&path)?);
        }
    }
    match Store::open_existing(&layout, patience).and_then(|store| store.map(|s| s.wipe()).transpose()) {
        Ok(dictations) => wiped.dictations = dictations.unwrap_or_default(),
        // No statement can be trusted with these.
        Err(HistoryError::Damaged(_) | HistoryError::Newer { .. }) => {
            for path in layout.database_files() {
                wiped.files += usize::from(files::erase(&path)?);
            }
        }
        Err(e) => return Err(e),
    }
    Ok(wiped)
}

impl Store {
    /// Deletes every row, with its bytes in the database, the search index and the journal.
    fn wipe(&self) -> Result<usize> {
        let dictations = self.attempt(|c| {
            c.pragma_update(None, "query_only", false)?;
            let dictations = c.execute("DELETE FROM dictations", [])?;
            c.execute("INSERT INTO dictation_text (dictation_text) VALUES ('delete-all')", [])?;
            Ok(dictations)
        })?;
        // First the journal's old pages, then what the database's own free pages and slack still hold.
        let emptied = self.checkpoint()?;
        self.attempt(|c| c.execute_batch("VACUUM"))?;
        match emptied & self.checkpoint()? {
            true => Ok(dictations),
            false => Err(HistoryError::Locked(self.layout.database())),
        }
    }
}
