//! What can go wrong with the history.

use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of the history; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// Another process holds the database.
    #[error("the history {0} is locked by another program; close that program or try again")]
    Locked(PathBuf),
    /// No room, in the file system or under the process's file size limit.
    #[error("there is no room for the history {0}; free some disk space")]
    Full(PathBuf),
    /// Not a database, or one with broken pages.
    #[error(
        "the history {0} is damaged; `undertone run` sets it aside and begins a new one, `undertone history wipe` deletes it"
    )]
    Damaged(PathBuf),
    /// Written by a later version of this program.
    #[error(
        "the history {path} has schema {found}, and this version of undertone knows {known}: update undertone, or move the file away"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The latest this program knows.
        known: i64,
    },
    /// No dictation of this number.
    #[error("there is no dictation {0} in the history; `undertone history list` shows the numbers")]
    NoEntry(i64),
    /// The dictation is there, its recording is not.
    #[error("dictation {0} has no recording; audio is kept at privacy tier 3 with `keep_audio` only")]
    NoAudio(i64),
    /// Any other failure of the database.
    #[error("the history {path} cannot be used ({source}); see that the file and its folder are yours")]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A file or folder beside it.
    #[error("cannot use {path} ({source}); see that it is yours and writable")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The command's output was not taken.
    #[error("the output cannot be written ({0})")]
    Output(#[from] io::Error),
}

/// Results of the history.
pub(crate) type Result<T> = std::result::Result<T, HistoryError>;

impl HistoryError {
    /// Sorts a failure of the database at `path` by what can be done about it.
    pub(crate) fn database(path: &Path, source: rusqlite::Error) -> HistoryError {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => HistoryError::Locked(path),
            Some(ErrorCode::DiskFull) => HistoryError::Full(path),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => HistoryError::Damaged(path),
            _ => HistoryError::Database { path, source },
        }
    }

    /// Likewise for a file.
    pub(crate) fn io(path: &Path, source: io::Error) -> HistoryError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => HistoryError::Full(path.to_owned()),
            _ => HistoryError::Io { path: path.to_owned(), source },
        }
    }
}
