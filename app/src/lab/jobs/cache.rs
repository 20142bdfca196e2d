//! Answers by what they are answers to: SQLite, so that several processes can share one file and a killed one
//! leaves it whole.

use crate::exit::{Exit, Failure};
use anyhow::Result;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};
use std::path::{Path, PathBuf};
use std::time::Duration;
use undertone_engine::batch::Reply;
use undertone_engine::generate::End;

/// How long another process's write is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an answer depends on, hashed (SHA-256).
pub(super) type Key = [u8; 32];

/// The answers that are known.
#[derive(Debug)]
pub(super) struct Cache {
    connection: Connection,
    /// Shown in failures.
    path: PathBuf,
}

impl Cache {
    /// Opens or makes the file; without one it is kept in memory.
    ///
    /// # Errors
    /// [`Exit::Disk`] if it cannot be used, [`Exit::Input`] if it is no such file.
    pub(super) fn open(path: Option<&Path>) -> Result<Cache> {
        let shown = path.unwrap_or(Path::new("in memory"));
        let open = || {
            let connection = path.map_or_else(Connection::open_in_memory, Connection::open)?;
            connection.busy_timeout(PATIENCE)?;
            // A killed process loses nothing that was committed; a machine that loses its power perhaps the last answers,
            // which are then asked for again.
            connection.execute_batch(
                "PRAGMA trusted_schema = OFF; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
                 CREATE TABLE IF NOT EXISTS answers (
                     key BLOB PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL, tokens INTEGER NOT NULL,
                     prompt_tokens INTEGER NOT NULL, complete INTEGER NOT NULL
                 ) STRICT, WITHOUT ROWID;",
            )?;
            Ok(connection)
        };
        let connection = open().map_err(|e| failure(shown, &e))?;
        Ok(Cache { connection, path: shown.into() })
    }

    /// The answer, if it is known.
    ///
    /// # Errors
    /// As [`Cache::open`].
    pub(super) fn get(&mut self, key: &Key) -> Result<Option<Reply>> {
        let find = || {
            let mut select = self
                .connection
                .prepare_cached("SELECT text, tokens, prompt_tokens, complete FROM answers WHERE key = ?1")?;
            select.query_row([&key[..]], reply).optional()
        };
        Ok(find().map_err(|e| failure(&self.path, &e))?)
    }

    /// Keeps an answer of the model of hash `model`.
    ///
    /// # Errors
    /// As [`Cache::open`].
    pub(super) fn put(&mut self, key: &Key, model: &str, reply: &Reply) -> Result<()> {
        let put = || {
            let mut insert = self
                .connection
                .prepare_cached("INSERT OR REPLACE INTO answers VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            let Reply { text, tokens, prompt_tokens, end } = reply;
            insert.execute((
                &key[..],
                model,
                text,
                *tokens as i64,
                *prompt_tokens as i64,
                *end == End::Complete,
            ))
        };
        Ok(put().map(drop).map_err(|e| failure(&self.path, &e))?)
    }
}

fn reply(row: &Row<'_>) -> rusqlite::Result<Reply> {
    let count = |column| row.get::<_, u32>(column).map(|count| count as usize);
    let end = if row.get(3)? { End::Complete } else { End::Limit };
    Ok(Reply { text: row.get(0)?, tokens: count(1)?, prompt_tokens: count(2)?, end })
}

fn failure(path: &Path, error: &rusqlite::Error) -> Failure {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Failure::new(
            Exit::Input,
            format!(
                "{path} is no cache of answers, or a damaged one: delete it, or name another with --cache"
            ),
        ),
        Some(ErrorCode::DiskFull) => Failure::new(
            Exit::Disk,
            format!("there is no room for the answers in {path}: free some disk space"),
        ),
        _ => Failure::new(
            Exit::Disk,
            format!(
                "the answers in {path} cannot be used ({error}); name another with --cache, or use --no-cache"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_found_by_whoever_opens_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.sqlite");
        let reply = |text: &str, end| Reply { text: text.into(), tokens: 3, prompt_tokens: 4, end };
        let (mut one, mut other) = (Cache::open(Some(&path)).unwrap(), Cache::open(Some(&path)).unwrap());
        one.put(&[1; 32], "m", &reply("a\0é", End::Limit)).unwrap();
        other.put(&[2; 32], "m", &reply("", End::Complete)).unwrap();
        assert_eq!(other.get(&[1; 32]).unwrap(), Some(reply("a\0é", End::Limit)));
        assert_eq!(one.get(&[2; 32]).unwrap(), Some(reply("", End::Complete)));
        assert_eq!(one.get(&[3; 32]).unwrap(), None);
        let mut none = Cache::open(None).unwrap();
        assert_eq!(none.get(&[1; 32]).unwrap(), None);
    }

    #[test]
    fn what_is_no_cache_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter.txt");
        std::fs::write(&path, "Dear Anna, ".repeat(100)).unwrap();
        let error = Cache::open(Some(&path)).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Input);
        assert!(error.to_string().contains("letter.txt is no cache of answers"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap().len(), 1100);
        let error = Cache::open(Some(&folder.path().join("none/a"))).unwrap_err();
        assert!(Exit::of(&error) == Exit::Disk && error.to_string().contains("--no-cache"), "{error}");
    }
}
